"""Statistics of the rides of many seeds, for each way to drive them. Pure: made from one record for each ride.

A record: {"seed", "incident_id", "ambulance_id", "bound_s", "ordinary": drive, "bluelight": drive, "city": drive}, and a drive:
{"s", "ended", "lost", "teleports", "reds_run", "signals_passed"}. `s` are the seconds from station to hospital without the stay
at the scene; where the ride did not end, until the end of the run. `bound_s` is the same way with nobody else on the road and
every signal green (None where that did not end). A way in which SUMO crashed is not there.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.rows import quantile

SIREN = "bluelight"
DRIVEN = ("ordinary", SIREN, "city")
LATE_S = 30


def records(seed: int, results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One record for each ride of a seed, from the results of its drives. The drive `alone` gives the bound."""
    drives = {variant: {_name(call): call for call in result["calls"]} for variant, result in results.items()}
    found = []
    for name in sorted(drives["city"]):
        bound = drives.get("alone", {}).get(name, {"finished": False})
        record: dict[str, Any] = {"seed": seed, "incident_id": name[0], "ambulance_id": name[1]}
        record["bound_s"] = bound["ride_s"] if bound["finished"] else None
        # A call without an answer was driven by nobody. In the city's drive it counts as a ride that did not end.
        found.append(record | {v: _drive(drives[v][name], results[v]) for v in DRIVEN if name in drives.get(v, {})})
    return found


def figures(rides: Sequence[Mapping[str, Any]], variant: str) -> dict[str, Any]:
    """The statistics of one way to drive; without numbers where no ride was driven so."""
    driven = [ride for ride in rides if variant in ride]
    if not driven:
        return {"rides": 0}
    seconds = [float(ride[variant]["s"]) for ride in driven]
    beside = [ride for ride in driven if SIREN in ride]
    late = sum(ride[variant]["s"] > ride[SIREN]["s"] + LATE_S for ride in beside)
    bounded = [(float(ride[variant]["s"]), float(ride["bound_s"])) for ride in driven if ride["bound_s"]]
    return {
        "rides": len(driven),
        "mean_s": round(statistics.fmean(seconds), 1),
        "median_s": statistics.median(seconds),
        "p90_s": quantile(seconds, 0.9),
        "worst_s": max(seconds),
        "never_ended": sum(not ride[variant]["ended"] for ride in driven),
        "lost": sum(ride[variant]["lost"] for ride in driven),
        "teleported": sum(ride[variant]["teleports"] > 0 for ride in driven),
        "reds_run": sum(ride[variant]["reds_run"] for ride in driven),
        "signals_passed": sum(ride[variant]["signals_passed"] for ride in driven),
        "late_share": round(late / len(beside), 3) if beside else None,
        "mean_over_bound": round(sum(s for s, _ in bounded) / sum(b for _, b in bounded), 3) if bounded else None,
        "median_over_bound": round(statistics.median(s / b for s, b in bounded), 3) if bounded else None,
    }


def _name(call: Mapping[str, Any]) -> tuple[str, str]:
    return call["incident_id"], call.get("ambulance_id", "")


def _drive(call: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    begun = next(second for second in (call.get("began"), call.get("called_at"), result["begin"]) if second is not None)
    return {
        "s": call["ride_s"] if call["finished"] else result["end"] - begun,
        "ended": call["finished"],
        "lost": call.get("lost", False),
        "teleports": call.get("teleports", 0),
        "reds_run": call.get("reds_run", 0),
        "signals_passed": call.get("signals_passed", 0),
    }
