"""Rows of results: each stands beside a peer or a floor measured in the same run, and says whether its aim was met.

A row that misses its aim tells where the time goes, as measured in that run too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import override

LATEST = Path(__file__).with_name("latest.json")


@dataclass(frozen=True, slots=True)
class Aim:
    """A limit for one number of a row: its `value`, its `ratio`, or its `difference` from the peer's value."""

    number: float
    of: str = "ratio"
    least: bool = True

    @override
    def __str__(self) -> str:
        return f"{self.of} {'≥' if self.least else '≤'} {self.number:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row. Its `ratio` is value / peer_value, or NaN where peer_value is 0."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float
    aim: Aim | None = None
    # The cost of one unit of the work, part by part. The name of a part says its unit.
    profile: Mapping[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """value / peer_value."""
        return self.value / self.peer_value if self.peer_value else math.nan

    @property
    def met(self) -> bool | None:
        """Whether the aim was met; None where there is none."""
        if self.aim is None:
            return None
        found = {"value": self.value, "ratio": self.ratio, "difference": self.value - self.peer_value}[self.aim.of]
        return found >= self.aim.number if self.aim.least else found <= self.aim.number

    def as_json(self) -> dict[str, object]:
        """The row as latest.json has it."""
        told: dict[str, object] = {
            "name": self.name, "value": round(self.value, 4), "unit": self.unit, "peer": self.peer,
            "peer_value": round(self.peer_value, 4), "ratio": None if math.isnan(self.ratio) else round(self.ratio, 3),
        }  # fmt: skip
        if self.aim is not None:
            told |= {"aim": str(self.aim), "met": self.met}
        if self.profile:
            told["profile"] = {part: round(cost, 3) for part, cost in self.profile.items()}
        return told


def keep(rows: Sequence[Row]) -> None:
    """Writes rows into latest.json. Rows with the same name and peer are replaced, others stay."""
    old = json.loads(LATEST.read_text(encoding="utf-8")) if LATEST.is_file() else []
    new = [row.as_json() for row in rows]
    names = {(row["name"], row["peer"]) for row in new}
    kept = [row for row in old if (row["name"], row["peer"]) not in names]
    LATEST.write_text(json.dumps(new + kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]
