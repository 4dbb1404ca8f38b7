"""The rides of a city run as orders that another run can follow, so that both drive the same ways at the same seconds.

Lines of JSON, as the city run prints them on stdout. Lines of other kinds are ignored:

    {"kind": "ride", "second", "incident_id", "ambulance_id", "called_at", "station": {"edge_id", "position_m"}, "scene": {…},
     "edges": [station … scene]}
    {"kind": "ride_hospital", "second", "incident_id", "ambulance_id", "hospital_id", "entrance": {…},
     "edges": [scene … entrance]}
    {"kind": "ride_withdrawn", "second", "incident_id", "ambulance_id"}
    {"kind": "progress", "second"}        every order for the second after this one has been told

`second` of an order is the second of the scenario before which it is carried out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from citybrain.simulation.ambulances import Fleet, Mission
from citybrain.simulation.errors import ScenarioError
from citybrain.simulation.places import Place

RIDE, HOSPITAL, WITHDRAWN = "ride", "ride_hospital", "ride_withdrawn"


def place_json(place: Place) -> dict[str, Any]:
    """A place as it stands in a line."""
    return {"edge_id": place.edge_id, "position_m": place.position_m}


class Orders:
    """Reads only as many lines as the next second needs, so it can follow a city run that is still under way."""

    def __init__(self, lines: Iterable[str], name: str) -> None:
        self._lines: Iterator[tuple[int, str]] = iter(enumerate(lines, 1))
        self._name = name
        self._waiting: list[dict[str, Any]] = []
        self._told = -1
        self._ended = False
        self.calls: dict[str, dict[str, Any]] = {}
        """The call of each incident, as the result shows it."""

    def due(self, second: int) -> list[dict[str, Any]]:
        """The orders to carry out before `second`, in the order in which they were given. Waits until they are known."""
        while not self._ended and self._told < second - 1:
            self._read()
        due = [order for order in self._waiting if order["second"] <= second]
        self._waiting = [order for order in self._waiting if order["second"] > second]
        return due

    def _read(self) -> None:
        number, text = next(self._lines, (0, ""))
        if not number:
            self._ended = True
            return
        if not text.strip():
            return
        try:
            order = json.loads(text)
            kind = order["kind"]
            if kind == "progress":
                self._told = max(self._told, int(order["second"]))
            elif kind in (RIDE, HOSPITAL, WITHDRAWN):
                int(order["second"])
                self._waiting.append(order)
            elif kind == "result":
                self._ended = True
            if kind == RIDE:
                self.calls[order["incident_id"]] = {"called_at": order.get("called_at"), "call": order.get("call")}
        except (ValueError, KeyError, TypeError) as error:
            raise ScenarioError(f"{self._name}: line {number}: not a line of a city run: {error!r}") from None


def carry_out(order: dict[str, Any], fleet: Fleet) -> Mission | None:
    """Carries out an order. ScenarioError where it does not fit the network."""
    try:
        incident_id, ambulance_id = order["incident_id"], order["ambulance_id"]
        for edge_id in order.get("edges", []):
            if edge_id not in fleet.network.edges:
                raise ScenarioError(f"the ride for {incident_id} leads over {edge_id!r}, which the network does not have")
        if order["kind"] == RIDE:
            return fleet.begin(incident_id, ambulance_id, _place(order["station"]), _place(order["scene"]), order["edges"])
        mission = fleet.of(incident_id, ambulance_id)
        if mission is not None and order["kind"] == HOSPITAL:
            fleet.bring_to(mission, _place(order["entrance"]), order["edges"])
        elif mission is not None:
            fleet.withdraw(mission)
        return mission
    except (KeyError, TypeError) as error:
        raise ScenarioError(f"a ride is told only in part: {error!r}") from None


def _place(value: dict[str, Any]) -> Place:
    return Place(value["edge_id"], float(value["position_m"]))
