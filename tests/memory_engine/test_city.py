"""The whole mesh on an engine of another package, and what an engine of one process that keeps nothing is refused.

An emergency in the traffic of a real city runs on it in tests/e2e, beside the same on files.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from citybrain.event_store.store import StoreError
from citybrain.local.child import MeshChild
from citybrain.local.processes import groups_of
from citybrain.mesh.manifest import ManifestError, find_manifests
from citybrain.mesh.settings.engines import names
from citybrain.mesh.settings.values import Processes, Settings
from citybrain.mesh.startup.serve import rooms
from citybrain.mesh.storage.engine import engine_named, open_engine
from tests.helpers.city_command import refused
from tests.helpers.paper_city import PaperCity
from tests.memory_engine.engine import InMemory

STORY = ["IncidentOpened", "AmbulanceReserved", "BedReserved", "PriorityGranted", "PatientHandedOver", "IncidentClosed"]


def test_the_engine_is_known_by_one_line_of_its_package() -> None:
    assert names() == ["distributed", "embedded", "memory"]
    assert engine_named("memory") is InMemory


def test_emergencies_in_a_city_on_paper_come_to_their_end_and_their_events_are_in_order(tmp_path: Path) -> None:
    settings = Settings(store="memory", time="driven")
    with MeshChild(tmp_path, settings=settings) as mesh:
        paper = PaperCity(mesh.address, mesh.log_path.parent)
        paper.build()
        incidents = [paper.report(f"call-{n}") for n in range(2)]
        for incident in incidents:
            paper.until(lambda incident=incident: bool(paper.ambulance_of(incident)))  # type: ignore[misc]
            paper.drive(incident)
            paper.until(lambda incident=incident: paper.ended(incident))  # type: ignore[misc]
            events = paper.events_of(incident, lambda event: event.type.endswith(".IncidentClosed"))
            story = [event.type.rpartition(".")[2] for event in events]
            assert [name for name in story if name in STORY] == STORY
        paper.close()
    assert list(tmp_path.rglob("*.db")) == [], "it is in memory"


def test_production_refuses_an_engine_that_keeps_nothing() -> None:
    why = dict(Settings(store="memory").refusals())["store"]
    assert "keeps nothing when its process ends" in why
    assert "store" not in dict(Settings().refusals())


@pytest.mark.parametrize("wanted", [Processes(copies={"health": 2}), Processes(groups=(("health",),))])
def test_several_processes_are_refused_to_an_engine_of_one(wanted: Processes) -> None:
    with pytest.raises(ManifestError, match="the engine memory is for one process only"):
        groups_of(find_manifests(rooms()), Settings(store="memory", processes=wanted))
    assert groups_of(find_manifests(rooms()), Settings(store="memory"))


def test_a_process_whose_neighbours_are_in_another_one_is_refused_to_an_engine_of_one(tmp_path: Path) -> None:
    apart = Settings(data=tmp_path, store="memory", peers={"citybrain.health.v1.HealthService": "127.0.0.1:7100"})
    with pytest.raises(StoreError, match="the engine memory is for one process, and peers names services in others"):
        asyncio.run(open_engine(apart, []))


def test_log_and_streams_that_are_one_are_not_compared() -> None:
    with pytest.raises(StoreError, match="there is nothing to compare"):
        asyncio.run(InMemory(Settings()).verify(repair=False))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["backup", "copy"], "the engine memory does not keep a city in files of the data folder"),
        (["restore", "copy"], "the engine memory does not keep a city in files of the data folder"),
        (["erase", "per-x"], "the engine memory is in the memory of the city's own process"),
        (["keys", "rewrap"], "the engine memory is in the memory of the city's own process"),
        (["log", "verify"], "the store is memory: its log and its streams are one"),
    ],
)
def test_a_command_that_is_not_for_this_engine_says_why(tmp_path: Path, command: list[str], said: str) -> None:
    (tmp_path / "city.yaml").write_text("store: memory\n", encoding="utf-8")
    assert said in refused(tmp_path, *command)
    assert [path.name for path in tmp_path.iterdir()] == ["city.yaml"]
