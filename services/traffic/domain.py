"""A signal and its commands, folded from its events. A command counts as carried out only when the controller reports it.

Times are city time in seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.events_pb2 import SignalCommanded, SignalRegistered, SignalReported
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.services.traffic.signal_timing import PRIORITY

PATIENCE_S = 5.0
"""Seconds after which a command without an answer is made again: as long as a vehicle may be silent."""

_UNANSWERED_KEPT = 4


def command_id(signal_id: str, now: float) -> str:
    """The id of a command: its signal and its moment. A signal gets at most one command for a moment."""
    return f"{signal_id}/{round(now * 1000)}"


def commanded_at(command: SignalCommanded) -> float:
    """The moment for which a command was made, to the millisecond: its id ends with it."""
    return int(command.command_id.rpartition("/")[2]) / 1000


@dataclass(frozen=True, slots=True)
class Play:
    """A command, and when each part of its timing is shown if it is carried out."""

    command: SignalCommanded
    begins: float
    # When the hold begins and ends; None where the command only gives the signal back.
    hold: tuple[float, float] | None
    ends: float

    @classmethod
    def of(cls, command: SignalCommanded) -> Play:
        """The command on the city's clock."""
        begins = at = commanded_at(command)
        hold = None
        for interval in command.intervals:
            if interval.purpose == PRIORITY:
                hold = (at, at + interval.duration_s)
            at += interval.duration_s
        return cls(command, begins, hold, at)

    @property
    def held_state(self) -> str:
        """What is shown during the hold; empty where there is none."""
        return next((i.state for i in self.command.intervals if i.purpose == PRIORITY), "")

    def is_for(self, other: Play) -> bool:
        """Whether both give priority to the same vehicle of the same incident."""
        mine, theirs = self.command, other.command
        same = (mine.incident_id, mine.vehicle_id) == (theirs.incident_id, theirs.vehicle_id)
        return same and self.hold is not None and other.hold is not None


@dataclass(frozen=True, slots=True)
class SignalState:
    """One signal: its registration, commands without an answer (oldest first), and the command it is known to carry out."""

    signal: pb.Signal | None = None
    asked: tuple[Play, ...] = ()
    running: Play | None = None
    # When the present vehicle's hold began: commands for the same vehicle that follow each other are one hold.
    hold_began: float | None = None
    # When the last hold ended that a later command or the plan followed.
    hold_ended: float | None = None


def evolve(state: SignalState, event: Message) -> SignalState:
    """The signal after an event."""
    match event:
        case SignalRegistered():
            return replace(state, signal=event.signal)
        case SignalCommanded():
            return replace(state, asked=(*state.asked, Play.of(event))[-_UNANSWERED_KEPT:])
        case SignalReported(report=pb.SIGNAL_REPORT_STARTED):
            return _started(state, event.command_id)
        case SignalReported(report=pb.SIGNAL_REPORT_REFUSED):
            return replace(state, asked=tuple(p for p in state.asked if p.command.command_id != event.command_id))
        case SignalReported(report=pb.SIGNAL_REPORT_BACK_IN_PLAN):
            after = _started(state, event.command_id)
            if after.running is None or after.running.command.command_id != event.command_id:
                return state
            ended = _ended(after.running, after.running.ends)
            return replace(after, running=None, hold_began=None, hold_ended=ended or after.hold_ended)
    return state


def holder(state: SignalState, now: float) -> Play | None:
    """The priority that the signal is known to give now, from the first interval of its timing to the end of its hold."""
    play = state.running
    return play if play is not None and play.hold is not None and now < play.hold[1] else None


def held_for(state: SignalState, now: float) -> str:
    """The vehicle that holds the signal; empty where none does."""
    play = holder(state, now)
    return play.command.vehicle_id if play is not None else ""


def unanswered(state: SignalState, now: float) -> bool:
    """Whether an answer to the newest command is still to be waited for."""
    return bool(state.asked) and now - state.asked[-1].begins < PATIENCE_S


def last_hold_ended(state: SignalState, now: float) -> float | None:
    """When the signal was last held; None where it never was, or is held now."""
    if holder(state, now) is not None:
        return None
    ended = _ended(state.running, now) if state.running is not None else None
    return state.hold_ended if ended is None else ended


def register_signal(state: SignalState, request: pb.RegisterSignalRequest) -> list[Message]:
    """Registers a signal, or its new plan. BadRequest where its parts do not fit each other; Refused while it is controlled."""
    signal = request.signal
    problems = _problems(signal)
    if problems:
        raise BadRequest(problems)
    if state.signal == signal:
        return []
    if state.running is not None or state.asked:
        raise Refused(f"signal {signal.signal_id} is under control: register it again when it runs its plan", "UNDER_CONTROL")
    return [SignalRegistered(signal=signal)]


def command(state: SignalState, seen: SignalState, commanded: SignalCommanded) -> list[Message]:
    """Records a command, unless the signal has changed since it was `seen`, when the command was made."""
    return [commanded] if state == seen else []


def report_signal(state: SignalState, request: pb.ReportSignalRequest) -> list[Message]:
    """Takes a controller's report in, once. A report about a command that later ones have replaced changes nothing."""
    existing(state, request.signal_id)
    reported = SignalReported(
        signal_id=request.signal_id, command_id=request.command_id, report=request.report, state=request.state
    )
    return [reported] if evolve(state, reported) != state else []


def existing(state: SignalState, signal_id: str) -> pb.Signal:
    """The signal, or NotFound."""
    if state.signal is None:
        raise NotFound(f"there is no signal {signal_id}: register it first", "NO_SUCH_SIGNAL")
    return state.signal


def _started(state: SignalState, started_id: str) -> SignalState:
    """The signal carries out a command. Commands that were sent before it will not be carried out any more."""
    place = next((n for n, play in enumerate(state.asked) if play.command.command_id == started_id), None)
    if place is None:
        return state
    play, before = state.asked[place], state.running
    began = play.hold[0] if play.hold is not None else None
    ended = state.hold_ended
    if before is not None and before.hold is not None:
        if before.is_for(play) and before.hold[0] <= play.begins < before.hold[1]:
            began = state.hold_began
        else:
            ended = _ended(before, play.begins) or ended
    return SignalState(state.signal, state.asked[place + 1 :], play, began, ended)


def _ended(play: Play, by: float) -> float | None:
    """When a hold that was broken off at a moment ended; None where it had not begun."""
    return min(play.hold[1], by) if play.hold is not None and play.hold[0] < by else None


def _problems(signal: pb.Signal) -> list[tuple[str, str]]:
    size = len(signal.phases[0].state) if signal.phases else 0
    found = [
        (f"signal.phases[{n}].state", f"must have as many letters as the first phase ({size})")
        for n, phase in enumerate(signal.phases)
        if len(phase.state) != size
    ]
    found += [
        (f"signal.links[{n}].index", f"must be less than the number of letters ({size})")
        for n, link in enumerate(signal.links)
        if link.index >= size
    ]
    found += [
        (f"signal.conflicts[{n}]", f"must name letters less than {size}")
        for n, pair in enumerate(signal.conflicts)
        if max(pair.index, pair.other_index) >= size
    ]
    return found
