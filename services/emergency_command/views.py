"""Read models: the list of incidents, one row each, as callers see it; who is on board; districts without an answer; roads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from citybrain.district_hub.v1 import events_pb2 as hub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.events_pb2 import (
    IncidentCancelled,
    IncidentClosed,
    IncidentOpened,
    ReportMerged,
    ReportSplitOff,
)
from citybrain.health.v1 import events_pb2 as health
from citybrain.health.v1.health_service_pb2 import MISSION_STAGE_PATIENT_ON_BOARD
from citybrain.traffic.v1 import events_pb2 as traffic
from google.protobuf.json_format import MessageToDict, ParseDict

from citybrain.mesh.events import Heard, is_between, timestamp
from citybrain.mesh.roads import Edge, Roads, build

EVENTS = (IncidentOpened, ReportMerged, ReportSplitOff, IncidentCancelled, IncidentClosed)
MISSION_EVENTS = (health.MissionReported,)
ROAD_EVENTS = (traffic.RoadsPublished,)
ANSWER_EVENTS = (hub.NoticeEscalated, hub.NoticeAcknowledged, hub.NoticeWithdrawn)
UnansweredRow = dict[str, str]
"""Notice → the district that has not answered it in time."""
RoadRow = dict[str, tuple[float, str]]
"""Road → its length in metres, and the district that keeps it."""


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident. `reported`: when, by the source's clock and by the store's. `incident`, `reporter`: JSON of the contract.

    `severities`: its reports, and how grave each says it is.
    """

    id: str
    reported: tuple[int, int]
    incident: dict[str, Any]
    reporter_id: str = ""
    reporter: dict[str, Any] | None = None
    severities: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnBoardRow:
    """An incident whose patient an ambulance has taken on board."""

    ambulance: str


@dataclass(frozen=True, slots=True)
class WayRow:
    """A part of the road network."""

    edges: list[Edge]


def key(event: Heard) -> str:
    """The incident."""
    return str(event.data.incident_id)  # type: ignore[attr-defined]


def apply(row: IncidentRow | None, event: Heard) -> IncidentRow | None:
    """The incident after an event."""
    when = timestamp(event.stored.occurred_at)
    data = event.data
    if isinstance(data, IncidentOpened):
        incident = pb.Incident(
            incident_id=data.incident_id, state=pb.INCIDENT_STATE_OPEN, channel=data.channel, severity=data.severity,
            place=data.place, reported_at=when, reporter_id=data.reporter_id, district_id=data.district_id, reports=1,
            split_from_id=data.split_from_id,
        )  # fmt: skip
        # Positions of different partitions of the log are not comparable; moments are.
        moments = event.stored.occurred_at, event.stored.recorded_at
        severities = {data.report_id: int(data.severity)}
        row = IncidentRow(data.incident_id, moments, MessageToDict(incident), severities=severities)
        if data.HasField("reporter"):
            return replace(row, reporter_id=data.reporter_id, reporter=MessageToDict(data.reporter))
        return row
    if row is None:
        return None
    incident = ParseDict(row.incident, pb.Incident())
    severities = dict(row.severities)
    match data:
        case ReportMerged():
            severities[data.report_id] = int(data.severity)
        case ReportSplitOff():
            severities.pop(data.report_id, None)
        case IncidentCancelled():
            incident.state, incident.outcome = pb.INCIDENT_STATE_CANCELLED, data.reason
            incident.ended_at.CopyFrom(when)
        case IncidentClosed():
            incident.state, incident.outcome = pb.INCIDENT_STATE_CLOSED, data.outcome
            incident.ended_at.CopyFrom(when)
    if severities:
        incident.reports, incident.severity = len(severities), pb.Severity.Name(max(severities.values()))  # type: ignore[assignment]
    return replace(row, incident=MessageToDict(incident), severities=severities)


def age(row: IncidentRow) -> tuple[int | str, ...]:
    """What incidents are ordered by; it never changes of one."""
    return (*row.reported, row.id)


def is_asked_for(row: IncidentRow, request: pb.ListIncidentsRequest) -> bool:
    """Whether a list with this question shows it."""
    incident = row.incident
    return (
        (not request.states or pb.IncidentState.Value(incident["state"]) in request.states)
        and (not request.district_id or incident.get("districtId") == request.district_id)
        and is_between(row.reported[0], request.reported_from, request.reported_before)
    )


def read(row: IncidentRow, unanswered: UnansweredRow | None) -> pb.Incident:
    """A row as callers see it."""
    incident = ParseDict(row.incident, pb.Incident())
    incident.unanswered_district_ids.extend(sorted(set((unanswered or {}).values())))
    if row.reporter is not None:
        ParseDict(row.reporter, incident.reporter)
    return incident


def answer(row: UnansweredRow | None, event: Heard) -> UnansweredRow | None:
    """The notices of an incident that were not answered in time."""
    data: Any = event.data
    others = {notice: district for notice, district in (row or {}).items() if notice != data.notice_id}
    if isinstance(data, hub.NoticeEscalated):
        others[data.notice_id] = data.district_id
    return others or None


def road_key(event: Heard) -> str:
    """Roads are published in parts; each keeps the name of its first edge."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return event.data.edges[0].edge_id


def road(row: RoadRow | None, event: Heard) -> RoadRow | None:
    """Length and district of each road of that part."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return {edge.edge_id: (edge.length_m, edge.district_id) for edge in event.data.edges}


def lengths(rows: Iterable[RoadRow]) -> dict[str, float]:
    """Road → metres, over all parts."""
    return {edge: length for row in rows for edge, (length, _) in row.items()}


def keepers(rows: Iterable[RoadRow]) -> dict[str, str]:
    """Road → district, over all parts."""
    return {edge: keeper for row in rows for edge, (_, keeper) in row.items()}


def way(row: WayRow | None, event: Heard) -> WayRow | None:
    """The newest word on that part."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return WayRow([(e.edge_id, e.length_m, e.free_speed_mps, list(e.next_edge_ids)) for e in event.data.edges])


def network(rows: Iterable[WayRow]) -> Roads:
    """The graph of all parts."""
    return build(edge for row in rows for edge in row.edges)


def on_board(row: OnBoardRow | None, event: Heard) -> OnBoardRow | None:
    """The ambulance that has the patient."""
    assert isinstance(event.data, health.MissionReported)
    return OnBoardRow(event.data.ambulance_id) if event.data.stage >= MISSION_STAGE_PATIENT_ON_BOARD else row
