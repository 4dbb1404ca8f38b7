"""The cover of the rest of the city: which of those that arrive at about the same time is missed least elsewhere. Pure.

The idea is that of the maximal covering location problem (MCLP, Church and ReVelle 1974): as much demand as possible shall have
a free ambulance near. Here one ambulance leaves, and each of the few that come into question leaves a different cover behind.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from citybrain.health.v1 import health_service_pb2 as pb
from citybrain.roads.v1.roads_pb2 import RoadPlace

from citybrain.mesh.roads import Roads, reached
from citybrain.services.health.travel import AMBULANCE

LATER_S = 30.0
"""At most so many seconds later than the first one. A proposal of this project: docs/ambulance-model.md says why."""

LATER_SHARE = 0.1
"""And at most this share of the time that the first one takes. A proposal."""

LEAST_KEPT = 0.01
"""And only where at least this share of the demand of the whole city keeps its cover by that. A proposal."""

TARGET_S = 480.0
"""A road is covered if a free ambulance gets to its far end within so many seconds: NFPA 1710's for advanced life support."""

NEAREST = 8
"""So many of the others are looked at first."""

COMPARED = 5
"""At most so many are compared, those that arrive first: each costs a search of the roads around it."""


def choose(
    roads: Roads,
    free: Mapping[str, RoadPlace],
    seconds: Mapping[str, float],
    past: Mapping[str, int],
    closed: Collection[str] = frozenset(),
) -> tuple[str, pb.CoverKept | None]:
    """Who is sent, and why if several came into question.

    `free`: the stations of all free ambulances; `seconds`: when those arrive that can; `past`: emergencies so far by road.
    """
    in_time = sorted(seconds, key=lambda name: (seconds[name], name))
    first = in_time[0]
    limit = seconds[first] + min(LATER_S, LATER_SHARE * seconds[first])
    compared = [name for name in in_time if seconds[name] <= limit][:COMPARED]
    if len(compared) == 1:
        return first, None
    others = sorted(free.keys() - compared, key=lambda name: (seconds.get(name, math.inf), name))
    lost = _lost(roads, free, compared, others, closed)
    # Sums do not depend on the order in which the roads come.
    all_of_it = weight(roads, past, roads.length_m)
    shares = {name: weight(roads, past, lost[name]) / all_of_it if all_of_it else 0.0 for name in compared}
    worth_it = [name for name in compared if shares[first] - shares[name] >= LEAST_KEPT]
    best = min(worth_it, key=lambda name: (shares[name], seconds[name], name), default=first)
    later_s = round(seconds[best] - seconds[first], 1)
    return best, pb.CoverKept(first_id=first, later_s=later_s, lost=shares[best], lost_without_first=shares[first])


def weight(roads: Roads, past: Mapping[str, int], edges: Iterable[str]) -> float:
    """The demand of some roads: the emergencies so far, and one more that is spread over all metres of the network."""
    metres, found = [], 0
    for edge in edges:
        metres.append(roads.length_m[edge])
        found += past.get(edge, 0)
    total_m = roads.total_m
    return found + (math.fsum(metres) / total_m if total_m else 0.0)


def _lost(
    roads: Roads, free: Mapping[str, RoadPlace], compared: Sequence[str], others: Sequence[str], closed: Collection[str]
) -> dict[str, set[str]]:
    """The roads that only one of those who are compared reaches in time, of all who are free."""
    area = {name: set(reached(roads, [free[name]], AMBULANCE, TARGET_S, closed)) for name in compared}
    # Where there are many, the nearest few cover nearly all of it: they are looked at first, then twice as many, and so on.
    open_to_them, size = set().union(*area.values()), NEAREST
    while open_to_them and others:
        some, others, size = [free[name] for name in others[:size]], others[size:], 2 * size
        open_to_them -= reached(roads, some, AMBULANCE, TARGET_S, closed, open_to_them).keys()
    return {
        name: (area[name] & open_to_them).difference(*(area[other] for other in compared if other != name)) for name in compared
    }
