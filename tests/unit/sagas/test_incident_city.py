"""An incident in the street, confirmed while an ambulance is under way: it comes on another way. In one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.traffic.v1 import incidents_pb2 as incidents
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from citybrain.traffic.v1.events_pb2 import PriorityGranted, RoadReopened, WayBlocked

from citybrain.mesh.events import hear, timestamp
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.sagas.service import SagaService
from citybrain.services.district_hub.service import DistrictHubService
from citybrain.services.emergency_command.service import EmergencyCommandService
from citybrain.services.health.service import HealthService
from citybrain.services.traffic.service import TrafficService
from tests.unit.sagas.test_joint_city import City

SERVICES = (EmergencyCommandService, DistrictHubService, HealthService, TrafficService, SagaService)
# From e1 to e3 by e2, or by e9, which is longer.
NEXT = {"e1": ["e2", "e9"], "e2": ["e3"], "e9": ["e3"], "e3": ["e4"], "e4": ["e1"]}
STOPPED = incidents.TRAFFIC_INCIDENT_KIND_STOPPED_VEHICLE


def _build(city: City) -> None:
    edges = [
        RoadEdge(
            edge_id=name, length_m=900 if name == "e9" else 300, free_speed_mps=10, next_edge_ids=after, district_id="xihu"
        )
        for name, after in NEXT.items()
    ]
    city.call("traffic.v1.TrafficService/PublishRoads", traffic.PublishRoadsRequest(edges=edges))
    city.call(
        "district_hub.v1.DistrictHubService/RegisterDistrict", hub.RegisterDistrictRequest(district_id="xihu", name="西湖区")
    )
    station = health.RegisterAmbulanceRequest(ambulance_id="a1", station=RoadPlace(edge_id="e1", position_m=10))
    city.call("health.v1.HealthService/RegisterAmbulance", station)
    hospital = health.RegisterHospitalRequest(
        hospital_id="h1", name="第一医院", entrance=RoadPlace(edge_id="e4", position_m=50), places=2
    )
    city.call("health.v1.HealthService/RegisterHospital", hospital)


def _heard(city: City, kind: type[Any]) -> list[Any]:
    feed = wait(city.parts.process.store.feed([kind.DESCRIPTOR.full_name]).read({}))
    return [hear(stored).data for stored in feed.events]


def test_a_confirmed_incident_on_its_way_leads_an_ambulance_under_way_around_it(tmp_path: Path) -> None:
    on_parts(tmp_path, _around)


def _around(parts: Parts) -> None:
    city = City(parts, SERVICES)
    _build(city)
    report = command.ReportEmergencyRequest(
        channel=command.CHANNEL_PHONE, severity=command.SEVERITY_CRITICAL, place=RoadPlace(edge_id="e3", position_m=20)
    )  # fmt: skip
    emergency = city.call("emergency_command.v1.EmergencyCommandService/ReportEmergency", report).incident.incident_id
    city.advance(10)
    seen = incidents.ReportIncidentRequest(
        report_id="r1", edge_id="e2", source=incidents.INCIDENT_SOURCE_VIDEO, kind=STOPPED,
        seen_at=timestamp(parts.process.clock.now()),
    )  # fmt: skip
    found = city.call("traffic.v1.TrafficService/ReportIncident", seen)
    city.advance(10)
    assert _heard(city, WayBlocked) == [], "one source alone closes no road"
    confirm = incidents.ConfirmIncidentRequest(
        incident_id=found.incident_id, kind=STOPPED, scope=incidents.BLOCKED_SCOPE_WHOLE_ROAD
    )  # fmt: skip
    closure = city.call("traffic.v1.TrafficService/ConfirmIncident", confirm).closure_id
    for _ in range(10):
        city.advance(1)
    (blocked,) = _heard(city, WayBlocked)
    assert (blocked.incident_id, blocked.edge_id, blocked.closure_id) == (emergency, "e2", closure)
    ways = [list(one.edge_ids) for one in _heard(city, PriorityGranted)]
    assert ways == [["e1", "e2", "e3", "e4"], ["e1", "e9", "e3", "e4"]]
    assert next(step.status for step in city.saga(emergency).steps if step.name == "reroute") == "done"
    city.call("traffic.v1.TrafficService/CloseIncident", incidents.CloseIncidentRequest(incident_id=found.incident_id))
    assert [one.edge_id for one in _heard(city, RoadReopened)] == ["e2"]
