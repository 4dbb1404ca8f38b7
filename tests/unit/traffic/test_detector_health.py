"""Which detectors are believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citybrain.services.traffic.detector_health import Beside, Interval, Wrong, fails, possible, whole, wrong

# What a detector says of a lane, minute by minute.
LIVELY = [[Interval(8 + (w + i) % 3, 0.1, 12.0 + i) for i in range(5)] for w in range(8)]


def same(vehicles: int = 7, occupancy: float = 0.1, speed: float | None = 11.0, windows: int = 8) -> list[list[Interval]]:
    return [[Interval(vehicles, occupancy, speed)] * 5 for _ in range(windows)]


def judged(windows: list[list[Interval]], *beside: list[list[Interval]], same_road: bool = True) -> Wrong | None:
    return wrong(windows, [Beside(whole(one, 1, 60), same_road) for one in beside], 1, 60)


@pytest.mark.parametrize(
    ("one", "is_possible"),
    [
        (Interval(0, 0.0), True),
        (Interval(51, 1.0, 60.0), True),  # 3000 an hour are 50 a minute, and one more
        (Interval(52, 0.5, 10.0), False),
        (Interval(-1, 0.1, 10.0), False),
        (Interval(5, -0.01, 10.0), False),
        (Interval(5, 1.01, 10.0), False),
        (Interval(5, 0.1, -0.1), False),
        (Interval(5, 0.1, 60.1), False),
    ],
)
def test_what_cannot_be_is_told_from_what_can(one: Interval, is_possible: bool) -> None:
    assert possible(one, 1, 60) is is_possible


def test_two_lanes_carry_twice_as_much() -> None:
    assert possible(Interval(102, 0.5), 2, 60) and not possible(Interval(103, 0.5), 2, 60)


def test_a_window_is_whole_with_four_of_five_intervals_and_silent_with_three() -> None:
    assert judged([*LIVELY[:-1], LIVELY[-1][:4]]) is None
    assert judged([*LIVELY[:-1], LIVELY[-1][:3]]) is Wrong.SILENT
    assert judged([[]]) is Wrong.SILENT


def test_a_detector_that_says_what_cannot_be_is_absurd_and_one_such_interval_is_done_without() -> None:
    bad = Interval(-4, 0.1, 10.0)
    assert judged([*LIVELY[:-1], [bad, bad, *LIVELY[-1][2:]]]) is Wrong.ABSURD
    assert judged([*LIVELY[:-1], [bad, *LIVELY[-1][1:]]]) is None


def test_a_detector_is_stuck_that_says_the_same_for_half_an_hour_while_others_do_not() -> None:
    assert judged(same(), LIVELY) is Wrong.STUCK
    assert judged(same(), LIVELY, same_road=False) is Wrong.STUCK
    assert judged(same(windows=5), LIVELY[:5]) is None
    assert judged([*same(windows=7), LIVELY[0]], LIVELY) is None


def test_where_nobody_changes_nobody_is_stuck() -> None:
    assert judged(same(), same(4)) is None
    assert judged(same()) is None


def test_a_zero_is_believed_unless_others_on_the_same_road_have_counted() -> None:
    nothing, few = same(0, 0.0, None), [[Interval(1, 0.01, 9.0)] + [Interval(0, 0.0)] * 4 for _ in range(8)]
    assert judged(nothing, LIVELY) is Wrong.STUCK
    assert judged(nothing, LIVELY, same_road=False) is None
    assert judged(nothing, few) is None


def test_thirty_vehicles_beside_a_zero_are_enough_and_29_are_not() -> None:
    def beside(last: int) -> list[list[Interval]]:
        return [*([[Interval(1, 0.01, 9.0)] * 5] * 5), [Interval(1, 0.01, 9.0)] * 4 + [Interval(last, 0.01, 9.0)]]

    nothing = same(0, 0.0, None, windows=6)
    assert judged(nothing, beside(1)) is Wrong.STUCK
    assert judged(nothing, beside(0)) is None


def counted(*vehicles: int) -> list[list[Interval]]:
    """Windows with so many vehicles each; the first interval has the rest."""
    return [[Interval(n - 4 * (n // 5), 0.1, 10.0 + w)] + [Interval(n // 5, 0.1, 10.0)] * 4 for w, n in enumerate(vehicles)]


USUAL = (50, 52, 48, 50, 51, 49)


@pytest.mark.parametrize(("last", "found"), [(200, Wrong.JUMP), (5, Wrong.JUMP), (150, None), (17, None), (60, None)])
def test_a_count_that_triples_alone_is_a_jump_and_so_is_a_third(last: int, found: Wrong | None) -> None:
    assert judged(counted(*USUAL, last), counted(*USUAL, 52)) is found


def test_a_jump_of_all_is_traffic() -> None:
    assert judged(counted(*USUAL, 200), counted(*USUAL, 120)) is None
    assert judged(counted(*USUAL, 5), counted(*USUAL, 20)) is None


def test_a_jump_is_found_although_others_move_the_other_way() -> None:
    assert judged(counted(*USUAL, 200), counted(*USUAL, 10)) is Wrong.JUMP


def test_nobody_jumps_alone_without_others_or_without_a_past() -> None:
    assert judged(counted(*USUAL, 200)) is None
    assert judged(counted(*USUAL[1:], 200), counted(*USUAL[1:], 50)) is None


def test_few_vehicles_more_are_no_jump_where_few_are_usual() -> None:
    assert judged(counted(1, 1, 1, 1, 1, 1, 6), counted(1, 1, 1, 1, 1, 1, 1)) is None
    assert judged(counted(1, 1, 1, 1, 1, 1, 8), counted(1, 1, 1, 1, 1, 1, 1)) is Wrong.JUMP


@given(st.lists(st.sampled_from([None, Wrong.SILENT]), min_size=2, max_size=30))
def test_a_verdict_changes_only_after_two_windows_in_a_row(said: list[Wrong | None]) -> None:
    failed, before = False, None
    for now in said:
        after = fails(failed, before, now)
        if after != failed:
            assert (before is None) == (now is None) == (not after)
        failed, before = after, now
