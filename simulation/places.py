"""Where things are: districts, hospitals, ambulance stations, and the calls that will come.

What is not given is derived from network and seed by this rule (`RULE`, printed by the program):

- The *core* is the largest set of edges that can all reach each other. *Inner* edges are those of the core of at least 40 m.
- Districts: four, by the quarter in which an edge's centre lies, about the medians of all centres.
- Hospitals: two. The first inner edge is drawn at random; the second is, of 40 drawn, the one farthest from it.
- Stations: three with two ambulances each; each is, of 40 drawn, the one farthest from those before it.
- Calls: the n-th of N comes 300 + 400·(n−1) s after the begin. Up to 400 inner edges are drawn for its place, and the first is
  taken whose way station → scene → hospital (the station that is nearest in free flow, then the nearest hospital) passes four
  signals, or two on at least 1.5 km; where none does, the one that passes most. Severity: serious.
- Every place is in the middle of its edge. Each kind of place has its own random generator, so that one does not move another.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from citybrain.simulation.errors import ScenarioError
from citybrain.simulation.network import Network, Point
from citybrain.simulation.routing import core, tree_from, way

RULE = (__doc__ or "").split("\n\n")[-1].strip()

WARM_UP_S = 300
APART_S = 400
_INNER_M = 40.0


@dataclass(frozen=True, slots=True)
class Place:
    """A point on an edge, in metres from its start."""

    edge_id: str
    position_m: float


@dataclass(frozen=True, slots=True)
class District:
    """A district, and the edges it keeps."""

    district_id: str
    name: str
    edge_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Hospital:
    """A hospital with its emergency places."""

    hospital_id: str
    name: str
    entrance: Place
    places: int


@dataclass(frozen=True, slots=True)
class Station:
    """Where ambulances wait."""

    station_id: str
    place: Place
    ambulance_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A call for help, `at_s` seconds after the begin of the scenario."""

    number: int
    at_s: int
    place: Place
    severity: str


@dataclass(frozen=True, slots=True)
class Places:
    """All places of a city."""

    districts: tuple[District, ...]
    hospitals: tuple[Hospital, ...]
    stations: tuple[Station, ...]

    def district_of(self) -> dict[str, str]:
        """The district of each edge that has one."""
        return {edge_id: d.district_id for d in self.districts for edge_id in d.edge_ids}


def derive_places(network: Network, seed: int) -> Places:
    """Districts, hospitals and stations by the rule above. Raises ScenarioError where the network is too small."""
    inner = inner_edges(network)
    if len(inner) < 8:
        raise ScenarioError(
            f"{network.net_file}: places are derived from at least 8 edges of 40 m or more that can all reach each other, "
            f"and it has {len(inner)}: give hospitals and stations (--places) and calls (--calls) in files"
        )
    hospital_edges = _spread(network, inner, 2, random.Random(f"{seed}/hospitals"), ())
    station_edges = _spread(network, inner, 3, random.Random(f"{seed}/stations"), hospital_edges)
    hospitals = tuple(
        Hospital(f"hospital-{n}", f"{name} Hospital", middle(network, edge_id), 20)
        for n, (name, edge_id) in enumerate(zip(("First", "Second"), hospital_edges, strict=True), 1)
    )
    stations = tuple(
        Station(f"station-{n}", middle(network, edge_id), (f"ambulance-{n}a", f"ambulance-{n}b"))
        for n, edge_id in enumerate(station_edges, 1)
    )
    return Places(derive_districts(network), hospitals, stations)


def derive_districts(network: Network) -> tuple[District, ...]:
    """Four districts, divided at the medians of the coordinates."""
    x = statistics.median(edge.centre[0] for edge in network.edges.values())
    y = statistics.median(edge.centre[1] for edge in network.edges.values())
    quarters: dict[tuple[bool, bool], set[str]] = {}
    for edge in network.edges.values():
        quarters.setdefault((edge.centre[1] >= y, edge.centre[0] >= x), set()).add(edge.edge_id)
    names = {
        (True, True): ("north-east", "North-East 东北"),
        (True, False): ("north-west", "North-West 西北"),
        (False, True): ("south-east", "South-East 东南"),
        (False, False): ("south-west", "South-West 西南"),
    }
    return tuple(District(*names[quarter], frozenset(edge_ids)) for quarter, edge_ids in sorted(quarters.items()))


def derive_calls(network: Network, places: Places, seed: int, count: int) -> list[Call]:
    """The calls by the rule above."""
    inner = inner_edges(network)
    generator = random.Random(f"{seed}/calls")
    trees = {s.place.edge_id: tree_from(network.edges, s.place.edge_id) for s in places.stations}
    taken = {s.place.edge_id for s in places.stations} | {h.entrance.edge_id for h in places.hospitals}
    calls = []
    for number in range(1, count + 1):
        best: tuple[int, str] = (-1, "")
        for _ in range(400 if inner else 0):
            edge_id = generator.choice(inner)
            if edge_id in taken:
                continue
            ride = _ride(network, places, trees, edge_id)
            if not ride:
                continue
            signals = len(network.signals_on(ride))
            length_m = sum(network.edges[e].length_m for e in ride)
            if signals >= 4 or (signals >= 2 and length_m >= 1500):
                best = (signals, edge_id)
                break
            best = max(best, (signals, edge_id), key=lambda b: b[0])
        if not best[1]:
            raise ScenarioError(
                f"{network.net_file}: no edge of 40 m or more is left for a call, to which an ambulance can drive and from "
                "there to a hospital: give calls in a file (--calls)"
            )
        calls.append(Call(number, WARM_UP_S + APART_S * (number - 1), middle(network, best[1]), "SERIOUS"))
    return calls


def inner_edges(network: Network) -> list[str]:
    """Edges on which a place may lie, in a fixed order."""
    return sorted(e for e in core(network.edges) if network.edges[e].length_m >= _INNER_M)


def middle(network: Network, edge_id: str) -> Place:
    """The middle of an edge, to a decimetre."""
    return Place(edge_id, round(network.edges[edge_id].length_m / 2, 1))


def point(network: Network, place: Place) -> Point:
    """Where a place is in the plane."""
    edge = network.edges[place.edge_id]
    drawn_m = sum(math.dist(a, b) for a, b in zip(edge.shape, edge.shape[1:], strict=False)) or 1.0
    # The length of the drawn line may differ from the length to drive.
    left = place.position_m / edge.length_m * drawn_m
    for a, b in zip(edge.shape, edge.shape[1:], strict=False):
        stretch = math.dist(a, b)
        if left <= stretch and stretch > 0:
            return (a[0] + (b[0] - a[0]) * left / stretch, a[1] + (b[1] - a[1]) * left / stretch)
        left -= stretch
    return edge.shape[-1]


def _spread(network: Network, inner: Sequence[str], count: int, drawn: random.Random, without: Sequence[str]) -> list[str]:
    free = [e for e in inner if e not in without]
    chosen = [drawn.choice(free)]
    while len(chosen) < count:
        candidates = [e for e in (drawn.choice(free) for _ in range(40)) if e not in chosen] or [
            e for e in free if e not in chosen
        ]
        chosen.append(
            max(candidates, key=lambda e: min(math.dist(network.edges[e].centre, network.edges[c].centre) for c in chosen))
        )
    return chosen


def _ride(network: Network, places: Places, trees: Mapping[str, dict[str, tuple[float, str]]], scene: str) -> list[str]:
    """The way that an ambulance will probably drive for a call at `scene`; empty where there is none."""
    from_station = [tree for tree in trees.values() if scene in tree]
    onward = tree_from(network.edges, scene)
    reached = [h.entrance.edge_id for h in places.hospitals if h.entrance.edge_id in onward]
    if not from_station or not reached:
        return []
    tree = min(from_station, key=lambda t: t[scene][0])
    return way(tree, scene) + way(onward, min(reached, key=lambda e: onward[e][0]))[1:]
