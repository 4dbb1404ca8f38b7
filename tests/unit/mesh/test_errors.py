"""Errors as callers get them: however much there is to say, they arrive, with their own code."""

from __future__ import annotations

import base64
from concurrent import futures
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import grpc
import pytest
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from citybrain.event_store.store import StoreError
from citybrain.mesh.errors import (
    AlreadyDifferent,
    BadRequest,
    CallFailed,
    Contended,
    NoneFree,
    NotFound,
    Overloaded,
    Refused,
    ServiceError,
    Unavailable,
    listed,
    status_of,
)
from citybrain.mesh.runtime.greenlets import off_loop, wait
from citybrain.mesh.service import Service, rpc
from citybrain.mesh.testing.parts import Parts, on_parts

SERVICE = "citybrain.traffic.v1.TrafficService"
LONG = ("x" * 100_000, "救护车" * 30_000, "🚑\n\x00" * 20_000)
# What is left of the 8 KiB that a caller of gRPC takes, for the request id and what is on the way.
TRAILER_BYTES = 5_500

VIOLATIONS = [
    [("place", text)] for text in LONG
] + [
    [(f"ambulances[{number}].{text[:50]}", text) for number in range(250)] for text in LONG
] + [
    [(text, "is required")] * 12 for text in LONG
]  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        StoreError("/data/events.db cannot be used: its disk is full"),
        KeyError("citybrain.mesh"),
        RuntimeError("Cassandra at 10.0.0.7"),
    ],
)
def test_an_error_of_the_store_or_one_that_nobody_expected_tells_a_caller_nothing_of_the_inside(error: Exception) -> None:
    told = str(status_of(error))
    assert not [word for word in ("/data", "disk", "citybrain.mesh", "Cassandra", "10.0.0.7", "KeyError") if word in told]


def weight(error: ServiceError) -> int:
    status = status_of(error)
    return len(quote(status.message)) + len(base64.b64encode(status.SerializeToString()))


@pytest.mark.parametrize("text", LONG, ids=["ascii", "chinese", "control"])
def test_an_error_fits_a_trailer_whatever_it_says(text: str) -> None:
    for kind in (NotFound, AlreadyDifferent, Refused, NoneFree, Unavailable, Contended, Overloaded):
        assert weight(kind(text)) < TRAILER_BYTES
    assert weight(CallFailed(grpc.StatusCode.ABORTED, text)) < TRAILER_BYTES


@pytest.mark.parametrize("violations", VIOLATIONS)
def test_so_does_one_that_lists_what_a_request_breaks(violations: list[tuple[str, str]]) -> None:
    error = BadRequest(violations)
    assert weight(error) < TRAILER_BYTES
    assert 1 <= len(error.violations) <= 10
    if len(violations) > 10:
        assert str(error).endswith("more")


def test_a_long_list_of_names_says_how_many_more_there_are() -> None:
    names = [f"ambulance-{number}" for number in range(250)]
    assert listed(names) == ", ".join(names[:10]) + " and 240 more"
    assert listed(names[:10]) == ", ".join(names[:10])
    assert len(listed(["救" * 100] * 250).encode()) < 650


class Talker(Service):
    """Says no at length."""

    name = "talker"
    said: ClassVar[ServiceError]

    @rpc
    def GetSignal(self, request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        raise self.said


@pytest.mark.parametrize("said", [*map(Refused, LONG), *map(BadRequest, VIOLATIONS)])
def test_an_error_arrives_with_its_own_code_however_long_it_is(tmp_path: Path, said: ServiceError) -> None:
    def test(parts: Parts) -> None:
        Talker.said = said
        parts.add(Talker, SERVICE)
        parts.start()
        parts.process.outgoing.tokens.grant("tester", ["traffic.read"])
        with pytest.raises(CallFailed) as caught:
            wait(parts.process.outgoing.call("tester", f"{SERVICE}/GetSignal", pb.GetSignalRequest(signal_id="s")))
        assert caught.value.code is said.code

        def outside() -> Any:
            with grpc.insecure_channel(parts.address) as channel, pytest.raises(grpc.RpcError) as refused:
                TrafficServiceStub(channel).GetSignal(pb.GetSignalRequest(signal_id="s"), timeout=60, metadata=[parts.bearer()])
            return refused.value

        error = off_loop(outside)
        status = rpc_status.from_call(error)
        assert error.code() is said.code and status is not None
        assert any(packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for packed in status.details)

    on_parts(tmp_path, test)


def test_an_error_of_another_maker_that_is_too_long_is_not_taken_for_a_service_that_has_too_much_to_do(tmp_path: Path) -> None:
    def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("x-long", "x" * 60_000),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no")

    handler = grpc.method_handlers_generic_handler(SERVICE, {"GetSignal": grpc.unary_unary_rpc_method_handler(refuse)})
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def test(parts: Parts) -> None:
        parts.process.outgoing.addresses[SERVICE] = f"127.0.0.1:{port}"
        with pytest.raises(CallFailed) as caught:
            wait(parts.process.outgoing.call("tester", f"{SERVICE}/GetSignal", pb.GetSignalRequest(signal_id="s")))
        assert caught.value.code is grpc.StatusCode.OUT_OF_RANGE

    on_parts(tmp_path, test)
    server.stop(None).wait()
