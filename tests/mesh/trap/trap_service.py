"""A service that answers GetSignal in the ways that have broken runtimes like ours; the signal's id says how."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from google.protobuf.message import Message
from opentelemetry import trace

from citybrain.mesh import context
from citybrain.mesh.errors import Refused
from citybrain.mesh.nameko import DependencyProvider
from citybrain.mesh.runtime import off_loop
from citybrain.mesh.service import Client, Clock, Follow, Log, Service, Streams, rpc


@dataclass(frozen=True)
class Count:
    """How often something was reported."""

    reported: int = 0


def evolve(count: Count, event: Message) -> Count:
    return Count(count.reported + 1)


class BreaksAround(DependencyProvider):  # type: ignore[misc]
    """Raises outside of the method when it is asked to."""

    def worker_setup(self, worker_ctx: Any) -> None:
        if getattr(worker_ctx.args[0], "signal_id", "") == "provider breaks":
            raise RuntimeError("a provider broke")


class TrapService(Service):
    """See the module."""

    name = "trap"
    breaks = BreaksAround()
    counts = Streams("count", Count, evolve)
    clock = Clock()
    log = Log()
    me = Client("citybrain.traffic.v1.TrafficService")

    @rpc
    def GetSignal(self, request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        how, _, rest = request.signal_id.partition(":")
        if how == "sleep":
            off_loop(time.sleep, float(rest))
        elif how == "fail":
            raise ValueError("a secret of the inside")
        elif how == "refuse":
            raise Refused("as things stand, no", "NOT_NOW")
        elif how == "context":
            call = context.current()
            span = trace.get_current_span().get_span_context()
            before = (call.caller, call.request_id, call.correlation_id, trace.format_trace_id(span.trace_id))
            off_loop(time.sleep, 0.05)
            after = context.current()
            held = self.me.GetSignal(pb.GetSignalRequest(signal_id="inner"))
            return pb.GetSignalResponse(held_for="|".join([*before, after.request_id, held.held_for]))
        elif how == "inner":
            call = context.current()
            span = trace.get_current_span().get_span_context()
            return pb.GetSignalResponse(
                held_for="|".join([call.caller, call.correlation_id, trace.format_trace_id(span.trace_id)])
            )
        elif how == "deadline":
            left = context.current().remaining()
            return pb.GetSignalResponse(held_for="" if left is None else f"{left:.3f}")
        elif how == "thread":
            apart = off_loop(threading.get_native_id) != threading.get_native_id()
            return pb.GetSignalResponse(held_for="apart" if apart else "on the loop")
        return pb.GetSignalResponse(held_for=how)

    @rpc
    def ReportSignal(self, request: pb.ReportSignalRequest) -> pb.ReportSignalResponse:
        event = ev.SignalReported(signal_id=request.signal_id, command_id=request.command_id, report=request.report)
        self.counts.handle(request.signal_id, lambda count: [event], lambda after, _: after)
        return pb.ReportSignalResponse()

    @rpc
    def FollowSignalCommands(self, request: pb.FollowSignalCommandsRequest) -> Follow:
        return Follow(purpose="counts", types=(ev.SignalReported,))
