"""The same calls driven three times: obeying the lights, with a siren alone, and with the city; and once alone, as their bound.

For each seed the three share traffic, calls and end. Reported are what each way comes to (ride_table.py), and the median of the
paired differences with a 95 % interval by bootstrap over seeds, for ambulances and for everybody else. A seed that could not be
driven, or only in part, is named with what was said. Every ride stands in each_ride.jsonl, so that a late one can be looked at.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.ride_table import DRIVEN, figures, records
from benchmarks.rows import Row
from citybrain.local.city import ROOT
from citybrain.stories.emergency.run import Options, Outcome, drive
from citybrain.stories.emergency.statistics import paired
from citybrain.stories.processes import Crashed, SimulationError

CALLS = 6
# Five minutes of traffic, six calls 400 s apart, and time for the last ride to end.
UNTIL_S = 300 + 400 * (CALLS - 1) + 1000
DETAILS = Path(__file__).with_name("rides.json")
EACH_RIDE = Path(__file__).with_name("each_ride.jsonl")
BASELINES = ("ordinary", "bluelight", "alone")


def measure(city: str, seeds: Sequence[int]) -> list[Row]:
    """Drives all seeds of one city; keeps the details beside the rows."""
    outcomes: dict[int, dict[str, Any]] = {}
    rides: list[dict[str, Any]] = []
    # By variant, the seeds in which SUMO itself crashed; and the messages of seeds that were refused.
    crashed: dict[str, list[int]] = {variant: [] for variant in ("city", *BASELINES)}
    refused: dict[int, str] = {}
    for seed in seeds:
        try:
            outcome = drive_seed(city, seed)
        except Crashed as error:
            sys.stderr.write(f"{city} seed {seed}: {error}\n")
            crashed["city"].append(seed)
            continue
        except SimulationError as error:
            sys.stderr.write(f"{city} seed {seed}: refused: {error}\n")
            refused[seed] = str(error)
            continue
        outcomes[seed] = outcome.results
        for variant in outcome.crashed:
            crashed[variant].append(seed)
        rides += (driven := records(seed, outcome.results))
        told = ", ".join(_told(driven, variant) for variant in DRIVEN)
        sys.stderr.write(f"{city} seed {seed}: {outcome.took_s:.0f} s; rides in s, mean (worst): {told}\n")
    if not outcomes:
        raise SystemExit(
            f"{city}: no seed was driven (SUMO crashed: {crashed['city']}, refused: {refused}): nothing to compare"
        )
    rows, differences = _compared(city, outcomes, rides)
    details = {
        "calls": CALLS,
        "seeds": list(outcomes),
        "seeds in which SUMO crashed": crashed,
        "seeds that were refused": refused,
        "variants": {variant: figures(rides, variant) for variant in DRIVEN},
        **differences,
    }
    for name in ("safety_findings", "collisions"):
        details[name] = sum(r["city"][name] for r in outcomes.values())
    details["out of step at the end"] = sum(len(r["city"]["signals"]["out_of_step_at_end"]) for r in outcomes.values())
    _keep(city, details, rides)
    return rows


def drive_seed(city: str, seed: int, baselines: tuple[str, ...] = BASELINES, *, adaptive: bool = False) -> Outcome:
    """One seed. `adaptive`: all other signals follow the traffic before them."""
    where = ["--city", city, "--scenarios", str(ROOT / "build" / "scenarios"), "--until", str(UNTIL_S)]
    with tempfile.TemporaryDirectory() as folder:
        options = Options(where, seed, CALLS, Path(folder), baselines=baselines, adaptive=adaptive)
        return drive(options, lambda _variant, _line: None, lambda _told: None)


def _told(rides: Sequence[Mapping[str, Any]], variant: str) -> str:
    found = figures(rides, variant)
    return f"{variant} {found['mean_s']:.0f} ({found['worst_s']:.0f})" if found["rides"] else f"{variant} crashed"


def _compared(
    city: str, outcomes: Mapping[int, Mapping[str, Any]], rides: Sequence[Mapping[str, Any]]
) -> tuple[list[Row], dict[str, Any]]:
    """The city beside each of the others, over the seeds in which SUMO did not crash in that one."""
    rows: list[Row] = []
    differences: dict[str, Any] = {}
    for peer in ("ordinary", "bluelight"):
        both: dict[str, dict[int, list[tuple[float, float]]]] = {"ride": {}, "others": {}}
        for ride in rides:
            if peer in ride:
                both["ride"].setdefault(ride["seed"], []).append((ride["city"]["s"], ride[peer]["s"]))
        for seed, results in outcomes.items():
            if peer in results:
                both["others"][seed] = [(_others(results["city"]), _others(results[peer]))]
        for who, pairs in both.items():
            if not pairs:
                continue
            found = paired({seed: [a - b for a, b in values] for seed, values in pairs.items()})
            now, base = (statistics.median(pair[i] for values in pairs.values() for pair in values) for i in (0, 1))
            unit = "s" if who == "ride" else "s/vehicle"
            rows.append(Row(f"demo-rides {city} {who}, city", now, unit, f"{peer}, same calls and traffic", base))
            differences[f"{who} against {peer}"] = asdict(found) | {"base_median": base, "city_median": now}
    return rows, differences


def _others(result: Mapping[str, Any]) -> float:
    return float(result["others"]["mean_time_loss_s"])


def _keep(city: str, details: Mapping[str, Any], rides: Sequence[Mapping[str, Any]]) -> None:
    kept = json.loads(DETAILS.read_text(encoding="utf-8")) if DETAILS.is_file() else {}
    DETAILS.write_text(json.dumps(kept | {city: details}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    lines = EACH_RIDE.read_text(encoding="utf-8").splitlines() if EACH_RIDE.is_file() else []
    lines = [line for line in lines if json.loads(line)["scenario"] != city]
    lines += [json.dumps({"scenario": city, **ride}) for ride in rides]
    EACH_RIDE.write_text("\n".join(lines) + "\n", encoding="utf-8")
