"""Travel times on the road network.

An ambulance takes the way that is shortest in free flow: with priority at the signals it does not share the waits of others,
and ways chosen by the measured speeds of cars were longer in simulation. The time it is expected to take is estimated along
that way from the speeds measured in the last five minutes, and from free flow where nothing was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from citybrain.roads.v1.roads_pb2 import RoadPlace, Route

from citybrain.mesh.errors import Refused

MEASURED_FOR_S = 300
"""Older measurements say nothing about now."""


@dataclass(frozen=True, slots=True)
class Roads:
    """The network as a graph whose nodes are edges of the road; an arc leads from an edge to one that may follow."""

    graph: Any
    length_m: Mapping[str, float]
    free_speed_mps: Mapping[str, float]

    def require(self, edge_id: str, what: str) -> None:
        """Raises Refused where an edge is not known."""
        if edge_id not in self.length_m:
            raise Refused(f"{what} lies on road {edge_id!r}, which is not in the published network", "UNKNOWN_ROAD")


def build(rows: Iterable[Mapping[str, Any]]) -> Roads:
    """The graph from the rows of the roads view."""
    # Only here and below: to load it takes a tenth of the start of a process, and until roads are published nobody asks.
    import networkx as nx

    graph: Any = nx.DiGraph()
    length: dict[str, float] = {}
    speed: dict[str, float] = {}
    for row in rows:
        for edge_id, length_m, free_mps, following in row["edges"]:
            length[edge_id], speed[edge_id] = length_m, free_mps
            for after in following:
                graph.add_edge(edge_id, after)
    for before, after in graph.edges:
        # Driving on to an edge costs the time to drive through it.
        graph[before][after]["seconds"] = length.get(after, 1e6) / speed.get(after, 1.0)
    graph.add_nodes_from(length)
    return Roads(graph, length, speed)


def routes_to(
    roads: Roads, target: RoadPlace, origins: Mapping[str, RoadPlace], speeds: Mapping[str, float]
) -> dict[str, Route]:
    """A route to the target from each origin that can reach it."""
    paths = _shortest(roads.graph.reverse(copy=False), target)
    found = {}
    for name, origin in origins.items():
        if origin.edge_id in paths:
            found[name] = _route(roads, list(reversed(paths[origin.edge_id])), origin, target, speeds)
    return found


def routes_from(
    roads: Roads, origin: RoadPlace, targets: Mapping[str, RoadPlace], speeds: Mapping[str, float]
) -> dict[str, Route]:
    """A route from the origin to each target that can be reached."""
    paths = _shortest(roads.graph, origin)
    found = {}
    for name, target in targets.items():
        if target.edge_id in paths:
            found[name] = _route(roads, paths[target.edge_id], origin, target, speeds)
    return found


def _shortest(graph: Any, source: RoadPlace) -> dict[str, list[str]]:
    """The edges to drive along, by where they lead to."""
    import networkx as nx

    _, paths = nx.single_source_dijkstra(graph, source.edge_id, weight="seconds")
    return dict(paths)


def _route(roads: Roads, edges: list[str], origin: RoadPlace, target: RoadPlace, speeds: Mapping[str, float]) -> Route:
    length, seconds = 0.0, 0.0
    for number, edge in enumerate(edges):
        start = origin.position_m if number == 0 else 0.0
        stop = target.position_m if number == len(edges) - 1 else roads.length_m[edge]
        driven = max(0.0, stop - start)
        length += driven
        seconds += driven / max(1.0, speeds.get(edge) or roads.free_speed_mps[edge])
    return Route(edge_ids=edges, length_m=round(length, 1), travel_time_s=round(seconds, 1))
