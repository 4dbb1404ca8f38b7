"""How the gateway spares services: deadlines, retries of what may be repeated, limits for each, an end without haste."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1 import emergency_command_service_pb2_grpc as pb_grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions
from typing_extensions import override

from citybrain.local.envoy import Envoy
from citybrain.mesh.manifest import Manifest
from tests.gateway.conftest import EmergencyCommand, Identity, Upstream, call_json, channel_to, settings_before
from tests.gateway.test_updates import HEALTH, changed, code, standing_in
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy

ONE = "/v1/incidents/inc-00000000000a"
SERVICE = "/citybrain.emergency_command.v1.EmergencyCommandService"


class Away(EmergencyCommand):
    """Says UNAVAILABLE to some first calls, though it may have begun them."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._left = first
        self.calls: list[str] = []

    def _look(self, method: str, context: grpc.ServicerContext) -> None:
        self.calls.append(method)
        self._left -= 1
        if self._left >= 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    @override
    def GetIncident(self, request: pb.GetIncidentRequest, context: grpc.ServicerContext) -> pb.GetIncidentResponse:
        self._look("GetIncident", context)
        return super().GetIncident(request, context)

    @override
    def CancelIncident(self, request: pb.CancelIncidentRequest, context: grpc.ServicerContext) -> pb.CancelIncidentResponse:
        self._look("CancelIncident", context)
        return pb.CancelIncidentResponse()


@contextlib.contextmanager
def before(service: EmergencyCommand, manifest: Manifest, contracts: bytes, folder: Any, **settings: Any) -> Iterator[Envoy]:
    upstream = Upstream(service)
    upstream.start()
    chosen = settings_before({manifest.name: f"127.0.0.1:{upstream.port}"}, Identity(folder / "identity"), **settings)
    try:
        with Envoy([manifest], contracts, chosen, folder) as envoy:
            yield envoy
    finally:
        service.release.set()
        service.cancelled.set()
        upstream.stop()


def test_each_kind_of_method_has_a_deadline_that_the_service_sees(make_gateway: Any, upstream: Upstream) -> None:
    upstream.service.release.set()
    gateway = make_gateway(deadline_s=30, read_deadline_s=5)
    call_json(gateway.address, "GET", ONE)
    call_json(gateway.address, "POST", "/v1/incidents", {"place": {"edgeId": "e1", "positionM": 3}})
    call_json(gateway.address, "GET", f"{ONE}:follow")
    read, command, stream = upstream.service.time_left
    assert read is not None and command is not None and stream is not None
    assert read <= 6 < 20 < command <= 31 < 10**9 < stream


def test_what_only_reads_is_tried_again_and_what_commands_is_not(tmp_path: Any, manifest: Manifest, descriptors: bytes) -> None:
    service = Away(2)
    with before(service, manifest, descriptors, tmp_path) as gateway:
        assert call_json(gateway.address, "GET", ONE).status == 200
        assert service.calls == ["GetIncident"] * 3
    service = Away(2)
    with before(service, manifest, descriptors, tmp_path) as gateway:
        assert call_json(gateway.address, "POST", f"{ONE}:cancel", {"reason": "a test"}).status == 503
        assert service.calls == ["CancelIncident"]


@pytest.mark.parametrize("level", [MethodOptions.IDEMPOTENT, MethodOptions.NO_SIDE_EFFECTS])
def test_a_command_that_its_contract_calls_repeatable_is_tried_again(
    tmp_path: Any, manifest: Manifest, descriptors: bytes, level: Any
) -> None:
    contracts = FileDescriptorSet.FromString(descriptors)
    for method in (method for file in contracts.file for service in file.service for method in service.method):
        if method.name == "CancelIncident":
            method.options.idempotency_level = level
    service = Away(2)
    with before(service, manifest, contracts.SerializeToString(), tmp_path) as gateway:
        assert call_json(gateway.address, "POST", f"{ONE}:cancel", {"reason": "a test"}).status == 200
        assert service.calls == ["CancelIncident"] * 3


def test_a_service_that_is_away_for_long_gets_a_bounded_number_of_tries(
    tmp_path: Any, manifest: Manifest, descriptors: bytes
) -> None:
    service = Away(10**9)
    with before(service, manifest, descriptors, tmp_path) as gateway:
        assert call_json(gateway.address, "GET", ONE).status == 503
        assert len(service.calls) == 7
    service = Away(10**9)
    with before(service, manifest, descriptors, tmp_path, retries=0) as gateway:
        assert call_json(gateway.address, "GET", ONE).status == 503
        assert len(service.calls) == 1, "without a budget nothing is tried again"
        assert stat(gateway, f"cluster.{manifest.name}.upstream_rq_retry_overflow") == 1


def test_streams_and_calls_have_limits_of_their_own_for_each_service(
    make_gateway: Any, upstream: Upstream, manifest: Manifest
) -> None:
    gateway = make_gateway(streams_per_service=2, calls_per_service=1)
    with channel_to(gateway.address) as channel:
        stub = pb_grpc.EmergencyCommandServiceStub(channel)
        streams = [stub.FollowIncident(pb.FollowIncidentRequest(incident_id="a")) for _ in range(2)]
        assert [next(stream).resume_token for stream in streams] == ["token-0"] * 2
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.FollowIncident(pb.FollowIncidentRequest(incident_id="a")))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        # All streams are taken, and calls go on.
        assert stub.GetIncident(pb.GetIncidentRequest(incident_id="a"), timeout=60)
        hanging = stub.ListIncidents.future(pb.ListIncidentsRequest())
        until(lambda: stat(gateway, f"cluster.{manifest.name}.circuit_breakers.high.rq_open"), "a call is under way")
        answer = call_json(gateway.address, "GET", ONE)
        assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (503, 14, "1")
        hanging.cancel()
        until(lambda: call_json(gateway.address, "GET", ONE).status == 200, "there is room again")
        for stream in streams:
            stream.cancel()
        until(lambda: next(stub.FollowIncident(pb.FollowIncidentRequest(incident_id="a"))), "so is there for streams")


def test_a_service_that_crashes_at_each_call_is_unavailable_and_no_other_is_touched(
    gateway: Envoy, upstream: Upstream, manifest: Manifest, descriptors: bytes
) -> None:
    with standing_in() as other, crashing() as broken:
        upstreams = {manifest.name: broken, HEALTH.name: other}
        gateway.update([manifest, HEALTH], descriptors, changed(gateway, upstreams=upstreams))
        until(lambda: code(gateway.address) == grpc.StatusCode.OK, "the other is there")
        end, failed = threading.Event(), []

        def on() -> None:
            while not end.wait(0.01):
                found = code(gateway.address)
                if found != grpc.StatusCode.OK:
                    failed.append(found)

        caller = threading.Thread(target=on)
        caller.start()
        try:
            answers = [call_json(gateway.address, "GET", ONE) for _ in range(5)]
        finally:
            end.set()
            caller.join()
        assert [(answer.status, answer.json()["code"]) for answer in answers] == [(503, 14)] * 5
        assert failed == []
    # And at once when it is well again.
    gateway.update([manifest], descriptors, changed(gateway, upstreams={manifest.name: f"127.0.0.1:{upstream.port}"}))
    until(lambda: call_json(gateway.address, "GET", ONE).status == 200, "it is called again")


@contextlib.contextmanager
def crashing() -> Iterator[str]:
    """The address of a process that ends every connection."""
    end = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def on() -> None:
            while not end.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = server.accept()
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.close()

        serving = threading.Thread(target=on)
        serving.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            end.set()
            serving.join()


def test_a_gateway_that_stops_lets_calls_end_and_takes_no_new_ones(make_gateway: Any, upstream: Upstream) -> None:
    gateway = make_gateway(drain_s=60)
    with channel_to(gateway.address) as channel:
        stub = pb_grpc.EmergencyCommandServiceStub(channel)
        call = stub.ListIncidents.future(pb.ListIncidentsRequest())
        until(lambda: upstream.service.metadata, "the call is under way")
        stopping = threading.Thread(target=gateway.stop)
        stopping.start()
        until(lambda: refused(gateway.address), "no new connection is taken")
        upstream.service.cancelled.set()
        assert call.result(timeout=60) is not None
        stopping.join()
    assert not gateway.running


def test_open_streams_hold_up_no_end(make_gateway: Any, upstream: Upstream) -> None:
    gateway = make_gateway(drain_s=3600)
    with channel_to(gateway.address) as channel:
        stream = pb_grpc.EmergencyCommandServiceStub(channel).FollowIncident(pb.FollowIncidentRequest(incident_id="a"))
        assert next(stream).resume_token == "token-0"  # noqa: S105
        gateway.stop()
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def refused(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


def stat(gateway: Envoy, name: str) -> int:
    return sum(one.get("value", 0) for one in json.loads(gateway.ask(f"/stats?format=json&filter=^{name}$"))["stats"])
