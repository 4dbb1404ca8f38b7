"""Calls to other services: tried again while they are away, within the caller's time, and for nobody who has gone."""

from __future__ import annotations

import asyncio
import contextvars
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from typing_extensions import override

from citybrain.local.certificates import for_mesh
from citybrain.mesh.access.certificates import OwnCertificate
from citybrain.mesh.access.rules import scopes_of
from citybrain.mesh.errors import CallFailed, Cancelled, DeadlinePassed, NotFound, ServiceError, Unavailable
from citybrain.mesh.runtime import context
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.server import GrpcServer
from citybrain.mesh.service import Service, rpc
from citybrain.mesh.subscriptions.groups import lasting
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.observability import names
from citybrain.observability.metrics import Metrics

SERVICE = "citybrain.traffic.v1.TrafficService"
MARK: contextvars.ContextVar[str] = contextvars.ContextVar("mark")


@pytest.fixture(autouse=True, params=["over the network", "in this process"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A service in this process is called without the network; a caller must not see the difference."""
    if request.param == "over the network":
        monkeypatch.setattr(GrpcServer, "has", lambda self, service, method: False)
    return str(request.param)


class Away(Service):
    """Is unavailable for its first calls."""

    name = "away"
    failures = 0
    times = 1
    failure: ClassVar[type[ServiceError]] = Unavailable
    ids: ClassVar[list[str]] = []
    # Done while the first call is under way.
    meanwhile: ClassVar[Callable[[], object]] = staticmethod(lambda: None)

    @rpc
    def GetSignal(self, request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        self.ids.append(context.current().request_id)
        if len(self.ids) == 1:
            Away.meanwhile()
        if len(self.ids) <= Away.failures:
            raise self.failure("not yet")
        return pb.GetSignalResponse(held_for=request.signal_id * self.times)


def away(parts: Parts, failures: int, failure: type[ServiceError] = Unavailable) -> None:
    Away.failures, Away.failure, Away.ids = failures, failure, []
    parts.add(Away, SERVICE)
    parts.start()
    parts.process.outgoing.tokens.grant("tester", scopes_of([SERVICE]))


def ask(parts: Parts, call: context.Call, deadline_s: float | None = None) -> str:
    context.enter(call)
    request = pb.GetSignalRequest(signal_id="x")
    return str(wait(parts.process.outgoing.call("tester", f"{SERVICE}/GetSignal", request, deadline_s=deadline_s)).held_for)  # type: ignore[attr-defined]


@pytest.mark.tells("attribute error.message", "happens retry")
@pytest.mark.parametrize("failure", [Unavailable, Cancelled], ids=["it is unavailable", "its process stops"])
def test_what_was_not_carried_out_is_asked_again_under_the_same_request_id(tmp_path: Path, failure: type[ServiceError]) -> None:
    def test(parts: Parts) -> None:
        away(parts, 3, failure)
        assert ask(parts, context.Call("c", "m", "r")) == "x"
        assert len(Away.ids) == 4 and len(set(Away.ids)) == 1

    on_parts(tmp_path, test)


def test_a_message_that_is_too_large_is_not_taken_for_a_service_that_has_too_much_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Away, "times", 5 * 1024 * 1024)

    def test(parts: Parts) -> None:
        away(parts, 0)
        with pytest.raises(CallFailed, match="larger than max") as caught:
            ask(parts, context.Call("c", "m", "r"))
        assert caught.value.code is grpc.StatusCode.OUT_OF_RANGE
        assert lasting(caught.value)

    on_parts(tmp_path, test)


def test_who_is_away_for_longer_than_the_time_given_is_a_failed_call(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        parts.process.outgoing.addresses[SERVICE] = nobody()
        with pytest.raises(CallFailed) as caught:
            ask(parts, context.Call("c", "m", "r"), deadline_s=0.1)
        assert caught.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        with pytest.raises(CallFailed, match="nowhere"):
            parts.process.outgoing.addresses.clear()
            ask(parts, context.Call("c", "m", "r"))

    on_parts(tmp_path, test)


def test_nothing_is_asked_for_a_caller_who_has_gone_or_whose_time_is_up(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        away(parts, 0)
        gone = context.Call("c", "m", "r")
        gone.end()
        with pytest.raises(Cancelled):
            ask(parts, gone)
        with pytest.raises(DeadlinePassed):
            ask(parts, context.Call("c", "m", "r", deadline=0.0))
        assert Away.ids == []

    on_parts(tmp_path, test)


def test_a_caller_who_goes_meanwhile_ends_the_tries(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        away(parts, 10**6)
        call = context.Call("c", "m", "r")

        class Going(context.Call):
            """A caller who goes after the second try."""

            @override
            def remaining(self) -> float | None:
                if len(Away.ids) >= 2:
                    call.end()
                return call.remaining()

        with pytest.raises(Cancelled):
            ask(parts, Going("c", "m", "r"))
        assert len(Away.ids) == 2

    on_parts(tmp_path, test)


def test_a_renewed_certificate_is_shown_from_the_next_call_on_and_a_call_under_way_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = for_mesh(tmp_path / "mesh-tls")
    made.renew()

    def test(parts: Parts) -> None:
        outgoing = parts.process.outgoing
        parts.process.server._own = outgoing._own = OwnCertificate(made.tls, look_s=0)
        away(parts, 0)
        before = []

        def renew() -> None:
            before.append(outgoing._channel(SERVICE))
            made.certificate.unlink()
            made.renew()
            assert ask(parts, context.Call("c", "m", "r2")) == "x"
            assert outgoing._channel(SERVICE) is not before[0]
            assert list(outgoing._closing) == before, "it waits for the first call"

        monkeypatch.setattr(Away, "meanwhile", renew)
        assert ask(parts, context.Call("c", "m", "r1")) == "x"
        assert len(Away.ids) == 2, "no call was made twice"
        while outgoing._closing:
            wait(asyncio.sleep(0.001))
        made.renew()
        after = outgoing._channel(SERVICE)
        assert ask(parts, context.Call("c", "m", "r3")) == "x"
        assert outgoing._channel(SERVICE) is after, "nothing was renewed"

    on_parts(tmp_path / "data", test)


def test_a_neighbour_of_another_authority_is_not_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GrpcServer, "has", lambda self, service, method: False)
    made, stranger = for_mesh(tmp_path / "mesh-tls"), for_mesh(tmp_path / "stranger")
    made.renew()
    stranger.renew()

    def test(parts: Parts) -> None:
        parts.process.server._own = OwnCertificate(stranger.tls)
        parts.process.outgoing._own = OwnCertificate(made.tls)
        away(parts, 0)
        with pytest.raises(CallFailed) as caught:
            ask(parts, context.Call("c", "m", "r"), deadline_s=0.3)
        assert caught.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert "ertificate" in wait(parts.process.outgoing.unreachable(SERVICE))
        assert Away.ids == []

    on_parts(tmp_path / "data", test)


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_only_a_service_elsewhere_is_called_over_a_connection(tmp_path: Path, where: str) -> None:
    def test(parts: Parts) -> None:
        away(parts, 0)
        assert ask(parts, context.Call("c", "m", "r")) == "x"
        assert bool(parts.process.outgoing._channels) == (where == "over the network")

    on_parts(tmp_path, test)


def test_what_is_called_holds_nothing_of_the_callers_message_nor_of_its_work(tmp_path: Path) -> None:
    seen: list[context.Call] = []

    def test(parts: Parts) -> None:
        away(parts, 0)
        request = pb.GetSignalRequest(signal_id="x")
        call = context.Call("c", "m", "r", correlation_id="inc-1")
        context.enter(call)

        MARK.set("of the caller")

        def meanwhile() -> None:
            seen.append(context.current())
            assert MARK.get("") == ""
            request.Clear()

        Away.meanwhile = staticmethod(meanwhile)
        try:
            answer = wait(parts.process.outgoing.call("tester", f"{SERVICE}/GetSignal", request))
        finally:
            Away.meanwhile = staticmethod(lambda: None)
        assert answer.held_for == "x"  # type: ignore[attr-defined]
        (there,) = seen
        assert there is not call and (there.caller, there.correlation_id) == ("service:tester", "inc-1")

    on_parts(tmp_path, test)


def test_an_error_that_nobody_expected_is_told_without_its_text(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        away(parts, 1, ZeroDivisionError)  # type: ignore[arg-type]
        with pytest.raises(CallFailed) as caught:
            ask(parts, context.Call("c", "m", "r"))
        assert caught.value.code is grpc.StatusCode.INTERNAL
        assert "not yet" not in str(caught.value)

    on_parts(tmp_path, test)


@pytest.mark.parametrize("goes", ["the caller", "its time"])
def test_work_that_nobody_waits_for_any_more_is_ended(tmp_path: Path, goes: str) -> None:
    ended: list[type[BaseException]] = []

    def test(parts: Parts) -> None:
        away(parts, 0)
        begun, held = asyncio.Event(), asyncio.Event()

        def meanwhile() -> None:
            begun.set()
            try:
                wait(held.wait())
            except BaseException as error:
                ended.append(type(error))
                raise

        Away.meanwhile = staticmethod(meanwhile)
        context.enter(context.Call("c", "m", "r"))
        request, limit_s = pb.GetSignalRequest(signal_id="x"), 0.3 if goes == "its time" else 600.0
        asked = parts.process.outgoing.call("tester", f"{SERVICE}/GetSignal", request, deadline_s=limit_s, retry=False)
        task = parts.process.loop.create_task(asked)
        try:
            wait(begun.wait())
            if goes == "the caller":
                task.cancel()
            parts.until(lambda: bool(ended))
        finally:
            Away.meanwhile = staticmethod(lambda: None)
            task.cancel()

    on_parts(tmp_path, test)
    assert len(ended) == 1


def test_a_service_that_needs_longer_than_the_caller_has_is_given_up_in_time(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        away(parts, 0)
        held = asyncio.Event()
        Away.meanwhile = staticmethod(lambda: wait(held.wait()))
        try:
            with pytest.raises(CallFailed) as caught:
                ask(parts, context.Call("c", "m", "r"), deadline_s=0.2)
        finally:
            Away.meanwhile = staticmethod(lambda: None)
            held.set()
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED

    on_parts(tmp_path, test)


def test_a_process_that_stops_takes_no_more_calls_of_its_own_services(tmp_path: Path) -> None:
    def test(parts: Parts) -> None:
        away(parts, 0)
        wait(parts.process.server.stop(0))
        with pytest.raises(CallFailed) as caught:
            ask(parts, context.Call("c", "m", "r"), deadline_s=0.2)
        assert caught.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert Away.ids == []

    on_parts(tmp_path, test)


def test_a_call_is_counted_once_for_its_caller_with_how_it_ended_after_all_tries(tmp_path: Path) -> None:
    reader = InMemoryMetricReader()

    def test(parts: Parts) -> None:
        away(parts, 2)
        assert ask(parts, context.Call("c", "m", "r1")) == "x"
        Away.failure, Away.failures, Away.ids = NotFound, 1, []
        with pytest.raises(CallFailed):
            ask(parts, context.Call("c", "m", "r2"))

    on_parts(tmp_path, test, metrics=Metrics(reader))
    data: Any = reader.get_metrics_data()
    metrics = [one for resource in data.resource_metrics for scope in resource.scope_metrics for one in scope.metrics]
    points = [point for one in metrics if one.name == names.CLIENT_DURATION for point in one.data.data_points]
    found = [point.attributes for point in points]
    assert {(one[names.CITY_SERVICE], one[names.RPC_METHOD], one[names.STATUS_CODE]) for one in found} == {
        ("tester", f"{SERVICE}/GetSignal", "OK"),
        ("tester", f"{SERVICE}/GetSignal", "NOT_FOUND"),
    }
    assert [point.count for point in points] == [1, 1]
