"""What may happen between a report and the hospital door: another ambulance, hospital or way, a patient who stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.traffic.v1.events_pb2 import PriorityGranted

from citybrain.local.child import MeshChild
from tests.helpers.paper_city import PaperCity


@pytest.fixture
def city(tmp_path: Path) -> Iterator[PaperCity]:
    with MeshChild(tmp_path, ["--driven"]) as mesh:
        paper = PaperCity(mesh.address, mesh.log_path.parent)
        paper.build()
        second = health.RegisterHospitalRequest(
            hospital_id="h2", name="第二医院", entrance=RoadPlace(edge_id="e1", position_m=90), places=5
        )
        paper.call(paper.health.RegisterHospital, second)
        paper.rest()
        yield paper
        paper.close()


def under_way(city: PaperCity) -> str:
    """An emergency whose ambulance drives to the patient."""
    incident = city.report("call")
    city.until(lambda: city.step(incident, "at_scene") == "waiting")
    city.advance(5)
    return incident


def free(city: PaperCity) -> tuple[list[str], dict[str, int]]:
    """The ambulances that are free, and how many places each hospital has."""
    city.rest()
    units = city.call(city.health.ListAmbulances, health.ListAmbulancesRequest()).ambulances
    houses = city.call(city.health.ListHospitals, health.ListHospitalsRequest()).hospitals
    idle = [unit.ambulance_id for unit in units if not unit.incident_id]
    return idle, {house.hospital_id: house.free_places for house in houses}


def test_an_ambulance_breaks_down_and_the_patient_comes_to_the_hospital_with_another_one(city: PaperCity) -> None:
    incident = under_way(city)
    first = city.ambulance_of(incident)
    broken = health.ReportBreakdownRequest(
        ambulance_id=first, place=RoadPlace(edge_id="e2", position_m=50), reason="engine"
    )  # fmt: skip
    city.call(city.health.ReportBreakdown, broken)
    city.until(lambda: city.ambulance_of(incident) not in ("", first) and city.step(incident, "at_scene") == "waiting")
    city.drive(incident)
    city.until(lambda: city.ended(incident))
    assert city.saga(incident).state == sagas.SAGA_STATE_COMPLETED
    assert city.incident(incident).outcome == "handed over at h1"
    assert sorted(free(city)[0]) == ["a0", "a1"]
    # The next emergency does not get the one that stands still.
    second = city.report("call-2")
    city.until(lambda: bool(city.ambulance_of(second)))
    assert city.ambulance_of(second) != first


def test_a_hospital_cannot_take_the_patient_and_the_same_ambulance_drives_to_the_next(city: PaperCity) -> None:
    incident = under_way(city)
    unit = city.ambulance_of(incident)
    divert = health.DivertPatientRequest(hospital_id="h1", incident_id=incident, reason="no surgeon")
    city.call(city.health.DivertPatient, divert)
    city.until(lambda: free(city)[1] == {"h1": 5, "h2": 4} and city.step(incident, "at_scene") == "waiting")
    assert city.ambulance_of(incident) == unit
    city.drive(incident)
    city.until(lambda: city.ended(incident))
    assert city.incident(incident).outcome == "handed over at h2"


def test_a_patient_stays_and_everything_that_was_reserved_is_free_again(city: PaperCity) -> None:
    incident = under_way(city)
    refusal = health.ReportRefusalRequest(ambulance_id=city.ambulance_of(incident), incident_id=incident, reason="feels better")
    city.call(city.health.ReportRefusal, refusal)
    city.until(lambda: city.ended(incident))
    assert city.saga(incident).state == sagas.SAGA_STATE_COMPLETED
    told = city.incident(incident)
    assert (told.state, told.outcome) == (command.INCIDENT_STATE_CLOSED, "the patient stays")
    assert (sorted(free(city)[0]), free(city)[1]) == (["a0", "a1"], {"h1": 5, "h2": 5})


def test_a_drill_goes_through_every_department_and_the_city_finds_nothing_of_it(city: PaperCity) -> None:
    incident = city.report("drill", exercise="fire-2026")
    known_as = f"fire-2026~{incident}"
    city.until(lambda: city.step(known_as, "at_scene") == "waiting")
    saga = city.saga(known_as)
    assert (saga.saga_id, saga.exercise, saga.correlation_id) == (known_as, "fire-2026", incident)
    assert {step.name for step in saga.steps if step.status == "done"} >= {"reserve_ambulance", "reserve_bed", "grant_priority"}
    # The same ambulance is free in the city, and goes to the next emergency.
    assert free(city) == (["a0", "a1"], {"h1": 5, "h2": 5})
    assert [one.saga_id for one in city.call(city.sagas.ListSagas, sagas.ListSagasRequest()).sagas] == []
    drilled = city.call(city.sagas.ListSagas, sagas.ListSagasRequest(exercise="fire-2026")).sagas
    assert [one.saga_id for one in drilled] == [known_as]
    real = city.report("call")
    city.until(lambda: city.step(real, "at_scene") == "waiting")
    city.drive(real)
    city.until(lambda: city.ended(real))
    # What happens in the drill is told by naming it.
    ambulance = "a1"
    for stage in (health.MISSION_STAGE_PATIENT_ON_BOARD, health.MISSION_STAGE_AT_HOSPITAL):
        report = health.ReportMissionRequest(ambulance_id=ambulance, incident_id=incident, stage=stage)
        city.call(city.health.ReportMission, report, exercise="fire-2026")
    city.until(lambda: city.ended(known_as))
    assert city.saga(known_as).state == sagas.SAGA_STATE_COMPLETED
    assert free(city) == (["a0", "a1"], {"h1": 4, "h2": 5})


def test_a_road_on_the_way_is_closed_and_the_same_ambulance_comes_on_another_way(city: PaperCity) -> None:
    city.open_detour()
    incident = under_way(city)
    unit = city.ambulance_of(incident)
    city.close_road("e2")
    city.until(lambda: city.step(incident, "reroute") == "done" and city.step(incident, "at_scene") == "waiting")
    ways: list[list[str]] = []
    types: list[str] = []
    for event in city.events_of(incident, lambda _: len(ways) == 2):
        types.append(event.type.rpartition(".")[2])
        if types[-1] == "PriorityGranted":
            ways.append(list(PriorityGranted.FromString(event.data.value).edge_ids))
    assert ways == [["e1", "e2", "e3", "e4"], ["e1", "e9", "e3", "e4"]]
    assert [types.count(name) for name in ("WayBlocked", "AmbulanceRerouted", "PriorityReleased")] == [1, 1, 1]
    assert city.ambulance_of(incident) == unit
    city.drive(incident)
    city.until(lambda: city.ended(incident))
    assert city.incident(incident).outcome == "handed over at h1"
