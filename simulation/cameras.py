"""The cameras before signals: what is waiting, coming and passing on each lane, up to 150 m from its stop line.

Where a lane is shorter, its camera sees the lanes that lead to it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from citybrain.traffic.v1 import area_control_pb2 as control

from citybrain.simulation.lost_time import WAITING_MPS
from citybrain.simulation.street import Street
from citybrain.simulation.stretches import VIEW_M, Stretch, lanes_of_signals, stretches

ZONE_M = 25.0


def before_signals(
    street: Street, second: int, signal_ids: Iterable[str], lanes: Callable[[str], list[control.LaneTraffic]]
) -> list[control.SignalTraffic]:
    """What some signals show in a second, and what is before them. `lanes`: what is on the lanes before a signal."""
    controllers = street.controllers
    return [
        control.SignalTraffic(
            signal_id=name, state=controllers.shown[name], since_s=controllers.since_s(name, second), lanes=lanes(name)
        )
        for name in signal_ids
    ]


@dataclass(slots=True)
class Cameras:
    """All cameras of a city. `look` once a second, after the step."""

    street: Street
    _views: Mapping[str, tuple[Stretch, ...]] = field(default_factory=dict)
    _lanes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _stood: dict[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._views = stretches(self.street.network)
        self._lanes = lanes_of_signals(self.street.network)

    @property
    def signal_ids(self) -> list[str]:
        """The signals that have cameras: all whose plan is known."""
        return [signal_id for signal_id in self._lanes if signal_id in self.street.plans]

    def look(self, second: int, signal_ids: Iterable[str]) -> list[control.SignalTraffic]:
        """What is seen before some signals in a second."""
        seen: dict[str, list[tuple[float, float]]] = {}
        return before_signals(
            self.street, second, signal_ids, lambda name: [self._lane(lane, seen) for lane in self._lanes.get(name, ())]
        )

    def _lane(self, lane: str, seen: dict[str, list[tuple[float, float]]]) -> control.LaneTraffic:
        waiting, coming = 0.0, [0.0] * round(VIEW_M / ZONE_M)
        for stretch in self._views[lane]:
            for to_end_m, speed in self._on(stretch.lane_id, seen):
                metres = stretch.ahead_m + to_end_m
                if metres >= VIEW_M:
                    continue
                if speed < WAITING_MPS:
                    waiting += stretch.share
                else:
                    coming[int(metres / ZONE_M)] += stretch.share
        while coming and not coming[-1]:
            coming.pop()
        return control.LaneTraffic(
            lane_id=lane, waiting=round(waiting, 3), coming=[round(n, 3) for n in coming], passed=self._passed(lane)
        )

    def _on(self, lane: str, seen: dict[str, list[tuple[float, float]]]) -> list[tuple[float, float]]:
        """Vehicles on a lane: metres to its end, and speed."""
        if lane not in seen:
            sumo, length_m = self.street.sumo, self.street.network.lane_length_m[lane]
            seen[lane] = [
                (max(0.0, length_m - sumo.vehicles.getLanePosition(v)), sumo.vehicles.getSpeed(v))
                for v in sumo.lanes.getLastStepVehicleIDs(lane)
            ]
        return seen[lane]

    def _passed(self, lane: str) -> int:
        """Vehicles that left the lane over its end. One that changed to the lane beside it did not."""
        sumo = self.street.sumo
        now = frozenset(sumo.lanes.getLastStepVehicleIDs(lane))
        gone = self._stood.get(lane, frozenset()) - now
        self._stood[lane] = now
        road = lane.rpartition("_")[0]
        there = sumo.vehicles.getIDList() if gone else ()
        return sum(v not in there or sumo.vehicles.getRoadID(v) != road for v in gone)
