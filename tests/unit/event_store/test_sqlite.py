"""What is particular to the embedded engine: one writer thread, groups, the newest events in memory, several processes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.event_store.contract import ANY, NO_STREAM, Committed, NewEvent, StoreError
from citybrain.event_store.sqlite import SqliteEventStore


def event(name: str, occurred_at: int = 7) -> NewEvent:
    return NewEvent(id=name, type="city.Tested", data=b"x", occurred_at=occurred_at)


def run(test: Callable[[SqliteEventStore], object], path: Path) -> None:
    async def limited() -> None:
        store = SqliteEventStore(path)
        try:
            await asyncio.wait_for(test(store), 60)  # type: ignore[arg-type]
        finally:
            store.close()

    asyncio.run(limited())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_an_append_that_cannot_be_written_fails_alone_and_the_others_of_its_group_are_written(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        appends = [store.append(f"s{n}", [event("e", 2**63 if n == 3 else n)], NO_STREAM) for n in range(8)]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        assert [isinstance(outcome, Committed) for outcome in outcomes] == [n != 3 for n in range(8)]
        assert isinstance(outcomes[3], StoreError)
        assert [e.stream for e in (await store.read_log(0)).events] == [f"s{n}" for n in range(8) if n != 3]

    run(test, tmp_path / "e.db")


def test_a_file_of_an_earlier_release_is_brought_up_and_its_events_are_read_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(
            "CREATE TABLE events (position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL,"
            " id TEXT NOT NULL, type TEXT NOT NULL, data BLOB NOT NULL, occurred_at INTEGER NOT NULL,"
            " recorded_at INTEGER NOT NULL, traceparent TEXT NOT NULL, correlation_id TEXT NOT NULL,"
            " causation_id TEXT NOT NULL, actor TEXT NOT NULL, district TEXT NOT NULL, classification INTEGER NOT NULL,"
            " UNIQUE (stream, version), UNIQUE (stream, id));"
            "INSERT INTO events VALUES (1, 's', 1, 'old', 'city.Tested', x'78', 7, 8, '', '', '', '', '', 2);"
        )

    async def test(store: SqliteEventStore) -> None:
        await store.append("s", [dataclasses.replace(event("new"), sealed=b"shut")], 1)
        assert [(e.id, e.data, e.sealed) for e in await store.read("s")] == [("old", b"x", b""), ("new", b"x", b"shut")]

    run(test, path)
    run(test, path)


def test_an_append_after_the_store_was_closed_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        store = SqliteEventStore(tmp_path / "e.db")
        store.close()
        with pytest.raises(StoreError, match="closed"):
            await asyncio.wait_for(store.append("s", [event("a")], NO_STREAM), 60)
        with pytest.raises(StoreError, match="closed"):
            await asyncio.wait_for(store.writable(), 60)

    asyncio.run(test())


def test_closing_finishes_what_was_accepted(tmp_path: Path) -> None:
    async def test() -> None:
        store = SqliteEventStore(tmp_path / "e.db")
        appends = [asyncio.ensure_future(store.append("s", [event(str(n))], ANY)) for n in range(50)]
        await asyncio.sleep(0)
        store.close()
        assert all(isinstance(outcome, Committed) for outcome in await asyncio.gather(*appends))

    asyncio.run(test())


@settings(max_examples=20, deadline=None)
@given(writers=st.lists(st.sampled_from([0, 1]), max_size=25), limit=st.integers(1, 7))
def test_whoever_writes_every_process_reads_the_same_log_without_a_gap(
    tmp_path_factory: pytest.TempPathFactory, writers: list[int], limit: int
) -> None:
    path = tmp_path_factory.mktemp("two") / "e.db"

    async def test() -> None:
        stores = [SqliteEventStore(path), SqliteEventStore(path)]
        for number, writer in enumerate(writers):
            await stores[writer].append(f"s{number % 3}", [event(str(number))], ANY)
        for store in stores:
            await asyncio.wait_for(until(lambda store=store: store.head() == len(writers)), 60)  # type: ignore[misc]
            seen: list[str] = []
            position = 0
            while position < store.head():
                page = await store.read_log(position, limit)
                seen += [e.id for e in page.events]
                position = page.reached
            assert seen == [str(n) for n in range(len(writers))]
            store.close()

    asyncio.run(test())
