"""Finds the lanes before a signal of which what is reported cannot be used: silent, stuck, absurd.

One lane at a time, from report to report. Seconds, vehicles.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from citybrain.traffic.v1.area_control_pb2 import (
    LANE_FAULT_ABSURD,
    LANE_FAULT_SILENT,
    LANE_FAULT_STUCK,
    LANE_FAULT_UNSPECIFIED,
    LaneFault,
    LaneTraffic,
)

SILENT_S = 10.0
"""A lane that is not reported for longer is not seen."""

MOST_VEHICLES = 60.0
"""More do not fit into 150 m of a lane: one each 2.5 m."""

STUCK_CYCLES = 2.0
"""Whoever waits with green for so many cycles of the plan, and does not move, is not there, or stands behind what blocks the
lane."""

STUCK_GREEN_S = 15.0
"""In that time the lane must have had green for so many seconds."""

BLIND_VEHICLES = 5.0
"""So many pass a lane of which never one was seen to come: its camera does not see them."""

TRUSTED_AFTER_S = 60.0
"""A lane that was not seen counts again when it was reported without fault for as long."""


class Reported(NamedTuple):
    """What is reported of a lane, read once: vehicles that wait, those under way by zone, those that passed."""

    waiting: float
    coming: tuple[float, ...]
    passed: float

    @classmethod
    def of(cls, lane: LaneTraffic) -> Reported:
        """As it was sent."""
        return cls(lane.waiting, tuple(lane.coming), lane.passed)


class LaneHealth(NamedTuple):
    """A lane. `fault`: what is wrong with it; `faulty_at`: when that was seen last."""

    fault: LaneFault = LANE_FAULT_UNSPECIFIED
    faulty_at: float = -math.inf
    reported_at: float = -math.inf
    waiting: float = 0.0
    since: float = -math.inf
    green_s: float = 0.0
    passed: float = 0.0

    @property
    def is_seen(self) -> bool:
        """Whether what is reported of it counts."""
        return self.fault == LANE_FAULT_UNSPECIFIED


def reported(
    health: LaneHealth,
    now: float,
    lane: Reported,
    green: bool,
    cycle_s: float,
    found: LaneFault = LANE_FAULT_UNSPECIFIED,
) -> LaneHealth:
    """The lane after a report. `green`: whether it has green; `cycle_s`: of the plan; `found`: what is wrong with its loops."""
    took_s = min(max(now - health.reported_at, 0.0), SILENT_S) if health.reported_at > -math.inf else 0.0
    waiting, coming, went = lane
    under_way = sum(coming)
    # What is no number is neither above nor below anything.
    possible = 0.0 <= waiting + under_way <= MOST_VEHICLES and waiting >= 0.0 and 0.0 <= went < math.inf
    absurd = not possible or (bool(coming) and min(coming) < 0.0)
    # A lane on which somebody is under way is neither stuck nor blind.
    moved = absurd or under_way > 0.0 or waiting != health.waiting or health.since == -math.inf
    since = now if moved else health.since
    green_s = 0.0 if moved else health.green_s + (took_s if green else 0.0)
    passed = 0.0 if moved or waiting else health.passed + went
    held = waiting > 0 and now - since >= STUCK_CYCLES * cycle_s and green_s >= STUCK_GREEN_S
    fault, faulty_at = health.fault, health.faulty_at
    if found:
        fault, faulty_at = found, now
    elif absurd:
        fault, faulty_at = LANE_FAULT_ABSURD, now
    elif held or passed >= BLIND_VEHICLES:
        fault, faulty_at = LANE_FAULT_STUCK, now
    elif fault and now - faulty_at >= TRUSTED_AFTER_S:
        fault = LANE_FAULT_UNSPECIFIED
    return LaneHealth(fault, faulty_at, now, waiting, since, green_s, passed)


def silent(health: LaneHealth, now: float) -> LaneHealth:
    """The lane when a report of its signal does not name it."""
    if now - health.reported_at <= SILENT_S:
        return health
    return health._replace(fault=LANE_FAULT_SILENT, faulty_at=now)
