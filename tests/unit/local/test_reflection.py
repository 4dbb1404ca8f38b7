"""Calls by reflection: what is asked for, and what is said when a server does not tell."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2_grpc as command
from citybrain.health.v1 import health_service_pb2 as pb
from citybrain.health.v1 import health_service_pb2_grpc as health
from citybrain.traffic.v1 import traffic_service_pb2_grpc as traffic
from grpc_reflection.v1alpha import reflection
from typing_extensions import override

from citybrain.local.reflection import CallError, Remote

NAMES = ("emergency_command", "health", "traffic")
SERVICES = [f"citybrain.{name}" for name in ("emergency_command.v1.EmergencyCommandService", "health.v1.HealthService",
                                             "traffic.v1.TrafficService")]  # fmt: skip


class Health(health.HealthServiceServicer):
    @override
    def ListAmbulances(self, request: pb.ListAmbulancesRequest, context: grpc.ServicerContext) -> pb.ListAmbulancesResponse:
        return pb.ListAmbulancesResponse(ambulances=[pb.Ambulance(ambulance_id="amb-1")])


class Counting(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """How often reflection was asked; with a code it refuses from the second time on."""

    def __init__(self, code: grpc.StatusCode | None) -> None:
        self.asked = 0
        self._code = code

    @override
    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        if not handler_call_details.method.startswith("/grpc.reflection."):
            return continuation(handler_call_details)
        self.asked += 1
        code = self._code
        if code is None or self.asked == 1:
            return continuation(handler_call_details)
        return grpc.stream_stream_rpc_method_handler(lambda _, context: context.abort(code, "call more slowly"))


@contextlib.contextmanager
def serving(code: grpc.StatusCode | None = None, *names: str) -> Iterator[tuple[Remote, Counting]]:
    counting = Counting(code)
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[counting])
    health.add_HealthServiceServicer_to_server(Health(), server)
    command.add_EmergencyCommandServiceServicer_to_server(command.EmergencyCommandServiceServicer(), server)
    traffic.add_TrafficServiceServicer_to_server(traffic.TrafficServiceServicer(), server)
    reflection.enable_server_reflection([*SERVICES, *names], server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Remote(f"127.0.0.1:{port}", "a-token") as remote:
            yield remote, counting
    finally:
        server.stop(None).wait()


def test_of_a_service_that_is_named_and_not_known_it_says_so() -> None:
    with serving(None, "citybrain.parks.v1.ParksService") as (remote, _):
        with pytest.raises(CallError, match=r"names citybrain\.parks\.v1\.ParksService, and has no contract for it: ask again"):
            remote.method("parks/ListSites")
        assert remote.method("health/ListAmbulances").name == "ListAmbulances"


def test_a_call_asks_for_its_own_service_alone() -> None:
    for name in NAMES:
        # Reflection shows what a process has loaded.
        importlib.import_module(f"citybrain.{name}.v1.events_pb2")
    with serving() as (remote, counting):
        (answer,) = remote.call("health/ListAmbulances", "{}", timeout_s=60, metadata=[])
        assert answer["ambulances"][0]["ambulanceId"] == "amb-1"
        unary = counting.asked
        assert remote.method("emergency_command/FollowIncident").server_streaming
        # A stream may carry any event, so it needs the files of all.
        assert counting.asked > unary
        events = {file.name for file in remote.files()}
    assert {f"citybrain/{name}/v1/events.proto" for name in NAMES} <= events
    assert unary == 2, "which services there are, and the file of one with all that it imports"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED: call more slowly"),
        (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED: call more slowly"),
        (grpc.StatusCode.UNAVAILABLE, "nobody answers at"),
    ],
)
def test_why_reflection_does_not_tell_is_said_as_of_any_other_call(code: grpc.StatusCode, words: str) -> None:
    with serving(code) as (remote, _), pytest.raises(CallError, match=words):
        list(remote.call("health/ListAmbulances", "{}", timeout_s=60, metadata=[]))
    with serving(code) as (remote, _), pytest.raises(CallError, match=words):
        remote.files()
