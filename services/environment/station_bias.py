"""How far a station reads beside its neighbours, and whether its clock is off. Pure.

Of each hour in which the station and at least three neighbours have a mean, the difference to the median of the neighbours is
taken; the bias is the median of these differences. Medians, so that neither one neighbour that is wrong nor an hour of smoke
beside one station decides. The clock is compared by correlation: if the station's hours fit those of its neighbours much
better when they are moved, its clock is off by as much.

Which stations are neighbours, and from when on one is not believed, are proposals of this project.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

NEIGHBOURS_M = 10_000.0
"""Stations so near are neighbours, in metres; this much is near enough."""

FEWEST_NEIGHBOURS = 3
"""With two the middle of them is the mean, and one that is wrong decides."""

COVERED = 0.75
"""Hours with less are left out."""

FEWEST_HOURS = 24
FEWEST_HOURS_OF_CLOCK = 48

OFF_SHARE = 0.3
"""A station that reads more than this part of its neighbours' level beside them, and more than `OFF_LEAST`, is not believed."""

OFF_LEAST: Mapping[str, float] = {"PM2_5": 10, "PM10": 15, "SO2": 10, "NO2": 15, "CO": 0.3, "O3": 20}
"""In the unit of the quantity: so much two good stations of one quarter may differ."""

MOST_OFF_H = 12
FITS, BETTER = 0.4, 0.2
"""A clock is off when the moved changes correlate at least so much, and so much better than as they are."""

Hours = Mapping[int, float]
"""Number of the hour → mean."""


@dataclass(frozen=True, slots=True)
class Bias:
    """How far a station reads beside its neighbours, over so many hours.

    `level`: what they read in the middle. `clock_off_h`: 0: it is not.
    """

    bias: float
    level: float
    hours: int
    neighbours: tuple[str, ...]
    flagged: bool
    clock_off_h: int

    @property
    def relative(self) -> float:
        """The bias as a part of what the neighbours read."""
        return abs(self.bias) / self.level if self.level > 0 else 0.0


def biases(quantity: str, stations: Mapping[str, Hours], places: Mapping[str, tuple[float, float]]) -> dict[str, Bias]:
    """The bias of each station that has enough neighbours and hours. `places`: metres to the east and north of anywhere."""
    found = {}
    for station, mine in stations.items():
        near = tuple(sorted(one for one in stations if one != station and _apart(places[one], places[station]) <= NEIGHBOURS_M))
        middle = _middle([stations[one] for one in near])
        common = sorted(mine.keys() & middle.keys())
        if len(common) < FEWEST_HOURS:
            continue
        bias = statistics.median(mine[hour] - middle[hour] for hour in common)
        level = statistics.median(middle[hour] for hour in common)
        off = clock_off_h(mine, middle)
        flagged = off != 0 or abs(bias) > max(OFF_LEAST[quantity], OFF_SHARE * level)
        found[station] = Bias(round(bias, 4), round(level, 4), len(common), near, flagged, off)
    return found


def clock_off_h(mine: Hours, middle: Hours) -> int:
    """By how many hours a clock is ahead (above 0) or behind; 0: nothing says that it is."""
    fits = {move: _fit(mine, middle, move) for move in range(-MOST_OFF_H, MOST_OFF_H + 1)}
    as_it_is = fits[0] if fits[0] is not None else 0.0
    best = max((move for move in fits if fits[move] is not None), key=lambda move: (fits[move], -abs(move)), default=0)
    value = fits[best]
    return best if value is not None and value >= FITS and value >= as_it_is + BETTER else 0


def _fit(mine: Hours, middle: Hours, move: int) -> float | None:
    """How well the station's changes, moved back by so much, correlate with its neighbours'; None: that cannot be said."""
    there = {hour - move for hour in mine} & middle.keys()
    common = sorted(hour for hour in there if hour - 1 in there)
    if len(common) < FEWEST_HOURS_OF_CLOCK:
        return None
    one = np.array([mine[hour + move] - mine[hour + move - 1] for hour in common])
    other = np.array([middle[hour] - middle[hour - 1] for hour in common])
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _middle(stations: Sequence[Hours]) -> dict[int, float]:
    """The median of the stations in each hour in which enough of them have a mean."""
    by_hour: dict[int, list[float]] = {}
    for hours in stations:
        for hour, value in hours.items():
            by_hour.setdefault(hour, []).append(value)
    return {hour: statistics.median(values) for hour, values in by_hour.items() if len(values) >= FEWEST_NEIGHBOURS}


def _apart(one: tuple[float, float], other: tuple[float, float]) -> float:
    return float(np.hypot(one[0] - other[0], one[1] - other[1]))
