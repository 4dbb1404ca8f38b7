"""An incident: opened by a report, ended by a false call or by the work on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentClosed, IncidentOpened
from citybrain.roads.v1.roads_pb2 import RoadPlace
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.roads import beyond_the_end


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident as its events tell it."""

    opened: IncidentOpened | None = None
    state: pb.IncidentState = pb.INCIDENT_STATE_UNSPECIFIED
    outcome: str = ""


def evolve(incident: Incident, event: Message) -> Incident:
    """The incident after an event."""
    match event:
        case IncidentOpened():
            return replace(incident, opened=event, state=pb.INCIDENT_STATE_OPEN)
        case IncidentCancelled():
            return replace(incident, state=pb.INCIDENT_STATE_CANCELLED, outcome=event.reason)
        case IncidentClosed():
            return replace(incident, state=pb.INCIDENT_STATE_CLOSED, outcome=event.outcome)
    return incident


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


def open_incident(
    incident: Incident,
    incident_id: str,
    report: pb.ReportEmergencyRequest,
    lengths_m: Mapping[str, float],
    reporter_id: str,
    district_id: str,
) -> list[Message]:
    """Opens an incident, once. `lengths_m`: of roads; `reporter_id`: whom to call back; `district_id`: who keeps the road."""
    if incident.opened is not None:
        return []
    check_place(lengths_m, report.place)
    opened = IncidentOpened(
        incident_id=incident_id, channel=report.channel, severity=report.severity, place=report.place,
        reporter_id=reporter_id, district_id=district_id,
    )  # fmt: skip
    if report.HasField("reporter"):
        opened.reporter.CopyFrom(report.reporter)
    return [opened]


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
