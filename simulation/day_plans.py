"""Which program a signal is to run at a time of day, where the network changes it: SUMO's WAUT.

SUMO changes programs by itself, but for a signal that is set from outside just then it forgets the change for good. So whoever
has set a signal asks here what is due when it is done. Seconds are those of the scenario's own clock.
"""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from citybrain.simulation.errors import ScenarioError


@dataclass(frozen=True, slots=True)
class DayPlan:
    """Changes of program, in the order of their seconds."""

    changes: tuple[tuple[int, str], ...]

    def due(self, after: int, until: int) -> str | None:
        """The program that the last change behind `after`, up to `until`, leads to; None where there is none."""
        return next((program for at, program in reversed(self.changes) if after < at <= until), None)


def read_day_plans(files: Iterable[Path]) -> dict[str, DayPlan]:
    """The day plan of each signal that has one, by the signal, from the network and the additional files of a scenario."""
    changes: dict[str, tuple[tuple[int, str], ...]] = {}
    ruled: dict[str, str] = {}
    for file in files:
        try:
            with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
                for _, element in ET.iterparse(stream):  # noqa: S314
                    if element.tag == "WAUT":
                        first = float(element.get("refTime", "0"))
                        found = [
                            (int(first + float(one.get("time", "0"))), one.get("to", "")) for one in element.iter("wautSwitch")
                        ]
                        changes[element.get("id", "")] = tuple(sorted(found))
                    elif element.tag == "wautJunction":
                        ruled[element.get("junctionID", "")] = element.get("wautID", "")
        except (OSError, ET.ParseError, ValueError) as error:
            raise ScenarioError(f"{file}: changes of programs (WAUT) cannot be read: {error}") from None
    return {signal_id: DayPlan(changes[name]) for signal_id, name in ruled.items() if name in changes}
