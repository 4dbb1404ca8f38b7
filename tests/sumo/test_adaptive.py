"""Signals that follow the traffic in SUMO, by the code that traffic runs: safe in every second, and better than the plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from citybrain.traffic.v1 import plans_pb2 as pb

from benchmarks.rush import CITY, LOOPS, PLAN, Drive
from citybrain.simulation.moments import city_time
from citybrain.simulation.network import read_network
from citybrain.simulation.plans import proposed
from citybrain.simulation.scenario import open_scenario
from citybrain.simulation.street import Street

pytestmark = pytest.mark.sumo

SECONDS = 600
ALONE_S = 120


def driven(path: Path, way: str) -> tuple[Street, dict[str, Any]]:
    """Drives some minutes; then nobody decides any more for two."""
    scenario = open_scenario(path)
    with Street(scenario, read_network(scenario.net_file), 1, siren=False, loops=way == LOOPS) as street:
        drive = Drive(street, way)
        for _ in range(SECONDS):
            drive.second()
        for _ in range(ALONE_S):
            street.advance()
        street.finish()
    return street, street.others


def test_signals_that_follow_the_traffic_break_no_rule_save_time_and_are_back_in_their_plans_when_nobody_decides(
    scenario_path: Callable[[str], Path],
) -> None:
    _, by_plan = driven(scenario_path("cologne8"), PLAN)
    for way in (CITY, LOOPS):
        street, by_city = driven(scenario_path("cologne8"), way)
        assert street.checker.findings == [], way
        assert street.controllers.commanded > 100, way
        assert street.controllers.refused == 0, way
        assert by_city["mean_time_loss_s"] < 0.85 * by_plan["mean_time_loss_s"], way
        assert street.controllers.controlled() == [], way
        assert street.controllers.out_of_step(street.begin + SECONDS + ALONE_S - 1) == [], way


def test_a_signal_changes_to_a_proposed_plan_at_a_green_that_both_have_and_runs_it_in_step(
    scenario_path: Callable[[str], Path],
) -> None:
    scenario = open_scenario(scenario_path("cologne8"))
    with Street(scenario, read_network(scenario.net_file), 1, siren=False) as street:
        today = street.plans["252017285"]
        longer = [
            (p.state, p.duration_s + (10 if number == 0 else -10 if number == 2 else 0))
            for number, p in enumerate(today.phases)
        ]
        program = pb.SignalProgram(
            signal_id=today.signal_id, phases=[pb.ProgramPhase(state=state, duration_s=s) for state, s in longer],
            cycle_start=city_time(today.cycle_start + 20),
        )  # fmt: skip
        for _ in range(7):
            street.advance()
        assert street.take_up(proposed(program, "p1", today))
        replanned = [second.replanned for second in (street.advance() for _ in range(200))]
        assert sum(("252017285" in one) for one in replanned) == 1
        now = street.plans["252017285"]
        assert (now.program_id, [(p.state, p.duration_s) for p in now.phases]) == ("p1", longer)
        # In step with the clock that was asked for.
        assert (now.cycle_start - today.cycle_start - 20) % now.cycle_s == 0
        assert street.controllers.out_of_step(street.sumo.next_second - 1) == []
        assert street.checker.findings == []
        strange = pb.SignalProgram(signal_id=today.signal_id, phases=[pb.ProgramPhase(state="G" * 16, duration_s=20)])
        assert not street.take_up(proposed(strange, "p2", now))
