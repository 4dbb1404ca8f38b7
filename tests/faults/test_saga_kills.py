"""The mesh is killed at every step of an emergency, and at the undo of three; nothing is lost, doubled or left reserved."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.sagas.v1 import saga_service_pb2 as sagas

from citybrain.local.child import MeshChild
from citybrain.sagas.workflows.emergency_response import EMERGENCY_RESPONSE
from tests.helpers.killer import KillAt
from tests.helpers.paper_city import PaperCity

# Another way is asked for only where a road is closed.
STEPS = [leaf.name for leaf in EMERGENCY_RESPONSE.leaves() if leaf.name != "reroute"]
UNDONE = ["reserve_ambulance", "reserve_bed", "notify_districts"]


@pytest.fixture
def city(mesh: MeshChild) -> Iterator[PaperCity]:
    paper = PaperCity(mesh.address, mesh.log_path.parent)
    paper.build()
    yield paper
    paper.close()


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_the_emergency_goes_on_there_and_ends_as_if_nothing_had_been(
    city: PaperCity, mesh: MeshChild, step: str
) -> None:
    killer = KillAt(mesh, city, lambda e: e.type.endswith((".StepSent", ".WaitBegan")) and step.encode() in e.data.value)
    incident = city.report("call-1")
    killer.follow(incident)
    city.until(lambda: city.step(incident, "at_scene") == "waiting")
    city.drive(incident)
    city.until(lambda: city.ended(incident))
    assert killer.killed()
    assert city.saga(incident).state == sagas.SAGA_STATE_COMPLETED
    assert killer.lost() == 0
    nothing_is_held(city)
    every_effect_is_there_once(city, incident)


def test_killed_while_another_way_is_asked_for_the_same_ambulance_gets_it_once(city: PaperCity, mesh: MeshChild) -> None:
    city.open_detour()
    killer = KillAt(mesh, city, lambda e: e.type.endswith(".StepSent") and b"reroute" in e.data.value)
    incident = city.report("call-1")
    killer.follow(incident)
    city.until(lambda: city.step(incident, "at_scene") == "waiting")
    unit = city.ambulance_of(incident)
    city.close_road("e2")
    city.until(lambda: city.step(incident, "reroute") == "done" and city.step(incident, "at_scene") == "waiting")
    assert killer.killed()
    assert city.ambulance_of(incident) == unit
    city.drive(incident)
    city.until(lambda: city.ended(incident))
    assert city.saga(incident).state == sagas.SAGA_STATE_COMPLETED
    assert killer.lost() == 0
    nothing_is_held(city)
    kinds = [event.type.rpartition(".")[2] for event in city.events_of(incident, lambda e: e.type.endswith("IncidentClosed"))]
    assert kinds.count("AmbulanceRerouted") == 1


@pytest.mark.parametrize("step", UNDONE)
def test_killed_between_an_undo_recorded_and_its_command_it_is_undone_after_all(
    city: PaperCity, mesh: MeshChild, step: str
) -> None:
    killer = KillAt(mesh, city, lambda e: e.type.endswith(".UndoSent") and step.encode() in e.data.value)
    incident = city.report("call-1")
    city.until(lambda: city.step(incident, "at_scene") == "waiting")
    killer.follow(incident)
    city.cancel(incident)
    city.until(lambda: city.ended(incident))
    assert killer.killed()
    assert city.saga(incident).state == sagas.SAGA_STATE_UNDONE
    assert killer.lost() == 0
    nothing_is_held(city)


def test_the_same_report_twice_over_a_kill_is_one_incident(city: PaperCity, mesh: MeshChild) -> None:
    first = city.report("call-1")
    mesh.kill()
    mesh.start()
    assert city.report("call-1") == first
    city.advance(1)
    city.until(lambda: city.step(first, "at_scene") == "waiting")
    assert len(city.call(city.sagas.ListSagas, sagas.ListSagasRequest()).sagas) == 1


def test_two_incidents_racing_for_one_ambulance_over_a_kill_never_share_it(tmp_path: Path) -> None:
    with MeshChild(tmp_path / "data", ["--driven"]) as mesh:
        city = PaperCity(mesh.address, mesh.log_path.parent)
        city.build(ambulances=1)
        incidents: list[str] = []
        threads = [threading.Thread(target=lambda n=n: incidents.append(city.report(f"call-{n}"))) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        mesh.kill()
        mesh.start()
        city.advance(1)
        city.until(lambda: any(city.ambulance_of(incident) for incident in incidents))
        served = [incident for incident in incidents if city.ambulance_of(incident)]
        assert len(served) == 1
        city.until(lambda: city.step(served[0], "at_scene") == "waiting")
        city.drive(served[0])
        (other,) = [incident for incident in incidents if incident not in served]
        city.until(lambda: city.ambulance_of(other) != "")
        city.until(lambda: city.step(other, "at_scene") == "waiting")
        city.drive(other)
        city.until(lambda: city.ended(other))
        nothing_is_held(city)
        city.close()


def nothing_is_held(city: PaperCity) -> None:
    """No ambulance is assigned; no place is kept for somebody who does not come."""
    city.rest()
    units = city.call(city.health.ListAmbulances, health.ListAmbulancesRequest()).ambulances
    assert [unit.incident_id for unit in units] == [""] * len(units)
    (hospital,) = city.call(city.health.ListHospitals, health.ListHospitalsRequest()).hospitals
    present = sum(
        saga.state == sagas.SAGA_STATE_COMPLETED for saga in city.call(city.sagas.ListSagas, sagas.ListSagasRequest()).sagas
    )
    assert hospital.free_places == hospital.places - present


def every_effect_is_there_once(city: PaperCity, incident: str) -> None:
    """The events that change something outside the saga, counted among the events of the incident."""
    once = ("AmbulanceReserved", "BedReserved", "PatientAnnounced", "PatientHandedOver", "AmbulanceReleased", "IncidentClosed")
    events = list(city.events_of(incident, lambda e: e.type.endswith("SagaCompleted")))
    names = [event.type.rpartition(".")[2] for event in events]
    assert {name: names.count(name) for name in once} == dict.fromkeys(once, 1)
    districts = [event.district for event in events if event.type.endswith("DistrictNotified")]
    assert sorted(districts) == sorted(set(districts))
