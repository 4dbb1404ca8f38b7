"""Plays the same morning twice: every signal runs its plan; and the city lets them follow the traffic, through the gateway."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from citybrain.local.city import ROOT, LocalCity
from citybrain.mesh.settings.values import Settings
from citybrain.simulation.given import City, read_city
from citybrain.stories.processes import Simulation

PLAN, CITY = "plan", "city"
EVERY_S = 300


@dataclass(frozen=True, slots=True)
class Morning:
    """What is played: a shipped city, a seed of its traffic, and for how many minutes."""

    city: str
    seed: int
    minutes: int


@dataclass(slots=True)
class Run:
    """What came of it: the result of each of both, and where time was lost (simulation/lost_time.py)."""

    morning: Morning
    city: City
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: dict[str, dict[str, Any]] = field(default_factory=dict)

    def mean_s(self, which: str) -> float:
        """Seconds that a vehicle takes on the average."""
        return float(self.results[which]["others"]["mean_time_s"])

    @property
    def vehicles(self) -> int:
        """How many drive, or wait to."""
        return int(self.results[PLAN]["others"]["vehicles"])


def play(morning: Morning, data: Path, tell: Callable[[str], None]) -> Run:
    """Plays it. `data`: a folder for the city, which is emptied first; `tell`: gets a sentence now and then."""
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    city = read_city(morning.city)
    run = Run(morning, city)
    local = LocalCity(Settings(data=data, time="driven"), say=tell)
    started: list[Simulation] = []
    try:
        address = local.start()

        def said(line: dict[str, Any]) -> None:
            if line.get("kind") == "progress" and line["second"] % EVERY_S == 0:
                tell(f"{_clock(line['second'])}: {line['vehicles']} vehicles are under way")

        no_rides = data / "no-rides.jsonl"
        no_rides.write_text("", encoding="utf-8")
        plan = ["ordinary", *_where(morning, data, PLAN), "--rides", str(no_rides)]
        started.append(Simulation(plan, data / "plan.log", lambda _line: None))
        ways = ["--adaptive", "--emergencies", "0", "--gateway", address, "--record", str(data / "record.jsonl")]
        driven = ["city", *_where(morning, data, CITY), *ways]
        started.append(Simulation(driven, data / "city.log", said, {"CITY_TOKEN": local.token()}))
        for which, simulation in zip((PLAN, CITY), started, strict=True):
            run.results[which] = simulation.wait()
            run.lost[which] = json.loads(_lost(data, which).read_text(encoding="utf-8"))
    finally:
        for simulation in started:
            simulation.stop()
        local.stop()
    return run


def _where(morning: Morning, data: Path, which: str) -> list[str]:
    return [
        "--city", morning.city, "--scenarios", str(ROOT / "build" / "scenarios"), "--seed", str(morning.seed),
        "--until", str(morning.minutes * 60), "--lost-time", str(_lost(data, which)),
    ]  # fmt: skip


def _lost(data: Path, which: str) -> Path:
    return data / f"lost-{which}.json"


def _clock(second: int) -> str:
    return f"{second // 3600:02}:{second % 3600 // 60:02}"
