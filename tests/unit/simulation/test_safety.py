"""The checker on a junction of two movements that cross, without SUMO."""

from __future__ import annotations

from pathlib import Path

import pytest

from citybrain.simulation.safety import Checker, Fault, read_foes

NET = """<net>
  <junction id="J" incLanes="n_0 w_0" intLanes=":J_0_0 :J_1_0">
    <request index="0" response="00" foes="10"/>
    <request index="1" response="01" foes="01"/>
  </junction>
  <junction id=":J_9" type="internal" incLanes=":J_1_0" intLanes=":J_1_0 :J_0_0"/>
  <connection from="n" to="s" fromLane="0" toLane="0" via=":J_0_0" tl="T" linkIndex="1"/>
  <connection from="w" to="e" fromLane="0" toLane="0" via=":J_1_0" tl="T" linkIndex="0"/>
</net>"""
PLAN = ("Gr", "yr", "rG", "ry")


class OneSignal:
    """A street with one signal that shows what it is told."""

    def __init__(self, plans: dict[str, tuple[str, ...]]) -> None:
        self.plans = plans
        self.state = "Gr"
        self.by = "0"

    def signal_ids(self) -> list[str]:
        """One."""
        return ["T"]

    def shown(self, signal_id: str) -> str:
        """Its letters."""
        return self.state

    def program(self, signal_id: str) -> str:
        """The plan's name, or that of a hand."""
        return self.by

    def programs(self, signal_id: str) -> dict[str, tuple[str, ...]]:
        """Its plans."""
        return self.plans


def found(folder: Path, *shown: str) -> list[Fault]:
    """The faults when a signal shows this, second by second. Those in () are its plan's doing, in [] its night plan's."""
    net = folder / "n.net.xml"
    net.write_text(NET)
    street = OneSignal({"0": PLAN, "night": ("rr", "Gr")})
    checker = Checker(net, street)
    for second, state in enumerate(shown):
        street.by = {"(": "0", "[": "night"}.get(state[0], "online")
        street.state = state.strip("()[]")
        checker.look(second)
    return [finding.fault for finding in checker.findings]


def test_foes_are_read_by_the_signals_numbering_not_the_junctions(tmp_path: Path) -> None:
    (tmp_path / "n.net.xml").write_text(NET)
    assert read_foes(tmp_path / "n.net.xml") == {"T": frozenset({(0, 1)})}


@pytest.mark.parametrize(
    ("shown", "faults"),
    [
        (["Gr", "yr", "yr", "yr", "rr", "rG"], []),
        (["Gr", "rr"], [Fault.DROPPED]),
        (["gr", "rr"], [Fault.DROPPED]),
        (["Gr", "yr", "yr", "rr"], [Fault.SHORT_YELLOW]),
        (["Gr", "yr", "yr", "yr", "rG"], [Fault.NO_GAP]),
        (["Gr", "yr", "yG"], [Fault.NO_GAP]),
        (["GG"], [Fault.FOES_GREEN]),
        (["Gg"], []),
        # A foe that is green and stays so gives way to nobody.
        (["Gr", "Gr", "Gr"], []),
        # The plan may do as it does; what begins or ends under a hand may not.
        (["(Gr)", "(yr)", "(rG)"], []),
        (["(Gr)", "(yr)", "rr"], [Fault.SHORT_YELLOW]),
        (["yr", "(yr)", "(rG)"], [Fault.SHORT_YELLOW]),
        (["(Gr)", "rr"], [Fault.DROPPED]),
        (["Gr", "(rG)"], [Fault.DROPPED, Fault.NO_GAP]),
        # Nor is it a hand that changes from one plan to another by the time of day.
        (["(Gr)", "[rr]", "[Gr]", "(rG)"], []),
        (["[Gr]", "rr"], [Fault.DROPPED]),
    ],
)
def test_faults_are_found(tmp_path: Path, shown: list[str], faults: list[Fault]) -> None:
    assert found(tmp_path, *shown) == faults


def test_a_state_of_the_plan_itself_is_never_worse_than_the_plan(tmp_path: Path) -> None:
    net = tmp_path / "n.net.xml"
    net.write_text(NET)
    street = OneSignal({"0": ("GG",)})
    checker = Checker(net, street)
    street.state, street.by = "GG", "online"
    assert checker.look(0) == []
