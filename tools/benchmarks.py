"""Puts the newest results into docs/benchmarks.md: every row with its peer and its aim, and where the time goes.

`make readme` writes; `make check` fails where it has drifted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
LATEST = ROOT / "benchmarks" / "latest.json"
RIDES = ROOT / "benchmarks" / "rides.json"

_WAYS = {"ordinary": "obeying lights", "bluelight": "siren alone", "city": "with the city", "alone": "the bound"}
_COUNTED = {
    "rides": "rides",
    "mean_s": "mean, s",
    "median_s": "median",
    "p90_s": "p90",
    "worst_s": "worst",
    "never_ended": "never ended",
    "lost": "of them lost",
    "teleported": "moved by SUMO",
    "late_share": "share over 30 s later than with a siren alone",
    "reds_run": "reds run",
    "signals_passed": "of signals passed",
    "mean_over_bound": "mean / mean of the bounds",
    "median_over_bound": "median of ride / bound",
}


def made() -> str:
    """The page as it should stand."""
    from tools.readme import between

    rows = sorted(json.loads(LATEST.read_text(encoding="utf-8")), key=lambda row: (row["name"], row["peer"]))
    text = between(
        PAGE.read_text(encoding="utf-8"), "rows", _table([row for row in rows if not row["name"].startswith("demo-")])
    )
    text = between(text, "ways", _ways(json.loads(RIDES.read_text(encoding="utf-8"))))
    return between(
        text, "profiles", "\n\n".join(map(_profile, {row["name"]: row for row in rows if "profile" in row}.values()))
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| row | here | beside | ratio | aim | |", "|---|---|---|---|---|---|"]
    for row in rows:
        verdict = {True: "met", False: "**missed**", None: ""}[row.get("met")]
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(
            f"| {row['name']} | {_number(row['value'])} {row['unit']} | {_beside(row)} "
            f"| {ratio} | {row.get('aim', '')} | {verdict} |"
        )
    return "\n".join(lines)


def _ways(cities: Mapping[str, Any]) -> str:
    """Each way to drive, with all that is counted; then the seeds that are missing."""
    lines = [f"| | {' | '.join(_COUNTED.values())} |", "|---" * (len(_COUNTED) + 1) + "|"]
    missing = []
    for city, details in cities.items():
        for way, found in details.get("variants", {}).items():
            if found["rides"]:
                told = ("" if found[name] is None else f"{found[name]:.5g}" for name in _COUNTED)
                lines.append(f"| {city}, {_WAYS[way]} | {' | '.join(told)} |")
        for way, seeds in details.get("seeds in which SUMO crashed", {}).items():
            missing += [f"SUMO crashed on {city} in seed {seed} ({_WAYS[way]})." for seed in seeds]
        missing += [
            f"{city}, seed {seed} was refused: {why}" for seed, why in details.get("seeds that were refused", {}).items()
        ]
    return "\n".join([*lines, "", *(missing or ["SUMO crashed in no drive, and no seed was refused."])])


def _profile(row: Mapping[str, Any]) -> str:
    lines = [f"| {row['name']} | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {part} | {_number(cost)} |" for part, cost in row["profile"].items())])


def _beside(row: Mapping[str, Any]) -> str:
    """What stands beside it; empty: nothing does, and only its aim bounds it."""
    return f"{_number(row['peer_value'])}: {row['peer']}" if row["peer"] else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> int:
    """Writes it."""
    PAGE.write_text(made(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
