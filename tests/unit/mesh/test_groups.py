"""A process as a member of consumer groups: when it is at rest, and when another one leads."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1.traffic_service_pb2 import EdgeSpeed

from citybrain.event_store import parking
from citybrain.event_store.keys import KeysMissing, PersonErased
from citybrain.event_store.limits import MAX_APPEND_EVENTS, MAX_EVENT_BYTES
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.store import (
    ANY,
    LimitExceeded,
    NewEvent,
    Partition,
    StoreError,
    Undecided,
)
from citybrain.event_store.subscription import Batch
from citybrain.mesh.errors import CallFailed, Contended, NotFound, Refused, Unavailable
from citybrain.mesh.events import type_name
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import Heard, Service, Streams, View, subscribe
from citybrain.mesh.storage.engine import AllOrNothing
from citybrain.mesh.storage.leadership import Leadership
from citybrain.mesh.subscriptions.groups import GroupMember, Part, lasting
from citybrain.mesh.testing.parts import Parts, on_parts

TRAFFIC = "citybrain.traffic.v1.TrafficService"
REPORTED = type_name(ev.SignalReported)


@dataclass(frozen=True, slots=True)
class Signal:
    """A row: the last event of a signal."""

    id: str


def apply(row: Signal | None, event: Heard) -> Signal | None:
    return Signal(event.stored.id)


class Shelf(Service):
    """Folds one view."""

    name = "shelf"
    rows = View((ev.SignalReported,), lambda event: event.data.signal_id, apply, row=Signal)  # type: ignore[attr-defined]


def write(parts: Parts, *signals: str) -> None:
    """An event for each signal, in a stream of its own."""
    for signal in signals or ("s",):
        data = ev.SignalReported(signal_id=signal).SerializeToString()
        wait(parts.store.append(signal, [NewEvent(id="a", type=REPORTED, data=data, occurred_at=1)], ANY))


def shelf(parts: Parts) -> View[Signal]:
    write(parts)
    (view,) = parts.add(Shelf, TRAFFIC).dependencies
    assert isinstance(view, View)
    parts.start(serve=False)
    return view


def test_a_process_that_has_just_begun_is_not_at_rest_before_it_has_heard_what_was(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        heard: list[str] = []

        async def handle(part: Part, batch: Batch) -> None:
            heard.extend(event.id for event in batch.events)

        write(parts)
        member = GroupMember(parts.process, "shelf", "shelf.hears", [REPORTED])
        member.follow(handle)
        assert not parts.process.activity.at_rest
        wait(parts.process.activity.rest())
        assert heard == ["a"]
        member.leave()

    on_parts(tmp_path, test)


def test_a_process_that_stands_by_is_at_rest_and_folds_once_it_leads(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        other = Leadership(tmp_path / "shelf.lead")
        assert other.take()
        view = shelf(parts)
        wait(parts.process.activity.rest())
        assert view.get("s") is None
        other.give_up()
        parts.until(lambda: view.get("s") == Signal("a"))

    on_parts(tmp_path, test)


def test_a_subscription_that_hangs_is_begun_again_and_says_so(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        tries: list[str] = []

        async def handle(part: Part, batch: Batch) -> None:
            tries.extend(event.id for event in batch.events)
            if len(tries) == 1:
                await asyncio.Event().wait()
            await part.save(batch)

        write(parts)
        parts.process.settings = parts.process.settings.model_copy(update={"stalled_s": 0.2})
        member = GroupMember(parts.process, "shelf", "shelf.hears", [REPORTED])
        member.follow(handle)
        parts.until(lambda: len(tries) == 2)
        parts.until(lambda: wait(member.standing()).lag == 0)
        standing = wait(member.standing())
        assert (standing.restarts, standing.position, tries) == (1, 1, ["a", "a"])
        member.leave()

    on_parts(tmp_path, test)


def test_how_old_the_oldest_event_is_that_is_not_handled_is_told_while_there_is_one(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        go_on = asyncio.Event()

        async def handle(part: Part, batch: Batch) -> None:
            await go_on.wait()
            await part.save(batch)

        member = GroupMember(parts.process, "shelf", "shelf.hears", [REPORTED])
        member.follow(handle)
        assert wait(member.standing()).age_s == 0
        write(parts)
        parts.until(lambda: wait(member.standing()).age_s > 0)
        before = wait(member.standing()).age_s
        parts.until(lambda: wait(member.standing()).age_s > before)
        go_on.set()
        parts.until(lambda: wait(member.standing()).lag == 0)
        assert wait(member.standing()).age_s == 0
        member.leave()

    on_parts(tmp_path, test)


def test_the_oldest_event_is_the_first_that_is_not_done_yet(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        go_on, found = asyncio.Event(), list[int]()

        async def handle(part: Part, batch: Batch) -> None:
            assert part.subscription is not None
            moments = [event.recorded_at for event in batch.events]
            found.append(moments.index(part.subscription.oldest))
            part.subscription.done(batch.events[0])
            found.append(part.subscription.oldest - moments[1])
            await part.save(batch)
            go_on.set()

        write(parts, "s1", "s2")
        member = GroupMember(parts.process, "shelf", "shelf.hears", [REPORTED])
        member.follow(handle)
        wait(go_on.wait())
        assert found == [0, 0]
        member.leave()

    on_parts(tmp_path, test)


def test_a_group_with_nothing_to_do_is_never_taken_for_one_that_hangs(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        async def handle(part: Part, batch: Batch) -> None:
            await part.save(batch)

        parts.process.settings = parts.process.settings.model_copy(update={"stalled_s": 0.05})
        member = GroupMember(parts.process, "shelf", "shelf.hears", [REPORTED])
        member.follow(handle)
        write(parts)
        for _ in range(10):
            wait(asyncio.sleep(0.03))
        assert wait(member.standing()).restarts == 0
        member.leave()

    on_parts(tmp_path, test)


def test_read_models_that_do_not_answer_for_a_while_end_no_membership(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def test(parts: Parts) -> None:
        other = Leadership(tmp_path / "shelf.lead")
        assert other.take()
        away = {"join": 1, "changes": 3}

        def failing(name: str, whole: Any) -> Any:
            async def ask(models: SqliteReadModels, *given: Any) -> Any:
                if away[name]:
                    away[name] -= 1
                    raise StoreError("does not answer")
                return await whole(models, *given)

            return ask

        for name in away:
            monkeypatch.setattr(SqliteReadModels, name, failing(name, getattr(SqliteReadModels, name)))
        view = shelf(parts)
        parts.until(lambda: not away["changes"])
        other.give_up()
        parts.until(lambda: view.get("s") == Signal("a"))
        assert not away["join"]

    on_parts(tmp_path, test)


def test_a_lead_that_cannot_be_taken_for_a_while_is_taken_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def test(parts: Parts) -> None:
        take, failures = Leadership.take, [OSError("too many open files")] * 3

        def failing(lead: Leadership) -> bool:
            if failures:
                raise failures.pop()
            return take(lead)

        monkeypatch.setattr(Leadership, "take", failing)
        view = shelf(parts)
        parts.until(lambda: view.get("s") == Signal("a"))

    on_parts(tmp_path, test)


class Echo(Service):
    """Appends what it is told to, for each event it hears; too much for some of them."""

    name = "echo"
    measured = Streams("measured", int, lambda state, message: state + 1)

    @subscribe(ev.SignalReported, park_after=2)
    def measure(self, event: Heard) -> None:
        asked: Any = event.data
        events = [ev.SpeedsMeasured()] * (MAX_APPEND_EVENTS + 1 if asked.signal_id == "many" else 1)
        if asked.signal_id == "large":
            events = [ev.SpeedsMeasured(speeds=[EdgeSpeed(edge_id="x" * 100)] * (MAX_EVENT_BYTES // 100))]
        self.measured.handle(asked.signal_id, lambda state: events, lambda state, events: None)


@pytest.mark.tells("field position")
def test_a_reaction_that_appends_more_than_a_store_takes_is_parked_and_holds_up_no_other_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "FIRST_PAUSE_S", 0.001)

    def test(parts: Parts) -> None:
        write(parts, "many", "large", "fits")
        (entrypoint,) = [one for one in parts.add(Echo, TRAFFIC).entrypoints if one.method_name == "measure"]
        parts.start(serve=False)
        parts.until(lambda: wait(entrypoint.member.standing()).parked == 2)
        parts.until(lambda: bool(wait(parts.store.read("echo/measured-fits"))))
        (waiting,) = wait(entrypoint.member.parked()).values()
        assert [one.stream for one in waiting] == ["many", "large"]
        assert all("LimitExceeded" in one.reason for one in waiting)

    on_parts(tmp_path, test)


def test_a_defect_in_what_looks_after_a_membership_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citybrain.mesh.subscriptions.groups._AFTER_LOSS_S", 0.01)

    def test(parts: Parts) -> None:
        partitions, failures = AllOrNothing.partitions, [LookupError("a defect")] * 3

        def failing(assignment: AllOrNothing) -> Mapping[str, Partition]:
            if failures:
                raise failures.pop()
            return partitions(assignment)

        monkeypatch.setattr(AllOrNothing, "partitions", failing)
        view = shelf(parts)
        parts.until(lambda: view.get("s") == Signal("a"))

    on_parts(tmp_path, test)


LASTING = [
    LimitExceeded("an append holds at most 100 events"),
    PersonErased("person p was erased"),
    NotFound("there is no such signal"),
    Refused("as things stand"),
    CallFailed(grpc.StatusCode.INVALID_ARGUMENT, "is required"),
    ValueError("a defect"),
]
PASSING = [
    StoreError("the disk is full"),
    Undecided("retry with the same request id"),
    KeysMissing("put the keys back from their copy"),
    Unavailable("not now"),
    Contended("too many writers"),
    CallFailed(grpc.StatusCode.UNAVAILABLE, "runs nowhere"),
    CallFailed(grpc.StatusCode.RESOURCE_EXHAUSTED, "7 calls waiting: try again later"),
    OSError("no route"),
    TimeoutError(),
]


def test_what_no_retry_can_mend_is_told_from_what_passes() -> None:
    assert [lasting(error) for error in LASTING] == [True] * len(LASTING)
    assert [lasting(error) for error in PASSING] == [False] * len(PASSING)


def test_read_models_that_cannot_be_written_are_no_fault_of_an_event(tmp_path: Path) -> None:
    async def test() -> None:
        models = SqliteReadModels(tmp_path / "shelf.views.db")
        epoch, _ = await models.join("g")
        held = sqlite3.connect(tmp_path / "shelf.views.db", isolation_level=None)
        models._db.execute("PRAGMA busy_timeout = 0")
        held.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"shelf\.views\.db cannot be used: database is locked") as told:
            await models.save("g", epoch, 1, "view", {"k": {"n": 1}})
        assert not lasting(told.value)
        held.close()
        models.close()

    asyncio.run(test())


def test_a_try_of_a_parked_event_that_hangs_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "FIRST_PAUSE_S", 0.001)

    def test(parts: Parts) -> None:
        tries: list[str] = []

        async def handle(part: Part, batch: Batch) -> None:
            tries.extend(event.id for event in batch.events)
            if batch.events and len(tries) == 1:
                raise ValueError("it stands aside")
            if batch.events and len(tries) == 2:
                await asyncio.Event().wait()
            await part.save(batch)

        write(parts)
        parts.process.settings = parts.process.settings.model_copy(update={"stalled_s": 0.2})
        member = GroupMember(parts.process, "shelf", "shelf.hears", [REPORTED])
        member.follow(handle)
        parts.until(lambda: len(tries) == 3)
        parts.until(lambda: not wait(member.parked()))
        assert wait(member.standing()).restarts == 1
        member.leave()

    on_parts(tmp_path, test)


def test_waiting_for_the_next_try_is_not_hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "FIRST_PAUSE_S", 3600.0)

    def test(parts: Parts) -> None:
        async def handle(part: Part, batch: Batch) -> None:
            if batch.events:
                raise ValueError("it stands aside")
            await part.save(batch)

        write(parts)
        parts.process.settings = parts.process.settings.model_copy(update={"stalled_s": 0.05})
        member = GroupMember(parts.process, "shelf", "shelf.hears", [REPORTED])
        member.follow(handle)
        parts.until(lambda: "ValueError" in wait(member.standing()).failing)
        for _ in range(10):
            wait(asyncio.sleep(0.03))
        standing = wait(member.standing())
        assert (standing.restarts, standing.parked, standing.lag) == (0, 0, 0)
        assert not parts.process.activity.at_rest
        member.leave()

    on_parts(tmp_path, test)
