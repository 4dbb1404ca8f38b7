"""Loops in the lanes before signals: where they lie, and what they count in SUMO."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from citybrain.simulation.loop_counts import Loops
from citybrain.simulation.loops import Loop, Pair, pairs, placed, write
from tests.unit.simulation.test_cameras import network


def test_a_lane_has_a_loop_before_its_line_and_one_further_up_on_the_lanes_that_lead_to_it_where_it_is_short() -> None:
    found = pairs(network(before_0=("short_0", "aside_0"), first_0=("before_0",)))
    assert found["long_0"] == Pair(Loop("long_0.line", "long_0", 397), (Loop("long_0.entry.0", "long_0", 325),), 75)
    # 20 m, and 60 m before it: 5 m from the beginning of those, where half of the vehicles will come.
    assert found["short_0"] == Pair(Loop("short_0.line", "short_0", 17), (Loop("short_0.entry.1", "before_0", 5, 0.5),), 75)
    # Nothing leads to it that is not behind another signal: the entry loop is at its beginning.
    assert found["other_0"] == Pair(Loop("other_0.line", "other_0", 47), (Loop("other_0.entry.0", "other_0", 1),), 49)


def test_a_lane_without_room_for_two_loops_has_none() -> None:
    of = network()
    of = replace(of, lane_length_m={**of.lane_length_m, "short_0": 10.5})
    assert "short_0" not in pairs(of)


def test_loops_are_written_as_sumo_reads_them(tmp_path: Path) -> None:
    write(placed(pairs(network()).values()), tmp_path / "loops.xml")
    written = [dict(one.attrib) for one in ET.parse(tmp_path / "loops.xml").getroot()]  # noqa: S314
    assert len(written) == 6
    assert {"id": "long_0.entry.0", "lane": "long_0", "pos": "325.00", "period": "86400", "file": "NUL"} in written


def test_what_came_over_them_in_a_second_is_counted_by_shares_and_so_is_how_long_they_were_covered() -> None:
    counts = {("short_0.entry.1", False): 3, ("short_0.line", True): 2}
    covered = {"short_0.entry.1": 0.4, "short_0.line": 1.0}
    sumo: Any = SimpleNamespace(
        counted=lambda loop, second, *, left: counts.get((loop, left), 0) if second == 7 else 0,
        covered=lambda loop: covered.get(loop, 0.0),
    )
    controllers = SimpleNamespace(shown={"x": "Gr"}, since_s=lambda _signal, _second: [3.0, 3.0])
    of = network(before_0=("short_0", "aside_0"), first_0=("before_0",))
    street: Any = SimpleNamespace(network=of, sumo=sumo, controllers=controllers)
    (seen,) = Loops(street).look(7, ["x"])
    assert (seen.state, list(seen.since_s)) == ("Gr", [3, 3])
    short, long = sorted(seen.lanes, key=lambda lane: lane.lane_id, reverse=True)
    assert (short.lane_id, short.passed, short.loops.entry_m) == ("short_0", 2, 75)
    assert (short.loops.entered, short.loops.line_covered, short.loops.entry_covered) == (1.5, 1, 0.4)
    assert (long.lane_id, long.passed, long.loops.entered) == ("long_0", 0, 0)
