"""Sends records to Kafka. Every replica in sync acknowledges a record, and retries of one producer make no duplicates.

An acknowledgement is believed only if it says where the record stands. If a later request was taken, librdkafka counts the
earlier ones of the same partition as stored ("implicit acknowledgement"), and that can be wrong: a leader that has just changed
turns the first request away and, as it does not know the producer yet, takes the next one.

A producer that is broken for good is replaced. The records it had under way were not acknowledged: their senders send them
again, and readers drop duplicates.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from citybrain.event_store.distributed.interfaces import TimedOut
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.records import Header
from citybrain.event_store.watch import VitalThread, Watch

_POLL_S = 0.1
# How many records may wait for Kafka in this process. More senders have to wait.
_WAITING_MAX = 100_000
_RECORD_BYTES = 2 * 1024 * 1024
_FULL_PAUSE_S = 0.01
# The pause between two questions whether Kafka is back, and the longest wait for an answer.
_ASK_S = 1.0


class Sender:
    """Sends records. Create it inside the running event loop."""

    def __init__(self, cluster: Cluster, watch: Watch) -> None:
        self._options: dict[str, Any] = {
            **cluster.options(),
            "enable.idempotence": True,
            "acks": "all",
            # No limit: a record is sent until it is acknowledged or this process ends.
            "message.timeout.ms": 0,
            "linger.ms": 1,
            "message.max.bytes": _RECORD_BYTES,
            "queue.buffering.max.messages": _WAITING_MAX,
            "error_cb": self._on_error,
        }
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(self._options)
        self._outcomes: list[tuple[asyncio.Future[None], KafkaError | None]] = []
        self._broken = False
        self.failing = ""
        """Kafka's last error; empty: none, or Kafka has taken a record or answered since."""
        self._asks_at = 0.0
        self._thread = VitalThread(watch, "sending to Kafka", self._run)

    async def send(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: Sequence[Header], moment_ms: int = 0
    ) -> None:
        """Returns when the record is in its partition. TimedOut: it may be there, or may come there later, or be nowhere."""
        done: asyncio.Future[None] = self._loop.create_future()
        told: Callable[[KafkaError | None, Message], None] = functools.partial(self._delivered, done)
        while True:
            if self._thread.over.is_set():
                raise TimedOut("the log is closed here; whoever adopts the writer publishes the event")
            try:
                self._producer.produce(
                    topic, value, key, partition, on_delivery=told, timestamp=moment_ms,
                    headers=list(headers),
                )  # fmt: skip
                break
            except BufferError:
                await asyncio.sleep(_FULL_PAUSE_S)
            except KafkaException as error:
                self.failing = str(error.args[0])
                raise TimedOut(self.failing) from error
        await done

    def close(self) -> None:
        """Gives up records that are not acknowledged yet."""
        self._thread.end()
        self._give_up(self._producer)

    # -- the thread that hears what became of records -----------------------------------------------------------------------

    def _run(self, thread: VitalThread) -> None:
        while not thread.over.is_set():
            self._producer.poll(_POLL_S)
            self._hand_over()
            if self._broken:
                fresh = Producer(self._options)
                self._broken = False
                old, self._producer = self._producer, fresh
                self._give_up(old)
            if self.failing and not len(self._producer) and time.monotonic() >= self._asks_at:
                self._ask()
            thread.well()

    def _ask(self) -> None:
        """Asks whether Kafka is back. A process that is not ready gets no calls, so no record would show it."""
        with contextlib.suppress(KafkaException):
            self._producer.list_topics(timeout=_ASK_S)
            self.failing = ""
        self._asks_at = time.monotonic() + _ASK_S

    def _give_up(self, producer: Producer) -> None:
        producer.purge()
        producer.flush(1)
        self._hand_over()

    def _on_error(self, error: KafkaError) -> None:
        self.failing = error.str()
        self._broken = self._broken or error.fatal()

    def _delivered(self, done: asyncio.Future[None], error: KafkaError | None, message: Message) -> None:
        if error is None and message.offset() is None:
            error = KafkaError(KafkaError._MSG_TIMED_OUT, "nobody knows where the record stands: it is to be sent again")
        self._outcomes.append((done, error))

    def _hand_over(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        if outcomes and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answer, outcomes)

    def _answer(self, outcomes: list[tuple[asyncio.Future[None], KafkaError | None]]) -> None:
        for done, error in outcomes:
            if error is None:
                self.failing = ""
            else:
                self.failing = error.str()
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(TimedOut(error.str()))
