"""An incident: opened by a report, joined by others about the same, ended by a false call or by the work on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.events_pb2 import (
    IncidentCancelled,
    IncidentClosed,
    IncidentOpened,
    ReportMerged,
    ReportSplitOff,
)
from citybrain.roads.v1.roads_pb2 import RoadPlace
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.roads import beyond_the_end

ENDED = frozenset({"INCIDENT_CLOSED", "INCIDENT_CANCELLED", "PATIENT_ON_BOARD"})
"""Why an incident takes no more reports."""


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident as its events tell it."""

    opened: IncidentOpened | None = None
    state: pb.IncidentState = pb.INCIDENT_STATE_UNSPECIFIED
    outcome: str = ""
    # The reports that joined it, by their ids.
    merged: Mapping[str, pb.Report] = field(default_factory=dict)
    # Report that was split off → its own incident.
    split: Mapping[str, str] = field(default_factory=dict)


def evolve(incident: Incident, event: Message) -> Incident:
    """The incident after an event."""
    match event:
        case IncidentOpened():
            return replace(incident, opened=event, state=pb.INCIDENT_STATE_OPEN)
        case ReportMerged():
            return replace(incident, merged={**incident.merged, event.report_id: _report(event)})
        case ReportSplitOff():
            return replace(incident, split={**incident.split, event.report_id: event.to_incident_id})
        case IncidentCancelled():
            return replace(incident, state=pb.INCIDENT_STATE_CANCELLED, outcome=event.reason)
        case IncidentClosed():
            return replace(incident, state=pb.INCIDENT_STATE_CLOSED, outcome=event.outcome)
    return incident


def _report(event: IncidentOpened | ReportMerged) -> pb.Report:
    report = pb.Report(
        report_id=event.report_id, channel=event.channel, severity=event.severity, place=event.place,
        reporter_id=event.reporter_id,
    )  # fmt: skip
    if event.HasField("reported_at"):
        report.reported_at.CopyFrom(event.reported_at)
    if event.HasField("reporter"):
        report.reporter.CopyFrom(event.reporter)
    return report


def reports(incident: Incident) -> list[pb.Report]:
    """Its reports, without those that were split off, in the order in which they came."""
    first = [_report(incident.opened)] if incident.opened is not None else []
    return first + [report for report_id, report in incident.merged.items() if report_id not in incident.split]


def age(report: pb.Report) -> tuple[int | str, ...]:
    """What reports are ordered by."""
    return report.reported_at.ToMicroseconds(), report.report_id


def severity(incident: Incident) -> pb.Severity:
    """The gravest that any of its reports says."""
    return max((report.severity for report in reports(incident)), default=pb.SEVERITY_UNSPECIFIED)


def district_of(incident: Incident) -> str:
    """The district that keeps the road where it is; empty: it is not known."""
    return incident.opened.district_id if incident.opened is not None else ""


def existing(incident: Incident, incident_id: str) -> Incident:
    """The incident, or NotFound."""
    if incident.opened is None:
        raise NotFound(f"there is no incident {incident_id}: its id is in the answer to the report", "NO_SUCH_INCIDENT")
    return incident


def check_place(lengths_m: Mapping[str, float], place: RoadPlace) -> None:
    """BadRequest where a place is beyond the end of its road."""
    if problem := beyond_the_end(lengths_m, place.edge_id, place.position_m):
        raise BadRequest([("place.position_m", problem)])


def receive(
    incident: Incident, incident_id: str, report: pb.Report, district_id: str, *, on_board: bool = False, split_from: str = ""
) -> list[Message]:
    """Takes a report in, once; the first one opens the incident. Refused where it has ended, or its patient is on board.

    `district_id`: who keeps the road of the place.
    """
    opened = incident.opened
    if report.report_id in incident.merged or (opened is not None and opened.report_id == report.report_id):
        return []
    taken: IncidentOpened | ReportMerged
    if opened is None:
        taken = IncidentOpened(incident_id=incident_id, district_id=district_id, split_from_id=split_from)
    else:
        if incident.state != pb.INCIDENT_STATE_OPEN:
            reason = "INCIDENT_CLOSED" if incident.state == pb.INCIDENT_STATE_CLOSED else "INCIDENT_CANCELLED"
            raise Refused(f"incident {incident_id} has ended: {incident.outcome}", reason)
        if on_board:
            # Whoever is still there is somebody else.
            raise Refused(f"the patient of {incident_id} is on board already: report another one", "PATIENT_ON_BOARD")
        taken = ReportMerged(incident_id=incident_id, district_id=district_of(incident))
    taken.report_id, taken.channel, taken.severity = report.report_id, report.channel, report.severity
    taken.place.CopyFrom(report.place)
    taken.reported_at.CopyFrom(report.reported_at)
    taken.reporter_id = report.reporter_id
    if report.HasField("reporter"):
        taken.reporter.CopyFrom(report.reporter)
    return [taken]


def split_off(incident: Incident, to_incident_id: str, request: pb.SplitReportRequest) -> list[Message]:
    """Takes a report out that was merged, once. Also after the end: somebody may still wait for help."""
    opened = existing(incident, request.incident_id).opened
    assert opened is not None
    if request.report_id in incident.split:
        return []
    if request.report_id == opened.report_id:
        problem = f"{request.report_id} opened {request.incident_id}, and help drives to it: split off the others"
        raise Refused(problem, "OPENED_BY_IT")
    if request.report_id not in incident.merged:
        problem = f"no report {request.report_id} is in incident {request.incident_id}: GetIncident has them"
        raise NotFound(problem, "NO_SUCH_REPORT")
    return [
        ReportSplitOff(
            incident_id=request.incident_id, report_id=request.report_id, to_incident_id=to_incident_id, reason=request.reason,
            district_id=opened.district_id,
        )
    ]  # fmt: skip


def cancel(incident: Incident, request: pb.CancelIncidentRequest) -> list[Message]:
    """Ends the incident as a false call, once. Refused where it was closed."""
    existing(incident, request.incident_id)
    if incident.state == pb.INCIDENT_STATE_CLOSED:
        raise Refused(f"incident {request.incident_id} is closed: {incident.outcome}", "INCIDENT_CLOSED")
    if incident.state == pb.INCIDENT_STATE_CANCELLED:
        return []
    return [IncidentCancelled(incident_id=request.incident_id, reason=request.reason)]


def close(incident: Incident, request: pb.CloseIncidentRequest) -> list[Message]:
    """Closes the incident, once."""
    existing(incident, request.incident_id)
    if incident.state != pb.INCIDENT_STATE_OPEN:
        return []
    return [IncidentClosed(incident_id=request.incident_id, outcome=request.outcome)]
