"""However a call, a stream or an event ends, its span is closed, and says how it ended, and whose fault it was."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
from citybrain.probe.v1 import events_pb2
from citybrain.probe.v1 import guarded_pb2 as pb
from citybrain.probe.v1.guarded_pb2_grpc import GuardedServiceStub
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from citybrain.event_store.store import StoredEvent
from citybrain.mesh.entrypoints.reactions import Subscribe
from citybrain.mesh.errors import CallFailed
from citybrain.mesh.runtime.greenlets import off_loop, wait
from citybrain.mesh.service import Service, every, rpc, subscribe
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.mesh.testing.setting import event_of
from citybrain.observability import names
from tests.helpers.spans import WatchedTracing

CONTRACT = "citybrain.probe.v1.GuardedService"
# https://opentelemetry.io/docs/specs/semconv/rpc/grpc/, "Server": the others are the fault of who asked.
FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


class Ends(Service):
    """Ends as the request says."""

    name = "ends"
    begun: ClassVar[threading.Event] = threading.Event()

    @rpc
    def Show(self, request: pb.ShowRequest) -> pb.ShowResponse:
        self._end(request.answer.open)
        return request.answer

    @rpc
    def ShowSecret(self, request: pb.ShowRequest) -> pb.SecretResponse:
        return pb.SecretResponse()

    @rpc
    def Follow(self, request: pb.ShowRequest) -> Iterator[pb.ShowResponse]:
        yield request.answer
        self._end(request.answer.open)
        while request.answer.open == "endless":
            yield request.answer
        yield request.answer

    @rpc
    def Inner(self, request: pb.ShowRequest) -> pb.ShowResponse:
        return request.answer

    @subscribe(events_pb2.Written)
    def heard(self, event: Any) -> None:
        self._end(event.data.text)

    @every(seconds=3600)
    def hourly(self) -> None:
        self._end("raises")

    def _end(self, how: str) -> None:
        if how == "raises":
            raise ValueError("a fault of the service")
        if how == "waits":
            self.begun.set()
            wait(asyncio.sleep(60))
        if how in grpc.StatusCode.__members__:
            raise CallFailed(grpc.StatusCode[how], f"it is {how}")


def said(how: str) -> pb.ShowRequest:
    return pb.ShowRequest(answer=pb.ShowResponse(open=how))


def after(tmp_path: Path, do: Callable[[Parts], None], many: int = 1) -> list[ReadableSpan]:
    """The spans that something left, as soon as there are so many; no other is open then."""
    tracing = WatchedTracing()

    def test(parts: Parts) -> None:
        Ends.begun.clear()
        parts.add(Ends, CONTRACT)
        parts.start()
        do(parts)
        parts.until(lambda: len(tracing.watch.ended) >= many and not tracing.watch.open)

    on_parts(tmp_path, test, tracing=tracing)
    assert tracing.watch.open == {} and len(tracing.watch.ended) == many
    return tracing.watch.ended


def over_the_network(call: Callable[[GuardedServiceStub, dict[str, Any]], object]) -> Callable[[Parts], None]:
    def do(parts: Parts) -> None:
        options = {"metadata": [parts.bearer()]}

        def ask() -> None:
            with grpc.insecure_channel(parts.address) as channel, contextlib.suppress(grpc.RpcError):
                call(GuardedServiceStub(channel), options)

        off_loop(ask)

    return do


def shown(span: ReadableSpan) -> tuple[str, bool]:
    """How its call ended, and whether that is an error."""
    return str((span.attributes or {})[names.STATUS_CODE]), span.status.status_code is StatusCode.ERROR


def test_each_code_is_an_error_of_who_asked_and_only_a_fault_is_one_of_who_was_asked(tmp_path: Path) -> None:
    def ask_all(parts: Parts) -> None:
        parts.process.outgoing.tokens.grant("asker", ["guarded.read"])
        for code in [*CODES, grpc.StatusCode.OK]:
            with contextlib.suppress(CallFailed):
                asked = parts.process.outgoing.call("asker", f"{CONTRACT}/Show", said(code.name), retry=False)
                wait(asked)

    spans = after(tmp_path, ask_all, many=2 * (len(CODES) + 1))
    assert [span.kind for span in spans] == [SpanKind.SERVER, SpanKind.CLIENT] * (len(CODES) + 1)
    was_asked = [shown(span) for span in spans[::2]]
    asked = [shown(span) for span in spans[1::2]]
    assert was_asked == [*((code.name, code.name in FAULTS) for code in CODES), ("OK", False)]
    assert asked == [*((code.name, True) for code in CODES), ("OK", False)]


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda stub, more: stub.Show(said("fine"), **more), ("OK", False)),
        (lambda stub, more: stub.Show(said("raises"), **more), ("INTERNAL", True)),
        (lambda stub, more: stub.Show(said("NOT_FOUND"), **more), ("NOT_FOUND", False)),
        (lambda stub, more: list(stub.Follow(said("fine"), **more)), ("OK", False)),
        (lambda stub, more: list(stub.Follow(said("raises"), **more)), ("INTERNAL", True)),
        (lambda stub, more: list(stub.Follow(said("NOT_FOUND"), **more)), ("NOT_FOUND", False)),
        (lambda stub, more: given_up(stub.Show.future(said("waits"), **more)), ("CANCELLED", False)),
        (lambda stub, more: given_up(stub.Follow(said("waits"), **more)), ("CANCELLED", False)),
        (lambda stub, more: read_one(stub.Follow(said("endless"), **more)), ("CANCELLED", False)),
    ],
    ids=[
        "answered", "raises", "refused", "a stream", "a stream raises in the middle", "a stream is refused in the middle",
        "given up", "a stream is given up", "a stream is read in part",
    ],
)  # fmt: skip
def test_a_call_over_the_network_leaves_one_span_that_says_how_it_ended(tmp_path: Path, call: Any, wanted: Any) -> None:
    (span,) = after(tmp_path, over_the_network(call))
    assert shown(span) == wanted and span.kind is SpanKind.SERVER


def given_up(call: Any) -> None:
    Ends.begun.wait(30)
    call.cancel()


def read_one(call: Any) -> None:
    next(call)
    call.cancel()


@pytest.mark.parametrize("method", ["Show", "Follow"])
def test_a_deadline_that_passes_in_the_handler_is_told_by_whoever_saw_it_first(tmp_path: Path, method: str) -> None:
    def call(stub: GuardedServiceStub, more: dict[str, Any]) -> None:
        answer: Any = getattr(stub, method)(said("waits"), timeout=0.3, **more)
        if method == "Follow":
            list(answer)

    (span,) = after(tmp_path, over_the_network(call))
    # The service itself, or the caller, who hangs up.
    assert shown(span) in (("DEADLINE_EXCEEDED", True), ("CANCELLED", False))


def test_a_deadline_that_passes_between_services_is_an_error_of_both(tmp_path: Path) -> None:
    def ask(parts: Parts) -> None:
        parts.process.outgoing.tokens.grant("asker", ["guarded.read"])
        with contextlib.suppress(CallFailed):
            wait(parts.process.outgoing.call("asker", f"{CONTRACT}/Show", said("waits"), deadline_s=0.2))

    spans = after(tmp_path, ask, many=2)
    assert {span.kind for span in spans} == {SpanKind.SERVER, SpanKind.CLIENT}
    assert [shown(span) for span in spans] == [("DEADLINE_EXCEEDED", True)] * 2


def test_a_service_that_gives_up_a_call_closes_both_spans(tmp_path: Path) -> None:
    def ask(parts: Parts) -> None:
        parts.process.outgoing.tokens.grant("asker", ["guarded.read"])
        asked = parts.process.loop.create_task(parts.process.outgoing.call("asker", f"{CONTRACT}/Show", said("waits")))
        parts.until(Ends.begun.is_set)
        asked.cancel()
        wait(asyncio.wait([asked]))

    spans = after(tmp_path, ask, many=2)
    assert sorted((str(span.kind), *shown(span)) for span in spans) == [
        ("SpanKind.CLIENT", "CANCELLED", True),
        ("SpanKind.SERVER", "CANCELLED", False),
    ]


@pytest.mark.parametrize(("how", "failed"), [("fine", False), ("raises", True), ("NOT_FOUND", True)])
def test_the_span_of_an_event_that_is_not_handled_is_closed_and_an_error(tmp_path: Path, how: str, failed: bool) -> None:
    def hear(parts: Parts) -> None:
        new = event_of(events_pb2.Written(text=how), occurred_at=1)
        # It is not in the log, where the subscription would try it again.
        event = StoredEvent(**dataclasses.asdict(new), stream="probe/note-1", version=1, recorded_at=1, position=0)
        heard = next(one for one in parts.containers[0].entrypoints if isinstance(one, Subscribe))
        with contextlib.suppress(ValueError, CallFailed):
            wait(heard.hear(event))

    (span,) = after(tmp_path, hear)
    assert span.kind is SpanKind.CONSUMER and span.name == "handle citybrain.probe.v1.Written"
    assert (span.status.status_code is StatusCode.ERROR) is failed


def test_the_span_of_a_timer_that_fails_is_closed_and_an_error(tmp_path: Path) -> None:
    def run(parts: Parts) -> None:
        timer: Any = next(one for one in parts.containers[0].entrypoints if one.method_name == "hourly")
        with contextlib.suppress(ValueError):
            wait(timer.run(parts.process.clock.now()))

    (span,) = after(tmp_path, run)
    assert span.name.startswith("timer ") and span.status.status_code is StatusCode.ERROR
