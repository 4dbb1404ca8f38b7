"""Which incident a report belongs to: all reports are sorted on one board, by the rule of the kit (`mesh/merging.py`)."""

from __future__ import annotations

from citybrain.emergency_command.v1.events_pb2 import ReportSorted, SortingEnded
from google.protobuf.message import Message

from citybrain.mesh import merging
from citybrain.mesh.events import microseconds
from citybrain.mesh.merging import MINUTE, Board, Reach, Seen
from citybrain.mesh.roads import Roads

REACH = Reach(metres=100, minutes=10)
"""Proposals of this project, of no standard: docs/public-safety.md says what they are made from."""


def evolve(board: Board, event: Message) -> Board:
    """The board after an event. What no report can fit any more is not kept."""
    match event:
        case ReportSorted():
            if not event.split_off:
                board = board.remembering(event.report_id, event.incident_id)
            at = microseconds(event.reported_at)
            return board.since(at - round(REACH.minutes * MINUTE)).having(event.incident_id, seen(event))
        case SortingEnded():
            return board.without(event.incident_id)
    return board


def seen(report: ReportSorted) -> Seen:
    """Where and when a report has seen something."""
    return Seen(report.place, None, microseconds(report.reported_at))


def sort(board: Board, report: ReportSorted, roads: Roads, *, another_patient: bool) -> list[Message]:
    """Sorts a report to an incident. `report.incident_id` is that of the incident which it opens if it fits none."""
    found = ReportSorted()
    found.CopyFrom(report)
    if not another_patient:
        found.incident_id = merging.fitting(board, seen(report), REACH, roads) or report.incident_id
    return [found]


def put(board: Board, report: ReportSorted) -> list[Message]:
    """Puts a report that a person has split off on the board, once."""
    return [] if board.knows(report.incident_id) else [report]


def end(board: Board, incident_id: str) -> list[Message]:
    """From now on no report is sorted to this incident."""
    return [SortingEnded(incident_id=incident_id)] if board.knows(incident_id) else []
