"""Read models: the districts, who keeps which road, and when notices were acknowledged."""

from __future__ import annotations

from collections.abc import Iterable

from citybrain.district_hub.v1 import events_pb2 as ev
from citybrain.traffic.v1 import events_pb2 as traffic

from citybrain.event_store.read_models import Row
from citybrain.mesh.events import Heard

DISTRICT_EVENTS = (ev.DistrictRegistered,)
ROAD_EVENTS = (traffic.RoadsPublished,)
ANSWER_EVENTS = (ev.NoticeAcknowledged,)


def district_key(event: Heard) -> str:
    """The district."""
    return str(event.data.district_id)  # type: ignore[attr-defined]


def district(row: Row | None, event: Heard) -> Row | None:
    """Its name."""
    assert isinstance(event.data, ev.DistrictRegistered)
    return {"name": event.data.name}


def road_key(event: Heard) -> str:
    """Roads are published in parts; each keeps the name of its first edge."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return event.data.edges[0].edge_id


def road(row: Row | None, event: Heard) -> Row | None:
    """Who keeps the roads of that part."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return {edge.edge_id: edge.district_id for edge in event.data.edges}


def keepers(rows: Iterable[Row]) -> dict[str, str]:
    """Road → district, over all parts."""
    return {edge: keeper for row in rows for edge, keeper in row.items()}


def answer_key(event: Heard) -> str:
    """The notice."""
    return str(event.data.notice_id)  # type: ignore[attr-defined]


def answer(row: Row | None, event: Heard) -> Row | None:
    """When it was acknowledged."""
    return {"at": event.stored.occurred_at}
