"""What joint command decides about an incident: that it is called, that it ends, and what it did. Pure."""

from __future__ import annotations

from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import NotFound, Refused
from citybrain.services.safety import domain
from citybrain.services.safety.domain import Incident


def call(incident: Incident, incident_id: str, reason: str, place: RoadPlace | None, by: str) -> list[Message]:
    """Calls joint command, once. `by`: the commander. Refused where the incident has ended."""
    domain.still_open(incident, incident_id)
    return [] if incident.called is not None else [domain.call(incident, reason, place, by)]


def stand_down(incident: Incident, incident_id: str, outcome: str, by: str) -> list[Message]:
    """Ends joint command, once. Refused where it was not called, or where the incident has ended."""
    domain.still_open(incident, incident_id)
    _called(incident, incident_id)
    if incident.stood_down:
        return []
    return [
        ev.StandDownOrdered(incident_id=incident_id, outcome=outcome, ordered_by=by, district_id=domain.district_of(incident))
    ]


def still_sends(incident: Incident, incident_id: str) -> None:
    """Refused where a commander has ended joint command: its units come back."""
    if incident.stood_down:
        raise Refused(f"joint command of incident {incident_id} stands down: nobody is sent there any more", "STANDS_DOWN")


def record(incident: Incident, request: pb.RecordAfterActionRequest, now: Timestamp) -> list[Message]:
    """Keeps what was done, once: the first report stands. Refused where joint command was not called."""
    domain.existing(incident, request.incident_id)
    _called(incident, request.incident_id)
    if incident.after_action is not None:
        return []
    report = pb.AfterAction(actions=request.actions, flags=request.flags, recorded_at=now)
    return [ev.AfterActionRecorded(incident_id=request.incident_id, report=report, district_id=domain.district_of(incident))]


def report(incident: Incident, incident_id: str) -> pb.AfterAction:
    """What joint command did. NotFound: it has not ended, or was never called."""
    domain.existing(incident, incident_id)
    if incident.after_action is None:
        raise NotFound(f"incident {incident_id} has no report: joint command writes it when it ends", "NO_AFTER_ACTION")
    return incident.after_action


def _called(incident: Incident, incident_id: str) -> None:
    if incident.called is None:
        problem = f"joint command was not called for incident {incident_id}: CallJointCommand calls it"
        raise Refused(problem, "NO_JOINT_COMMAND")
