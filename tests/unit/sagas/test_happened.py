"""What happened for an incident: in order, for this incident alone, and without what is in the events."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.events.v1.event_pb2 import Event
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb
from google.protobuf import any_pb2
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import timestamp
from citybrain.mesh.providers import correlated
from citybrain.mesh.testing import Running, running
from citybrain.sagas.happened import told
from citybrain.sagas.service import SagaService
from tests.unit.sagas.test_service import away


def happens(sagas: Running, incident_id: str) -> None:
    event = IncidentOpened(incident_id=incident_id, place=RoadPlace(edge_id="e1"))
    sagas.tell(event, correlation_id=incident_id)
    sagas.rest()


def events(sagas: Running, incident_id: str, **more: Any) -> list[Event]:
    answer = sagas.fire("ListIncidentEvents", pb.ListIncidentEventsRequest(incident_id=incident_id, **more))
    return list(answer.events)


def test_two_incidents_at_once_never_mix_and_each_is_in_order() -> None:
    with running(SagaService, away()) as sagas:
        happens(sagas, "inc-1")
        happens(sagas, "inc-2")
        sagas.tell(MissionReported(incident_id="inc-1"), correlation_id="inc-1")
        sagas.rest()
        first, second = events(sagas, "inc-1"), events(sagas, "inc-2")
        assert {one.correlation_id for one in first} == {"inc-1"} and {one.correlation_id for one in second} == {"inc-2"}
        assert [one.type.rpartition(".")[2] for one in first][:3] == ["IncidentOpened", "SagaStarted", "StepSent"]
        assert len(first) > len(second)
        assert [one.recorded_at.ToNanoseconds() for one in first] == sorted(one.recorded_at.ToNanoseconds() for one in first)
        assert events(sagas, "inc-3") == []


def test_of_a_saga_steps_and_deadlines_are_told_and_of_others_nothing() -> None:
    with running(SagaService, away()) as sagas:
        happens(sagas, "inc-1")
        by_type = {one.type.rpartition(".")[2]: one for one in events(sagas, "inc-1")}
        assert not by_type["IncidentOpened"].HasField("data")
        started, sent = ev.SagaStarted(), ev.StepSent()
        assert by_type["SagaStarted"].data.Unpack(started) and by_type["StepSent"].data.Unpack(sent)
        assert started.workflow == "emergency_response" and not started.HasField("input")
        assert sent.step == "reserve_ambulance" and sent.deadline.seconds


def test_they_come_in_pages_and_a_token_is_good_for_one_incident(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(SagaService, away()) as sagas:
        happens(sagas, "inc-1")
        whole = events(sagas, "inc-1")
        token, found = "", []
        while True:
            answer = sagas.fire(
                "ListIncidentEvents", pb.ListIncidentEventsRequest(incident_id="inc-1", page_size=2, page_token=token)
            )
            assert len(answer.events) <= 2 and not answer.cut
            found += answer.events
            if not (token := answer.next_page_token):
                break
            again = token
        assert found == whole and len(whole) > 2
        with pytest.raises(BadRequest, match="page_token"):
            events(sagas, "inc-2", page_token=again)
        monkeypatch.setattr(correlated, "MOST", 2)
        monkeypatch.setattr(correlated, "_PAGE", 1)
        answer = sagas.fire("ListIncidentEvents", pb.ListIncidentEventsRequest(incident_id="inc-1"))
        assert answer.cut and list(answer.events) == whole[:2]


def test_what_happens_in_an_exercise_is_shown_to_the_exercise_only() -> None:
    with running(SagaService, away()) as sagas:
        happens(sagas, "inc-1")
        request = pb.ListIncidentEventsRequest(incident_id="inc-1")
        assert list(sagas.fire("ListIncidentEvents", request, exercise="fire-2026").events) == []


@pytest.mark.parametrize(
    "message",
    [
        ev.StepAnswered(step="a", key="s/a/1", response=any_pb2.Any(type_url="x", value=b"secret")),
        ev.SagaStarted(saga_id="s", workflow="w", input=any_pb2.Any(type_url="x", value=b"secret")),
    ],
)
def test_requests_and_answers_are_left_out(message: Message) -> None:
    event = Event(type=message.DESCRIPTOR.full_name)
    event.data.Pack(message)
    assert b"secret" not in told(event).SerializeToString()
    assert event.HasField("data")


def test_an_event_that_a_saga_heard_is_told_without_its_content() -> None:
    heard = ev.EventHeard(event_id="e", event=any_pb2.Any(type_url="x", value=b"secret"), occurred_at=timestamp(1))
    event = Event(type=heard.DESCRIPTOR.full_name)
    event.data.Pack(heard)
    assert not told(event).HasField("data")


def test_a_caller_sees_events_of_their_district_and_up_to_their_clearance() -> None:
    with running(SagaService, away()) as sagas:
        sagas.tell(
            IncidentOpened(incident_id="inc-1", place=RoadPlace(edge_id="e1"), district_id="west"), correlation_id="inc-1"
        )
        sagas.rest()
        request = pb.ListIncidentEventsRequest(incident_id="inc-1")

        def kinds(**claims: Any) -> set[str]:
            answer = sagas.fire("ListIncidentEvents", request, scopes=["sagas.read"], **claims)
            return {one.type.rpartition(".")[2] for one in answer.events}

        assert "IncidentOpened" in kinds(district="west", clearance="RESTRICTED")
        assert kinds(district="east", clearance="RESTRICTED") and "IncidentOpened" not in kinds(
            district="east", clearance="RESTRICTED"
        )
        assert kinds(clearance="PUBLIC") == set()
