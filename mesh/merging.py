"""Which incident a report is about: a board with the places of open incidents, on which reports are sorted. Pure.

A report fits an incident if it is near enough to where that was first reported, and was made near enough to the time in which
its reports were. It goes to the nearest that it fits, of equally near ones to the older; if it fits none, it opens one.

A sector keeps such a board as the state of one stream. So reports are sorted one after the other, and two at once open one
incident.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from citybrain.roads.v1.roads_pb2 import RoadPlace

from citybrain.mesh.long_streams import newest
from citybrain.mesh.roads import Roads, metres_around

EARTH_M = 6_371_008.8
"""The mean radius of the Earth in metres (IUGG)."""

REMEMBERED = 500
"""So many reports at least the board remembers, to answer a retry without reading its long stream, where older ones are."""

MINUTE = 60_000_000
"""In microseconds."""

Position = tuple[float, float]
"""Latitude and longitude in WGS 84, in degrees."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far apart, in metres and in minutes, two reports may be that are about one incident."""

    metres: float
    minutes: float


@dataclass(frozen=True, slots=True)
class Seen:
    """Where and when a report has seen something: a place on a road, a position, or both; microseconds since 1970."""

    place: RoadPlace | None
    position: Position | None
    at: int


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an open incident is, by the report that opened it, and from when to when it was seen (microseconds)."""

    incident_id: str
    place: RoadPlace | None
    position: Position | None
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Board:
    """The spots of open incidents, by their numbers: an older one has a lower number.

    `sorted_to`: the newest reports, and the incidents that they were sorted to.
    """

    spots: Mapping[int, Spot] = field(default_factory=dict)
    newest: int = 0
    sorted_to: Mapping[str, str] = field(default_factory=dict)

    def remembering(self, report_id: str, incident_id: str) -> Board:
        """The board that knows where a report was sorted to."""
        return replace(self, sorted_to=newest({**self.sorted_to, report_id: incident_id}, REMEMBERED))

    def knows(self, incident_id: str) -> bool:
        """Whether an incident has a spot."""
        return any(spot.incident_id == incident_id for spot in self.spots.values())

    def having(self, incident_id: str, seen: Seen) -> Board:
        """The board with one more report."""
        mine = {number: spot for number, spot in self.spots.items() if spot.incident_id == incident_id}
        if not mine:
            number = self.newest + 1
            spot = Spot(incident_id, seen.place, seen.position, seen.at, seen.at)
            return replace(self, spots={**self.spots, number: spot}, newest=number)
        for number, spot in mine.items():
            # A later report may know the place in the other way. Of several spots nobody knows for which one.
            known = (spot.place, spot.position) if len(mine) > 1 else (spot.place or seen.place, spot.position or seen.position)
            mine[number] = Spot(spot.incident_id, *known, min(spot.first, seen.at), max(spot.last, seen.at))
        return replace(self, spots={**self.spots, **mine})

    def moved(self, incident_id: str, into: str) -> Board:
        """The board on which the spots of an incident are those of another one."""
        spots = {n: replace(s, incident_id=into) if s.incident_id == incident_id else s for n, s in self.spots.items()}
        return replace(self, spots=spots)

    def without(self, incident_id: str) -> Board:
        """The board without an incident."""
        return replace(self, spots={n: s for n, s in self.spots.items() if s.incident_id != incident_id})

    def since(self, moment: int) -> Board:
        """The board without the spots that were last seen before a moment."""
        return replace(self, spots={n: s for n, s in self.spots.items() if s.last >= moment})


def fitting(board: Board, seen: Seen, reach: Reach, roads: Roads) -> str:
    """The incident that a report belongs to; empty: to none that is known."""
    window = reach.minutes * MINUTE
    in_time = {number: spot for number, spot in board.spots.items() if spot.first - window <= seen.at <= spot.last + window}
    metres = distances(in_time, seen, roads, reach.metres)
    nearest = min(metres, key=lambda number: (metres[number], number), default=0)
    return in_time[nearest].incident_id if nearest else ""


def distances(spots: Mapping[int, Spot], seen: Seen, roads: Roads, limit_m: float) -> dict[int, float]:
    """How far, in metres, the spots are that are at most `limit_m` away.

    Between two positions it is the straight line; else it is the way along roads. A spot without either is at no distance.
    """
    found = {}
    by_road = {}
    for number, spot in spots.items():
        if spot.position is not None and seen.position is not None:
            metres = straight_m(spot.position, seen.position)
            if metres <= limit_m:
                found[number] = metres
        elif spot.place is not None and seen.place is not None:
            by_road[str(number)] = spot.place
    if by_road and seen.place is not None:
        found |= {int(n): metres for n, metres in metres_around(roads, seen.place, by_road, limit_m).items()}
    return found


def straight_m(one: Position, other: Position) -> float:
    """The distance of two positions over the ground, in metres: the great circle."""
    latitudes = math.radians(one[0]), math.radians(other[0])
    half_north = (latitudes[1] - latitudes[0]) / 2
    half_east = math.radians(other[1] - one[1]) / 2
    share = math.sin(half_north) ** 2 + math.cos(latitudes[0]) * math.cos(latitudes[1]) * math.sin(half_east) ** 2
    return 2 * EARTH_M * math.asin(min(1.0, math.sqrt(share)))
