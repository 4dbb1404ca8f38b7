"""Queues of roads: those that are observed, minute by minute, and those that detectors show. Pure.

Queues are observed at once on all roads: one that a report does not name has none. **By detectors**: where one is occupied for
half of five minutes or more, vehicles stand at it, and so from there to the end of the road: so many as have room, at 7.5 m
each. It is a least number: the queue may be longer. The greater of both counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from citybrain.traffic.v1.street_pb2 import ObservedQueue
from citybrain.traffic.v1.traffic_service_pb2 import Queue

from citybrain.services.traffic.junction_health import VEHICLE_M

STANDING = 0.5
"""Vehicles stand at a detector that is occupied for this share of the time; half of it is enough."""


@dataclass(frozen=True, slots=True)
class Queues:
    """The minute that goes on, by its number: by road the most vehicles and the reports that had any; and all reports."""

    minute: int | None = None
    roads: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    reports: int = 0


def fold(queues: Queues, at: float, seen: Iterable[Queue]) -> tuple[Queues, Queues | None]:
    """Takes a report in (seconds since the epoch); with the first of a new minute, gives the one that is over.

    What comes later than its own minute's end is dropped.
    """
    minute = int(at // 60)
    over = None
    if queues.minute is not None and minute < queues.minute:
        return queues, None
    if minute != queues.minute:
        over = queues if queues.minute is not None else None
        queues = Queues(minute)
    roads = dict(queues.roads)
    for one in seen:
        most, reports = roads.get(one.edge_id, (0, 0))
        if one.vehicles:
            roads[one.edge_id] = max(most, one.vehicles), reports + 1
    return Queues(minute, roads, queues.reports + 1), over


def told(over: Queues) -> list[ObservedQueue]:
    """The queues of a minute."""
    return [ObservedQueue(edge_id=one, vehicles=most, reports=few) for one, (most, few) in sorted(over.roads.items())]


def merged(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """Two times together: the most vehicles, and all reports that had any."""
    return max(first[0], second[0]), first[1] + second[1]


def by_detectors(length_m: float, standing: Iterable[tuple[float, float]]) -> int | None:
    """At least so many vehicles stand; None: at no detector. `standing`: place in metres and occupancy of each."""
    places = [position for position, occupied in standing if occupied >= STANDING]
    return max(1, int((length_m - min(places)) // VEHICLE_M)) if places else None
