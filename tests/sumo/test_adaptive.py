"""Signals that follow the traffic in SUMO, by the code that traffic runs: safe in every second, and better than the plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rush import CITY, PLAN, Drive
from citybrain.simulation.network import read_network
from citybrain.simulation.scenario import open_scenario
from citybrain.simulation.street import Street

pytestmark = pytest.mark.sumo

SECONDS = 900
ALONE_S = 120


def driven(path: Path, way: str) -> tuple[Street, dict[str, Any]]:
    """Drives some minutes; then nobody decides any more for two."""
    scenario = open_scenario(path)
    with Street(scenario, read_network(scenario.net_file), 1, siren=False) as street:
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
    street, by_city = driven(scenario_path("cologne8"), CITY)
    assert street.checker.findings == []
    assert street.controllers.commanded > 100
    assert street.controllers.refused == 0
    assert by_city["mean_time_loss_s"] < 0.85 * by_plan["mean_time_loss_s"]
    assert street.controllers.controlled() == []
    assert street.controllers.out_of_step(street.begin + SECONDS + ALONE_S - 1) == []
