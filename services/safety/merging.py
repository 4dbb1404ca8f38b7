"""Which incident a report belongs to: those of one kind are sorted on one board, by the rule of the kit (`mesh/merging.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh import merging
from citybrain.mesh.events import microseconds
from citybrain.mesh.merging import Board, Reach, Seen
from citybrain.mesh.roads import Roads

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


def evolve(board: Board, event: Message) -> Board:
    """The board after an event."""
    match event:
        case ev.SignalSorted():
            if not event.split_off:
                board = board.remembering(event.signal_id, event.incident_id)
            return board.having(event.incident_id, seen(event))
        case ev.SortingEnded() if event.into_incident_id:
            return board.moved(event.incident_id, event.into_incident_id)
        case ev.SortingEnded():
            return board.without(event.incident_id)
    return board


def seen(report: ev.SignalSorted) -> Seen:
    """Where and when a report has seen something."""
    position = (report.position.latitude, report.position.longitude) if report.HasField("position") else None
    return Seen(report.place if report.HasField("place") else None, position, microseconds(report.observed_at))


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
    found.incident_id = merging.fitting(board, seen(report), REACHES[report.kind], roads) or report.incident_id
    return [found]


def put(board: Board, report: ev.SignalSorted) -> list[Message]:
    """Puts a report that a person has sorted on the board, once."""
    return [] if board.knows(report.incident_id) else [report]


def end(board: Board, incident_id: str, into_incident_id: str = "") -> list[Message]:
    """From now on no report is sorted to this incident, but to the one that it is one with, if there is one."""
    if not board.knows(incident_id):
        return []
    return [ev.SortingEnded(incident_id=incident_id, into_incident_id=into_incident_id)]
