"""Whatever is changed in the files of the audit trail is found, and it is said where."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from citybrain.audit.v1 import records_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.sqlite.file import digest
from citybrain.event_store.store import StoredEvent
from citybrain.mesh.audit import chain
from citybrain.mesh.audit.chain import Link, Place
from citybrain.mesh.audit.entries import Entry
from citybrain.mesh.audit.trail import ChainedTrail
from citybrain.mesh.audit.verifying import Known, Report, check, verify

MORNING = 1_767_600_000_000_000
WANG = Entry(subject="wang", method="citybrain.health.v1.HealthService/ReserveBed", persons=("per-0123456789abcdef",))
BATCHES = 6
ANCHORED = 4


@dataclass(frozen=True, slots=True)
class Trail:
    """A file with a chain of `BATCHES` batches, of which `ANCHORED` are anchored, and whose process ended by a crash."""

    file: Path
    chain: str

    @property
    def stream(self) -> str:
        return chain.stream_of(self.chain)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Trail:
    file = tmp_path_factory.mktemp("written") / "events.db"

    async def write() -> str:
        store = SqliteEventStore(file)
        trail = ChainedTrail(store, lambda: MORNING, now=lambda: MORNING, anchor_s=3600)
        for number in range(BATCHES):
            await trail.keep(replace(WANG, request_id=str(number)))
            if number + 1 == ANCHORED:
                await trail._anchor_end()
        trail._writing.cancel()
        store.close()
        return trail._chain

    return Trail(file, asyncio.run(write()))


@pytest.fixture
def trail(written: Trail, tmp_path: Path) -> Trail:
    """A copy, to be tampered with."""
    copy(written.file, tmp_path / "events.db")
    return replace(written, file=tmp_path / "events.db")


def copy(file: Path, target: Path) -> None:
    """With what is in its write-ahead log."""
    with contextlib.closing(sqlite3.connect(file)) as source, contextlib.closing(sqlite3.connect(target)) as there:
        source.backup(there)


def verified(file: Path, earlier: Mapping[str, tuple[int, bytes]] | None = None, since: str = "") -> Report:
    async def run() -> Report:
        store = SqliteEventStore(file)
        try:
            return await verify(store, earlier=earlier, since=since)
        finally:
            store.close()

    return asyncio.run(run())


def found(file: Path) -> list[tuple[str, int, int, str]]:
    return [(one.chain, one.first, one.last, one.what) for one in verified(file).findings]


@contextlib.contextmanager
def tampering(trail: Trail) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(trail.file, isolation_level=None)
    yield database
    database.close()


def position(database: sqlite3.Connection, trail: Trail, version: int, stream: str = "") -> int:
    (at,) = database.execute(
        "SELECT position FROM events WHERE stream = ? AND version = ?", (stream or trail.stream, version)
    ).fetchone()
    return int(at)


def data_of(database: sqlite3.Connection, trail: Trail, version: int) -> pb.RecordsKept:
    (data,) = database.execute("SELECT data FROM events WHERE stream = ? AND version = ?", (trail.stream, version)).fetchone()
    return pb.RecordsKept.FromString(data)


def put(database: sqlite3.Connection, trail: Trail, version: int, message: pb.RecordsKept) -> bytes:
    """Writes other content, and an id that fits it, as somebody would who knows how it is done; returns its hash."""
    data = message.SerializeToString(deterministic=True)
    at = position(database, trail, version)
    database.execute("UPDATE events SET data = ?, id = ? WHERE position = ?", (data, chain.hash_of(data).hex(), at))
    return chain.hash_of(data)


def remove(database: sqlite3.Connection, trail: Trail, version: int, stream: str = "") -> None:
    at = position(database, trail, version, stream)
    database.execute("DELETE FROM events WHERE position = ?", (at,))
    database.execute("DELETE FROM places WHERE position = ?", (at,))


def insert(
    database: sqlite3.Connection, trail: Trail, version: int, data: bytes, stream: str = "", *, placed: bool = True
) -> None:
    stream = stream or trail.stream
    columns = [row[1] for row in database.execute("PRAGMA table_info(events)")]
    row = dict(zip(columns, database.execute("SELECT * FROM events WHERE type = ?", (chain.BATCH,)).fetchone(), strict=True))
    (head,) = database.execute("SELECT max(position) FROM events").fetchone()
    row |= {"position": head + 1, "stream": stream, "version": version, "data": data, "id": chain.hash_of(data).hex()}
    database.execute(f"INSERT INTO events ({','.join(row)}) VALUES ({','.join('?' * len(row))})", tuple(row.values()))
    if placed:
        database.execute("INSERT OR IGNORE INTO streams (name) VALUES (?)", (stream,))
        (number,) = database.execute("SELECT number FROM streams WHERE name = ?", (stream,)).fetchone()
        database.execute("INSERT INTO places VALUES (?, ?, ?)", (number, version, head + 1))
        database.execute("INSERT INTO places VALUES (?, ?, ?)", (number, digest(str(row["id"])), head + 1))


def test_a_trail_that_nobody_touched_is_sound(trail: Trail) -> None:
    report = verified(trail.file)
    assert report.sound
    own = report.chains[trail.chain]
    assert (own.batches, own.records, own.anchored, own.closed) == (BATCHES, BATCHES, ANCHORED, False)
    assert report.chains[chain.ANCHORS].batches == 2


@pytest.mark.parametrize("version", range(1, BATCHES + 1))
def test_a_record_that_was_changed_is_found(version: int, trail: Trail) -> None:
    with tampering(trail) as database:
        message = data_of(database, trail, version)
        message.records[0].subject = "li"
        at = position(database, trail, version)
        database.execute("UPDATE events SET data = ? WHERE position = ?", (message.SerializeToString(), at))
    assert found(trail.file) == [(trail.chain, version, version, "changed")]


@pytest.mark.parametrize("version", range(1, BATCHES))
def test_a_record_that_was_changed_together_with_its_hash_is_found(version: int, trail: Trail) -> None:
    with tampering(trail) as database:
        message = data_of(database, trail, version)
        del message.records[0]
        put(database, trail, version, message)
    assert found(trail.file) == [(trail.chain, version, version, "changed")]


def test_a_whole_chain_that_was_written_anew_is_found_by_its_anchor(trail: Trail) -> None:
    with tampering(trail) as database:
        before = chain.ZERO
        for version in range(1, BATCHES + 1):
            message = data_of(database, trail, version)
            message.before = before
            message.records[0].subject = "li"
            before = put(database, trail, version, message)
    assert (trail.chain, ANCHORED, ANCHORED, "changed") in found(trail.file)


@pytest.mark.parametrize(("first", "last"), [(1, 1), (2, 2), (2, 4), (1, 5), (3, 5)])
def test_batches_that_were_removed_are_found(first: int, last: int, trail: Trail) -> None:
    with tampering(trail) as database:
        for version in range(first, last + 1):
            remove(database, trail, version)
    assert found(trail.file) == [(trail.chain, first, last, "removed")]


def test_a_batch_that_was_removed_and_its_place_closed_is_found(trail: Trail) -> None:
    with tampering(trail) as database:
        remove(database, trail, 2)
        for version in range(3, BATCHES + 1):
            at = position(database, trail, version)
            database.execute("UPDATE events SET version = version - 1 WHERE position = ?", (at,))
            database.execute("UPDATE places SET key = key - 1 WHERE position = ? AND key > 0", (at,))
    assert found(trail.file) == [(trail.chain, 2, 2, "removed")]


def test_a_tail_that_was_cut_off_is_found_as_far_as_it_was_anchored(trail: Trail) -> None:
    with tampering(trail) as database:
        for version in range(3, BATCHES + 1):
            remove(database, trail, version)
    assert found(trail.file) == [(trail.chain, 3, ANCHORED, "removed")]


def test_a_tail_that_was_cut_off_is_found_by_an_earlier_report_and_so_is_one_that_was_forged(trail: Trail) -> None:
    before = verified(trail.file)
    earlier = {name: (one.batches, bytes.fromhex(one.hash)) for name, one in before.chains.items()}
    assert verified(trail.file, earlier).sound
    forged = replace(trail, file=trail.file.with_name("forged.db"))
    copy(trail.file, forged.file)
    with tampering(trail) as database:
        remove(database, trail, BATCHES)
    assert verified(trail.file).sound, "it was not anchored yet"
    (one,) = verified(trail.file, earlier).findings
    assert (one.chain, one.first, one.last, one.what) == (trail.chain, BATCHES, BATCHES, "removed")
    with tampering(forged) as database:
        message = data_of(database, forged, BATCHES)
        message.records[0].subject = "li"
        put(database, forged, BATCHES, message)
    (one,) = verified(forged.file, earlier).findings
    assert (one.first, one.last, one.what) == (BATCHES, BATCHES, "changed")


def test_a_chain_that_was_removed_as_a_whole_is_found(trail: Trail) -> None:
    with tampering(trail) as database:
        for version in range(1, BATCHES + 1):
            remove(database, trail, version)
    assert found(trail.file) == [(trail.chain, 1, ANCHORED, "removed")]


def test_anchors_that_were_cut_off_are_found_by_the_batches_that_name_them(trail: Trail) -> None:
    with tampering(trail) as database:
        remove(database, trail, 2, chain.stream_of(chain.ANCHORS))
    assert found(trail.file) == [("anchors", 2, 2, "removed")]


def test_anchors_that_were_changed_are_found(trail: Trail) -> None:
    with tampering(trail) as database:
        stream = chain.stream_of(chain.ANCHORS)
        at = position(database, trail, 2, stream)
        (data,) = database.execute("SELECT data FROM events WHERE position = ?", (at,)).fetchone()
        message = pb.ChainsAnchored.FromString(data)
        message.chains[0].number = 2
        data = message.SerializeToString(deterministic=True)
        database.execute("UPDATE events SET data = ?, id = ? WHERE position = ?", (data, chain.hash_of(data).hex(), at))
    assert ("anchors", 2, 2, "changed") in found(trail.file)


def test_two_batches_that_changed_places_are_found(trail: Trail) -> None:
    with tampering(trail) as database:
        third, fourth = position(database, trail, 3), position(database, trail, 4)
        for at, version in ((third, 4), (fourth, 3)):
            database.execute("UPDATE events SET version = ? WHERE position = ?", (version, at))
            database.execute("UPDATE places SET key = -key WHERE position = ? AND key > 0", (at,))
        for at, version in ((third, 4), (fourth, 3)):
            database.execute("UPDATE places SET key = ? WHERE position = ? AND key IN (-3, -4)", (version, at))
    assert found(trail.file) == [(trail.chain, 3, 3, "reordered"), (trail.chain, 4, 4, "reordered")]


def test_a_batch_that_was_inserted_at_the_end_of_a_closed_chain_is_found(trail: Trail) -> None:
    async def close() -> None:
        store = SqliteEventStore(trail.file)
        later = ChainedTrail(store, lambda: MORNING, now=lambda: MORNING)
        await later.keep(WANG)
        await later.close()
        store.close()

    asyncio.run(close())
    closed = next(name for name, one in verified(trail.file).chains.items() if one.closed)
    with tampering(trail) as database:
        (data,) = database.execute("SELECT data FROM events WHERE stream = ?", (chain.stream_of(closed),)).fetchone()
        message = pb.RecordsKept.FromString(data)
        message.number, message.before = 2, chain.hash_of(data)
        insert(database, trail, 2, message.SerializeToString(deterministic=True), chain.stream_of(closed))
    assert found(trail.file) == [(closed, 2, 2, "inserted")]


def test_a_batch_that_was_inserted_between_two_others_is_found(trail: Trail) -> None:
    with tampering(trail) as database:
        for version in range(BATCHES, 2, -1):
            at = position(database, trail, version)
            database.execute("UPDATE events SET version = version + 1 WHERE position = ?", (at,))
            database.execute("UPDATE places SET key = key + 1 WHERE position = ? AND key > 0", (at,))
        message = data_of(database, trail, 2)
        message.number, message.before = 3, chain.hash_of(message.SerializeToString(deterministic=True))
        message.records[0].subject = "li"
        insert(database, trail, 3, message.SerializeToString(deterministic=True))
    assert found(trail.file) == [(trail.chain, 3, 3, "inserted")]


def test_a_batch_that_stands_only_in_the_log_is_found(trail: Trail) -> None:
    with tampering(trail) as database:
        message = data_of(database, trail, BATCHES)
        message.number = BATCHES + 1
        insert(database, trail, BATCHES + 1, message.SerializeToString(deterministic=True), placed=False)
    assert found(trail.file) == [(trail.chain, BATCHES + 1, BATCHES + 1, "inserted")]


def test_a_chain_that_no_anchor_knows_is_found(trail: Trail) -> None:
    with tampering(trail) as database:
        message = data_of(database, trail, 1)
        message.chain = "0123456789ab-20260105"
        insert(database, trail, 1, message.SerializeToString(deterministic=True), chain.stream_of(message.chain))
        insert(database, trail, 1, message.SerializeToString(deterministic=True), "health/ambulance-1")
    assert sorted(found(trail.file)) == [
        ("0123456789ab-20260105", 1, 1, "inserted"),
        ("health/ambulance-1", 1, 1, "inserted"),
    ]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "another"), ("type", "citybrain.audit.v1.Other"), ("occurred_at", 7), ("traceparent", "00-1"),
        ("correlation_id", "inc-1"), ("causation_id", "e1"), ("actor", "li"), ("district", "xihu"), ("classification", 1),
        ("sealed", b"x"), ("data", b""), ("data", None), ("data", "text"),
    ],
)  # fmt: skip
def test_what_stands_beside_the_content_is_not_changed_unnoticed_either(column: str, value: object, trail: Trail) -> None:
    with tampering(trail) as database:
        database.execute("PRAGMA ignore_check_constraints=ON")
        at = position(database, trail, 3)
        if value is None:
            database.execute("UPDATE events SET data = zeroblob(10) WHERE position = ?", (at,))
        else:
            database.execute(f"UPDATE events SET {column} = ? WHERE position = ?", (value, at))
    assert found(trail.file) == [(trail.chain, 3, 3, "changed")]


def test_only_the_chains_of_the_days_that_are_asked_for_are_read(trail: Trail) -> None:
    with tampering(trail) as database:
        remove(database, trail, 2)
    assert not verified(trail.file, since="20260105").sound
    assert verified(trail.file, since="20260106").sound


# -- one chain, by itself -----------------------------------------------------------------------------------------------------


def chained(length: int) -> list[StoredEvent]:
    """A chain as the store has it."""
    end, events = Place(), []
    for number in range(1, length + 1):
        new = chain.batch("a-20260105", end, Place(1, b"a" * 32), MORNING, [pb.Record(subject=str(number), method="m")])
        end = Place(number, chain.hash_of(new.data))
        events.append(
            StoredEvent(
                new.id, new.type, new.data, new.occurred_at, "", "", "", new.actor, "", new.classification,
                "audit/a-20260105", number, MORNING, number,
            )
        )  # fmt: skip
    return events


LENGTH = 5
CHAIN = chained(LENGTH)
KNOWN = Known(hashes={3: chain.hash_of(CHAIN[2].data)}, begun=True, anchored=3)
Change = Callable[[list[StoredEvent]], None]


def links(events: list[StoredEvent]) -> list[Link]:
    return [chain.link_of("a-20260105", event) for event in events]


@given(st.integers(0, LENGTH - 1), st.data())
@settings(max_examples=300, deadline=None)
def test_any_single_change_of_the_stored_bytes_is_found_where_it_is(which: int, data: st.DataObject) -> None:
    events = list(CHAIN)
    old = events[which].data
    kind = data.draw(st.sampled_from(["flip", "cut", "add", "all"]))
    at = data.draw(st.integers(0, len(old) - 1))
    new = {
        "flip": lambda: old[:at] + bytes([old[at] ^ data.draw(st.integers(1, 255))]) + old[at + 1 :],
        "cut": lambda: old[:at] + old[at + data.draw(st.integers(1, 20)) :],
        "add": lambda: old[:at] + data.draw(st.binary(min_size=1, max_size=20)) + old[at:],
        "all": lambda: data.draw(st.binary(max_size=100)),
    }[kind]()
    if new == old:
        return
    events[which] = events[which]._replace(data=new)
    findings, _ = check("a-20260105", links(events), KNOWN)
    assert [(one.first, one.last, one.what) for one in findings] == [(which + 1, which + 1, "changed")]


@given(st.permutations(range(LENGTH)))
@settings(max_examples=100, deadline=None)
def test_any_other_order_is_found(order: list[int]) -> None:
    events = [CHAIN[number]._replace(version=place) for place, number in enumerate(order, 1)]
    findings, _ = check("a-20260105", links(events), KNOWN)
    assert {one.first for one in findings} >= {number + 1 for place, number in enumerate(order) if place != number}
    assert all(one.what == "reordered" for one in findings) and (bool(findings) == (order != list(range(LENGTH))))


@given(st.sets(st.integers(0, LENGTH - 2), min_size=1))
@settings(max_examples=100, deadline=None)
def test_any_batches_that_are_missing_before_the_end_are_found(gone: set[int]) -> None:
    findings, _ = check("a-20260105", links([event for number, event in enumerate(CHAIN) if number not in gone]), KNOWN)
    removed = {number for one in findings if one.what == "removed" for number in range(one.first, one.last + 1)}
    assert removed == {number + 1 for number in gone} and all(one.what == "removed" for one in findings)
