"""What is too much, refused with the limit in the answer, in all three protocols."""

from __future__ import annotations

import contextlib
import http.client
import json
import struct
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1 import emergency_command_service_pb2_grpc as pb_grpc
from citybrain.roads.v1 import roads_pb2

from citybrain.gateway import filters
from citybrain.gateway.request_checks import request_checks
from tests.gateway.conftest import call_json

pytestmark = pytest.mark.envoy

MOST = 4096
PATH = "/citybrain.emergency_command.v1.EmergencyCommandService/ReportEmergency"
# code, message
Outcome = tuple[int, str]
Call = Callable[..., Outcome]


def in_json(address: str, size: int, chunk: int, headers: dict[str, str]) -> Outcome:
    head, tail = b'{"place": {"edgeId": "', b'"}}'
    body = head + b"e" * (size - len(head) - len(tail)) + tail
    connection = http.client.HTTPConnection(address, timeout=60)
    parts = (body[start : start + chunk] for start in range(0, len(body), chunk))
    sent = {"content-type": "application/json", **headers}
    # Refused before all of it was sent.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", "/v1/incidents", parts, sent, encode_chunked=True)
    response = connection.getresponse()
    told = json.loads(response.read())
    connection.close()
    assert response.status in (200, 413, 431)
    return told.get("code", 0), told.get("message", "")


def message(size: int) -> bytes:
    request = pb.ReportEmergencyRequest(place=roads_pb2.RoadPlace(edge_id=""))
    # Each length that has more than a byte costs one more.
    while request.ByteSize() < size:
        request.place.edge_id += "e" * max(1, size - request.ByteSize() - 4)
    return request.SerializeToString()


def in_grpc(address: str, size: int, chunk: int, headers: dict[str, str]) -> Outcome:
    with grpc.insecure_channel(address, options=[("grpc.http2.max_frame_size", max(16384, chunk))]) as channel:
        try:
            channel.unary_unary(PATH, bytes, bytes)(message(size - 5), metadata=tuple(headers.items()), timeout=60)
        except grpc.RpcError as error:
            return error.code().value[0], error.details() or ""
    return 0, ""


def in_grpc_web(address: str, size: int, chunk: int, headers: dict[str, str]) -> Outcome:
    data = message(size - 5)
    body = struct.pack(">BI", 0, len(data)) + data
    connection = http.client.HTTPConnection(address, timeout=60)
    parts = (body[start : start + chunk] for start in range(0, len(body), chunk))
    sent = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **headers}
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", PATH, parts, sent, encode_chunked=True)
    response = connection.getresponse()
    response.read()
    connection.close()
    return int(response.getheader("grpc-status") or 0), response.getheader("grpc-message") or ""


@pytest.mark.parametrize("call", [in_json, in_grpc, in_grpc_web])
@pytest.mark.parametrize("size", [MOST, MOST + 1, 50 * MOST])
def test_the_limit_of_a_body_is_for_the_whole_of_it_however_it_is_cut(
    make_gateway: Any, upstream: Any, call: Call, size: int
) -> None:
    gateway = make_gateway(max_request_bytes=MOST)
    for chunk in (200, 3000, 10 * MOST):
        upstream.service.metadata.clear()
        code, told = call(gateway.address, size, chunk, {})
        if size <= MOST:
            assert (code, told, len(upstream.service.metadata)) == (0, "", 1)
        else:
            assert (code, upstream.service.metadata) == (8, [])
            assert str(MOST) in told and "gateway.max_request_bytes" in told


@pytest.mark.parametrize("call", [in_json, in_grpc, in_grpc_web])
@pytest.mark.parametrize(
    "headers", [{"x-long": "x" * 17_000}, {f"x-{number}": "x" for number in range(600)}], ids=["long", "many"]
)
def test_headers_that_are_too_large_are_refused_by_the_gateway_in_its_own_words(
    gateway: Any, upstream: Any, call: Call, headers: dict[str, str]
) -> None:
    code, told = call(gateway.address, 1000, 1000, headers)
    assert (code, upstream.service.metadata) == (8, [])
    assert "The headers have" in told and "16384" in told


@pytest.mark.parametrize("value", ["x", "=", "京", "eA=="])
def test_a_binary_header_from_outside_is_taken_away_and_breaks_no_call(gateway: Any, upstream: Any, value: str) -> None:
    answer = call_json(
        gateway.address, "GET", "/v1/incidents/inc-00000000000a", headers={"foo-bin": value.encode().decode("latin-1")}
    )
    assert answer.status == 200, answer.body
    with grpc.insecure_channel(gateway.address) as channel:
        stub = pb_grpc.EmergencyCommandServiceStub(channel)
        stub.GetIncident(pb.GetIncidentRequest(incident_id="a"), metadata=[("foo-bin", value.encode())], timeout=60)
    assert not [name for seen in upstream.service.metadata for name in seen if name.endswith("-bin")]


def test_a_call_that_cannot_be_looked_at_goes_no_further(
    make_gateway: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*known: Any) -> str:
        return request_checks(*known).replace("function look(handle)", "function look(handle) local no = nil + 1")

    monkeypatch.setattr(filters, "request_checks", broken)
    answer = call_json(make_gateway().address, "GET", "/v1/incidents/inc-00000000000a")
    assert (answer.status, answer.json()["code"], upstream.service.metadata) == (500, 13, [])
    assert "could not look" in answer.json()["message"]
