"""What a stage brings, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citybrain.services.traffic import conflicts
from citybrain.services.traffic.discharge import Claim, Seen, claim, cleared
from citybrain.services.traffic.junction_model import JunctionModel
from citybrain.services.traffic.stages import stage
from tests.unit.traffic.junction import with_lanes
from tests.unit.traffic.signals import EPOCH, crossing, make

# Seconds to the stop line from the middle of each 25 m, at 12.5 m/s.
ARRIVE_S = (1.0, 3.0, 5.0, 7.0, 9.0, 11.0)


def test_a_queue_is_cleared_after_the_change_with_one_vehicle_in_two_seconds() -> None:
    assert cleared(Seen(4.0), ARRIVE_S, 0.5, 0.0) == (4.0, 8.0)
    assert cleared(Seen(4.0), ARRIVE_S, 0.5, 5.0) == (4.0, 13.0)
    assert cleared(Seen(4.0), ARRIVE_S, 0.25, 5.0) == (4.0, 21.0)


def test_who_comes_before_the_queue_is_gone_or_right_after_it_is_cleared_with_it_and_who_comes_later_is_not() -> None:
    # The queue is gone after 4 s; one comes after 5 s and is over the line at 7, the next at 9 in time for a gap of 2 s.
    assert cleared(Seen(2.0, (0, 0, 1.0, 0, 1.0, 0)), ARRIVE_S, 0.5, 0.0) == (4.0, 11.0)
    assert cleared(Seen(0.0, (0, 0, 0, 0, 1.0, 0)), ARRIVE_S, 0.5, 0.0) == (0.0, 0.0)
    assert cleared(Seen(1.0, (0, 0, 0, 1.0)), ARRIVE_S, 0.5, 0.0) == (1.0, 2.0)


def test_a_stage_ends_when_the_lane_is_clear_that_makes_it_worth_most() -> None:
    serves, arrive = {"a": 0.5, "b": 0.5}, {"a": ARRIVE_S, "b": ARRIVE_S}
    # Within 13 s the four of a, and four of the twenty of b: 0.62 a second. To clear b takes 45 s, for 0.53 a second.
    assert claim(serves, {"a": Seen(4.0), "b": Seen(20.0)}, arrive, 5.0) == Claim(8.0, 13.0)
    assert claim(serves, {"a": Seen(1.0), "b": Seen(10.0)}, arrive, 5.0) == Claim(11.0, 25.0)
    assert claim(serves, {"b": Seen(0.0)}, arrive, 5.0) == Claim()
    assert claim(serves, {"c": Seen(9.0)}, arrive, 5.0).rate == 0.0


@given(a=st.integers(0, 20), b=st.integers(0, 20), more=st.integers(1, 10), setup=st.sampled_from([0.0, 5.0]))
def test_a_stage_for_which_more_wait_is_never_worth_less(a: int, b: int, more: int, setup: float) -> None:
    serves, arrive = {"a": 0.5, "b": 0.3}, {"a": ARRIVE_S, "b": ARRIVE_S}
    few = claim(serves, {"a": Seen(float(a)), "b": Seen(float(b))}, arrive, setup)
    many = claim(serves, {"a": Seen(float(a + more)), "b": Seen(float(b))}, arrive, setup)
    assert many.rate >= few.rate - 1e-9


def test_a_lane_shared_by_turns_a_yielding_green_and_a_change_cost_what_the_plan_says() -> None:
    signal = make(
        "x",
        [(0, "w", "e"), (1, "w", "n"), (2, "s", "n")],
        [(0, 2), (1, 2)],
        [("GGr", 20), ("Grr", 10), ("ggr", 9), ("yyr", 4), ("rrr", 1), ("rrG", 20), ("rry", 3), ("rrr", 2)],
    )
    staged = stage(conflicts.prepare(with_lanes(signal, {0: "w_0", 1: "w_0", 2: "s_0"})), {"w": 12.5})
    assert [(s.phase, dict(s.serves)) for s in staged.stages] == [
        (0, {"w_0": 0.5}),
        (1, {"w_0": pytest.approx(0.175)}),
        (2, {"w_0": pytest.approx(0.3)}),
        (5, {"s_0": 0.5}),
    ]
    assert (staged.clearance.yellow_s, staged.clearance.all_red_s, staged.change_s) == (4.0, 2.0, 6.0)
    assert staged.arrive_s["w_0"] == ARRIVE_S
    assert staged.unseen == frozenset()


def model() -> JunctionModel:
    return JunctionModel(stage(conflicts.prepare(with_lanes(crossing())), {}))


def test_the_model_lets_the_same_vehicles_wait_under_what_is_shown_and_under_the_plan() -> None:
    junction = model()
    # 40 s into the cycle the plan shows "rrG"; shown is "Grr". Ten wait from the south, and nobody comes.
    for second in range(41):
        queue = {"x-south_2": Seen(10.0), "west_0": Seen(0.0), "west_1": Seen(0.0)}
        junction.look(EPOCH + 741.0 + second, "Grr", queue, {})
    waiting = junction.waiting()
    assert waiting.window_s == 40
    assert waiting.shown_s == waiting.seen_s == 400
    # By the plan one leaves each two seconds, from 10 on: 9.5 + 9 + … + 0.5.
    assert waiting.plan_s == pytest.approx(95.0)


def test_a_vehicle_that_changes_lanes_comes_once() -> None:
    junction = model()
    seen = {"west_0": Seen(0.0), "west_1": Seen(0.0), "x-south_2": Seen(0.0)}
    junction.look(EPOCH + 1.0, "rrr", seen, {})
    junction.look(EPOCH + 2.0, "rrr", seen | {"west_0": Seen(0.0, (1.0,))}, {})
    for second in range(3, 30):
        # It goes to and fro between two lanes, and never passes the line.
        other = {"west_0": Seen(float(second % 2)), "west_1": Seen(float((second + 1) % 2))}
        junction.look(EPOCH + float(second), "rrr", seen | other, {})
    assert junction.waiting().shown_s < 2 * 30


def test_after_a_gap_in_the_reports_the_model_begins_anew() -> None:
    junction = model()
    junction.look(EPOCH + 1.0, "rrr", {"west_0": Seen(3.0)}, {})
    junction.look(EPOCH + 2.0, "rrr", {"west_0": Seen(3.0)}, {})
    assert junction.waiting().window_s == 1
    junction.look(EPOCH + 13.0, "rrr", {"west_0": Seen(3.0)}, {})
    assert junction.waiting().window_s == 0
