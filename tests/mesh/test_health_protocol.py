"""Health checks and GetStatus of a whole process, as a probe and an operator see them."""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.health_service_pb2_grpc import HealthServiceStub
from citybrain.mesh.v1 import mesh_service_pb2 as pb
from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from citybrain.local.certificates import for_mesh
from citybrain.local.child import MeshChild
from citybrain.local.tcp_ports import HOST, keep_free_port
from citybrain.mesh.operations.presence import forget, present
from citybrain.mesh.settings.values import Settings
from tests.helpers.callers import calling
from tests.helpers.callers import channel as channel_to
from tests.helpers.waiting import until

SERVICE = "citybrain.health.v1.HealthService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
LIMIT_S = 60.0


@pytest.fixture
def child(tmp_path: Path) -> Iterator[MeshChild]:
    with MeshChild(tmp_path / "data", ["health"]) as running:
        yield running


@pytest.fixture
def channel(child: MeshChild) -> Iterator[grpc.Channel]:
    with calling(child) as opened:
        yield opened


def check(channel: grpc.Channel, name: str = "") -> int:
    return int(HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=LIMIT_S).status)


def status(channel: grpc.Channel) -> pb.GetStatusResponse:
    answer: pb.GetStatusResponse = MeshServiceStub(channel).GetStatus(pb.GetStatusRequest(), timeout=LIMIT_S)
    return answer


def register(channel: grpc.Channel, name: str) -> None:
    station = RoadPlace(edge_id="e1", position_m=1)
    request: Any = health.RegisterAmbulanceRequest(ambulance_id=name, station=station)
    HealthServiceStub(channel).RegisterAmbulance(request, timeout=LIMIT_S)


def limit_files(child: MeshChild, size: int) -> None:
    """No file of the process can grow beyond a size: what a full disk does, for one process."""
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_store_that_cannot_be_written_is_told_before_anybody_writes_and_again_when_it_can(
    child: MeshChild, channel: grpc.Channel
) -> None:
    until(lambda: check(channel) == SERVING, "ready")
    limit_files(child, 1)
    until(lambda: check(channel) == NOT_SERVING, "that it is told")
    assert [check(channel, name) for name in (SERVICE, f"{SERVICE}/store")] == [NOT_SERVING, NOT_SERVING]
    (service,) = status(channel).services
    (store,) = [one for one in service.dependencies if one.name == f"{SERVICE}/store"]
    assert "cannot write to events.db" in store.reason
    with pytest.raises(grpc.RpcError) as caught:
        register(channel, "a1")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "nothing was written: retry with the same request id" in str(caught.value.details())
    limit_files(child, resource.RLIM_INFINITY)
    until(lambda: check(channel) == SERVING, "that it recovers by itself")
    register(channel, "a1")


def test_status_says_where_every_group_is(child: MeshChild, channel: grpc.Channel) -> None:
    register(channel, "a1")
    register(channel, "a2")

    # The log also has records of the audit trail, a moment after each call.
    found = pb.GetStatusResponse()

    def caught_up() -> bool:
        found.CopyFrom(status(channel))
        return found.log_position >= 2 and all(group.position == found.log_position for group in found.services[0].groups)

    until(caught_up, "that the groups have caught up")
    (service,) = found.services
    assert (found.ready, found.pid, found.max_streams) == (True, child.pid, 256)
    assert (service.name, service.ready, service.max_calls, service.calls_working) == ("health", True, 32, 0)
    assert {group.name for group in service.groups} >= {"health.view.ambulance_list", "health.view.roads"}
    assert {(group.role, group.lag, group.parked, group.failing) for group in service.groups} == {
        (pb.GROUP_ROLE_LEADS, 0, 0, "")
    }


def test_a_second_process_of_a_service_stands_by_and_is_ready(child: MeshChild, channel: grpc.Channel) -> None:
    until(lambda: check(channel) == SERVING, "ready")
    with MeshChild(child.log_path.parent, ["health"]) as second, calling(second) as beside:
        until(lambda: check(beside) == SERVING, "ready beside it")
        assert {group.role for group in status(beside).services[0].groups} == {pb.GROUP_ROLE_STANDS_BY}
        child.kill()
        until(
            lambda: {group.role for group in status(beside).services[0].groups} == {pb.GROUP_ROLE_LEADS},
            "that the second takes over",
        )


def test_who_watches_hears_the_end_and_does_not_hold_it_up(child: MeshChild, channel: grpc.Channel) -> None:
    watching = HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=LIMIT_S)
    assert next(watching).status == SERVING
    stopping = threading.Thread(target=child.stop)
    stopping.start()
    assert [answer.status for answer in watching] == [NOT_SERVING]
    stopping.join(LIMIT_S)
    assert not child.running


def test_a_process_is_found_on_its_data_folder_as_long_as_it_runs(child: MeshChild) -> None:
    data = child.log_path.parent
    (here,) = present(data)
    assert (here.runs, here.said["pid"], here.said["serves"], here.said["services"]) == (
        True, child.pid, child.address, ["health"],
    )  # fmt: skip
    with channel_to(here.said["address"], child.log_path.parent) as own:
        assert status(own).pid == child.pid
    child.stop()
    assert present(data) == []


def test_a_process_that_was_killed_is_not_said_to_run(child: MeshChild) -> None:
    data = child.log_path.parent
    pid = child.pid
    child.kill()
    (gone,) = present(data)
    assert (gone.runs, gone.said["pid"]) == (False, pid)
    forget(data, gone)
    assert present(data) == []


def test_who_comes_in_the_place_of_one_that_was_killed_takes_its_file_away(child: MeshChild) -> None:
    data = child.log_path.parent
    child.kill()
    child.start()
    assert [(one.runs, one.said["pid"]) for one in present(data)] == [(True, child.pid)]


def test_a_process_tells_of_the_services_of_others_too_and_is_ready_without_them(tmp_path: Path) -> None:
    with MeshChild(tmp_path / "others", ["health"]) as other:
        arguments = ["traffic", "--peer", f"health={other.address}"]
        with MeshChild(tmp_path / "data", arguments) as here, calling(here) as channel:
            until(lambda: check(channel, SERVICE) == SERVING, "that the other is seen")
            other.kill()
            until(lambda: check(channel, SERVICE) == NOT_SERVING, "that the other is out")
            assert check(channel) == SERVING


def test_how_a_dependency_comes_and_goes_stands_in_the_log(tmp_path: Path) -> None:
    with MeshChild(tmp_path / "others", ["health"]) as health_alone:
        peers = [argument for name in ("health",) for argument in ("--peer", f"{name}={health_alone.address}")]
        with MeshChild(tmp_path / "data", ["sagas", *peers]) as sagas, calling(sagas) as channel:
            name = f"citybrain.sagas.v1.SagaService/{SERVICE}"
            until(lambda: check(channel, name) == SERVING, "that the neighbour is seen")
            assert check(channel, "citybrain.sagas.v1.SagaService/citybrain.traffic.v1.TrafficService") == NOT_SERVING
            health_alone.kill()
            until(lambda: check(channel, name) == NOT_SERVING, "that the neighbour is out")
            assert check(channel) == SERVING
            health_alone.start()
            until(lambda: check(channel, name) == SERVING, "that the neighbour is back")
            lines = [json.loads(line) for line in sagas.log_path.read_text(encoding="utf-8").splitlines()]
            told = [line["message"] for line in lines if line.get("name") == name]
            assert told in (["is not well", "is well again"], ["is not well", "is well again"] * 2)


def test_a_probe_without_a_certificate_learns_of_health_and_of_nothing_else(tmp_path: Path) -> None:
    certificates = for_mesh(tmp_path / "mesh-tls")
    certificates.renew()
    with keep_free_port() as kept:
        port = kept.getsockname()[1]
        settings = Settings(data=tmp_path / "data", tls=certificates.tls, probe_port=port)
        with MeshChild(settings.data, ["audit"], settings=settings) as child, grpc.insecure_channel(f"{HOST}:{port}") as probe:
            # Of the whole process, of its service, and of what is there as long as the process lives.
            names = ["", "citybrain.audit.v1.AuditService", "citybrain.mesh.v1.MeshService"]
            until(lambda: all(check(probe, name) == SERVING for name in names), "ready")
            with pytest.raises(grpc.RpcError) as caught:
                MeshServiceStub(probe).GetStatus(pb.GetStatusRequest(), timeout=LIMIT_S)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
            with pytest.raises(grpc.RpcError) as caught:
                next(iter(HealthStub(probe).Watch(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)))
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
            # What it is for: the door of the mesh opens for nobody without a certificate.
            with grpc.insecure_channel(child.address) as door, pytest.raises(grpc.RpcError) as caught:
                check(door)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
