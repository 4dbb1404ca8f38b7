"""Standard normal deviate for incidents: how far a quantity is from what it was just before, in standard deviations. Pure.

C. L. Dudek, C. J. Messer and N. B. Nuckles, *Incident detection on urban freeways*, Transportation Research Record 495 (1974),
12-24: SND = (x − mean) / standard deviation of the intervals before. There x is the occupancy of one detector, and two values
in a row must be critical. Here three must be, and x is the number of vehicles between two detectors of a street, counted from
those that came in less those that went out: red at the end of a street moves occupancy, and vehicles that do not get on move
this number.

Counted since the beginning of the reference, the number drifts by what detectors miss. Over so short a time that is little, and
what is usual at a site is in its threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from statistics import mean, stdev

PERSISTENCE = 3
REFERENCE = 8
"""Intervals before: with blocks of 90 s twelve minutes."""
LEAST_DEVIATION = 2.0
"""Vehicles. A smaller deviation counts as this one: two vehicles more on an empty street are no incident."""
ON_THE_WAY = 0.85
"""The deviation is at least this share of what comes in in an interval: so many more may be on their way when one ends."""
LEAST = 0.5
"""The threshold is at least this."""
MARGIN = 0.1
"""The threshold is so much above what was usual."""


def deviate(value: float, before: Sequence[float], least: float = LEAST_DEVIATION) -> float:
    """The deviate of a value from those before. 14 after 8 10 12: mean 10, standard deviation 2, deviate 2."""
    return (value - mean(before)) / max(stdev(before), least)


def held(came_in: Sequence[float], went_out: Sequence[float]) -> float:
    """The least deviate of the last three intervals, each from the eight before these three. Vehicles of 11 intervals in a row.

    They are left out of the reference: otherwise the first moves what the others are compared with.
    """
    between = list(accumulate(a - b for a, b in zip(came_in, went_out, strict=True)))
    before = between[:REFERENCE]
    found = []
    for place in range(REFERENCE, len(between)):
        newest = mean(came_in[place - PERSISTENCE + 1 : place + 1])
        found.append(deviate(between[place], before, max(LEAST_DEVIATION, ON_THE_WAY * newest)))
    return min(found)
