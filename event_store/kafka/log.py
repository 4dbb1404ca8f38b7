"""The log as the distributed engine needs it: events go into their partitions, and every partition can be read from anywhere.

One consumer follows all partitions that somebody reads here. Those who read what is old have consumers of their own, which are
kept a while at the place that they have reached: the next page is on its way already.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from citybrain.event_store.contract import StoredEvent
from citybrain.event_store.kafka.cluster import BrokerError, Cluster, Option
from citybrain.event_store.kafka.partition import KafkaPartition
from citybrain.event_store.kafka.producer import Sender
from citybrain.event_store.kafka.records import event_of, headers_of
from citybrain.event_store.kafka.topics import Topics, partition_of, service_of, services_of

_POLL_S = 0.02
_PAGE = 500
# How long a reader of old events waits for the broker before it says that it does not answer.
_ANSWER_S = 30.0
_IDLE_READERS = 8
_GONE = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError.UNKNOWN_TOPIC_OR_PART)
_READS: dict[str, Option] = {
    # Nobody's group: what was read is kept with its effects, not by the broker.
    "group.id": "city-reader",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "fetch.error.backoff.ms": 50,
    "queued.max.messages.kbytes": 8192,
}


class KafkaLog:
    """The broker of a process. Open it with `await KafkaLog.open(…)` inside the running event loop; `close()` when done."""

    def __init__(self, cluster: Cluster, topics: Topics) -> None:
        self._cluster = cluster
        self._topics = topics
        self._loop = asyncio.get_running_loop()
        self._sender = Sender(cluster)
        self._partitions: dict[str, list[KafkaPartition]] = {}
        self._making = asyncio.Lock()
        self._readers: OrderedDict[tuple[str, int], Consumer] = OrderedDict()
        self._old = ThreadPoolExecutor(2, thread_name_prefix="kafka-read")
        self._to_follow: queue.SimpleQueue[KafkaPartition] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="kafka-follow", daemon=True)
        self._thread.start()

    @classmethod
    async def open(cls, cluster: Cluster, services: Iterable[str]) -> KafkaLog:
        """The log of some services, those that publish or are heard here; topics that are missing are made."""
        log = cls(cluster, Topics(cluster))
        try:
            await log._know(set(services))
        except BaseException:
            log.close()
            raise
        return log

    def close(self) -> None:
        """Gives up what Kafka has not acknowledged, and lets go of it."""
        self._closed.set()
        self._sender.close()
        self._thread.join()
        self._old.shutdown()
        for reader in self._readers.values():
            reader.close()
        self._topics.close()

    @property
    def failing(self) -> str:
        """Why Kafka takes nothing, as far as is known; empty: it does."""
        return self._sender.failing

    async def publish(self, event: StoredEvent) -> None:
        """See Broker.publish."""
        service = service_of(event.stream)
        if service not in self._partitions:
            await self._know({service})
        partition = self._partitions[service][partition_of(event.stream, self._cluster.partitions)]
        headers = headers_of(event)
        moment_ms = event.recorded_at // 1000
        await self._sender.send(partition.topic, partition.number, event.stream.encode(), event.data, headers, moment_ms)

    def partitions(self, types: Collection[str] | None = None) -> list[KafkaPartition]:
        """Those in which events of some types can stand; all that are known here."""
        services = None if types is None else services_of(types)
        wanted = sorted(self._partitions if services is None else services & self._partitions.keys())
        return [partition for service in wanted for partition in self._partitions[service]]

    async def up_to_now(self) -> None:
        """Returns when what is in the log now is known here."""
        ends = await self._topics.ready(self._partitions)
        for partitions in self._partitions.values():
            for partition in partitions:
                await partition.grown(ends[TopicPartition(partition.topic, partition.number)] - 1)

    async def _know(self, services: set[str]) -> None:
        async with self._making:
            missing = services - self._partitions.keys()
            if not missing:
                return
            ends = await self._topics.ready(missing)
            for service in missing:
                topic = self._topics.name_of(service)
                self._partitions[service] = [
                    KafkaPartition(topic, number, ends[TopicPartition(topic, number)], self._read_old, self._to_follow.put)
                    for number in range(self._cluster.partitions)
                ]

    # -- what is old --------------------------------------------------------------------------------------------------------

    async def _read_old(self, partition: KafkaPartition, after: int, limit: int) -> list[StoredEvent]:
        reader = self._readers.pop((partition.name, after), None)
        found = await self._loop.run_in_executor(self._old, self._read, reader, partition, after, limit)
        reader, events = found
        # Who has come so far needs the broker no more.
        if events[-1].position >= partition.kept_after or self._closed.is_set():
            self._old.submit(reader.close)
            return events
        previous = self._readers.pop((partition.name, events[-1].position), None)
        self._readers[partition.name, events[-1].position] = reader
        if previous is None and len(self._readers) > _IDLE_READERS:
            _, previous = self._readers.popitem(last=False)
        if previous is not None:
            self._old.submit(previous.close)
        return events

    def _read(
        self, reader: Consumer | None, partition: KafkaPartition, after: int, limit: int
    ) -> tuple[Consumer, list[StoredEvent]]:
        if reader is None:
            reader = Consumer(self._cluster.options(_READS))
            reader.assign([TopicPartition(partition.topic, partition.number, after)])
        waited = 0.0
        while not self._closed.is_set():
            messages = _next(reader, limit)
            try:
                events = [event for event in map(_event, messages) if event is not None]
            except BrokerError:
                reader.close()
                raise
            if events:
                return reader, events
            waited += _POLL_S
            if waited >= _ANSWER_S:
                break
        reader.close()
        raise BrokerError(f"Kafka at {self._cluster.addresses} has not answered for {partition.name}: look whether it runs")

    # -- the thread that follows what comes ---------------------------------------------------------------------------------

    def _follow(self) -> None:
        consumer = Consumer(self._cluster.options(_READS))
        followed: dict[tuple[str, int], KafkaPartition] = {}
        while not self._closed.is_set():
            while not self._to_follow.empty():
                partition = self._to_follow.get()
                followed[partition.topic, partition.number] = partition
                consumer.incremental_assign([TopicPartition(partition.topic, partition.number, partition.head())])
            came: dict[tuple[str, int], list[StoredEvent]] = {}
            for message in _next(consumer, _PAGE):
                place = (str(message.topic()), int(message.partition() or 0))
                try:
                    event = _event(message)
                except BrokerError as error:
                    if place in followed:
                        self._tell(followed.pop(place).failed, error)
                else:
                    if event is not None and place in followed:
                        came.setdefault(place, []).append(event)
            for place, events in came.items():
                self._tell(followed[place].came, events)
        consumer.close()

    def _tell(self, tell: Any, what: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell, what)


def _next(consumer: Consumer, limit: int) -> list[Message]:
    """What is there, as soon as something is: `consume` alone would wait until it has as many as it may."""
    first = consumer.poll(_POLL_S)
    if first is None:
        return []
    return [first, *(consumer.consume(limit - 1, 0) if limit > 1 else ())]


def _event(message: Message) -> StoredEvent | None:
    """The event of a record; None where Kafka says something that passes by itself; BrokerError where events are gone."""
    error = message.error()
    if error is not None:
        if error.code() not in _GONE:
            return None
        where = f"{message.topic()}/{message.partition()}"
        raise BrokerError(
            f"{where} does not hold what it held ({error.str()}): was the topic deleted, or its retention changed?"
        )
    try:
        return event_of(message)
    except ValueError as wrong:
        where = f"{message.topic()}/{message.partition()} at offset {message.offset()}"
        raise BrokerError(f"what stands in {where} is no event of the city: nobody else may write to this topic") from wrong
