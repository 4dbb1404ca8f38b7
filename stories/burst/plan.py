"""What is played: a quiet network of pipes, and then a pipe that bursts. All follows from the seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from citybrain.simulation.pipes import STEP_S, Leak, net3
from citybrain.stories.burst.pipes_map import PipesMap, read

SENSORS = 24
BEGIN_H, QUIET_H = 24, 6
"""The hour of the model at which the sensors begin to report, and for how long at least nothing is wrong then."""
_FLOW_L_S = (40.0, 80.0)
# Beside a tank or a reservoir the pressure is what stands in it, whatever flows out.
_FAR = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. `hours`: how long the model runs; `leak`: None where nothing is wrong."""

    seed: int
    pipes: PipesMap
    sensors: list[str]
    hours: int
    leak: Leak | None


def made(seed: int, *, quiet_hours: int = 0) -> Plan:
    """The run of a seed; with `quiet_hours` one of so many hours in which nothing is wrong."""
    pipes = read(net3())
    sensors = _spread_out(pipes)
    if quiet_hours:
        return Plan(seed, pipes, sensors, BEGIN_H + quiet_hours, None)
    by = random.Random(f"burst-{seed}")
    near = _near_supplies(pipes)
    pipe = by.choice(sorted(name for name in pipes.pipes if not near & set(pipes.links[name])))
    begin = (BEGIN_H + QUIET_H) * 3600 + STEP_S * by.randrange(16)
    # Two steps to notice it, and one more to see that it is not noticed later.
    hours = math.ceil((begin + 3 * STEP_S) / 3600)
    return Plan(seed, pipes, sensors, hours, Leak(pipe, begin, round(by.uniform(*_FLOW_L_S), 1)))


def _near_supplies(pipes: PipesMap) -> set[str]:
    """The nodes that are at most so many links from a tank or a reservoir."""
    near = set(pipes.supplies)
    for _ in range(_FAR):
        near |= {node for ends in pipes.links.values() if near & set(ends) for node in ends}
    return near


def _spread_out(pipes: PipesMap) -> list[str]:
    """Junctions with sensors: each next one as far from the others as there is one."""
    near = _near_supplies(pipes)
    free = sorted(set(pipes.demands) - near)
    found = [free[0]]
    while len(found) < SENSORS:
        found.append(max(free, key=lambda node: min(math.dist(pipes.coordinates[node], pipes.coordinates[o]) for o in found)))
    return found
