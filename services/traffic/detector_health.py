"""Which detectors can be believed: silent, stuck, absurd, or with a jump. Pure, over windows of five minutes.

The limits are a proposal of this project, version `VERSION`: no standard gives them. What a lane can carry is set well above
what is usual (about 2,000 vehicles an hour in dense traffic), so that a dense road is not taken for a detector that fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from statistics import median

VERSION = "detector-health-1"
WINDOW_S = 300
ENOUGH = 0.8
"""The share of the intervals of a window that must be there and possible; 0.8 is enough."""
LANE_PER_HOUR = 3000
"""No lane carries more vehicles an hour. One vehicle more is allowed in an interval: it may begin with one and end with one."""
FASTEST_MPS = 60.0
"""No mean speed is higher (216 km/h); this one can be."""
STUCK = 6
"""Windows in which a detector says the same: half an hour."""
NEIGHBOURS_COUNTED = 30
"""A detector that says zero is stuck when others on its road have counted so many in these windows."""
REFERENCE = 6
"""A jump is one against the median of so many windows before."""
FACTOR = 3.0
SIGMAS = 6.0
"""A count is a jump where it is more than three times the median, or less than a third, and further from it than six times its
square root: the standard deviation of a count of vehicles that come independently (Poisson)."""
MOVED = 1 / 3
"""Nobody beside it has moved the same way by more than this share of his own median."""
IN_A_ROW = 2
"""A detector fails when so many windows in a row are wrong, and is right again after so many that are not."""


class Wrong(IntEnum):
    """What is wrong. The numbers are those of `FailureReason`."""

    SILENT = 1
    STUCK = 2
    ABSURD = 3
    JUMP = 4


@dataclass(frozen=True, slots=True)
class Interval:
    """What was measured in one interval. `speed_mps` is None where no speed was measured."""

    vehicles: int
    occupancy: float
    speed_mps: float | None = None


Windows = Sequence[Sequence[Interval]]
"""The windows of a detector, the oldest first; the last one is judged."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A detector beside the one that is judged, on the same road or on the next one.

    Its windows end with the same one, and are as `whole` gives them.
    """

    windows: Windows
    same_road: bool


def possible(one: Interval, lanes: int, interval_s: int) -> bool:
    """Whether an interval can be what it says. Occupancy 0 and 1, and the highest count and speed, are possible."""
    most = lanes * (LANE_PER_HOUR * interval_s / 3600 + 1)
    speed = one.speed_mps is None or 0 <= one.speed_mps <= FASTEST_MPS
    return 0 <= one.vehicles <= most and 0 <= one.occupancy <= 1 and speed


def believed(window: Sequence[Interval], lanes: int, interval_s: int) -> list[Interval]:
    """The intervals of a window that are possible."""
    return [one for one in window if possible(one, lanes, interval_s)]


def whole(windows: Windows, lanes: int, interval_s: int) -> list[Sequence[Interval]]:
    """The windows with what is possible in them; those in which too little is, empty."""
    least = ENOUGH * WINDOW_S / interval_s
    found = [believed(window, lanes, interval_s) for window in windows]
    return [window if len(window) >= least else () for window in found]


def wrong(windows: Windows, beside: Sequence[Beside], lanes: int, interval_s: int) -> Wrong | None:
    """What is wrong with the last window; None: nothing."""
    known = whole(windows, lanes, interval_s)
    if not known[-1]:
        return Wrong.ABSURD if len(windows[-1]) >= ENOUGH * WINDOW_S / interval_s else Wrong.SILENT
    if _is_stuck(known, beside):
        return Wrong.STUCK
    return Wrong.JUMP if _has_jumped(known, beside) else None


def fails(failed: bool, before: Wrong | None, now: Wrong | None) -> bool:
    """Whether a detector fails, after it failed or not, with what was wrong in the last window and in this one."""
    if (before is None) == (now is None):
        return now is not None
    return failed


def _is_stuck(windows: Windows, beside: Sequence[Beside]) -> bool:
    newest = windows[-STUCK:]
    said = {one for window in newest for one in window}
    if len(newest) < STUCK or len(said) != 1 or not all(newest):
        return False
    (one,) = said
    if one.vehicles or one.occupancy:
        return any(len({each for window in other.windows[-STUCK:] for each in window}) > 1 for other in beside)
    # An empty road is usual at night. Only what passes on the same road must have passed here too.
    counted = (each.vehicles for other in beside if other.same_road for window in other.windows[-STUCK:] for each in window)
    return sum(counted) >= NEIGHBOURS_COUNTED


def _has_jumped(windows: Windows, beside: Sequence[Beside]) -> bool:
    found = _change(windows)
    if found is None:
        return False
    usual, now = found
    if abs(now - usual) <= SIGMAS * math.sqrt(max(usual, 1)) or usual / FACTOR <= now <= usual * FACTOR:
        return False
    others = [change for other in beside if (change := _change(other.windows)) is not None]
    way = 1 if now > usual else -1
    return bool(others) and all(way * (theirs - before) <= MOVED * before for before, theirs in others)


def _change(windows: Windows) -> tuple[float, int] | None:
    """The median of the counts before, and the count of the last window. None: too little is known."""
    newest = windows[-REFERENCE - 1 :]
    if len(newest) <= REFERENCE or not all(newest):
        return None
    counts = [sum(one.vehicles for one in window) for window in newest]
    return median(counts[:-1]), counts[-1]
