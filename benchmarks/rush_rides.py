"""rush-rides: ambulances with priority, while all other signals run their plans, and while they follow the traffic.

The same calls in the same traffic, through mesh and gateway. Reported are the mean ride, station to hospital with its delay of
departure, and beside it what everybody else loses. `rush.json` has the paired differences with their intervals.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks.rides import drive_seed
from benchmarks.rows import Aim, Row
from benchmarks.rush import DETAILS
from citybrain.stories.emergency.statistics import paired

CITY = "cologne8"


def measure(full: bool) -> list[Row]:
    """Six seeds with FULL, else one."""
    seeds = range(1, 7 if full else 2)
    found = {seed: {adaptive: _driven(seed, adaptive) for adaptive in (False, True)} for seed in seeds}
    rides = {a: [r for both in found.values() for r in _rides(both[a])] for a in (False, True)}
    others = {a: [float(both[a]["others"]["mean_time_loss_s"]) for both in found.values()] for a in (False, True)}
    if full:
        _keep(found)
    plans = "the same with fixed plans"
    return [
        Row("rush-rides ambulances", _mean(rides[True]), "s", plans, _mean(rides[False]), Aim(1.0, least=False)),
        Row("rush-rides others lose", _mean(others[True]), "s/vehicle", plans, _mean(others[False])),
    ]


def _mean(values: list[float]) -> float:
    return statistics.fmean(values)


def _driven(seed: int, adaptive: bool) -> dict[str, Any]:
    result = drive_seed(CITY, seed, (), adaptive=adaptive).results["city"]
    told = f"{_mean(_rides(result)):.0f} s a ride, {result['safety_findings']} faults"
    sys.stderr.write(f"{CITY} seed {seed}, {'adaptive' if adaptive else 'fixed plans'}: {told}\n")
    return result


def _rides(result: Mapping[str, Any]) -> list[float]:
    """Seconds of each ride; of one that did not end, to the end of the run."""
    return [float(call["ride_s"] if call["finished"] else result["end"] - call["called_at"]) for call in result["calls"]]


def _keep(found: Mapping[int, Mapping[bool, Mapping[str, Any]]]) -> None:
    apart = {
        seed: [a - b for a, b in zip(_rides(both[True]), _rides(both[False]), strict=True)] for seed, both in found.items()
    }
    details = json.loads(DETAILS.read_text(encoding="utf-8")) if DETAILS.is_file() else {}
    details["ambulances"] = {
        "city": CITY,
        "seeds": list(found),
        "adaptive − fixed plans, s a ride": asdict(paired(apart)),
        "safety findings": sum(both[True]["safety_findings"] for both in found.values()),
        "reds run": {
            str(a): sum(call["reds_run"] for both in found.values() for call in both[a]["calls"]) for a in (False, True)
        },
    }
    DETAILS.write_text(json.dumps(details, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
