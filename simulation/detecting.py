"""Loops in the lanes before signals, what they count in a run of SUMO, and a vehicle that breaks down in the way of the others.

A lane has a loop near the beginning of its road and one before the line. SUMO counts by itself, so a run takes a second or two.
No vehicle is moved by SUMO because it is stuck: who stands behind the broken one stands there until it is gone.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from citybrain.simulation.loops import write
from citybrain.simulation.network import Network
from citybrain.simulation.plans import read_plans
from citybrain.simulation.scenario import Scenario
from citybrain.simulation.sumo import Sumo

INTERVAL_S = 30
LEAST_M = 80.0
"""A shorter road has no room for two loops and a queue between them."""
FIRST_M, LINE_M = 30.0, 12.0
"""The first loop is so far from the beginning, or a fifth of the road; the last one so far from the line."""
_NEVER = -1
_BROKEN = "broken-down"


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop in a lane, in metres from the beginning of its road."""

    name: str
    edge_id: str
    lane: int
    position_m: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """A vehicle that stands on a lane: where, from which second of the run on (as soon as there is room), and how long."""

    edge_id: str
    lane: int
    position_m: float
    second: int
    lasts_s: int


@dataclass(frozen=True, slots=True)
class Count:
    """What a loop counted in the interval that began in a second of the run. `speed_mps` is None where nobody passed."""

    name: str
    second: int
    vehicles: int
    occupancy: float
    speed_mps: float | None


@dataclass(frozen=True, slots=True)
class Counted:
    """A run: what was counted, and in which second of it the vehicle stood (None: it found no room, or there was none)."""

    counts: Sequence[Count]
    stood: int | None


def loops(network: Network) -> list[Loop]:
    """Two loops in each lane of each road that ends at a signal and is long enough."""
    found = []
    for edge_id in sorted(network.signal_at_end):
        edge = network.edges[edge_id]
        if edge.length_m < LEAST_M:
            continue
        first, last = min(FIRST_M, edge.length_m / 5), edge.length_m - LINE_M
        for lane in range(len(edge.lanes)):
            found += [Loop(f"{edge_id}.{lane}.in", edge_id, lane, first), Loop(f"{edge_id}.{lane}.out", edge_id, lane, last)]
    return found


def cycles(scenario: Scenario, network: Network) -> dict[str, float]:
    """Road → the cycle of the signal at its end in seconds, of those with a fixed plan."""
    with Sumo(scenario.path, 0) as sumo:
        plans = read_plans(sumo)
    return {
        edge_id: float(plans[signal].cycle_s)
        for edge_id, signal in network.signal_at_end.items()
        if signal in plans and plans[signal].fixed
    }


def count(
    scenario: Scenario, network: Network, some: Sequence[Loop], seed: int, seconds: int, folder: Path,
    trouble: Trouble | None = None,
) -> Counted:  # fmt: skip
    """Runs the scenario for so many seconds, and gives what the loops counted."""
    placed, counted = folder / "loops.add.xml", folder / "counts.xml"
    write(
        ((one.name, network.edges[one.edge_id].lanes[one.lane], one.position_m) for one in some),
        placed, str(counted), INTERVAL_S,
    )  # fmt: skip
    stood = None
    with Sumo(scenario.path, seed, options=scenario.with_file(placed), teleport_after_s=_NEVER) as sumo:
        begin = sumo.next_second
        while sumo.next_second < begin + seconds:
            now = sumo.next_second - begin
            if trouble is not None:
                if now == trouble.second:
                    _put(sumo, trouble)
                elif stood is not None and now == stood + trouble.lasts_s:
                    sumo.remove(_BROKEN)
            sumo.step()
            if trouble is not None and stood is None and now >= trouble.second and _BROKEN in sumo.departed():
                stood = now
    return Counted(_read(counted, begin), stood)


def _put(sumo: Sumo, trouble: Trouble) -> None:
    sumo.routes.add(_BROKEN, [trouble.edge_id])
    sumo.vehicles.add(
        _BROKEN, _BROKEN, typeID="DEFAULT_VEHTYPE", depart="now", departLane=str(trouble.lane),
        departPos=f"{trouble.position_m:.2f}", departSpeed="0",
    )  # fmt: skip
    sumo.stop_at(_BROKEN, trouble.edge_id, trouble.position_m + 1, trouble.lane)


def _read(file: Path, begin: int) -> list[Count]:
    found = []
    for _, one in ET.iterparse(file):  # noqa: S314
        if one.tag == "interval":
            vehicles, speed = int(one.get("nVehContrib", "0")), float(one.get("speed", "-1"))
            second = round(float(one.get("begin", "0"))) - begin
            occupancy = min(1.0, float(one.get("occupancy", "0")) / 100)
            found.append(Count(one.get("id", ""), second, vehicles, occupancy, speed if vehicles and speed >= 0 else None))
        one.clear()
    return found
