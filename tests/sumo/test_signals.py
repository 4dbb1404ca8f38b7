"""Signal controllers in the street, and the checker that watches them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from citybrain.traffic.v1 import events_pb2 as events

from citybrain.simulation.day_plans import read_day_plans
from citybrain.simulation.network import read_network, signal_messages
from citybrain.simulation.plans import Plan, read_plans
from citybrain.simulation.safety import Checker, Fault, read_foes
from citybrain.simulation.signals import BACK_IN_PLAN, REFUSED, STARTED, Controllers, Report
from citybrain.simulation.sumo import Sumo

pytestmark = pytest.mark.sumo

SIGNAL = "252017285"
GREEN_A, GREEN_B = "rrrrGGggrrrrGGgg", "GGggrrrrGGggrrrr"
YELLOW_A, YELLOW_B = GREEN_A.replace("G", "y").replace("g", "y"), GREEN_B.replace("G", "y").replace("g", "y")
RED = "r" * 16


class Rig:
    """A scenario with controllers and checker, without ambulances."""

    def __init__(self, sumo: Sumo, path: Path, *additional: Path) -> None:
        self.sumo = sumo
        self.plans = read_plans(sumo)
        self.controllers = Controllers(sumo, self.plans, read_day_plans([path, *additional]))
        self.checker = Checker(path, sumo)
        self.reports: list[tuple[int, Report]] = []
        self.second = sumo.next_second - 1

    def drive(self, seconds: int) -> None:
        for _ in range(seconds):
            self.controllers.before()
            self.second = self.sumo.step()
            self.reports += [(self.second, report) for report in self.controllers.after(self.second)]
            self.checker.look(self.second)

    def until_shows(self, state: str) -> None:
        for _ in range(300):
            self.drive(1)
            if self.controllers.shown[SIGNAL] == state:
                return
        raise AssertionError(f"never showed {state}")

    def plan(self) -> Plan:
        return self.plans[SIGNAL]

    def command(self, name: str, intervals: list[tuple[str, int]], phase: int | None = None) -> events.SignalCommanded:
        """A timing from what is shown now, ending in the plan."""
        after = self.second + 1 + sum(seconds for _, seconds in intervals)
        at, left = self.plan().at(after)
        return events.SignalCommanded(
            signal_id=SIGNAL, command_id=name, from_state=self.controllers.shown[SIGNAL],
            intervals=[events.SignalInterval(state=state, duration_s=seconds) for state, seconds in intervals],
            program_id="0", plan_phase=at if phase is None else phase, plan_phase_left_s=left,
        )  # fmt: skip


@contextmanager
def rig(path: Path, *additional: Path, begin: int | None = None) -> Iterator[Rig]:
    """A running rig."""
    options = ["--additional-files", ",".join(map(str, additional))] if additional else []
    if begin is not None:
        options += ["--begin", str(begin)]
    with Sumo(path, 1, options=options) as sumo:
        yield Rig(sumo, next(path.parent.glob("*.net.xml")), *additional)


@pytest.fixture
def street(scenario_path: Callable[[str], Path]) -> Iterator[Rig]:
    """Cologne, five seconds after the begin."""
    with rig(scenario_path("cologne8")) as driven:
        driven.drive(5)
        yield driven


def proper_score(street: Rig) -> events.SignalCommanded:
    """From green A: to green B for a while, then at a moment of the plan's green A back into it, with yellow and all-red."""
    street.until_shows(GREEN_A)
    plan = street.plan()
    # Until the plan shows green A again, one second after it began to.
    hold = next(n for n in range(40, 400) if plan.at(street.second + 1 + 5 + n + 5) == (0, 32))
    return street.command("c1", [(YELLOW_A, 3), (RED, 2), (GREEN_B, hold), (YELLOW_B, 3), (RED, 2)])


def test_a_score_is_played_and_the_signal_is_in_step_with_its_plan_afterwards(street: Rig) -> None:
    command = proper_score(street)
    assert street.controllers.hear(command, "trace") is None
    begun = street.second + 1
    street.drive(3)
    assert street.controllers.shown[SIGNAL] == YELLOW_A
    street.drive(2)
    assert street.controllers.shown[SIGNAL] == RED
    street.drive(1)
    assert street.controllers.shown[SIGNAL] == GREEN_B
    total = int(sum(i.duration_s for i in command.intervals))
    street.drive(total - 6 + 200)
    assert [(s, r.report, r.state) for s, r in street.reports] == [
        (begun, STARTED, YELLOW_A),
        (begun + total, BACK_IN_PLAN, GREEN_A),
    ]
    assert {r.traceparent for _, r in street.reports} == {"trace"}
    assert street.controllers.out_of_step(street.second) == []
    assert street.checker.findings == []


def test_a_length_that_is_off_by_a_second_is_put_right_by_the_controllers_own_clock(street: Rig) -> None:
    command = proper_score(street)
    command.plan_phase_left_s += 1
    street.controllers.hear(command, "")
    street.drive(int(sum(i.duration_s for i in command.intervals)) + 200)
    assert street.controllers.clock_corrections == 1
    assert street.controllers.out_of_step(street.second) == []


def test_a_command_that_begins_from_another_state_is_refused_and_changes_nothing(street: Rig) -> None:
    command = proper_score(street)
    command.from_state = GREEN_B
    report = street.controllers.hear(command, "")
    assert report is not None
    assert (report.report, report.state) == (REFUSED, GREEN_A)
    street.drive(200)
    assert street.controllers.out_of_step(street.second) == []
    assert street.reports == []


def test_the_same_command_heard_twice_is_played_once(street: Rig) -> None:
    command = proper_score(street)
    street.controllers.hear(command, "")
    street.drive(1)
    assert street.controllers.hear(command, "") is None
    street.drive(5)
    assert street.controllers.shown[SIGNAL] == GREEN_B


def test_a_newer_command_replaces_the_one_that_is_played(street: Rig) -> None:
    street.controllers.hear(proper_score(street), "")
    street.drive(20)
    assert street.controllers.shown[SIGNAL] == GREEN_B
    plan = street.plan()
    hold = next(n for n in range(5, 400) if plan.at(street.second + 1 + n) == (2, 20))
    assert street.controllers.hear(street.command("c2", [(GREEN_B, hold)]), "") is None
    street.drive(hold + 200)
    assert [(r.command_id, r.report) for _, r in street.reports] == [("c1", STARTED), ("c2", STARTED), ("c2", BACK_IN_PLAN)]
    assert street.controllers.out_of_step(street.second) == []
    assert street.checker.findings == []


def test_a_command_for_a_signal_that_does_not_exist_is_refused(street: Rig) -> None:
    report = street.controllers.hear(events.SignalCommanded(signal_id="nowhere", command_id="c"), "")
    assert report is not None
    assert report.report == REFUSED


@pytest.mark.parametrize(
    ("intervals", "fault"),
    [
        ([(RED, 5)], Fault.DROPPED),
        ([(YELLOW_A, 2), (RED, 5)], Fault.SHORT_YELLOW),
        ([(YELLOW_A, 3), (GREEN_B, 10)], Fault.NO_GAP),
        ([("G" * 16, 5)], Fault.FOES_GREEN),
    ],
)
def test_a_planted_fault_is_found(street: Rig, intervals: list[tuple[str, int]], fault: Fault) -> None:
    street.until_shows(GREEN_A)
    street.controllers.hear(street.command("c", intervals), "")
    street.drive(sum(seconds for _, seconds in intervals))
    assert fault in {finding.fault for finding in street.checker.findings}
    assert {finding.signal_id for finding in street.checker.findings} == {SIGNAL}


@pytest.mark.parametrize("name", ["cologne8", "ingolstadt21", "arterial4x4"])
def test_plans_that_run_by_themselves_are_exempt_and_in_step(scenario_path: Callable[[str], Path], name: str) -> None:
    with rig(scenario_path(name)) as driven:
        for _ in range(200):
            driven.drive(1)
            assert driven.controllers.out_of_step(driven.second) == []
        assert driven.checker.findings == []


def test_offsets_of_plans_are_respected(scenario_path: Callable[[str], Path], tmp_path: Path) -> None:
    source = scenario_path("cologne8").parent
    net = (source / "cologne8.net.xml").read_text()
    net = re.sub(rf'(tlLogic id="{SIGNAL}" type="static" programID="0" offset=)"0"', r'\1"-13"', net)
    net = re.sub(r'(tlLogic id="247379907" type="static" programID="0" offset=)"0"', r'\1"17"', net)
    assert 'offset="-13"' in net
    (tmp_path / "cologne8.net.xml").write_text(net)
    (tmp_path / "cologne8.rou.xml").write_text((source / "cologne8.rou.xml").read_text())
    config = (source / "cologne8.sumocfg").read_text().replace("25200", "25231")
    (tmp_path / "c.sumocfg").write_text(config)
    with rig(tmp_path / "c.sumocfg") as driven:
        assert driven.plans[SIGNAL].cycle_start % 72 == 59
        for _ in range(200):
            driven.drive(1)
            assert driven.controllers.out_of_step(driven.second) == []


@pytest.mark.parametrize("name", ["cologne8", "ingolstadt21", "arterial4x4", "cologne3"])
def test_conflicts_as_registered_agree_with_what_the_checker_reads_for_itself(
    scenario_path: Callable[[str], Path], name: str
) -> None:
    net_file = next(scenario_path(name).parent.glob("*.net.xml"))
    network = read_network(net_file)
    foes = read_foes(net_file)
    assert network.conflicts == foes
    assert sum(len(pairs) for pairs in foes.values()) > 50


def test_signals_are_registered_with_their_links_conflicts_and_plan(scenario_path: Callable[[str], Path]) -> None:
    path = scenario_path("cologne8")
    with rig(path) as driven:
        messages = signal_messages(read_network(path.parent / "cologne8.net.xml"), driven.plans)
    assert len(messages) == 8
    signal = next(m for m in messages if m.signal_id == SIGNAL)
    assert {link.index for link in signal.links} == set(range(16))
    assert [phase.duration_s for phase in signal.phases] == [33, 3, 33, 3]
    assert signal.phases[0].state == GREEN_A
    assert (signal.program_id, signal.actuated, signal.plan_phases_only) == ("0", False, False)
    # Second 25200 of the scenario is seven o'clock in the morning.
    assert signal.cycle_start.ToJsonString() <= "2026-01-04T23:00:00Z"


# -- plans that change by the time of day -------------------------------------------------------------------------------------

NIGHT_AT = 25300
BY_NIGHT = """<additional>
  <tlLogic id="{signal}" type="{kind}" programID="night" offset="7">
    <phase duration="20" state="{a}"/><phase duration="4" state="{ya}"/><phase duration="40" state="{b}"/>
    <phase duration="4" state="{yb}"/>
  </tlLogic>
  {waut}
  <wautJunction wautID="w" junctionID="{signal}"/>
</additional>"""


def changing(folder: Path, kind: str, waut: str, *switches: tuple[object, str]) -> Path:
    """An additional file in which the signal changes its program."""
    file = folder / "night.add.xml"
    told = "".join(f'<wautSwitch time="{at}" to="{to}"/>' for at, to in switches)
    waut = f'<WAUT id="w" startProg="0" {waut}>{told}</WAUT>'
    text = BY_NIGHT.format(signal=SIGNAL, kind=kind, waut=waut, a=GREEN_A, ya=YELLOW_A, b=GREEN_B, yb=YELLOW_B)
    file.write_text(text, encoding="utf-8")
    return file


def by_night(folder: Path, kind: str = "static", at: int = NIGHT_AT) -> Path:
    """The same, from a second on."""
    return changing(folder, kind, 'refTime="0"', (at, "night"))


def test_a_plan_that_the_network_changes_is_read_again_and_is_no_fault(
    scenario_path: Callable[[str], Path], tmp_path: Path
) -> None:
    with rig(scenario_path("cologne8"), by_night(tmp_path)) as street:
        replanned = []
        while street.second < NIGHT_AT + 300:
            street.drive(1)
            replanned += [(street.second, signal_id) for signal_id in street.controllers.replanned]
        assert replanned == [(NIGHT_AT, SIGNAL)]
        assert street.plan().program_id == "night"
        assert street.controllers.out_of_step(street.second) == []
        assert street.checker.findings == []


@pytest.mark.parametrize("kind", ["static", "actuated"])
def test_a_signal_that_was_held_while_its_plan_changed_comes_back_to_the_one_that_is_due(
    scenario_path: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    at = 25250
    with rig(scenario_path("cologne8"), by_night(tmp_path, kind, at)) as street:
        command = proper_score(street)
        street.controllers.hear(command, "")
        end = street.second + 1 + int(sum(i.duration_s for i in command.intervals))
        assert street.second < at < end
        replanned = []
        while street.second < end + 200:
            street.drive(1)
            replanned += [(street.second, signal_id) for signal_id in street.controllers.replanned]
        assert [report.report for _, report in street.reports] == [STARTED, BACK_IN_PLAN]
        assert replanned == [(end + 1, SIGNAL)]
        assert (street.plan().program_id, street.plan().fixed) == ("night", kind == "static")
        assert street.sumo.program(SIGNAL) == "night"
        assert street.controllers.out_of_step(street.second) == []
        held = [finding for finding in street.checker.findings if finding.second <= end]
        assert held == []
    if kind == "static":
        # As it would stand if nobody had held it.
        shown = street.controllers.shown[SIGNAL]
        with rig(scenario_path("cologne8"), by_night(tmp_path, at=at)) as free:
            free.drive(end + 200 - free.second)
            assert free.controllers.shown[SIGNAL] == shown


def follows(street: Rig, name: str) -> events.SignalCommanded:
    """What is commanded while a signal follows the traffic: the green goes on."""
    shown = street.controllers.shown[SIGNAL]
    command = street.command(name, [(shown, 20), (shown.replace("G", "y").replace("g", "y"), 3), (RED, 2)])
    command.claims.add(phase=command.plan_phase)
    return command


def test_a_signal_refuses_to_follow_the_traffic_while_a_plan_that_people_decided_on_waits_to_be_taken_up(street: Rig) -> None:
    street.until_shows(GREEN_A)
    assert street.controllers.take_up(replace(street.plan(), program_id="p1"))
    refused = street.controllers.hear(follows(street, "due"), "")
    assert refused is not None
    assert refused.report == REFUSED
    street.until_shows(GREEN_B)
    assert street.plan().program_id == "p1"
    again = follows(street, "again")
    again.program_id = "p1"
    assert street.controllers.hear(again, "") is None


def test_a_signal_that_follows_the_traffic_refuses_to_while_another_plan_is_due_and_gives_way_to_priority_all_the_same(
    scenario_path: Callable[[str], Path], tmp_path: Path
) -> None:
    at = 25250
    with rig(scenario_path("cologne8"), by_night(tmp_path, at=at)) as street:
        command = proper_score(street)
        command.claims.add(phase=0)
        assert street.controllers.hear(command, "") is None
        end = street.second + 1 + int(sum(i.duration_s for i in command.intervals))
        street.until_shows(GREEN_B)
        street.drive(at - 1 - street.second)
        assert street.controllers.hear(follows(street, "before"), "") is None
        street.drive(2)
        refused = street.controllers.hear(follows(street, "due"), "")
        assert refused is not None
        assert refused.report == REFUSED
        priority = follows(street, "priority")
        del priority.claims[:]
        assert street.controllers.hear(priority, "") is None
        while street.plan().program_id != "night" and street.second < end + 200:
            street.drive(1)
            refused = street.controllers.hear(follows(street, f"due {street.second}"), "")
            assert refused is not None
        # It is heard again as soon as its plan is known.
        last = follows(street, "again")
        last.program_id = "night"
        assert street.controllers.hear(last, "") is None


@pytest.mark.parametrize(
    ("waut", "switches"),
    [
        ('refTime="0"', [(30, "night"), (70, "0")]),
        ('refTime="0:00:20" period="0:02:00"', [("0:00:10", "night"), (50, "0")]),
        ('refTime="110" period="120"', [(40, "night"), (80, "0")]),
        ('period="0"', [(30, "night")]),
    ],
)
def test_what_is_due_is_what_sumo_does_by_itself(
    scenario_path: Callable[[str], Path], tmp_path: Path, waut: str, switches: list[tuple[object, str]]
) -> None:
    file = changing(tmp_path, "static", waut, *switches)
    plan = read_day_plans([file])[SIGNAL]
    with rig(scenario_path("cologne8"), file, begin=0) as street:
        made, due, before = [], [], street.sumo.program(SIGNAL)
        while street.second < 400:
            street.drive(1)
            if (now := street.sumo.program(SIGNAL)) != before:
                made.append((street.second, now))
            if (program := plan.due(street.second - 1, street.second)) is not None:
                due.append((street.second, program))
            before = now
        assert made == due != []


def test_a_signal_that_was_held_while_its_plan_changed_again_comes_back_to_the_one_that_is_due(
    scenario_path: Callable[[str], Path], tmp_path: Path
) -> None:
    file = changing(tmp_path, "static", 'period="600"', (20, "night"), (300, "0"))
    with rig(scenario_path("cologne8"), file, begin=0) as street:
        while street.second < 560:
            street.drive(1)
        command = proper_score(street)
        street.controllers.hear(command, "")
        end = street.second + 1 + int(sum(i.duration_s for i in command.intervals))
        assert street.second < 620 < end < 900
        while street.second < end + 20:
            street.drive(1)
        assert street.sumo.program(SIGNAL) == "night"
        while street.second < 910:
            street.drive(1)
        assert street.sumo.program(SIGNAL) == "0"
