"""Where an ambulance stops: at its place, on the lane in which it arrives.

A stop that is made for the kerb long before holds an ambulance for ever beside a kerb lane that is full. So there is none
until the place is near, and what is made then goes with the ambulance from lane to lane. Where it is kept standing within two
cars' length of its place, that is there; farther away it has no stop, and may leave the lane that keeps it. The same for all
variants.
"""

from __future__ import annotations

from collections.abc import Sequence

from citybrain.simulation.network import Network
from citybrain.simulation.places import Place
from citybrain.simulation.sumo import Sumo, SumoRefused

AT_HAND_M = 15.0
STOOD_S = 1.0
# A place is near when half of the braking power is enough. SUMO refuses a stop that comes too late.
_BRAKING_MPS2 = 2.0


def near_m(speed_mps: float) -> float:
    """From how many metres on the stop is set, at a speed."""
    return AT_HAND_M + speed_mps**2 / (2 * _BRAKING_MPS2)


class Stops:
    """The stops of all ambulances of a run: at most one each, on the road that has the place."""

    def __init__(self, sumo: Sumo, network: Network) -> None:
        self._sumo = sumo
        self._network = network
        # The lane on which the stop of each was set.
        self._made: dict[str, str] = {}

    def forget(self, vehicle_id: str) -> None:
        """Lets it go on, or takes back a stop that it no longer needs."""
        self._made.pop(vehicle_id, None)

    def approach(self, vehicle_id: str, edge_ids: Sequence[str], position_m: float, place: Place) -> None:
        """One second on the way to a place on the last of `edge_ids`. The vehicle is on the first, and has not stopped."""
        vehicles = self._sumo.vehicles
        edge = self._network.edges[place.edge_id]
        # SUMO needs some room for a stop.
        stop_m = min(max(place.position_m, 1.0), edge.length_m)
        left_m = sum(self._network.edges[edge_id].length_m for edge_id in edge_ids[:-1]) + stop_m - position_m
        if left_m > near_m(float(vehicles.getSpeed(vehicle_id))):
            self._take_back(vehicle_id)
            return
        lane = self._lane(vehicle_id, place.edge_id)
        if lane is None:
            return
        if len(edge_ids) == 1 and vehicles.getWaitingTime(vehicle_id) > STOOD_S:
            self._take_back(vehicle_id)
            here_m = min(position_m + 0.5, edge.length_m)
            self._make(vehicle_id, lane, place.edge_id, here_m, from_m=max(0.0, position_m - 0.5))
        elif self._made.get(vehicle_id) != lane:
            self._take_back(vehicle_id)
            # If it has passed its place, or can no longer brake in time, it stops at the end of the road.
            if not self._make(vehicle_id, lane, place.edge_id, stop_m) and len(edge_ids) == 1:
                self._make(vehicle_id, lane, place.edge_id, edge.length_m)

    def _lane(self, vehicle_id: str, edge_id: str) -> str | None:
        """The lane on which it will drive along an edge: its own lane, or the one to which that leads."""
        lane = str(self._sumo.vehicles.getLaneID(vehicle_id))
        onward = [lane, *(str(link[0]) for link in self._sumo.lanes.getLinks(lane))] if lane else []
        return next((lane for lane in onward if lane.rpartition("_")[0] == edge_id), None)

    def _make(self, vehicle_id: str, lane: str, edge_id: str, position_m: float, from_m: float | None = None) -> bool:
        try:
            self._sumo.stop_at(vehicle_id, edge_id, position_m, int(lane.rpartition("_")[2]), from_m)
        except SumoRefused:
            return False
        self._made[vehicle_id] = lane
        return True

    def _take_back(self, vehicle_id: str) -> None:
        if self._made.pop(vehicle_id, None) is not None:
            self._sumo.no_stop(vehicle_id)
