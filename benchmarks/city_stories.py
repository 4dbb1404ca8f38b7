"""story-pollution and story-burst: how long a story takes, and how well the city does over many seeds.

What is right follows from what was played, by code that no service uses (`check.py` of each story).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.rows import Aim, Row
from citybrain.stories.burst import plan as burst_plan
from citybrain.stories.burst import run as burst
from citybrain.stories.burst.check import STEPS
from citybrain.stories.pollution import plan as pollution_plan
from citybrain.stories.pollution import run as pollution
from citybrain.stories.pollution.check import NEAR_M

_SECONDS, _NONE = Aim(60, "value", least=False), Aim(0, "value", least=False)


def pollution_rows(full: bool) -> list[Row]:
    """One seed, and the same day with nothing wrong; with FULL twenty of each."""
    with tempfile.TemporaryDirectory() as folder:
        return _pollution(Path(folder), range(1, 21 if full else 2))


def burst_rows(full: bool) -> list[Row]:
    """One seed, and a day of quiet hours; with FULL twenty, and a week."""
    with tempfile.TemporaryDirectory() as folder:
        return _burst(Path(folder), range(1, 21 if full else 2), 168 if full else 24)


def _pollution(folder: Path, seeds: range) -> list[Row]:
    took, apart, found, false = [], [], 0, 0
    for seed in seeds:
        began = time.perf_counter()
        day = pollution.play(pollution_plan.made(seed), folder / "pollution", lambda _: None)
        took.append(time.perf_counter() - began)
        found += day.found
        apart += [day.apart_m] if day.apart_m is not None else []
        quiet = pollution.play(pollution_plan.made(seed, quiet=True), folder / "quiet", lambda _: None)
        false += bool(quiet.suspected)
    name = f"story-pollution, {len(seeds)} seeds"
    return [
        Row(name, median(took), "s", "", 0, _SECONDS),
        Row(f"{name}, found", found, "sources", "hidden", len(seeds), Aim(1)),
        Row(f"{name}, traced place", median(apart), "m from the true one", "", 0, Aim(NEAR_M, "value", least=False)),
        Row(f"{name}, raised for nothing", false, "days", "quiet days", len(seeds), _NONE),
    ]


def _burst(folder: Path, seeds: range, quiet_hours: int) -> list[Row]:
    took, steps, named = [], [], 0
    for seed in seeds:
        began = time.perf_counter()
        run = burst.play(burst_plan.made(seed), folder / "burst", lambda _: None)
        took.append(time.perf_counter() - began)
        steps += [run.steps_to_find] if run.steps_to_find is not None else []
        named += run.place is not None
    quiet = burst.play(burst_plan.made(1, quiet_hours=quiet_hours), folder / "quiet-burst", lambda _: None)
    name = f"story-burst, {len(seeds)} seeds"
    return [
        Row(name, median(took), "s", "", 0, _SECONDS),
        Row(f"{name}, found", len(steps), "bursts", "played", len(seeds), Aim(1)),
        Row(f"{name}, found within {STEPS} steps", sum(one <= STEPS for one in steps), "bursts", "played", len(seeds), Aim(1)),
        Row(f"{name}, until it is found", median(steps), "reporting steps", "the longest", max(steps)),
        Row(f"{name}, the pipe is named", named, "bursts", "played", len(seeds)),
        Row(f"story-burst, {quiet_hours} quiet hours", len(quiet.noticed_s), "alarms", "", 0, _NONE),
    ]
