"""The stages of a signal: the green phases of its plan, what each lets drive, and what a change between them costs.

A signal that follows the traffic shows nothing but these, with the yellow, the all red and the pedestrians' greens of its plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from citybrain.services.traffic import plan as plans
from citybrain.services.traffic.conflicts import Lights
from citybrain.services.traffic.signal_timing import MINIMUM_GREEN_S, YELLOW_S, Clearance

SATURATION_PER_S = 0.5
"""Vehicles a second over the stop line of one lane with green and a queue: one each two seconds."""

SHARE_OF_YIELDING = 0.6
"""Of that, what a green that yields lets through (measured in simulation: between 0.4 and 0.8 it makes little difference)."""

SHARE_OF_SHARED = 0.7
"""Of that, what is left where a lane has green for a part of its turns: the first vehicle may want another one."""

LEAST_ALL_RED_S = 1.0
"""A signal that changes out of the order of its plan shows all red between foes for as long, where its plan shows none."""

_HELD = frozenset("rs")


@dataclass(frozen=True, slots=True)
class Stage:
    """A green phase. `serves`: vehicles a second by lane. `least_s`: its shortest green, for those who walk."""

    phase: int
    state: str
    serves: Mapping[str, float]
    least_s: float


@dataclass(frozen=True, slots=True)
class Staged:
    """A signal with its stages. `unseen`: letters that some stage opens and no lane has, those of pedestrians for example."""

    lights: Lights
    stages: tuple[Stage, ...]
    clearance: Clearance
    unseen: frozenset[int]
    # Seconds to drive to the stop line by lane, from the middle of each 25 m of what is seen.
    arrive_s: Mapping[str, tuple[float, ...]]

    @property
    def change_s(self) -> float:
        """What a change costs: seconds from the end of one green to the next."""
        return self.clearance.yellow_s + self.clearance.all_red_s

    @property
    def can_follow(self) -> bool:
        """Whether there is anything to choose, and anything to choose by."""
        return self.lights.can_give_priority and len(self.stages) > 1 and bool(self.lights.lanes)

    def speed_mps(self, lane: str) -> float:
        """Of free flow on a lane."""
        return ZONE_M / 2 / self.arrive_s[lane][0]


ZONE_M = 25.0
ZONES = 6
"""What is seen before a signal: so many zones of so many metres, from the stop line on."""

_SPEED_MPS = 12.0
"""Of a road of which no speed is known."""


def stage(lights: Lights, speed_mps: Mapping[str, float]) -> Staged:
    """Prepares a signal. `speed_mps`: of free flow, by road; a lane is on the road of its approach."""
    states = [lights.plan.states[phase] for phase in lights.clean]
    of_lanes = {letter for letters in lights.lanes.values() for letter in letters}
    unseen = frozenset(i for state in states for i, letter in enumerate(state) if letter in plans.GREEN) - of_lanes
    return Staged(
        lights=lights,
        stages=tuple(
            Stage(phase, state, serves(lights, state), _least_s(lights, phase, unseen))
            for phase, state in zip(lights.clean, states, strict=True)
        ),
        clearance=_clearance(lights.plan),
        unseen=unseen,
        arrive_s={lane: _arrive_s(speed_mps.get(_road(lights, letters), _SPEED_MPS)) for lane, letters in lights.lanes.items()},
    )


def serves(lights: Lights, state: str) -> dict[str, float]:
    """Vehicles a second that a state lets over the stop line, by lane. Lanes without green are not in it."""
    found = {}
    for lane, letters in lights.lanes.items():
        shares = [1.0 if state[i] == "G" else SHARE_OF_YIELDING if state[i] == "g" else 0.0 for i in letters]
        share = sum(shares) / len(shares)
        if share > 0.0 and not all(shares):
            share *= SHARE_OF_SHARED
        if share:
            found[lane] = SATURATION_PER_S * share
    return found


def _least_s(lights: Lights, phase: int, unseen: frozenset[int]) -> float:
    """Pedestrians have their whole green of the plan: how long they need to cross is not known."""
    walks = any(lights.plan.states[phase][i] in plans.GREEN for i in unseen)
    return lights.plan.length(phase) if walks else MINIMUM_GREEN_S


def _clearance(plan: plans.Plan) -> Clearance:
    """The longest yellow and the longest all red of a plan, or the least that there may be."""
    yellows = [_longest(plan, [state[i] == "y" for state in plan.states]) for i in range(len(plan.states[0]))]
    all_red = _longest(plan, [set(state) <= _HELD for state in plan.states])
    return Clearance(max(YELLOW_S, *yellows), max(LEAST_ALL_RED_S, all_red))


def _longest(plan: plans.Plan, shown: Sequence[bool]) -> float:
    """Seconds of the longest run of phases, within a cycle, in which something is shown."""
    longest = run = 0.0
    for phase, is_shown in enumerate(shown):
        run = run + plan.length(phase) if is_shown else 0.0
        longest = max(longest, run)
    return longest


def _road(lights: Lights, letters: frozenset[int]) -> str:
    return next((road for road, of_road in lights.approaches.items() if letters & of_road), "")


def _arrive_s(speed_mps: float) -> tuple[float, ...]:
    return tuple((zone + 0.5) * ZONE_M / max(speed_mps, 1.0) for zone in range(ZONES))
