"""The rows of sagas: of all, with what a list shows and is filtered by, and of those of which tasks wait for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import Heard, microseconds
from citybrain.mesh.service import Task, Waiting
from citybrain.sagas.engine.exercises import in_exercise, parted, saga_of
from citybrain.sagas.engine.state import UNDO, SagaState, terminated, unpack

EVENTS = (
    ev.SagaStarted, ev.UndoBegan, ev.SagaNeedsHuman, ev.SagaResumed, ev.SagaCompleted, ev.SagaUndone, ev.SagaTerminated,
    ev.SagaUnlisted,
)  # fmt: skip
WAITING_EVENTS = (
    ev.HumanAsked, ev.HumanDecided, ev.StepSkipped, ev.WentBack, ev.ClearanceAsked, ev.UndoCleared, ev.UndoSkipped,
    ev.UndoBegan, ev.SagaNeedsHuman, ev.SagaResumed, ev.SagaCompleted, ev.SagaUndone, ev.SagaTerminated,
)  # fmt: skip
QUESTION, CLEARANCE, TROUBLE = "question", "clearance", "trouble"
"""The kinds of tasks: a question is to be answered, an undo to be cleared, a saga to be helped that cannot go on."""
Age = tuple[int, str]


@dataclass(frozen=True, slots=True)
class SagaRow:
    """A saga as a list shows it: what GetSaga tells of it, without its steps.

    `started_at` and `since` (when it came into its state) in microseconds of city time; `undo`: its undo has begun,
    for `undo_reason`; `seen`: the version of its stream up to which events are in the row; `parent`: whose child it is.
    """

    saga_id: str
    started_at: int
    state: str = "running"
    undo: bool = False
    undo_reason: str = ""
    district: str = ""
    workflow: str = ""
    version: int = 0
    incident: str = ""
    reason: str = ""
    since: int = 0
    seen: int = 0
    parent: str = ""


def key(event: Heard) -> str:
    """The id by which the saga is known, taken from the name of its stream."""
    return saga_of(event.stored.stream)


def apply(row: SagaRow | None, event: Heard) -> SagaRow | None:
    """The row of a saga after one of its events; None: it is in no list. An event that is in the row changes nothing."""
    data, at, version = event.data, event.stored.occurred_at, event.stored.version
    if row is not None and version <= row.seen:
        return row
    if isinstance(data, ev.SagaStarted):
        return SagaRow(
            key(event), at, district=district_of_saga(data), workflow=data.workflow, version=data.workflow_version,
            incident=event.stored.correlation_id or data.saga_id, since=at,
            seen=version, parent=data.parent and in_exercise(data.exercise, data.parent),
        )  # fmt: skip
    if row is None or isinstance(data, ev.SagaUnlisted):
        return None
    state, reason, undo, undo_reason = row.state, row.reason, row.undo, row.undo_reason
    match data:
        case ev.UndoBegan():
            state, reason, undo, undo_reason = "undoing", data.reason, True, data.reason
        case ev.SagaNeedsHuman():
            state, reason = "needs human", data.reason
        case ev.SagaResumed():
            state, reason = "undoing" if undo else "running", undo_reason
        case ev.SagaCompleted():
            state = "completed"
        case ev.SagaUndone():
            state = "undone"
        case ev.SagaTerminated():
            state, reason = "terminated", terminated(data)
    since = row.since if state == row.state else at
    return replace(row, state=state, reason=reason, undo=undo, undo_reason=undo_reason, since=since, seen=version)


def waits(row: Waiting | None, event: Heard) -> Waiting | None:
    """The tasks of a saga that wait for people; None: there are none."""
    before = () if row is None else row.tasks
    tasks = tuple(_tasks(before, event.data, event.stored.occurred_at))
    return Waiting(tasks, parted(key(event))[0]) if tasks else None


def _tasks(before: tuple[Task, ...], data: Message, at: int) -> Iterable[Task]:
    match data:
        case ev.HumanAsked(step=name, who=who, question=question, time=time):
            asked = [one for one in before if (one.kind, one.name) == (QUESTION, name) and time > 1]
            since, who_before = (asked[0].since, asked[0].who) if asked else (at, ())
            until = microseconds(data.deadline)
            return (*_without(before, QUESTION, name), Task(QUESTION, name, question, since, (*who_before, who), until))
        case ev.HumanDecided(step=name) | ev.StepSkipped(step=name):
            return _without(before, QUESTION, name)
        case ev.WentBack():
            again = set(data.again)
            return (one for one in before if not (one.kind == QUESTION and one.name in again))
        case ev.ClearanceAsked(step=name, key=of, authority=who, reason=why):
            return (*before, Task(CLEARANCE, name, why, at, (who,), key=of))
        case ev.UndoCleared(key=of) | ev.UndoSkipped(key=of):
            return (one for one in before if one.kind != CLEARANCE or one.key != of.removesuffix(UNDO))
        case ev.UndoBegan():
            return (one for one in before if one.kind != QUESTION)
        case ev.SagaNeedsHuman(step=name, reason=why):
            return (*_without(before, TROUBLE), Task(TROUBLE, name, why, at))
        case ev.SagaResumed():
            return _without(before, TROUBLE)
    # It has ended.
    return ()


def _without(tasks: tuple[Task, ...], kind: str, name: str | None = None) -> tuple[Task, ...]:
    return tuple(one for one in tasks if one.kind != kind or name not in (None, one.name))


def district_of(began_with: object) -> str:
    """The district of what begins a saga; empty: it is not known."""
    return str(getattr(began_with, "district_id", ""))


def district_of_saga(saga: SagaState | ev.SagaStarted) -> str:
    """The district of a saga, by what it began with, or that of its parent; empty: it is not known."""
    if isinstance(saga, SagaState):
        return district_of(saga.input) or saga.district
    return district_of(_input(saga)) or saga.district_id


def _input(started: ev.SagaStarted) -> object:
    try:
        return unpack(started.input)
    except LookupError:
        # Of another release.
        return None


def age(row: SagaRow) -> Age:
    """What sagas are ordered by. It never changes for a saga."""
    return (row.started_at, row.saga_id)
