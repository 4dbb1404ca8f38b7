"""Which program is due when, from what a network says of the times of the day."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from citybrain.simulation.day_plans import DayPlan, read_day_plans
from citybrain.simulation.errors import ScenarioError

NETWORK = """<net>
  <WAUT id="w" startProg="0" {waut}>{switches}</WAUT>
  <wautJunction wautID="w" junctionID="s1"/><wautJunction wautID="gone" junctionID="s2"/>
</net>"""


def plan(folder: Path, waut: str, *switches: tuple[str, str]) -> DayPlan:
    """What a network leads to that has these changes."""
    file = folder / "it.net.xml.gz"
    told = "".join(f'<wautSwitch time="{time}" to="{to}"/>' for time, to in switches)
    file.write_bytes(gzip.compress(NETWORK.format(waut=waut, switches=told).encode()))
    plans = read_day_plans([file])
    assert list(plans) == ["s1"], "of a signal whose changes stand nowhere nothing is known"
    return plans["s1"]


def test_the_last_change_of_a_span_is_the_one_that_is_due(tmp_path: Path) -> None:
    found = plan(tmp_path, 'refTime="100"', ("20", "night"), ("50", "day"))
    assert [found.due(after, until) for after, until in ((0, 119), (119, 120), (0, 149), (0, 150), (150, 10**6))] == [
        None, "night", "night", "day", None,
    ]  # fmt: skip


def test_what_has_a_period_comes_again_after_each_from_the_first_one_on(tmp_path: Path) -> None:
    found = plan(tmp_path, 'refTime="07:00:00" period="1:00:00:00"', ("0:30:00", "day"), ("15:00:00", "night"))
    day, night, whole = 7 * 3600 + 1800, 22 * 3600, 86400
    for rounds in (0, 1, 2, 400):
        begin = rounds * whole
        assert found.due(begin + day - 1, begin + day) == "day"
        assert found.due(begin + day, begin + night - 1) is None
        assert found.due(begin + day, begin + night) == "night"
        assert found.due(begin + night, begin + whole + day - 1) is None
        assert found.due(begin + day, begin + whole + day) == "day"


def test_a_change_behind_the_period_lies_in_it_as_sumo_has_it(tmp_path: Path) -> None:
    found = plan(tmp_path, 'refTime="90" period="100"', ("20", "night"), ("50", "day"))
    assert [found.due(second - 1, second) for second in (10, 40, 110, 140)] == ["night", "day"] * 2


@pytest.mark.parametrize("period", ["0", "-100"])
def test_a_period_that_is_none_is_none(tmp_path: Path, period: str) -> None:
    found = plan(tmp_path, f'period="{period}"', ("20", "night"))
    assert (found.due(0, 20), found.due(20, 1000)) == ("night", None)


def test_of_two_changes_in_one_second_the_one_that_is_written_later_holds(tmp_path: Path) -> None:
    for first, second in (("a", "b"), ("b", "a")):
        assert plan(tmp_path, 'period="100"', ("20", first), ("20", second)).due(100, 120) == second


@pytest.mark.parametrize("time", ["soon", "7:00", "1:2:3:4:5", "", "1:x:0", "inf", "nan"])
def test_a_time_that_is_none_is_told_with_its_file(tmp_path: Path, time: str) -> None:
    with pytest.raises(ScenarioError, match=r"it\.net\.xml\.gz: changes of programs \(WAUT\) cannot be read"):
        plan(tmp_path, "", (time, "night"))
