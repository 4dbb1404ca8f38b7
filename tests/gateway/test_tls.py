"""TLS on the gateway's one port, beside plain text where that may be, through a real Envoy."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import stat
import struct
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1 import emergency_command_service_pb2_grpc as pb_grpc
from cryptography import x509

from citybrain.gateway.errors import GatewayError
from citybrain.local.certificates import Certificates
from citybrain.local.envoy import Envoy
from tests.gateway.conftest import BEARER, Identity, Upstream, call_json, channel_to
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy

ONE = "/v1/incidents/inc-00000000000a"
PATH = "/citybrain.emergency_command.v1.EmergencyCommandService/GetIncident"
REQUEST = pb.GetIncidentRequest(incident_id="inc-00000000000a")


@pytest.fixture
def tls(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "tls", ())


@pytest.fixture
def both(make_gateway: Any, tls: Certificates) -> Envoy:
    envoy: Envoy = make_gateway(own_tls=tls.authority.parent)
    return envoy


def trusting(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority))


def over_https(
    address: str, context: ssl.SSLContext, path: str = ONE, raw: bytes | None = None, headers: Mapping[str, str] = BEARER
) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection(address, context=context, timeout=60)
    try:
        connection.request("GET" if raw is None else "POST", path, raw, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def over_grpc(address: str, authority: Path, headers: Mapping[str, str] = BEARER) -> str:
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(authority.read_bytes())) as channel:
        stub = pb_grpc.EmergencyCommandServiceStub(channel)
        answer = stub.GetIncident(REQUEST, timeout=60, metadata=tuple(headers.items()))
    return str(answer.incident.incident_id)


def serial(address: str, context: ssl.SSLContext) -> int:
    """The number of the certificate that is shown."""
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=60) as raw,
        context.wrap_socket(raw, server_hostname=host) as wrapped,
    ):
        shown = wrapped.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def test_one_port_takes_tls_and_plain_text_in_every_protocol(both: Envoy, tls: Certificates) -> None:
    context = trusting(tls.authority)
    message = REQUEST.SerializeToString()
    web = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    frame = struct.pack(">BI", 0, len(message)) + message
    status, body = over_https(both.address, context)
    assert (status, b"inc-00000000000a" in body) == (200, True)
    status, body = over_https(both.address, context, PATH, frame, {**web, **BEARER})
    assert (status, b"inc-00000000000a" in body, b"grpc-status:0" in body) == (200, True, True)
    assert over_grpc(both.address, tls.authority) == "inc-00000000000a"
    assert over_grpc(both.address.replace("127.0.0.1", "localhost"), tls.authority) == "inc-00000000000a"
    assert call_json(both.address, "GET", ONE).status == 200
    assert call_json(both.address, "POST", PATH, headers=web, raw=frame).status == 200
    with channel_to(both.address) as channel:
        assert pb_grpc.EmergencyCommandServiceStub(channel).GetIncident(REQUEST, timeout=60).incident.incident_id


def test_tokens_and_errors_are_the_same_over_tls(make_gateway: Any, tls: Certificates, identity: Identity) -> None:
    gateway = make_gateway(own_tls=tls.authority.parent, identity=identity.issuer)
    status, body = over_https(gateway.address, trusting(tls.authority), headers={})
    assert (status, b"NO_TOKEN" in body) == (401, True)
    assert over_https(gateway.address, trusting(tls.authority), headers=identity.bearer())[0] == 200
    assert over_grpc(gateway.address, tls.authority, identity.bearer())
    with pytest.raises(grpc.RpcError, match="This call needs a token"):
        over_grpc(gateway.address, tls.authority, {})


@pytest.mark.parametrize(("offered", "taken"), [(["h2"], "h2"), (["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "h2")])
def test_callers_agree_on_their_protocol(both: Envoy, tls: Certificates, offered: list[str], taken: str) -> None:
    context = trusting(tls.authority)
    context.set_alpn_protocols(offered)
    host, _, port = both.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw, context.wrap_socket(raw, server_hostname=host) as one:
        assert one.selected_alpn_protocol() == taken
        assert one.version() == "TLSv1.3"


def test_old_tls_is_refused(both: Envoy, tls: Certificates) -> None:
    context = trusting(tls.authority)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        over_https(both.address, context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert over_https(both.address, context)[0] == 200


def test_a_caller_who_trusts_another_authority_does_not_call(both: Envoy, tmp_path: Path) -> None:
    stranger = Certificates(tmp_path / "stranger", ("localhost",))
    stranger.renew()
    with pytest.raises(ssl.SSLCertVerificationError):
        over_https(both.address, trusting(stranger.authority))
    with pytest.raises(grpc.RpcError) as caught:
        over_grpc(both.address, stranger.authority)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_where_plain_text_may_not_be_only_tls_is_answered(make_gateway: Any, tls: Certificates, upstream: Upstream) -> None:
    gateway = make_gateway(own_tls=tls.authority.parent, plain=False)
    with pytest.raises((OSError, http.client.HTTPException)):
        call_json(gateway.address, "GET", ONE)
    with channel_to(gateway.address) as channel, pytest.raises(grpc.RpcError) as caught:
        pb_grpc.EmergencyCommandServiceStub(channel).GetIncident(REQUEST, timeout=60)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert upstream.service.metadata == []
    assert over_https(gateway.address, trusting(tls.authority))[0] == 200


def test_a_renewed_certificate_is_taken_up_while_connections_stay_open(
    both: Envoy, tls: Certificates, upstream: Upstream
) -> None:
    context, pid = trusting(tls.authority), both.pid
    before = serial(both.address, context)
    with grpc.secure_channel(both.address, grpc.ssl_channel_credentials(tls.authority.read_bytes())) as channel:
        stub, metadata = pb_grpc.EmergencyCommandServiceStub(channel), tuple(BEARER.items())
        stream = stub.FollowIncident(pb.FollowIncidentRequest(incident_id="a"), metadata=metadata)
        assert next(stream).resume_token == "token-0"  # noqa: S105
        end, failed = threading.Event(), []

        def on() -> None:
            while not end.wait(0.01):
                try:
                    over_https(both.address, context)
                except OSError as error:
                    failed.append(error)

        caller = threading.Thread(target=on)
        caller.start()
        try:
            tls.certificate.unlink()
            both.renew_certificate()
            until(lambda: serial(both.address, context) != before, "the new certificate is shown")
        finally:
            end.set()
            caller.join()
        assert failed == []
        upstream.service.release.set()
        assert [response.resume_token for response in stream] == ["token-1", "token-2"]
    assert both.pid == pid


def test_a_configured_certificate_is_used_and_replaced_in_place(make_gateway: Any, tmp_path: Path) -> None:
    ours = Certificates(tmp_path / "ours", ("127.0.0.1",))
    ours.renew()
    gateway = make_gateway(certificate=ours.certificate, certificate_key=ours.key, own_tls=tmp_path / "tls")
    assert not (tmp_path / "tls").exists()
    context = trusting(ours.authority)
    before = serial(gateway.address, context)
    ours.certificate.unlink()
    ours.renew()
    until(lambda: serial(gateway.address, context) != before, "the new certificate is shown")


def test_a_certificate_that_is_none_is_refused_before_anything_starts(make_gateway: Any, tmp_path: Path) -> None:
    ours, other = Certificates(tmp_path / "ours", ("127.0.0.1",)), Certificates(tmp_path / "other", ("127.0.0.1",))
    ours.renew()
    other.renew()
    with pytest.raises(GatewayError, match=r"^Envoy refuses [^\n]*key[^\n]*$"):
        make_gateway(certificate=ours.certificate, certificate_key=other.key)


def test_who_says_nothing_or_never_ends_a_handshake_is_cut_off(make_gateway: Any, tls: Certificates) -> None:
    gateway = make_gateway(own_tls=tls.authority.parent, headers_s=0.3)
    host, _, port = gateway.address.rpartition(":")
    for said in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(said)
            # The end of the connection, or an alert before it.
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(100):
                    pass


def test_keys_are_for_their_owner_alone_and_certificates_are_renewed_before_they_end(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "tls", ("localhost", "127.0.0.1", "::1"))
    now = datetime(2026, 1, 31, tzinfo=UTC)
    assert made.renew(now) and not made.renew(now + timedelta(days=59))
    secret = [path for path in (tmp_path / "tls").iterdir() if path.name.endswith("-key.pem")]
    assert len(secret) == 2
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secret)
    authority, first = made.authority.read_bytes(), made.certificate.read_bytes()
    assert made.renew(now + timedelta(days=61))
    assert (made.authority.read_bytes() == authority, made.certificate.read_bytes() == first) == (True, False)
    assert made.renew(now + timedelta(days=3640)), "the authority ends too"
    assert made.authority.read_bytes() != authority
    assert Certificates(tmp_path / "tls", ("city.example",)).renew(now + timedelta(days=3641)), "it has another name"
