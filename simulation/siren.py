"""The siren of an ambulance that is under way: what its driver may do that others may not, told to SUMO in each second.

- Right of way of others and the colour of a light do not hold it (speed mode 7: it keeps a safe distance, and to what it can
  accelerate and brake, and waits for who is inside a junction already).
- It brakes before a red light, and crosses it at 20 km/h at most: a driver may pass a red light, but not without care. Red is
  where none of the letters for its way is green; a yellow light is about to be.
- In a queue it does not insist on the lane of its way: there it would wait for a gap, and it can go on in another. Where nobody
  is before it, it does: it would stand for ever where a lane ends that does not lead on.

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
"""The most at which a red light is crossed: 20 km/h."""
BRAKING_MPS2 = 3.0
"""How a driver brakes who has seen the light in time; an ambulance in SUMO can do 4.5."""
SEEN_M = 150.0
"""How far ahead a light is seen. At 60 km/h it is braked for from 47 m on, at 100 km/h from 129 m on."""
STOOD_S = 1.0
QUEUE_M = 10.0
"""How near before it another stands where it stands in a queue."""

# Bits of SUMO's speed mode: 1 safe speed, 2 acceleration and 4 deceleration as the vehicle can, 8 right of way, 16 red lights.
_ALL_RULES, _SIREN_RULES = 31, 7
# Bits of SUMO's lane change mode. The lowest two are changes that the way asks for; the rest is as SUMO has it.
_ALL_CHANGES, _NOT_FOR_THE_WAY = 0b0110_0101_0101, 0b0110_0101_0100


def red_mps(distance_m: float) -> float:
    """The most at which to drive so far before a red light. What is driven in the second before the line counts as past it."""
    return math.sqrt(RED_MPS**2 + 2 * BRAKING_MPS2 * max(0.0, distance_m - RED_MPS))


def red_ahead_m(network: Network, edge_ids: Sequence[str], position_m: float, shown: Mapping[str, str]) -> float | None:
    """How far it is to the first red light, if it is seen. `edge_ids`: the way from where it is, `position_m` on the first."""
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
        """For the next second, of one that is under way. `edge_ids`: the way from where it is, `position_m` on the first."""
        vehicles = self._vehicles
        red_m = red_ahead_m(self._network, edge_ids, position_m, shown)
        limit = math.inf if red_m is None else red_mps(red_m)
        queues = vehicles.getWaitingTime(vehicle_id) > STOOD_S and vehicles.getLeader(vehicle_id, QUEUE_M) is not None
        vehicles.setSpeedMode(vehicle_id, _SIREN_RULES)
        vehicles.setLaneChangeMode(vehicle_id, _NOT_FOR_THE_WAY if queues else _ALL_CHANGES)
        # With this mode a speed that is set is a limit only: a safe one goes before it. -1 takes the limit away.
        vehicles.setSpeed(vehicle_id, limit if limit < vehicles.getAllowedSpeed(vehicle_id) else -1)

    def silence(self, vehicle_id: str) -> None:
        """It has stopped, and is a vehicle like others."""
        self._vehicles.setSpeedMode(vehicle_id, _ALL_RULES)
        self._vehicles.setLaneChangeMode(vehicle_id, _ALL_CHANGES)
        self._vehicles.setSpeed(vehicle_id, -1)
