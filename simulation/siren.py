"""The siren of an ambulance under way: what its driver may do that others may not. SUMO is told in each second.

- Neither the right of way of others nor a red light holds it. (Speed mode 7: it keeps a safe distance, accelerates and brakes
  as it can, and waits for vehicles that are inside a junction already.)
- It brakes before a red light and crosses it at 20 km/h at most: a driver may pass a red light, but only with care. A light is
  red if none of the letters for the way is green. Yellow counts as red, because red follows.
- In a queue it may leave the lane of its way: in that lane it would wait for a gap. With no vehicle before it, it changes to
  the lane of its way: else it would stand for ever at the end of a lane that leads elsewhere.

SUMO's own blue-light device is not used. It drives through red at full speed, keeps cars before it in lanes that they want
to leave, and ends SUMO by SIGSEGV in some runs. Sources, and what a siren does that this one does not: docs/ambulance-model.md.
Distances in metres, speeds in metres a second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from citybrain.simulation.network import Network
from citybrain.simulation.sumo import Sumo

RED_MPS = 5.56
"""The highest speed across a red light: 20 km/h."""
BRAKING_MPS2 = 3.0
"""How hard a driver brakes who sees the light in time. An ambulance in SUMO can brake with 4.5."""
SEEN_M = 150.0
"""From how far a light is seen. At 60 km/h braking begins 47 m before it, at 100 km/h 129 m."""
STOOD_S = 1.0
QUEUE_M = 10.0
"""It stands in a queue if a vehicle stands this near before it."""

# Bits of SUMO's speed mode: 1 safe speed, 2 acceleration and 4 deceleration as the vehicle can, 8 right of way, 16 red lights.
_ALL_RULES, _SIREN_RULES = 31, 7
# Bits of SUMO's lane change mode. The lowest two allow changes for the way; the others keep SUMO's defaults.
_ALL_CHANGES, _NOT_FOR_THE_WAY = 0b0110_0101_0101, 0b0110_0101_0100


def red_mps(distance_m: float) -> float:
    """The highest speed at this distance before a red light. The last second before the line counts as past it."""
    return math.sqrt(RED_MPS**2 + 2 * BRAKING_MPS2 * max(0.0, distance_m - RED_MPS))


def red_ahead_m(network: Network, edge_ids: Sequence[str], position_m: float, shown: Mapping[str, str]) -> float | None:
    """Metres to the first red light that is seen, or None. `edge_ids`: the way, from `position_m` on the first edge."""
    ahead_m = -position_m
    for before, after in pairwise(edge_ids):
        ahead_m += network.edges[before].length_m
        if ahead_m > SEEN_M:
            return None
        if network.is_held(before, after, shown):
            return max(0.0, ahead_m)
    return None


class Siren:
    """The sirens of all ambulances of a run."""

    def __init__(self, sumo: Sumo, network: Network) -> None:
        self._vehicles = sumo.vehicles
        self._network = network

    def sound(self, vehicle_id: str, edge_ids: Sequence[str], position_m: float, shown: Mapping[str, str]) -> None:
        """Sets a vehicle under way for the next second. `edge_ids`: its way, from `position_m` on the first edge."""
        vehicles = self._vehicles
        red_m = red_ahead_m(self._network, edge_ids, position_m, shown)
        limit = math.inf if red_m is None else red_mps(red_m)
        queues = vehicles.getWaitingTime(vehicle_id) > STOOD_S and vehicles.getLeader(vehicle_id, QUEUE_M) is not None
        vehicles.setSpeedMode(vehicle_id, _SIREN_RULES)
        vehicles.setLaneChangeMode(vehicle_id, _NOT_FOR_THE_WAY if queues else _ALL_CHANGES)
        # In this mode a speed that is set is only a limit; the safe speed may be lower. -1 takes the limit away.
        vehicles.setSpeed(vehicle_id, limit if limit < vehicles.getAllowedSpeed(vehicle_id) else -1)

    def silence(self, vehicle_id: str) -> None:
        """Makes a vehicle that has stopped one like all others."""
        self._vehicles.setSpeedMode(vehicle_id, _ALL_RULES)
        self._vehicles.setLaneChangeMode(vehicle_id, _ALL_CHANGES)
        self._vehicles.setSpeed(vehicle_id, -1)
