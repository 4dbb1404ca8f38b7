"""Opens a SUMO scenario: its network, its begin and end, and whether it can serve as a city.

A scenario is any `.sumocfg` that names one network with traffic signals and at least one file of demand. Times are whole
seconds of the scenario's own clock. Anything that makes it unusable is a ScenarioError of one line that names file and field.
"""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from citybrain.simulation.errors import ScenarioError

_NAMES = {
    "net-file": ("net-file", "net"),
    "route-files": ("route-files", "route"),
    "additional-files": ("additional-files", "additional"),
    "begin": ("begin",),
    "end": ("end",),
}
# Elements that bring vehicles onto the road.
_DEMAND = (b"<flow", b"<trip", b"<vehicle")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A city to drive in: `begin` and `end` in seconds; `end` is None where the scenario does not set one."""

    path: Path
    net_file: Path
    begin: int
    end: int | None
    additional: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The name of the file, without its ending."""
        return self.path.stem

    def with_file(self, file: Path) -> list[str]:
        """The options by which SUMO reads one more additional file beside those of the scenario."""
        return ["--additional-files", ",".join(str(one) for one in (*self.additional, file))]


def open_scenario(path: Path) -> Scenario:
    """Reads the configuration and looks into the network. Raises ScenarioError."""
    if not path.is_file():
        raise ScenarioError(f"{path}: there is no such file; give the path of a .sumocfg")
    values = _values(path)
    net_file = _existing(path, values, "net-file", "the network")
    for name in values.get("route-files", "").split(","):
        if name.strip() and not (path.parent / name.strip()).is_file():
            raise ScenarioError(f"{path}: field route-files names {name.strip()!r}, which is not there")
    additional = tuple(path.parent / name.strip() for name in values.get("additional-files", "").split(",") if name.strip())
    for file in additional:
        if not file.is_file():
            raise ScenarioError(f"{path}: field additional-files names {file.name!r}, which is not there")
    if not values.get("route-files", "").strip() and not any(_has(file, _DEMAND) for file in additional):
        raise ScenarioError(f"{path}: field route-files is missing: without demand there is no traffic to get through")
    begin = _second(path, values, "begin")
    end = _second(path, values, "end")
    if end is not None and end <= (begin or 0):
        raise ScenarioError(f"{path}: field end is {end}, not after begin ({begin or 0})")
    if not _has(net_file, (b"<tlLogic",)):
        raise ScenarioError(f"{path}: field net-file names {net_file.name!r}, which has no traffic signals (tlLogic)")
    return Scenario(path, net_file, begin or 0, end, additional)


def _values(path: Path) -> dict[str, str]:
    try:
        root = ET.parse(path).getroot()  # noqa: S314
    except ET.ParseError as error:
        raise ScenarioError(f"{path}: line {error.position[0]}: not XML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from None
    found: dict[str, str] = {}
    for element in root.iter():
        for field, spellings in _NAMES.items():
            if element.tag in spellings:
                found[field] = element.get("value", element.get("v", ""))
    return found


def _existing(path: Path, values: dict[str, str], field: str, what: str) -> Path:
    name = values.get(field, "").strip()
    if not name:
        raise ScenarioError(f"{path}: field {field} is missing: it names {what}")
    file = path.parent / name
    if not file.is_file():
        raise ScenarioError(f"{path}: field {field} names {name!r}, which is not there")
    return file


def _second(path: Path, values: dict[str, str], field: str) -> int | None:
    text = values.get(field, "").strip()
    if not text or text.startswith("-"):
        return None
    try:
        days, clock = (text.rsplit(":", 3)[0], text.split(":")[-3:]) if text.count(":") == 3 else ("0", text.split(":"))
        seconds = 0.0
        for part in clock:
            seconds = seconds * 60 + float(part)
        return int(days) * 86400 + int(seconds)
    except ValueError:
        raise ScenarioError(f"{path}: field {field} is {text!r}, not a number of seconds") from None


def _has(file: Path, words: tuple[bytes, ...]) -> bool:
    """Whether a file contains any of some words."""
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            return any(word in line for line in stream for word in words)
    except OSError as error:
        raise ScenarioError(f"{file}: cannot be read: {error}") from None
