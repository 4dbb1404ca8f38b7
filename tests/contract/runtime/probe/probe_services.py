"""Two services that use everything the kit offers, and note what happens to them; written as a sector team writes.

Whatever runtime is below, this file stays as it is: it imports nothing of one.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from citybrain.probe.v1 import events_pb2 as ev
from citybrain.probe.v1 import probe_service_pb2 as pb
from google.protobuf.message import Message
from opentelemetry import trace

from citybrain.mesh.errors import Refused, ServiceError, Unavailable
from citybrain.mesh.runtime import context
from citybrain.mesh.service import (
    Client,
    Clock,
    Follow,
    Heard,
    Log,
    Provider,
    Reading,
    Readings,
    Service,
    Streams,
    View,
    Window,
    at,
    every,
    off_loop,
    rpc,
    subscribe,
    window,
)

_notes: dict[str, list[str]] = defaultdict(list)
_STEP_S = 0.02
_MANY_STEPS = 1000
_SINCE = os.environ.get("PROBE_SINCE", "")


def note(name: str, text: object) -> None:
    """Keeps in mind what happened, for the test to ask."""
    _notes[name].append(str(text))


@dataclass(frozen=True)
class Count:
    """How often something was written."""

    written: int = 0


def evolve(count: Count, event: Message) -> Count:
    """One more."""
    return Count(count.written + 1)


def key(heard: Heard) -> str:
    """A row for each key."""
    assert isinstance(heard.data, ev.Written)
    return heard.data.key


@dataclass(frozen=True, slots=True)
class Last:
    """A row: what was written last, and how often."""

    last: str
    count: int


def last(row: Last | None, heard: Heard) -> Last:
    """What was written last, and how often."""
    assert isinstance(heard.data, ev.Written)
    return Last(heard.data.text, row.count + 1 if row else 1)


def readings(batch: pb.ReportReadingsRequest) -> Iterable[Reading]:
    """The values of a batch."""
    return (Reading(r.channel, r.at, r.value) for r in batch.readings)


def add(total: float | None, value: float) -> float:
    """The sum of a window; of some values there is none."""
    if value < 0:
        raise ValueError("below nothing")
    return (total or 0) + value


class Around(Provider):
    """Notes its life, and breaks around the method when it is asked to."""

    def setup(self) -> None:
        """Once a process."""
        note("provider", "setup")

    def start(self) -> None:
        """Once a process, when calls may come."""
        note("provider", "start")

    def get_dependency(self, worker_ctx: Any) -> str:
        """Once a call."""
        if _how(worker_ctx) == "provider breaks when it is asked":
            raise RuntimeError("a provider broke")
        return "given"

    def worker_setup(self, worker_ctx: Any) -> None:
        """Before the method."""
        self._note(worker_ctx, "setup")

    def worker_result(self, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> None:
        """After the method."""
        self._note(worker_ctx, f"result {'failed' if exc_info else 'answered'}")

    def worker_teardown(self, worker_ctx: Any) -> None:
        """At the end."""
        self._note(worker_ctx, "teardown")

    def _note(self, worker_ctx: Any, what: str) -> None:
        request, how = worker_ctx.args[0] if worker_ctx.args else None, _how(worker_ctx)
        if how.startswith("life"):
            note("life", what)
        if isinstance(request, pb.CountRequest):
            note(f"{request.name} providers", what)
        if how == f"provider breaks at {what}":
            raise RuntimeError("a provider broke")


def _how(worker_ctx: Any) -> str:
    return getattr(worker_ctx.args[0], "how", "") if worker_ctx.args else ""


class ProbeService(Service):
    """See the module."""

    name = "probe"
    around = Around()
    counts = Streams("count", Count, evolve)
    answers = Streams("answer", Count, evolve)
    view = View((ev.Written,), key, last, row=Last)
    clock = Clock()
    log = Log()
    batches = Readings()
    me = Client("citybrain.probe.v1.ProbeService")

    # -- calls ----------------------------------------------------------------------------------------------------------

    @rpc
    def Do(self, request: pb.DoRequest) -> pb.DoResponse:
        """What it is told."""
        how, _, rest = request.how.partition(":")
        if how == "sleep":
            off_loop(time.sleep, float(rest))
        elif how == "steps":
            return self._steps(request.name)
        elif how == "have it done":
            return self._onward(request)
        elif how == "fail" or request.how == "life fails":
            raise ValueError("a secret of the inside")
        elif how == "refuse":
            raise Refused("as things stand, no", "NOT_NOW")
        elif how == "context":
            before = _whoami()
            off_loop(time.sleep, 0.05)
            return pb.DoResponse(text="|".join([*before, _whoami()[1], self.me.Do(pb.DoRequest(how="inner")).text]))
        elif how == "inner":
            caller, _, *rest_of_it = _whoami()
            return pb.DoResponse(text="|".join([caller, *rest_of_it]))
        elif how == "deadline":
            return pb.DoResponse(text=_left())
        elif how == "deadlines":
            return pb.DoResponse(text=f"{_left()} {self.me.Do(pb.DoRequest(how='deadline')).text}")
        elif how == "thread":
            apart = off_loop(threading.get_native_id) != threading.get_native_id()
            return pb.DoResponse(text="apart" if apart else "on the loop")
        elif how == "instance":
            fresh = not hasattr(self, "seen_before")
            self.seen_before = True
            return pb.DoResponse(text="new" if fresh else "used")
        elif how == "row":
            row = self.view.get(rest)
            return pb.DoResponse(text=f"{row.last} {row.count}" if row else "")
        return pb.DoResponse(text=request.how)

    def _steps(self, name: str) -> pb.DoResponse:
        """Works in steps until it is stopped; never for ever."""
        try:
            for _ in range(_MANY_STEPS):
                note(name, "step")
                off_loop(time.sleep, _STEP_S)
        except ServiceError as error:
            note(name, type(error).__name__)
            raise
        return pb.DoResponse(text="done")

    def _onward(self, request: pb.DoRequest) -> pb.DoResponse:
        try:
            return pb.DoResponse(text=self.me.Do(pb.DoRequest(how="steps", name=f"{request.name} inner"), deadline_s=60).text)
        except ServiceError as error:
            note(request.name, type(error).__name__)
            raise

    @rpc
    def Write(self, request: pb.WriteRequest) -> pb.WriteResponse:
        """One event."""
        written = ev.Written(key=request.key, text=request.text)
        return self.counts.handle(request.key, lambda count: [written], lambda after, _: pb.WriteResponse(count=after.written))

    @rpc
    def ListNotes(self, request: pb.ListNotesRequest) -> pb.ListNotesResponse:
        """What happened."""
        return pb.ListNotesResponse(notes=_notes[request.name])

    # -- streams --------------------------------------------------------------------------------------------------------

    @rpc
    def Count(self, request: pb.CountRequest) -> Iterator[pb.CountResponse]:
        """Counts as fast as its caller reads."""
        filling = bytes(request.size)
        try:
            for number in range(1, request.to + 1):
                if number == request.fails_at:
                    raise Refused("no further", "NO_FURTHER")
                note(request.name, number)
                yield pb.CountResponse(number=number, filling=filling)
        except ServiceError as error:
            note(f"{request.name} error", type(error).__name__)
            raise
        finally:
            note(f"{request.name} error", "closed")

    @rpc
    def Sum(self, requests: Iterable[pb.SumRequest]) -> pb.SumResponse:
        """Adds what it is sent."""
        total, name = 0, ""
        try:
            for request in requests:
                name = name or request.name
                note(name, request.number)
                total += request.number
        except ServiceError as error:
            note(f"{name} error", type(error).__name__)
            raise
        return pb.SumResponse(sum=total)

    @rpc
    def Echo(self, requests: Iterable[pb.EchoRequest]) -> Iterator[pb.EchoResponse]:
        """Says each back."""
        for request in requests:
            yield pb.EchoResponse(text=request.text)
        yield pb.EchoResponse(text="the end")

    @rpc
    def FollowWritten(self, request: pb.FollowWrittenRequest) -> Follow:
        """All that was written."""
        return Follow(purpose="written", types=(ev.Written,))

    # -- events, timers, windows ----------------------------------------------------------------------------------------

    @subscribe(ev.Written)
    def answer(self, event: Heard) -> None:
        """Writes an answer for each event that wants one; some events cannot be handled."""
        assert isinstance(event.data, ev.Written)
        text = event.data.text
        note("heard", text)
        if text.startswith("poison") and not os.environ.get("PROBE_MENDED"):
            note("poison", text)
            raise ValueError("cannot be handled")
        if text.startswith("neighbour away") and len(_notes[text]) < 3:
            note(text, "tried")
            raise Unavailable("the neighbour is away")
        if text == "who":
            call = context.current()
            span = trace.get_current_span().get_span_context()
            note("who", f"{call.correlation_id}|{trace.format_trace_id(span.trace_id)}")
        answered = ev.Answered(text=text)
        self.answers.handle(event.data.key, lambda count: [answered], lambda after, _: None)
        note("answered", text)

    @subscribe(ev.Written, where=lambda written: written.text.startswith("marked"), since="now")
    def hear_marked(self, event: Heard) -> None:
        """Hears some of them."""
        assert isinstance(event.data, ev.Written)
        note("marked", event.data.text)

    @every(10)
    def tick(self) -> None:
        """Each ten seconds."""
        note("tick", self.clock.now() // 1_000_000)

    @at("03:00")
    def nightly(self) -> None:
        """Each night."""
        note("nightly", self.clock.now() // 1_000_000)

    @rpc
    def ReportReadings(self, request: pb.ReportReadingsRequest) -> pb.ReportReadingsResponse:
        """Keeps a batch."""
        self.batches.put(request)
        return pb.ReportReadingsResponse()

    @window(pb.ReportReadingsRequest, seconds=60, readings=readings, fold=add, late_s=5)
    def minute(self, window: Window) -> None:
        """What came in a minute; a window with trouble in it fails twice."""
        told = f"{window.start // 1_000_000} {sorted(window.states.items())} late {window.late} ahead {window.ahead}"
        if "trouble" in window.states and len(_notes["trouble"]) < 2:
            note("trouble", told)
            raise ValueError("not this time")
        note("minute", told)


def _whoami() -> list[str]:
    call = context.current()
    span = trace.get_current_span().get_span_context()
    return [call.caller, call.request_id, call.correlation_id, trace.format_trace_id(span.trace_id)]


def _left() -> str:
    left = context.current().remaining()
    return "" if left is None else f"{left:.3f}"


class NeighbourService(Service):
    """Comes later, and hears from where it is told."""

    name = "neighbour"

    @rpc
    def ListHeard(self, request: pb.ListHeardRequest) -> pb.ListHeardResponse:
        """What happened."""
        return pb.ListHeardResponse(notes=_notes[request.name])

    @subscribe(ev.Written, since="now")
    def from_now(self, event: Heard) -> None:
        """What comes after it."""
        assert isinstance(event.data, ev.Written)
        note("from now", event.data.text)

    @subscribe(ev.Written, since=datetime.fromisoformat(_SINCE) if _SINCE else "beginning")
    def from_a_moment(self, event: Heard) -> None:
        """What was recorded since a moment."""
        assert isinstance(event.data, ev.Written)
        note("from a moment", event.data.text)

    @subscribe(ev.Written)
    def from_the_beginning(self, event: Heard) -> None:
        """Everything."""
        assert isinstance(event.data, ev.Written)
        note("from the beginning", event.data.text)

    @subscribe(ev.Written, concurrency=4)
    def beside_each_other(self, event: Heard) -> None:
        """An event may wait for one of another stream that comes behind it."""
        assert isinstance(event.data, ev.Written)
        awaited = event.data.text.partition("until ")[2]
        while awaited and awaited not in _notes["beside neighbours"]:
            off_loop(time.sleep, _STEP_S)
        note("beside neighbours", event.data.text)
