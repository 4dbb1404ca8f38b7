"""Reads from the broker. One consumer follows all partitions that are read in this process.

Old records are read by other consumers. Each is kept for a while at the place it has reached, so that its next page is already
on its way when somebody asks for it.
"""

from __future__ import annotations

import asyncio
import queue
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from citybrain.event_store.kafka.cluster import BrokerError, Cluster, Option
from citybrain.event_store.kafka.partition import KafkaPartition, T
from citybrain.event_store.kafka.records import Refused, unreadable
from citybrain.event_store.store import Unreadable
from citybrain.event_store.subscription import describe
from citybrain.event_store.watch import VitalThread, Watch

_POLL_S = 0.02
_PAGE = 500
# How long a reader of old records waits for the broker before it says that the broker does not answer.
_ANSWER_S = 30.0
_IDLE_MAX = 8
_GONE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError.UNKNOWN_TOPIC_OR_PART)
_READS: dict[str, Option] = {
    # No real group: readers store the place they have reached with their effects, not at the broker.
    "group.id": "city-reader",
    "enable.auto.commit": False,
    # Records of aborted transactions, which other programs may have written, are read too, and reported.
    "isolation.level": "read_uncommitted",
    # Kafka never hands out its own records. The message at the end shows how far the partition was read.
    "enable.partition.eof": True,
    "fetch.error.backoff.ms": 50,
    "queued.max.messages.kbytes": 8192,
}


class Readers(Generic[T]):
    """The readers of a process. `meant` makes a record into what it stands for. If it raises, the record is set aside.

    `keeps_all`: nothing is ever deleted from these topics. To ask for a record that is gone is then an error; else the next
    record there is comes instead.
    """

    def __init__(self, cluster: Cluster, meant: Callable[[Message], T], keeps_all: bool, watch: Watch) -> None:
        self._cluster = cluster
        self._meant = meant
        self._options = cluster.options({**_READS, "auto.offset.reset": "error" if keeps_all else "earliest"})
        self._loop = asyncio.get_running_loop()
        self._idle: OrderedDict[tuple[str, int], Consumer] = OrderedDict()
        self._old = ThreadPoolExecutor(2, thread_name_prefix="kafka-read")
        self._to_follow: queue.SimpleQueue[KafkaPartition[T]] = queue.SimpleQueue()
        # Partitions that are followed, and the position up to which records were handed over.
        self._followed: dict[tuple[str, int], tuple[KafkaPartition[T], int]] = {}
        self._thread = VitalThread(watch, "following Kafka", self._run)

    def close(self) -> None:
        """Disconnects from the broker."""
        self._thread.end()
        self._old.shutdown()
        for reader in self._idle.values():
            reader.close()

    def follow(self, partition: KafkaPartition[T]) -> None:
        """From now on brings the records after the partition's head."""
        self._to_follow.put(partition)

    # -- what is old --------------------------------------------------------------------------------------------------------

    async def read_old(self, partition: KafkaPartition[T], after: int, limit: int) -> list[T | Unreadable]:
        """Raises BrokerError if the broker does not answer, or has lost the records."""
        work = self._old.submit(self._read, self._idle.pop((partition.name, after), None), partition, after, limit)
        try:
            reader, found = await asyncio.shield(asyncio.wrap_future(work))
        except asyncio.CancelledError:
            work.add_done_callback(_close)
            raise
        place = (partition.name, found[-1].position)
        # From this place on the partition's tail in memory is enough.
        done = [reader] if found[-1].position >= partition.kept_after else []
        if not done:
            done += [other for other in (self._idle.pop(place, None),) if other is not None]
            self._idle[place] = reader
            if len(self._idle) > _IDLE_MAX:
                done.append(self._idle.popitem(last=False)[1])
        for one in done:
            self._old.submit(one.close)
        return found

    def _read(
        self, reader: Consumer | None, partition: KafkaPartition[T], after: int, limit: int
    ) -> tuple[Consumer, list[T | Unreadable]]:
        if reader is None:
            reader = Consumer(self._options)
            reader.assign([TopicPartition(partition.topic, partition.number, after)])
        waited = 0.0
        try:
            while not self._thread.over.is_set() and waited < _ANSWER_S:
                messages = _next(reader, limit)
                found = list(self._rising(messages, after))
                if found:
                    return reader, found
                waited += _POLL_S
            raise BrokerError(f"Kafka at {self._cluster.addresses} does not answer for {partition.name}: look whether it runs")
        except BrokerError:
            reader.close()
            raise

    # -- the thread that follows what comes ---------------------------------------------------------------------------------

    def _run(self, thread: VitalThread) -> None:
        consumer = Consumer(self._options)
        try:
            # If the thread was begun again, it goes on after the last record that was handed over.
            if again := [TopicPartition(topic, number, at) for (topic, number), (_, at) in self._followed.items()]:
                consumer.incremental_assign(again)
            while not thread.over.is_set():
                self._follow(consumer)
                thread.well()
        finally:
            consumer.close()

    def _follow(self, consumer: Consumer) -> None:
        """Hands over the records that came."""
        followed = self._followed
        while not self._to_follow.empty():
            partition = self._to_follow.get()
            at = partition.head()
            followed[partition.topic, partition.number] = partition, at
            consumer.incremental_assign([TopicPartition(partition.topic, partition.number, at)])
        came: dict[tuple[str, int], list[T | Unreadable]] = {}
        for message in _next(consumer, _PAGE):
            place = (str(message.topic()), int(message.partition() or 0))
            if place not in followed:
                continue
            try:
                one = self._one(message)
            except BrokerError as error:
                partition, _ = followed.pop(place)
                self._tell(partition.failed, error)
            else:
                new = came.setdefault(place, [])
                if one is not None and one.position > (new[-1].position if new else followed[place][1]):
                    new.append(one)
        for place, new in came.items():
            if place in followed and new:
                partition, _ = followed[place]
                self._tell(partition.came, new)
                followed[place] = partition, new[-1].position

    def _tell(self, tell: Callable[[Any], None], what: BrokerError | Sequence[T | Unreadable]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell, what)

    def _rising(self, messages: Sequence[Message], after: int) -> Iterator[T | Unreadable]:
        """What the records of one partition stand for, in rising order; its end too, if that comes after all of them."""
        for one in map(self._one, messages):
            if one is not None and one.position > after:
                after = one.position
                yield one

    def _one(self, message: Message) -> T | Unreadable | None:
        """What a record stands for; None: an error of Kafka that passes by itself. BrokerError: records are gone."""
        error = message.error()
        where = f"{message.topic()}/{message.partition()}"
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                return Unreadable(message.offset() or 0, where, "")
            if error.code() not in _GONE:
                return None
            raise BrokerError(
                f"{where} has lost what it held ({error.str()}): was the topic deleted, or its retention changed?"
            )
        try:
            return self._meant(message)
        except Exception as wrong:
            return unreadable(message, str(wrong) if isinstance(wrong, Refused) else describe(wrong))


def _next(consumer: Consumer, limit: int) -> list[Message]:
    """The next messages, as soon as there is one. `consume` alone would wait for `limit` messages."""
    first = consumer.poll(_POLL_S)
    if first is None:
        return []
    return [first, *(consumer.consume(limit - 1, 0) if limit > 1 else ())]


def _close(work: Future[tuple[Consumer, list[T]]]) -> None:
    if not work.cancelled() and work.exception() is None:
        work.result()[0].close()
