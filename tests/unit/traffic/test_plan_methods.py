"""Plans by Webster, splits and green waves; delay at signals; and what a plan must not show."""

from __future__ import annotations

import pytest
from citybrain.traffic.v1 import plans_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2 import Signal

from citybrain.mesh.errors import Refused
from citybrain.services.traffic import conflicts, webster
from citybrain.services.traffic.control_delay import control_delay, level_of_service
from citybrain.services.traffic.plan_check import problems
from citybrain.services.traffic.stages import Staged, stage
from citybrain.services.traffic.timing_methods import by_flows, green_wave
from tests.unit.traffic.junction import with_lanes
from tests.unit.traffic.signals import EPOCH, crossing, make


def staged(signal: Signal) -> Staged:
    return stage(conflicts.prepare(with_lanes(signal)), {})


def test_webster_has_the_values_that_were_worked_by_hand() -> None:
    two = webster.optimal([600 / 1800, 400 / 1800], 10)
    assert two.cycle_s == pytest.approx(45.0)
    assert two.greens_s == pytest.approx((21.0, 14.0))
    three = webster.optimal([720 / 3600, 540 / 1800, 300 / 1800], 12)
    assert three.cycle_s == pytest.approx(69.0)
    assert three.greens_s == pytest.approx((17.10, 25.65, 14.25))


@pytest.mark.parametrize(("ratios", "reason"), [([0.5, 0.45], "OVERSATURATED"), ([0.0, 0.0], "NO_FLOWS")])
def test_flows_that_no_cycle_serves_and_no_flows_at_all_are_refused(ratios: list[float], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        webster.optimal(ratios, 10)
    assert refused.value.reason == reason


def test_control_delay_has_the_values_of_the_manual() -> None:
    assert control_delay(500, 700, 0.45, 100) == pytest.approx(28.43, abs=0.01)
    assert control_delay(900, 800, 0.40, 110) == pytest.approx(105.06, abs=0.01)
    assert [level_of_service(delay, 0.9) for delay in (10, 10.1, 35, 80, 80.1)] == ["A", "B", "C", "E", "F"]
    assert level_of_service(5, 1.01) == "F"


def test_webster_gives_each_stage_its_share_and_keeps_what_changes_take() -> None:
    # y: 0.25 through (450 of 1,800), 0.05 turn, 0.2 from the south; lost in a cycle 15 s: C = 27.5 / 0.5 = 55.
    flows = {"west_0": 450.0, "west_1": 90.0, "x-south_2": 360.0}
    made = by_flows(pb.PLAN_METHOD_WEBSTER, [staged(crossing())], flows)
    (program,) = made.programs
    # 40 s of green by y: 20, 4 and 16; the turn has 5 s at least, which the longest gives.
    assert [phase.duration_s for phase in program.phases] == [19, 3, 2, 5, 3, 2, 16, 3, 2]
    assert made.basis[0] == "x: y 0.25, 0.05, 0.20; lost 15 s; cycle 70 s → 55 s; greens 19, 5, 16 s"
    assert made.basis[1].startswith("x: ")
    assert problems(program, with_lanes(crossing()), "programs[0]") == []


def test_splits_keep_the_cycle() -> None:
    flows = {"west_0": 180.0, "west_1": 180.0, "x-south_2": 540.0}
    (program,) = by_flows(pb.PLAN_METHOD_SPLITS, [staged(crossing())], flows).programs
    assert [phase.duration_s for phase in program.phases] == [11, 3, 2, 11, 3, 2, 33, 3, 2]


def test_who_drives_with_the_wave_finds_each_green_begun() -> None:
    # The second signal is 300 m on, at 10 m/s 30 s later; its cycle begins 40 s before its road from the west opens.
    first = staged(crossing("a", "west", "middle"))
    second = make(
        "b",
        [(0, "middle", "east"), (1, "south", "north")],
        [(0, 1)],
        [("rG", 37), ("ry", 3), ("Gr", 27), ("yr", 3)],
        start=EPOCH + 7,
    )
    made = green_wave([first, staged(second)], ["west", "middle", "east"], {"west": 500, "middle": 300, "east": 90}, 10)
    starts = [program.cycle_start.seconds for program in made.programs]
    assert starts[0] == EPOCH
    # Opens at start + 40: 30 s after the first, whose road opens with its cycle.
    assert (starts[1] + 40 - starts[0]) % 70 == 30
    assert made.basis[1] == "b: 300 m at 10 m/s, 30 s after the first"


def test_a_wave_over_signals_of_two_cycles_or_beside_the_way_is_refused_with_the_signal() -> None:
    first, other = staged(crossing("a", "west", "middle")), staged(crossing("b", "middle", "east"))
    lengths = {"west": 500.0, "middle": 300.0, "east": 90.0}
    with pytest.raises(Refused, match="b is not passed between two of these roads"):
        green_wave([first, other], ["west", "middle"], lengths, 10)
    longer = staged(make("b", [(0, "middle", "east"), (1, "s", "n")], [(0, 1)], [("rG", 50), ("ry", 3), ("Gr", 27), ("yr", 3)]))
    with pytest.raises(Refused, match="b has a cycle of 83 s, a one of 70 s"):
        green_wave([first, longer], ["west", "middle", "east"], lengths, 10)
    with pytest.raises(Refused, match="road 'nowhere' is not in the published network"):
        green_wave([first, other], ["west", "nowhere"], lengths, 10)


def program(*phases: tuple[str, float]) -> pb.SignalProgram:
    return pb.SignalProgram(signal_id="x", phases=[pb.ProgramPhase(state=state, duration_s=s) for state, s in phases])


GOOD = (("Grr", 20), ("yrr", 3), ("rGr", 9), ("ryr", 3), ("rrG", 20), ("rry", 3))


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ((("GrG", 20), ("yry", 3), ("rGr", 9), ("ryr", 3)), "letters 0 and 2 conflict and are both green: GrG"),
        ((("Gr", 20), *GOOD[1:]), "must have as many letters as the signal (3)"),
        ((*GOOD[:2], *GOOD[4:]), "letter 1 never has green, and has it today"),
        ((("Grr", 20), ("rGr", 9), *GOOD[3:]), "letter 0 goes from green to red without yellow"),
        ((("Grr", 20), ("yrr", 2), *GOOD[2:]), "letter 0 has yellow for 2 s: 3 s are the least"),
        ((*GOOD[:2], ("rGr", 4), *GOOD[3:]), "letter 1 has green for 4 s: 5 s are the least"),
        ((("Grr", 220), *GOOD[1:]), "take 258 s: a cycle is 240 s at most"),
        ((("Grr", 20.5), *GOOD[1:]), "must last whole seconds: controllers know no shorter ones"),
        (
            (("Ggr", 20), ("yyr", 3), ("gGr", 9), ("yyr", 3), ("grG", 20), ("yry", 3)),
            "has no green phase of today's plan: the signal could not change over to it",
        ),
    ],
)
def test_what_a_plan_must_not_show_is_named(phases: tuple[tuple[str, float], ...], said: str) -> None:
    assert said in [text for _, text in problems(program(*phases), crossing(), "programs[0]")]
    assert problems(program(*GOOD), crossing(), "programs[0]") == []


def test_conflicting_greens_that_todays_plan_shows_itself_are_not_held_against_a_proposal() -> None:
    signal = make("x", [(0, "w", "e"), (1, "s", "n")], [(0, 1)], [("GG", 20), ("yy", 3), ("rG", 20), ("ry", 3)])
    assert problems(program(("GG", 30), ("yy", 3), ("rG", 10), ("ry", 3)), signal, "programs[0]") == []
