"""The audit trail as a process writes it: batches, durability, days, a store that is away, a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from citybrain.audit.v1 import records_pb2 as pb
from citybrain.options.v1.options_pb2 import CLASSIFICATION_RESTRICTED, CLASSIFICATION_SECRET
from typing_extensions import override

from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import Committed, Conflict, Cursor, EventStore, NewEvent, StoredEvent, StoreError, Undecided
from citybrain.mesh.audit import chain
from citybrain.mesh.audit.entries import Entry, TrailAway
from citybrain.mesh.audit.trail import ChainedTrail
from citybrain.mesh.audit.verifying import verify
from citybrain.mesh.events import microseconds

LIMIT_S = 30
DAY_US = 86_400_000_000
MORNING = 1_767_600_000_000_000
CITY_TIME = 1_000_000
WANG = Entry(
    subject="officer-7", team="traffic-police", on_behalf_of="wang", method="citybrain.health.v1.HealthService/ReserveBed",
    persons=("per-0123456789abcdef",), classification=CLASSIFICATION_RESTRICTED, allowed=False, code="PERMISSION_DENIED",
    reason="SCOPE_MISSING", request_id="r-1", trace_id="0af7",
)  # fmt: skip


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = MORNING

    def __call__(self) -> int:
        return self.now


class Weather(SqliteEventStore):
    """A store that can be away, or loses its answers."""

    away = False
    silent = False
    appends = 0

    @override
    def append(  # type: ignore[override]
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Awaitable[Committed | Conflict]:
        return asyncio.ensure_future(self._weathered(stream, events, expected))

    async def _weathered(self, stream: str, events: Sequence[NewEvent], expected: int) -> Committed | Conflict:
        self.appends += 1
        if self.away:
            raise StoreError("the disk is full")
        outcome = await super().append(stream, events, expected)
        if self.silent:
            raise Undecided("the answer was lost")
        return outcome


def on_store(folder: Path, test: Callable[[Weather], Awaitable[None]]) -> None:
    async def run() -> None:
        store = Weather(folder / "events.db")
        try:
            await asyncio.wait_for(test(store), LIMIT_S)
        finally:
            store.close()

    asyncio.run(run())


async def batches(store: EventStore) -> dict[str, list[pb.RecordsKept]]:
    """All batches, by chain."""
    found: dict[str, list[pb.RecordsKept]] = {}
    for event in await logged(store, chain.BATCH):
        found.setdefault(chain.chain_of(event.stream), []).append(pb.RecordsKept.FromString(event.data))
    return found


async def anchored(store: EventStore) -> list[pb.ChainEnd]:
    """All ends of chains that were written down, in order."""
    events = await logged(store, chain.ANCHOR)
    return [end for event in events for end in pb.ChainsAnchored.FromString(event.data).chains]


async def logged(store: EventStore, kind: str) -> list[StoredEvent]:
    """The events of a type."""
    feed = store.feed([kind])
    place: Cursor = {}
    events: list[StoredEvent] = []
    while not feed.ended(place):
        page = await feed.read(place)
        events += page.events
        place = page.cursor
    return events


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():
        await asyncio.sleep(0.005)


def subjects(found: list[pb.RecordsKept]) -> list[str]:
    return [record.subject for batch in found for record in batch.records]


def trail_on(store: EventStore, clock: Clock | None = None, **options: float) -> ChainedTrail:
    return ChainedTrail(store, lambda: CITY_TIME, now=clock or Clock(), **options)  # type: ignore[arg-type]


def test_what_was_kept_is_in_the_store_whole_and_secret(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store)
        await trail.keep(WANG)
        (event,) = await logged(store, chain.BATCH)
        assert (event.classification, event.occurred_at, event.correlation_id) == (CLASSIFICATION_SECRET, CITY_TIME, "")
        (record,) = pb.RecordsKept.FromString(event.data).records
        assert microseconds(record.at) == MORNING
        assert (record.subject, record.team, record.on_behalf_of) == ("officer-7", "traffic-police", "wang")
        assert (record.method, list(record.person_ids)) == (WANG.method, list(WANG.persons))
        assert (record.classification, record.decision) == (CLASSIFICATION_RESTRICTED, pb.DECISION_REFUSED)
        assert (record.code, record.reason) == ("PERMISSION_DENIED", "SCOPE_MISSING")
        assert (record.request_id, record.trace_id) == ("r-1", "0af7")
        await trail.close()

    on_store(tmp_path, test)


def test_what_was_noted_is_kept_soon_after_in_one_batch_and_in_order(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store)
        for number in range(300):
            trail.note(replace(WANG, subject=str(number)))

        async def there() -> bool:
            return bool(await batches(store))

        await until(there)
        ((found),) = (await batches(store)).values()
        assert len(found) == 1 and subjects(found) == [str(number) for number in range(300)]
        await trail.close()

    on_store(tmp_path, test)


def test_a_batch_names_the_hash_of_the_one_before_and_none_is_too_large(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store)
        many = tuple(f"per-{number:016x}" for number in range(5000))
        for number in range(30):
            trail.note(replace(WANG, subject=f"{number} " + "x" * 5000, persons=many))
        await trail.keep(WANG)
        events = await logged(store, chain.BATCH)
        assert len(events) > 5 and all(len(event.data) < 256 * 1024 for event in events)
        before = chain.ZERO
        for number, event in enumerate(events, 1):
            batch = pb.RecordsKept.FromString(event.data)
            assert (batch.number, batch.before, event.version) == (number, before, number)
            before = chain.hash_of(event.data)
            assert event.id == before.hex()
        records = [record for event in events for record in pb.RecordsKept.FromString(event.data).records]
        assert len(records) == 30 * 5 + 1
        assert {person for record in records for person in record.person_ids} == {*many, *WANG.persons}
        assert all(len(record.subject.encode()) <= 200 for record in records)
        await trail.close()
        assert (await verify(store)).sound

    on_store(tmp_path, test)


def test_many_that_are_kept_at_once_share_batches(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store)
        await asyncio.gather(*(trail.keep(replace(WANG, subject=str(number))) for number in range(500)))
        (found,) = (await batches(store)).values()
        assert subjects(found) == [str(number) for number in range(500)]
        assert len(found) < 10
        await trail.close()

    on_store(tmp_path, test)


def test_odd_texts_are_kept_as_far_as_they_can_be_written(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store)
        await trail.keep(replace(WANG, subject="half \ud800 letter", request_id="x" * 10_000, reason="号" * 1000))
        ((batch,),) = (await batches(store)).values()
        (record,) = batch.records
        assert record.subject == "half ? letter" and len(record.request_id) < 210 and record.reason.endswith("…")
        await trail.close()

    on_store(tmp_path, test)


def test_a_day_has_a_chain_of_its_own_and_that_of_yesterday_is_closed(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        clock = Clock()
        trail = trail_on(store, clock)
        await trail.keep(replace(WANG, subject="monday"))
        trail.note(replace(WANG, subject="monday too"))
        clock.now += DAY_US
        await trail.keep(replace(WANG, subject="tuesday"))
        clock.now -= 60_000_000
        await trail.keep(replace(WANG, subject="a clock that was put back"))
        monday, tuesday = (await batches(store)).items()
        assert (monday[0][-9:], subjects(monday[1])) == ("-20260105", ["monday", "monday too"])
        assert (tuesday[0][-9:], subjects(tuesday[1])) == ("-20260106", ["tuesday", "a clock that was put back"])
        assert [batch.number for batch in tuesday[1]] == [1, 2]
        ends = [(end.chain, end.number, end.closed) for end in await anchored(store)]
        assert ends == [(monday[0], 0, False), (monday[0], 2, True), (tuesday[0], 0, False)]
        await trail.close()
        assert [(end.number, end.closed) for end in await anchored(store)][3:] == [(2, True)]
        assert (await verify(store)).sound

    on_store(tmp_path, test)


def test_a_chain_that_has_grown_is_anchored_now_and_then(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store, anchor_s=0.02)
        # At its start it looks after chains of others, and would anchor its own too.
        await trail._looking_after
        await trail.keep(WANG)

        async def known() -> bool:
            return any(end.number == 1 for end in await anchored(store))

        await until(known)
        before = len(await anchored(store))
        await asyncio.sleep(0.1)
        assert len(await anchored(store)) == before, "one that has not grown is not"
        await trail.keep(WANG)
        (first, second) = next(iter((await batches(store)).values()))
        assert (first.anchor_number, second.anchor_number) == (1, before), "a batch names the newest anchor"
        await trail.close()
        assert (await verify(store)).sound

    on_store(tmp_path, test)


def test_a_trail_that_records_nothing_writes_nothing(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store, anchor_s=0.01)
        await asyncio.sleep(0.1)
        await trail.close()
        assert store.appends == 0 and (await verify(store)).sound

    on_store(tmp_path, test)


def test_while_the_store_is_away_calls_are_refused_and_their_records_are_written_later(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store, most_held=20)
        await trail.keep(replace(WANG, subject="before"))
        store.away = True
        with pytest.raises(TrailAway, match=r"cannot be recorded now \(1 record wait.*it takes nothing\): try again later"):
            await trail.keep(replace(WANG, subject="done, and not answered"))
        with pytest.raises(TrailAway):
            trail.admit(durable=True)
        assert trail.unwell() == "the audit trail cannot be written: the disk is full"
        trail.admit()
        for number in range(19):
            trail.note(replace(WANG, subject=str(number)))
        with pytest.raises(TrailAway, match="20 records wait"):
            trail.admit()
        for number in range(19, 39):
            trail.note(replace(WANG, subject=str(number)))
        with pytest.raises(TrailAway):
            trail.note(WANG)
        store.away = False

        async def written() -> bool:
            return sum(map(len, map(subjects, (await batches(store)).values()))) == 41

        await until(written)
        (found,) = (await batches(store)).values()
        assert subjects(found) == ["before", "done, and not answered", *map(str, range(39))]
        await trail.keep(replace(WANG, subject="again"))
        trail.admit(durable=True)
        assert not trail.unwell()
        await trail.close()
        assert (await verify(store)).sound

    on_store(tmp_path, test)


def test_a_batch_whose_answer_was_lost_is_written_once(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store)
        await trail.keep(replace(WANG, subject="before"))
        store.silent = True
        with pytest.raises(TrailAway):
            await trail.keep(replace(WANG, subject="lost"))
        store.silent = False
        trail.note(replace(WANG, subject="after"))
        await trail.close()
        (found,) = (await batches(store)).values()
        assert subjects(found) == ["before", "lost", "after"]
        assert (await verify(store)).sound

    on_store(tmp_path, test)


def test_after_closing_nothing_is_recorded_and_all_that_was_noted_is(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store)
        trail.note(WANG)
        await trail.close()
        assert [len(found) for found in (await batches(store)).values()] == [1]
        with pytest.raises(TrailAway, match="is stopping"):
            trail.note(WANG)
        with pytest.raises(TrailAway):
            trail.admit()

    on_store(tmp_path, test)


def test_the_chain_of_a_process_that_crashed_is_anchored_by_the_next_one(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        crashed = trail_on(store)
        for _ in range(3):
            await crashed.keep(WANG)
        crashed._writing.cancel()
        (name,) = await batches(store)
        assert [(end.chain, end.number) for end in await anchored(store)] == [(name, 0)]
        later = trail_on(store)

        async def known() -> bool:
            return (name, 3) in [(end.chain, end.number) for end in await anchored(store)]

        await until(known)
        await later.close()
        assert (await verify(store)).sound
        once = len(await anchored(store))
        another = trail_on(store)
        await another._looking_after
        await another.close()
        assert len(await anchored(store)) == once

    on_store(tmp_path, test)


def test_who_looks_after_the_chains_of_others_leaves_its_own_alone(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store)
        await trail._looking_after
        await trail.keep(WANG)
        # As if it had looked only now.
        await trail._anchors.adopt(MORNING, lambda name: name == trail._chain)
        assert [end.number for end in await anchored(store)] == [0]
        await trail.close()

    on_store(tmp_path, test)


def test_processes_that_anchor_at_once_leave_one_chain_of_anchors(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trails = [trail_on(store) for _ in range(8)]
        await asyncio.gather(*(trail.keep(WANG) for trail in trails))
        await asyncio.gather(*(trail.close() for trail in trails))
        report = await verify(store)
        assert report.sound and len(report.chains) == 9
        assert all(one.closed and one.anchored == 1 for name, one in report.chains.items() if name != chain.ANCHORS)

    on_store(tmp_path, test)


def test_when_somebody_else_wrote_to_its_chain_a_process_begins_another_one(tmp_path: Path) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store)
        await trail.keep(replace(WANG, subject="before"))
        (name,) = await batches(store)
        forged = chain.batch(name, chain.Place(1, b"x" * 32), chain.Place(), CITY_TIME, [])
        await store.append(chain.stream_of(name), [forged], 1)
        with pytest.raises(TrailAway):
            await trail.keep(replace(WANG, subject="after"))
        await trail.close()
        found = await batches(store)
        assert len(found) == 2 and [subjects(one) for one in found.values()] == [["before"], ["after"]]
        report = await verify(store)
        assert {(one.chain, one.first) for one in report.findings} == {(name, 2)}
        assert "inserted" in [one.what for one in report.findings]

    on_store(tmp_path, test)


def test_an_unexpected_error_of_the_store_loses_nothing_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(store: Weather) -> None:
        trail = trail_on(store)
        await trail.keep(replace(WANG, subject="before"))
        with monkeypatch.context() as patch:
            # It was written, and then something broke.
            written = store._weathered

            async def breaks(*arguments: object) -> Committed | Conflict:
                await written(*arguments)  # type: ignore[arg-type]
                raise ZeroDivisionError

            patch.setattr(store, "_weathered", breaks)
            with pytest.raises(TrailAway, match="it takes nothing"):
                await trail.keep(replace(WANG, subject="written and broken"))
        trail.note(replace(WANG, subject="after"))
        await trail.close()
        (found,) = (await batches(store)).values()
        assert subjects(found) == ["before", "written and broken", "after"]
        assert (await verify(store)).sound

    on_store(tmp_path, test)
