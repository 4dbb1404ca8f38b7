"""Networks as others make them are driven as they are, or refused in one line that says why."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from citybrain.traffic.v1 import traffic_service_pb2 as traffic

from citybrain.local.city import ROOT
from citybrain.mesh.runtime.validation import check
from citybrain.simulation.day_plans import read_day_plans
from citybrain.simulation.network import read_network, signal_messages
from citybrain.simulation.places import Places, derive_districts
from citybrain.simulation.plans import read_plans
from citybrain.simulation.registering import EDGES_A_CALL, road_edges
from citybrain.simulation.scenario import open_scenario
from citybrain.simulation.signals import Controllers
from citybrain.simulation.sumo import Sumo
from citybrain.stories.processes import Crashed, Simulation, SimulationError

pytestmark = pytest.mark.sumo

CONFIGURATION = """<configuration>
  <input><net-file value="{net}"/>{input}</input>
  <time><begin value="25200"/><end value="28800"/></time>{more}
</configuration>"""


def configuration(given: Path, folder: Path, *, demand: str = "route-files", more: str = "") -> Path:
    """A scenario on the network and with the demand of a given one, written otherwise."""
    demanded = f'<{demand} value="{given.with_suffix(".rou.xml")}"/>'
    scenario = folder / "other.sumocfg"
    text = CONFIGURATION.format(net=given.with_suffix(".net.xml"), input=demanded, more=more)
    scenario.write_text(text, encoding="utf-8")
    return scenario


def drive(scenario: Path, seconds: int = 20) -> subprocess.CompletedProcess[str]:
    """Drives nobody's calls for a while."""
    command = [sys.executable, "-m", "citybrain.simulation", "bluelight", "--scenario", str(scenario), "--rides", "-"]
    return subprocess.run(
        [*command, "--until", str(seconds)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False
    )


NETWORKS = sorted(path.name for path in (ROOT / "build/scenarios/sumo_rl/nets/RESCO").glob("*"))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_limits_of_the_contracts_are_wider_than_what_a_real_network_has(
    scenario_path: Callable[[str], Path], name: str
) -> None:
    given = scenario_path(name)
    network = read_network(open_scenario(given).net_file)
    with Sumo(given, 1) as sumo:
        plans = read_plans(sumo)
    signals = signal_messages(network, plans)
    assert signals
    for signal_ in signals:
        check(traffic.RegisterSignalRequest(signal=signal_))
    places = Places(derive_districts(network), (), ())
    edges = road_edges(network, places)
    for start in range(0, len(edges), EDGES_A_CALL):
        check(traffic.PublishRoadsRequest(edges=edges[start : start + EDGES_A_CALL]))


@pytest.mark.parametrize(
    "how",
    [
        {"more": '<report><verbose value="true"/><duration-log.statistics value="true"/></report>'},
        {"demand": "additional-files"},
    ],
    ids=["SUMO tells much", "demand in an additional file"],
)
def test_a_scenario_is_driven_however_it_is_written(
    scenario_path: Callable[[str], Path], tmp_path: Path, how: dict[str, str]
) -> None:
    done = drive(configuration(scenario_path("cologne1"), tmp_path, **how))
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["kind"] for line in told][-1] == "result"
    assert told[-1]["others"]["vehicles"] > 0


def test_a_scenario_without_demand_is_refused(scenario_path: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "empty.xml").write_text("<additional/>", encoding="utf-8")
    scenario = configuration(scenario_path("cologne1"), tmp_path)
    text = re.sub(r"<route-files.*?/>", '<additional-files value="empty.xml"/>', scenario.read_text(encoding="utf-8"))
    scenario.write_text(text, encoding="utf-8")
    done = drive(scenario)
    assert (done.returncode, done.stdout) == (2, "")
    assert "without demand there is no traffic" in done.stderr


def test_a_network_without_a_road_for_ambulances_is_refused(scenario_path: Callable[[str], Path], tmp_path: Path) -> None:
    given = scenario_path("cologne1")
    net = given.with_suffix(".net.xml").read_text(encoding="utf-8")
    net = re.sub(r'(<lane id="[^:][^>]*?)(?: (?:dis)?allow="[^"]*")? speed', r'\1 allow="rail" speed', net)
    (tmp_path / "rail.net.xml").write_text(net, encoding="utf-8")
    scenario = configuration(given, tmp_path)
    text = scenario.read_text(encoding="utf-8").replace(str(given.with_suffix(".net.xml")), "rail.net.xml")
    scenario.write_text(text, encoding="utf-8")
    done = drive(scenario)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "rail.net.xml: has no road that an ambulance may drive" in line


def test_what_sumo_cannot_load_is_told_with_its_reason_in_the_last_line(
    scenario_path: Callable[[str], Path], tmp_path: Path
) -> None:
    more = '<gui_only><gui-settings-file value="nice.xml"/></gui_only>'
    done = drive(configuration(scenario_path("cologne1"), tmp_path, more=more))
    assert done.returncode == 2
    told = done.stderr.splitlines()[-1]
    assert re.search(r"other.sumocfg: SUMO cannot load it: File '.*nice.xml' is not accessible.*: mend in the file", told), told


def test_both_letters_of_yellow_are_yellow(scenario_path: Callable[[str], Path], tmp_path: Path) -> None:
    given = scenario_path("cologne1")
    net = tmp_path / "one.net.xml"
    text = given.with_suffix(".net.xml").read_text(encoding="utf-8")
    net.write_text(re.sub(r'state="([^"]*)"', lambda m: f'state="{m[1].replace("y", "Y")}"', text), encoding="utf-8")
    scenario = configuration(given, tmp_path)
    text = scenario.read_text(encoding="utf-8").replace(str(given.with_suffix(".net.xml")), str(net))
    scenario.write_text(text, encoding="utf-8")
    with Sumo(scenario, 1) as sumo:
        plans = read_plans(sumo)
        controllers = Controllers(sumo, plans, read_day_plans([net]))
        (plan,) = plans.values()
        assert any("y" in phase.state for phase in plan.phases)
        assert not any("Y" in phase.state for phase in plan.phases)
        for _ in range(100):
            controllers.before()
            second = sumo.step()
            controllers.after(second)
            assert controllers.out_of_step(second) == []


def test_a_movement_that_its_junction_does_not_number_leaves_its_signal_to_the_plan(
    scenario_path: Callable[[str], Path], tmp_path: Path
) -> None:
    given = scenario_path("cologne1").with_suffix(".net.xml")
    text = given.read_text(encoding="utf-8")
    junction = next(m for m in re.finditer(r'<junction [^>]*type="traffic_light"[^>]*incLanes="([^"]*)"[^>]*>', text))
    lanes = junction[1].split()
    edited = text.replace(f'incLanes="{junction[1]}"', f'incLanes="{" ".join(lanes[1:])}"')
    (tmp_path / "odd.net.xml").write_text(edited, encoding="utf-8")
    with Sumo(scenario_path("cologne1"), 1) as sumo:
        plans = read_plans(sumo)
    (whole,) = signal_messages(read_network(given), plans)
    (odd,) = signal_messages(read_network(tmp_path / "odd.net.xml"), plans)
    assert (whole.plan_phases_only, odd.plan_phases_only) == (False, True)
    assert {link.index for link in odd.links} < {link.index for link in whole.links}


def test_a_crash_of_sumo_is_told_from_what_it_refuses_and_from_an_end_from_outside(
    scenario_path: Callable[[str], Path], tmp_path: Path
) -> None:
    crashes = Simulation(
        ["bluelight", "--scenario", str(scenario_path("cologne1")), "--rides", "-"], tmp_path / "a.log", lambda line: None
    )
    crashes._process.send_signal(signal.SIGSEGV)
    with pytest.raises(Crashed, match="SUMO itself crashed"):
        crashes.wait()
    ended = Simulation(
        ["bluelight", "--scenario", str(scenario_path("cologne1")), "--rides", "-"], tmp_path / "c.log", lambda line: None
    )
    ended._process.send_signal(signal.SIGKILL)
    with pytest.raises(SimulationError, match="ended from outside") as stopped:
        ended.wait()
    assert not isinstance(stopped.value, Crashed)
    refuses = Simulation(["bluelight", "--scenario", "nowhere.sumocfg", "--rides", "-"], tmp_path / "b.log", lambda line: None)
    with pytest.raises(SimulationError, match="there is no such file") as refused:
        refuses.wait()
    assert not isinstance(refused.value, Crashed)
