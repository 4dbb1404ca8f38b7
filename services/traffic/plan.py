"""The clock of a fixed-time plan: its phase at a moment, how long that lasts, and where a signal can be handed back.

Times are city time in seconds since the epoch; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from citybrain.traffic.v1.traffic_service_pb2 import Signal

GREEN = frozenset("Gg")
"""Letters on which vehicles go: with right of way, or yielding. `s` (stop, then go) is not green."""

KNOWN = frozenset("Ggyrs")
"""Letters that this service understands. While a signal shows another one (red-yellow, off), no command is made."""

LEAST_LEFT_S = 5.0
"""Seconds a phase must still have when a signal is handed back into it (measured in simulation)."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A phase of the plan, and the seconds from now until it ends."""

    phase: int
    left_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A fixed-time plan. `ends` are seconds from the start of the cycle; `greens` the phases that can be shown for long."""

    program_id: str
    states: tuple[str, ...]
    ends: tuple[float, ...]
    greens: tuple[int, ...]
    cycle_start: float

    @property
    def cycle_s(self) -> float:
        """Seconds after which the plan begins anew."""
        return self.ends[-1]

    def begins(self, phase: int) -> float:
        """Seconds from the start of the cycle to the start of a phase."""
        return self.ends[phase - 1] if phase else 0.0

    def length(self, phase: int) -> float:
        """Seconds that a phase lasts."""
        return self.ends[phase] - self.begins(phase)


def read(signal: Signal) -> Plan:
    """The plan of a registered signal, which has at least one phase."""
    states = tuple(phase.state for phase in signal.phases)
    return Plan(
        program_id=signal.program_id,
        states=states,
        ends=tuple(accumulate(phase.duration_s for phase in signal.phases)),
        greens=tuple(i for i, state in enumerate(states) if GREEN & set(state) and set(state) <= KNOWN - {"y"}),
        cycle_start=signal.cycle_start.ToNanoseconds() / 1e9,
    )


def at(plan: Plan, when: float) -> Moment:
    """What the plan shows at a moment; a phase that begins then is the one shown."""
    into = _into(plan, when)
    for phase, end in enumerate(plan.ends):
        if into < end:
            return Moment(phase, end - into)
    return Moment(0, plan.ends[0])


def stood(plan: Plan, when: float) -> tuple[float, ...]:
    """For how long each letter has been shown unchanged at a moment, if the plan ran undisturbed; a cycle at most."""
    now = at(plan, when)
    begun = now.left_s - plan.length(now.phase)
    shown = plan.states[now.phase]
    since = [-begun] * len(shown)
    same = set(range(len(shown)))
    for back in range(1, len(plan.states)):
        phase = (now.phase - back) % len(plan.states)
        same = {i for i in same if plan.states[phase][i] == shown[i]}
        for i in same:
            since[i] += plan.length(phase)
    return tuple(plan.cycle_s if i in same else s for i, s in enumerate(since))


def settle(plan: Plan, when: float, least_s: Mapping[int, float] | None = None) -> Moment:
    """Where to hand back at a moment: the phase shown then if it is green and has enough left, else the next green one.

    `least_s`: for phases that need more than 5 s.

    A green that has not begun is begun early: it ends when the plan says, so the signal is in step from then on.
    """
    now = at(plan, when)
    left, phase, longest = now.left_s, now.phase, Moment(plan.greens[0], 0.0)
    for _ in range(len(plan.states) + 1):
        if phase in plan.greens:
            if left >= (least_s or {}).get(phase, LEAST_LEFT_S):
                return Moment(phase, left)
            longest = max(longest, Moment(phase, left), key=lambda m: m.left_s)
        phase = (phase + 1) % len(plan.states)
        left += plan.length(phase)
    return longest


def _into(plan: Plan, when: float) -> float:
    """Seconds into the cycle, to the millisecond: seconds since the epoch carry no more in a float."""
    into = round((when - plan.cycle_start) % plan.cycle_s, 3)
    return 0.0 if into >= plan.cycle_s else into
