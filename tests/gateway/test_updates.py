"""A gateway that changes while it runs: services appear, move and leave, and no call notices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1 import emergency_command_service_pb2_grpc as pb_grpc
from typing_extensions import override

from citybrain.gateway.configuration import bootstrap
from citybrain.gateway.errors import GatewayError
from citybrain.gateway.settings import GatewaySettings
from citybrain.local.envoy import Envoy
from citybrain.local.envoy_program import check
from citybrain.local.issuer_keys import issuer_keys
from citybrain.mesh.manifest import Manifest, read_manifest
from tests.gateway.conftest import ROOT, Identity, Upstream, call_json, channel_to
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy

HEALTH = read_manifest(ROOT / "services" / "health" / "manifest.yaml")
LIST = f"/{HEALTH.grpc}/ListAmbulances"
ONE = "/v1/incidents/inc-00000000000a"


class Anything(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """In the place of a service: answers every method with nothing, and keeps the headers of each call."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []

    @override
    def service(self, handler_call_details: Any) -> Any:
        self.headers.append({key: str(value) for key, value in handler_call_details.invocation_metadata})
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")


@contextmanager
def standing_in(anything: Anything | None = None) -> Iterator[str]:
    """The address of a service that answers everything."""
    server = grpc.server(ThreadPoolExecutor(2), handlers=[anything or Anything()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def code(address: str, path: str = LIST) -> grpc.StatusCode:
    with channel_to(address) as channel:
        try:
            channel.unary_unary(path, bytes, bytes)(b"", timeout=60)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def changed(gateway: Envoy, **settings: Any) -> GatewaySettings:
    return gateway.settings.model_copy(update=settings)


@contextmanager
def calling(address: str) -> Iterator[list[int]]:
    """What others are answered meanwhile."""
    answers: list[int] = []
    end = threading.Event()

    def on() -> None:
        while not end.wait(0.01):
            answers.append(call_json(address, "GET", ONE).status)

    caller = threading.Thread(target=on)
    caller.start()
    try:
        yield answers
    finally:
        end.set()
        caller.join()


def test_services_appear_move_and_leave_while_streams_go_on(
    gateway: Envoy, stub: Any, upstream: Upstream, manifest: Manifest, descriptors: bytes
) -> None:
    pid, address = gateway.pid, gateway.address
    own = {manifest.name: f"127.0.0.1:{upstream.port}"}
    stream = stub.FollowIncident(pb.FollowIncidentRequest(incident_id="inc-00000000000a"))
    assert next(stream).resume_token == "token-0"  # noqa: S105
    assert code(address) == grpc.StatusCode.UNIMPLEMENTED
    with calling(address) as answers:
        with standing_in() as first:
            gateway.update([manifest, HEALTH], descriptors, changed(gateway, upstreams={**own, HEALTH.name: first}))
            until(lambda: code(address) == grpc.StatusCode.OK, "the new service is called")
            assert call_json(address, "GET", "/v1/ambulances").status == 200
        assert code(address) == grpc.StatusCode.UNAVAILABLE
        with standing_in() as second:
            gateway.update([manifest, HEALTH], descriptors, changed(gateway, upstreams={**own, HEALTH.name: second}))
            until(lambda: code(address) == grpc.StatusCode.OK, "it is called at its new address")
            gateway.update([manifest], descriptors, changed(gateway, upstreams=own))
            until(lambda: code(address) == grpc.StatusCode.UNIMPLEMENTED, "it is no more")
            assert call_json(address, "GET", "/v1/ambulances").status == 404
    assert set(answers) == {200}
    assert next(stream).resume_token == "token-1"  # noqa: S105
    upstream.service.release.set()
    assert [response.resume_token for response in stream] == ["token-2"]
    assert (gateway.pid, gateway.address) == (pid, address)


WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a field that Envoy does not know": lambda found: found.update(no_such_field=1),
    "a route to a cluster that is not there": lambda found: first_route(found).update(cluster="nowhere at all"),
    "a service that no contract has": lambda found: filter_of(found, "grpc_json_transcoder")["services"].append("no.Service"),
    "a filter in Lua that cannot be read": lambda found: filter_of(found, "lua")["default_source_code"].update(
        inline_string="("
    ),
    "keys that are none": lambda found: filter_of(found, "jwt_authn")["providers"]["issuer-0"].update(
        local_jwks={"inline_string": "no keys"}
    ),
    "the last filter is not the last": lambda found: manager_of(found)["http_filters"].reverse(),
    "a certificate that is not there": lambda found: found["static_resources"]["listeners"][0]["filter_chains"][0].update(
        transport_socket={"name": "envoy.transport_sockets.tls", "typed_config": missing_certificate()}
    ),
    "a limit that is filled too often": lambda found: filter_of(found, "local_ratelimit")["token_bucket"].update(
        fill_interval="0.001s"
    ),
}


def manager_of(found: dict[str, Any]) -> Any:
    return found["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def first_route(found: dict[str, Any]) -> Any:
    return next(one["route"] for one in manager_of(found)["route_config"]["virtual_hosts"][0]["routes"] if "route" in one)


def filter_of(found: dict[str, Any], name: str) -> Any:
    return next(one["typed_config"] for one in manager_of(found)["http_filters"] if one["name"].endswith(f".{name}"))


def missing_certificate() -> dict[str, Any]:
    file = {"filename": "/no/such/file.pem"}
    return {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [{"certificate_chain": file, "private_key": file}]},
    }


@pytest.mark.parametrize("what", WRONG)
def test_envoys_own_check_finds_what_is_wrong_before_anything_changes(
    tmp_path: Path, manifest: Manifest, descriptors: bytes, identity: Identity, what: str
) -> None:
    settings = GatewaySettings(upstreams={manifest.name: "127.0.0.1:1"}, identity=identity.issuer)
    found = bootstrap([manifest], descriptors, settings, issuer_keys(settings))
    check(found, tmp_path)
    WRONG[what](found)
    with pytest.raises(GatewayError, match=r"^Envoy refuses [^\n]+$"):
        check(found, tmp_path)


def test_a_restart_begins_with_what_was_changed_last(
    gateway: Envoy, upstream: Upstream, manifest: Manifest, descriptors: bytes
) -> None:
    with standing_in() as there:
        upstreams = {manifest.name: f"127.0.0.1:{upstream.port}", HEALTH.name: there}
        gateway.update([manifest, HEALTH], descriptors, changed(gateway, upstreams=upstreams))
        gateway.restart()
        assert code(gateway.address) == grpc.StatusCode.OK


def test_a_bad_set_changes_nothing_and_is_one_line(
    gateway: Envoy, upstream: Upstream, manifest: Manifest, descriptors: bytes, tmp_path: Path
) -> None:
    before = {file.name: file.read_bytes() for file in (tmp_path / "gateway-0").glob("*.json")}
    with pytest.raises(GatewayError, match=r"^service health has no upstream[^\n]*$"):
        gateway.update([manifest, HEALTH], descriptors, gateway.settings)
    with pytest.raises(GatewayError, match=r"^Envoy refuses [^\n]*$"):
        gateway.update([manifest], descriptors, changed(gateway, connect_timeout_s=-1))
    # A copy of settings is not checked when it is made.
    with pytest.raises(GatewayError, match=r"^Envoy refuses [^\n]*$"):
        gateway.update([manifest], descriptors, changed(gateway, identity=None))
    with pytest.raises(
        GatewayError, match=r"^these settings are taken up only when the gateway starts[^\n]*: gateway.max_heap"
    ):
        gateway.update([manifest], descriptors, changed(gateway, max_heap_bytes=2**28))
    assert {file.name: file.read_bytes() for file in (tmp_path / "gateway-0").glob("*.json")} == before
    assert call_json(gateway.address, "GET", ONE).status == 200


def test_what_envoy_refuses_at_run_time_is_put_back(
    gateway: Envoy, upstream: Upstream, manifest: Manifest, descriptors: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As if its check had not seen it.
    monkeypatch.setattr("citybrain.local.envoy.check", lambda whole, folder: None)
    file = tmp_path / "gateway-0" / "clusters.json"
    before = file.read_text()
    with pytest.raises(GatewayError, match=r"^the gateway stays as it was: Envoy refuses the new [^\n]*$"):
        gateway.update([manifest], descriptors, changed(gateway, connect_timeout_s=-1))
    assert file.read_text() == before
    assert call_json(gateway.address, "GET", ONE).status == 200


def test_a_deadline_changes_while_it_runs(gateway: Envoy, upstream: Upstream, manifest: Manifest, descriptors: bytes) -> None:
    gateway.update([manifest], descriptors, changed(gateway, deadline_s=7))

    def shorter() -> bool:
        with channel_to(gateway.address) as channel:
            pb_grpc.EmergencyCommandServiceStub(channel).GetIncident(pb.GetIncidentRequest(incident_id="a"), timeout=60)
        left = upstream.service.time_left[-1]
        return left is not None and left < 8

    until(shorter, "the new deadline")
