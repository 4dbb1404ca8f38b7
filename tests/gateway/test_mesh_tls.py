"""Envoy calls services by TLS: it shows a certificate of the mesh, and gives no call to what has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1 import emergency_command_service_pb2_grpc as pb_grpc

from citybrain.gateway.errors import GatewayError
from citybrain.local.certificates import Certificates, for_mesh
from citybrain.mesh.access.certificates import OwnCertificate
from tests.gateway.conftest import Upstream, call_json, channel_to
from tests.gateway.test_failures import details_of
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy

ONE = "/v1/incidents/inc-00000000000a"


@pytest.fixture
def mesh(tmp_path: Path) -> Certificates:
    certificates = for_mesh(tmp_path / "mesh-tls")
    certificates.renew()
    return certificates


@pytest.fixture
def stranger(tmp_path: Path) -> Certificates:
    """A certificate for the same name, by another authority."""
    certificates = for_mesh(tmp_path / "stranger")
    certificates.renew()
    return certificates


@pytest.fixture
def upstream(mesh: Certificates) -> Any:
    upstream = Upstream(credentials=OwnCertificate(mesh.tls, look_s=0).server_credentials())
    upstream.start()
    yield upstream
    upstream.service.release.set()
    upstream.service.cancelled.set()
    upstream.stop()


def refused(gateway: Any, upstream: Upstream) -> None:
    """In gRPC and JSON: UNAVAILABLE in our form, and the service has seen nothing."""
    with channel_to(gateway.address) as channel, pytest.raises(grpc.RpcError) as caught:
        pb_grpc.EmergencyCommandServiceStub(channel).GetIncident(pb.GetIncidentRequest(incident_id="inc-00000000000a"))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert str(caught.value.details()).startswith("The service cannot be reached now")
    assert len(details_of(caught.value)) == 3
    answer = call_json(gateway.address, "GET", ONE)
    error = answer.json()
    reasons = [detail["reason"] for detail in error["details"] if "reason" in detail]
    assert (answer.status, error["code"], reasons) == (503, 14, ["UNAVAILABLE"])
    assert upstream.service.metadata == []


@pytest.mark.parametrize("health_checks", [False, True])
def test_calls_in_every_protocol_reach_a_service_that_asks_for_a_certificate(
    make_gateway: Any, mesh: Certificates, upstream: Upstream, health_checks: bool
) -> None:
    gateway = make_gateway(mesh_tls=mesh.tls, health_checks=health_checks)
    assert call_json(gateway.address, "GET", ONE).status == 200
    with channel_to(gateway.address) as channel:
        stub = pb_grpc.EmergencyCommandServiceStub(channel)
        assert stub.GetIncident(pb.GetIncidentRequest(incident_id="inc-00000000000a"), timeout=60).incident.incident_id
        assert next(stub.FollowIncident(pb.FollowIncidentRequest(incident_id="a"))).resume_token == "token-0"  # noqa: S105


def test_with_a_certificate_of_another_authority_the_gateway_is_told_nothing(
    make_gateway: Any, mesh: Certificates, stranger: Certificates, upstream: Upstream
) -> None:
    mixed = stranger.tls.model_copy(update={"authorities": mesh.authority})
    refused(make_gateway(mesh_tls=mixed), upstream)


def test_a_gateway_without_a_certificate_is_told_nothing(make_gateway: Any, upstream: Upstream) -> None:
    refused(make_gateway(), upstream)


def test_who_is_not_of_the_mesh_gets_no_call(
    make_gateway: Any, mesh: Certificates, stranger: Certificates, upstream: Upstream, tmp_path: Path
) -> None:
    gateway = make_gateway(mesh_tls=mesh.tls)
    named = Certificates(tmp_path / "mesh-tls", ("health.example",), "another", for_mesh(tmp_path).usages)
    named.renew()
    pair = [(named.key.read_bytes(), named.certificate.read_bytes())]
    upstream.stop()
    for theirs in (
        OwnCertificate(stranger.tls).server_credentials(),
        grpc.ssl_server_credentials(pair, mesh.authority.read_bytes(), require_client_auth=True),
        None,
    ):
        upstream.credentials = theirs
        upstream.start()
        refused(gateway, upstream)
        upstream.stop()


def test_a_renewed_certificate_and_a_new_authority_are_taken_up_without_a_restart(
    make_gateway: Any, mesh: Certificates, upstream: Upstream
) -> None:
    gateway = make_gateway(mesh_tls=mesh.tls)
    pid = gateway.pid
    assert call_json(gateway.address, "GET", ONE).status == 200
    mesh.authority.unlink()
    mesh.renew()
    # The connection that was open stays; a service that comes back knows the new authority alone.
    upstream.stop()
    upstream.credentials = OwnCertificate(mesh.tls).server_credentials()
    upstream.start()
    until(lambda: call_json(gateway.address, "GET", ONE).status == 200, "the new certificate is shown")
    assert gateway.pid == pid


def test_files_that_do_not_fit_are_refused_before_anything_starts(
    make_gateway: Any, mesh: Certificates, stranger: Certificates
) -> None:
    with pytest.raises(GatewayError, match=r"^Envoy refuses [^\n]*$"):
        make_gateway(mesh_tls=mesh.tls.model_copy(update={"certificate_key": stranger.key}))


def test_a_gateway_that_runs_takes_up_no_certificate_that_it_did_not_have(
    make_gateway: Any, mesh: Certificates, manifest: Any, descriptors: bytes
) -> None:
    gateway = make_gateway()
    with pytest.raises(GatewayError, match=r"only when the gateway starts, .*: gateway\.mesh_tls"):
        gateway.update([manifest], descriptors, gateway.settings.model_copy(update={"mesh_tls": mesh.tls}))
