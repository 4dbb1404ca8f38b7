"""Read models: the districts, who keeps which road, and when notices were acknowledged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from citybrain.district_hub.v1 import events_pb2 as ev
from citybrain.traffic.v1 import events_pb2 as traffic

from citybrain.mesh.events import Heard

DISTRICT_EVENTS = (ev.DistrictRegistered,)
ROAD_EVENTS = (traffic.RoadsPublished,)
ANSWER_EVENTS = (ev.NoticeAcknowledged,)
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
