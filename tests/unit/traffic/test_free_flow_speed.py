"""Speeds in free flow, learnt from what was measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb

from citybrain.mesh.events import Heard, timestamp
from citybrain.services.traffic import free_speeds
from citybrain.services.traffic.detectors import WINDOW_US
from citybrain.services.traffic.free_flow_speed import Speeds, free_speed, top_ninth
from citybrain.services.traffic.free_speeds import HOUR_US, SLOTS, HourRow
from citybrain.services.traffic.street_network import Road

# An hour that begins at midnight in Hangzhou.
MIDNIGHT = 491_536 + 8 - (491_536 + 8 + 8) % 24
ROADS = {"a": Road("a", 500, 20.0, "xihu", ()), "b": Road("a", 500, 13.0, "xihu", ())}


def test_the_highest_ninth_counts() -> None:
    assert top_ninth({value: 1 for value in range(1, 19)}) == 17.5
    assert top_ninth({10: 16, 20: 2}) == 20
    assert top_ninth({10: 17, 20: 1}) == 15
    # Of 26 values two count, of 27 three.
    assert top_ninth({10: 24, 20: 2}) == 20 and top_ninth({10: 25, 20: 2}) == pytest.approx(50 / 3)
    assert top_ninth({7: 3}) == 7


def of_days(number: int, speed: int = 1500) -> Speeds:
    found = Speeds()
    for day in range(number):
        found.add(day, [speed] * 9)
    return found


def test_thirty_days_are_needed_and_the_limit_holds() -> None:
    assert free_speed(of_days(29), 20.0) is None
    assert free_speed(of_days(30), 20.0) == 15
    assert free_speed(of_days(30), 13.9) == 13.9


def heard(hour: int, window: int, *roads: pb.RoadState) -> Heard:
    begun: Any = {"from": timestamp(hour * HOUR_US + window * WINDOW_US)}
    stored: Any = None  # Nothing here reads what the store knows of it.
    return Heard(ev.StreetMeasured(part_id="a", roads=roads, **begun), stored)


def road(edge_id: str, speed: float | None, *, incomplete: bool = False) -> pb.RoadState:
    one = pb.RoadState(edge_id=edge_id, incomplete=incomplete)
    if speed is not None:
        one.speed_mps = speed
    return one


def test_the_hours_from_six_to_midnight_count() -> None:
    assert free_speeds.day_and_hour(MIDNIGHT)[1] == 0
    counting = [hour for hour in range(24) if free_speeds.hour_key(heard(MIDNIGHT + hour, 0)) is not None]
    assert counting == list(range(6, 24))


def test_an_hour_takes_the_place_of_one_46_days_ago_and_of_no_other() -> None:
    keys = {free_speeds.hour_key(heard(MIDNIGHT + 6 + 24 * day, 0)) for day in range(46)}
    assert len(keys) == 46
    assert free_speeds.hour_key(heard(MIDNIGHT + 6 + SLOTS, 0)) == free_speeds.hour_key(heard(MIDNIGHT + 6, 0))
    assert str(free_speeds.hour_key(heard(MIDNIGHT + 6, 0))).startswith(free_speeds.prefix("a"))
    row = free_speeds.hour(HourRow(MIDNIGHT, {"a": (1,) * 12}), heard(MIDNIGHT + SLOTS, 0, road("a", 9.0)))
    assert row == HourRow(MIDNIGHT + SLOTS, {"a": (900, *(-1,) * 11)})
    assert free_speeds.hour(row, heard(MIDNIGHT, 0, road("a", 5.0))) == row


def test_an_hour_has_what_was_wholly_measured_and_what_was_measured_anew_replaces_it() -> None:
    row = free_speeds.hour(None, heard(MIDNIGHT, 1, road("a", 9.0), road("b", 7.0, incomplete=True), road("c", None)))
    assert row == HourRow(MIDNIGHT, {"a": (-1, 900, *(-1,) * 10)})
    row = free_speeds.hour(row, heard(MIDNIGHT, 11, road("b", 0.0)))
    assert row == HourRow(MIDNIGHT, {"a": (-1, 900, *(-1,) * 10), "b": (*(-1,) * 11, 0)})
    again = free_speeds.hour(row, heard(MIDNIGHT, 1, road("a", 9.0, incomplete=True)))
    assert again is not None and again.speeds["a"] == (-1,) * 12


def hours(days: Iterable[int], **speeds: int) -> list[HourRow]:
    return [
        HourRow(MIDNIGHT + 24 * day + 8, {name: (speed,) * 9 + (-1,) * 3 for name, speed in speeds.items()}) for day in days
    ]


def learnt(rows: list[HourRow], day: int) -> ev.FreeSpeedsLearnt:
    found: free_speeds.Found = {}
    now = (MIDNIGHT + 24 * day + 3) * HOUR_US
    free_speeds.collect(found, rows, now)
    return free_speeds.learn("a", found, ROADS, now)


def test_what_is_learnt_says_what_it_rests_on() -> None:
    told = learnt([*hours(range(30), a=1234, gone=900), *hours(range(29), b=900)], 30)
    (one,) = told.roads
    assert (one.edge_id, one.speed_mps, one.days, one.intervals) == ("a", 12.34, 30, 270)
    assert (told.part_id, told.standard) == ("a", "GB/T 33171-2016, congestion-1")
    assert told.day.startswith("20") and len(told.day) == 10


def test_today_does_not_count_and_neither_do_days_more_than_45_days_ago() -> None:
    assert not learnt(hours(range(30), a=1234), 29).roads
    assert learnt(hours(range(30), a=1234), 45).roads
    assert not learnt(hours(range(30), a=1234), 46).roads


def test_what_was_told_is_not_told_again() -> None:
    told = learnt(hours(range(30), a=1234), 30)
    state = free_speeds.evolve(free_speeds.Learnt(), told)
    assert free_speeds.tell(free_speeds.Learnt(), told) == [told]
    assert free_speeds.tell(state, told) == []
    assert free_speeds.tell(state, learnt(hours(range(31), a=1234), 31)) != []


def test_roads_have_what_was_learnt_unless_what_was_published_since_is_lower() -> None:
    applied = free_speeds.applied(ROADS, {"a": (12.34, 30), "b": (15.0, 31), "gone": (9.0, 30)})
    assert (applied["a"].free_speed_mps, applied["a"].free_speed_days) == (12.34, 30)
    assert (applied["b"].free_speed_mps, applied["b"].free_speed_days) == (13, 31)
    assert set(applied) == {"a", "b"}
