"""The lists of sagas: one of all, with the fields that callers filter and order by, and one of those that need a human."""

from __future__ import annotations

from dataclasses import dataclass, replace

from citybrain.sagas.v1 import events_pb2 as ev

from citybrain.mesh.events import Heard
from citybrain.mesh.service import Waiting
from citybrain.sagas.engine.state import unpack

EVENTS = (ev.SagaStarted, ev.UndoBegan, ev.SagaNeedsHuman, ev.SagaResumed, ev.SagaCompleted, ev.SagaUndone)


@dataclass(frozen=True, slots=True)
class SagaRow:
    """A saga as far as a list shows it. `started_at` in microseconds of city time; `undo`: its undo has begun."""

    saga_id: str
    started_at: int
    state: str = "running"
    undo: bool = False
    district: str = ""


def key(event: Heard) -> str:
    """The id of the saga, taken from the name of its stream."""
    return event.stored.stream.partition("/saga-")[2]


def apply(row: SagaRow | None, event: Heard) -> SagaRow | None:
    """The row of a saga after one of its events."""
    data = event.data
    if isinstance(data, ev.SagaStarted):
        return SagaRow(data.saga_id, event.stored.occurred_at, district=district_of(_input(data)))
    if row is None:
        return None
    match data:
        case ev.UndoBegan():
            return replace(row, state="undoing", undo=True)
        case ev.SagaNeedsHuman():
            return replace(row, state="needs human")
        case ev.SagaResumed():
            return replace(row, state="undoing" if row.undo else "running")
        case ev.SagaCompleted():
            return replace(row, state="completed")
        case ev.SagaUndone():
            return replace(row, state="undone")
    return row


def waits(row: Waiting | None, event: Heard) -> Waiting | None:
    """The row of a saga that needs a human; None as soon as it does not."""
    data = event.data
    if isinstance(data, ev.SagaNeedsHuman):
        return Waiting(event.stored.occurred_at, data.reason)
    return None


def district_of(began_with: object) -> str:
    """The district of a saga, by what it began with; empty: it is not known."""
    return str(getattr(began_with, "district_id", ""))


def _input(started: ev.SagaStarted) -> object:
    try:
        return unpack(started.input)
    except LookupError:
        # Of another release.
        return None


def age(row: SagaRow) -> tuple[int | str, ...]:
    """What sagas are ordered by. It never changes for a saga."""
    return (row.started_at, row.saga_id)
