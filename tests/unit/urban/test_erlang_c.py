"""Erlang C and the staffing by it."""

from __future__ import annotations

import math

import pytest
from citybrain.urban.v1 import hotline_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.urban import erlang_c, staffing


def test_the_worked_values_hold() -> None:
    load = erlang_c.load(200, 180, 1800)
    assert load == 20
    assert erlang_c.p_wait(load, 25) == pytest.approx(0.2091, abs=5e-5)
    assert erlang_c.mean_wait_s(load, 25, 180) == pytest.approx(7.53, abs=0.005)
    levels = [100 * erlang_c.service_level(load, seats, 180, 20) for seats in (25, 24, 23)]
    assert levels == pytest.approx([88.0, 80.9, 70.2], abs=0.05)
    assert erlang_c.seats_needed(load, 180, 20, 0.8) == 24


def test_one_seat_is_a_queue_with_one_server_whose_wait_is_its_load() -> None:
    assert erlang_c.p_wait(0.5, 1) == pytest.approx(0.5)
    assert erlang_c.mean_wait_s(0.5, 1, 60) == pytest.approx(60)


def test_with_too_few_seats_everybody_waits_for_ever_and_without_calls_no_seat_is_needed() -> None:
    assert (erlang_c.p_wait(5, 5), erlang_c.service_level(5, 5, 180, 20)) == (1, 0)
    assert math.isinf(erlang_c.mean_wait_s(5, 4, 180))
    assert erlang_c.seats_needed(0, 180, 20, 0.8) == 0


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 500), st.floats(0.1, 0.99))
def test_the_seats_are_the_fewest_that_do(load: float, level: float) -> None:
    seats = erlang_c.seats_needed(load, 180, 20, level)
    assert erlang_c.service_level(load, seats, 180, 20) >= level
    assert erlang_c.service_level(load, seats - 1, 180, 20) < level


def test_a_count_that_is_far_too_high_is_answered_by_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seats are found in one run of the recursion: a wrong count keeps nobody waiting."""
    asked: list[int] = []
    wait = erlang_c.p_wait

    def counted(load: float, seats: int) -> float:
        asked.append(seats)
        return wait(load, seats)

    monkeypatch.setattr(erlang_c, "p_wait", counted)
    assert 3000 < erlang_c.seats_needed(3000, 180, 20, 0.8) < 3200
    assert len(asked) <= 1


DAY = 1_800_000_000_000_000


def test_a_day_is_planned_by_the_same_weekday_and_says_what_it_does_not_know() -> None:
    eight = staffing.half_hours(DAY)[16]
    week = 7 * 86_400 * 1_000_000
    counts = {eight - week: 220, eight - 3 * week: 180, eight - 5 * week: 9999, eight - week + 86_400_000_000: 9999}
    plan = staffing.plan(pb.PlanSeatsRequest(day=timestamp(DAY)), counts)
    known = [one for one in plan.half_hours if one.days]
    assert (len(plan.half_hours), plan.known, len(known)) == (48, 1, 1)
    assert (known[0].calls, known[0].days, known[0].seats) == (200, 2, 24)
    assert microseconds(known[0].start) == eight
    assert {one.seats for one in plan.half_hours if not one.days} == {0}


def test_a_day_begins_at_midnight_in_hangzhou() -> None:
    assert (staffing.half_hours(DAY)[0] // 1_000_000 + 8 * 3600) % 86_400 == 0
