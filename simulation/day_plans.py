"""Which program a signal runs at a time of day, where the network changes it (SUMO calls such a plan WAUT).

SUMO changes programs by itself, but for a signal that is set from outside just then it forgets the change for good. So whoever
has set a signal asks here what is due when it is done. Seconds are those of the scenario's own clock.

A plan may have a period: then its changes come again after each. SUMO makes them where they stand in the order in which they
come, and the run begins before the last one of the first period; else it leaves some out, or all.
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
    """Changes of program. After `period` seconds they come again; 0: never."""

    changes: tuple[tuple[int, str], ...]
    period: int = 0

    def due(self, after: int, until: int) -> str | None:
        """The program after the last change between `after` (not included) and `until` (included); None where there is none."""
        made = [(self._newest(at, until), program) for at, program in self.changes if at <= until]
        # Of two changes in one second, the later one in the file.
        second, program = max(reversed(made), key=lambda change: change[0], default=(after, ""))
        return program if second > after else None

    def _newest(self, at: int, until: int) -> int:
        """When each change was made last."""
        return at + (until - at) // self.period * self.period if self.period else at


def read_day_plans(files: Iterable[Path]) -> dict[str, DayPlan]:
    """The day plan of each signal that has one, by the signal, from the network and the additional files of a scenario."""
    plans: dict[str, DayPlan] = {}
    ruled: dict[str, str] = {}
    for file in files:
        try:
            with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
                for _, element in ET.iterparse(stream):  # noqa: S314
                    if element.tag == "WAUT":
                        plans[element.get("id", "")] = _read(element)
                    elif element.tag == "wautJunction":
                        ruled[element.get("junctionID", "")] = element.get("wautID", "")
        except (OSError, ET.ParseError, ValueError, OverflowError) as error:
            raise ScenarioError(f"{file}: changes of programs (WAUT) cannot be read: {error}") from None
    return {signal_id: plans[name] for signal_id, name in ruled.items() if name in plans}


def _read(waut: ET.Element) -> DayPlan:
    first, period = _seconds(waut.get("refTime", "0")), max(0, int(_seconds(waut.get("period", "0"))))
    found = [(int(first + _seconds(one.get("time", "0"))), one.get("to", "")) for one in waut.iter("wautSwitch")]
    return DayPlan(tuple((at % period if period else at, program) for at, program in found), period)


def _seconds(time: str) -> float:
    """A time as SUMO writes it: in seconds, or as hours, minutes and seconds, with days before them or without."""
    *longer, seconds = time.strip().split(":")
    parts = [int(part) for part in longer]
    if len(parts) not in (0, 2, 3):
        raise ValueError(f"{time!r} is no time")
    days, hours, minutes = [0, 0, 0, *parts][-3:]
    return float(seconds) + 60 * minutes + 3600 * hours + 86400 * days
