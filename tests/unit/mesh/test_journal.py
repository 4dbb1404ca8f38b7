"""A journal: what calls write side by side is durable before they go on, shares appends, and is whole whatever fails."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1.traffic_service_pb2 import EdgeSpeed
from typing_extensions import override

from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import Committed, Conflict, NewEvent, StoredEvent, StoreError
from citybrain.mesh.errors import Contended
from citybrain.mesh.events import decode
from citybrain.mesh.providers import journal
from citybrain.mesh.runtime import context
from citybrain.mesh.runtime.exercises import exercise_of
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.validation import EventRefused
from citybrain.mesh.service import Journal, Service
from citybrain.mesh.storage.embedded import Embedded
from citybrain.mesh.testing.parts import Parts, on_parts, together


class Noting(Service):
    """Has a journal."""

    name = "noting"
    notes = Journal("notes")


class Watched(SqliteEventStore):
    """A store that remembers how large its appends were, and answers the next ones as a test says."""

    sizes: list[int]
    answers: list[Conflict | StoreError]

    @override
    async def append(  # type: ignore[override]
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Committed | Conflict:
        self.sizes.append(len(events))
        if not self.answers:
            return await super().append(stream, events, expected, timeout_s)
        answer = self.answers.pop(0)
        if isinstance(answer, StoreError):
            # It was carried out, and nobody hears of that.
            await super().append(stream, events, expected, timeout_s)
            raise answer
        return answer


async def watched(path: Path) -> Watched:
    store = Watched(path)
    store.sizes, store.answers = [], []
    return store


def on_a_journal(tmp_path: Path, test: Callable[[Journal, Watched], None]) -> None:
    def run(parts: Parts) -> None:
        parts.store.close()
        engine = parts.process.engine
        assert isinstance(engine, Embedded)
        store = wait(watched(tmp_path / "events.db"))
        engine.store = parts.store = store
        container = parts.add(Noting, "citybrain.traffic.v1.TrafficService")
        (notes,) = [one for one in container.dependencies if isinstance(one, Journal)]
        test(notes, store)

    on_parts(tmp_path, run)


def write(notes: Journal, name: str, exercise: str = "") -> None:
    """A call that writes one event."""
    context.enter(context.Call("tester", "city.Test/Do", name, correlation_id="inc-1", exercise=exercise))
    notes.write(ev.SignalReported(signal_id="s", command_id=name))


def kept(store: Watched) -> list[StoredEvent]:
    return list(wait(store.read_log(0, 10_000)).events)


def names(store: Watched) -> list[str]:
    return [decode(event).command_id for event in kept(store)]  # type: ignore[attr-defined]


def test_an_event_is_durable_when_the_call_goes_on_and_says_who_wrote_it(tmp_path: Path) -> None:
    def test(notes: Journal, store: Watched) -> None:
        write(notes, "a")
        (event,) = kept(store)
        assert (event.actor, event.correlation_id, event.stream[:13]) == ("tester", "inc-1", "noting/notes-")
        write(notes, "b")
        assert len({event.stream for event in kept(store)}) == 1 and names(store) == ["a", "b"]

    on_a_journal(tmp_path, test)


def test_calls_that_write_at_once_share_appends_and_none_is_lost(tmp_path: Path) -> None:
    def test(notes: Journal, store: Watched) -> None:
        wanted = [f"n{number}" for number in range(250)]
        assert together(*(partial(write, notes, name) for name in wanted)) == [None] * 250
        assert sorted(names(store)) == sorted(wanted)
        assert store.sizes == [journal.MOST_EVENTS, journal.MOST_EVENTS, 50]

    on_a_journal(tmp_path, test)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("longest_s", "first"), [(60.0, 5), (0.0, 1)])
def test_an_append_waits_while_others_come_one_after_the_other_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest_s: float, first: int
) -> None:
    monkeypatch.setattr(journal, "_GATHERS_S", longest_s)

    def test(notes: Journal, store: Watched) -> None:
        def comes(number: int) -> None:
            wait(turns(3 * number))
            write(notes, f"n{number}")

        together(*(partial(comes, number) for number in range(5)))
        assert store.sizes[0] == first and sum(store.sizes) == 5

    on_a_journal(tmp_path, test)


def test_a_call_that_is_sent_again_writes_again(tmp_path: Path) -> None:
    def test(notes: Journal, store: Watched) -> None:
        write(notes, "a")
        write(notes, "a")
        assert names(store) == ["a", "a"]

    on_a_journal(tmp_path, test)


def test_where_somebody_else_has_written_another_stream_is_begun(tmp_path: Path) -> None:
    def test(notes: Journal, store: Watched) -> None:
        write(notes, "a")
        store.answers = [Conflict(7)]
        write(notes, "b")
        assert names(store) == ["a", "b"] and len({event.stream for event in kept(store)}) == 2
        store.answers = [Conflict(7)] * 3
        with pytest.raises(Contended):
            write(notes, "c")

    on_a_journal(tmp_path, test)


def test_whose_event_is_not_known_to_be_durable_is_told_and_the_next_is_written_all_the_same(tmp_path: Path) -> None:
    def test(notes: Journal, store: Watched) -> None:
        write(notes, "a")
        store.answers = [StoreError("the disk is away")]
        with pytest.raises(StoreError, match="the disk is away"):
            write(notes, "b")
        write(notes, "c")
        assert names(store) == ["a", "b", "c"]
        assert len({event.stream for event in kept(store)}) == 2

    on_a_journal(tmp_path, test)


def test_a_stream_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LONGEST", 2)

    def test(notes: Journal, store: Watched) -> None:
        for name in "abcde":
            write(notes, name)
        assert [event.version for event in kept(store)] == [1, 2, 1, 2, 1]

    on_a_journal(tmp_path, test)


def test_large_events_do_not_share_more_than_an_append_may_hold(tmp_path: Path) -> None:
    def test(notes: Journal, store: Watched) -> None:
        large = "x" * 200_000
        together(*(partial(write, notes, f"{number}{large}") for number in range(7)))
        assert store.sizes == [2, 2, 2, 1]

    on_a_journal(tmp_path, test)


def test_what_is_written_in_a_drill_stays_in_it(tmp_path: Path) -> None:
    def test(notes: Journal, store: Watched) -> None:
        write(notes, "a")
        write(notes, "b", exercise="flood-2026")
        assert [exercise_of(event.stream) for event in kept(store)] == ["", "flood-2026"]

    on_a_journal(tmp_path, test)


def test_what_the_contract_does_not_allow_is_not_written(tmp_path: Path) -> None:
    def test(notes: Journal, store: Watched) -> None:
        context.enter(context.Call("tester", "city.Test/Do", "r"))
        with pytest.raises(EventRefused):
            notes.write(ev.SpeedsMeasured(speeds=[EdgeSpeed(edge_id="e", speed_mps=math.nan)]))
        assert kept(store) == []

    on_a_journal(tmp_path, test)
