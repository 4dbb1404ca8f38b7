"""A department, the gateway or the street is away for a while, and comes back."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from citybrain.events.v1.event_pb2 import Event
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from typer.testing import CliRunner

from citybrain.cli.main import app
from citybrain.local.child import MeshChild
from citybrain.local.city import ROOT, LocalCity
from citybrain.mesh.settings.values import Settings
from citybrain.observability.receiver import Receiver
from citybrain.stories.emergency.observer import Observer
from citybrain.stories.processes import Simulation
from tests.helpers.paper_city import PaperCity
from tests.helpers.waiting import until

WHERE = [
    "--city",
    "cologne8",
    "--scenarios",
    str(ROOT / "build" / "scenarios"),
    "--until",
    "900",
    "--seed",
    "1",
    "--emergencies",
    "1",
]


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[tuple[MeshChild, MeshChild]]:
    """Traffic in a process of its own, everybody else in another; they share the event file. Their spans are kept outside."""
    data = tmp_path / "data"
    receiver = Receiver(data / "traces.db")
    there = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.start()}
    try:
        with (
            MeshChild(data, ["traffic", "--driven"], there) as traffic,
            MeshChild(data, ["--without", "traffic", "--driven", "--peer", f"traffic={traffic.address}"], there) as others,
        ):
            yield traffic, others
    finally:
        receiver.stop()


def test_with_traffic_down_the_emergency_goes_on_without_priority_and_says_so(apart: tuple[MeshChild, MeshChild]) -> None:
    traffic, others = apart
    roads = PaperCity(traffic.address, traffic.log_path.parent)
    roads.publish_roads()
    roads.close()
    city = PaperCity(others.address, others.log_path.parent)
    city.build(roads=False)
    traffic.kill()
    incident = city.report("call-1")
    city.until(lambda: city.step(incident, "at_scene") == "waiting")
    assert city.step(incident, "grant_priority") == "skipped"
    city.drive(incident)
    city.until(lambda: city.ended(incident))
    assert city.saga(incident).state == sagas.SAGA_STATE_COMPLETED
    assert "without priority" in city.incident(incident).outcome
    city.close()
    asked = ["--data", str(others.log_path.parent), "--gateway", others.address, "--json"]

    def culprits() -> set[str]:
        said = json.loads(CliRunner().invoke(app, ["incident", incident, *asked]).stdout)
        return {one["who"] for one in said["findings"] if one["kind"] == "failed" and one["do"].startswith("city trace")}

    until(lambda: culprits() == {"traffic"}, "the department that was killed stands as the culprit, and no other")


@pytest.mark.sumo
@pytest.mark.parametrize("victim", ["gateway", "mesh"])
def test_the_gateway_or_the_mesh_is_killed_in_the_middle_of_a_ride_and_the_patient_arrives(tmp_path: Path, victim: str) -> None:
    with LocalCity(Settings(data=tmp_path, time="driven")) as city:
        assert city.gateway is not None and city.mesh is not None
        due = threading.Event()

        def seen(_incident: str, event: Event) -> None:
            if event.type.endswith(".SignalCommanded"):
                due.set()

        observer = Observer(city.gateway.address, city.token, seen)

        def said(line: dict[str, object]) -> None:
            if line.get("incident_id"):
                observer.follow(str(line["incident_id"]))

        street = Simulation(
            ["city", *WHERE, "--gateway", city.gateway.address], tmp_path / "city.log", said, {"CITY_TOKEN": city.token()}
        )
        try:
            assert due.wait(60), "no signal was commanded"
            known = observer.known()
            pid = city.gateway.pid if victim == "gateway" else city.mesh.pids[0]
            assert pid
            os.kill(pid, signal.SIGKILL)
            result = street.wait()
            assert [call["finished"] for call in result["calls"]] == [True]
            assert result["safety_findings"] == 0
            assert observer.lost(known) == 0
        finally:
            street.stop()
            observer.close()


@pytest.mark.sumo
def test_a_street_that_is_gone_holds_nothing_up_and_another_one_is_served(tmp_path: Path) -> None:
    """The simulator is killed in the middle of a ride: its ambulance stays assigned, and the next day works."""
    with LocalCity(Settings(data=tmp_path, time="driven")) as city:
        assert city.gateway is not None
        due = threading.Event()
        incidents: list[str] = []

        def said(line: dict[str, object]) -> None:
            if line.get("incident_id"):
                incidents.append(str(line["incident_id"]))
                due.set()

        first = Simulation(
            ["city", *WHERE, "--gateway", city.gateway.address], tmp_path / "first.log", said, {"CITY_TOKEN": city.token()}
        )
        assert due.wait(60)
        first.stop()
        paper = PaperCity(city.gateway.address, city.data)
        paper.rest()
        paper.now += 2 * 86400
        paper.advance(0)
        paper.rest()
        assert paper.saga(incidents[0]).state == sagas.SAGA_STATE_NEEDS_HUMAN
        paper.build()
        incident = paper.report("call-after")
        paper.until(lambda: paper.step(incident, "at_scene") == "waiting")
        paper.drive(incident)
        paper.until(lambda: paper.ended(incident))
        assert paper.saga(incident).state == sagas.SAGA_STATE_COMPLETED
        paper.close()


def test_an_emergency_that_cannot_be_served_asks_a_human_and_goes_on_when_it_can(tmp_path: Path) -> None:
    with MeshChild(tmp_path / "data", ["--driven"]) as mesh:
        city = PaperCity(mesh.address, mesh.log_path.parent)
        city.build(ambulances=0)
        incident = city.report("call-1")
        city.until(lambda: city.saga(incident).state == sagas.SAGA_STATE_NEEDS_HUMAN, seconds=1000)
        assert "no ambulance is free" in city.saga(incident).reason
        city.add_ambulances(1)
        city.call(city.sagas.ResumeSaga, sagas.ResumeSagaRequest(saga_id=incident))
        city.until(lambda: city.step(incident, "at_scene") == "waiting")
        city.drive(incident)
        city.until(lambda: city.ended(incident))
        assert city.saga(incident).state == sagas.SAGA_STATE_COMPLETED
        city.close()
