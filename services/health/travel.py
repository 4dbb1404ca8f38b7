"""Ways on the road network, and how long an ambulance takes along them.

An ambulance takes the way that is shortest in free flow: with priority at the signals it does not share the waits of others,
and ways chosen by the measured speeds of cars were longer in simulation. The time it is expected to take is that of its own
speed in free flow, and some seconds. Against rides through the simulated city the mean error of that was 14, 18, 41 and 10 % on
four networks; of a time made from the measured speeds of cars it was 28, 39, 26 and 41 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from citybrain.roads.v1.roads_pb2 import RoadPlace, Route

from citybrain.mesh.errors import Refused
from citybrain.services.health.views import RoadRow

DESIRED_SHARE = 1.2
"""The speed that an ambulance on its way wants to drive, as a share of free flow."""

LEG_S = 8.0
"""Seconds that a leg takes beyond that: to pull out, to slow down, to wait at signals that were not green in time."""

ROUNDED_M = 1.0
"""In metres: callers round lengths and positions, so a position this little beyond the end of a road is its end."""


@dataclass(frozen=True, slots=True)
class Roads:
    """The network as a graph. Its nodes are the edges of roads; an arc leads from an edge to one that may follow it."""

    graph: Any
    length_m: Mapping[str, float]
    free_speed_mps: Mapping[str, float]

    def require(self, place: RoadPlace, what: str) -> None:
        """Raises Refused where a place is not on the network."""
        length_m = self.length_m.get(place.edge_id)
        if length_m is None:
            raise Refused(
                f"{what} lies on road {place.edge_id!r}, which is not in the published network: name one that is or publish it",
                "UNKNOWN_ROAD",
            )
        if place.position_m > length_m + ROUNDED_M:
            where = f"{what} lies {place.position_m:g} m from the start of road {place.edge_id!r}, which is {length_m:g} m long"
            raise Refused(f"{where}: give a place on it", "OFF_THE_ROAD")


def build(rows: Iterable[RoadRow]) -> Roads:
    """The graph from the rows of the roads view."""
    # Imported here: it takes a tenth of the start of a process, and a start does not ask about roads.
    import networkx as nx

    graph: Any = nx.DiGraph()
    length: dict[str, float] = {}
    speed: dict[str, float] = {}
    for row in rows:
        for edge_id, length_m, free_mps, following in row.edges:
            length[edge_id], speed[edge_id] = length_m, free_mps
            for after in following:
                graph.add_edge(edge_id, after)
    for before, after in graph.edges:
        # Driving on to an edge costs the time to drive through it.
        graph[before][after]["seconds"] = length.get(after, 1e6) / speed.get(after, 1.0)
    graph.add_nodes_from(length)
    return Roads(graph, length, speed)


def routes_to(roads: Roads, target: RoadPlace, origins: Mapping[str, RoadPlace]) -> dict[str, Route]:
    """A route to the target from each origin that can reach it."""
    paths = _shortest(roads.graph.reverse(copy=False), target)
    found = {}
    for name, origin in origins.items():
        edges = _around(roads, origin.edge_id) if _passed(origin, target) else paths.get(origin.edge_id, [])[::-1]
        if edges:
            found[name] = _route(roads, edges, origin, target)
    return found


def routes_from(roads: Roads, origin: RoadPlace, targets: Mapping[str, RoadPlace]) -> dict[str, Route]:
    """A route from the origin to each target that can be reached."""
    paths = _shortest(roads.graph, origin)
    found = {}
    for name, target in targets.items():
        edges = _around(roads, origin.edge_id) if _passed(origin, target) else paths.get(target.edge_id, [])
        if edges:
            found[name] = _route(roads, edges, origin, target)
    return found


def _passed(origin: RoadPlace, target: RoadPlace) -> bool:
    """Whether a place lies behind another one on the same road: a vehicle cannot drive back to it."""
    return origin.edge_id == target.edge_id and target.position_m < origin.position_m


def _around(roads: Roads, edge_id: str) -> list[str]:
    """The shortest way around to the beginning of a road, from its end; empty where there is none."""
    import networkx as nx

    # Without a target: with one, the library gives one number and one path.
    found: Any = nx.single_source_dijkstra(roads.graph, edge_id, weight="seconds")
    seconds, paths = found
    # The drive through the road itself costs the same on every way around.
    before = [edge for edge in roads.graph.predecessors(edge_id) if edge in paths]
    if not before:
        return []
    return [*paths[min(before, key=lambda edge: (seconds[edge], edge))], edge_id]


def _shortest(graph: Any, source: RoadPlace) -> dict[str, list[str]]:
    """The edges to drive along, by where they lead to."""
    import networkx as nx

    _, paths = nx.single_source_dijkstra(graph, source.edge_id, weight="seconds")
    return dict(paths)


def _route(roads: Roads, edges: list[str], origin: RoadPlace, target: RoadPlace) -> Route:
    length, seconds = 0.0, LEG_S
    for number, edge in enumerate(edges):
        start = origin.position_m if number == 0 else 0.0
        stop = target.position_m if number == len(edges) - 1 else roads.length_m[edge]
        driven = max(0.0, stop - start)
        length += driven
        seconds += driven / max(1.0, DESIRED_SHARE * roads.free_speed_mps[edge])
    return Route(edge_ids=edges, length_m=round(length, 1), travel_time_s=round(seconds, 1))
