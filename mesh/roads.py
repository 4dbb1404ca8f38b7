"""The road network as a graph: ways on it, how long they take, and how far apart two places are. Pure, for every sector.

The way is the shortest in free flow. How fast a vehicle drives along it is for its sector to say (`Driving`). No way leads
through a closed road; it may begin on one, and end on one: who needs help may be there.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from citybrain.roads.v1.roads_pb2 import RoadPlace, Route

from citybrain.mesh.errors import Refused

Edge = tuple[str, float, float, list[str]]
"""A road: its id, its length in metres, its speed in free flow in metres per second, and the roads that follow."""

ROUNDED_M = 1.0
"""In metres: callers round lengths and positions, so a position this little beyond the end of a road is its end."""

UNKNOWN_M = 1e6
"""The length in metres of a road that is only named by another one: nobody drives there."""


def beyond_the_end(lengths_m: Mapping[str, float], edge_id: str, position_m: float) -> str:
    """What is wrong with a position on a road, for a BadRequest; empty: nothing, or nobody here knows the road.

    `lengths_m`: road → metres. A road that is not known passes: others may know it.
    """
    length_m = lengths_m.get(edge_id)
    if length_m is None or position_m <= length_m + ROUNDED_M:
        return ""
    return f"is {position_m:g} m, and road {edge_id!r} is {length_m:g} m long: give a place on it"


@dataclass(frozen=True, slots=True)
class Driving:
    """How a kind of vehicle drives: its speed as a share of free flow, and seconds that each way takes beyond that."""

    share: float
    leg_s: float


@dataclass(frozen=True, slots=True)
class Roads:
    """The network as a graph. Its nodes are the edges of roads; an arc leads from an edge to one that may follow it."""

    graph: Any
    length_m: Mapping[str, float]
    free_speed_mps: Mapping[str, float]
    total_m: float = 0.0

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


def build(edges: Iterable[Edge]) -> Roads:
    """The graph of these roads."""
    # Imported here: it takes a tenth of the start of a process, and a start does not ask about roads.
    import networkx as nx

    graph: Any = nx.DiGraph()
    length: dict[str, float] = {}
    speed: dict[str, float] = {}
    for edge_id, length_m, free_mps, following in edges:
        length[edge_id], speed[edge_id] = length_m, free_mps
        for after in following:
            graph.add_edge(edge_id, after)
    for before, after in graph.edges:
        # Driving on to an edge costs the time to drive through it.
        graph[before][after]["seconds"] = length.get(after, UNKNOWN_M) / speed.get(after, 1.0)
    graph.add_nodes_from(length)
    return Roads(graph, length, speed, math.fsum(length.values()))


def routes_to(
    roads: Roads, target: RoadPlace, origins: Mapping[str, RoadPlace], driving: Driving, closed: Collection[str] = frozenset()
) -> dict[str, Route]:
    """A route to the target from each origin that can reach it. `closed`: the roads that nobody drives through."""
    paths = _shortest(roads.graph.reverse(copy=False), target, closed)
    found = {}
    for name, origin in origins.items():
        edges = _around(roads, origin.edge_id, closed) if _passed(origin, target) else paths.get(origin.edge_id, [])[::-1]
        if edges:
            found[name] = _route(roads, edges, origin, target, driving)
    return found


def routes_from(
    roads: Roads, origin: RoadPlace, targets: Mapping[str, RoadPlace], driving: Driving, closed: Collection[str] = frozenset()
) -> dict[str, Route]:
    """A route from the origin to each target that can be reached. `closed`: the roads that nobody drives through."""
    paths = _shortest(roads.graph, origin, closed)
    found = {}
    for name, target in targets.items():
        edges = _around(roads, origin.edge_id, closed) if _passed(origin, target) else paths.get(target.edge_id, [])
        if edges:
            found[name] = _route(roads, edges, origin, target, driving)
    return found


def reached(
    roads: Roads,
    origins: Iterable[RoadPlace],
    driving: Driving,
    limit_s: float,
    closed: Collection[str] = frozenset(),
    wanted: Iterable[str] = (),
) -> dict[str, float]:
    """The roads to whose far end a vehicle gets from any of some places within a time, and in how many seconds at the earliest.

    `closed`: the roads that nobody drives through. `wanted`: if given, no more is looked for when these are found.
    """
    length, speed, share, graph = roads.length_m, roads.free_speed_mps, driving.share, roads.graph
    seconds: dict[str, float] = {}
    left: set[str] = set()
    missing = set(wanted)
    waiting: list[tuple[float, str, bool]] = []
    for origin in origins:
        edge = origin.edge_id
        if edge in length:
            to_end = max(0.0, length[edge] - origin.position_m) / max(1.0, share * speed[edge])
            waiting.append((driving.leg_s + to_end, edge, True))
    heapq.heapify(waiting)
    # Written out without calls: it runs while somebody waits for help.
    while waiting:
        at, edge, begins = heapq.heappop(waiting)
        if at > limit_s:
            break
        if edge not in seconds:
            seconds[edge] = at
            if edge in missing:
                missing.remove(edge)
                if not missing:
                    break
        if edge in left or (edge in closed and not begins):
            continue
        left.add(edge)
        for after in graph[edge]:
            if after not in seconds and after in length:
                heapq.heappush(waiting, (at + length[after] / max(1.0, share * speed[after]), after, False))
    return seconds


def metres_around(roads: Roads, place: RoadPlace, places: Mapping[str, RoadPlace], limit_m: float) -> dict[str, float]:
    """How far each place is from `place` along roads, in metres, where that is at most `limit_m`.

    The same both ways: the shorter of the ways there and back. On roads that are not known only places on the same one have a
    distance.
    """
    import networkx as nx

    graph, length = roads.graph, roads.length_m
    there: Mapping[str, float] = {}
    back: Mapping[str, float] = {}
    if place.edge_id in length:

        def through(edge: str, _next: str, _arc: object) -> float:
            return length.get(edge, UNKNOWN_M)

        # From the start of this road to the start of others; and, against the driving, from its end to the ends of others.
        reach = limit_m + length[place.edge_id]
        there = nx.single_source_dijkstra_path_length(graph, place.edge_id, reach, through)
        back = nx.single_source_dijkstra_path_length(graph.reverse(copy=False), place.edge_id, reach, through)
    found = {}
    for name, other in places.items():
        if other.edge_id == place.edge_id:
            metres = abs(other.position_m - place.position_m)
        else:
            ahead = there.get(other.edge_id, math.inf) - place.position_m + other.position_m
            behind = back.get(other.edge_id, math.inf) - length.get(place.edge_id, 0.0) + place.position_m
            metres = min(ahead, behind + length.get(other.edge_id, UNKNOWN_M) - other.position_m)
        if metres <= limit_m:
            found[name] = max(0.0, metres)
    return found


def _passed(origin: RoadPlace, target: RoadPlace) -> bool:
    """Whether a place lies behind another one on the same road: a vehicle cannot drive back to it."""
    return origin.edge_id == target.edge_id and target.position_m < origin.position_m


def _around(roads: Roads, edge_id: str, closed: Collection[str]) -> list[str]:
    """The shortest way around to the beginning of a road, from its end; empty where there is none."""
    import networkx as nx

    # Without a target: with one, the library gives one number and one path.
    found: Any = nx.single_source_dijkstra(roads.graph, edge_id, weight=_weight(edge_id, closed))
    seconds, paths = found
    # The drive through the road itself costs the same on every way around.
    before = [edge for edge in roads.graph.predecessors(edge_id) if edge in paths and (edge == edge_id or edge not in closed)]
    if not before:
        return []
    return [*paths[min(before, key=lambda edge: (seconds[edge], edge))], edge_id]


def _shortest(graph: Any, source: RoadPlace, closed: Collection[str]) -> dict[str, list[str]]:
    """The edges to drive along, by where they lead to."""
    import networkx as nx

    _, paths = nx.single_source_dijkstra(graph, source.edge_id, weight=_weight(source.edge_id, closed))
    return dict(paths)


def _weight(source: str, closed: Collection[str]) -> str | Callable[[str, str, Mapping[str, float]], float | None]:
    """What an arc costs; None: nobody drives along it. A closed road is reached and not left, unless the way begins there."""
    if not closed:
        return "seconds"
    return lambda before, _after, arc: None if before in closed and before != source else arc["seconds"]


def _route(roads: Roads, edges: list[str], origin: RoadPlace, target: RoadPlace, driving: Driving) -> Route:
    length, seconds = 0.0, driving.leg_s
    for number, edge in enumerate(edges):
        start = origin.position_m if number == 0 else 0.0
        stop = target.position_m if number == len(edges) - 1 else roads.length_m[edge]
        driven = max(0.0, stop - start)
        length += driven
        seconds += driven / max(1.0, driving.share * roads.free_speed_mps[edge])
    return Route(edge_ids=edges, length_m=round(length, 1), travel_time_s=round(seconds, 1))
