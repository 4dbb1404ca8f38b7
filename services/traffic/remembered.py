"""What is remembered: of each signal, whom it serves and what it was told; of each incident, who has priority along which way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound, Refused

PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class SignalState:
    """One signal in the street."""

    signal: pb.Signal | None = None
    command: ev.SignalCommanded | None = None
    # What the controller said of that command last.
    report: pb.SignalReport = pb.SIGNAL_REPORT_UNSPECIFIED
    commands: int = 0

    @property
    def held_for(self) -> str:
        """The vehicle it serves, or empty."""
        return self.command.vehicle_id if self.command is not None and self.command.reason == PRIORITY else ""


def evolve_signal(state: SignalState, event: Message) -> SignalState:
    """The signal after an event."""
    match event:
        case ev.SignalRegistered():
            return replace(state, signal=event.signal)
        case ev.SignalCommanded():
            return replace(state, command=event, report=pb.SIGNAL_REPORT_UNSPECIFIED, commands=state.commands + 1)
        case ev.SignalReported():
            if state.command is None or event.command_id != state.command.command_id:
                return state
            if event.report == pb.SIGNAL_REPORT_STARTED:
                return replace(state, report=event.report)
            # Refused, or back in its plan: it is free to be commanded anew.
            return replace(state, command=None, report=event.report)
    return state


def register(state: SignalState, request: pb.RegisterSignalRequest) -> list[Message]:
    """Makes a signal known, or takes its new plan."""
    return [] if state.signal == request.signal else [ev.SignalRegistered(signal=request.signal)]


def existing(state: SignalState, signal_id: str) -> pb.Signal:
    """The signal, or NotFound."""
    if state.signal is None:
        raise NotFound(f"there is no signal {signal_id}: register it first", "NO_SUCH_SIGNAL")
    return state.signal


def command(state: SignalState, wanted: ev.SignalCommanded, based_on: int) -> list[Message]:
    """Commands it, unless it was commanded by somebody else meanwhile."""
    return [wanted] if state.commands == based_on else []


def report(state: SignalState, request: pb.ReportSignalRequest) -> list[Message]:
    """Takes a controller's word."""
    existing(state, request.signal_id)
    return [
        ev.SignalReported(
            signal_id=request.signal_id, command_id=request.command_id, report=request.report, state=request.state
        )
    ]


@dataclass(frozen=True, slots=True)
class Priorities:
    """The grants of one incident, by grant id; what was released stays barred."""

    granted: Mapping[str, ev.PriorityGranted] = field(default_factory=dict)
    released: frozenset[str] = frozenset()


def evolve_priorities(state: Priorities, event: Message) -> Priorities:
    """The grants after an event."""
    match event:
        case ev.PriorityGranted():
            return replace(state, granted={**state.granted, event.grant_id: event})
        case ev.PriorityReleased():
            left = {name: grant for name, grant in state.granted.items() if name != event.grant_id}
            return Priorities(left, state.released | {event.grant_id})
    return state


def grant(state: Priorities, request: pb.GrantPriorityRequest, signal_ids: Sequence[str]) -> list[Message]:
    """Gives priority; refused where it was taken back before it came."""
    if request.grant_id in state.released:
        raise Refused(f"priority {request.grant_id} was released before it came", "PRIORITY_RELEASED")
    if request.grant_id in state.granted:
        return []
    return [
        ev.PriorityGranted(
            incident_id=request.incident_id, grant_id=request.grant_id, vehicle_id=request.vehicle_id,
            edge_ids=request.edge_ids, signal_ids=signal_ids, stops=request.stops,
        )
    ]  # fmt: skip


def release(state: Priorities, request: pb.ReleasePriorityRequest) -> list[Message]:
    """Takes it back, and bars one that has not come yet."""
    if request.grant_id in state.released:
        return []
    held = state.granted.get(request.grant_id)
    return [
        ev.PriorityReleased(
            incident_id=request.incident_id, grant_id=request.grant_id, vehicle_id=held.vehicle_id if held is not None else "",
            reason=request.reason,
        )
    ]  # fmt: skip
