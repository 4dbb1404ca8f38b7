"""Joint command among the real services, in one process: what is asked is done there, and nothing is left in the end."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message

from citybrain.mesh.access.principal import EVERYTHING
from citybrain.mesh.runtime.clock import DrivenClock
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.sagas.service import SagaService
from citybrain.services.district_hub.service import DistrictHubService
from citybrain.services.health.service import HealthService
from citybrain.services.safety.service import SafetyService
from citybrain.services.traffic.service import TrafficService

SECOND = 1_000_000
MORNING = 1_767_570_000 * SECOND
SERVICES = (SafetyService, DistrictHubService, HealthService, TrafficService, SagaService)
NAMES = [f"e{n}" for n in range(1, 11)]
# A one-way ring of ten roads of 500 m.
ROADS = [
    RoadEdge(edge_id=name, length_m=500, free_speed_mps=10, next_edge_ids=[after], district_id="xihu")
    for name, after in zip(NAMES, [*NAMES[1:], NAMES[0]], strict=True)
]
PLACE = RoadPlace(edge_id="e5", position_m=100)


class City:
    """Departments in one process, whose city time a test moves."""

    def __init__(self, parts: Parts, services: Sequence[type] = SERVICES, at: int = MORNING) -> None:
        self.parts = parts
        for service in services:
            parts.add(service)
        parts.process.outgoing.tokens.grant("desk", [EVERYTHING])
        parts.start()
        clock = parts.process.clock
        assert isinstance(clock, DrivenClock)
        wait(clock.advance(at))
        self.rest()

    def call(self, method: str, request: Message) -> Any:
        """A person at a desk calls a department, and everything that follows is done."""
        service = f"citybrain.{method.partition('/')[0]}"
        name = f"{service}/{method.partition('/')[2]}"
        answer = wait(self.parts.process.outgoing.call("desk", name, request, request_id=uuid.uuid4().hex))
        self.rest()
        return answer

    def rest(self) -> None:
        wait(self.parts.process.activity.rest())

    def advance(self, seconds: float) -> None:
        clock = self.parts.process.clock
        assert isinstance(clock, DrivenClock)
        wait(clock.advance(clock.now() + round(seconds * SECOND)))
        self.rest()

    def safety(self, method: str, request: Message) -> Any:
        return self.call(f"safety.v1.SafetyService/{method}", request)

    def saga(self, incident_id: str) -> sagas.Saga:
        saga: sagas.Saga = self.call("sagas.v1.SagaService/GetSaga", sagas.GetSagaRequest(saga_id=incident_id)).saga
        return saga

    def incident(self, incident_id: str) -> Any:
        return self.safety("GetIncident", safety.GetIncidentRequest(incident_id=incident_id))

    def closed_roads(self) -> list[Any]:
        return list(self.call("traffic.v1.TrafficService/ListClosedRoads", traffic.ListClosedRoadsRequest()).roads)

    def closed(self) -> list[str]:
        return [road.edge_id for road in self.closed_roads()]

    def warned(self) -> list[str]:
        hospitals = self.call("health.v1.HealthService/ListHospitals", health.ListHospitalsRequest()).hospitals
        return [one.hospital_id for one in hospitals if one.warned_of_incident_ids]

    def driving(self) -> list[str]:
        fleet = self.call("health.v1.HealthService/ListAmbulances", health.ListAmbulancesRequest()).ambulances
        return [one.ambulance_id for one in fleet if one.incident_id]


def furnished(parts: Parts) -> City:
    """With roads, a district, units, an ambulance and hospitals."""
    city = City(parts)
    city.call("traffic.v1.TrafficService/PublishRoads", traffic.PublishRoadsRequest(edges=ROADS))
    for district in ("xihu", "gongshu"):
        new = hub.RegisterDistrictRequest(district_id=district, name=district)
        city.call("district_hub.v1.DistrictHubService/RegisterDistrict", new)
    for n in range(1, 9):
        kind = safety.UNIT_KIND_POLICE_CAR if n <= 4 else safety.UNIT_KIND_FIRE_ENGINE
        station = RoadPlace(edge_id=f"e{n % 4 + 1}")
        request = safety.RegisterUnitRequest(unit_id=f"u{n}", kind=kind, station=station, district_id="xihu")
        city.safety("RegisterUnit", request)
    city.call(
        "health.v1.HealthService/RegisterAmbulance",
        health.RegisterAmbulanceRequest(ambulance_id="a1", station=RoadPlace(edge_id="e1")),
    )
    for n, edge in enumerate(("e6", "e7", "e8")):
        city.call(
            "health.v1.HealthService/RegisterHospital",
            health.RegisterHospitalRequest(hospital_id=f"h{n}", name="", entrance=RoadPlace(edge_id=edge), places=3),
        )
    return city


def fire(city: City) -> str:
    """A fire with three dead: departments act together."""
    report = safety.ReportSignalRequest(source=safety.SIGNAL_SOURCE_119, kind=safety.EVENT_KIND_FIRE, place=PLACE)
    incident_id = str(city.safety("ReportSignal", report).incident.incident_id)
    city.safety("AssessIncident", safety.AssessIncidentRequest(incident_id=incident_id, dead=3))
    return incident_id


def test_a_fire_that_grows_is_worked_on_together_until_it_is_put_out(tmp_path: Path) -> None:
    def story(parts: Parts) -> None:
        city = furnished(parts)
        incident_id = fire(city)
        assert sorted(unit.kind for unit in city.incident(incident_id).units) == [1, 1, 2, 2, 2, 2]
        assert (city.closed(), city.warned(), city.driving()) == (["e4", "e5"], ["h0", "h1"], ["a1"])
        # Nobody acknowledges for a minute.
        city.advance(75)
        assert list(city.incident(incident_id).incident.unanswered_district_ids) == ["xihu"]
        # It is graver. No fire engine is free any more, so the two police cars that are go alone.
        city.safety("AssessIncident", safety.AssessIncidentRequest(incident_id=incident_id, dead=12))
        assert len(city.incident(incident_id).units) == 8
        notice = hub.GetNoticeRequest(notice_id=f"{incident_id}.xihu.2")
        update = city.call("district_hub.v1.DistrictHubService/GetNotice", notice).notice.alert
        assert (update.type, update.content.severity, len(update.references)) == (
            hub.ALERT_TYPE_UPDATE, hub.ALERT_SEVERITY_SEVERE, 1,
        )  # fmt: skip
        city.call(
            "district_hub.v1.DistrictHubService/AcknowledgeNotice",
            hub.AcknowledgeNoticeRequest(notice_id=notice.notice_id, district_id="xihu"),
        )
        assert not city.incident(incident_id).incident.unanswered_district_ids
        city.call(
            "sagas.v1.SagaService/AnswerQuestion",
            sagas.AnswerQuestionRequest(saga_id=incident_id, question="confirm_grade", option="raise", reason="it spreads"),
        )
        assert city.incident(incident_id).incident.confirmed_grade == safety.GRADE_EXTRA_MAJOR
        # Nobody is left who could be sent.
        city.advance(65)
        city.safety("CloseIncident", safety.CloseIncidentRequest(incident_id=incident_id, outcome="put out"))
        assert city.saga(incident_id).state == sagas.SAGA_STATE_COMPLETED
        assert (list(city.incident(incident_id).units), city.closed(), city.warned(), city.driving()) == ([], [], [], [])
        cancelled = city.call("district_hub.v1.DistrictHubService/GetNotice", notice).notice
        assert cancelled.withdrawn
        done = city.safety("GetAfterAction", safety.GetAfterActionRequest(incident_id=incident_id)).report
        steps = [action.step for action in done.actions]
        assert {"assign_units", "close_roads", "update_districts", "record_grade", "cancel_alert", "release_units"} <= set(
            steps
        )
        assert any("district xihu had not acknowledged in time" in flag for flag in done.flags)
        assert any("reinforce was left out: RESOURCE_EXHAUSTED" in flag for flag in done.flags)

    on_parts(tmp_path, story)


def test_a_false_alarm_leaves_nothing_behind_once_the_units_are_cleared(tmp_path: Path) -> None:
    def story(parts: Parts) -> None:
        city = furnished(parts)
        incident_id = fire(city)
        request = safety.CloseIncidentRequest(incident_id=incident_id, outcome="burnt milk", false_alarm=True)
        city.safety("CloseIncident", request)
        for step in ("close_roads", "assign_units"):
            assert city.saga(incident_id).state == sagas.SAGA_STATE_NEEDS_HUMAN
            asked = sagas.ClearUndoRequest(saga_id=incident_id, step=step, reason="nobody is in danger")
            city.call("sagas.v1.SagaService/ClearUndo", asked)
        assert city.saga(incident_id).state == sagas.SAGA_STATE_UNDONE
        assert (list(city.incident(incident_id).units), city.closed(), city.warned(), city.driving()) == ([], [], [], [])

    on_parts(tmp_path, story)


def test_of_two_that_are_one_the_older_goes_on_with_the_units_of_both_and_lets_all_go_in_the_end(tmp_path: Path) -> None:
    def story(parts: Parts) -> None:
        city = furnished(parts)
        # Two gas leaks, far apart: on e1, with nobody hurt, and a minute later on e5.
        leak: Any = {"source": safety.SIGNAL_SOURCE_119, "kind": safety.EVENT_KIND_GAS_LEAK}
        report = safety.ReportSignalRequest(place=RoadPlace(edge_id="e1"), **leak)
        older = str(city.safety("ReportSignal", report).incident.incident_id)
        city.advance(60)
        younger = str(city.safety("ReportSignal", safety.ReportSignalRequest(place=PLACE, **leak)).incident.incident_id)
        city.safety("CallJointCommand", safety.CallJointCommandRequest(incident_id=younger, reason="it smells everywhere"))
        assert len(city.incident(younger).units) == 4
        city.safety(
            "MergeIncidents", safety.MergeIncidentsRequest(incident_id=younger, other_incident_id=older, reason="one pipe")
        )
        assert city.saga(older).state == sagas.SAGA_STATE_RUNNING
        # The units of both work on, until somebody lets those of the younger one go.
        city.advance(3600)
        assert (city.saga(younger).state, len(city.incident(older).units)) == (sagas.SAGA_STATE_RUNNING, 8)
        assert {road.incident_id for road in city.closed_roads()} == {older, younger}
        answer = sagas.AnswerQuestionRequest(saga_id=younger, question="hand_over", option="let_go", reason="enough are here")
        city.call("sagas.v1.SagaService/AnswerQuestion", answer)
        assert (city.saga(younger).state, len(city.incident(older).units)) == (sagas.SAGA_STATE_COMPLETED, 4)
        city.safety("OrderStandDown", safety.OrderStandDownRequest(incident_id=older, outcome="the pipe is shut"))
        assert city.saga(older).state == sagas.SAGA_STATE_COMPLETED
        ended = city.incident(older)
        assert (ended.incident.state, ended.incident.outcome) == (safety.INCIDENT_STATE_CLOSED, "the pipe is shut")
        assert (list(ended.units), city.closed(), city.warned(), city.driving()) == ([], [], [], [])

    on_parts(tmp_path, story)
