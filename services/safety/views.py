"""Read models: the list of incidents, roads with their districts. Units are listed from their own stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from citybrain.district_hub.v1 import events_pb2 as hub
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from citybrain.traffic.v1 import events_pb2 as traffic
from google.protobuf.json_format import MessageToDict, ParseDict

from citybrain.mesh.events import Heard, is_between
from citybrain.mesh.roads import Edge, Roads, build

INCIDENT_EVENTS = (
    ev.SafetyIncidentOpened,
    ev.SignalReceived,
    ev.SignalSplitOff,
    ev.SafetyGradeConfirmed,
    ev.SafetyIncidentAbsorbed,
    ev.SafetyIncidentGraded,
    ev.SafetyIncidentMerged,
    ev.SafetyIncidentClosed,
    ev.FalseAlarmFound,
    ev.JointCommandCalled,
)
ANSWER_EVENTS = (hub.NoticeEscalated, hub.NoticeAcknowledged, hub.NoticeWithdrawn)
UnansweredRow = dict[str, str]
"""Notice of an alert → the district that has not acknowledged it in time."""
ROAD_EVENTS = (traffic.RoadsPublished,)


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident. `opened`: when (microseconds). `incident`: JSON of the contract. `confirmed`: person → grade."""

    id: str
    opened: int
    incident: dict[str, Any]
    confirmed: dict[str, int]


@dataclass(frozen=True, slots=True)
class RoadRow:
    """A part of the road network; `districts`: road → the district that keeps it."""

    edges: list[Edge]
    districts: dict[str, str]


def incident_key(event: Heard) -> str:
    """The incident."""
    return str(event.data.incident_id)  # type: ignore[attr-defined]


def incident(row: IncidentRow | None, event: Heard) -> IncidentRow | None:
    """The incident after an event."""
    data = event.data
    if isinstance(data, ev.SafetyIncidentOpened):
        begun = pb.Incident(
            incident_id=data.incident_id, state=pb.INCIDENT_STATE_OPEN, kind=data.kind, opened_at=data.opened_at,
            district_id=data.district_id, split_from_id=data.split_from_id,
        )  # fmt: skip
        return IncidentRow(data.incident_id, data.opened_at.ToMicroseconds(), MessageToDict(begun), {})
    if row is None:
        return None
    shown, confirmed = ParseDict(row.incident, pb.Incident()), dict(row.confirmed)
    match data:
        case ev.SignalReceived():
            shown.signals += 1
            if data.signal.HasField("place") and not shown.HasField("place"):
                shown.place.CopyFrom(data.signal.place)
            if data.signal.HasField("position") and not shown.HasField("position"):
                shown.position.CopyFrom(data.signal.position)
        case ev.SignalSplitOff():
            shown.signals -= 1
        case ev.SafetyGradeConfirmed():
            if data.confirmation.confirmed_by:
                confirmed.pop("", None)
            confirmed[data.confirmation.confirmed_by] = data.confirmation.grade
        case ev.SafetyIncidentAbsorbed():
            for one in data.confirmations:
                confirmed[one.confirmed_by] = max(confirmed.get(one.confirmed_by, 0), one.grade)
        case ev.SafetyIncidentGraded():
            shown.grade, shown.colour = data.new_grade, data.colour
        case ev.SafetyIncidentMerged():
            shown.state, shown.outcome, shown.merged_into_id = pb.INCIDENT_STATE_MERGED, data.reason, data.into_incident_id
            shown.ended_at.CopyFrom(data.ended_at)
        case ev.SafetyIncidentClosed():
            shown.state, shown.outcome = pb.INCIDENT_STATE_CLOSED, data.outcome
            shown.ended_at.CopyFrom(data.ended_at)
        case ev.FalseAlarmFound():
            shown.false_alarm = True
        case ev.JointCommandCalled():
            shown.joint_command = True
    shown.confirmed_grade = pb.Grade.Name(max(confirmed.values(), default=0))  # type: ignore[assignment]
    return replace(row, incident=MessageToDict(shown), confirmed=confirmed)


def age(row: IncidentRow) -> tuple[int | str, ...]:
    """What incidents are ordered by; it never changes of one."""
    return (row.opened, row.id)


def is_asked_for(row: IncidentRow, request: pb.ListIncidentsRequest) -> bool:
    """Whether a list with this question shows it."""
    one = row.incident
    return (
        (not request.states or pb.IncidentState.Value(one["state"]) in request.states)
        and (not request.grades or pb.Grade.Value(one.get("grade", "GRADE_UNSPECIFIED")) in request.grades)
        and (not request.kinds or pb.EventKind.Value(one["kind"]) in request.kinds)
        and (not request.district_id or one.get("districtId") == request.district_id)
        and is_between(row.opened, request.opened_from, request.opened_before)
    )


def read(row: IncidentRow, unanswered: UnansweredRow | None) -> pb.Incident:
    """A row as callers see it."""
    return with_unanswered(ParseDict(row.incident, pb.Incident()), unanswered)


def with_unanswered(incident: pb.Incident, unanswered: UnansweredRow | None) -> pb.Incident:
    """The incident with the districts that have not acknowledged what they were told of it."""
    incident.unanswered_district_ids.extend(sorted(set((unanswered or {}).values())))
    return incident


def answer(row: UnansweredRow | None, event: Heard) -> UnansweredRow | None:
    """The alerts of an incident that were not acknowledged in time."""
    data: Any = event.data
    others = {notice: district for notice, district in (row or {}).items() if notice != data.notice_id}
    if isinstance(data, hub.NoticeEscalated) and data.alert:
        others[data.notice_id] = data.district_id
    return others or None


def road_key(event: Heard) -> str:
    """Roads are published in parts; each keeps the name of its first edge."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return event.data.edges[0].edge_id


def road(row: RoadRow | None, event: Heard) -> RoadRow | None:
    """The newest word on that part."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return RoadRow(
        [(e.edge_id, e.length_m, e.free_speed_mps, list(e.next_edge_ids)) for e in event.data.edges],
        {e.edge_id: e.district_id for e in event.data.edges},
    )


def network(rows: Iterable[RoadRow]) -> Roads:
    """The graph of all parts."""
    return build(edge for row in rows for edge in row.edges)


def keepers(rows: Iterable[RoadRow]) -> dict[str, str]:
    """Road → district, over all parts."""
    return {edge: keeper for row in rows for edge, keeper in row.districts.items()}
