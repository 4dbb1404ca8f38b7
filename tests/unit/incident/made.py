"""Spans, events and log lines of incidents that never were."""

from __future__ import annotations

import itertools
import json
from typing import Any

from citybrain.events.v1.event_pb2 import Event
from google.protobuf.message import Message

from citybrain.mesh.events import timestamp
from citybrain.observability.spans import Span

INCIDENT, TRACE = "inc-1", "a" * 32
MS = 1_000_000
SECOND = 1_000_000
_numbers = itertools.count(1)


def span(name: str, begin: float, end: float, parent: Span | None = None, service: str = "sagas", **more: Any) -> Span:
    """A span between two milliseconds."""
    given: dict[str, Any] = {
        "trace_id": TRACE, "span_id": f"{next(_numbers):016x}", "parent_span_id": parent.span_id if parent else "",
        "service": service, "name": name, "kind": "internal", "start_ns": int(begin * MS), "end_ns": int(end * MS),
        "attributes": {"incident.id": INCIDENT},
    }  # fmt: skip
    return Span(**{**given, **more})


def event(
    kind: str | Message, stream: str = "sagas/saga-inc-1", at_s: float = 0, cause: str = "", name: str = "", version: int = 1
) -> Event:
    """An event that was recorded and happened at a second. `kind`: its message, or its full name."""
    made = Event(
        id=name or f"e{next(_numbers)}", type=kind if isinstance(kind, str) else kind.DESCRIPTOR.full_name, stream=stream,
        version=version, occurred_at=timestamp(int(at_s * SECOND)), recorded_at=timestamp(int(at_s * SECOND)),
        correlation_id=INCIDENT, causation_id=cause,
    )  # fmt: skip
    if not isinstance(kind, str):
        made.data.Pack(kind)
    return made


def line(**fields: Any) -> str:
    """A line of a log file."""
    usual = {
        "time": "2026-01-05T08:00:00.000000Z",
        "level": "info",
        "service": "health",
        "message": "went on",
        "incident_id": INCIDENT,
    }
    return json.dumps({**usual, **fields}) + "\n"
