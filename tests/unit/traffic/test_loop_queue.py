"""Who waits and who comes on a lane, worked out from two loops."""

from __future__ import annotations

import math

import pytest
from citybrain.traffic.v1 import area_control_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from citybrain.services.traffic.lane_health import Reported
from citybrain.services.traffic.loop_queue import LoopQueue

CYCLE_S = 70.0
ENTRY_M = 75.0


class Lane:
    """A lane with loops 75 m apart, on which 15 m/s are driven: five seconds from one to the other."""

    def __init__(self) -> None:
        self.queue, self.now = LoopQueue(15.0), 0.0

    def second(
        self, entered: float = 0, passed: float = 0, line: float = 0.0, entry: float = 0.0, green: bool = False
    ) -> Reported:
        """What is made of a second."""
        loops = pb.LaneLoops(entry_m=ENTRY_M, entered=entered, line_covered=line, entry_covered=entry)
        self.now += 1
        return self.queue.look(self.now, pb.LaneTraffic(passed=passed, loops=loops), green, CYCLE_S)

    def seconds(self, number: int, **counted: float | bool) -> Reported:
        """What is made of the last one of some seconds that are alike."""
        found = Reported(0.0, (), 0.0)
        for _ in range(number):
            found = self.second(**counted)  # type: ignore[arg-type]
        return found

    def platoon(self, number: int) -> Reported:
        """So many come, one each second."""
        return self.seconds(number, entered=1)


def test_who_came_over_the_entry_loop_drives_at_free_flow_and_then_waits_behind_those_who_stand() -> None:
    lane = Lane()
    assert lane.second(entered=1) == (0, (0, 0, 0, 1, 0, 0), 0)
    assert lane.seconds(2) == (0, (0, 1, 0, 0, 0, 0), 0)
    assert lane.seconds(3, line=1) == (1, (0, 0, 0, 0, 0, 0), 0)
    # Four more: each stops 7.5 m behind the one before it, and so waits the sooner.
    lane.platoon(4)
    assert [lane.second(line=1).waiting for _ in range(4)] == [1, 3, 5, 5]


def test_who_passes_the_line_has_left_first_come_first_gone() -> None:
    lane = Lane()
    lane.platoon(3)
    assert lane.seconds(6, line=1).waiting == 3
    assert lane.second(passed=1, line=0.7, green=True) == (2, (0, 0, 0, 0, 0, 0), 1)
    # More than were counted: some loop missed one.
    assert lane.second(passed=2, line=0.7, green=True).waiting == 0
    assert lane.second(passed=1, line=0.7, green=True).waiting == 0


def test_of_two_that_came_in_one_second_one_may_pass() -> None:
    lane = Lane()
    lane.second()
    lane.second(entered=2)
    assert lane.seconds(6).waiting == 2
    assert lane.second(passed=1, line=1).waiting == 1


def test_a_free_line_loop_says_that_nobody_waits_but_not_that_nobody_comes() -> None:
    lane = Lane()
    lane.platoon(3)
    assert lane.seconds(6, line=1).waiting == 3
    lane.second(entered=1)
    assert lane.seconds(2).waiting == 3
    gone = lane.seconds(2)
    assert (gone.waiting, sum(gone.coming)) == (0, 1)


def test_a_line_loop_that_is_covered_says_that_somebody_waits_whom_nobody_counted() -> None:
    lane = Lane()
    assert lane.seconds(2, line=1).waiting == 0
    assert lane.seconds(1, line=1).waiting == 1
    assert lane.seconds(20, line=1).waiting == 1


def test_an_entry_loop_on_which_somebody_stands_says_that_the_queue_reaches_it() -> None:
    lane = Lane()
    assert lane.seconds(2, entry=1, line=1).waiting == 0
    assert lane.second(entry=1, line=1).waiting == 10


def test_no_more_wait_between_the_loops_than_have_room() -> None:
    lane = Lane()
    assert lane.seconds(60, entered=0.5, line=1).waiting == 11


@pytest.mark.parametrize(
    "counted",
    [
        {"entered": -1},
        {"entered": 3},
        {"passed": -0.5},
        {"passed": 3},
        {"entered": math.nan},
        {"line": 1.5},
        {"entry": -0.1},
        {"line": math.nan},
    ],
)
def test_fewer_than_none_more_than_can_pass_and_more_than_covered_are_absurd(counted: dict[str, float]) -> None:
    lane = Lane()
    lane.second()
    assert lane.second(entered=2, passed=2) and lane.queue.fault == pb.LANE_FAULT_UNSPECIFIED
    assert lane.second(**counted) == (0, (), 0)  # type: ignore[arg-type]
    assert lane.queue.fault == pb.LANE_FAULT_ABSURD
    lane.second()
    assert lane.queue.fault == pb.LANE_FAULT_UNSPECIFIED


@pytest.mark.parametrize("which", ["line", "entry"])
def test_a_loop_that_is_covered_for_two_cycles_with_green_is_stuck(which: str) -> None:
    lane = Lane()
    lane.seconds(125, green=False, **{which: 1.0})
    lane.seconds(14, green=True, **{which: 1.0})
    assert lane.queue.fault == pb.LANE_FAULT_UNSPECIFIED
    # With red one has to stand.
    red = Lane()
    red.seconds(300, green=False, **{which: 1.0})
    assert red.queue.fault == pb.LANE_FAULT_UNSPECIFIED
    lane.second(green=True, **{which: 1.0})
    assert lane.queue.fault == pb.LANE_FAULT_STUCK


def test_a_line_loop_that_counts_nobody_though_many_come_and_have_green_is_stuck() -> None:
    lane = Lane()
    lane.seconds(9, entered=1)
    lane.seconds(60, green=True)
    assert lane.queue.fault == pb.LANE_FAULT_UNSPECIFIED
    lane.second(entered=1)
    assert lane.queue.fault == pb.LANE_FAULT_STUCK
    # It counts again.
    lane.second(passed=1, green=True)
    assert lane.queue.fault == pb.LANE_FAULT_UNSPECIFIED
    # As long as one passes now and then, others stand behind what blocks the lane.
    slow = Lane()
    for _ in range(3):
        slow.seconds(9, entered=1)
        slow.seconds(29, green=True)
        slow.second(passed=1, green=True)
        assert slow.queue.fault == pb.LANE_FAULT_UNSPECIFIED
    slow.seconds(10, entered=1)
    slow.seconds(29, green=True)
    assert slow.queue.fault == pb.LANE_FAULT_UNSPECIFIED


def test_an_entry_loop_that_counts_nobody_though_many_pass_is_stuck() -> None:
    lane = Lane()
    lane.seconds(9, passed=1, green=True)
    assert lane.queue.fault == pb.LANE_FAULT_UNSPECIFIED
    lane.second(passed=1, green=True)
    assert lane.queue.fault == pb.LANE_FAULT_STUCK
    lane.second(entered=1)
    assert lane.queue.fault == pb.LANE_FAULT_UNSPECIFIED


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.floats(0, 1), st.floats(0, 1), st.booleans()), max_size=200))
def test_whatever_loops_count_there_are_never_fewer_than_none_nor_more_than_have_room(
    counts: list[tuple[int, int, float, float, bool]],
) -> None:
    lane = Lane()
    for entered, passed, line, entry, green in counts:
        found = lane.second(entered, passed, line, entry, green)
        assert found.waiting >= 0
        assert min(found.coming) >= 0
        assert found.waiting + sum(found.coming) <= ENTRY_M / 7.5 + 1 + 1e-9
