"""Which roads are closed for the public around an incident. Pure.

No standard gives the distances that are used: they are proposals of this project, one for each kind of event.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as pb

from citybrain.mesh.roads import Roads, metres_around

METRES: Mapping[int, float] = MappingProxyType(
    {
        pb.EVENT_KIND_FIRE: 150,
        pb.EVENT_KIND_GAS_LEAK: 300,
        pb.EVENT_KIND_FLOOD: 300,
        pb.EVENT_KIND_CROWD: 200,
    }
)
"""How far the cordon reaches, in metres along roads."""

OTHERWISE_M = 100.0
MOST = 50
"""As many roads as one closure takes."""


def metres(kind: pb.EventKind) -> float:
    """How far the cordon of a kind of event reaches."""
    return METRES.get(kind, OTHERWISE_M)


def around(roads: Roads, place: RoadPlace, reach_m: float) -> list[str]:
    """The roads of which a part lies within so many metres of a place, the nearest first; the road of the place among them."""
    found = {place.edge_id: 0.0}
    for end in (dict.fromkeys(roads.length_m, 0.0), roads.length_m):
        points = {edge: RoadPlace(edge_id=edge, position_m=at) for edge, at in end.items()}
        for edge, away_m in metres_around(roads, place, points, reach_m).items():
            found[edge] = min(away_m, found.get(edge, away_m))
    return sorted(found, key=lambda edge: (found[edge], edge))[:MOST]
