"""Readings on Kafka: a topic for each type of batch, kept for hours, apart from the events.

A topic has one partition: batches are read in the order they came in, and a batch holds many readings. What processes of a
service pass on to each other is kept for a minute.
"""

from __future__ import annotations

import asyncio

from confluent_kafka import Message, TopicPartition
from typing_extensions import override

from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.partition import KafkaPartition
from citybrain.event_store.kafka.producer import Sender
from citybrain.event_store.kafka.readers import Readers
from citybrain.event_store.kafka.records import Refused
from citybrain.event_store.kafka.topics import Kind, Topics, readings_topic
from citybrain.event_store.limits import FIRST_MOMENT, LAST_MOMENT
from citybrain.event_store.readings import MAX_BATCH_BYTES, ReadingsBatch, ReadingsLog, kept_us
from citybrain.event_store.store import LimitExceeded, Unreadable
from citybrain.event_store.watch import Vital, Watch

_RECEIVED = "city_receivedat"
_LONGEST_PIECE_US = 3600 * 1_000_000


def _kind(kept_us: int) -> Kind:
    return Kind(
        partitions=1,
        must={"cleanup.policy": "delete"},
        may={
            "retention.ms": str(kept_us // 1000),
            # Old batches are deleted in pieces of this length.
            "segment.ms": str(min(_LONGEST_PIECE_US, kept_us) // 1000),
            # Age is counted by Kafka's own clock: a batch may carry any time.
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(2 * MAX_BATCH_BYTES),
        },
    )


class KafkaReadings(ReadingsLog):
    """A ReadingsLog. Create it inside the running event loop; `close()` when done."""

    def __init__(self, cluster: Cluster, watch: Watch | None = None) -> None:
        """`watch`: gets reports of the threads here, and of records that are no batches."""
        self._watch = watch = watch or Watch()
        self._told: dict[str, Vital] = {}
        self._cluster = cluster
        self._topics: dict[int, Topics] = {}
        self._sender = Sender(cluster, watch)
        self._readers: Readers[ReadingsBatch] = Readers(cluster, _batch_of, keeps_all=False, watch=watch)
        self._partitions: dict[str, KafkaPartition[ReadingsBatch]] = {}
        # Up to which position batches had been deleted when the topic was first opened: reading begins there at the earliest.
        self._gone: dict[str, int] = {}
        self._making = asyncio.Lock()

    def close(self) -> None:
        """Gives up batches that Kafka has not acknowledged, and disconnects."""
        self._sender.close()
        self._readers.close()
        for topics in self._topics.values():
            topics.close()

    @override
    async def put(self, topic: str, received_at: int, data: bytes) -> None:
        if len(data) > MAX_BATCH_BYTES:
            raise LimitExceeded(f"a batch holds at most {MAX_BATCH_BYTES} bytes; this one has {len(data)}: send several")
        partition = await self._partition(topic)
        await self._sender.send(partition.topic, 0, None, data, [(_RECEIVED, str(received_at).encode())])

    @override
    async def read(self, topic: str, after: int, limit: int) -> list[ReadingsBatch]:
        """A record that is no batch is reported, and returned as an empty batch, so that readers go past it."""
        partition = await self._partition(topic)
        found = await partition.read(max(after, self._gone[topic]), limit)
        for one in found:
            if isinstance(one, Unreadable) and one.reason:
                self._told[topic].says(f"holds what is no batch, at {one.where}: {one.reason}")
        return [ReadingsBatch(one.position, 0, b"") if isinstance(one, Unreadable) else one for one in found]

    @override
    async def up_to_now(self, topic: str) -> None:
        partition = await self._partition(topic)
        ends = await self._topics_like(topic).ready([partition.topic])
        await partition.grown(ends[TopicPartition(partition.topic, 0)] - 1)

    @override
    def head(self, topic: str) -> int:
        return self._partitions[topic].head() if topic in self._partitions else 0

    @override
    async def grown(self, topic: str, after: int) -> None:
        await (await self._partition(topic)).grown(after)

    async def _partition(self, topic: str) -> KafkaPartition[ReadingsBatch]:
        async with self._making:
            if topic not in self._partitions:
                name = readings_topic(self._cluster, topic)
                topics = self._topics_like(topic)
                ends = await topics.ready([name])
                self._gone[topic] = (await topics.beginnings([name]))[TopicPartition(name, 0)]
                self._told[topic] = self._watch.begin(f"readings {topic}", stops=False)
                self._partitions[topic] = KafkaPartition(name, 0, ends[TopicPartition(name, 0)], self._readers)
            return self._partitions[topic]

    def _topics_like(self, topic: str) -> Topics:
        """Those that are kept for as long as a topic."""
        kept = kept_us(topic)
        if kept not in self._topics:
            self._topics[kept] = Topics(self._cluster, _kind(kept))
        return self._topics[kept]


def _batch_of(record: Message) -> ReadingsBatch:
    value = record.value()
    if value is None:
        raise Refused("it has no value")
    try:
        headers: dict[str, bytes] = dict(record.headers() or ())  # type: ignore[arg-type]
        received_at = int(headers[_RECEIVED])
    except Exception:
        raise Refused(f"header {_RECEIVED} does not say when it came in") from None
    if not FIRST_MOMENT <= received_at <= LAST_MOMENT:
        raise Refused(f"header {_RECEIVED} is no moment of years 1 to 9999")
    return ReadingsBatch((record.offset() or 0) + 1, received_at, value)
