"""A service on the kit that does as little as a service can: answer, decide, fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import Refused
from citybrain.mesh.service import Heard, Service, Streams, View, rpc, subscribe

S = TypeVar("S", bound=type[Service])


@dataclass(frozen=True, slots=True)
class Reports:
    """How many reports a signal had."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """A row: how often a signal was reported."""

    count: int


def evolve(reports: Reports, event: Message) -> Reports:
    """The count after one more report."""
    return Reports(reports.count + 1)


def key(heard: Heard) -> str:
    """A row for each signal."""
    assert isinstance(heard.data, ev.SignalReported)
    return heard.data.signal_id


def count(row: Counted | None, heard: Heard) -> Counted:
    """Counts the reports of a signal."""
    return Counted((row.count if row else 0) + 1)


def whole(contract: Any = pb, name: str = "TrafficService") -> Callable[[S], S]:
    """Refuses the methods that no benchmark calls: a service must answer its whole contract."""

    def filled(service: S) -> S:
        for method in contract.DESCRIPTOR.services_by_name[name].methods:
            if not hasattr(service, method.name):

                def refuse(self: Any, request: Any) -> Any:
                    raise Refused("nothing is measured by this method", "NOT_MEASURED")

                refuse.__name__ = method.name
                setattr(service, method.name, rpc(refuse))
        return service

    return filled


@whole()
class BenchService(Service):
    """Answers, decides and folds as little as possible."""

    name = "bench"
    reports = Streams("signal", Reports, evolve)

    @rpc
    def GetSignal(self, request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        """Answers."""
        return pb.GetSignalResponse(held_for=request.signal_id)

    @rpc
    def ReportSignal(self, request: pb.ReportSignalRequest) -> pb.ReportSignalResponse:
        """Decides on the signal's stream, and appends."""
        event = ev.SignalReported(signal_id=request.signal_id, command_id=request.command_id, report=request.report)
        return self.reports.handle(request.signal_id, lambda now: [event], lambda after, _: pb.ReportSignalResponse())


@whole()
class FoldingService(Service):
    """Folds reports into a row for each signal."""

    name = "folding"
    counted = View((ev.SignalReported,), key, count, row=Counted)


@whole()
class ReactingService(Service):
    """Hears reports, one event after the other."""

    name = "reacting"

    @subscribe(ev.SignalReported)
    def hear(self, event: Heard) -> None:
        """Looks at it."""
        assert isinstance(event.data, ev.SignalReported)
