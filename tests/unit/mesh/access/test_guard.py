"""Every method of a process asks who calls, whatever way the call came: here past every gateway."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import grpc
import pytest
from citybrain.clock.v1.clock_pb2 import AdvanceRequest
from citybrain.clock.v1.clock_pb2_grpc import ClockServiceStub
from citybrain.mesh.v1 import mesh_service_pb2
from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub
from citybrain.probe.v1 import guarded_pb2 as pb
from citybrain.probe.v1.guarded_pb2_grpc import GuardedServiceStub
from google.rpc import error_details_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from grpc_status import rpc_status

from citybrain.local.child import MeshChild
from citybrain.mesh.access.principal import Principal
from citybrain.mesh.access.rules import rule_of
from citybrain.mesh.errors import Forbidden
from citybrain.mesh.runtime import guard
from citybrain.mesh.runtime.context import current
from citybrain.mesh.runtime.greenlets import off_loop
from citybrain.mesh.service import Service, rpc
from citybrain.mesh.testing.parts import ListedTrail, Parts, on_parts
from tests.helpers.callers import bearer, calling

GUARDED = "citybrain.probe.v1.GuardedService"
LIMIT_S = 30
ANSWER = pb.ShowResponse(open="o", restricted="r", thing=pb.Thing(district_id="xihu", person_id="per-1", phone="+86138"))


class Guarded(Service):
    """Answers what it is told to, and notes who called."""

    name = "guarded"
    called: ClassVar[list[str]] = []
    # Answered in place of what was asked for, if there is any.
    instead: ClassVar[list[pb.ShowResponse]] = []

    @rpc
    def Show(self, request: pb.ShowRequest) -> pb.ShowResponse:
        self.called.append(current().caller)
        return self.instead[0] if self.instead else request.answer

    @rpc
    def ShowSecret(self, request: pb.ShowRequest) -> pb.SecretResponse:
        self.called.append(current().caller)
        return pb.SecretResponse(text="s")

    @rpc
    def Follow(self, request: pb.ShowRequest) -> Iterator[pb.ShowResponse]:
        self.called.append(current().caller)
        for _ in range(2):
            yield self.instead[0] if self.instead else request.answer

    @rpc
    def Inner(self, request: pb.ShowRequest) -> pb.ShowResponse:
        self.called.append(current().caller)
        return request.answer


class Door:
    """A process with this service, as its callers see it."""

    def __init__(self, parts: Parts) -> None:
        Guarded.called.clear()
        self.parts = parts
        parts.add(Guarded, GUARDED)
        parts.start()

    def ask(self, method: str, request: pb.ShowRequest, *metadata: tuple[str, str]) -> Any:
        """The answer, the list of answers, or the error."""

        def call() -> Any:
            with grpc.insecure_channel(self.parts.address) as channel:
                try:
                    answer = getattr(GuardedServiceStub(channel), method)(request, metadata=metadata, timeout=LIMIT_S)
                    return list(answer) if method == "Follow" else answer
                except grpc.RpcError as error:
                    return error

        return off_loop(call)

    def refused(
        self, code: grpc.StatusCode, reason: str, method: str, request: pb.ShowRequest, *metadata: tuple[str, str]
    ) -> None:
        """Checks that a call is refused so, and reaches no service."""
        before = len(Guarded.called)
        error = self.ask(method, request, *metadata)
        assert isinstance(error, grpc.RpcError), error
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        told = error_details_pb2.ErrorInfo()
        assert error.code() is code, error
        assert status is not None and any(packed.Unpack(told) for packed in status.details)
        assert told.reason == reason
        assert len(Guarded.called) == before


def on_door(tmp_path: Path, test: Callable[[Door], None]) -> None:
    on_parts(tmp_path, lambda parts: test(Door(parts)))


WHOLE = pb.ShowRequest(answer=ANSWER)


@pytest.mark.parametrize("method", ["Show", "ShowSecret", "Follow", "Inner"])
def test_without_a_good_token_no_method_is_reached(tmp_path: Path, method: str) -> None:
    def test(door: Door) -> None:
        unknown = grpc.StatusCode.UNAUTHENTICATED
        door.refused(unknown, "NO_TOKEN", method, WHOLE)
        door.refused(unknown, "NO_TOKEN", method, WHOLE, ("authorization", "Basic YTpi"))
        door.refused(unknown, "NO_TOKEN", method, WHOLE, ("x-caller", "sagas"), ("x-forwarded-for", "10.0.0.1"))
        door.refused(unknown, "BAD_TOKEN", method, WHOLE, ("authorization", "Bearer a.b.c"))
        door.refused(unknown, "BAD_TOKEN", method, WHOLE, ("authorization", "Bearer "))

    on_door(tmp_path, test)


@pytest.mark.parametrize("method", ["Show", "Follow"])
def test_a_method_needs_its_scope_and_a_caller_without_it_is_told_which(tmp_path: Path, method: str) -> None:
    def test(door: Door) -> None:
        other = door.parts.bearer("zhang", scopes=["guarded.write", "guarded", "other.read"])
        door.refused(grpc.StatusCode.PERMISSION_DENIED, "NO_SCOPE", method, WHOLE, other)
        assert "guarded.read" in door.ask(method, WHOLE, other).details()
        assert not isinstance(door.ask(method, WHOLE, door.parts.bearer("zhang", scopes=["guarded.read"])), grpc.RpcError)
        assert Guarded.called == ["zhang"]

    on_door(tmp_path, test)


def test_a_method_without_a_scope_is_for_services_of_the_mesh_only(tmp_path: Path) -> None:
    def test(door: Door) -> None:
        door.refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_FOR_CALLERS", "Inner", WHOLE, door.parts.bearer("zhang"))
        door.ask("Inner", WHOLE, door.parts.bearer("zhang", actor="sagas"))
        assert Guarded.called == ["service:sagas"]

    on_door(tmp_path, test)


def test_a_service_may_call_what_it_calls_and_nothing_else(tmp_path: Path) -> None:
    def test(door: Door) -> None:
        tokens = door.parts.process.outgoing.tokens
        # As the container granted it: this service calls nobody.
        own = ("authorization", f"Bearer {tokens.token('guarded')}")
        door.refused(grpc.StatusCode.PERMISSION_DENIED, "NO_SCOPE", "Show", WHOLE, own)

    on_door(tmp_path, test)


def test_an_answer_that_is_closed_as_a_whole_needs_its_clearance(tmp_path: Path) -> None:
    def test(door: Door) -> None:
        low = door.parts.bearer("zhang", clearance="RESTRICTED")
        door.refused(grpc.StatusCode.PERMISSION_DENIED, "LOW_CLEARANCE", "ShowSecret", WHOLE, low)
        assert door.ask("ShowSecret", WHOLE, door.parts.bearer("zhang", clearance="SECRET")).text == "s"

    on_door(tmp_path, test)


@pytest.mark.parametrize("method", ["Show", "Follow"])
def test_what_a_caller_may_not_see_is_left_out_of_answers_and_of_every_message_of_a_stream(tmp_path: Path, method: str) -> None:
    def test(door: Door) -> None:
        low = door.ask(method, WHOLE, door.parts.bearer("zhang", scopes=["guarded.read"], clearance="INTERNAL"))
        less = pb.ShowResponse(open="o", thing=pb.Thing(district_id="xihu", person_id="per-1"))
        assert low == ([less, less] if method == "Follow" else less)
        high = door.ask(method, WHOLE, door.parts.bearer("li", scopes=["guarded.read", "probe.personal"], clearance="SECRET"))
        assert high == ([ANSWER, ANSWER] if method == "Follow" else ANSWER)

    on_door(tmp_path, test)


@pytest.mark.parametrize("method", ["Show", "Follow"])
def test_a_caller_of_a_district_names_no_other_and_is_answered_about_no_other(tmp_path: Path, method: str) -> None:
    def test(door: Door) -> None:
        desk = door.parts.bearer("desk", district="gongshu")
        denied = grpc.StatusCode.PERMISSION_DENIED
        door.refused(denied, "OTHER_DISTRICT", method, pb.ShowRequest(district_id="xihu"), desk)
        door.refused(denied, "OTHER_DISTRICT", method, WHOLE, desk)
        # Here only the answer is of another district.
        Guarded.instead.append(ANSWER)
        error = door.ask(method, pb.ShowRequest(), desk)
        Guarded.instead.clear()
        assert isinstance(error, grpc.RpcError) and error.code() is denied, error
        own = pb.ShowRequest(district_id="gongshu", answer=pb.ShowResponse(open="o"))
        assert not isinstance(door.ask(method, own, desk), grpc.RpcError)

    on_door(tmp_path, test)


def test_what_every_process_answers_beside_its_services_is_guarded_too(tmp_path: Path) -> None:
    with MeshChild(tmp_path, ["district_hub", "--driven"]) as process:
        data = process.log_path.parent
        asked = reflection_pb2.ServerReflectionRequest(list_services="")

        def calls(metadata: list[tuple[str, str]]) -> list[Callable[[], Any]]:
            mesh, clock = MeshServiceStub(channel), ClockServiceStub(channel)
            replay = mesh_service_pb2.ReplayParkedRequest(group="g", stream="s")
            return [
                lambda: mesh.GetStatus(mesh_service_pb2.GetStatusRequest(), metadata=metadata, timeout=LIMIT_S),
                lambda: mesh.ReplayParked(replay, metadata=metadata, timeout=LIMIT_S),
                lambda: clock.Advance(AdvanceRequest(), metadata=metadata, timeout=LIMIT_S),
                lambda: list(
                    ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]), metadata=metadata, timeout=LIMIT_S)
                ),
            ]

        def code(call: Callable[[], Any]) -> grpc.StatusCode:
            try:
                call()
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        with grpc.insecure_channel(process.address) as channel:
            assert {code(call) for call in calls([])} == {grpc.StatusCode.UNAUTHENTICATED}
            few = [bearer(data, "zhang", scopes=["health.read"])]
            denied = grpc.StatusCode.PERMISSION_DENIED
            assert [code(call) for call in calls(few)] == [denied, denied, denied, grpc.StatusCode.OK]
            reads = [bearer(data, "zhang", scopes=["mesh.read"])]
            assert [code(call) for call in calls(reads)][:2] == [grpc.StatusCode.OK, denied]
            # Whether it serves is no secret: whoever restarts it asks.
            HealthStub(channel).Check(HealthCheckRequest(), timeout=LIMIT_S)
        with calling(process) as own:
            assert MeshServiceStub(own).GetStatus(mesh_service_pb2.GetStatusRequest(), timeout=LIMIT_S).ready


def test_a_stream_ends_with_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def test(door: Door) -> None:
        lasting = door.parts.bearer("zhang", lasts_s=600)
        assert len(door.ask("Follow", WHOLE, lasting)) == 2
        later = time.time() + 601
        # Only for the guard: the token was good when the stream was opened.
        monkeypatch.setattr(guard, "time", SimpleNamespace(time=lambda: later, perf_counter=time.perf_counter))
        error = door.ask("Follow", WHOLE, lasting)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED and "has ended" in error.details()

    on_door(tmp_path, test)


def test_each_request_of_a_stream_is_looked_at_for_its_district() -> None:
    class Caller:
        """Sends one request."""

        def invocation_metadata(self) -> tuple[()]:
            return ()

        async def read(self) -> pb.ShowRequest:
            return pb.ShowRequest(district_id="xihu")

    caller: Any = Caller()
    rule = rule_of(pb.DESCRIPTOR.services_by_name["GuardedService"].methods_by_name["Show"])
    call = guard.GuardedContext(caller, rule, ListedTrail())
    for district, allowed in (("xihu", True), ("", True), ("gongshu", False)):
        call.principal = Principal("desk", district=district)
        with contextlib.nullcontext() if allowed else pytest.raises(Forbidden, match="bound to that district"):
            asyncio.run(call.read())
