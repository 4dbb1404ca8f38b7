"""The speed in free flow by GB/T 33171-2016: the mean of the top ninth of the mean speeds of intervals. Pure.

Intervals of at most 15 minutes, from 06:00 to 24:00, over at least 30 days; no higher than the limit of the road. Here they are
five minutes, and the speed that was published with the road is taken for its limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

DAYS = 30
"""So many days must have a value; 30 are enough."""
LOOKED_AT = 45
"""Days that are looked at: a road that is not measured on some of them has its 30 all the same."""
FROM_HOUR, TO_HOUR = 6, 24
"""An interval counts that begins at 06:00 or later, and before 24:00, in Hangzhou."""
NINTH = 9


@dataclass(slots=True)
class Speeds:
    """Mean speeds of intervals of a road: how often each was, in cm/s, and on which days."""

    often: dict[int, int] = field(default_factory=dict)
    days: set[int] = field(default_factory=set)

    def add(self, day: int, speeds: Iterable[int]) -> None:
        """Takes the intervals of a day in, in cm/s."""
        for speed in speeds:
            self.often[speed] = self.often.get(speed, 0) + 1
            self.days.add(day)

    @property
    def intervals(self) -> int:
        """How many there are."""
        return sum(self.often.values())


def free_speed(speeds: Speeds, limit_mps: float) -> float | None:
    """The speed in free flow in m/s; None: too few days."""
    if len(speeds.days) < DAYS:
        return None
    return min(limit_mps, top_ninth(speeds.often) / 100)


def top_ninth(often: Mapping[int, int]) -> float:
    """The mean of the highest ninth of values, of which it is known how often each is. Of 18 values the two highest count."""
    left = wanted = max(1, sum(often.values()) // NINTH)
    total = 0
    for value in sorted(often, reverse=True):
        taken = min(left, often[value])
        total += taken * value
        left -= taken
        if not left:
            break
    return total / wanted
