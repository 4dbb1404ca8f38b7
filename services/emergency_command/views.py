"""The list of incidents: one row each, as callers see it."""

from __future__ import annotations

from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentClosed, IncidentOpened
from google.protobuf.json_format import MessageToDict, ParseDict

from citybrain.event_store.read_models import Row
from citybrain.mesh.events import Heard, timestamp

EVENTS = (IncidentOpened, IncidentCancelled, IncidentClosed)


def key(event: Heard) -> str:
    """The incident."""
    return str(event.data.incident_id)  # type: ignore[attr-defined]


def apply(row: Row | None, event: Heard) -> Row | None:
    """The incident after an event."""
    when = timestamp(event.stored.occurred_at)
    data = event.data
    if isinstance(data, IncidentOpened):
        incident = pb.Incident(
            incident_id=data.incident_id, state=pb.INCIDENT_STATE_OPEN, channel=data.channel, severity=data.severity,
            place=data.place, reported_at=when, reporter_id=data.reporter_id,
        )  # fmt: skip
        # Positions of different partitions of the log are not comparable; moments are.
        moments = [event.stored.occurred_at, event.stored.recorded_at]
        row = {"id": data.incident_id, "reported": moments, "incident": MessageToDict(incident)}
        if data.HasField("reporter"):
            row |= {"reporter_id": data.reporter_id, "reporter": MessageToDict(data.reporter)}
        return row
    if row is None:
        return None
    incident = ParseDict(row["incident"], pb.Incident())
    incident.ended_at.CopyFrom(when)
    if isinstance(data, IncidentCancelled):
        incident.state, incident.outcome = pb.INCIDENT_STATE_CANCELLED, data.reason
    elif isinstance(data, IncidentClosed):
        incident.state, incident.outcome = pb.INCIDENT_STATE_CLOSED, data.outcome
    return {**row, "incident": MessageToDict(incident)}


def age(row: Row) -> tuple[int | str, ...]:
    """What incidents are ordered by; it never changes of one."""
    return (*row["reported"], row["id"])


def read(row: Row) -> pb.Incident:
    """A row as callers see it."""
    incident = ParseDict(row["incident"], pb.Incident())
    if row.get("reporter") is not None:
        ParseDict(row["reporter"], incident.reporter)
    return incident
