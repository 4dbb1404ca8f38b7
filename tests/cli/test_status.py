"""`city status`: what it says runs does run, what it says is ready is ready, and what was killed is never said to run."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from citybrain.local.child import MeshChild
from citybrain.local.city import LocalCity
from citybrain.mesh.manifest import find_manifests
from citybrain.mesh.settings.values import Processes, Restarts, Settings
from citybrain.mesh.startup.serve import rooms
from tests.helpers.city_command import refused, run
from tests.helpers.paper_city import PaperCity
from tests.helpers.waiting import until

EVERYBODY = ", ".join(sorted(manifest.name for manifest in find_manifests(rooms())))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the city's data folder is."""
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="module")
def city(here: Path) -> Iterator[LocalCity]:
    """One for all tests, in their order: who kills something of it brings it back, and the last one need not."""
    # What a test kills stays down while the test looks.
    restarts = Restarts(first_pause_s=1000, longest_pause_s=1000)
    with LocalCity(Settings(data=here / "data", time="driven", processes=Processes(restarts=restarts))) as running:
        yield running


def mesh_of(city: LocalCity) -> MeshChild:
    """Its one process."""
    assert city.mesh is not None
    (child,) = city.mesh.children.values()
    return child


def status(folder: Path, *arguments: str, code: int) -> dict[str, Any]:
    done = run(folder, "status", "--json", *arguments)
    assert done.returncode == code, done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def down(folder: Path) -> list[str]:
    """What should run and does not."""
    found: list[str] = json.loads(run(folder, "status", "--json").stdout)["down"]
    return found


def test_where_nothing_runs_it_says_so_and_how_to_start_something(tmp_path: Path) -> None:
    assert "nothing runs on data: start it with `city up`" in refused(tmp_path, "status")
    assert list(tmp_path.iterdir()) == []


def test_of_a_city_that_runs_it_tells_gateway_processes_services_and_groups(here: Path, city: LocalCity) -> None:
    until(lambda: run(here, "status").returncode == 0, "ready")
    said = run(here, "status").stdout
    assert city.gateway is not None and city.mesh is not None
    for words in (f"✓ gateway {city.gateway.address}", f"✓ process {mesh_of(city).pid} at {mesh_of(city).address}", "(driven)"):
        assert words in said
    for words in ("✓ emergency_command", "0 of 32 calls", "view.ambulance_list", "leads"):
        assert words in said
    found = status(here, code=0)
    (process,) = found["processes"]
    services = {service["name"] for service in process["status"]["services"]}
    assert (found["ready"], found["troubles"], process["pid"]) == (True, [], mesh_of(city).pid)
    assert services == set(EVERYBODY.split(", "))
    assert [gateway["address"] for gateway in found["gateways"]] == [city.gateway.address]


def test_what_waits_for_people_is_a_line_with_the_oldest_and_takes_no_readiness_away(here: Path, city: LocalCity) -> None:
    paper = PaperCity(mesh_of(city).address, mesh_of(city).log_path.parent)
    try:
        assert "for people" not in run(here, "status").stdout
        paper.publish_roads()
        oldest = paper.report("first")
        paper.rest()
        paper.advance(100)
        paper.report("second")
        paper.rest()
        paper.advance(850)
        paper.rest()
        done = run(here, "status")
        assert f"sagas: 1 waits for people  the oldest is {oldest}, since 20" in done.stdout
        assert ": reserve_ambulance: RESOURCE_EXHAUSTED: no ambulance is free" in done.stdout
        assert f"sagas: 1 waits for people  the oldest is {oldest}" in run(here, "doctor").stdout.replace("\n", " ")
        paper.advance(900)
        paper.rest()
        assert f"sagas: 2 wait for people  the oldest is {oldest}" in run(here, "status").stdout
        service = next(one for one in status(here, code=0)["processes"][0]["status"]["services"] if one["name"] == "sagas")
        assert (service["waits"]["count"], service["waits"]["oldest"]) == (2, oldest)
    finally:
        paper.close()


def test_a_mesh_that_was_killed_is_not_said_to_run_and_the_gateway_still_is(here: Path, city: LocalCity) -> None:
    assert city.mesh is not None
    pid = mesh_of(city).pid
    city.mesh.kill()
    found = status(here, code=1)
    assert (found["ready"], found["processes"], found["gone"]) == (False, [], [f"{EVERYBODY} (process {pid})"])
    city.mesh.start()
    until(lambda: run(here, "status").returncode == 0, "ready again")


def test_a_process_that_hangs_is_said_to_run_and_not_to_answer(tmp_path: Path) -> None:
    with MeshChild(tmp_path / "data", ["health"]) as child:
        os.kill(child.pid, signal.SIGSTOP)
        try:
            (trouble,) = status(tmp_path, code=1)["troubles"]
        finally:
            os.kill(child.pid, signal.SIGCONT)
        assert f"health (process {child.pid}) runs, and does not answer" in trouble


def test_what_should_run_and_does_not_is_named_by_its_service(tmp_path: Path) -> None:
    apart = Processes(
        groups=(("health",), ("traffic", "district_hub")), restarts=Restarts(first_pause_s=0.2, longest_pause_s=1000)
    )
    with LocalCity(Settings(data=tmp_path / "data", processes=apart), only=["health", "traffic", "district_hub"]) as city:
        assert city.mesh is not None
        until(lambda: run(tmp_path, "status").returncode == 0, "ready")
        # The first time it comes back, and then it has ended once, which need not mean anything.
        child = city.mesh.children["traffic+1"]
        before = child.pid
        os.kill(before, signal.SIGKILL)
        until(lambda: child.pid not in (0, before), "started again")
        until(lambda: run(tmp_path, "status").returncode == 0, "ready again")
        before = child.pid
        os.kill(before, signal.SIGKILL)
        until(lambda: child.pid not in (0, before) and child.running, "started again")
        loops = "traffic+1 (traffic, district_hub) has ended 2 times in a row: it was ended by SIGKILL"
        until(lambda: down(tmp_path) == [loops], "said to end again and again")
        assert status(tmp_path, code=1)["ready"] is False
        said = run(tmp_path, "doctor")
        assert (said.returncode, f"mesh  {loops}" in said.stdout) == (1, True)


def test_what_is_down_for_now_is_named_with_why(tmp_path: Path) -> None:
    apart = Processes(groups=(("health",),), restarts=Restarts(first_pause_s=1000, longest_pause_s=1000))
    with LocalCity(Settings(data=tmp_path / "data", processes=apart), only=["health", "traffic"]) as city:
        assert city.mesh is not None
        until(lambda: run(tmp_path, "status").returncode == 0, "ready")
        os.kill(city.mesh.children["health"].pid, signal.SIGKILL)
        until(lambda: down(tmp_path) == ["health does not run: it was ended by SIGKILL"], "down")
        assert status(tmp_path, code=1)["ready"] is False
        assert "✗ health does not run: it was ended by SIGKILL" in run(tmp_path, "status").stdout


def test_who_ended_without_a_word_beside_others_is_named_by_its_service_where_nobody_keeps_it_up(tmp_path: Path) -> None:
    with (
        MeshChild(tmp_path / "data", ["health"], name="health"),
        MeshChild(tmp_path / "data", ["traffic"], name="t") as traffic,
    ):
        until(lambda: run(tmp_path, "status").returncode == 0, "ready")
        pid = traffic.pid
        traffic.kill()
        assert status(tmp_path, code=1)["down"] == [f"traffic (process {pid}) ended unexpectedly, and is not back"]
        traffic.start()
        until(lambda: run(tmp_path, "status").returncode == 0, "ready again")


def test_what_is_out_is_named_with_its_reason(tmp_path: Path) -> None:
    with MeshChild(tmp_path / "data", ["sagas"]) as child:
        done = run(tmp_path, "status")
        assert done.returncode == 1
        assert f"✓ process {child.pid}" in done.stdout
        assert "✗ sagas: citybrain.traffic.v1.TrafficService  citybrain.traffic.v1.TrafficService runs nowhere" in done.stdout


def test_an_address_is_asked_whether_it_is_a_process_or_a_gateway(here: Path, city: LocalCity) -> None:
    assert city.gateway is not None and city.mesh is not None
    until(lambda: run(here, "status").returncode == 0, "ready")
    whole = status(here, "--address", mesh_of(city).address, code=0)
    assert [process["status"]["pid"] for process in whole["processes"]] == [mesh_of(city).pid]
    outside = status(here, "--address", city.gateway.address, code=0)
    assert outside["processes"] == []
    assert outside["names"]["citybrain.health.v1.HealthService/store"] is True


def test_a_gateway_that_was_killed_is_not_said_to_take_calls(here: Path, city: LocalCity) -> None:
    assert city.gateway is not None
    city.gateway.kill()
    found = status(here, code=1)
    assert any(f"gateway {city.gateway.address}: does not answer" in trouble for trouble in found["troubles"])
    until(lambda: down(here) == ["gateway does not run: it was ended by SIGKILL"], "told by who keeps it up")


def test_each_of_several_processes_behind_one_port_is_asked_by_itself(tmp_path: Path) -> None:
    apart = Processes(groups=(("health",),), copies={"health": 2})
    with LocalCity(Settings(data=tmp_path / "data", processes=apart)) as city:
        until(lambda: run(tmp_path, "status").returncode == 0, "ready")
        processes = status(tmp_path, code=0)["processes"]
        assert city.mesh is not None
        assert sorted(process["pid"] for process in processes) == sorted(city.mesh.pids)
        beside = [process for process in processes if process["address"] == city.mesh.addresses["health"]]
        assert [process["pid"] == process["status"]["pid"] for process in beside] == [True, True]
        roles = [{group["role"] for group in process["status"]["services"][0]["groups"]} for process in beside]
        assert sorted(map(sorted, roles)) == [["GROUP_ROLE_LEADS"], ["GROUP_ROLE_STANDS_BY"]]


def test_an_address_where_nobody_answers_says_so(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        assert f"{address} does not answer" in refused(tmp_path, "status", "--address", address)
