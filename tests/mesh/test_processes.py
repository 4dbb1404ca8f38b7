"""Services in processes of their own, several of one beside each other: each finds the others, one goes and nobody notices."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import grpc
import pytest
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.health_service_pb2_grpc import HealthServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace

from citybrain.local.child import ChildError, MeshChild
from citybrain.local.city import LocalCity
from citybrain.local.processes import groups_of
from citybrain.local.reflection import CallError, Remote
from citybrain.mesh.manifest import ManifestError, find_manifests
from citybrain.mesh.operations import targets
from citybrain.mesh.settings.values import Log, Metrics, Processes, Restarts, Settings
from citybrain.mesh.startup.serve import rooms
from tests.helpers.callers import channel
from tests.helpers.load import Callers
from tests.helpers.paper_city import WallCity
from tests.helpers.waiting import until

LIMIT_S = 60.0
SOON = Restarts(first_pause_s=0.05, longest_pause_s=0.2)
NEVER = Restarts(first_pause_s=1000, longest_pause_s=1000)
APART = (("emergency_command", "district_hub"), ("health",), ("traffic",))
PAIR = {"health": 2}


class City:
    """A city in several processes, and what was said of them."""

    def __init__(
        self,
        data: Path,
        groups: tuple[tuple[str, ...], ...],
        copies: dict[str, int],
        only: tuple[str, ...] = (),
        restarts: Restarts = SOON,
    ) -> None:
        self.said: list[str] = []
        processes = Processes(groups=groups, copies=copies, restarts=restarts)
        self.local = LocalCity(Settings(data=data, processes=processes), only=only, say=self.said.append)

    def pid(self, name: str) -> int:
        assert self.local.mesh is not None
        return self.local.mesh.children[name].pid

    def until_said(self, text: str, times: int = 1) -> None:
        end = time.monotonic() + LIMIT_S
        while sum(text in said for said in self.said) < times:
            assert time.monotonic() < end, f"never said {text}: {self.said}"
            threading.Event().wait(0.01)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    everybody_else = ("emergency_command", "district_hub", "health", "traffic", "sagas")
    started = City(tmp_path_factory.mktemp("apart"), APART, PAIR, only=everybody_else)
    with started.local:
        yield started


def gateway(city: City) -> str:
    assert city.local.gateway is not None
    return city.local.gateway.address


def test_services_that_share_a_process_and_those_that_do_not_answer_behind_one_gateway(city: City) -> None:
    assert city.local.mesh is not None
    assert sorted(city.local.mesh.children) == ["emergency_command+1", "health-1", "health-2", "sagas", "traffic"]
    assert len(set(city.local.mesh.pids)) == 5
    with Remote(gateway(city), city.local.token()) as remote:
        for method in ("emergency_command/ListIncidents", "health/ListAmbulances", "sagas/ListSagas"):
            assert len(list(remote.call(method, "{}", timeout_s=LIMIT_S, metadata=[]))) == 1, method


def test_a_workflow_goes_through_all_of_them(city: City) -> None:
    paper = WallCity(gateway(city), city.local.data)
    paper.build()
    incident = paper.report("call-1")
    paper.until(lambda: paper.step(incident, "at_scene") == "waiting")
    paper.drive(incident)
    paper.until(lambda: paper.ended(incident))
    paper.close()


class Load(Callers):
    """Commands one after the other from several callers, each with an id of its own; what was answered, what refused."""

    def __init__(self, address: str, data: Path, prefix: str, callers: int = 4) -> None:
        self._data = data
        self._address = address
        self._prefix = prefix
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        super().__init__([partial(self._call, number) for number in range(callers)])

    def until(self, enough: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT_S
        while not enough():
            assert time.monotonic() < end
            threading.Event().wait(0.01)

    def more(self, count: int) -> None:
        """Waits for so many more answers."""
        target = len(self.acknowledged) + count
        self.until(lambda: len(self.acknowledged) >= target or bool(self.refused))

    def _call(self, number: int) -> None:
        with channel(self._address, self._data) as opened:
            stub = HealthServiceStub(opened)
            turn = 0
            while self.goes_on():
                turn += 1
                name = f"{self._prefix}-{number}-{turn}"
                request = health.RegisterAmbulanceRequest(ambulance_id=name, station=RoadPlace(edge_id="e1", position_m=1))
                try:
                    stub.RegisterAmbulance(request, timeout=LIMIT_S, metadata=[("x-request-id", name)])
                except grpc.RpcError as error:
                    self.refused.append(f"{name}: {error.code().name} {error.details()}")
                else:
                    self.acknowledged.append(name)


def test_while_one_of_two_processes_stops_and_comes_back_no_call_is_refused_and_none_is_lost(city: City) -> None:
    with Load(gateway(city), city.local.data, "drained") as load:
        for name in ("health-1", "health-2", "health-1", "health-2"):
            load.more(50)
            times = sum("is up again" in said for said in city.said)
            os.kill(city.pid(name), signal.SIGTERM)
            city.until_said("is up again", times + 1)
        load.more(50)
    assert load.refused == []
    assert len(load.acknowledged) >= 250
    registered: set[str] = set()
    with channel(gateway(city), city.local.data) as opened:
        stub = HealthServiceStub(opened)
        end = time.monotonic() + LIMIT_S
        while not registered >= set(load.acknowledged):
            assert time.monotonic() < end, set(load.acknowledged) - registered
            request = health.ListAmbulancesRequest()
            while True:
                listed = stub.ListAmbulances(request, timeout=LIMIT_S)
                registered |= {one.ambulance_id for one in listed.ambulances}
                request.page_token = listed.next_page_token
                if not request.page_token:
                    break


def test_a_process_that_is_killed_is_started_again_and_it_is_said_why(city: City) -> None:
    before = city.pid("traffic")
    os.kill(before, signal.SIGKILL)
    city.until_said("traffic was ended by SIGKILL")
    city.until_said("traffic is up again")
    assert city.pid("traffic") not in (0, before)
    with Remote(gateway(city), city.local.token()) as remote, pytest.raises(CallError, match="there is no signal x"):
        list(remote.call("traffic/GetSignal", '{"signalId": "x"}', timeout_s=LIMIT_S, metadata=[]))


def test_a_process_that_hangs_is_ended_and_started_again_and_its_services_answer(tmp_path: Path) -> None:
    patient = Restarts(first_pause_s=0.05, longest_pause_s=0.2, hang_s=9)
    hanging = City(tmp_path, (("health",),), {}, only=("health", "traffic"), restarts=patient)
    with hanging.local:
        before = hanging.pid("traffic")
        os.kill(before, signal.SIGSTOP)
        hanging.until_said("traffic had answered nothing for 9 s and was ended")
        hanging.until_said("traffic is up again")
        assert hanging.pid("traffic") not in (0, before)
        with Remote(gateway(hanging), hanging.local.token()) as remote, pytest.raises(CallError, match="there is no signal x"):
            list(remote.call("traffic/GetSignal", '{"signalId": "x"}', timeout_s=LIMIT_S, metadata=[]))
        assert not any("health" in said for said in hanging.said), "who answers is left alone"


def filled(log: Path) -> bool:
    """Whether something stands in a log. While it is begun anew there is none for a moment."""
    try:
        return log.stat().st_size > 0
    except FileNotFoundError:
        return False


def test_logs_of_a_city_are_begun_anew_when_they_are_full_and_what_happened_is_kept_with_its_time(tmp_path: Path) -> None:
    log = Log(file_mb=0.002, files_kept=1)
    said: list[str] = []
    settings = Settings(data=tmp_path, log=log, processes=Processes(restarts=SOON))
    with LocalCity(settings, only=["health"], say=said.append) as one:
        assert one.gateway is not None and one.mesh is not None
        os.kill(one.mesh.children["mesh"].pid, signal.SIGKILL)
        end = time.monotonic() + LIMIT_S
        with channel(one.gateway.address, tmp_path) as through:
            stub = HealthServiceStub(through)
            while not (filled(tmp_path / "access.log.1") and filled(tmp_path / "access.log") and len(said) >= 2):
                assert time.monotonic() < end
                with contextlib.suppress(grpc.RpcError):
                    stub.ListAmbulances(health.ListAmbulancesRequest(), timeout=LIMIT_S)
    lines = [json.loads(line) for line in (tmp_path / "up.log").read_text(encoding="utf-8").splitlines()]
    told = [line["message"] for line in lines]
    assert told == [f"the city answers at {one.gateway.address}", *said, "the city is stopped"]
    assert said[0].startswith("mesh was ended by SIGKILL")
    assert all(datetime.fromisoformat(line["time"]).tzinfo is not None for line in lines)
    assert not (tmp_path / "access.log.2").exists()


def test_prometheus_finds_the_processes_that_run_and_the_gateway_and_reads_them(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, metrics=Metrics(listen="127.0.0.1:0"), processes=Processes(restarts=SOON))

    def found() -> dict[str, str]:
        files = (tmp_path / targets.FOLDER).glob("*.json")
        groups = [group for file in files for group in json.loads(file.read_text(encoding="utf-8"))]
        addresses = {group["labels"]["job"]: group["targets"][0] + group["labels"]["__metrics_path__"] for group in groups}
        assert len(addresses) == len(groups)
        return addresses

    said: list[str] = []
    with LocalCity(settings, only=["audit"], say=said.append) as one:
        assert one.mesh is not None
        before = found()
        assert before.keys() == {"city-mesh", "city-gateway"}
        os.kill(one.mesh.children["mesh"].pid, signal.SIGKILL)
        until(lambda: len(said) >= 2, said)
        after = found()
        assert after["city-mesh"] != before["city-mesh"] and after["city-gateway"] == before["city-gateway"]
        for job, tells in (("city-mesh", 'city_service_ready{city_service="audit"}'), ("city-gateway", "envoy_server_live")):
            with urllib.request.urlopen(f"http://{after[job]}", timeout=LIMIT_S) as answer:
                assert tells in answer.read().decode(), job
    assert list((tmp_path / targets.FOLDER).iterdir()) == []


def test_a_process_that_does_not_start_in_time_is_ended_and_told(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, processes=Processes(restarts=Restarts(start_s=0.01)))
    child = MeshChild(tmp_path, ["health"], settings=settings)
    with pytest.raises(ChildError, match=r"it had not started after 0\.01 s, and was ended"):
        child.start()
    assert not child.running


def leader(data: Path, service: str) -> int:
    """The process id of who leads a service: the kernel knows who holds its lock."""
    inode = (data / f"{service}.lead").stat().st_ino
    held = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines() if "FLOCK" in line]
    (pid,) = {int(fields[4]) for fields in held if fields[5].endswith(f":{inode}")}
    return pid


def test_when_the_process_that_leads_the_workflows_is_killed_another_carries_them_on(tmp_path: Path) -> None:
    pair = City(tmp_path, (("sagas",),), {"sagas": 2}, restarts=NEVER)
    with pair.local:
        paper = WallCity(gateway(pair), pair.local.data)
        paper.build()
        incident = paper.report("call-1")
        paper.until(lambda: paper.step(incident, "at_scene") == "waiting")
        first = leader(tmp_path, "sagas")
        assert first in (pair.pid("sagas-1"), pair.pid("sagas-2"))
        os.kill(first, signal.SIGKILL)
        pair.until_said("was ended by SIGKILL")
        paper.drive(incident)
        paper.until(lambda: paper.ended(incident))
        assert leader(tmp_path, "sagas") != first
        paper.close()


def test_only_some_services_run_where_only_some_are_wanted(tmp_path: Path) -> None:
    some = City(tmp_path, (), {}, only=("health", "traffic"))
    with some.local, Remote(gateway(some), some.local.token()) as remote:
        assert some.local.mesh is not None
        assert list(some.local.mesh.addresses) == ["health", "traffic"]
        assert list(remote.call("health/ListAmbulances", "{}", timeout_s=LIMIT_S, metadata=[]))
        with pytest.raises(CallError, match="sagas"):
            list(remote.call("sagas/ListSagas", "{}", timeout_s=LIMIT_S, metadata=[]))


@pytest.mark.parametrize(
    ("groups", "copies", "problem"),
    [
        ((("parking",),), {}, "name parking, and it is not among the services here"),
        ((("health",), ("health", "traffic")), {}, "name health twice"),
        ((), {"parking": 2}, "name parking, and it is not among the services here"),
    ],
)
def test_processes_that_cannot_be_are_one_clear_line_and_leave_nothing_behind(
    tmp_path: Path, groups: tuple[tuple[str, ...], ...], copies: dict[str, int], problem: str
) -> None:
    wrong = City(tmp_path, groups, copies)
    with pytest.raises(ManifestError, match=problem):
        wrong.local.start()
    with City(tmp_path, (), {}, only=("health",)).local:
        pass


def test_a_driven_city_is_one_process() -> None:
    with pytest.raises(ManifestError, match="driven city time is known to one process only"):
        groups_of(find_manifests(rooms()), Settings(time="driven", processes=Processes(copies={"health": 2})))
