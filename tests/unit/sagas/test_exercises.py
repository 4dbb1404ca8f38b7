"""Sagas in exercises: the same work in a space of its own, by whichever process carries it on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import saga_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.event_store.store import NewEvent
from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import hear
from citybrain.mesh.runtime import context
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import WaitsForPeople
from citybrain.mesh.testing import running
from citybrain.mesh.testing.parts import greenlets
from citybrain.sagas.engine import persons
from citybrain.sagas.engine.definition import Child, Wait, Workflow
from citybrain.sagas.engine.exercises import in_exercise, parted, saga_of
from citybrain.sagas.service import SagaService
from citybrain.sagas.showing import shown
from tests.unit.sagas.saga_city import City, Department, city, incident_of, step
from tests.unit.sagas.test_service import away, opened

STREAM = "emergency_command/exercise-fire-1/incident-s"


def drill(city: City, message: Message, name: str) -> None:
    """Something happens in an exercise."""
    new = NewEvent(id=name, type=message.DESCRIPTOR.full_name, data=message.SerializeToString(), occurred_at=1)
    wait(city.parts.store.append(STREAM, [new], -1))
    (event,) = [one for one in wait(city.parts.store.read(STREAM)) if one.id == name]
    context.enter(context.Call("sagas", "hear", name))
    city.runner.hear(hear(event))


def test_a_saga_of_the_city_and_one_of_a_drill_may_have_one_id_and_go_their_own_ways(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start()
        drill(city, IncidentOpened(incident_id="s"), "opened-there")
        city.open().rest()
        assert Department.calls == ["a", "a"]
        drill(city, MissionReported(incident_id="s"), "reported-there")
        city.rest()
        assert (city.runner.load("fire-1~s").phase, city.phase()) == ("completed", "running")
        there = city.runner.load("fire-1~s")
        assert (there.saga_id, there.exercise, there.key("a")) == ("s", "fire-1", "s/a/1")

    city(tmp_path, test, step("a"), Wait("w", MissionReported, 60))


def test_a_saga_of_a_drill_is_carried_on_by_the_next_process_and_its_commands_name_the_drill(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start()
        with city.beside() as other:
            Department.held["a"] = asyncio.Event()
            drill(city, IncidentOpened(incident_id="s"), "opened-there")
            city.parts.until(lambda: Department.calls == ["a"])
            city.end()
            Department.held.pop("a").set()
            city.parts.until(lambda: other.runner.load("fire-1~s").phase == "completed")
        assert set(Department.exercises) == {"fire-1"}

    city(tmp_path, test, step("a"), step("b"))


def test_a_child_of_a_saga_of_a_drill_is_of_the_drill_and_hears_what_happens_there(tmp_path: Path) -> None:
    def test(city: City) -> None:
        city.start()
        drill(city, IncidentOpened(incident_id="s"), "opened-there")
        city.rest()
        child = city.runner.load("fire-1~s.transfer.1")
        assert (child.exercise, child.parent, child.key("a")) == ("fire-1", "s", "s.transfer.1/a/1")
        told = shown(city.runner.load("fire-1~s"), None), shown(child, None)
        assert (told[0].steps[0].child, told[1].parent) == ("fire-1~s.transfer.1", "fire-1~s")
        assert persons.children_left(city.runner.load("fire-1~s")) == ["fire-1~s.transfer.1"]
        drill(city, MissionReported(incident_id="s"), "reported-there")
        city.rest()
        assert [city.runner.load(f"fire-1~{one}").phase for one in ("s", "s.transfer.1")] == ["completed"] * 2
        assert set(Department.exercises) == {"fire-1"}

    transfer = Workflow(
        "transfer", 1, IncidentOpened, {MissionReported: incident_of}, (step("a"), Wait("w", MissionReported, 60))
    )  # fmt: skip
    city(tmp_path, test, Child("transfer", "transfer", lambda s: s.input, 600), older=[transfer])


def test_sagas_of_a_drill_are_listed_and_counted_apart_and_decided_by_the_id_they_are_known_by() -> None:
    with running(SagaService, away()) as sagas:
        event = {"event_type": "citybrain.emergency_command.v1.IncidentOpened", "event_json": '{"incidentId": "i1"}'}
        start = pb.StartSagaRequest(workflow="emergency_response", **event)
        assert sagas.fire("StartSaga", start, exercise="fire-1").saga.saga_id == "fire-1~i1"
        assert sagas.fire("StartSaga", start).saga.saga_id == "i1"
        sagas.advance(900)
        sagas.rest()

        def listed(method: str, **question: Any) -> list[str]:
            request = {"ListSagas": pb.ListSagasRequest, "ListTasks": pb.ListTasksRequest}[method](**question)
            answer = sagas.fire(method, request)
            return [one.saga_id for one in (answer.sagas if method == "ListSagas" else answer.tasks)]

        for method in ("ListSagas", "ListTasks"):
            assert listed(method) == ["i1"]
            assert listed(method, exercise="fire-1") == ["fire-1~i1"]
            assert listed(method, exercise="fire-2") == []
        assert listed("ListSagas", exercise="fire-1", correlation_id="i1") == ["fire-1~i1"]
        (view,) = [one for one in sagas._container.dependencies if isinstance(one, WaitsForPeople)]
        waits = greenlets().do(view.waits())
        assert waits is not None and waits.count == 1
        cancel = pb.CancelSagaRequest(saga_id="fire-1~i1", reason="the drill is over")
        assert sagas.fire("CancelSaga", cancel).saga.state == pb.SAGA_STATE_UNDOING
        assert sagas.fire("GetSaga", pb.GetSagaRequest(saga_id="i1")).saga.state == pb.SAGA_STATE_NEEDS_HUMAN


def test_a_decision_in_a_drill_about_a_saga_that_is_not_of_it_is_refused_and_changes_nothing() -> None:
    with running(SagaService, away()) as sagas:
        opened(sagas, "i1")
        for saga_id in ("i1", "fire-2~i1"):
            for method, request in (
                ("CancelSaga", pb.CancelSagaRequest(saga_id=saga_id, reason="the drill is over")),
                ("GetSaga", pb.GetSagaRequest(saga_id=saga_id)),
            ):
                with pytest.raises(BadRequest, match="its saga would be fire-1~i1"):
                    sagas.fire(method, request, exercise="fire-1")
        assert sagas.fire("GetSaga", pb.GetSagaRequest(saga_id="i1")).saga.state == pb.SAGA_STATE_RUNNING


def test_an_event_with_an_id_that_no_saga_can_have_holds_nothing_up() -> None:
    with running(SagaService, away()) as sagas:
        sagas.tell(IncidentOpened(incident_id="fire-1~x"), IncidentOpened(incident_id="i1"))
        sagas.rest()
        answer = sagas.fire("ListSagas", pb.ListSagasRequest())
        assert [one.saga_id for one in answer.sagas] == ["i1"]


def test_ids_of_sagas_in_exercises_are_told_from_all_others() -> None:
    for exercise, own in (("", "i1"), ("fire-1", "i1"), ("fire-1", "a/b")):
        assert parted(in_exercise(exercise, own)) == (exercise, own)
    assert saga_of("sagas/saga-i1") == "i1"
    assert saga_of("sagas/exercise-fire-1/saga-i1") == "fire-1~i1"
    with pytest.raises(BadRequest, match="stands between an exercise and its sagas"):
        in_exercise("", "fire-1~i1")
