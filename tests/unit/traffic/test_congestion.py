"""Levels of congestion, and the speed that they rest on."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citybrain.services.traffic.congestion import HELD, Level, assessed, level_of, of_area, step, trend
from citybrain.services.traffic.road_speed import Passed, flow, merged, merged_speed


@pytest.mark.parametrize(
    ("ratio", "level"),
    [
        (1.0, Level.SMOOTH), (0.7001, Level.SMOOTH), (0.70, Level.BASICALLY_SMOOTH), (0.5001, Level.BASICALLY_SMOOTH),
        (0.50, Level.LIGHT), (0.4001, Level.LIGHT), (0.40, Level.MODERATE), (0.3001, Level.MODERATE), (0.30, Level.SEVERE),
        (0.0, Level.SEVERE),
    ],
)  # fmt: skip
def test_a_border_of_the_table_belongs_to_the_worse_level(ratio: float, level: Level) -> None:
    assert level_of(ratio) is level


def test_a_level_is_changed_by_two_windows_in_a_row() -> None:
    assert step(Level.SMOOTH, 0.9, 0.2) is Level.SMOOTH
    assert step(Level.SMOOTH, 0.2, 0.2) is Level.SEVERE
    assert step(Level.NEVER, 0.45, 0.2) is Level.LIGHT
    assert step(Level.NEVER, 0.9, 0.9) is Level.NEVER
    assert step(Level.SEVERE, 0.9, 0.9) is Level.SMOOTH
    assert step(Level.SEVERE, 0.9, 0.45) is Level.LIGHT
    assert step(Level.SEVERE, 0.2, 0.9) is Level.SEVERE


def test_a_level_is_left_for_a_better_one_beyond_its_border_only() -> None:
    assert step(Level.LIGHT, 0.51, 0.52) is Level.LIGHT
    assert step(Level.LIGHT, 0.521, 0.521) is Level.BASICALLY_SMOOTH


def test_it_is_unknown_after_two_windows_without_a_ratio_and_known_after_two_with() -> None:
    assert step(Level.LIGHT, 0.4, None) is Level.LIGHT
    assert step(Level.LIGHT, None, None) is Level.UNKNOWN
    assert step(Level.NEVER, None, None) is Level.NEVER
    assert step(Level.UNKNOWN, None, 0.9) is Level.UNKNOWN
    assert step(Level.UNKNOWN, 0.35, 0.9) is Level.MODERATE


@given(st.floats(0.31, 0.69), st.lists(st.floats(-0.009, 0.009), max_size=40), st.sampled_from(list(Level)[2:]))
def test_what_swings_about_a_border_changes_a_level_once_at_most(middle: float, swings: list[float], level: Level) -> None:
    levels = [level]
    for before, now in itertools.pairwise(swings):
        levels.append(step(levels[-1], middle + before, middle + now))
    changes = [one for one, other in itertools.pairwise(levels) if one != other]
    # From far away it may come by one level that is between.
    assert len(changes) <= 2
    assert len(set(levels)) == len(changes) + 1


def test_while_something_is_missing_a_road_is_never_better_than_it_was() -> None:
    assert assessed(0.9, True, 0.2, 3) == (0.9, 0)
    assert assessed(0.9, False, 0.2, 0) == (0.2, 1)
    assert assessed(0.1, False, 0.2, 4) == (0.1, 5)
    assert assessed(None, False, 0.2, 0) == (0.2, 1)
    assert assessed(0.6, False, None, 0) == (0.6, 1)


def test_after_an_hour_of_that_nothing_is_known() -> None:
    assert assessed(0.9, False, 0.2, HELD - 1) == (0.2, HELD)
    assert assessed(0.9, False, 0.2, HELD) == (None, HELD + 1)


def test_roads_weigh_by_their_length_in_an_area() -> None:
    ratio, known, total = of_area([(2000, 0.8), (1000, 0.2)])
    assert ratio == pytest.approx(0.6) and (known, total) == (3000, 3000)


def test_an_area_is_known_where_half_of_its_length_is() -> None:
    assert of_area([(1000, 0.8), (1000, None)]) == (0.8, 1000, 2000)
    assert of_area([(1000, 0.8), (1001, None)]) == (None, 1000, 2001)
    assert of_area([]) == (None, 0, 0)


def test_the_trend_is_against_the_half_hour_before() -> None:
    assert trend([0.2, 0.2, 0.2], 0.3) == 3
    assert trend([0.2, 0.2, 0.2], 0.1) == 1
    assert trend([0.2, 0.2, 0.2], 0.25) == 2
    assert trend([0.2, 0.2], 0.3) == 0
    assert trend([0.2, None, 0.2], 0.3) == 0
    assert trend([0.2, 0.2, 0.2], None) == 0
    # What is more than six windows ago does not count.
    assert trend([9.0, *[0.2] * 6], 0.2) == 2


def test_speeds_are_merged_by_the_time_that_vehicles_need() -> None:
    assert merged_speed([(10, 10), (5, 10)]) == pytest.approx(6.6667, abs=1e-4)
    assert merged_speed([(10, 30), (5, 10)]) == pytest.approx(8.0)
    assert merged_speed([]) is None
    assert merged_speed([(0, 4)]) == 0.5


def test_what_is_observed_weighs_at_most_as_much_as_what_was_counted() -> None:
    counted = [Passed((0,), 300, 20, 10.0)]
    assert merged(counted, (5.0, 1000)) == pytest.approx(6.6667, abs=1e-4)
    assert merged(counted, (5.0, 5)) == pytest.approx(25 / 3)
    assert merged([], (5.0, 1000)) == 5
    assert merged([Passed((0,), 300, 20)], (5.0, 7)) == 5
    assert merged([Passed((0,), 300, 20)], None) is None


def test_the_flow_is_the_sum_over_lanes_and_the_mean_where_several_count_one_lane() -> None:
    assert flow([Passed((0,), 300, 50), Passed((1,), 300, 25)]) == (900, 2)
    assert flow([Passed((0,), 300, 50), Passed((0,), 300, 30)]) == (480, 1)
    assert flow([Passed((0, 1), 300, 50), Passed((0,), 240, 20)]) == (600, 2)
    assert flow([]) is None
