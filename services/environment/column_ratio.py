"""A station beside what satellites see of the air above it. Pure.

A satellite measures how much of something is in the whole column of air above a cell of the map, once or twice a day: that is
no concentration, and no index follows from it. But in one hour the part of the column that is near the ground is much the same
all over a city, because the weather is. So each station has in each hour a ratio of what it measures to what is seen above it;
that is divided by the median of the ratios of all other stations in that hour. The median of this over the hours says how many
times as much a station reads as the others do, in proportion to what is seen above each.

How many hours and stations are enough, and from which factor on a station is not believed, are proposals of this project.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

FEWEST_OTHERS = 3
"""With fewer other stations in an hour nothing is said of that hour."""

FEWEST_HOURS = 4
"""Of seven days, in which a satellite comes by seven times or more; clouds hide the rest."""

OFF = 2.0
"""Who reads more than so many times as much as others, or less than that part, is not believed; exactly so much is."""

Hours = Mapping[int, float]
"""Number of the hour → what was measured."""


@dataclass(frozen=True, slots=True)
class Beside:
    """How many times as much as others a station reads, in proportion to what is seen above each, over so many hours."""

    factor: float
    hours: int

    @property
    def off(self) -> bool:
        """Whether the station is not believed."""
        return not 1 / OFF <= self.factor <= OFF


def compared(ground: Mapping[str, Hours], above: Mapping[str, Hours]) -> dict[str, Beside]:
    """Each station that can be compared. `above`: by station, what is seen above it. Where nothing is seen nothing is said."""
    ratios: dict[int, dict[str, float]] = {}
    for station, measured in ground.items():
        for hour, seen in above.get(station, {}).items():
            if hour in measured and seen > 0:
                ratios.setdefault(hour, {})[station] = measured[hour] / seen
    found: dict[str, list[float]] = {}
    for by_station in ratios.values():
        for station, ratio in by_station.items():
            others = [other for name, other in by_station.items() if name != station]
            if len(others) >= FEWEST_OTHERS and (middle := statistics.median(others)) > 0:
                found.setdefault(station, []).append(ratio / middle)
    return {
        station: Beside(round(statistics.median(factors), 4), len(factors))
        for station, factors in sorted(found.items())
        if len(factors) >= FEWEST_HOURS
    }
