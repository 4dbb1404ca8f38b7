"""The map of streams: which service wrote which events because of which others. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from citybrain.events.v1.event_pb2 import Event


@dataclass(frozen=True, slots=True)
class Cause:
    """So many events of a type of a service were written because of events of another."""

    from_service: str
    from_type: str
    to_service: str
    to_type: str
    count: int


def service_of(event: Event) -> str:
    """The service that wrote an event."""
    return event.stream.partition("/")[0]


def short(name: str) -> str:
    """The last part of a full name."""
    return name.rpartition(".")[2]


def causes(events: Iterable[Event]) -> list[Cause]:
    """What led to what, in the order in which it first did. What has its cause outside of the incident is left out."""
    known = {event.id: event for event in events}
    counted: Counter[tuple[str, str, str, str]] = Counter()
    for event in known.values():
        cause = known.get(event.causation_id)
        if cause is not None and cause is not event:
            counted[service_of(cause), short(cause.type), service_of(event), short(event.type)] += 1
    return [Cause(*names, count) for names, count in counted.items()]
