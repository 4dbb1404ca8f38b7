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

from citybrain.event_store.sqlite import SqliteEventStore, file, reading, writing
from citybrain.event_store.sqlite.backup import check_events
from citybrain.event_store.store import ANY, NO_STREAM, Committed, Conflict, NewEvent, StoreError


def event(name: str) -> NewEvent:
    return NewEvent(id=name, type="city.Tested", data=b"x", occurred_at=7)


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
        # A list is nothing that SQLite can write.
        events = [dataclasses.replace(event("e"), data=[] if n == 3 else b"x") for n in range(8)]  # type: ignore[arg-type]
        appends = [store.append(f"s{n}", [one], NO_STREAM) for n, one in enumerate(events)]
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
            "CREATE INDEX events_by_story ON events (correlation_id, position);"
            "INSERT INTO events VALUES (1, 's', 1, 'old', 'city.Tested', x'78', 7, 8, '', 'told', '', '', '', 2);"
            "INSERT INTO events VALUES (3, 't', 1, 'old', 'city.Tested', x'78', 7, 8, '', '', '', '', '', 2);"
        )

    async def test(store: SqliteEventStore) -> None:
        new = dataclasses.replace(event("new"), sealed=b"shut", correlation_id="told")
        assert await store.append("s", [new], 1) == Committed(2, 2, 4)
        assert await store.append("s", [event("old")], ANY) == Committed(1, 1, 1)
        assert [(e.id, e.data, e.sealed) for e in await store.read("s")] == [("old", b"x", b""), ("new", b"x", b"shut")]
        assert [(e.stream, e.id) for e in (await store.read_log(0)).events] == [("s", "old"), ("t", "old"), ("s", "new")]
        assert [e.id for e in (await store.feed(correlation_id="told").read({})).events] == ["old", "new"]

    run(test, path)
    run(test, path)


def test_a_copy_in_which_an_event_is_not_found_by_its_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.db"

    async def test(store: SqliteEventStore) -> None:
        await store.append("s", [event("a"), event("b")], NO_STREAM)

    run(test, path)
    assert check_events(path) == (2, 2)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("DELETE FROM places WHERE key = 2")
        database.commit()
    with pytest.raises(StoreError, match="take another one"):
        check_events(path)


def test_a_file_of_a_later_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    with contextlib.closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version=99")

    async def open_it() -> None:
        with pytest.raises(StoreError, match="later release"):
            SqliteEventStore(path)
        # And it keeps nobody else waiting.
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as later:
            later.execute("BEGIN IMMEDIATE")

    asyncio.run(open_it())


def test_ids_whose_digests_meet_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reading, writing):
        monkeypatch.setattr(module, "digest", lambda _: -1)

    async def test(store: SqliteEventStore) -> None:
        assert await store.append("s", [event("a"), event("b")], NO_STREAM) == Committed(1, 2, 2)
        assert await store.append("s", [event("c")], 2) == Committed(3, 3, 3)
        assert await store.append("t", [event("a")], NO_STREAM) == Committed(1, 1, 4)
        assert await store.append("s", [event("a"), event("b")], ANY) == Committed(1, 2, 2)
        assert await store.append("s", [event("b"), event("new")], ANY) == Conflict(3)
        assert [await store.version_of("s", name) for name in ("a", "b", "c", "d")] == [1, 2, 3, 0]

    run(test, tmp_path / "e.db")


def test_a_story_is_whole_wherever_the_sorting_of_stories_has_come_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_SORT_EVERY", 5)

    async def test(store: SqliteEventStore) -> None:
        for number in range(23):
            correlation_id = ("one", "two", "")[number % 3]
            await store.append(f"s{number % 4}", [dataclasses.replace(event(str(number)), correlation_id=correlation_id)], ANY)
            for after in range(number + 1):
                page = await store.read_correlated("two", after, 3, None)
                wanted = [str(n) for n in range(number + 1) if n % 3 == 1 and n >= after][:3]
                assert [e.id for e in page.events] == wanted

    run(test, tmp_path / "e.db")


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


@settings(max_examples=20)
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


def test_a_story_is_read_to_the_position_that_was_asked_for_and_not_beyond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_SORT_EVERY", 5)

    async def test(store: SqliteEventStore) -> None:
        for number in range(13):
            await store.append("s", [dataclasses.replace(event(str(number)), correlation_id="told")], ANY)

    run(test, tmp_path / "e.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "e.db")) as connection:
        # What was committed since the reader looked for the head is there, and must wait for the next page.
        for upto in range(14):
            found = reading.read_correlated(connection, "told", 0, upto, 100, None)
            assert [one.position for one in found] == list(range(1, upto + 1))


def test_a_commit_of_events_returns_when_the_disk_has_them(tmp_path: Path) -> None:
    # Nobody can cut the power here: that SQLite is told so (2 is FULL) is what can be seen.
    for connection in (file.connect(tmp_path / "e.db"), file.opened(tmp_path / "e.db")):
        with contextlib.closing(connection):
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
