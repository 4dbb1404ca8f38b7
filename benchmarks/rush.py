"""rush-demo: the same traffic with the file's own plans, with plain max pressure, and with the city, on whole networks in SUMO.

The city is the code that traffic runs (`Watch`), called once a second with what cameras see; *city by loops* with what loops in
the road count. No mesh stands between, so that many seeds can be driven; `city demo rush` drives the same through mesh and
gateway. *Time* is the mean over all vehicles of what their trip took with its delay of departure; of those that did not arrive
or did not get onto the road it counts to the end.

Max pressure (Varaiya, 2013) as it is mostly used: every 10 s the stage with the greatest sum over its green links of vehicles
on the lane before less vehicles on the lane behind, with the same yellow and all red.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from citybrain.traffic.v1 import area_control_pb2 as control
from citybrain.traffic.v1.events_pb2 import SignalCommanded, SignalReported

from benchmarks.rows import Aim, Row
from citybrain.services.traffic import conflicts, domain, signal_timing
from citybrain.services.traffic import plan as plans
from citybrain.services.traffic.domain import SignalState
from citybrain.services.traffic.signal_timing import Shown
from citybrain.services.traffic.stages import Staged, stage
from citybrain.services.traffic.watch import Watch
from citybrain.simulation.cameras import Cameras
from citybrain.simulation.loop_counts import Loops
from citybrain.simulation.moments import MIDNIGHT
from citybrain.simulation.network import read_network, signal_messages
from citybrain.simulation.scenario import open_scenario
from citybrain.simulation.signals import Report
from citybrain.simulation.street import Street
from citybrain.stories.emergency.statistics import paired

ROOT = Path(__file__).parents[1]
DETAILS = Path(__file__).with_name("rush.json")
PLAN, PRESSURE, CITY, LOOPS = "plan", "max pressure", "city", "city by loops"
WAYS = (PLAN, PRESSURE, CITY, LOOPS)
DECIDES_EVERY_S = 10
WORST = 1.01


@dataclass(frozen=True, slots=True)
class Town:
    """A network of RESCO: how many times as many vehicles as in its file, the aim for city / plan, and whether it was tuned
    on."""

    name: str
    scale: float = 1.0
    at_most: float = WORST
    tuned_on: bool = False

    @property
    def config(self) -> Path:
        """Its SUMO configuration."""
        return ROOT / "build" / "scenarios" / "sumo_rl" / "nets" / "RESCO" / self.name / f"{self.name}.sumocfg"


TOWNS = (
    Town("cologne8", at_most=0.8, tuned_on=True),
    Town("grid4x4", at_most=0.8, tuned_on=True),
    # At its whole demand it stands still with its own plan: most vehicles never get onto the road.
    Town("arterial4x4", 0.25, at_most=0.8, tuned_on=True),
    Town("ingolstadt21", at_most=0.97, tuned_on=True),
    Town("cologne1"),
    Town("cologne3"),
    Town("ingolstadt1"),
    Town("ingolstadt7"),
)


def measure(full: bool) -> list[Row]:
    """All towns with ten seeds each with FULL; else two towns with one."""
    towns, seeds = (TOWNS, range(1, 11)) if full else (TOWNS[:2], range(1, 2))
    jobs = [(town, way, seed) for town in towns for seed in seeds for way in WAYS]
    # One process for each drive: there is one SUMO in a process.
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        found = list(zip(jobs, pool.imap(_drive, jobs, chunksize=1), strict=True))
    rows: list[Row] = []
    details = _kept()
    networks = details.setdefault("networks", {})
    for town in towns:
        by_way = {way: {seed: r for (t, w, seed), r in found if t == town and w == way} for way in WAYS}
        rows += _rows(town, by_way)
        if full:
            networks[town.name] = _details(town, by_way)
    if full:
        DETAILS.write_text(json.dumps(details, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return rows


def _kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DETAILS.read_text(encoding="utf-8")) if DETAILS.is_file() else {}
    return found


def _rows(town: Town, by_way: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> list[Row]:
    mean = {way: statistics.fmean(r["mean_time_s"] for r in by_way[way].values()) for way in WAYS}
    return [
        Row(f"rush-demo {town.name}, city", mean[CITY], "s", "the file's plan", mean[PLAN], Aim(town.at_most, least=False)),
        Row(f"rush-demo {town.name}, city beside", mean[CITY], "s", "max pressure", mean[PRESSURE], Aim(1.0, least=False)),
        Row(f"rush-demo {town.name}, {LOOPS}", mean[LOOPS], "s", "the file's plan", mean[PLAN], Aim(WORST, least=False)),
    ]


def _details(town: Town, by_way: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> dict[str, Any]:
    sums = ("unfinished", "undeparted", "teleports", "collisions", "safety_findings", "given_back")
    plan = by_way[PLAN]
    return {
        "seeds": sorted(plan),
        "scale": town.scale,
        "tuned on": town.tuned_on,
        "vehicles": round(statistics.fmean(r["vehicles"] for r in plan.values())),
        "ways": {
            way: {"mean_s": round(statistics.fmean(r["mean_time_s"] for r in results.values()), 1)}
            | {name: sum(r[name] for r in results.values()) for name in sums}
            for way, results in by_way.items()
        },
        **_beside(by_way[CITY], plan, "city"),
        **_beside(by_way[LOOPS], plan, LOOPS),
    }


def _beside(city: Mapping[int, Mapping[str, Any]], plan: Mapping[int, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The same drives beside the plan's: mean and worst ratio, and the paired difference with its interval."""
    ratios = {seed: city[seed]["mean_time_s"] / plan[seed]["mean_time_s"] for seed in plan}
    return {
        f"{name} / plan": round(statistics.fmean(ratios.values()), 3),
        f"worst seed, {name}": round(max(ratios.values()), 3),
        f"{name} − plan, s": asdict(paired({seed: [city[seed]["mean_time_s"] - plan[seed]["mean_time_s"]] for seed in plan})),
    }


def _drive(job: tuple[Town, str, int]) -> dict[str, Any]:
    town, way, seed = job
    scenario = open_scenario(town.config)
    network = read_network(scenario.net_file)
    with Street(scenario, network, seed, siren=False, scale=town.scale, loops=way == LOOPS) as street:
        drive = Drive(street, way)
        end = scenario.end or street.begin + 3600
        while street.sumo.next_second < end:
            drive.second()
        street.finish()
        result = {
            **street.others,
            "teleports": street.other_teleports,
            "collisions": street.collisions,
            "safety_findings": len(street.checker.findings),
            "commands": street.controllers.commanded,
            "given_back": drive.given_back,
        }
    sys.stderr.write(f"{town.name} seed {seed} {way}: {result['mean_time_s']:.1f} s a trip\n")
    return result


class Drive:
    """One drive; `second` drives one."""

    def __init__(self, street: Street, way: str) -> None:
        self.street, self.way = street, way
        self.given_back = 0
        self._zero = round(MIDNIGHT.timestamp())
        self._seen: Cameras | Loops = Loops(street) if way == LOOPS else Cameras(street)
        signals = {signal.signal_id: signal for signal in signal_messages(street.network, street.plans)}
        speeds = {edge.edge_id: edge.speed_mps for edge in street.network.edges.values()}
        staged = {name: stage(conflicts.prepare(signal), speeds) for name, signal in signals.items()}
        self._staged = {name: one for name, one in staged.items() if one.can_follow}
        self._watches = {name: Watch.of(one, "area") for name, one in self._staged.items()}
        self._states = {name: SignalState(signal=signals[name]) for name in self._staged}

    def second(self) -> None:
        """Drives a second, and commands what follows from it."""
        happened = self.street.advance()
        for report in happened.reports:
            self._hear(report)
        if self.way in (CITY, LOOPS):
            for seen in self._seen.look(happened.second, self._staged):
                self._city(float(self._zero + happened.second), seen)
        elif self.way == PRESSURE and happened.second % DECIDES_EVERY_S == 0:
            for name, one in self._staged.items():
                self._pressure(name, one, happened.second)

    def _city(self, at: float, seen: control.SignalTraffic) -> None:
        command, told = self._watches[seen.signal_id].look(at, self._states[seen.signal_id], seen)
        self.given_back += told is not None
        if command is not None:
            self._command(command)

    def _pressure(self, name: str, staged: Staged, second: int) -> None:
        controllers, now = self.street.controllers, float(self._zero + second + 1)
        shown = Shown(controllers.shown[name], tuple(controllers.since_s(name, second)))
        if "y" in shown.state or not signal_timing.can_begin(staged.lights, shown):
            return
        best = max(staged.stages, key=lambda one: (self._pressure_of(name, one.state), one.state == shown.state))
        made = signal_timing.serve(staged.lights, shown, now, best.state, float(DECIDES_EVERY_S), staged.clearance)
        plan = staged.lights.plan
        self._command(
            SignalCommanded(
                signal_id=name, command_id=domain.command_id(name, now), from_state=made.from_state, intervals=made.intervals,
                program_id=plan.program_id, plan_phase=made.plan_phase, plan_phase_left_s=made.plan_phase_left_s,
            )
        )  # fmt: skip

    def _pressure_of(self, name: str, state: str) -> int:
        network, lanes = self.street.network, self.street.sumo.lanes
        pressure = 0
        for index in (i for i, letter in enumerate(state) if letter in plans.GREEN):
            for lane in network.signal_lanes.get((name, index), ()):
                behind = [lanes.getLastStepVehicleNumber(one) for one in network.lanes_after[lane]]
                pressure += lanes.getLastStepVehicleNumber(lane) - round(statistics.fmean(behind) if behind else 0.0)
        return pressure

    def _command(self, command: SignalCommanded) -> None:
        name = command.signal_id
        self._states[name] = domain.evolve(self._states[name], command)
        refused = self.street.controllers.hear(command, "")
        if refused is not None:
            self._hear(refused)

    def _hear(self, report: Report) -> None:
        if report.signal_id in self._states:
            told = SignalReported(
                signal_id=report.signal_id, command_id=report.command_id, report=report.report, state=report.state
            )
            self._states[report.signal_id] = domain.evolve(self._states[report.signal_id], told)
