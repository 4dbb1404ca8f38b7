"""The two algorithms that find incidents, the pairs of detectors that they look at, and their thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

import pytest
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import incidents_pb2 as pb
from citybrain.traffic.v1 import street_pb2 as street
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.mesh.events import Heard, timestamp
from citybrain.services.traffic import california_7, incident_pairs, incident_thresholds, standard_normal_deviate, streets
from citybrain.services.traffic.california_7 import Found
from citybrain.services.traffic.detector_health import Interval
from citybrain.services.traffic.detectors import WINDOW_US
from citybrain.services.traffic.free_speeds import HOUR_US
from citybrain.services.traffic.incident_thresholds import LEAST, PER_FALSE_ALARM, PairHour, PairHoursRow, Usual
from citybrain.services.traffic.recent_readings import Recent
from tests.unit.traffic.measuring import START, detector
from tests.unit.traffic.pairs import PAIR, Watched, quiet

# -- California #7 ------------------------------------------------------------------------------------------------------------


def test_algorithm_7_compares_occupancy_before_and_behind_the_place() -> None:
    # OCCDF 0.45 0.50 0.30; OCCRDF 0.9 0.8333 0.75.
    found = california_7.held([0.5, 0.6, 0.4], [0.05, 0.1, 0.1])
    assert (found.difference, found.ratio, found.downstream) == pytest.approx((0.3, 0.75, 0.05))
    assert california_7.held([0.0, 0.2, 0.2], [0.0, 0.0, 0.0]) == Found(0.0, 0.0, 0.0), "nobody is there: no ratio"


def test_each_of_the_three_tests_of_algorithm_7_can_say_no_and_what_reaches_a_threshold_belongs_to_it() -> None:
    assert california_7.is_incident(Found(0.3, 0.3, 0.1), 0.3, 0.1)
    assert not california_7.is_incident(Found(0.299, 0.3, 0.1), 0.3, 0.1)
    assert not california_7.is_incident(Found(0.3, 0.299, 0.1), 0.3, 0.1)
    assert not california_7.is_incident(Found(0.3, 0.3, 0.101), 0.3, 0.1), "the queue comes from further on"


def test_one_interval_of_three_in_which_nothing_is_wrong_is_enough_to_find_nothing() -> None:
    assert california_7.held([0.6, 0.1, 0.6], [0.1, 0.1, 0.1]).difference == 0


# -- standard normal deviate --------------------------------------------------------------------------------------------------


def test_a_deviate_is_the_distance_from_the_mean_in_standard_deviations() -> None:
    assert standard_normal_deviate.deviate(14, [8, 10, 12]) == 2
    assert standard_normal_deviate.deviate(6, [8, 10, 12]) == -2
    assert standard_normal_deviate.deviate(14, [10, 10, 10]) == 2, "a smaller deviation counts as two vehicles"


def test_vehicles_that_come_in_and_do_not_go_out_deviate_for_as_long_as_they_do_not() -> None:
    steady, blocked = [5.0] * 11, [5.0] * 8 + [0.0] * 3
    assert standard_normal_deviate.held(steady, steady) == 0
    # Between the two are 5, 10 and 15 more, and the deviation counts as 0.85 · 5.
    assert standard_normal_deviate.held(steady, blocked) == pytest.approx(5 / 4.25)
    # With 2 in an interval it counts as 2: 1, 2 and 3.
    assert standard_normal_deviate.held([2.0] * 11, [2.0] * 8 + [0.0] * 3) == 1
    assert standard_normal_deviate.held(steady, [*blocked[:-1], 15.0]) == 0, "they are out again"
    assert standard_normal_deviate.held([5.0] * 8 + [0.0] * 3, [5.0] * 8 + [0.0] * 3) == 0, "nobody comes any more"


# -- pairs --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cycle", "interval", "block"), [(90, 30, 90), (90, 60, 120), (72, 30, 90), (10, 60, 60), (90, 300, 300), (0, 30, 30)]
)
def test_a_block_is_the_shortest_time_of_whole_intervals_that_holds_a_cycle(cycle: float, interval: int, block: int) -> None:
    assert incident_pairs.block_length(cycle, interval) == block


def test_a_pair_is_the_first_and_the_last_detector_of_the_same_lanes_that_report_as_often_and_stand_apart() -> None:
    def pairs(*some: tuple[str, list[int], float, int]) -> list[tuple[str, str]]:
        told = [detector(name, lanes=lanes, position_m=at, interval_s=interval) for name, lanes, at, interval in some]
        return [(one.upstream, one.downstream) for one in incident_pairs.on_road(Watched(*told).known, "a")]

    assert pairs(("x", [0], 400, 30), ("y", [0], 30, 30), ("z", [0], 200, 30)) == [("y", "x")]
    assert pairs(("x", [0], 400, 30), ("y", [1], 30, 30)) == [], "other lanes"
    assert pairs(("x", [0], 400, 30), ("y", [0], 30, 60)) == [], "another interval"
    assert pairs(("x", [0], 60, 30), ("y", [0], 30, 30)) == [("y", "x")]
    assert pairs(("x", [0], 59.9, 30), ("y", [0], 30, 30)) == [], "one vehicle covers both"
    assert pairs(("x", [1, 0], 400, 30), ("y", [0, 1], 30, 30)) == [("y", "x")]


def test_a_road_without_a_signal_whose_cycle_is_known_is_looked_at_for_two_minutes() -> None:
    one = Watched()
    one.known = replace(one.known, cycles={})
    (pair,) = incident_pairs.on_road(one.known, "a")
    assert pair.block_s == 120


def test_the_figures_of_a_window_are_what_held_in_three_blocks_that_end_in_it() -> None:
    one = Watched()
    for number in range(6):
        one.window(number, quiet(), quiet())
    figures = one.figures(5)
    assert (figures.upstream_detector_id, figures.downstream_detector_id, figures.block_s) == ("up", "dn", 90)
    assert (figures.occupancy_difference, figures.deviate) == (0, 0)
    assert (figures.vehicles_in, figures.vehicles_out) == (27, 27), "three of 90 s in which 3 pass in 30 s"
    # Nobody gets to the second detector any more; before the place vehicles stand.
    late = {second: (quiet(0, 0.0) if second >= 120 else quiet())[second] for second in quiet()}
    one.window(6, quiet(occupancy=0.7), late)
    assert round(one.figures(6).occupancy_difference, 3) == 0.6, "in the first of the three some passed"
    one.window(6, quiet(occupancy=0.7), quiet(0, 0.0))
    figures = one.figures(6)
    assert (round(figures.occupancy_difference, 3), figures.occupancy_ratio, figures.downstream_occupancy) == (0.7, 1, 0)
    assert figures.vehicles_out == 0 and figures.deviate > 1


def test_a_detector_between_the_two_says_nothing_of_a_pair() -> None:
    one = Watched(*PAIR, detector("between", position_m=200, interval_s=30))
    said = {"up": quiet(occupancy=0.3), "dn": quiet(), "between": quiet(occupancy=0.5)}
    for number in range(6):
        told = streets.measure(one.part, "a", one.known, START + number * WINDOW_US, said, {})
        one.part = reduce(streets.evolve, told, one.part)
    assert round(one.figures(5).occupancy_difference, 3) == 0.2


def test_before_enough_blocks_are_measured_nothing_is_said_of_the_deviate_and_then_of_nothing() -> None:
    one = Watched()
    one.window(0, quiet(), quiet())
    assert one.part.pairs[START].pairs[0].HasField("occupancy_difference")
    assert not one.part.pairs[START].pairs[0].HasField("deviate")
    one.window(1, quiet(), {})
    assert list(one.part.pairs[START + WINDOW_US].pairs) == [], "no block of three was measured at the second detector"


def test_detectors_whose_intervals_begin_between_whole_ones_are_a_pair_too() -> None:
    def shifted(seconds: int, occupancy: float = 0.1) -> Mapping[int, street.MeasuredInterval]:
        said = {}
        for second, each in quiet(occupancy=occupancy).items():
            said[second + seconds] = street.MeasuredInterval()
            said[second + seconds].CopyFrom(each)
            said[second + seconds].second = second + seconds
        return said

    one = Watched()
    for number in range(6):
        one.window(number, shifted(7, 0.3), shifted(29))
    assert round(one.figures(5).occupancy_difference, 3) == 0.2 and one.figures(5).HasField("deviate")
    # And where they are looked at each minute.
    recent, begin = Recent(), START // 1_000_000 // 90 * 90
    for name, seconds, occupancy in (("up", 7, 0.3), ("dn", 29, 0.1)):
        for begun in range(begin - 1800, begin, 30):
            recent.take(name, begun + seconds, Interval(3, occupancy))
    (figures,) = recent.figures(incident_pairs.of_part(one.known, "a"), one.known, set(), begin - 60)
    assert recent.figures(incident_pairs.of_part(one.known, "a"), one.known, {"dn"}, begin - 60) == [], "it fails"
    assert round(figures.occupancy_difference, 3) == 0.2 and figures.HasField("deviate")


def test_a_detector_that_fails_is_no_part_of_a_pair() -> None:
    one = Watched()
    for number in range(5):
        one.window(number, quiet(), quiet())
    assert one.part.pairs[START + 4 * WINDOW_US].pairs
    # An occupancy of 3 cannot be: the window is wrong at once.
    one.window(5, quiet(), quiet(occupancy=3.0))
    assert not one.part.pairs[START + 5 * WINDOW_US].pairs
    # One interval that cannot be is left out, and with it the blocks that need it.
    one.window(6, quiet(), quiet())
    one.window(7, quiet(), quiet())
    assert one.figures(7).HasField("occupancy_difference") and not one.figures(7).HasField("deviate")


def test_a_detector_that_is_right_again_is_believed_when_it_is_told_to_have_recovered() -> None:
    one = Watched()
    for number in range(5):
        one.window(number, quiet(), quiet())
    for number in (5, 6):
        one.window(number, quiet(), quiet(occupancy=3.0))
    one.window(7, quiet(), quiet())
    assert not one.part.pairs[START + 7 * WINDOW_US].pairs, "it fails still"
    one.window(8, quiet(), quiet())
    one.window(9, quiet(), quiet())
    assert one.part.pairs[START + 9 * WINDOW_US].pairs


def test_late_readings_change_the_figures_of_the_windows_that_look_back_on_them() -> None:
    one = Watched()
    for number in range(8):
        one.window(number, quiet(), quiet())
    before = {start: each.SerializeToString() for start, each in one.part.pairs.items()}
    told = one.window(5, {}, {0: quiet(9)[0]})
    changed = [each for each in told if isinstance(each, ev.PairsMeasured)]
    assert [(getattr(each, "from").ToMicroseconds() - START) // WINDOW_US for each in changed] == [5, 6, 7]
    assert all(each.SerializeToString() != before[getattr(each, "from").ToMicroseconds()] for each in changed)
    again = one.window(5, {}, {0: quiet(9)[0]})
    assert not [each for each in again if isinstance(each, ev.PairsMeasured)], "nothing is new"


# -- thresholds ---------------------------------------------------------------------------------------------------------------


def usual(number: int, difference: float = 0.02, deviate: float = 0.2) -> Usual:
    return Usual([Found(difference, 0.5, 0.05)] * number, [deviate] * number)


def test_a_pair_has_thresholds_when_a_day_of_it_was_measured() -> None:
    assert incident_thresholds.thresholds(usual(LEAST - 1)) is None
    assert incident_thresholds.thresholds(usual(LEAST)) == (0.1, 0.1, 0.5), "no threshold is below its least"


def test_thresholds_are_above_what_was_usual() -> None:
    one = usual(LEAST, 0.2, 4.0)
    assert incident_thresholds.thresholds(one) == pytest.approx((0.25, 0.1, 4.1))
    one.deviates[7], one.found[7] = 6.0, Found(0.4, 0.5, 0.05)
    assert incident_thresholds.thresholds(one) == pytest.approx((0.45, 0.1, 6.1))


def test_what_another_test_says_no_to_raises_no_threshold() -> None:
    one = usual(LEAST)
    one.found[0], one.found[1] = Found(0.8, 0.29, 0.05), Found(0.8, 0.5, 0.9)
    assert incident_thresholds.thresholds(one) == (0.1, 0.1, 0.5)


def test_the_occupancy_downstream_may_be_what_it_is_in_95_of_100_windows() -> None:
    found = [Found(0.0, 0.0, 0.001 * n) for n in range(1001)]
    assert incident_thresholds.thresholds(Usual(found, [0.0] * 1001)) == pytest.approx((0.1, 0.95, 0.5))


def test_in_ten_days_one_window_may_reach_a_threshold() -> None:
    values = [0.0] * (PER_FALSE_ALARM - 1)
    values[5] = 9.0
    assert incident_thresholds.seldom_reached(values, len(values)) == 9
    assert incident_thresholds.seldom_reached([*values, 0.0], PER_FALSE_ALARM) == 0
    assert incident_thresholds.seldom_reached([9.0], PER_FALSE_ALARM) == 9, "of which only one is looked at"


@given(st.lists(st.floats(0, 20), min_size=LEAST, max_size=LEAST + 20))
@settings(max_examples=20, deadline=None)
def test_nothing_that_was_learnt_from_less_than_ten_days_would_have_been_found(deviates: list[float]) -> None:
    found = incident_thresholds.thresholds(Usual([Found(0, 0, 0)] * len(deviates), deviates))
    assert found is not None and found[2] > max(deviates)


def _row(hour: int, *windows: tuple[int, int, int, int] | None) -> PairHoursRow:
    return PairHoursRow(hour, (PairHour("a", "up", "dn", 90, windows + (None,) * (12 - len(windows))),))


def test_hours_are_learnt_from_but_for_windows_in_which_an_incident_was_confirmed() -> None:
    now, one = 1000 * HOUR_US, (1000, 5000, 500, 12_500)
    found: dict[incident_thresholds.Named, Usual] = {}
    # The first hour of a fortnight belongs to it.
    rows = [_row(999, one, None, one, one), _row(999 - 24 * 14, one), _row(1000, one), _row(1000 - 24 * 14, one)]
    begun = 999 * HOUR_US + 2 * WINDOW_US
    incident_thresholds.collect(found, rows, now, {"a": [(begun, begun + 1)], "b": [(0, now)]})
    (only,) = found.values()
    assert (only.deviates, only.found) == ([1.25] * 3, [Found(0.1, 0.5, 0.05)] * 3)
    # An incident that ends where a window begins, or begins where it ends, is not in it.
    found = {}
    first = 999 * HOUR_US
    incident_thresholds.collect(found, [_row(999, one)], now, {"a": [(first - 5, first), (first + WINDOW_US, now)]})
    assert found["a", "up", "dn", 90].deviates == [1.25]


def _heard(number: int, deviate: float | None, revision: str = "") -> Heard:
    start = START - START % HOUR_US + number * WINDOW_US
    figures = pb.PairFigures(edge_id="a", upstream_detector_id="up", downstream_detector_id="dn", block_s=90)
    figures.occupancy_difference = 0.1
    if deviate is not None:
        figures.deviate = deviate
    stored: object = None
    window = {"from": timestamp(start), "to": timestamp(start + WINDOW_US)}
    return Heard(ev.PairsMeasured(part_id="a", pairs=[figures], version=revision, **window), stored)  # type: ignore[arg-type]


def test_an_hour_keeps_each_window_as_it_was_measured_last_and_an_older_hour_takes_no_place() -> None:
    row = incident_thresholds.hour(None, _heard(0, 1.0))
    row = incident_thresholds.hour(row, _heard(3, 2.0))
    row = incident_thresholds.hour(row, _heard(0, 3.0))
    assert row is not None
    ((_, deviates),) = [(one, [each and each[3] for each in one.windows]) for one in row.pairs]
    assert deviates == [30_000, None, None, 20_000, *[None] * 8]
    assert incident_thresholds.hour(row, _heard(-12 * incident_thresholds.SLOTS, 5.0)) is row
    assert incident_thresholds.hour_key(_heard(0, 1.0)) == incident_thresholds.hour_key(_heard(11, 1.0))
    assert incident_thresholds.hour_key(_heard(0, 1.0)) != incident_thresholds.hour_key(_heard(12, 1.0))
    row = incident_thresholds.hour(row, _heard(3, None))
    assert row is not None and row.pairs[0].windows[3] is None, "it is not wholly measured any more"
    nothing = _heard(0, 1.0)
    del nothing.data.pairs[:]  # type: ignore[attr-defined]
    row = incident_thresholds.hour(row, nothing)
    assert row is not None and row.pairs[0].windows[0] is None, "nor does anything of it come"


def test_an_hour_that_takes_the_place_of_an_older_one_has_nothing_of_it() -> None:
    row = incident_thresholds.hour(None, _heard(0, 1.0))
    row = incident_thresholds.hour(row, _heard(12 * incident_thresholds.SLOTS + 3, 2.0))
    assert row is not None and [one is not None for one in row.pairs[0].windows] == [False] * 3 + [True] + [False] * 8


def test_learnt_thresholds_name_the_pairs_of_which_too_little_was_measured_and_are_told_once() -> None:
    known = {("a", "up", "dn", 90): usual(LEAST), ("b", "up", "dn", 90): usual(3)}
    told = incident_thresholds.learn("a", known, START)
    assert ([one.edge_id for one in told.pairs], told.pairs[0].windows, told.too_little) == (["a"], LEAST, 1)
    assert told.version == incident_pairs.VERSION and math.isclose(told.pairs[0].occupancy_ratio, 0.3)
    state = incident_thresholds.Calibrated()
    (event,) = incident_thresholds.tell(state, told)
    assert incident_thresholds.tell(incident_thresholds.evolve(state, event), told) == []
