"""Keeps what a report draws: the street map, the tracks of ambulances, and the states of signals, in one small JSON document.

    {"begin": 25200, "end": 28800,
     "edges": [[[x, y], ...], ...], "signals": {id: [x, y]}, "places": [{"kind", "id", "name", "x", "y"}],
     "vehicles": {vehicle: {"incident_id", "ambulance_id", "at": [[second, x, y], ...]}},
     "shown": {id: [[second, "letters"], ...]}, "controlled": {id: [[first second, last second], ...]}}

Metres of the network's plane, rounded to decimetres; a position stands until the next one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from citybrain.simulation.ambulances import Mission
from citybrain.simulation.network import Network, Point
from citybrain.simulation.places import Call, Places, point

_TOLERANCE_M = 2.0


class Tracks:
    """The tracks of one run. `write` is called at its end."""

    def __init__(self, network: Network, places: Places | None, calls: Iterable[Call], begin: int) -> None:
        self._vehicles: dict[str, dict[str, Any]] = {}
        self._shown: dict[str, list[tuple[int, str]]] = {}
        self._controlled: dict[str, list[list[int]]] = {}
        self._document: dict[str, Any] = {
            "begin": begin,
            "edges": [[_rounded(p) for p in simplify(edge.shape)] for edge in network.edges.values()],
            "signals": {signal_id: _rounded(p) for signal_id, p in network.signal_points.items()},
            "places": _places(network, places, calls),
        }

    def look(self, second: int, missions: Iterable[Mission], shown: Mapping[str, str], controlled: Iterable[str]) -> None:
        """Takes in one second."""
        for mission in missions:
            if mission.point is None:
                continue
            kept = self._vehicles.setdefault(
                mission.vehicle_id, {"incident_id": mission.incident_id, "ambulance_id": mission.ambulance_id, "at": []}
            )["at"]
            if not kept or tuple(kept[-1][1:]) != mission.point:
                kept.append((second, *mission.point))
        for signal_id, state in shown.items():
            changes = self._shown.setdefault(signal_id, [])
            if not changes or changes[-1][1] != state:
                changes.append((second, state))
        for signal_id in controlled:
            spans = self._controlled.setdefault(signal_id, [])
            if spans and spans[-1][1] == second - 1:
                spans[-1][1] = second
            else:
                spans.append([second, second])

    def write(self, file: Path, end: int) -> None:
        """Writes the document."""
        document = {
            **self._document,
            "end": end,
            "vehicles": self._vehicles,
            "shown": self._shown,
            "controlled": self._controlled,
        }
        file.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def simplify(shape: tuple[Point, ...]) -> list[Point]:
    """The same line without the points that lie within 2 m of it (the method of Ramer, Douglas and Peucker)."""
    if len(shape) < 3:
        return list(shape)
    first, last = shape[0], shape[-1]
    length = math.dist(first, last)

    def off(p: Point) -> float:
        if length == 0:
            return math.dist(first, p)
        return abs((last[0] - first[0]) * (first[1] - p[1]) - (first[0] - p[0]) * (last[1] - first[1])) / length

    farthest = max(range(1, len(shape) - 1), key=lambda i: off(shape[i]))
    if off(shape[farthest]) <= _TOLERANCE_M:
        return [first, last]
    return simplify(shape[: farthest + 1])[:-1] + simplify(shape[farthest:])


def _rounded(p: Point) -> tuple[float, float]:
    return (round(p[0], 1), round(p[1], 1))


def _places(network: Network, places: Places | None, calls: Iterable[Call]) -> list[dict[str, Any]]:
    drawn = []
    if places is not None:
        drawn += [("hospital", h.hospital_id, h.name, h.entrance) for h in places.hospitals]
        drawn += [("station", s.station_id, s.station_id, s.place) for s in places.stations]
    drawn += [("call", f"call-{c.number}", f"call {c.number}", c.place) for c in calls]
    found = []
    for kind, name, title, place in drawn:
        x, y = _rounded(point(network, place))
        found.append({"kind": kind, "id": name, "name": title, "x": x, "y": y})
    return found
