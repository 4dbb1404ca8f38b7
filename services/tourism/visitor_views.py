"""Read models of sums over visitors: flows by hour, origins and spend by place and day."""

from __future__ import annotations

from citybrain.tourism.v1 import events_pb2 as ev

from citybrain.mesh.events import Heard, microseconds
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept
from citybrain.services.tourism.hours import HOUR

FLOW_EVENTS = (ev.FlowsReported,)
ORIGIN_EVENTS = (ev.OriginsReported,)
SPEND_EVENTS = (ev.SpendReported,)


def hour_prefix(hour: int) -> str:
    """How the keys of an hour (its number since 1970) begin."""
    return f"{hour:08d} "


def flow_key(event: Heard) -> str:
    """Hour and source."""
    assert isinstance(event.data, ev.FlowsReported)
    return hour_prefix(microseconds(event.data.hour) // HOUR) + event.data.source_id


def flows(_row: Kept | None, event: Heard) -> Kept | None:
    """The flows of an hour as a source told them last."""
    assert isinstance(event.data, ev.FlowsReported)
    return Kept.of(event.data)


def place_prefix(place_id: str) -> str:
    """How the keys of a place begin."""
    return f"{joined(place_id)} "


def day_key(event: Heard) -> str:
    """Place, day and source."""
    assert isinstance(event.data, ev.OriginsReported | ev.SpendReported)
    return f"{place_prefix(event.data.place_id)}{event.data.day} {event.data.source_id}"


def of_day(_row: Kept | None, event: Heard) -> Kept | None:
    """What a source told last of a day."""
    return Kept.of(event.data)
