"""Reads files that people write: places (YAML), calls (JSON Lines), and the folders of shipped cities.

A wrong or partial file is one ScenarioError that names file, line and field. The format of places:

    hospitals: [{id: general, name: General Hospital, edge_id: "E12", position_m: 40, places: 20}]
    stations: [{id: main, edge_id: "E3", position_m: 10, ambulances: 2}]
    districts: [{id: north, name: North 北, edge_ids: ["E1", "E2"]}]      # optional: derived where missing

and of one call a line: {"at_s": 300, "edge_id": "E7", "position_m": 25.0, "severity": "CRITICAL"}, where `at_s` counts from the
begin of the scenario and `severity` is MINOR, SERIOUS or CRITICAL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from citybrain.simulation.errors import ScenarioError
from citybrain.simulation.network import Network
from citybrain.simulation.places import Call, District, Hospital, Place, Places, Station, derive_districts
from citybrain.simulation.rows import Row, read_text, yaml_row

SEVERITIES = ("MINOR", "SERIOUS", "CRITICAL")
CITIES = Path(__file__).parent / "cities"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class City:
    """A shipped city: where its scenario is, below the scenarios folder, and whose data it is."""

    name: str
    title_en: str
    title_zh: str
    scenario: Path
    source: str
    licence: str
    places: Path | None


def read_places(file: Path, network: Network) -> Places:
    """Reads a places file."""
    root = yaml_row(file)
    root.known("hospitals", "stations", "districts")
    hospitals = tuple(_unique(root.each("hospitals"), lambda row: _hospital(row, network), lambda h: h.hospital_id))
    stations = tuple(_unique(root.each("stations"), lambda row: _station(row, network), lambda s: s.station_id))
    if "districts" not in root.values:
        return Places(derive_districts(network), hospitals, stations)
    districts = tuple(_unique(root.each("districts"), lambda row: _district(row, network), lambda d: d.district_id))
    return Places(districts, hospitals, stations)


def read_calls(file: Path, network: Network, span_s: int | None) -> list[Call]:
    """Reads a calls file. Returns the calls in the order of their times. `span_s`: how long the scenario lasts, in seconds."""
    calls = []
    for line, text in enumerate(read_text(file).splitlines(), 1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ScenarioError(f"{file}: line {line}: not JSON: {error.msg}") from None
        if not isinstance(values, dict):
            raise ScenarioError(f"{file}: line {line}: not a JSON object")
        row = Row(file, line, values, {})
        row.known("at_s", "edge_id", "position_m", "severity")
        at_s = int(row.get("at_s", int, "a whole number of seconds after the begin"))
        if at_s < 1 or (span_s is not None and at_s >= span_s):
            raise row.wrong("at_s", f"is {at_s}: the scenario lasts {span_s} s")
        severity = row.text("severity", f"one of {', '.join(SEVERITIES)}")
        if severity not in SEVERITIES:
            raise row.wrong("severity", f"is {severity!r}, not one of {', '.join(SEVERITIES)}")
        calls.append(Call(0, at_s, _place(row, network), severity))
    if not calls:
        raise ScenarioError(f"{file}: line 1: holds no call")
    calls.sort(key=lambda call: call.at_s)
    return [Call(n, c.at_s, c.place, c.severity) for n, c in enumerate(calls, 1)]


def read_city(name: str, folder: Path = CITIES) -> City:
    """Reads a shipped city."""
    file = folder / name / "city.yaml"
    if not file.is_file():
        known = ", ".join(sorted(p.parent.name for p in folder.glob("*/city.yaml")))
        raise ScenarioError(f"no city is called {name!r}; there are: {known}")
    row = yaml_row(file)
    row.known("name", "title", "scenario", "source", "licence", "places")
    title = row.inner("title")
    places = file.parent / row.text("places", "a file beside this one") if "places" in row.values else None
    return City(
        name=row.name("name"),
        title_en=title.text("en", "the title in English"),
        title_zh=title.text("zh", "the title in Chinese"),
        scenario=Path(row.text("scenario", "a path below the scenarios folder")),
        source=row.text("source", "where the data come from"),
        licence=row.text("licence", "under which terms"),
        places=places,
    )


def _place(row: Row, network: Network) -> Place:
    edge_id = row.text("edge_id", "an edge of the network, as text")
    edge = network.edges.get(edge_id)
    if edge is None:
        raise row.wrong("edge_id", f"is {edge_id!r}: the network has no such edge that an ambulance may drive")
    position = float(row.get("position_m", (int, float), "metres from the start of the edge"))
    if not 0 <= position <= edge.length_m:
        raise row.wrong("position_m", f"is {position:g}: edge {edge_id!r} is {edge.length_m:.1f} m long")
    return Place(edge_id, position)


def _hospital(row: Row, network: Network) -> Hospital:
    row.known("id", "name", "edge_id", "position_m", "places")
    return Hospital(row.name("id"), row.text("name", "a name"), _place(row, network), row.count("places", 10_000))


def _station(row: Row, network: Network) -> Station:
    row.known("id", "edge_id", "position_m", "ambulances")
    name = row.name("id")
    ambulances = tuple(f"{name[:56]}-{n}" for n in range(1, row.count("ambulances", 50) + 1))
    return Station(name, _place(row, network), ambulances)


def _district(row: Row, network: Network) -> District:
    row.known("id", "name", "edge_ids")
    edge_ids = row.get("edge_ids", list, "a list of edges")
    for edge_id in edge_ids:
        if edge_id not in network.edges:
            raise row.wrong("edge_ids", f"holds {edge_id!r}: the network has no such edge that an ambulance may drive")
    return District(row.name("id"), row.text("name", "a name"), frozenset(edge_ids))


def _unique(rows: Iterable[Row], make: Callable[[Row], T], key: Callable[[T], str]) -> Iterator[T]:
    seen: set[str] = set()
    for row in rows:
        made = make(row)
        if key(made) in seen:
            raise row.wrong("id", f"is {key(made)!r}, which another one has already")
        seen.add(key(made))
        yield made
