"""Rows of results: each stands beside a peer or a floor measured in the same run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

LATEST = Path(__file__).with_name("latest.json")


@dataclass(frozen=True, slots=True)
class Row:
    """`ratio` is value / peer_value; NaN where there is nothing to divide by."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float

    @property
    def ratio(self) -> float:
        """value / peer_value."""
        return self.value / self.peer_value if self.peer_value else math.nan

    def as_json(self) -> dict[str, object]:
        """As it stands in latest.json."""
        ratio = None if math.isnan(self.ratio) else round(self.ratio, 3)
        return {**asdict(self), "value": round(self.value, 4), "peer_value": round(self.peer_value, 4), "ratio": ratio}


def keep(rows: Sequence[Row]) -> None:
    """Writes rows into latest.json: those of the same name and peer are replaced, others stay."""
    old = json.loads(LATEST.read_text(encoding="utf-8")) if LATEST.is_file() else []
    new = [row.as_json() for row in rows]
    names = {(row["name"], row["peer"]) for row in new}
    kept = [row for row in old if (row["name"], row["peer"]) not in names]
    LATEST.write_text(json.dumps(new + kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]
