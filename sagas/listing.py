"""The lists of sagas: one of all, with the fields that callers filter and order by, and one of those that need a human."""

from __future__ import annotations

from citybrain.sagas.v1 import events_pb2 as ev

from citybrain.event_store.read_models import Row
from citybrain.mesh.events import Heard
from citybrain.sagas.engine.state import unpack

EVENTS = (ev.SagaStarted, ev.UndoBegan, ev.SagaNeedsHuman, ev.SagaResumed, ev.SagaCompleted, ev.SagaUndone)


def key(event: Heard) -> str:
    """The id of the saga, taken from the name of its stream."""
    return event.stored.stream.partition("/saga-")[2]


def apply(row: Row | None, event: Heard) -> Row | None:
    """The row of a saga after one of its events."""
    data = event.data
    if isinstance(data, ev.SagaStarted):
        return {
            "saga_id": data.saga_id, "started_at": event.stored.occurred_at, "state": "running", "undo": False,
            "district": _district(data),
        }  # fmt: skip
    if row is None:
        return None
    match data:
        case ev.UndoBegan():
            return {**row, "state": "undoing", "undo": True}
        case ev.SagaNeedsHuman():
            return {**row, "state": "needs human"}
        case ev.SagaResumed():
            return {**row, "state": "undoing" if row["undo"] else "running"}
        case ev.SagaCompleted():
            return {**row, "state": "completed"}
        case ev.SagaUndone():
            return {**row, "state": "undone"}
    return row


def waits(row: Row | None, event: Heard) -> Row | None:
    """The row of a saga that needs a human; None as soon as it does not."""
    data = event.data
    if isinstance(data, ev.SagaNeedsHuman):
        return {"since": event.stored.occurred_at, "reason": data.reason}
    return None


def _district(started: ev.SagaStarted) -> str:
    try:
        return str(getattr(unpack(started.input), "district_id", ""))
    except LookupError:
        # Of another release.
        return ""


def age(row: Row) -> tuple[int | str, ...]:
    """What sagas are ordered by. It never changes for a saga."""
    return (row["started_at"], row["saga_id"])
