"""Loops in the lanes before signals, and a vehicle that stands in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from citybrain.simulation import detecting
from citybrain.simulation.detecting import Count, Trouble
from citybrain.simulation.network import read_network
from citybrain.simulation.scenario import open_scenario

pytestmark = pytest.mark.sumo

ROAD = "-42925825#2"


def test_loops_count_and_nobody_passes_a_vehicle_that_stands_on_the_only_lane(
    scenario_path: Callable[[str], Path], tmp_path: Path
) -> None:
    scenario = open_scenario(scenario_path("cologne8"))
    network = read_network(scenario.net_file)
    loops = [one for one in detecting.loops(network) if one.edge_id == ROAD]
    assert [(one.name, one.lane) for one in loops] == [(f"{ROAD}.0.in", 0), (f"{ROAD}.0.out", 0)]
    first, last = (one.position_m for one in loops)
    assert first == 30 and last == network.edges[ROAD].length_m - 12
    assert detecting.cycles(scenario, network)[ROAD] == 90

    def vehicles(counts: list[Count], name: str, begin: int, end: int) -> int:
        return sum(one.vehicles for one in counts if one.name == f"{ROAD}.0.{name}" and begin <= one.second < end)

    quiet = detecting.count(scenario, network, loops, 3, 1500, tmp_path)
    trouble = Trouble(ROAD, 0, 150.0, 900, 450)
    run = detecting.count(scenario, network, loops, 3, 1500, tmp_path, trouble)
    assert quiet.stood is None and run.stood is not None and 900 <= run.stood < 960
    assert {one.second % detecting.INTERVAL_S for one in run.counts} == {0}
    assert all(0 <= one.occupancy <= 1 and (one.speed_mps is None) <= (one.vehicles == 0) for one in run.counts)
    # Those who are ahead of it drive on within two cycles.
    before, there, gone = (second // 30 * 30 for second in (run.stood, run.stood + 210, run.stood + 450))
    assert vehicles(list(quiet.counts), "out", 0, before) == vehicles(list(run.counts), "out", 0, before) > 0
    assert vehicles(list(quiet.counts), "out", there, gone) > 5
    assert vehicles(list(run.counts), "out", there, gone) == 0
    standing = [one.occupancy for one in run.counts if one.name == f"{ROAD}.0.in" and there <= one.second < gone]
    assert max(standing) > 0.9, "the queue has come back to the first loop"
    assert vehicles(list(run.counts), "out", gone, 1500) > 5, "it was taken away"
