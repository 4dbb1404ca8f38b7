"""What is too much, refused with the limit in the answer, in all three protocols."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1 import emergency_command_service_pb2_grpc as pb_grpc
from citybrain.roads.v1 import roads_pb2

from citybrain.gateway import filters
from citybrain.gateway.request_checks import request_checks
from citybrain.local.envoy import Envoy
from tests.gateway.conftest import BEARER, Identity, call_json, channel_to, in_bytes, settings_before
from tests.helpers.waiting import until

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
    sent = {"content-type": "application/json", **BEARER, **headers}
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
    with channel_to(address, options=[("grpc.http2.max_frame_size", max(16384, chunk))]) as channel:
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
    sent = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **BEARER, **headers}
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
    with channel_to(gateway.address) as channel:
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


# -- what one caller can take from all --------------------------------------------------------------------------------------

PART = b'{"place": {"edgeId": "' + b"e" * 3_900_000
HEAD = in_bytes(b"POST /v1/incidents HTTP/1.1\r\nhost: city\r\ncontent-type: application/json\r\n")
LENGTH = HEAD + b"content-length: 4000000\r\n\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n" + f"{len(PART):x}\r\n".encode()
MIB = 1024 * 1024
ONE = "/v1/incidents/inc-00000000000a"


def connected(address: str, source: str = "127.0.0.1") -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60, source_address=(source, 0))


@contextlib.contextmanager
def unfinished(address: str, head: bytes, count: int) -> Iterator[list[socket.socket]]:
    """So many bodies of which the end never comes."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            found.append(stack.enter_context(connected(address)))
            # One that is refused is not read to its end.
            with contextlib.suppress(OSError):
                found[-1].sendall(head + PART)
        yield found


@pytest.mark.parametrize("head", [LENGTH, CHUNKED], ids=["length", "chunked"])
def test_bodies_that_never_end_keep_no_other_call_waiting(make_gateway: Any, head: bytes) -> None:
    gateway = make_gateway(max_heap_bytes=128 * MIB, arrival_s=600)
    with unfinished(gateway.address, head, 60):
        assert [call_json(gateway.address, "GET", ONE).status for _ in range(100)] == [200] * 100
        assert json.loads(gateway.ask("/memory"))["allocated"].isdigit()
        assert int(json.loads(gateway.ask("/memory"))["allocated"]) < 100 * MIB


def test_in_http2_who_holds_most_is_ended_first(make_gateway: Any) -> None:
    gateway = make_gateway(max_heap_bytes=128 * MIB, arrival_s=600)
    end = threading.Event()

    def forever() -> Iterator[bytes]:
        yield b"x" * 3_900_000
        end.wait(60)

    with channel_to(gateway.address) as channel:
        method = channel.stream_unary(PATH, bytes, bytes)
        calls = [method.future(forever()) for _ in range(60)]
        until(lambda: stat(gateway, "envoy.overload_actions.reset_high_memory_stream.count") > 0, "somebody is ended")
        # Calls that hold little go on meanwhile: at most until the next look at the memory they are refused.
        until(lambda: all(call_json(gateway.address, "GET", ONE).status == 200 for _ in range(20)), "others are served")
        end.set()
        for call in calls:
            call.cancel()


def large(address: str, source: str) -> int:
    """The status of a body as large as those that are unfinished; 0 where the connection went before all of it was sent."""
    body = (PART + b'"}}').ljust(4_000_000)
    connection = http.client.HTTPConnection(address, timeout=60, source_address=(source, 0))
    try:
        connection.request("POST", "/v1/incidents", body, {"content-type": "application/json", **BEARER})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_one_peer_cannot_take_the_room_for_large_bodies_from_another_and_gives_it_back(make_gateway: Any) -> None:
    # So little memory has room for five of these bodies, and for two of one peer.
    gateway = make_gateway(max_heap_bytes=64 * MIB, arrival_s=600)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(gateway.address)) for _ in range(20)]
        for one in connections:
            # Nothing but headers: an answer that came before the end of a body could get lost with the connection.
            one.sendall(LENGTH)
        until(lambda: sum(map(readable, connections)) >= 18, "what does not fit is refused")
        # Also for a peer's bodies one after the other, more than the lane has room for at a time.
        assert [large(gateway.address, "127.0.0.2") for _ in range(6)] == [200] * 6
        refused = [one for one in connections if readable(one)]
        assert len(refused) == 18
        told = http.client.HTTPResponse(refused[0])
        told.begin()
        answer = json.loads(told.read())
        assert (told.status, told.getheader("retry-after"), answer["code"]) == (503, "1", 14)
        assert "Too many large requests" in answer["message"]
        for one in connections:
            if one not in refused:
                one.sendall((PART + b'"}}').ljust(4_000_000))
                answered = http.client.HTTPResponse(one)
                answered.begin()
                assert answered.status == 200
    assert [large(gateway.address, "127.0.0.1") for _ in range(3)] == [200] * 3


def test_who_hangs_up_amid_a_large_body_has_room_again_when_it_would_have_had_to_be_there(make_gateway: Any) -> None:
    gateway = make_gateway(max_heap_bytes=64 * MIB, arrival_s=2)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(gateway.address)) for _ in range(3)]
        for one in connections:
            one.sendall(LENGTH)
        until(lambda: any(map(readable, connections)), "there is no more room")
    until(lambda: large(gateway.address, "127.0.0.1") == 200, "there is room again")


@pytest.mark.parametrize(
    ("sent", "rule"), [(HEAD, "request_header_timeout"), (LENGTH, "request_overall_timeout")], ids=["headers", "body"]
)
def test_a_request_that_does_not_arrive_in_time_is_ended_with_words(make_gateway: Any, sent: bytes, rule: str) -> None:
    gateway = make_gateway(arrival_s=0.5, headers_s=0.2)
    with connected(gateway.address) as connection:
        connection.sendall(sent)
        told = http.client.HTTPResponse(connection)
        told.begin()
        answer = json.loads(told.read())
        assert (told.status, answer["code"]) == (408, 4)
        assert "did not come in time" in answer["message"]
        assert rule in answer["details"][0]["metadata"]["rule"]


def test_more_connections_than_may_be_open_are_closed_and_may_come_again(make_gateway: Any) -> None:
    gateway = make_gateway(max_connections=2)
    with connected(gateway.address) as one, connected(gateway.address) as other:
        assert asked(one) == asked(other) == 200
        with connected(gateway.address) as third:
            assert asked(third) is None
        assert asked(one) == 200
    until(lambda: asked_anew(gateway.address) == 200, "a connection may be open again")


def test_one_connection_has_so_many_calls_open_and_no_more(make_gateway: Any) -> None:
    gateway = make_gateway(max_streams_per_connection=7)
    with connected(gateway.address) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">HBBBI", 0, 0, 4, 0, 0))
        told = connection.makefile("rb")
        high, low, kind, _, _ = struct.unpack(">BHBBI", told.read(9))
        assert kind == 4
        settings = told.read((high << 16) + low)
        values = dict(struct.unpack(">HI", settings[start : start + 6]) for start in range(0, len(settings), 6))
        # SETTINGS_MAX_CONCURRENT_STREAMS
        assert values[3] == 7


def test_when_memory_runs_out_calls_are_refused_with_what_to_do(
    tmp_path: Path, manifest: Any, descriptors: bytes, upstream: Any, identity: Identity
) -> None:
    # Less than Envoy has at its start, which no configuration may say.
    settings = settings_before({manifest.name: f"127.0.0.1:{upstream.port}"}, identity)
    with Envoy([manifest], descriptors, settings.model_copy(update={"max_heap_bytes": MIB}), tmp_path) as gateway:
        answer = until(lambda: (got := call_json(gateway.address, "GET", ONE)).status == 503 and got, "memory is looked at")
        assert answer.headers["retry-after"] == "1"
        assert "overload" in answer.json()["message"] and "Try again" in answer.json()["message"]


def stat(gateway: Any, name: str) -> int:
    return sum(one.get("value", 0) for one in json.loads(gateway.ask(f"/stats?format=json&filter={name}"))["stats"])


def readable(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


def asked(connection: socket.socket) -> int | None:
    """The status of an answer; None where the connection was closed."""
    with contextlib.suppress(OSError):
        connection.sendall(in_bytes(f"GET {ONE} HTTP/1.1\r\nhost: city\r\n\r\n".encode()))
        told = http.client.HTTPResponse(connection)
        with contextlib.suppress(http.client.HTTPException):
            told.begin()
            told.read()
            return told.status
    return None


def asked_anew(address: str) -> int | None:
    with connected(address) as connection:
        return asked(connection)
