"""One run of traffic, second by second. All variants share it, so that only the signals differ.

Owns SUMO, the ambulances, the signal controllers and the independent checker; knows nothing of a mesh.
"""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from citybrain.health.v1 import health_service_pb2 as health

from citybrain.simulation.ambulances import Fleet, Mission
from citybrain.simulation.day_plans import read_day_plans
from citybrain.simulation.loops import pairs, placed, write
from citybrain.simulation.lost_time import LostTime
from citybrain.simulation.network import Network
from citybrain.simulation.places import Call, Places
from citybrain.simulation.plans import Plan, read_plans
from citybrain.simulation.safety import Checker
from citybrain.simulation.scenario import Scenario
from citybrain.simulation.signals import Controllers, Report
from citybrain.simulation.sumo import Sumo
from citybrain.simulation.tracks import Tracks


@dataclass(frozen=True, slots=True)
class Second:
    """What happened in one second."""

    second: int
    stages: list[tuple[Mission, health.MissionStage]]
    reports: list[Report]
    # Signals whose plan changed.
    replanned: list[str]


class Street:
    """Use as a context manager. `advance` drives one second.

    `alone`: nobody but the ambulances is on the road, and every signal shows green all the time.
    """

    def __init__(
        self,
        scenario: Scenario,
        network: Network,
        seed: int,
        *,
        siren: bool,
        alone: bool = False,
        places: Places | None = None,
        calls: Iterable[Call] = (),
        tracks: bool = False,
        scale: float = 1.0,
        lost_time: bool = False,
        loops: bool = False,
    ) -> None:
        """`scale`: so many times as many vehicles as the scenario has. `lost_time`: where they lose time is kept. `loops`:
        there are loops in the lanes before signals."""
        self.scenario = scenario
        self.network = network
        self._folder = tempfile.TemporaryDirectory(prefix="citybrain-trips-")
        self._trips = Path(self._folder.name) / "trips.xml"
        options = ["--scale", "0" if alone else f"{scale:g}"]
        if loops:
            file = Path(self._folder.name) / "loops.add.xml"
            write(placed(pairs(network).values()), file)
            options += scenario.with_file(file)
        try:
            self.sumo = Sumo(scenario.path, seed, self._trips, options)
        except BaseException:
            self._folder.cleanup()
            raise
        self.begin = self.sumo.next_second
        self.plans = read_plans(self.sumo)
        self.controllers = Controllers(self.sumo, self.plans, read_day_plans([scenario.net_file, *scenario.additional]))
        self.checker = Checker(scenario.net_file, self.sumo)
        self.fleet = Fleet(self.sumo, network, siren)
        self._alone = alone
        self._tracks = Tracks(network, places, calls, self.begin) if tracks else None
        self._lost_time = LostTime(network, self.sumo, self.begin) if lost_time else None
        self.collisions = 0
        self.other_teleports = 0
        self.others: dict[str, Any] = {}

    def __enter__(self) -> Street:
        return self

    def __exit__(self, *_: object) -> None:
        self.sumo.close()
        self._folder.cleanup()

    def advance(self) -> Second:
        """Drives one second."""
        if self._alone:
            self._all_green()
        else:
            self.controllers.before()
        second = self.sumo.step()
        reports = self.controllers.after(second)
        if not self._alone:
            self.checker.look(second)
        stages = self.fleet.after(second, self.controllers.shown)
        self.collisions += self.sumo.collisions()
        ours = {mission.vehicle_id for mission in self.fleet.missions}
        self.other_teleports += sum(vehicle not in ours for vehicle in self.sumo.teleported())
        if self._tracks is not None:
            # A mission that has just ended is looked at once more.
            looked = [m for m in self.fleet.missions if not m.ended or m.at_hospital == second]
            self._tracks.look(second, looked, self.controllers.shown, self.controllers.controlled())
        if self._lost_time is not None:
            self._lost_time.look(second)
        return Second(second, stages, reports, self.controllers.replanned)

    def take_up(self, plan: Plan) -> bool:
        """Lets a signal change to a plan that people have decided on. False: it cannot."""
        if not self.controllers.take_up(plan):
            return False
        self.checker.accept(plan.signal_id, plan.program_id, {phase.state for phase in plan.phases})
        return True

    def _all_green(self) -> None:
        # In each second, because a network may change programs by the time of day.
        for signal_id, shown in self.controllers.shown.items():
            self.sumo.show(signal_id, "G" * len(shown or self.sumo.shown(signal_id)))

    def finish(self, tracks_file: Path | None = None, lost_time_file: Path | None = None) -> None:
        """Ends the run and reads what SUMO wrote of all other vehicles."""
        end = self.sumo.next_second
        self.sumo.close()
        self.others = other_vehicles(self._trips, {m.vehicle_id for m in self.fleet.missions})
        if self._tracks is not None and tracks_file is not None:
            self._tracks.write(tracks_file, end)
        if self._lost_time is not None and lost_time_file is not None:
            self._lost_time.write(lost_time_file, end)


def other_vehicles(trip_file: Path, without: set[str]) -> dict[str, Any]:
    """Mean time that other vehicles took and lost, in seconds each: delay on the way and delay of departure, of those that
    did not arrive or depart before the end too (leaving them out would make a gridlock look like a gain)."""
    lost_s = took_s = 0.0
    count = unfinished = undeparted = 0
    for _, element in ET.iterparse(trip_file):  # noqa: S314  # written by SUMO in this run
        if element.tag == "tripinfo":
            if element.get("id", "") not in without:
                count += 1
                delay_s = max(0.0, float(element.get("departDelay", "0")))
                lost_s += max(0.0, float(element.get("timeLoss", "0"))) + delay_s
                took_s += max(0.0, float(element.get("duration", "0"))) + delay_s
                unfinished += element.get("arrival", "").startswith("-1")
                undeparted += element.get("depart", "").startswith("-1")
            element.clear()
    return {
        "vehicles": count,
        "mean_time_loss_s": round(lost_s / count, 3) if count else 0.0,
        "mean_time_s": round(took_s / count, 3) if count else 0.0,
        "unfinished": unfinished,
        "undeparted": undeparted,
    }
