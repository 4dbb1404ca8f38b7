"""Who waits and who comes on a lane, worked out from two loops: one before the stop line, one further up.

The input–output method: who came over the entry loop and has not passed the line loop is between them (Sharma, Bullock and
Bonneson, Input–output and hybrid techniques for real-time prediction of delay and maximum queue length at signalized
intersections, Transportation Research Record 2035, 2007). Each drives at the speed of free flow until it is behind those who
wait. Counts drift, since vehicles change lanes and loops miss some; so the loops correct them while they are covered or free.
Seconds, metres, vehicles.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from citybrain.traffic.v1.area_control_pb2 import (
    LANE_FAULT_ABSURD,
    LANE_FAULT_STUCK,
    LANE_FAULT_UNSPECIFIED,
    LaneFault,
    LaneTraffic,
)

from citybrain.services.traffic.lane_health import STUCK_CYCLES, STUCK_GREEN_S, Reported
from citybrain.services.traffic.stages import ZONE_M, ZONES

VEHICLE_M = 7.5
"""What a vehicle that waits takes of a lane, with the gap before it."""

FREE_S = 4.0
"""When the line loop has been free for so long, nobody stands before the line."""

LATE_S = 6.0
"""A vehicle that should have come so long ago has left the lane unseen, if nobody stands before the line."""

STANDS_S = 3.0
"""When a loop has been covered for so long, a vehicle stands on it."""

MOST_PER_S = 1.0
"""No loop counts more vehicles a second, after the first."""

UNCOUNTED = 10.0
"""So many pass one loop, and none the other: the other counts nothing. Some change lanes between the loops."""

_COVERED = 0.95
_FREE = 0.05


@dataclass(slots=True)
class _Loop:
    """For how long a loop has been covered or free without a break, and what green the lane had while it was covered."""

    covered_s: float = 0.0
    free_s: float = 0.0
    green_s: float = 0.0

    def look(self, covered: float, took_s: float, green: bool) -> None:
        self.free_s = self.free_s + took_s if covered <= _FREE else 0.0
        if covered < _COVERED:
            self.covered_s = self.green_s = 0.0
            return
        self.covered_s += took_s
        self.green_s += took_s if green else 0.0

    def is_stuck(self, cycle_s: float) -> bool:
        return self.covered_s >= STUCK_CYCLES * cycle_s and self.green_s >= STUCK_GREEN_S


@dataclass(slots=True)
class LoopQueue:
    """A lane. `look` with each report; `now` must not go back."""

    speed_mps: float
    """Of free flow."""
    fault: LaneFault = LANE_FAULT_UNSPECIFIED
    """What is wrong with the loops by this report."""
    # Who is between the loops, the first one first: the moment at which each reaches the line in free flow, and how many.
    _between: deque[tuple[float, float]] = field(default_factory=deque)
    _line: _Loop = field(default_factory=_Loop)
    _entry: _Loop = field(default_factory=_Loop)
    _at: float = -math.inf
    # Who came over one loop since the other one counted last, and the green in which nobody passed the line.
    _entered: float = 0.0
    _passed: float = 0.0
    _green_s: float = 0.0

    def look(self, now: float, lane: LaneTraffic, green: bool, cycle_s: float) -> Reported:
        """Takes a report in, and gives what a camera would have reported. `cycle_s`: of the plan."""
        loops = lane.loops
        # What came before the first report is taken for what came in a second.
        took_s = min(max(now - self._at, 0.0), cycle_s) if self._at > -math.inf else 1.0
        self._at = now
        counts = (loops.entered, lane.passed)
        covers = (loops.line_covered, loops.entry_covered)
        if not (all(0.0 <= n <= 1.0 + MOST_PER_S * took_s for n in counts) and all(0.0 <= c <= 1.0 for c in covers)):
            self.fault = LANE_FAULT_ABSURD
            return Reported(0.0, (), 0.0)
        self._line.look(loops.line_covered, took_s, green)
        self._entry.look(loops.entry_covered, took_s, green)
        self.fault = self._found(loops.entered, lane.passed, took_s if green else 0.0, cycle_s)
        self._leave(lane.passed)
        if loops.entered:
            self._between.append((now + loops.entry_m / self.speed_mps, loops.entered))
        self._correct(now, loops.entry_m)
        waiting, coming = self._stand(now)
        return Reported(waiting, coming, lane.passed)

    def _found(self, entered: float, passed: float, green_s: float, cycle_s: float) -> LaneFault:
        self._entered = 0.0 if passed else self._entered + entered
        self._green_s = 0.0 if passed else self._green_s + green_s
        self._passed = 0.0 if entered else self._passed + passed
        nobody_leaves = self._entered >= UNCOUNTED and self._green_s >= STUCK_CYCLES * STUCK_GREEN_S
        nobody_comes = self._passed >= UNCOUNTED
        stuck = self._line.is_stuck(cycle_s) or self._entry.is_stuck(cycle_s)
        return LANE_FAULT_STUCK if nobody_leaves or nobody_comes or stuck else LANE_FAULT_UNSPECIFIED

    def _leave(self, passed: float) -> None:
        while passed > 0.0 and self._between:
            due, number = self._between.popleft()
            if number > passed:
                self._between.appendleft((due, number - passed))
            passed -= number

    def _correct(self, now: float, entry_m: float) -> None:
        if self._line.free_s >= FREE_S:
            while self._between and self._between[0][0] <= now - LATE_S:
                self._between.popleft()
        waiting, _ = self._stand(now)
        least = 1.0 if self._line.covered_s >= STANDS_S else 0.0
        if self._entry.covered_s >= STANDS_S:
            least = entry_m / VEHICLE_M
        if waiting < least:
            self._between.appendleft((now, least - waiting))
        most, between = entry_m / VEHICLE_M + 1.0, sum(number for _, number in self._between)
        self._leave(between - most)

    def _stand(self, now: float) -> tuple[float, tuple[float, ...]]:
        waiting, coming = 0.0, [0.0] * ZONES
        for due, number in self._between:
            metres = (due - now) * self.speed_mps
            if metres <= waiting * VEHICLE_M:
                waiting += number
            else:
                coming[min(int(metres / ZONE_M), ZONES - 1)] += number
        return waiting, tuple(coming)
