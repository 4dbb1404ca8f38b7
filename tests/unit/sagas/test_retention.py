"""How long sagas that have ended stand in lists: each end as long as it is set, no open one ever less, and an id finds all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message

from citybrain.event_store.store import StoreError
from citybrain.mesh.settings.values import Sagas as Kept
from citybrain.mesh.testing import Running, fake, running
from citybrain.sagas import service as saga_service
from citybrain.sagas.engine.children import unlisted
from citybrain.sagas.engine.definition import Child, Wait, Workflow
from citybrain.sagas.engine.moving import Moving, moved
from citybrain.sagas.engine.runner import SagaRunner
from citybrain.sagas.engine.state import SagaState, evolve
from citybrain.sagas.service import SagaService
from tests.unit.sagas.saga_city import City, city, incident_of, step

DAY = 86_400
SAGAS = "citybrain.sagas.v1.SagaService"
TRAFFIC = "citybrain.traffic.v1.TrafficService"
ARRIVES = Wait("arrives", MissionReported, 4_000 * DAY)
NOTHING = Workflow("ride", 1, IncidentOpened, {}, (step("inner"),))


def rides() -> type[SagaService]:
    """Waits for an event; called off by another one."""
    hears: Any = dict.fromkeys((IncidentOpened, MissionReported, IncidentCancelled), incident_of)
    ride = Workflow("ride", 1, IncidentOpened, hears, (step("a"), ARRIVES), {IncidentCancelled: lambda event: "called off"})

    class Rides(SagaService):
        runner = SagaRunner([ride])
        moving = Moving([ride])

    return Rides


def tell(sagas: Running, event: Message) -> None:
    sagas.tell(event)
    sagas.rest()


def listed(sagas: Running) -> set[str]:
    sagas.rest()
    return {one.saga_id for one in sagas.fire("ListSagas", pb.ListSagasRequest()).sagas}


def test_each_end_is_listed_as_long_as_it_is_to_be_and_an_id_still_finds_it(tmp_path: Path) -> None:
    department = fake(TRAFFIC, GetSignal=traffic.GetSignalResponse())
    with running(rides(), department, contract=SAGAS, folder=tmp_path) as sagas:
        for name in ("completed", "undone", "terminated", "open"):
            tell(sagas, IncidentOpened(incident_id=name))
        # What counts is when it ended, and not when it began.
        sagas.advance(80 * DAY)
        tell(sagas, MissionReported(incident_id="completed"))
        tell(sagas, IncidentCancelled(incident_id="undone"))
        sagas.fire("TerminateSaga", pb.TerminateSagaRequest(saga_id="terminated", reason="it hangs"))
        assert listed(sagas) == {"completed", "undone", "terminated", "open"}
        sagas.advance(89 * DAY)
        assert listed(sagas) == {"completed", "undone", "terminated", "open"}
        sagas.advance(2 * DAY)
        assert listed(sagas) == {"undone", "terminated", "open"}
        sagas.advance(275 * DAY)
        assert listed(sagas) == {"terminated", "open"}
        sagas.advance(366 * DAY)
        assert listed(sagas) == {"open"}
        # Once each, and an id finds them as they were.
        assert len(sagas.events(ev.SagaUnlisted)) == 3
        found = {name: sagas.fire("GetSaga", pb.GetSagaRequest(saga_id=name)).saga for name in ("completed", "terminated")}
        assert found["completed"].state == pb.SAGA_STATE_COMPLETED and found["completed"].steps[0].status == "done"
        assert found["terminated"].state == pb.SAGA_STATE_TERMINATED
        sagas.advance(DAY)
        assert len(sagas.events(ev.SagaUnlisted)) == 3
    # The stored rows are gone too: another process reads them.
    with running(rides(), department, contract=SAGAS, folder=tmp_path) as sagas:
        assert listed(sagas) == {"open"}


def test_where_nothing_is_set_to_go_all_stay_for_ever() -> None:
    with running(rides(), fake(TRAFFIC, GetSignal=traffic.GetSignalResponse()), contract=SAGAS) as sagas:
        settings = sagas._container.process.settings
        object.__setattr__(settings, "sagas", Kept(completed_days=0, undone_days=0, terminated_days=0))
        tell(sagas, IncidentOpened(incident_id="s"))
        tell(sagas, MissionReported(incident_id="s"))
        sagas.advance(5_000 * DAY)
        assert listed(sagas) == {"s"}


def test_of_very_many_some_wait_for_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saga_service, "_UNLISTED_AT_ONCE", 2)
    with running(rides(), fake(TRAFFIC, GetSignal=traffic.GetSignalResponse()), contract=SAGAS) as sagas:
        for number in range(3):
            tell(sagas, IncidentOpened(incident_id=f"s{number}"))
            tell(sagas, MissionReported(incident_id=f"s{number}"))
        sagas.advance(91 * DAY)
        # Those that began first go first.
        assert listed(sagas) == {"s2"}
        sagas.advance(600)
        assert listed(sagas) == set()


# -- what must not go -------------------------------------------------------------------------------------------------------


def state_of(*events: Message, at: int = 1) -> SagaState:
    state = SagaState()
    for event in events:
        state = evolve(state, event, at)
    return state


BEGUN = ev.SagaStarted(saga_id="s", workflow="ride", workflow_version=1)
CHILD = ev.SagaStarted(saga_id="s.a.1", workflow="ride", workflow_version=1, parent="s", parent_key="s/a/1", hears_as=["s"])


def leaves(state: SagaState, *ancestors: SagaState, phase: str = "completed", before: int = 100) -> bool:
    return unlisted(phase, before, ancestors)(state) == [ev.SagaUnlisted()]


def test_only_what_came_to_this_end_long_enough_ago_leaves_and_once() -> None:
    assert leaves(state_of(BEGUN, ev.SagaCompleted()))
    assert not leaves(state_of(BEGUN, ev.SagaCompleted(), at=100))
    assert not leaves(state_of(BEGUN, ev.SagaUndone()))
    assert not leaves(state_of(BEGUN, ev.SagaCompleted(), ev.SagaUnlisted()))
    still_open: dict[str, list[Message]] = {
        "new": [], "running": [BEGUN], "undoing": [BEGUN, ev.UndoBegan()], "needs human": [BEGUN, ev.SagaNeedsHuman()],
    }  # fmt: skip
    for phase, events in still_open.items():
        assert not leaves(state_of(*events), phase=phase), phase


def test_a_child_stays_while_its_parent_may_undo_it_or_does_not_know_of_its_end() -> None:
    child = state_of(CHILD, ev.SagaCompleted(), ev.ParentToBeTold(), ev.ParentTold())
    ended = state_of(BEGUN, ev.SagaCompleted())
    assert leaves(child, ended)
    assert not leaves(child, state_of(BEGUN))
    # Of a grandparent that is open a completed parent may be told to undo, and with it the child.
    assert not leaves(child, ended, state_of(BEGUN))
    assert not leaves(child, SagaState())
    assert not leaves(state_of(CHILD, ev.SagaCompleted(), ev.ParentToBeTold()), ended)


def test_a_completed_child_of_an_open_saga_can_be_undone_however_long_ago_it_ended(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        long_ago = 10**18
        assert not city.runner.unlist("s.ride.1", "completed", long_ago)
        city.hear(IncidentCancelled(incident_id="s"), "cancelled")
        city.rest()
        assert (city.phase(), city.phase("s.ride.1")) == ("undone", "undone")
        assert not city.runner.unlist("s.ride.1", "completed", long_ago), "it came to another end meanwhile"
        assert city.runner.unlist("s.ride.1", "undone", long_ago) and city.runner.unlist("s", "undone", long_ago)
        city.rest()
        assert city.runner._sagas == {}

    nodes = (Child("ride", "ride", lambda s: s.input, 600), Wait("arrives", MissionReported, 600))
    city(tmp_path, test, *nodes, older=[NOTHING])


def test_one_that_cannot_be_read_now_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def test(city: City) -> None:
        city.start().open().rest()
        read = city.runner._records.read

        async def away(saga_id: str, known: Any) -> Any:
            raise StoreError("away")

        monkeypatch.setattr(city.runner._records, "read", away)
        assert not city.runner.unlist("s", "completed", 10**18)
        monkeypatch.setattr(city.runner._records, "read", read)
        assert city.runner.unlist("s", "completed", 10**18)

    city(tmp_path, test, step("a"))


def test_what_left_the_lists_is_nothing_that_must_move() -> None:
    assert moved(None, ev.SagaUnlisted()) is None
