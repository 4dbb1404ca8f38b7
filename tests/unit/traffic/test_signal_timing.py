"""Timings: whatever a signal shows and whenever it is asked, every change is safe and ends in step with the plan."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from citybrain.traffic.v1.events_pb2 import SignalCommanded
from citybrain.traffic.v1.traffic_service_pb2 import Signal
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.services.traffic import conflicts, plan, signal_timing
from citybrain.services.traffic.signal_timing import Shown, SignalTiming
from tests.unit.traffic import checker
from tests.unit.traffic.signals import EPOCH, crossing, make, signals

EDGES = ["in0", "in1", "in2", "in3"]
queues = st.dictionaries(st.sampled_from(EDGES), st.integers(0, 12))


@dataclass
class Street:
    """A signal and its controller, which plays what it is told and else its plan."""

    signal: Signal
    now: int
    history: list[str] = field(default_factory=list)
    coming: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.history = checker.plan_history(self.signal, self.now)

    def shown(self) -> Shown:
        return Shown(self.history[-1], tuple(checker.stood(self.history)))

    def play(self, command: SignalCommanded) -> list[str]:
        """Takes a timing up, and returns it to the end of the phase that it is handed back in."""
        assert command.from_state == self.history[-1]
        until = checker.played(command) + checker.handed_back(self.signal, command, round(command.plan_phase_left_s))
        self.coming = checker.played(command) + checker.handed_back(self.signal, command, 1000)
        return until

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.history.append(self.coming.pop(0) if self.coming else checker.plan_shows(self.signal, self.now))
            self.now += 1


def as_command(made: SignalTiming) -> SignalCommanded:
    return SignalCommanded(
        from_state=made.from_state, intervals=made.intervals, plan_phase=made.plan_phase,
        plan_phase_left_s=made.plan_phase_left_s,
    )  # fmt: skip


def ask(street: Street, approach: str, waiting: dict[str, int], hold_s: float = math.inf) -> SignalCommanded | None:
    lights = conflicts.prepare(street.signal)
    way = next((w for w in lights.ways if w[0] == approach), None)
    aim = conflicts.target(lights, approach, way, street.history[-1])
    if aim is None:
        return None
    return as_command(signal_timing.priority(lights, street.shown(), street.now, aim, street.now + hold_s, waiting, approach))


def give_back(street: Street, waiting: dict[str, int]) -> SignalCommanded:
    lights = conflicts.prepare(street.signal)
    return as_command(signal_timing.give_back(lights, street.shown(), street.now, waiting))


def purposes(command: SignalCommanded) -> list[tuple[str, float, str]]:
    return [(i.state, i.duration_s, i.purpose) for i in command.intervals]


# -- what holds for every signal, moment and request -------------------------------------------------------------------------

requests = st.lists(
    st.tuples(st.sampled_from([*EDGES, "back"]), queues, st.integers(0, 120), st.integers(1, 60)), min_size=1, max_size=4
)


@given(signals(), st.integers(0, 400), requests)
@settings(max_examples=200)
def test_every_sequence_of_commands_is_safe_at_every_second_and_ends_in_step_with_the_plan(
    signal: Signal, moment: int, asked: list[tuple[str, dict[str, int], int, int]]
) -> None:
    street = Street(signal, EPOCH + 1000 + moment)
    for approach, waiting, later, hold_s in asked:
        command = give_back(street, waiting) if approach == "back" else ask(street, approach, waiting, hold_s)
        if command is None:
            continue
        until = street.play(command)
        assert checker.faults(signal, street.history, until) == []
        assert checker.short_greens(street.history, checker.played(command)) == []
        in_plan = street.now + len(until)
        assert street.coming[len(until) : len(until) + 200] == [
            checker.plan_shows(signal, second) for second in range(in_plan, in_plan + 200)
        ]
        street.run(later)


@given(signals(), st.integers(0, 400), st.sampled_from(EDGES), queues)
@settings(max_examples=150)
def test_no_hold_is_longer_than_a_minute_and_the_plan_is_back_within_two_cycles(
    signal: Signal, moment: int, approach: str, waiting: dict[str, int]
) -> None:
    street = Street(signal, EPOCH + 1000 + moment)
    command = ask(street, approach, waiting, hold_s=300.0)
    if command is None:
        return
    held = [n for n, interval in enumerate(command.intervals) if interval.purpose == "priority"]
    assert len(held) == 1
    assert command.intervals[held[0]].duration_s == 60
    cycle = sum(phase.duration_s for phase in signal.phases)
    assert sum(interval.duration_s for interval in command.intervals[held[0] + 1 :]) <= 2 * cycle


@given(signals(), st.integers(0, 400), st.sampled_from(EDGES), queues)
@settings(max_examples=150)
def test_the_whole_approach_is_held_green_unless_its_own_links_conflict_or_only_the_plan_may_be_shown(
    signal: Signal, moment: int, approach: str, waiting: dict[str, int]
) -> None:
    street = Street(signal, EPOCH + 1000 + moment)
    letters = {link.index for link in signal.links if link.from_edge_id == approach}
    own_conflicts = any(c.index in letters and c.other_index in letters for c in signal.conflicts)
    command = ask(street, approach, waiting)
    states = [interval.state for interval in command.intervals if interval.purpose == "priority"] if command else []
    if signal.plan_phases_only:
        assert set(states) <= {phase.state for phase in signal.phases}
    elif letters and not own_conflicts:
        assert all(states[0][i] == "G" for i in letters)


@given(signals(), st.integers(0, 400))
@settings(max_examples=100)
def test_the_plan_clock_says_what_the_plan_shows_and_for_how_long_it_has(signal: Signal, moment: int) -> None:
    lights = conflicts.prepare(signal)
    now = EPOCH + 1000 + moment
    found = plan.at(lights.plan, now)
    assert lights.plan.states[found.phase] == checker.plan_shows(signal, now)
    whole = checker.plan_history(signal, now + 1)
    cycle = len(checker.plan_seconds(signal))
    for since, counted in zip(plan.stood(lights.plan, now), checker.stood(whole), strict=True):
        assert min(since, cycle - 1) == min(counted - 1, cycle - 1)


# -- a crossing by hand ------------------------------------------------------------------------------------------------------


def test_a_change_goes_through_minimum_green_yellow_and_all_red_and_returns_by_the_green_of_those_who_waited() -> None:
    # The road from the south has been green for 2 s.
    street = Street(crossing(), EPOCH + 42)
    command = ask(street, "west", {"x-south": 4})
    assert command is not None
    assert purposes(command) == [
        ("rrG", 3, "minimum green"),
        ("rry", 3, "yellow"),
        ("rrr", 2, "all red"),
        ("GGr", 60, "priority"),
        ("yyr", 3, "yellow"),
        ("rrr", 2, "all red"),
        ("rrG", 15, "compensation"),
    ]
    # It ends 88 s later, 60 s into the next cycle of 70 s: just then the plan shows the same green, and 5 s of it are left.
    assert (command.plan_phase, command.plan_phase_left_s) == (6, 5)


def test_a_green_of_the_plan_that_is_all_but_over_is_skipped_for_the_next_one_which_ends_when_the_plan_says() -> None:
    later = ask(Street(crossing(), EPOCH + 46), "west", {"x-south": 4})
    assert later is not None
    assert purposes(later)[-3:] == [("rrG", 15, "compensation"), ("rry", 3, "yellow"), ("rrr", 2, "all red")]
    # It ends 90 s after second 46, which is 66 s into a cycle; the through movement is then green until 20 s into the next.
    assert (later.plan_phase, later.plan_phase_left_s) == (0, 24)


def test_nothing_that_loses_green_means_that_it_switches_at_once() -> None:
    street = Street(crossing(), EPOCH + 10)
    command = ask(street, "west", {})
    assert command is not None
    assert purposes(command)[0] == ("GGr", 60, "priority")


def test_nobody_waiting_elsewhere_means_that_it_returns_without_compensation() -> None:
    street = Street(crossing(), EPOCH + 10)
    command = ask(street, "west", {"west": 9})
    assert command is not None
    assert [p for _, _, p in purposes(command)] == ["priority", "yellow", "all red"]


def test_a_yellow_of_the_plan_is_finished_before_anything_opens() -> None:
    # The through movement has had its first second of yellow.
    street = Street(crossing(), EPOCH + 21)
    command = ask(street, "x-south", {})
    assert command is not None
    assert purposes(command)[:3] == [("yrr", 2, "yellow"), ("rrr", 2, "all red"), ("rrG", 60, "priority")]


def test_a_yellow_that_the_plan_makes_longer_than_ours_is_shown_for_as_long_as_the_plan_says() -> None:
    signal = make(
        "p", [(0, "a", "b"), (1, "c", "d")], [(0, 1)], [("Gr", 20), ("yr", 5), ("rG", 20), ("ry", 5)],
    )  # fmt: skip
    command = ask(Street(signal, EPOCH + 21), "c", {})
    assert command is not None
    assert purposes(command)[:3] == [("yr", 4, "yellow"), ("rr", 2, "all red"), ("rG", 60, "priority")]


def test_a_short_cycle_is_returned_to_without_compensation_so_that_it_is_back_within_two() -> None:
    signal = make("p", [(0, "a", "b"), (1, "c", "d")], [(0, 1)], [("Gr", 6), ("rG", 6)])
    command = ask(Street(signal, EPOCH + 2), "a", {"c": 9})
    assert command is not None
    returning = [i for i in command.intervals if i.purpose != "priority"]
    assert sum(i.duration_s for i in returning) <= 24
    assert all(i.purpose != "compensation" for i in returning)


def test_those_who_drove_last_leave_the_crossing_before_it_opens() -> None:
    # The plan's own yellow has ended, and it has been all red for one second.
    street = Street(crossing(), EPOCH + 24)
    command = ask(street, "x-south", {})
    assert command is not None
    assert purposes(command)[:2] == [("rrr", 1, "all red"), ("rrG", 60, "priority")]


def test_a_signal_in_priority_returns_at_any_moment_in_step_with_its_plan() -> None:
    for second in range(0, 75):
        street = Street(crossing(), EPOCH + 45)
        command = ask(street, "west", {})
        assert command is not None
        street.play(command)
        street.run(second)
        back = give_back(street, {"x-south": 3})
        assert checker.faults(street.signal, street.history, street.play(back)) == []
        street.run(140)
        assert street.history[-70:] == checker.plan_history(street.signal, street.now, cycles=1)


def test_what_a_score_shows_later_is_known_from_the_score() -> None:
    street = Street(crossing(), EPOCH + 50)
    command = ask(street, "west", {})
    assert command is not None
    shown = [signal_timing.along(command.from_state, command.intervals, second) for second in range(70)]
    assert [s.state for s in shown[:7] if s] == ["rry", "rry", "rry", "rrr", "rrr", "GGr", "GGr"]
    assert shown[4] == Shown("rrr", (4.0, 4.0, 1.0))
    assert signal_timing.along(command.from_state, command.intervals, 1000) is None


def test_green_for_one_turn_only_is_a_last_resort() -> None:
    only_plan = Street(crossing(plan_phases_only=True), EPOCH + 10)
    command = ask(only_plan, "west", {})
    assert command is not None
    assert purposes(command)[0] == ("Grr", 60, "priority")


def test_a_phase_of_the_plan_that_serves_the_whole_approach_is_preferred_to_a_state_of_our_own() -> None:
    # A state of our own would leave the letter of the other road, which conflicts with nothing, green.
    signal = make(
        "p", [(0, "a", "b"), (1, "c", "d"), (2, "e", "f")], [(0, 2)],
        [("Grr", 20), ("yrr", 3), ("rGG", 20), ("ryy", 3)],
    )  # fmt: skip
    lights = conflicts.prepare(signal)
    assert conflicts.target(lights, "a", ("a", "b"), "rGG") == "Grr"


def test_what_is_green_now_stays_green_rather_than_what_is_red() -> None:
    # 1 and 2 conflict with each other but not with the approach: the one that is green keeps it.
    signal = make(
        "p", [(0, "a", "b"), (1, "c", "d"), (2, "e", "f"), (3, "a", "d")], [(1, 2)],
        [("Grrr", 20), ("yrrr", 3), ("rrGG", 20), ("rryy", 3)],
    )  # fmt: skip
    lights = conflicts.prepare(signal)
    assert conflicts.target(lights, "a", ("a", "b"), "rrGG") == "GrGG"
    assert conflicts.target(lights, "a", ("a", "b"), "rGrr") == "GGrG"


def test_letters_of_which_no_conflict_is_known_stay_red() -> None:
    signal = make("p", [(0, "a", "b"), (1, "a", "c")], [], [("GrG", 20), ("yry", 3), ("rGr", 20), ("ryr", 3)])
    assert conflicts.target(conflicts.prepare(signal), "a", ("a", "b"), "GrG") == "GGr"


def test_right_of_way_is_not_handed_from_one_to_its_foe_without_yellow() -> None:
    # Both may drive all the time, but each must yield to the other in its phase.
    signal = make("p", [(0, "a", "b"), (1, "c", "d")], [(0, 1)], [("Gg", 20), ("gG", 20)])
    command = ask(Street(signal, EPOCH + 10), "c", {})
    assert command is not None
    assert purposes(command)[:3] == [("yg", 3, "yellow"), ("rg", 2, "all red"), ("gG", 60, "priority")]


def test_stop_then_go_is_not_green_and_is_red_in_a_state_of_our_own() -> None:
    signal = make(
        "p", [(0, "a", "b"), (1, "a", "c"), (2, "d", "e")], [(0, 2), (1, 2)],
        [("Gsr", 20), ("ysr", 3), ("rsG", 20), ("rsy", 3)],
    )  # fmt: skip
    command = ask(Street(signal, EPOCH + 35), "d", {})
    assert command is not None
    # Red before the other opens; `s` comes back with the plan's own phase, which alone may show it.
    assert purposes(command)[0] == ("rsG", 60, "priority")
    approach = ask(Street(signal, EPOCH + 35), "a", {})
    assert approach is not None
    assert [s for s, _, _ in purposes(approach)[:3]] == ["rry", "rrr", "GGr"]


def test_who_has_just_been_closed_into_stop_then_go_is_waited_for_like_who_shows_red() -> None:
    signal = make(
        "p", [(0, "a", "b"), (1, "c", "d"), (2, "e", "f")], [(0, 1)],
        [("rGr", 20), ("ryr", 3), ("rsG", 20), ("rsy", 3)],
    )  # fmt: skip
    command = ask(Street(signal, EPOCH + 24), "a", {})
    assert command is not None
    assert purposes(command)[:2] == [("rsG", 1, "all red"), ("GrG", 60, "priority")]


@pytest.mark.parametrize("shown", ["urr", "ooo", "rr"])
def test_a_signal_that_shows_what_nobody_can_start_from_is_left_alone(shown: str) -> None:
    lights = conflicts.prepare(crossing())
    assert not signal_timing.can_begin(lights, Shown(shown, (9.0,) * len(shown)))


def test_an_actuated_signal_gives_no_priority() -> None:
    lights = conflicts.prepare(crossing(actuated=True))
    assert conflicts.target(lights, "west", ("west", "east"), "Grr") is None


def test_the_checker_sees_what_it_is_there_to_see() -> None:
    signal = crossing()
    green = ["rrG"] * 30
    assert any("right of way" in f for f in checker.faults(signal, green, ["GrG"]))
    assert any("without yellow" in f for f in checker.faults(signal, green, ["rrr"]))
    assert any("too short" in f for f in checker.faults(signal, green, ["rry", "rry", "rrr"]))
    assert any("closed" in f for f in checker.faults(signal, green, ["rry"] * 3 + ["Grr"]))
    assert any("closed" in f for f in checker.faults(signal, green, ["rry"] * 3 + ["rrr", "Grr"]))
    assert checker.faults(signal, green, ["rry"] * 3 + ["rrr"] * 2 + ["Grr"]) == []
    assert any("out of its yellow" in f for f in checker.faults(signal, green, ["rry"] * 3 + ["rrG"]))
    assert any("too short" in f for f in checker.short_greens(["rrr"] * 9 + ["rrG"] * 4, ["rry"]))
    assert checker.short_greens(["rrr"] * 9 + ["rrG"] * 5, ["rry"]) == []
