"""Streams on a real Cassandra and the log on a real Kafka, together: what a subscription is promised, and what is compared."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from typing_extensions import override

from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.read_models import CassandraReadModels
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.distributed.verifying import verify
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.kafka.topics import UNNAMED
from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.store import ANY, EventStore, StoredEvent
from citybrain.local.engine_processes import EngineProcesses
from tests.contract.limits import LimitsContract
from tests.contract.log import LogContract
from tests.contract.machine import MachineContract
from tests.contract.store import event, fed
from tests.engines.test_cassandra_store import Placed


@dataclass
class Both:
    """A process's store with its parts."""

    store: DistributedEventStore
    tables: CassandraTables
    log: KafkaLog


@pytest.fixture(scope="module")
def shared(engines: EngineProcesses) -> Place:
    """One keyspace for many examples, which have names of their own in it."""
    place = Place(engines.cassandra.address, f"both_{uuid.uuid4().hex[:12]}")
    asyncio.run(migrate(place))
    return place


def name_of(shared: Place, folder: Path) -> str:
    """What names begin with in a keyspace that is shared."""
    return f"{shared.keyspace}-{folder.name}"


@asynccontextmanager
async def opened(engines: EngineProcesses, name: str) -> AsyncIterator[Both]:
    """A keyspace and topics of that name."""
    place = Place(engines.cassandra.address, name)
    await migrate(place)
    asked = await Asked.open(place)
    log = await KafkaLog.open(Cluster(engines.kafka.address, prefix=name), [UNNAMED])
    tables = await CassandraTables.on(asked, name)
    store = DistributedEventStore(tables, log)
    try:
        yield Both(store, tables, log)
    finally:
        await store.leave()
        store.close()
        log.close()
        asked.close()


class TestLog(LogContract):
    """ES-6 … ES-8: what a subscription does. Streams, keyspace and topics are each test's own."""

    features = DistributedEventStore.features

    @pytest.fixture(autouse=True)
    def _place(self, engines: EngineProcesses, prefix: str) -> None:
        self.engines, self.prefix = engines, prefix

    @asynccontextmanager
    @override
    async def store(self, folder: Path) -> AsyncIterator[EventStore]:
        async with opened(self.engines, self.prefix) as both:
            yield both.store

    @asynccontextmanager
    @override
    async def models(self, folder: Path) -> AsyncIterator[ReadModels]:
        models = SqliteReadModels(folder / "views.db")
        try:
            yield models
        finally:
            models.close()


class TestLimits(LimitsContract):
    """ES-14: what Cassandra takes Kafka takes too."""

    features = DistributedEventStore.features
    appends = 150

    @pytest.fixture(autouse=True)
    def _place(self, engines: EngineProcesses, shared: Place) -> None:
        self.engines, self.shared = engines, shared

    @asynccontextmanager
    @override
    async def store(self, folder: Path) -> AsyncIterator[EventStore]:
        asked = await Asked.open(self.shared)
        name = name_of(self.shared, folder)
        log = await KafkaLog.open(Cluster(self.engines.kafka.address, prefix=name, partitions=2), [UNNAMED])
        store = DistributedEventStore(Placed(await CassandraTables.on(asked, self.shared.keyspace), name), log)
        try:
            yield store
        finally:
            await store.leave()
            store.close()
            log.close()
            asked.close()


class TestMachine(MachineContract):
    """ES-1 … ES-8, all at once: streams and read models in Cassandra, the log in Kafka."""

    features = DistributedEventStore.features
    turn_s = 0.002
    examples, steps = 8, 20
    shortens = False

    @pytest.fixture(autouse=True)
    def _place(self, engines: EngineProcesses, shared: Place) -> None:
        self.engines, self.shared = engines, shared

    @asynccontextmanager
    @override
    async def store(self, folder: Path) -> AsyncIterator[EventStore]:
        asked = await Asked.open(self.shared)
        name = self._name(folder)
        log = await KafkaLog.open(Cluster(self.engines.kafka.address, prefix=name, partitions=2), [UNNAMED])
        store = DistributedEventStore(Placed(await CassandraTables.on(asked, self.shared.keyspace), name), log, bucket_events=7)
        try:
            yield store
        finally:
            await store.leave()
            store.close()
            log.close()
            asked.close()

    @asynccontextmanager
    @override
    async def models(self, folder: Path) -> AsyncIterator[ReadModels]:
        asked = await Asked.open(self.shared)
        try:
            yield await CassandraReadModels.on(asked, self.shared.keyspace, self._name(folder))
        finally:
            asked.close()

    @override
    async def settled(self, store: EventStore) -> None:
        assert isinstance(store, DistributedEventStore)
        await store.writer.settled()
        assert isinstance(store._log, KafkaLog)
        await store._log.up_to_now()

    def _name(self, folder: Path) -> str:
        return name_of(self.shared, folder)


def test_what_kafka_lost_is_found_by_the_marks_and_published_again(engines: EngineProcesses, prefix: str) -> None:
    async def test() -> None:
        async with opened(engines, prefix) as here:
            honest = here.log.publish

            async def loses_some(event: StoredEvent) -> None:
                if event.id != "b2":
                    await honest(event)

            here.log.publish = loses_some  # type: ignore[method-assign]
            for name in ("a1", "b1", "b2", "b3"):
                await here.store.append(name[0], [event(name)], ANY)
            await here.store.writer.settled()
            here.log.publish = honest  # type: ignore[method-assign]
            publisher = here.store.writer.publisher
            found = await verify(here.tables.names(), here.log, publisher)
            assert [(one.stream, one.stored, one.logged, one.lost) for one in found.differing] == [("b", 3, 1, 2)]
            await verify(here.tables.names(), here.log, publisher, repair=True)
            again = await verify(here.tables.names(), here.log, publisher)
            assert again.sound
            assert (again.streams, again.differing) == (2, [])

    asyncio.run(test())


def test_events_of_a_service_that_nobody_here_runs_or_hears_are_followed_once_their_log_is_known(
    engines: EngineProcesses, prefix: str
) -> None:
    kind = "citybrain.canals.v1.LockOpened"

    async def test() -> None:
        async with opened(engines, prefix) as elsewhere, opened(engines, prefix) as here:
            await elsewhere.store.append("canals/lock-1", [event("a", kind=kind)], ANY)
            assert not here.store.partitions([kind])
            await here.store.know([kind])
            assert [found.id for found in await fed(here.store.feed([kind]), 1)] == ["a"]

    asyncio.run(asyncio.wait_for(test(), 60))
