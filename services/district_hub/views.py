"""Read models: the districts, who keeps which road, when notices were acknowledged, which wait, and what districts report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1 import events_pb2 as ev
from citybrain.traffic.v1 import events_pb2 as traffic

from citybrain.mesh.events import Heard, microseconds, timestamp
from citybrain.mesh.service import Task, Waiting

DISTRICT_EVENTS = (ev.DistrictRegistered,)
ROAD_EVENTS = (traffic.RoadsPublished,)
ANSWER_EVENTS = (ev.NoticeAcknowledged,)
WAITING_EVENTS = (ev.DistrictNotified, ev.NoticeReminded, ev.NoticeEscalated, ev.NoticeAcknowledged, ev.NoticeWithdrawn)
REPORT_EVENTS = (ev.DistrictReported,)
RoadRow = dict[str, str]
"""Road → district."""


@dataclass(frozen=True, slots=True)
class DistrictRow:
    """A district."""

    name: str


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """When a notice was acknowledged, in microseconds of city time."""

    at: int


def district_key(event: Heard) -> str:
    """The district."""
    return str(event.data.district_id)  # type: ignore[attr-defined]


def district(row: DistrictRow | None, event: Heard) -> DistrictRow | None:
    """Its name."""
    assert isinstance(event.data, ev.DistrictRegistered)
    return DistrictRow(event.data.name)


def road_key(event: Heard) -> str:
    """Roads are published in parts; each keeps the name of its first edge."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return event.data.edges[0].edge_id


def road(row: RoadRow | None, event: Heard) -> RoadRow | None:
    """Who keeps the roads of that part."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return {edge.edge_id: edge.district_id for edge in event.data.edges}


def keepers(rows: Iterable[RoadRow]) -> dict[str, str]:
    """Road → district, over all parts."""
    return {edge: keeper for row in rows for edge, keeper in row.items()}


def answer_key(event: Heard) -> str:
    """The notice."""
    return str(event.data.notice_id)  # type: ignore[attr-defined]


def answer(row: AnswerRow | None, event: Heard) -> AnswerRow | None:
    """When it was acknowledged."""
    return AnswerRow(event.stored.occurred_at)


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A notice that its district has not acknowledged. Moments are microseconds of city time."""

    incident_id: str
    district_id: str
    told_at: int
    within_s: int
    reminded: bool = False
    escalated: bool = False


def waiting(row: WaitingRow | None, event: Heard) -> WaitingRow | None:
    """A row as long as the notice waits."""
    match event.data:
        case ev.DistrictNotified() as told:
            if not told.acknowledge_within_s:
                return None
            return WaitingRow(told.incident_id, told.district_id, event.stored.occurred_at, told.acknowledge_within_s)
        case ev.NoticeReminded() if row is not None:
            return replace(row, reminded=True)
        case ev.NoticeEscalated() if row is not None:
            return replace(row, escalated=True)
    return None


def unanswered(row: Waiting | None, event: Heard) -> Waiting | None:
    """A row for each alert that its district has not acknowledged in time: somebody must telephone.

    The way of a vehicle is over by itself, and none of its notices says so.
    """
    if not isinstance(event.data, ev.NoticeEscalated) or not event.data.alert:
        return None
    why = f"district {event.data.district_id} has not acknowledged the alert of {event.data.incident_id}: telephone"
    return Waiting((Task("telephone", event.data.district_id, why, event.stored.occurred_at),))


def is_over(row: WaitingRow, now: int) -> bool | None:
    """Whether the time to acknowledge is over. None: nothing is to be done."""
    if row.escalated:
        return None
    waited_s = (now - row.told_at) / 1_000_000
    if waited_s >= row.within_s:
        return True
    return False if waited_s >= row.within_s / 2 and not row.reminded else None


def read_waiting(notice_id: str, row: WaitingRow) -> pb.WaitingNotice:
    """As callers see it."""
    return pb.WaitingNotice(
        notice_id=notice_id, incident_id=row.incident_id, district_id=row.district_id, told_at=timestamp(row.told_at),
        acknowledge_by=timestamp(row.told_at + row.within_s * 1_000_000), reminded=row.reminded, escalated=row.escalated,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A report. `seen_at`: microseconds since 1970."""

    kind: str
    seen_at: int
    subject: str
    # Name, value, unit.
    measures: tuple[tuple[str, float, str], ...]
    text: str


def reports_of(district_id: str) -> str:
    """How the keys of a district's reports begin."""
    return f"{district_id}/"


def report_key(event: Heard) -> str:
    """By district; in it, the newest first."""
    data = event.data
    assert isinstance(data, ev.DistrictReported)
    return f"{reports_of(data.district_id)}{10**17 - event.stored.occurred_at:017d} {data.batch_id} {data.number:03d}"


def report(row: ReportRow | None, event: Heard) -> ReportRow | None:
    """What was reported."""
    assert isinstance(event.data, ev.DistrictReported)
    told = event.data.report
    measures = tuple((one.name, one.value, one.unit) for one in told.measures)
    return ReportRow(told.kind, microseconds(told.seen_at), told.subject, measures, told.text)


def read_report(row: ReportRow) -> pb.Report:
    """As callers see it."""
    measures = [pb.Measure(name=name, value=value, unit=unit) for name, value, unit in row.measures]
    return pb.Report(kind=row.kind, seen_at=timestamp(row.seen_at), subject=row.subject, measures=measures, text=row.text)
