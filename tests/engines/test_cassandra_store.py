"""Streams on a real Cassandra: what every engine's streams promise. The log is in memory: nothing but Cassandra is tried."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from citybrain.event_store.cassandra.correlations import CorrelationFeed
from citybrain.event_store.cassandra.migrations import STREAMS, migrate
from citybrain.event_store.cassandra.session import Asked, Place, wrong_centre
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.distributed.interfaces import Batch, Bucket, Mark, Opening, Rows, WriterRow
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.store import ANY, Committed, EventStore, LogPage, StoredEvent, StoreError
from citybrain.local.engine_processes import EngineProcesses
from tests.contract.store import EventStoreContract, event, fed
from tests.distributed.world import Log
from tests.engines.strict import TOMBSTONES

BUCKET_EVENTS = 7
"""Small, so that every longer stream has several."""


class OneLog(Log):
    """A broker with one partition, in memory."""

    name = "memory/0"
    failing = ""

    async def publish(self, event: StoredEvent) -> None:
        self.add(event)

    @override
    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        page = await super().read_log(after, limit)
        return LogPage([event for event in page.events if types is None or event.type in types], page.reached)

    def partitions(self, types: Collection[str] | None = None) -> list[OneLog]:
        return [self]

    async def know(self, types: Collection[str]) -> None:
        """There is one partition for all."""


# By place: it outlives who opens it, as a broker does.
LOGS: dict[str, OneLog] = defaultdict(OneLog)


class Placed:
    """Many places on one keyspace, for a keyspace costs seconds to make: all names begin with the place."""

    def __init__(self, tables: CassandraTables, name: str) -> None:
        self._tables = tables
        self._name = name

    def _in(self, name: str) -> str:
        return f"{self._name}:{name}"

    def _out(self, event: StoredEvent) -> StoredEvent:
        return event._replace(stream=event.stream.removeprefix(f"{self._name}:"))

    def _opening(self, opening: Opening) -> Opening:
        return replace(opening, stream=self._in(opening.stream))

    async def bucket(self, stream: str, bucket: int) -> Bucket:
        return await self._tables.bucket(self._in(stream), bucket)

    async def append(self, batch: Batch) -> bool:
        return await self._tables.append(replace(batch, stream=self._in(batch.stream)))

    async def change_fence(self, stream: str, bucket: int, old: str | None, new: str) -> bool:
        return await self._tables.change_fence(self._in(stream), bucket, old, new)

    async def rows(self, stream: str, bucket: int, first: int, last: int) -> Rows:
        rows = await self._tables.rows(self._in(stream), bucket, first, last)
        return replace(rows, events=[self._out(found) for found in rows.events])

    async def versions(self, stream: str, bucket: int, ids: Sequence[str]) -> dict[str, int]:
        return await self._tables.versions(self._in(stream), bucket, ids)

    async def mark(self, stream: str) -> Mark:
        return await self._tables.mark(self._in(stream))

    async def put_marks(self, marks: Mapping[str, Mark]) -> None:
        await self._tables.put_marks({self._in(stream): mark for stream, mark in marks.items()})

    async def index_correlation(self, event: StoredEvent, bucket: int) -> None:
        await self._tables.index_correlation(event._replace(correlation_id=self._in(event.correlation_id)), bucket)

    async def correlated(self, correlation_id: str) -> list[tuple[str, int, int]]:
        return await self._tables.correlated(self._in(correlation_id))

    async def begin(self, writer: str) -> None:
        await self._tables.begin(self._in(writer))

    async def beat(self, writer: str, beat: int) -> None:
        await self._tables.beat(self._in(writer), beat)

    async def close(self, writer: str) -> None:
        await self._tables.close(self._in(writer))

    async def is_closed(self, writer: str) -> bool:
        return await self._tables.is_closed(self._in(writer))

    async def remove(self, writer: str) -> None:
        await self._tables.remove(self._in(writer))

    async def writers(self) -> list[WriterRow]:
        mine = [row for row in await self._tables.writers() if row.id.startswith(f"{self._name}:")]
        return [replace(row, id=row.id.removeprefix(f"{self._name}:")) for row in mine]

    async def open(self, writer: str, opening: Opening) -> None:
        await self._tables.open(self._in(writer), self._opening(opening))

    async def opened(self, writer: str) -> list[Opening]:
        found = await self._tables.opened(self._in(writer))
        return [replace(one, stream=one.stream.removeprefix(f"{self._name}:")) for one in found]

    async def forget(self, writer: str, opening: Opening) -> None:
        await self._tables.forget(self._in(writer), self._opening(opening))


@asynccontextmanager
async def opened(where: Place, name: str = "") -> AsyncIterator[DistributedEventStore]:
    """A process's store, at a place in a keyspace that was migrated."""
    asked = await Asked.open(where)
    tables = Placed(await CassandraTables.on(asked, where.keyspace), name)
    correlations = functools.partial(CorrelationFeed, tables)
    store = DistributedEventStore(tables, LOGS[where.keyspace + name], correlations, bucket_events=BUCKET_EVENTS)
    try:
        yield store
    finally:
        await store.leave()
        store.close()
        asked.close()


@pytest.fixture(scope="module")
def shared(engines: EngineProcesses) -> Place:
    """A keyspace of this module's own."""
    where = Place(engines.cassandra.address, "t" + uuid.uuid4().hex[:20])
    asyncio.run(asyncio.wait_for(migrate(where), 60))
    return where


class TestStore(EventStoreContract):
    """ES-1 … ES-5, ES-13, ES-14."""

    features = DistributedEventStore.features

    @pytest.fixture(autouse=True)
    def _on(self, shared: Place) -> None:
        self._where = shared

    @asynccontextmanager
    @override
    async def store(self, folder: Path) -> AsyncIterator[EventStore]:
        """A place for each folder."""
        async with opened(self._where, uuid.uuid5(uuid.NAMESPACE_URL, str(folder)).hex[:12]) as store:
            yield store

    @override
    async def settled(self, store: EventStore) -> None:
        assert isinstance(store, DistributedEventStore)
        await store.writer.settled()


def test_a_stream_over_many_buckets_is_one_stream(shared: Place) -> None:
    async def test() -> None:
        async with opened(shared, "buckets") as one, opened(shared, "buckets") as two:
            for number in range(6):
                batch = [event(f"{number}-{n}") for n in range(5)]
                outcome = await (one, two)[number % 2].append("s", batch, number * 5)
                assert outcome == Committed(number * 5 + 1, number * 5 + 5, 0)
            wanted = [f"{number}-{n}" for number in range(6) for n in range(5)]
            assert [found.id for found in await two.read("s")] == wanted
            assert [found.id for found in await one.read("s", 0, 4, backward=True)] == wanted[:-5:-1]
            again = await two.append("s", [event(f"1-{n}") for n in range(5)], ANY)
            assert again == Committed(6, 10, 0) and isinstance(again, Committed) and again.again
            assert await one.version_of("s", "5-4") == 30
            assert [found.id for found in await fed(one.feed(), 30)] == wanted

    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_writer_that_was_forgotten_stays_closed_whatever_of_it_comes_late(shared: Place) -> None:
    async def test() -> None:
        async with opened(shared, "forgotten") as store:
            tables = store._tables
            assert await tables.is_closed("nobody")
            await tables.begin("late")
            assert not await tables.is_closed("late")
            await tables.close("late")
            await tables.begin("late")
            assert await tables.is_closed("late")
            await tables.remove("late")
            for again in (tables.begin("late"), tables.beat("late", 7)):
                await again
                assert await tables.is_closed("late")
            assert [row.closed for row in await tables.writers() if row.id == "late"] == [True]
            # Nobody beats for it any more: it is forgotten once more, and the one that lives is not.
            store.adopter._gone_s = 0.5
            while "late" in (names := {row.id for row in await tables.writers()}):
                await asyncio.sleep(0.05)
            assert names == {store.writer.id} and not await tables.is_closed(store.writer.id)

    asyncio.run(asyncio.wait_for(test(), 60))


def test_of_writers_that_are_gone_there_may_be_more_than_tombstones_can_be_read(engines: EngineProcesses, prefix: str) -> None:
    where = Place(engines.cassandra.address, prefix)

    async def test() -> None:
        await migrate(where)
        asked = await Asked.open(where)
        tables = await CassandraTables.on(asked, where.keyspace)

        async def come_and_go(name: str) -> None:
            await tables.begin(name)
            await tables.close(name)
            await tables.remove(name)

        await tables.begin("lives")
        for first in range(0, TOMBSTONES + 100, 50):
            await asyncio.gather(*(come_and_go(f"w{first + number}") for number in range(50)))
        assert [row.id for row in await tables.writers()] == ["lives"]
        asked.close()

    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_keyspace_is_brought_up_to_date_by_many_at_once_and_never_by_an_older_release(
    engines: EngineProcesses, prefix: str
) -> None:
    where = Place(engines.cassandra.address, prefix)

    async def test() -> None:
        await asyncio.gather(*(migrate(where) for _ in range(4)))
        async with opened(where) as store:
            await store.append("s", [event("a")], ANY)
        with pytest.raises(StoreError, match="by a newer release"):
            await migrate(where, STREAMS[:-1])

    asyncio.run(asyncio.wait_for(test(), 60))


@pytest.mark.parametrize("consistency", ["LOCAL_QUORUM", "QUORUM"])
def test_what_is_written_and_read_asks_for_the_majority_that_was_configured(
    engines: EngineProcesses, prefix: str, consistency: str
) -> None:
    """As the server itself was asked: it keeps a trace of each request."""
    where = Place(engines.cassandra.address, prefix, consistency=consistency)
    serial = consistency.replace("QUORUM", "SERIAL")

    async def test() -> list[Any]:
        await migrate(where)
        asked = await Asked.open(where)
        answers: list[Any] = []
        execute = asked.session.execute_async

        def traced(*what: object, **how: object) -> object:
            answers.append(execute(*what, trace=True, **how))
            return answers[-1]

        asked.session.execute_async = traced
        tables = await CassandraTables.on(asked, prefix)
        written = StoredEvent("a", "t", b"x", 7, "", "", "", "", "", 2, "s", 1, 1, 0)
        assert await tables.append(Batch("s", 0, None, None, (written,)))
        assert await tables.bucket("s", 0) == Bucket(1, None)
        await tables.put_marks({"s": Mark(1, 0)})
        rows = await tables.rows("s", 0, 1, 9)
        assert ([found.id for found in rows.events], rows.head) == (["a"], 1)
        found = [answer.get_query_trace(20).parameters for answer in answers]
        asked.close()
        return found

    append, bucket, mark, rows = asyncio.run(asyncio.wait_for(test(), 60))
    assert (append["consistency_level"], append["serial_consistency_level"]) == (consistency, serial)
    assert bucket["consistency_level"] == serial
    assert (mark["consistency_level"], rows["consistency_level"]) == (consistency, consistency)


def test_a_data_centre_that_is_not_there_is_told_with_those_that_are(engines: EngineProcesses) -> None:
    with pytest.raises(StoreError, match="has no data centre east; there are: datacenter1"):
        asyncio.run(asyncio.wait_for(migrate(Place(engines.cassandra.address, data_centre="east")), 60))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "several data centres (east, west), and with LOCAL_QUORUM whichever is asked decides"),
        ({"data_centre": "east"}, ""),
        ({"consistency": "QUORUM"}, ""),
    ],
)
def test_several_data_centres_are_asked_only_where_it_is_clear_who_decides(more: dict[str, Any], why: str) -> None:
    found = wrong_centre(Place("127.0.0.1:1", **more), {"west", "east"})
    assert found.startswith(f"has {why}") if why else found == ""


def test_what_cannot_be_reached_or_is_no_address_says_so() -> None:
    async def test() -> None:
        with pytest.raises(StoreError, match="is no address of Cassandra: write host:port"):
            await migrate(Place("nowhere"))
        with pytest.raises(StoreError, match="does not let us in"):
            await migrate(Place("127.0.0.1:1", answer_s=1))
        with pytest.raises(StoreError, match="is no name of a keyspace"):
            await migrate(Place("127.0.0.1:1", "Straße"))

    asyncio.run(asyncio.wait_for(test(), 60))
