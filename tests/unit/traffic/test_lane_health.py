"""Lanes of which what is reported cannot be used."""

from __future__ import annotations

import math

import pytest
from citybrain.traffic.v1 import area_control_pb2 as pb

from citybrain.services.traffic import lane_health
from citybrain.services.traffic.lane_health import LaneHealth, Reported

CYCLE_S = 70.0


def after(seconds: range, lane: pb.LaneTraffic, health: LaneHealth | None = None, green: bool = True) -> LaneHealth:
    """The lane after the same report in each of some seconds."""
    found = LaneHealth() if health is None else health
    for second in seconds:
        found = lane_health.reported(found, float(second), Reported.of(lane), green, CYCLE_S)
    return found


@pytest.mark.parametrize(
    "lane",
    [
        pb.LaneTraffic(waiting=-1),
        pb.LaneTraffic(coming=[0, -1]),
        pb.LaneTraffic(passed=-1),
        pb.LaneTraffic(waiting=61),
        pb.LaneTraffic(waiting=math.nan),
        pb.LaneTraffic(waiting=math.inf),
    ],
)
def test_fewer_than_none_and_more_than_have_room_are_absurd_at_once(lane: pb.LaneTraffic) -> None:
    assert after(range(1), lane).fault == pb.LANE_FAULT_ABSURD


def test_who_waits_with_green_for_two_cycles_and_does_not_move_is_not_believed() -> None:
    lane = pb.LaneTraffic(waiting=3)
    assert after(range(140), lane).is_seen
    assert after(range(142), lane).fault == pb.LANE_FAULT_STUCK
    # With red they have to wait; and an empty lane is empty.
    assert after(range(200), lane, green=False).is_seen
    assert after(range(200), pb.LaneTraffic()).is_seen


def test_a_camera_that_sees_nobody_while_vehicles_pass_is_not_believed() -> None:
    assert after(range(5), pb.LaneTraffic(passed=1)).is_seen
    assert after(range(6), pb.LaneTraffic(passed=1)).fault == pb.LANE_FAULT_STUCK


def test_a_lane_that_is_not_named_for_ten_seconds_is_silent() -> None:
    health = after(range(1), pb.LaneTraffic(waiting=1))
    assert lane_health.silent(health, 10.0).is_seen
    assert lane_health.silent(health, 10.5).fault == pb.LANE_FAULT_SILENT


def test_a_lane_counts_again_after_a_minute_without_fault() -> None:
    bad = after(range(1), pb.LaneTraffic(waiting=-1))
    good = pb.LaneTraffic(waiting=2, coming=[1])
    assert not after(range(1, 60), good, bad).is_seen
    assert after(range(1, 62), good, bad).is_seen
