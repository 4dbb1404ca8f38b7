"""The same calls in the same traffic, three times: obeying the lights, with blue light only, and with the city.

For each seed all drives share demand, calls and end. A ride that did not end counts to the end of the run. Reported are the
median of the paired differences and a 95 % interval by bootstrap over seeds, for ambulances and for everybody else.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.rows import Row
from citybrain.cli.local import ROOT
from citybrain.demo.processes import Crashed
from citybrain.demo.run import Options, drive
from citybrain.demo.statistics import paired

CALLS = 6
# Five minutes of traffic, six calls 400 s apart, and time for the last ride to end.
UNTIL_S = 300 + 400 * (CALLS - 1) + 1000
DETAILS = Path(__file__).with_name("rides.json")


def measure(city: str, seeds: Sequence[int]) -> list[Row]:
    """Drives all seeds of one city; keeps the details beside the rows."""
    outcomes: dict[int, dict[str, Any]] = {}
    crashed: list[int] = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            where = ["--city", city, "--scenarios", str(ROOT / "build" / "scenarios"), "--until", str(UNTIL_S)]
            try:
                outcome = drive(Options(where, seed, CALLS, Path(folder)), lambda _v, _l: None, lambda _t: None)
            except Crashed as error:
                # SUMO's blue-light device can crash it, in the city's drive too.
                sys.stderr.write(f"{city} seed {seed}: {error}\n")
                crashed.append(seed)
                continue
        outcomes[seed] = outcome.results
        medians = {v: sorted(_rides(r))[CALLS // 2] for v, r in outcome.results.items()}
        sys.stderr.write(f"{city} seed {seed}: {outcome.took_s:.0f} s, rides {medians}\n")
    if not outcomes:
        raise SystemExit(f"{city}: SUMO crashed in the city's drive of every seed ({crashed}): there is nothing to compare")
    return _rows(city, outcomes, crashed)


def _rides(result: dict[str, Any]) -> list[float]:
    return [float(call.get("ride_s", result["end"] - call.get("called_at", result["begin"]))) for call in _in_order(result)]


def _in_order(result: dict[str, Any]) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = sorted(result["calls"], key=lambda call: call["incident_id"])
    return calls


def _rows(city: str, outcomes: dict[int, dict[str, Any]], crashed: list[int]) -> list[Row]:
    rows: list[Row] = []
    details: dict[str, Any] = {}
    everything = outcomes
    for peer in ("ordinary", "bluelight"):
        # SUMO's blue-light device crashes it in some runs: those seeds have no pair, and are named.
        outcomes = {seed: results for seed, results in everything.items() if peer in results}
        details[f"seeds without {peer}"] = sorted(set(everything) - set(outcomes))
        rides = {seed: [a - b for a, b in zip(_rides(r["city"]), _rides(r[peer]), strict=True)] for seed, r in outcomes.items()}
        others = {
            seed: [r["city"]["others"]["mean_time_loss_s"] - r[peer]["others"]["mean_time_loss_s"]]
            for seed, r in outcomes.items()
        }
        for who, differences, unit in (("ride", rides, "s"), ("others", others, "s/vehicle")):
            found = paired(differences)
            base = _median([v for r in outcomes.values() for v in _base(who, r[peer])])
            now = _median([v for r in outcomes.values() for v in _base(who, r["city"])])
            rows.append(Row(f"demo-rides {city} {who}, city", now, unit, f"{peer}, same calls and traffic", base))
            details[f"{who} against {peer}"] = asdict(found) | {"base_median": base, "city_median": now}
    outcomes = everything
    details["calls"] = CALLS
    details["seeds"] = list(outcomes)
    details["seeds in which SUMO crashed in the city's drive"] = crashed
    for name in ("safety_findings", "collisions"):
        details[name] = sum(r["city"][name] for r in outcomes.values())
    for variant in ("ordinary", "bluelight", "city"):
        driven = [r[variant] for r in outcomes.values() if variant in r]
        details[f"{variant}: ambulances teleported"] = sum(r["teleports"]["ambulances"] for r in driven)
        details[f"{variant}: rides unfinished"] = sum(not call["finished"] for r in driven for call in r["calls"])
    details["out of step at the end"] = sum(len(r["city"]["signals"]["out_of_step_at_end"]) for r in outcomes.values())
    kept = json.loads(DETAILS.read_text(encoding="utf-8")) if DETAILS.is_file() else {}
    DETAILS.write_text(json.dumps(kept | {city: details}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return rows


def _base(who: str, result: dict[str, Any]) -> list[float]:
    return _rides(result) if who == "ride" else [float(result["others"]["mean_time_loss_s"])]


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
