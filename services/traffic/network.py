"""The road network with its signals, prepared for looking ahead along a route."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1.traffic_service_pb2 import GrantPriorityRequest, Signal

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.roads import beyond_the_end
from citybrain.services.traffic.conflicts import Lights, Way, prepare


@dataclass(frozen=True, slots=True)
class Network:
    """Edge lengths in metres; the signal that rules the way from one edge to the next, and the one at the end of an edge.

    `closed`: the roads that nobody drives through now.
    """

    length_m: Mapping[str, float] = field(default_factory=dict)
    lights: Mapping[str, Lights] = field(default_factory=dict)
    at_way: Mapping[Way, str] = field(default_factory=dict)
    at_end: Mapping[str, str] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()


def build(edges: Iterable[RoadEdge], signals: Iterable[Signal]) -> Network:
    """Prepares a network. To be done when roads or signals have changed, not every second."""
    lights = {signal.signal_id: prepare(signal) for signal in sorted(signals, key=lambda s: s.signal_id)}
    return Network(
        length_m={edge.edge_id: edge.length_m for edge in edges},
        lights=lights,
        at_way={way: signal_id for signal_id, one in lights.items() for way in one.ways},
        at_end={edge: signal_id for signal_id, one in lights.items() for edge in one.approaches},
    )


def crossings(network: Network, edge_ids: Sequence[str]) -> list[tuple[int, str]]:
    """Where a route passes a signal: (place in the route of the edge before it, signal), in order."""
    return [(k, network.at_way[way]) for k, way in enumerate(pairwise(edge_ids)) if way in network.at_way]


def check_way(network: Network, request: GrantPriorityRequest) -> None:
    """BadRequest where a stop is not on the way.

    A road that is not known here is passed over: who made the way may have heard of it earlier, and all other signals count.
    """
    problems = []
    for number, stop in enumerate(request.stops):
        if stop.route_index >= len(request.edge_ids):
            problems.append(
                (f"stops[{number}].route_index", f"must be less than the number of roads ({len(request.edge_ids)})")
            )
            continue
        edge = request.edge_ids[stop.route_index]
        if problem := beyond_the_end(network.length_m, edge, stop.position_m):
            problems.append((f"stops[{number}].position_m", problem))
    if problems:
        raise BadRequest(problems)


def signals_on(network: Network, edge_ids: Sequence[str]) -> list[str]:
    """The signals on a route, each once, in the order in which it reaches them."""
    return list(dict.fromkeys(signal_id for _, signal_id in crossings(network, edge_ids)))
