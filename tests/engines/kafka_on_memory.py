"""A store for tests of the log alone: streams in memory, by the code that ships, and the log on a real Kafka."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Collection, Sequence
from random import Random
from typing import ClassVar

from typing_extensions import override

from citybrain.event_store.distributed.reading import SharedPartition
from citybrain.event_store.distributed.store import MachineClock
from citybrain.event_store.distributed.writer import Writer
from citybrain.event_store.feed import PartitionsFeed
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.store import Committed, Conflict, EventStore, Features, NewEvent, StoredEvent
from tests.distributed.world import Log, Process, Store, Weather


class OnMemory(EventStore):
    """An EventStore of one process."""

    features: ClassVar[Features] = Features(one_order=False, several_processes=False, durable=False)

    def __init__(self, log: KafkaLog) -> None:
        self.log = log
        self.tables = Process(Store(), Log(), Weather(Random(0), 0))
        self.writer = Writer(self.tables, log, MachineClock(), lambda: str(uuid.uuid4()))

    @override
    def append(
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Awaitable[Committed | Conflict]:
        return asyncio.ensure_future(self.writer.append(stream, events, expected, timeout_s))

    @override
    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        assert not backward, "tests of the log do not read backward"
        found, _ = await self.writer.streams.read(stream, from_version, from_version + limit - 1)
        return found

    @override
    async def version_of(self, stream: str, event_id: str) -> int:
        tail = await self.writer.streams.tail(stream)
        return (await self.writer.streams.versions(stream, [event_id], tail.bucket)).get(event_id, 0)

    @override
    def unwell(self) -> str:
        return ""

    @override
    async def writable(self) -> None: ...

    @override
    def partitions(self, types: Collection[str] | None = None) -> list[SharedPartition]:
        return [SharedPartition(log, self.writer.publisher) for log in self.log.partitions(types)]

    @override
    def feed(self, types: Collection[str] | None = None, correlation_id: str = "") -> PartitionsFeed:
        assert not correlation_id, "a correlation id is not looked for in the log"
        return PartitionsFeed({partition.name: partition for partition in self.partitions(types)}, types)

    @override
    def close(self) -> None:
        self.log.close()


async def these(*names: str) -> AsyncIterator[str]:
    """Names of streams."""
    for name in names:
        yield name
