"""Which incident a report belongs to. Reports of one kind are sorted one after the other, so two at once open one incident.

A report fits an open incident of its kind if it is near enough to where that was first reported, and was observed near enough
to the time in which its reports were. It goes to the nearest that it fits, of equally near ones to the older; if it fits none,
it opens one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds
from citybrain.mesh.roads import Roads, metres_around
from citybrain.services.safety.long_streams import newest


@dataclass(frozen=True, slots=True)
class Reach:
    """How far apart, in metres and in minutes, two reports of a kind may be that are about one incident."""

    metres: float
    minutes: float


REACHES: Mapping[pb.EventKind, Reach] = {
    pb.EVENT_KIND_FIRE: Reach(300, 60),
    pb.EVENT_KIND_GAS_LEAK: Reach(500, 120),
    pb.EVENT_KIND_FLOOD: Reach(1000, 360),
    pb.EVENT_KIND_TRAFFIC_ACCIDENT: Reach(150, 30),
    pb.EVENT_KIND_CROWD: Reach(300, 60),
    pb.EVENT_KIND_CRIME: Reach(100, 30),
    pb.EVENT_KIND_OTHER: Reach(100, 15),
}
"""Proposals of this project, of no standard: docs/public-safety.md says what each is made from."""

EARTH_M = 6_371_008.8
"""The mean radius of the Earth in metres (IUGG)."""

REMEMBERED = 500
"""So many reports at least the board remembers, to answer a retry without reading its long stream, where older ones are."""

_MINUTE = 60_000_000  # in microseconds


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an open incident is, by the report that opened it, and from when to when it was observed (microseconds)."""

    incident_id: str
    place: RoadPlace | None
    position: pb.Position | None
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Board:
    """The spots of the open incidents of one kind, by their numbers: an older one has a lower number.

    `sorted_to`: the newest reports, and the incidents that they were sorted to.
    """

    spots: Mapping[int, Spot] = field(default_factory=dict)
    newest: int = 0
    sorted_to: Mapping[str, str] = field(default_factory=dict)


def evolve(board: Board, event: Message) -> Board:
    """The board after an event."""
    match event:
        case ev.SignalSorted():
            if not event.split_off:
                sorted_to = {**board.sorted_to, event.signal_id: event.incident_id}
                board = replace(board, sorted_to=newest(sorted_to, REMEMBERED))
            return _with(board, event)
        case ev.SortingEnded() if event.into_incident_id:
            into = event.into_incident_id
            moved = {
                n: replace(s, incident_id=into) if s.incident_id == event.incident_id else s for n, s in board.spots.items()
            }
            return replace(board, spots=moved)
        case ev.SortingEnded():
            return replace(board, spots={n: s for n, s in board.spots.items() if s.incident_id != event.incident_id})
    return board


def _with(board: Board, event: ev.SignalSorted) -> Board:
    """The board with one more report."""
    mine = {number: spot for number, spot in board.spots.items() if spot.incident_id == event.incident_id}
    place = event.place if event.HasField("place") else None
    position = event.position if event.HasField("position") else None
    at = microseconds(event.observed_at)
    if not mine:
        number = board.newest + 1
        spot = Spot(event.incident_id, place, position, at, at)
        return replace(board, spots={**board.spots, number: spot}, newest=number)
    for number, spot in mine.items():
        # A later report may know the place in the other way. Of several spots nobody knows for which one.
        known = (spot.place, spot.position) if len(mine) > 1 else (spot.place or place, spot.position or position)
        mine[number] = Spot(spot.incident_id, *known, min(spot.first, at), max(spot.last, at))
    return replace(board, spots={**board.spots, **mine})


def to_sort(incident_id: str, signal: pb.Signal, district_id: str) -> ev.SignalSorted:
    """What the board needs of a report. `incident_id`: the one that it opens, or that a person has given it."""
    report = ev.SignalSorted(
        signal_id=signal.signal_id, incident_id=incident_id, kind=signal.kind, observed_at=signal.observed_at,
        district_id=district_id,
    )  # fmt: skip
    if signal.HasField("place"):
        report.place.CopyFrom(signal.place)
    if signal.HasField("position"):
        report.position.CopyFrom(signal.position)
    return report


def sort(board: Board, report: ev.SignalSorted, roads: Roads) -> list[Message]:
    """Sorts a report to an incident. `report.incident_id` is that of the incident which it opens if it fits none."""
    found = ev.SignalSorted()
    found.CopyFrom(report)
    found.incident_id = fitting(board, report, roads) or report.incident_id
    return [found]


def put(board: Board, report: ev.SignalSorted) -> list[Message]:
    """Puts a report that a person has sorted on the board, once."""
    known = any(spot.incident_id == report.incident_id for spot in board.spots.values())
    return [] if known else [report]


def end(board: Board, incident_id: str, into_incident_id: str = "") -> list[Message]:
    """From now on no report is sorted to this incident, but to the one that it is one with, if there is one."""
    known = any(spot.incident_id == incident_id for spot in board.spots.values())
    return [ev.SortingEnded(incident_id=incident_id, into_incident_id=into_incident_id)] if known else []


def fitting(board: Board, report: ev.SignalSorted, roads: Roads) -> str:
    """The incident that a report belongs to; empty: to none that is known."""
    reach = REACHES[report.kind]
    at = microseconds(report.observed_at)
    window = reach.minutes * _MINUTE
    in_time = {number: spot for number, spot in board.spots.items() if spot.first - window <= at <= spot.last + window}
    metres = distances(in_time, report, roads, reach.metres)
    nearest = min(metres, key=lambda number: (metres[number], number), default=0)
    return in_time[nearest].incident_id if nearest else ""


def distances(spots: Mapping[int, Spot], report: ev.SignalSorted, roads: Roads, limit_m: float) -> dict[int, float]:
    """How far, in metres, the spots are that are at most `limit_m` away.

    Between two positions it is the straight line; else it is the way along roads. A spot without either is at no distance.
    """
    found = {}
    by_road = {}
    for number, spot in spots.items():
        if spot.position is not None and report.HasField("position"):
            metres = straight_m(spot.position, report.position)
            if metres <= limit_m:
                found[number] = metres
        elif spot.place is not None and report.HasField("place"):
            by_road[str(number)] = spot.place
    if by_road:
        found |= {int(n): metres for n, metres in metres_around(roads, report.place, by_road, limit_m).items()}
    return found


def straight_m(one: pb.Position, other: pb.Position) -> float:
    """The distance of two positions over the ground, in metres: the great circle."""
    latitudes = math.radians(one.latitude), math.radians(other.latitude)
    half_north = (latitudes[1] - latitudes[0]) / 2
    half_east = math.radians(other.longitude - one.longitude) / 2
    share = math.sin(half_north) ** 2 + math.cos(latitudes[0]) * math.cos(latitudes[1]) * math.sin(half_east) ** 2
    return 2 * EARTH_M * math.asin(min(1.0, math.sqrt(share)))
