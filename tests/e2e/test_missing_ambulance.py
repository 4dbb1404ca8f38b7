"""An ambulance that does not come: traffic, log and workflow tell a human, and the emergency goes on when it can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.local.child import MeshChild
from tests.helpers.paper_city import PaperCity


@pytest.fixture
def city(tmp_path: Path) -> Iterator[PaperCity]:
    with MeshChild(tmp_path, ["--driven"]) as mesh:
        paper = PaperCity(mesh.address, mesh.log_path.parent)
        paper.build()
        yield paper
        paper.close()


def under_way(city: PaperCity) -> str:
    """An emergency whose ambulance drives to the patient."""
    incident = city.report("call")
    city.until(lambda: city.step(incident, "at_scene") == "waiting")
    return incident


def seen(city: PaperCity, *vehicles: traffic.VehiclePosition) -> None:
    """What is seen in the street in a second."""
    at = Timestamp(seconds=city.now)
    city.call(city.traffic.ReportObservations, traffic.ReportObservationsRequest(observed_at=at, vehicles=vehicles))
    city.rest()
    city.advance(1)
    city.rest()


def standing(unit: str, edge_id: str, index: int) -> traffic.VehiclePosition:
    return traffic.VehiclePosition(
        vehicle_id=unit, edge_id=edge_id, position_m=42, desired_speed_mps=12, route_index=index
    )  # fmt: skip


def report(city: PaperCity, incident: str, stage: health.MissionStage) -> None:
    request = health.ReportMissionRequest(ambulance_id=city.ambulance_of(incident), incident_id=incident, stage=stage)
    city.call(city.health.ReportMission, request, f"{incident}-{stage}")
    city.rest()


def test_an_ambulance_that_is_lost_with_the_patient_is_told_to_a_human_and_its_arrival_ends_the_emergency(
    city: PaperCity,
) -> None:
    incident = under_way(city)
    unit = city.ambulance_of(incident)
    report(city, incident, health.MISSION_STAGE_PATIENT_ON_BOARD)
    seen(city, standing(unit, "e3", 2))
    for _ in range(59):
        seen(city)
        assert city.saga(incident).state == sagas.SAGA_STATE_RUNNING
    for _ in range(3):
        seen(city)
    told = city.saga(incident)
    assert told.state == sagas.SAGA_STATE_NEEDS_HUMAN
    assert f"ambulance {unit} has been silent for 61 s, last on road e3 at 42 m" in told.reason
    report(city, incident, health.MISSION_STAGE_AT_HOSPITAL)
    city.until(lambda: city.ended(incident))
    assert city.saga(incident).state == sagas.SAGA_STATE_COMPLETED
    assert city.incident(incident).outcome == "handed over at h1"


def test_an_ambulance_that_is_stuck_is_told_to_a_human_who_gives_the_ride_up_and_it_is_free_again(city: PaperCity) -> None:
    incident = under_way(city)
    unit = city.ambulance_of(incident)
    for _ in range(300):
        assert city.saga(incident).state == sagas.SAGA_STATE_RUNNING
        seen(city, standing(unit, "e1", 0))
    told = city.saga(incident)
    assert (told.state, told.reason) == (sagas.SAGA_STATE_NEEDS_HUMAN, "at_scene: not heard of in time")
    fail = sagas.FailStepRequest(saga_id=incident, step="at_scene", reason="another one is sent")
    city.call(city.sagas.FailStep, fail)
    city.until(lambda: city.ended(incident))
    assert city.saga(incident).state == sagas.SAGA_STATE_UNDONE
    assert city.ambulance_of(incident) == ""
    second = city.report("call again")
    city.until(lambda: city.step(second, "at_scene") == "waiting")
