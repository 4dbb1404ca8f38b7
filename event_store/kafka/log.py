"""The log as the distributed engine needs it: sends events into their partitions, and reads each partition from any place."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from confluent_kafka import Message, TopicPartition
from typing_extensions import override

from citybrain.event_store.distributed.interfaces import Broker
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.partition import EventPartition
from citybrain.event_store.kafka.producer import Sender
from citybrain.event_store.kafka.readers import Readers
from citybrain.event_store.kafka.records import Refused, event_of, headers_of
from citybrain.event_store.kafka.topics import Topics, event_topic, events, partition_of, service_of, services_of
from citybrain.event_store.store import StoredEvent
from citybrain.event_store.watch import Watch


class KafkaLog(Broker):
    """The broker of a process. Open it with `await KafkaLog.open(…)` inside the running event loop; `close()` when done."""

    def __init__(self, cluster: Cluster, watch: Watch) -> None:
        self._cluster = cluster
        self._topics = Topics(cluster, events(cluster))
        self._sender = Sender(cluster, watch)
        self._readers: Readers[StoredEvent] = Readers(cluster, self._meant, keeps_all=True, watch=watch)
        self._partitions: dict[str, list[EventPartition]] = {}
        self._making = asyncio.Lock()

    @classmethod
    async def open(cls, cluster: Cluster, services: Iterable[str], watch: Watch | None = None) -> KafkaLog:
        """Opens the log for `services`: those that publish, or are heard, here. Missing topics are made.

        `watch`: gets reports of the threads that must go on here.
        """
        log = cls(cluster, watch or Watch())
        try:
            await log.know_services(set(services))
        except BaseException:
            log.close()
            raise
        return log

    def close(self) -> None:
        """Gives up records that Kafka has not acknowledged, and disconnects."""
        self._sender.close()
        self._readers.close()
        self._topics.close()

    @property
    def failing(self) -> str:
        """Why Kafka takes no records, as far as is known; empty: it takes them."""
        return self._sender.failing

    @override
    async def publish(self, event: StoredEvent) -> None:
        service = service_of(event.stream)
        if service not in self._partitions:
            await self.know_services({service})
        partition = self._partitions[service][partition_of(event.stream, self._cluster.partitions)]
        headers = headers_of(event)
        moment_ms = event.recorded_at // 1000
        await self._sender.send(partition.topic, partition.number, event.stream.encode(), event.data, headers, moment_ms)

    def partitions(self, types: Collection[str] | None = None) -> list[EventPartition]:
        """The partitions known here that can hold events of these types; None: all of them."""
        services = None if types is None else services_of(types)
        wanted = sorted(self._partitions if services is None else services & self._partitions.keys())
        return [partition for service in wanted for partition in self._partitions[service]]

    async def up_to_now(self) -> None:
        """Returns when everything that is in the log now is known here."""
        ends = await self._ends(self._partitions)
        for partition in self.partitions():
            await partition.grown(ends[TopicPartition(partition.topic, partition.number)] - 1)

    async def know(self, types: Collection[str]) -> None:
        """Adds the partitions of the services that publish events of these types. Missing topics are made."""
        await self.know_services(services_of(types) or set())

    async def know_services(self, services: set[str]) -> None:
        """Adds the partitions of some services. Missing topics are made."""
        async with self._making:
            missing = services - self._partitions.keys()
            ends = await self._ends(missing)
            for service in missing:
                topic = event_topic(self._cluster, service)
                self._partitions[service] = [
                    EventPartition(topic, number, ends[TopicPartition(topic, number)], self._readers)
                    for number in range(self._cluster.partitions)
                ]

    async def know_all(self) -> None:
        """Adds the partitions of every service that has a topic on this cluster. BrokerError: Kafka does not say."""
        await self.know_services(await self._topics.services())

    def _meant(self, record: Message) -> StoredEvent:
        """The event of a record. Refused: it is no event, or stands in another partition than its stream."""
        event = event_of(record)
        topic, number = record.topic(), record.partition()
        if topic != event_topic(self._cluster, service_of(event.stream)):
            raise Refused("its stream belongs to another topic")
        if number != (right := partition_of(event.stream, self._cluster.partitions)):
            raise Refused(f"its stream belongs to partition {right}")
        return event

    async def _ends(self, services: Collection[str]) -> dict[TopicPartition, int]:
        return await self._topics.ready([event_topic(self._cluster, service) for service in services])
