"""Timings for a signal: what it shows for how long, from what it shows now until it is back in its plan.

A timing is whole: a controller that hears nothing more does the right thing by itself. In every change the letters that lose
green had their minimum green, then show yellow while nothing opens, then red; only then the new state is shown. Letters that
stay green stay. Durations are seconds; times are city time in seconds since the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from citybrain.traffic.v1.events_pb2 import SignalInterval

from citybrain.services.traffic import plan as plans
from citybrain.services.traffic.conflicts import Lights, losers, opening

MINIMUM_GREEN_S = 5.0
YELLOW_S = 3.0
ALL_RED_S = 2.0
COMPENSATION_S = 15.0
LONGEST_HOLD_S = 60.0
"""Seconds. The strategy was measured with these in simulation: docs/signal-priority.md."""

MINIMUM_GREEN, YELLOW, ALL_RED = "minimum green", "yellow", "all red"
PRIORITY, COMPENSATION, WAITING = "priority", "compensation", "waiting for the plan"
SERVING = "serving"
"""What an interval is for, in words for people."""

_LONGEST_RETURN_CYCLES = 2.0
_CLOSED = frozenset("rs")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a signal shows, and for how many seconds each letter will have stood when a command can change it."""

    state: str
    since_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Clearance:
    """For how long letters that lose green show yellow, and then all red, in seconds."""

    yellow_s: float = YELLOW_S
    all_red_s: float = ALL_RED_S


@dataclass(frozen=True, slots=True)
class SignalTiming:
    """Intervals from what is shown now on; then the phase of the plan that follows, and how many seconds it lasts."""

    from_state: str
    intervals: tuple[SignalInterval, ...]
    plan_phase: int
    plan_phase_left_s: float


def can_begin(lights: Lights, shown: Shown) -> bool:
    """Whether a timing can begin from this. It cannot from red-yellow, or when the signal is off."""
    return lights.can_give_priority and len(shown.state) == len(lights.foes) and set(shown.state) <= plans.KNOWN


def priority(
    lights: Lights, shown: Shown, now: float, target: str, until: float, queues: Mapping[str, int], approach: str
) -> SignalTiming:
    """To `target`, held for 60 s but not beyond the moment `until`, and by a compensating return back into the plan.

    `now` is the moment at which the first interval is shown; `queues` are halted vehicles by edge. The shown state must be one
    that `can_begin`.
    """
    line = _Line.begin(lights, shown, now)
    line.change(target)
    line.show(target, float(math.floor(min(until - line.at, LONGEST_HOLD_S))), PRIORITY)
    return _return(line, shown, queues, approach)


def give_back(lights: Lights, shown: Shown, now: float, queues: Mapping[str, int]) -> SignalTiming:
    """Back into the plan from what is shown, with a green on the way for vehicles that wait and have none."""
    return _return(_Line.begin(lights, shown, now), shown, queues, "")


def serve(lights: Lights, shown: Shown, now: float, stage: str, hold_s: float, clearance: Clearance) -> SignalTiming:
    """To a stage, held for `hold_s`, and then by the shortest way back into the plan. `shown` must be one that `can_begin`."""
    line = _Line.begin(lights, shown, now, clearance)
    line.change(stage)
    line.show(stage, hold_s, SERVING)
    phase = _land(line)
    return SignalTiming(shown.state, tuple(line.intervals), phase.phase, phase.left_s)


def along(begins_from: str, intervals: Sequence[SignalInterval], elapsed_s: float) -> Shown | None:
    """What a timing shows after some seconds; None when it has ended. Letters count as new when the timing begins."""
    before, since = begins_from, [0.0] * len(begins_from)
    begun = 0.0
    for interval in intervals:
        shown_s = min(interval.duration_s, elapsed_s - begun)
        since = [(s if a == b else 0.0) + shown_s for a, b, s in zip(before, interval.state, since, strict=True)]
        before = interval.state
        begun += interval.duration_s
        if elapsed_s < begun:
            return Shown(before, tuple(since))
    return None


@dataclass(slots=True)
class _Line:
    """A timing while it is written."""

    lights: Lights
    at: float
    state: str
    since: list[float]
    # Seconds that a yellow of the plan itself still has to run.
    yellow_left_s: float
    intervals: list[SignalInterval]
    clearance: Clearance

    @classmethod
    def begin(cls, lights: Lights, shown: Shown, now: float, clearance: Clearance = Clearance()) -> _Line:
        """From what is shown now."""
        moment = plans.at(lights.plan, now)
        running = "y" in shown.state and lights.plan.states[moment.phase] == shown.state
        return cls(lights, now, shown.state, list(shown.since_s), moment.left_s if running else 0.0, [], clearance)

    def copy(self) -> _Line:
        """A copy that can be continued in another way."""
        return _Line(
            self.lights, self.at, self.state, list(self.since), self.yellow_left_s, list(self.intervals), self.clearance
        )

    def show(self, state: str, duration_s: float, purpose: str) -> None:
        """Adds an interval, in whole seconds: controllers know no shorter ones."""
        duration = float(math.ceil(duration_s - 1e-3))
        if duration <= 0:
            return
        stays = [a == b or {a, b} <= plans.GREEN or {a, b} <= _CLOSED for a, b in zip(self.state, state, strict=True)]
        self.since = [(s if same else 0.0) + duration for same, s in zip(stays, self.since, strict=True)]
        self.state = state
        self.at += duration
        self.yellow_left_s = max(0.0, self.yellow_left_s - duration)
        self.intervals.append(SignalInterval(state=state, duration_s=duration, purpose=purpose))

    def change(self, target: str) -> None:
        """Adds what must come before `target` can be shown; nothing where it can be shown at once."""
        running = [self.clearance.yellow_s - s for letter, s in zip(self.state, self.since, strict=True) if letter == "y"]
        self.show(self.state, max([self.yellow_left_s, *running], default=0.0), YELLOW)
        after = self.state.replace("y", "r")
        lost = losers(self.lights, after, target)
        self.show(after, max((MINIMUM_GREEN_S - self.since[i] for i in lost), default=0.0), MINIMUM_GREEN)
        if lost:
            kept = ["r" if letter not in plans.GREEN else letter for letter in after]
            self.show("".join("y" if i in lost else letter for i, letter in enumerate(kept)), self.clearance.yellow_s, YELLOW)
            self.show("".join("r" if i in lost else letter for i, letter in enumerate(kept)), self.clearance.all_red_s, ALL_RED)
        self.show(self.state.replace("y", "r"), self._clearing_s(target), ALL_RED)

    def _clearing_s(self, target: str) -> float:
        """Seconds until the vehicles that drove last have left the junction for those that get green."""
        opened = opening(self.state, target)
        wait = 0.0
        for i, letter in enumerate(self.state):
            if letter in "rs" and (opened - {i} if self.lights.plan_phases_only else opened & self.lights.foes[i]):
                wait = max(wait, self.clearance.all_red_s - self.since[i])
            elif letter == "y" and (opened if self.lights.plan_phases_only else opened & (self.lights.foes[i] | {i})):
                wait = max(wait, self.clearance.all_red_s)
        return wait


def _return(line: _Line, shown: Shown, queues: Mapping[str, int], approach: str) -> SignalTiming:
    direct = line.copy()
    phase = _land(direct)
    compensated = _compensating(line, queues, approach)
    if compensated is not None:
        line, phase = compensated
    else:
        line = direct
    return SignalTiming(shown.state, tuple(line.intervals), phase.phase, phase.left_s)


def _compensating(line: _Line, queues: Mapping[str, int], approach: str) -> tuple[_Line, plans.Moment] | None:
    """A return with a green for the other approach with most waiting vehicles, if any wait and the cycle is long enough."""
    lights, states = line.lights, line.lights.plan.states
    waiting = {
        edge: queues.get(edge, 0)
        for edge, letters in lights.approaches.items()
        if edge != approach and not any(line.state[i] in plans.GREEN for i in letters)
    }

    def served(phase: int) -> int:
        return sum(n for edge, n in waiting.items() if any(states[phase][i] in plans.GREEN for i in lights.approaches[edge]))

    best = max(lights.clean, key=lambda p: (served(p), -p), default=None)
    if best is None or served(best) == 0:
        return None
    begun, line = line.at, line.copy()
    line.change(states[best])
    line.show(states[best], COMPENSATION_S, COMPENSATION)
    phase = _land(line)
    return (line, phase) if line.at - begun <= _LONGEST_RETURN_CYCLES * lights.plan.cycle_s else None


def _walks(line: _Line) -> dict[int, float]:
    """Phases that open a crossing which is closed now, with their length: who begins to walk then has the whole of it."""
    plan, linked = line.lights.plan, line.lights.linked
    return {
        phase: plan.length(phase)
        for phase in plan.greens
        if any(
            letter in plans.GREEN and line.state[i] not in plans.GREEN
            for i, letter in enumerate(plan.states[phase])
            if i not in linked
        )
    }


def _land(line: _Line) -> plans.Moment:
    """Ends the timing in the phase that the plan's clock shows when it gets there; returns that phase.

    How long it takes depends on the phase, and the phase on how long it takes: tried with ever more time until it fits.
    """
    takes, walks = 0.0, _walks(line)
    for _ in range(len(line.lights.plan.states) + 2):
        phase = plans.settle(line.lights.plan, line.at + takes, walks)
        trial = line.copy()
        trial.change(line.lights.plan.states[phase.phase])
        needs = trial.at - line.at
        if needs <= takes:
            trial.show(
                trial.state.replace("y", "r"), takes - needs, ALL_RED if trial.intervals[len(line.intervals) :] else WAITING
            )
            line.at, line.state, line.since, line.intervals = trial.at, trial.state, trial.since, trial.intervals
            return phase
        takes = needs
    raise AssertionError("the time that a change needs is one of as many values as the plan has phases")
