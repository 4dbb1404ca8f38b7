"""The list of sagas: one row each, with what a list is ordered by."""

from __future__ import annotations

from citybrain.sagas.v1 import events_pb2 as ev

from citybrain.event_store.read_models import Row
from citybrain.mesh.events import Heard

EVENTS = (ev.SagaStarted, ev.UndoBegan, ev.SagaNeedsHuman, ev.SagaResumed, ev.SagaCompleted, ev.SagaUndone)


def key(event: Heard) -> str:
    """The saga's stream names it."""
    return event.stored.stream.partition("/saga-")[2]


def apply(row: Row | None, event: Heard) -> Row | None:
    """Where the saga stands, as far as a list shows it."""
    if isinstance(event.data, ev.SagaStarted):
        return {"saga_id": event.data.saga_id, "started_at": event.stored.occurred_at, "ended": False}
    if row is not None and isinstance(event.data, ev.SagaCompleted | ev.SagaUndone):
        return {**row, "ended": True}
    return row


def age(row: Row) -> tuple[int | str, ...]:
    """What sagas are ordered by; it never changes of one."""
    return (row["started_at"], row["saga_id"])
