"""What a caller may try at the edge: spellings of paths, headers, protocols, and taking its time. Through a real Envoy."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.options.v1 import options_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from typing_extensions import override

from citybrain.local.envoy import Envoy
from citybrain.mesh.manifest import Manifest
from tests.gateway.conftest import (
    BEARER,
    EmergencyCommand,
    Identity,
    Upstream,
    call_json,
    channel_to,
    in_bytes,
    settings_before,
)
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy

ONE = "/v1/incidents/inc-00000000000a"
SERVICE = "/citybrain.emergency_command.v1.EmergencyCommandService"
MIB = 1024 * 1024


@pytest.fixture
def closed(make_gateway: Any, descriptors: bytes) -> Envoy:
    """A gateway where nobody may cancel an incident."""
    contracts = FileDescriptorSet.FromString(descriptors)
    for method in (method for file in contracts.file for service in file.service for method in service.method):
        if method.name == "CancelIncident":
            method.options.ClearExtension(options_pb2.scope)  # type: ignore[arg-type]
    envoy: Envoy = make_gateway(contracts=contracts.SerializeToString())
    return envoy


def raw(address: str, said: bytes) -> tuple[int, bytes]:
    """What is answered to a request of these bytes and a token: the status, or 0 where the connection just ends; the body."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(in_bytes(said))
        told = http.client.HTTPResponse(connection)
        try:
            told.begin()
            return told.status, told.read()
        except (http.client.HTTPException, OSError):
            return 0, b""


# -- paths ------------------------------------------------------------------------------------------------------------------

CANCEL = f"{SERVICE}/CancelIncident"
SPELLINGS = [
    CANCEL,
    f"/{CANCEL}",
    f"{SERVICE}//CancelIncident",
    f"{SERVICE}/./CancelIncident",
    f"{SERVICE}/GetIncident/../CancelIncident",
    f"{SERVICE}/GetIncident/%2e%2e/CancelIncident",
    f"{SERVICE}/GetIncident/.%2E/CancelIncident",
    f"{SERVICE}%2fCancelIncident",
    f"{SERVICE}%2FCancelIncident",
    f"{SERVICE}%5cCancelIncident",
    f"{SERVICE}\\CancelIncident",
    f"{SERVICE}/%43ancelIncident",
    f"{SERVICE}/CancelIncident/",
    f"{SERVICE}/CancelIncident?x",
    f"{SERVICE}/CancelIncident#x",
    f"{SERVICE}/CancelIncident;x",
    f"{SERVICE}/CancelIncident%00",
    f"{SERVICE}/cancelincident",
    f"{SERVICE.lower()}/CancelIncident",
    f"{SERVICE}/GetIncident%00/../CancelIncident",
    f"http://city{CANCEL}",
    f"{ONE}:cancel",
    f"{ONE}%3acancel",
    f"{ONE}:cancel/",
    "/v1//incidents/a:cancel",
    "/v1/./incidents/a:cancel",
    "/v1/x/../incidents/a:cancel",
    "/v1/x/%2e%2e/incidents/a:cancel",
    "/v1%2fincidents%2fa:cancel",
    "/V1/incidents/a:cancel",
]


@pytest.mark.parametrize("kind", ["application/json", "application/grpc", "application/grpc-web+proto", "text/plain", ""])
def test_no_spelling_of_a_path_leads_to_a_method_that_is_closed(closed: Envoy, upstream: Upstream, kind: str) -> None:
    for path in SPELLINGS:
        for verb in ("POST", "GET", "PUT"):
            head = f"{verb} {path} HTTP/1.1\r\nhost: city\r\ncontent-type: {kind}\r\nte: trailers\r\ncontent-length: 5\r\n\r\n"
            status, body = raw(closed.address, head.encode() + b"\0\0\0\0\0")
            assert status != 200 or body == b"", (verb, path, status, body)
    with channel_to(closed.address) as channel:
        for path in SPELLINGS:
            with pytest.raises((grpc.RpcError, ValueError)):
                channel.unary_unary(path, bytes, bytes)(b"", timeout=60)
    assert upstream.service.metadata == []


@pytest.mark.parametrize(
    "path", ["/v1%2fincidents", "/v1%2Fincidents", "/v1%5cincidents", f"{SERVICE}%2fGetIncident", "/v1/incidents/%00"]
)
def test_a_slash_that_is_encoded_is_refused_with_words(gateway: Envoy, upstream: Upstream, path: str) -> None:
    status, body = raw(gateway.address, f"GET {path} HTTP/1.1\r\nhost: city\r\n\r\n".encode())
    assert (status, json.loads(body)["code"]) == (400, 3)
    assert upstream.service.metadata == []


@pytest.mark.parametrize("path", [f"/{ONE}", "/v1//incidents/inc-00000000000a", "/v1/./x/../incidents/inc-00000000000a"])
def test_a_path_is_read_as_browsers_and_rules_read_it(gateway: Envoy, upstream: Upstream, path: str) -> None:
    status, body = raw(gateway.address, f"GET {path} HTTP/1.1\r\nhost: city\r\n\r\n".encode())
    assert (status, json.loads(body)["incident"]["incidentId"]) == (200, "inc-00000000000a")


# -- headers ----------------------------------------------------------------------------------------------------------------


def test_a_header_with_an_underscore_is_refused(gateway: Envoy, upstream: Upstream) -> None:
    # Where another program reads x_caller as x-caller, it would be believed.
    answer = call_json(gateway.address, "GET", ONE, headers={"x_caller": "mayor"})
    assert (answer.status, answer.json()["code"]) == (400, 3)
    with channel_to(gateway.address) as channel, pytest.raises(grpc.RpcError):
        request = pb.GetIncidentRequest(incident_id="a").SerializeToString()
        channel.unary_unary(f"{SERVICE}/GetIncident", bytes, bytes)(request, metadata=(("x_caller", "mayor"),), timeout=60)
    assert upstream.service.metadata == []


def test_no_header_of_a_caller_steers_the_gateway(gateway: Envoy, upstream: Upstream) -> None:
    steering = {
        "x-envoy-retry-on": "5xx,retriable-status-codes",
        "x-envoy-retry-grpc-on": "unavailable,invalid-argument",
        "x-envoy-max-retries": "9",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-upstream-rq-per-try-timeout-ms": "1",
        "x-envoy-upstream-stream-duration-ms": "1",
        "x-envoy-expected-rq-timeout-ms": "1",
        "x-envoy-hedge-on-per-try-timeout": "true",
        "x-envoy-original-path": "/secret",
        "x-envoy-internal": "true",
        "x-envoy-force-trace": "1",
        "x-forwarded-for": "10.0.0.1",
        "x-forwarded-proto": "https",
        "x-real-ip": "10.0.0.1",
    }
    answer = call_json(gateway.address, "POST", "/v1/incidents", {"channel": "CHANNEL_PHONE"}, steering)
    assert answer.status == 400, "as without them"
    (seen,) = upstream.service.metadata
    # Envoy's own words, not the caller's.
    own = ("x-envoy-original-path", "x-envoy-original-method", "x-envoy-external-address")
    assert {name for name in seen if name.startswith("x-envoy-")} <= set(own)
    assert seen.get("x-envoy-original-path") in (None, "/v1/incidents")
    assert seen["x-envoy-external-address"] != "10.0.0.1"
    assert seen["x-forwarded-for"].split(",")[-1] != "10.0.0.1"
    assert seen["x-forwarded-proto"] == "http"


MESSAGE = pb.GetIncidentRequest(incident_id="inc-00000000000a").SerializeToString()
WHOLE = struct.pack(">BI", 0, len(MESSAGE)) + MESSAGE


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc-web+proto"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        WHOLE[:-1],
        WHOLE + b"\0",
        WHOLE + WHOLE,
        b"\1" + WHOLE[1:],
        b"\7" + WHOLE[1:],
        b"\0\xff\xff\xff\xff" + MESSAGE,
    ],
    ids=["nothing", "a byte", "cut", "longer", "two", "packed", "odd", "huge"],
)
def test_what_is_no_whole_message_is_refused_and_keeps_nobody_waiting(
    gateway: Envoy, upstream: Upstream, kind: str, body: bytes
) -> None:
    # A service would wait for the rest, and answer nothing.
    answer = call_json(gateway.address, "POST", f"{SERVICE}/GetIncident", headers={"content-type": kind}, raw=body)
    assert answer.headers["grpc-status"] == "3", answer
    assert upstream.service.metadata == []


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc-web+proto"])
@pytest.mark.parametrize("packing", ["x", "gzip, deflate", "", "\xff"])
def test_a_packing_that_nobody_knows_is_refused(gateway: Envoy, upstream: Upstream, kind: str, packing: str) -> None:
    headers = {"content-type": kind, "grpc-encoding": packing}
    answer = call_json(gateway.address, "POST", f"{SERVICE}/GetIncident", headers=headers, raw=WHOLE)
    assert answer.headers["grpc-status"] == "3", answer
    # In JSON it means nothing.
    assert call_json(gateway.address, "GET", ONE, headers={"grpc-encoding": packing}).status == 200
    assert len(upstream.service.metadata) == 1


def test_a_call_in_grpc_over_http1_comes_through(gateway: Envoy) -> None:
    headers = {"content-type": "application/grpc"}
    answer = call_json(gateway.address, "POST", f"{SERVICE}/GetIncident", headers=headers, raw=WHOLE)
    assert answer.status == 200
    assert pb.GetIncidentResponse.FromString(answer.body[5:]).incident.incident_id == "inc-00000000000a"


def test_packed_messages_come_through(gateway: Envoy, upstream: Upstream) -> None:
    for packing in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        with channel_to(gateway.address) as channel:
            request = pb.GetIncidentRequest(incident_id="a" * 4000)
            stub = EmergencyCommandServiceStub(channel)
            assert stub.GetIncident(request, timeout=60, compression=packing).incident.incident_id == "a" * 4000


@pytest.mark.parametrize("name", ["grpc-status", "grpc-message", "grpc-previous-rpc-attempts"])
def test_what_only_answers_have_breaks_no_call(gateway: Envoy, upstream: Upstream, name: str) -> None:
    assert call_json(gateway.address, "GET", ONE, headers={name: "\xff x"}).status == 200
    (seen,) = upstream.service.metadata
    assert name not in seen


@pytest.mark.parametrize(
    "said",
    [
        b"POST /v1/incidents HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/incidents HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /v1/incidents HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/incidents HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/incidents HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"GET /v1/incidents HTTP/1.1\r\nhost: a\r\nx-a : b\r\n\r\n",
        b"GET /v1/incidents HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n",
        b"GET /v1/incidents HTTP/1.1\r\n\r\n",
        b"GET /v1/incidents HTTP/0.9\r\nhost: a\r\n\r\n",
        b"CONNECT /v1/incidents HTTP/1.1\r\nhost: a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"TRACE /v1/incidents HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GARBAGE\r\n\r\n",
    ],
)
def test_what_two_programs_could_read_in_two_ways_reaches_no_service(
    make_gateway: Any, upstream: Upstream, said: bytes
) -> None:
    gateway = make_gateway(arrival_s=1)
    status, _ = raw(gateway.address, said)
    assert status in (0, 501) or 400 <= status < 500, status
    assert upstream.service.metadata == []


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "tls/1.3"])
def test_no_call_becomes_another_protocol(gateway: Envoy, upstream: Upstream, upgrade: str) -> None:
    wish = f"connection: upgrade, http2-settings\r\nupgrade: {upgrade}\r\nhttp2-settings: \r\n\r\n"
    head = f"GET {ONE} HTTP/1.1\r\nhost: a\r\n{wish}"
    assert raw(gateway.address, head.encode())[0] != 101


# -- callers who take their time ---------------------------------------------------------------------------------------------


class Large(EmergencyCommand):
    """Its answers are large."""

    @override
    def GetIncident(self, request: pb.GetIncidentRequest, context: grpc.ServicerContext) -> pb.GetIncidentResponse:
        if request.incident_id != "large":
            return super().GetIncident(request, context)
        return pb.GetIncidentResponse(incident=pb.Incident(incident_id="x" * 3_000_000))


@pytest.fixture
def large(tmp_path: Any, manifest: Manifest, descriptors: bytes, identity: Identity) -> Iterator[Envoy]:
    upstream = Upstream(Large())
    upstream.start()
    settings = settings_before({manifest.name: f"127.0.0.1:{upstream.port}"}, identity, max_heap_bytes=96 * MIB)
    with Envoy([manifest], descriptors, settings, tmp_path) as envoy:
        yield envoy
    upstream.stop()


def test_who_never_reads_its_answers_does_not_keep_the_memory_of_others(large: Envoy) -> None:
    host, _, port = large.address.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((host, int(port)))
            connection.sendall(in_bytes(b"GET /v1/incidents/large HTTP/1.1\r\nhost: city\r\n\r\n"))
        until(
            lambda: stat(large, "http.gateway.downstream_cx_idle_timeout"), "some are ended, though they could wait for an hour"
        )
        until(lambda: all(call_json(large.address, "GET", ONE).status == 200 for _ in range(50)), "others are served")
        assert int(json.loads(large.ask("/memory"))["allocated"]) < 96 * MIB


def test_in_http2_who_does_not_read_holds_no_more_than_its_window(large: Envoy) -> None:
    host, _, port = large.address.rpartition(":")
    request = pb.GetIncidentRequest(incident_id="large").SerializeToString()
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + asked(1, request))
        until(lambda: stat(large, "http.gateway.jwt_authn.allowed") >= 40, "all have asked")
        until(lambda: all(call_json(large.address, "GET", ONE).status == 200 for _ in range(50)), "others are served")
        assert int(json.loads(large.ask("/memory"))["allocated"]) < 96 * MIB


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def asked(stream: int, message: bytes) -> bytes:
    """A gRPC call as bytes of HTTP/2; headers without compression."""

    def text(said: str) -> bytes:
        # A length of 127 and more goes on in bytes of seven bits.
        more = len(said) - 127
        return bytes([len(said)] if more < 0 else [127, 128 | more % 128, more // 128]) + said.encode()

    headers = {
        ":method": "POST", ":scheme": "http", ":path": f"{SERVICE}/GetIncident", ":authority": "city",
        "content-type": "application/grpc", "te": "trailers", **BEARER,
    }  # fmt: skip
    block = b"".join(b"\0" + text(name) + text(value) for name, value in headers.items())
    return frame(1, 4, stream, block) + frame(0, 1, stream, struct.pack(">BI", 0, len(message)) + message)


def stat(gateway: Envoy, name: str) -> int:
    return sum(one.get("value", 0) for one in json.loads(gateway.ask(f"/stats?format=json&filter=^{name}$"))["stats"])
