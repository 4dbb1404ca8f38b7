"""What goes away and comes back: the service, Envoy, and the process that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from citybrain.gateway.errors import GatewayError
from citybrain.local.envoy import Envoy
from citybrain.mesh.manifest import Manifest
from tests.gateway.conftest import ROOT, Identity, call_json, channel_to, settings_before
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy

ONE = "/v1/incidents/inc-00000000000a"

# Starts a gateway, says so, and waits to be killed.
STARTER = """
import sys, threading
from pathlib import Path
from citybrain.local.envoy import Envoy
from citybrain.gateway.settings import GatewaySettings, Issuer
from citybrain.mesh.manifest import read_manifest
root, folder, keys = map(Path, sys.argv[1:])
manifest = read_manifest(root / "services" / "emergency_command" / "manifest.yaml")
issuer = Issuer(issuer="https://id.example", audiences=("citybrain",), jwks=str(keys))
settings = GatewaySettings(upstreams={manifest.name: "127.0.0.1:1"}, identity=issuer)
envoy = Envoy([manifest], (root / "build" / "descriptors.binpb").read_bytes(), settings, folder)
envoy.start()
print(envoy.pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("health_checks", [False, True])
def test_a_service_that_comes_back_on_its_port_is_called_at_once(make_gateway: Any, upstream: Any, health_checks: bool) -> None:
    gateway = make_gateway(health_checks=health_checks)
    assert call_json(gateway.address, "GET", ONE).status == 200
    upstream.stop()
    for _ in range(3):
        answer = call_json(gateway.address, "GET", ONE)
        assert (answer.status, answer.json()["code"]) == (503, 14)
        assert answer.headers["retry-after"] == "1"
        assert "Try again under the same x-request-id" in answer.json()["message"]
        again, why, asked = answer.json()["details"]
        assert (again["retryDelay"], why["reason"]) == ("1s", "UNAVAILABLE")
        assert asked["requestId"] == answer.headers["x-request-id"]
    upstream.start()
    answer = call_json(gateway.address, "GET", ONE)
    assert answer.status == 200, answer.body


def test_a_service_that_is_gone_is_unavailable_in_grpc(stub: Any, upstream: Any) -> None:
    upstream.stop()
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetIncident(pb.GetIncidentRequest(incident_id="inc-00000000000a"), timeout=60)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    # Words, not JSON.
    assert str(caught.value.details()).startswith("The service cannot be reached now")
    assert details_of(caught.value) == [error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.RequestInfo]


@pytest.mark.parametrize("size", [0, 5_000_000])
def test_what_the_gateway_refuses_in_grpc_has_the_shape_of_what_services_refuse(gateway: Envoy, size: int) -> None:
    path = "/citybrain.emergency_command.v1.EmergencyCommandService/" + ("GetIncident" if size else "NoSuchMethod")
    with channel_to(gateway.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path, bytes, bytes)(b"x" * size, metadata=(("x-request-id", "wish-8"),), timeout=60)
    assert details_of(caught.value) == [error_details_pb2.ErrorInfo, error_details_pb2.RequestInfo]
    info = error_details_pb2.RequestInfo()
    error: Any = caught.value
    assert rpc_status.from_call(error).details[-1].Unpack(info) and info.request_id == "wish-8"


def details_of(error: Any) -> list[type]:
    kinds = (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.RequestInfo)
    status = rpc_status.from_call(error)
    assert status is not None, error
    return [kind for packed in status.details for kind in kinds if packed.Is(kind.DESCRIPTOR)]


def test_envoy_killed_is_back_on_the_same_ports(gateway: Envoy) -> None:
    address, admin, first = gateway.address, gateway.settings.admin_port, gateway.pid
    gateway.kill()
    assert not gateway.running
    assert gateway.start() == address
    assert gateway.settings.admin_port == admin
    assert gateway.pid != first
    assert call_json(address, "GET", ONE).status == 200
    assert gateway.restart() == address
    assert call_json(address, "GET", ONE).status == 200


def test_an_envoy_that_hangs_answers_nothing_and_one_that_is_not_ready_does(gateway: Envoy) -> None:
    assert gateway.pid is not None
    os.kill(gateway.pid, signal.SIGSTOP)
    try:
        assert not gateway.answers(0.5)
    finally:
        os.kill(gateway.pid, signal.SIGCONT)
    assert gateway.answers(30)
    urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{gateway.settings.admin_port}/healthcheck/fail", method="POST"), timeout=30
    ).close()
    assert gateway.answers(30), "what is not ready answers so"
    gateway.kill()
    assert gateway.answers(0.5), "what does not run does not hang"
    gateway.start()


def test_a_busy_port_is_one_line(gateway: Envoy, make_gateway: Any) -> None:
    with pytest.raises(GatewayError, match=rf"^port {gateway.port} on 127.0.0.1 is in use: stop what uses it, or [^\n]+$"):
        make_gateway(port=gateway.port)


def test_envoy_dies_with_the_process_that_started_it(tmp_path: Path, identity: Identity) -> None:
    command = [sys.executable, "-c", STARTER, str(ROOT), str(tmp_path), str(identity.file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert _lives(pid)
        os.kill(starter.pid, signal.SIGKILL)
    until(lambda: not _lives(pid), "the end of Envoy")


def test_envoy_outlives_the_thread_that_started_it(gateway: Envoy) -> None:
    gateway.stop()
    starter = threading.Thread(target=gateway.start)
    starter.start()
    starter.join()
    first = gateway.pid
    assert call_json(gateway.address, "GET", ONE).status == 200
    assert gateway.pid == first


def test_validate_says_what_is_wrong(tmp_path: Path, manifest: Manifest, descriptors: bytes, identity: Identity) -> None:
    good = settings_before({manifest.name: "127.0.0.1:1"}, identity)
    Envoy([manifest], descriptors, good, tmp_path).validate()
    wrong = good.model_copy(update={"host": "no address"})
    with pytest.raises(GatewayError, match=r"^Envoy refuses [^\n]*no address[^\n]*$"):
        Envoy([manifest], descriptors, wrong, tmp_path).validate()


def test_access_log_has_no_query_strings(make_gateway: Any, upstream: Any, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    gateway = make_gateway(access_log=log)
    call_json(gateway.address, "GET", "/v1/incidents/inc-00000000000a?incidentId=secret", headers={"x-request-id": "wish-9"})
    call_json(gateway.address, "GET", ONE, headers={"x-request-id": "wish-10"})
    # Calls that come to the service, and are not refused for their query.
    upstream.service.release.set()
    assert call_json(gateway.address, "GET", f"{ONE}:follow?resumeToken=secret").status == 200
    with channel_to(gateway.address) as channel, pytest.raises(grpc.RpcError):
        path = "/citybrain.emergency_command.v1.EmergencyCommandService/GetIncident?token=secret"
        channel.unary_unary(path, bytes, bytes)(b"", timeout=60)
    text = until(lambda: (read := log.read_text()) and read.count("\n") >= 4 and read, "four lines in the access log")
    assert "secret" not in text
    line = json.loads(text.splitlines()[1])
    assert line["request_id"] == "wish-10"
    assert line["path"] == "/citybrain.emergency_command.v1.EmergencyCommandService/GetIncident"
    assert line["original_path"] == ONE
    assert line["grpc_status"] == "OK"


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
