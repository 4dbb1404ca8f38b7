"""The speed and the flow of a road, merged from what was measured on it. Pure.

The mean speed of a road is that of a drive along it: its length by the mean time. Vehicles that pass with v₁ and v₂ need the
mean of 1/v₁ and 1/v₂, so speeds are merged by the harmonic mean, weighted by how many vehicles each rests on:
`Σn / Σ(n/v)` (the space mean speed of Wardrop, 1952).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CRAWL_MPS = 0.5
"""A slower speed counts as this one: a road on which one vehicle stands is not without end."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What a detector has counted in a time: on which lanes, in how many seconds, and the speed of the vehicles if known."""

    lanes: Sequence[int]
    seconds: float
    vehicles: int
    speed_mps: float | None = None


def merged_speed(parts: Iterable[tuple[float, float]]) -> float | None:
    """The speed of groups of vehicles (speed in m/s, vehicles), in m/s; None: there are none.

    10 vehicles with 10 m/s and 10 with 5 m/s: 6.667 m/s.
    """
    vehicles = hours = 0.0
    for speed, number in parts:
        vehicles += number
        hours += number / max(speed, CRAWL_MPS)
    return vehicles / hours if vehicles else None


def merged(counted: Sequence[Passed], observed: tuple[float, int] | None) -> float | None:
    """The speed of a road in m/s, of what detectors counted and what was observed (mean speed, how often vehicles were seen).

    A vehicle may be observed many times, and is counted once. So what is observed weighs at most as much as what was counted.
    """
    parts = [(one.speed_mps, float(one.vehicles)) for one in counted if one.speed_mps is not None]
    by_detectors = sum(vehicles for _, vehicles in parts)
    if observed is not None:
        parts.append((observed[0], min(float(observed[1]), by_detectors) if by_detectors else float(observed[1])))
    return merged_speed(parts)


def flow(counted: Iterable[Passed]) -> tuple[float, int] | None:
    """Vehicles an hour, and over how many lanes; None: nothing is counted.

    Where several detectors cover a lane, their mean counts. One that covers several lanes gives each the same share.
    """
    by_lane: dict[int, list[float]] = {}
    for one in counted:
        for lane in one.lanes:
            by_lane.setdefault(lane, []).append(one.vehicles / len(one.lanes) * 3600 / one.seconds)
    if not by_lane:
        return None
    return sum(sum(each) / len(each) for each in by_lane.values()), len(by_lane)
