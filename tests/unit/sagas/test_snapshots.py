"""Snapshots of sagas change nothing: each is read as the whole stream is, or passed over. And no saga grows without a bound."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.emergency_command_service_pb2 import Contact
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported

from citybrain.event_store.snapshots import Snapshot
from citybrain.event_store.store import StoreError
from citybrain.mesh.events import message_class
from citybrain.mesh.runtime.greenlets import wait
from citybrain.sagas.engine import persons, records, runner, snapshots
from citybrain.sagas.engine.definition import Wait, Workflow
from citybrain.sagas.engine.records import Known
from citybrain.sagas.engine.snapshots import FIRST, Folded, is_due, packed, unpacked
from citybrain.sagas.engine.state import SagaState, evolve
from tests.helpers.histories import FOLDER
from tests.helpers.schedules import Schedule
from tests.unit.sagas.saga_city import City, city, step
from tests.unit.sagas.test_schedules import EVERY_WORD, GOING_BACK, RIDE, WITH_CHILDREN

STREAM = "sagas/saga-s"
WAITS = Wait("w", MissionReported, 10_000, lambda s, event: event.stage == 3)  # type: ignore[attr-defined]
PHONE = "+8613800001111"
OPENED = IncidentOpened(incident_id="s", reporter_id="per-1", reporter=Contact(name="王建国", phone=PHONE))


# -- the state ----------------------------------------------------------------------------------------------------------------


def is_the_same_from_every_snapshot(events: list[tuple[type[Any], bytes, int]], points: range) -> None:
    """From a snapshot at each of these points, and the rest, the state is that of all events."""
    states = [SagaState()]
    for kind, data, at in events:
        states.append(evolve(states[-1], kind.FromString(data), at))
    for point in points:
        state = unpacked(packed(Folded(states[point], "trace", frozenset(["per-1"]), {"s/a/1": "e1"})))
        assert state == Folded(states[point], "trace", frozenset(["per-1"]), {"s/a/1": "e1"})
        for kind, data, at in events[point:]:
            state = replace(state, state=evolve(state.state, kind.FromString(data), at))
        assert state.state == states[-1], point


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_what_earlier_releases_recorded_is_the_same_from_every_snapshot(path: Path) -> None:
    for story in json.loads(path.read_text(encoding="utf-8")).values():
        events = [(message_class(name), base64.b64decode(data), at) for name, data, at in story["events"]]
        is_the_same_from_every_snapshot(events, range(len(events) + 1))


@pytest.mark.parametrize("workflow", [EVERY_WORD, GOING_BACK, WITH_CHILDREN], ids=lambda one: one.name)
def test_whatever_happens_it_is_the_same_from_every_snapshot(workflow: Workflow) -> None:
    for seed in range(15):
        played = Schedule(workflow, seed, set(), [RIDE] if workflow.children() else []).play()
        is_the_same_from_every_snapshot(played._stored, range(seed % 5, len(played._stored) + 1, 5))


def test_snapshots_are_made_in_steps_that_grow_with_the_saga(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "FIRST", FIRST)
    assert not is_due(FIRST - 1, 0) and is_due(FIRST, 0)
    assert not is_due(2 * FIRST - 1, FIRST) and is_due(2 * FIRST, FIRST)
    assert not is_due(12 * FIRST, 10 * FIRST) and is_due(13 * FIRST, 10 * FIRST)


# -- on the runner's real parts -----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots begin at four events, and no page holds more."""
    monkeypatch.setattr(snapshots, "FIRST", 4)
    monkeypatch.setattr(records, "_PAGE", 4)


def long_saga(city: City, events: int = 9, opened: IncidentOpened = OPENED) -> None:
    city.start().hear(opened)
    for number in range(events):
        city.hear(MissionReported(incident_id="s", ambulance_id=f"a{number}"), f"e{number}")
    city.rest()


def kept(city: City) -> Snapshot:
    """The newest snapshot, as soon as it is written: nobody waits for that."""

    def newest() -> Snapshot | None:
        return wait(city.parts.process.engine.snapshots.newest(STREAM))

    city.parts.until(lambda: (found := newest()) is not None and found.version >= city.runner._sagas["s"].known.kept)
    found = newest()
    assert found is not None
    return found


def read_whole(city: City, monkeypatch: pytest.MonkeyPatch) -> Known:
    with monkeypatch.context() as without:
        without.setattr(records, "_PAGE", 10_000)
        return wait(city.runner._records.read("s", Known()))


def read_from(city: City) -> list[int]:
    """The versions from which a process that does not know the saga reads it."""
    read, versions = city.parts.store.read, []

    async def noted(stream: str, first: int = 1, limit: int = 1000, backward: bool = False) -> Any:
        versions.append(first)
        return await read(stream, first, limit, backward)

    city.parts.store.read = noted  # type: ignore[method-assign, assignment]
    wait(city.runner._records.read("s", Known()))
    city.parts.store.read = read  # type: ignore[method-assign]
    return versions


def test_a_long_saga_is_read_from_its_snapshot_and_is_what_its_stream_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def test(city: City) -> None:
        long_saga(city)
        # Reading it whole makes a snapshot of all of it.
        version = read_whole(city, monkeypatch).version
        city.parts.until(lambda: kept(city).version == version)
        city.hear(MissionReported(incident_id="s"), "later")
        city.rest()
        monkeypatch.setattr(snapshots, "FIRST", 10_000)
        whole = read_whole(city, monkeypatch)
        known = wait(city.runner._records.read("s", Known()))
        assert known == replace(whole, kept=version)
        # The first page says that it is long; then its snapshot, and what came after.
        assert read_from(city) == [1, version, version + 1]
        assert known.persons == {"per-1"} and known.sent and known.traceparent == whole.traceparent

    city(tmp_path, test, step("a"), WAITS)


def test_a_snapshot_is_made_when_one_is_due_and_not_for_each_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def test(city: City) -> None:
        made: list[int] = []
        keep = city.runner._records._snapshots.keep

        async def noted(stream: str, folded: Folded, version: int, event_id: str) -> None:
            made.append(version)
            await keep(stream, folded, version, event_id)

        monkeypatch.setattr(city.runner._records._snapshots, "keep", noted)
        long_saga(city, 12)
        # Its beginning is an append of two events, each event one of its own.
        assert made == [4, 8, 12]
        kept(city)
        # Who reads it from there has nothing to keep.
        wait(city.runner._records.read("s", Known()))
        assert made == [4, 8, 12]

    city(tmp_path, test, WAITS)


def test_a_process_goes_on_from_a_snapshot_as_the_one_before_it_would_have(tmp_path: Path) -> None:
    def before(city: City) -> None:
        long_saga(city)
        kept(city)
        city.runner.stop()

    def afterwards(city: City) -> None:
        city.start()
        arrived = MissionReported(incident_id="s", stage=3)  # type: ignore[arg-type]
        city.hear(arrived, "arrived")
        city.rest()
        assert city.phase() == "completed"

    city(tmp_path, before, WAITS)
    city(tmp_path, afterwards, WAITS)


def test_what_is_personal_in_a_snapshot_is_sealed_and_opens_no_more_when_the_person_is_erased(tmp_path: Path) -> None:
    def test(city: City) -> None:
        long_saga(city)
        snapshot = kept(city)
        opened = wait(city.runner._records._snapshots.newest(STREAM))
        assert opened is not None and opened[0].state.input == OPENED
        for secret in (PHONE.encode(), "王建国".encode(), base64.b64encode(PHONE.encode())[:-4]):
            assert secret not in snapshot.state
        wait(city.parts.process.vault.keys.destroy("per-1", 1))
        wait(city.parts.process.vault.look())
        assert wait(city.runner._records._snapshots.newest(STREAM)) is None
        known = wait(city.runner._records.read("s", Known()))
        assert known.state.input == IncidentOpened(incident_id="s", reporter_id="per-1")
        # The next snapshot holds nothing of them.
        for number in range(9):
            city.hear(MissionReported(incident_id="s"), f"later{number}")
        city.rest()
        city.parts.until(lambda: kept(city).version > snapshot.version)
        assert b"shares" not in kept(city).state

    city(tmp_path, test, WAITS)


def test_a_snapshot_with_data_of_several_persons_needs_the_keys_of_all(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start()
        vault = city.parts.process.vault
        wait(vault.keys.obtain(["per-1", "per-2"], vault._cipher))
        mine = city.runner._records._snapshots
        sealed = wait(mine._sealed(b"secret", frozenset(["per-1", "per-2"]), "here"))
        assert sealed is not None and wait(mine._opened(sealed, "here")) == b"secret"
        wait(vault.keys.destroy("per-2", 1))
        wait(vault.look())
        assert wait(mine._opened(sealed, "here")) is None
        assert wait(mine._sealed(b"secret", frozenset(["per-1", "per-2"]), "here")) is None

    city(tmp_path, test, WAITS)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, code="another release"),
        lambda one: replace(one, event_id="of another log"),
        lambda one: replace(one, version=one.version + 1000),
        lambda one: replace(one, state=b"{}"),
        lambda one: replace(one, state=one.state[:-40]),
        lambda one: replace(one, state=json.dumps({"content": base64.b64encode(b"x").decode()}).encode()),
        lambda one: replace(one, version=one.version - 1),
    ],
)
def test_a_snapshot_that_does_not_fit_is_passed_over(
    change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    def test(city: City) -> None:
        long_saga(city)
        whole, snapshot = read_whole(city, monkeypatch), change(kept(city))
        # Reading it whole has made another one.
        city.parts.until(lambda: kept(city).version == whole.version)
        wait(city.parts.process.engine.snapshots.keep(STREAM, snapshot))
        assert wait(city.runner._records._snapshots.newest(STREAM)) is None
        known = wait(city.runner._records.read("s", Known()))
        assert known.state == whole.state

    city(tmp_path, test, WAITS)


def test_where_snapshots_cannot_be_read_or_kept_the_saga_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def test(city: City) -> None:
        kept_by = city.parts.process.engine.snapshots

        async def away(*_: Any) -> Any:
            raise StoreError("away")

        monkeypatch.setattr(kept_by, "newest", away)
        monkeypatch.setattr(city.parts.process.vault, "seal_texts", away)
        long_saga(city)
        assert len(wait(city.runner._records.read("s", Known())).state.heard) == 9

    city(tmp_path, test, WAITS)


def test_a_state_that_is_too_large_for_an_engine_has_no_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_LONGEST", 10)

    def test(city: City) -> None:
        long_saga(city)
        assert wait(city.parts.process.engine.snapshots.newest(STREAM)) is None

    city(tmp_path, test, WAITS)


def test_a_saga_that_does_not_read_whole_has_no_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def test(city: City) -> None:
        monkeypatch.setattr(snapshots, "FIRST", 10_000)
        long_saga(city)
        monkeypatch.setattr(snapshots, "FIRST", 4)
        evolved = evolve

        def stumbles(state: SagaState, event: Any, at: int) -> SagaState:
            if len(state.heard) == 3:
                raise LookupError("of another release")
            return evolved(state, event, at)

        monkeypatch.setattr(records, "evolve", stumbles)
        assert wait(city.runner._records.read("s", Known())).unreadable
        assert wait(city.parts.process.engine.snapshots.newest(STREAM)) is None

    city(tmp_path, test, WAITS)


# -- what a saga may hear -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "value"), [("MAX_HEARD", 3), ("MAX_HEARD_BYTES", 20)])
def test_a_saga_that_has_heard_too_much_asks_a_human_and_says_what_to_do(
    limit: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, limit, value)

    def test(city: City) -> None:
        long_saga(city)
        assert city.phase() == "needs human"
        heard = len(city.runner.load("s").heard)
        assert heard == 3
        assert "e3 cannot be kept: it has heard 3 events" in city.runner.load("s").reason
        assert "tell it what matters with SignalSaga, or cancel it" in city.runner.load("s").reason
        # A person may still tell it, and what calls it off is heard.
        city.runner.resume("s")
        arrived = MissionReported(incident_id="s")
        city.runner.decide("s", lambda state: persons.signal(city.workflow, state, "1", arrived, "by radio", "chief", 1))
        assert len(city.runner.load("s").heard) == 4
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.rest()
        assert city.phase() == "undone"

    city(tmp_path, test, WAITS)


def test_what_comes_for_a_saga_that_never_begins_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_HEARD", 3)

    def test(city: City) -> None:
        city.start()
        for number in range(9):
            city.hear(MissionReported(incident_id="s"), f"e{number}")
        assert len(wait(city.parts.store.read(STREAM))) == 3

    city(tmp_path, test, WAITS)
