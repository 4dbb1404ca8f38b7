"""Snapshots change no answer: with and without, on every state that services have; a wrong one is not believed (ES-10)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from citybrain.district_hub.v1 import events_pb2 as hub
from citybrain.emergency_command.v1 import events_pb2 as command
from citybrain.health.v1 import events_pb2 as health
from citybrain.probe.v1 import events_pb2 as ev
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import events_pb2 as safety
from citybrain.safety.v1 import safety_service_pb2 as safety_service
from citybrain.traffic.v1 import events_pb2 as traffic
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from citybrain.event_store.snapshots import Snapshot
from citybrain.event_store.store import ANY
from citybrain.mesh.merging import Board
from citybrain.mesh.runtime import context
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import Service, Streams
from citybrain.mesh.storage.state_packing import StateError, code_of, pack_state, unpack_state
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.mesh.testing.setting import event_of
from citybrain.services.district_hub import domain as districts
from citybrain.services.emergency_command import domain as incidents
from citybrain.services.emergency_command import merging as medical
from citybrain.services.health import domain as care
from citybrain.services.health import places
from citybrain.services.safety import fleet, merging
from citybrain.services.traffic import closures, grants
from citybrain.services.traffic import domain as signals

PROBE = "citybrain.probe.v1.ProbeService"
NAMES = st.sampled_from(["a", "b", "西湖"])
PLACES = st.builds(RoadPlace, edge_id=NAMES, position_m=st.floats(0, 500))


def built(*kinds: Any, **fields: Any) -> st.SearchStrategy[list[Message]]:
    """Events of some types, in any order, with what those fields of them may be that they have."""
    made = []
    for kind in kinds:
        own = {name: values for name, values in fields.items() if name in kind.DESCRIPTOR.fields_by_name}
        made.append(st.builds(kind, **own))
    return st.lists(st.one_of(made), max_size=12)


IDS = {
    name: NAMES for name in ("incident_id", "reservation_id", "ambulance_id", "hospital_id", "grant_id", "round_id", "reason")
}
STATES: list[tuple[Any, Callable[[Any, Any], Any], st.SearchStrategy[list[Message]]]] = [
    (
        care.Ambulance,
        care.evolve_ambulance,
        built(health.AmbulanceRegistered, health.AmbulanceReserved, health.AmbulanceReleased, station=PLACES, **IDS),
    ),
    (
        places.Hospital,
        places.evolve_hospital,
        built(
            health.HospitalRegistered,
            health.BedReserved,
            health.BedCancelled,
            health.PatientAnnounced,
            health.PatientHandedOver,
            name=NAMES,
            entrance=PLACES,
            places=st.integers(0, 9),
            **IDS,
        ),
    ),
    (
        care.Search,
        care.evolve_search,
        built(health.AmbulanceChosen, health.AmbulanceChoiceRefused, health.AmbulanceDispatchEnded, station=PLACES, **IDS),
    ),
    (
        incidents.Incident,
        incidents.evolve,
        built(command.IncidentOpened, command.ReportMerged, command.IncidentClosed, report_id=NAMES, place=PLACES, **IDS),
    ),
    (Board, medical.evolve, built(command.ReportSorted, command.SortingEnded, report_id=NAMES, place=PLACES, **IDS)),
    (closures.Closure, closures.evolve, built(traffic.RoadClosed, traffic.RoadReopened, edge_id=NAMES, closure_id=NAMES)),
    (
        Board,
        merging.evolve,
        built(
            safety.SignalSorted, safety.SortingEnded, signal_id=NAMES, into_incident_id=st.just("") | NAMES, place=PLACES, **IDS
        ),
    ),
    (
        fleet.Fleet,
        fleet.evolve,
        built(
            safety.UnitRegistered,
            safety.UnitAssigned,
            safety.UnitsReleased,
            unit_id=NAMES,
            unit_ids=st.lists(NAMES, max_size=2),
            assignment_id=NAMES,
            unit=st.builds(safety_service.AssignedUnit, unit_id=NAMES, assignment_id=NAMES),
            station=PLACES,
            **IDS,
        ),
    ),
    (districts.Notices, districts.evolve_notices, built(hub.DistrictNotified, hub.NoticesBarred, notice_id=NAMES, **IDS)),
    (
        grants.PriorityState,
        grants.evolve,
        built(traffic.PriorityGranted, traffic.PriorityReleased, traffic.VehicleLost, traffic.WayBlocked, **IDS),
    ),
    (
        signals.SignalState,
        signals.evolve,
        built(traffic.SignalRegistered, traffic.SignalCommanded, command_id=st.sampled_from(["s/1000", "s/2500"]), **IDS),
    ),
]


@pytest.mark.parametrize(("initial", "evolve", "events"), STATES, ids=lambda given: getattr(given, "__name__", ""))
def test_every_state_of_the_city_comes_back_as_it_was_and_goes_on_the_same(initial: Any, evolve: Any, events: Any) -> None:
    @settings(max_examples=40)
    @given(events, events)
    def holds(before: list[Message], after: list[Message]) -> None:
        state = initial()
        for event in before:
            state = evolve(state, event)
        kept = unpack_state(initial, pack_state(state))
        assert kept == state
        for event in after:
            state, kept = evolve(state, event), evolve(kept, event)
        assert kept == state

    holds()


@dataclasses.dataclass(frozen=True)
class Said:
    """What was written, in order."""

    texts: tuple[str, ...] = ()
    last: ev.Written | None = None


folded = [0]


def evolve(said: Said, event: Any) -> Said:
    folded[0] += 1
    return Said((*said.texts, event.text), event)


class Book(Service):
    """The same streams twice: with snapshots, and without."""

    name = "book"
    kept = Streams("page", Said, evolve, snapshot_every=3)
    whole = Streams("page", Said, evolve)


def opened(parts: Parts) -> dict[str, Any]:
    """The providers of a process that knows no stream yet."""
    return {provider.attr_name: provider for provider in parts.add(Book, PROBE).dependencies}


def write(streams: Any, text: str, key: str = "p") -> Any:
    context.enter(context.Call("tester", "city.Test/Do", f"{key} {text}"))
    return streams.handle(key, lambda now: [ev.Written(key=key, text=text)], lambda now, mine: now)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(st.sampled_from(["write", "elsewhere", "restart", "retry"]), min_size=4, max_size=16))
def test_whatever_happens_the_answers_are_those_without_snapshots(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    def test(parts: Parts) -> None:
        provided, written = opened(parts), 0
        for number, step in enumerate(steps):
            if step == "restart":
                provided = opened(parts)
            elif step == "elsewhere":
                wait(parts.store.append("book/page-p", [event_of(ev.Written(text=f"other {number}"), occurred_at=1)], ANY))
            elif step == "retry" and written:
                write(provided["kept"], "text 1")
            else:
                written += 1
                write(provided["kept"], f"text {written}")
            whole = opened(parts)["whole"].load("p")
            assert opened(parts)["kept"].load("p") == whole
            assert provided["kept"].load("p") == whole
            assert provided["kept"].cause("p") == opened(parts)["whole"].cause("p")

    on_parts(tmp_path_factory.mktemp("book"), test)


def with_seven(tmp_path: Path, test: Callable[[Parts, Callable[[], int]], None]) -> None:
    """Seven events written, a snapshot behind the fifth; `cost` loads anew and says how many events that folded."""

    def run(parts: Parts) -> None:
        provided = opened(parts)
        for number in range(7):
            write(provided["kept"], f"text {number}")

        def cost() -> int:
            provided = opened(parts)
            folded[0] = 0
            assert provided["kept"].load("p").texts == tuple(f"text {number}" for number in range(7))
            return folded[0]

        test(parts, cost)

    on_parts(tmp_path, run)


def test_a_process_that_does_not_know_a_stream_folds_only_what_came_after_its_snapshot(tmp_path: Path) -> None:
    with_seven(tmp_path, lambda parts, cost: _equal(cost(), 2))


def test_streams_that_grow_together_are_not_kept_together(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        pages = opened(parts)["kept"]
        for number in range(3):
            for key in ("p", "q", "a"):
                write(pages, f"text {number}", key)
        kept = [wait(parts.process.engine.snapshots.newest(f"book/page-{key}")) for key in ("p", "q", "a")]
        assert [one.version for one in kept if one is not None] == [2, 1, 3]

    on_parts(tmp_path, test)


def test_a_snapshot_of_other_code_is_not_believed(tmp_path: Path) -> None:
    def test(parts: Parts, cost: Callable[[], int]) -> None:
        snapshots = parts.process.engine.snapshots
        kept = wait(snapshots.newest("book/page-p"))
        assert kept is not None and kept.code == code_of(evolve)
        wait(snapshots.keep("book/page-p", dataclasses.replace(kept, code="of an earlier release")))
        assert cost() == 7

    with_seven(tmp_path, test)


@pytest.mark.parametrize(
    "change",
    [{"event_id": "of another history"}, {"version": 70}, {"state": b"\xff{"}, {"state": b'{"class":"Gone","is":{}}'}],
    ids=["another history", "further than the log", "no text", "a class that is gone"],
)
def test_a_snapshot_that_does_not_fit_the_log_or_cannot_be_read_is_not_believed(tmp_path: Path, change: Any) -> None:
    def test(parts: Parts, cost: Callable[[], int]) -> None:
        snapshots = parts.process.engine.snapshots
        kept: Snapshot | None = wait(snapshots.newest("book/page-p"))
        assert kept is not None
        wait(snapshots.keep("book/page-p", dataclasses.replace(kept, **change)))
        assert cost() == 7

    with_seven(tmp_path, test)


def test_code_is_told_by_every_source_beside_it(tmp_path: Path) -> None:
    def code(helper: str) -> str:
        (tmp_path / "helper.py").write_text(helper, encoding="utf-8")
        namespace: dict[str, Any] = {}
        exec(compile("def evolve(state, event): return state", str(tmp_path / "domain.py"), "exec"), namespace)  # noqa: S102
        return code_of(namespace["evolve"])

    assert code("x = 1") == code("x = 1") != code("x = 2")


def test_a_state_that_cannot_be_kept_says_what_in_it_is_the_matter() -> None:
    with pytest.raises(StateError, match="a state holds a object, which no snapshot can keep"):
        pack_state((object(),))


def _equal(found: object, wanted: object) -> None:
    assert found == wanted
