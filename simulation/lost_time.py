"""Where vehicles lose time in a run, by road, and how many wait, over time: what a map of the morning is drawn from.

    {"begin": 25200, "end": 28800, "every_s": 10,
     "roads": {edge: {"shape": [[x, y], ...], "lost_s": vehicle seconds lost, "vehicles_s": vehicle seconds}},
     "over_time": [[second, vehicles under way, vehicles that wait], ...]}

Metres of the network's plane. A vehicle loses 1 − v/v_free of each second, v_free being the speed limit of its road.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from citybrain.simulation.network import Network
from citybrain.simulation.sumo import Sumo
from citybrain.simulation.tracks import simplify

EVERY_S = 10
WAITING_MPS = 2.0


class LostTime:
    """One run. `look` once a second, `write` at its end."""

    def __init__(self, network: Network, sumo: Sumo, begin: int) -> None:
        self._network, self._sumo, self._begin = network, sumo, begin
        self._lost: dict[str, float] = {}
        self._driven: dict[str, float] = {}
        self._over_time: list[tuple[int, int, int]] = []

    def look(self, second: int) -> None:
        """Takes in every tenth second."""
        if second % EVERY_S:
            return
        under_way = waiting = 0
        for edge_id, edge in self._network.edges.items():
            vehicles = self._sumo.edges.getLastStepVehicleIDs(edge_id)
            under_way += len(vehicles)
            for vehicle in vehicles:
                speed = self._sumo.vehicles.getSpeed(vehicle)
                waiting += speed < WAITING_MPS
                self._lost[edge_id] = self._lost.get(edge_id, 0.0) + max(0.0, 1.0 - speed / edge.speed_mps) * EVERY_S
            if vehicles:
                self._driven[edge_id] = self._driven.get(edge_id, 0.0) + len(vehicles) * EVERY_S
        self._over_time.append((second, under_way, waiting))

    def write(self, file: Path, end: int) -> None:
        """Writes the document."""
        document: dict[str, Any] = {
            "begin": self._begin,
            "end": end,
            "every_s": EVERY_S,
            "roads": {
                edge_id: {
                    "shape": [(round(x, 1), round(y, 1)) for x, y in simplify(edge.shape)],
                    "lost_s": round(self._lost.get(edge_id, 0.0), 1),
                    "vehicles_s": round(self._driven.get(edge_id, 0.0), 1),
                }
                for edge_id, edge in self._network.edges.items()
            },
            "over_time": self._over_time,
        }
        file.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
