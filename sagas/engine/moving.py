"""Which sagas must move, and when: a read model of what is out and what is due, so that nobody reads the log to find that out.

A row for each saga that has something out, to decide, or due one day. What has ended has none, nor what rests until a person
sees to it: however many these are, whoever takes sagas up reads nothing of them. By its row a saga is looked at too
often, never too seldom. Whoever changes what rows say gives the view another name, so that it is folded anew.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.event_store.read_models import Row
from citybrain.event_store.store import Partition
from citybrain.mesh.events import Heard, microseconds, type_name
from citybrain.mesh.service import View
from citybrain.mesh.subscriptions.groups import part_name
from citybrain.sagas import listing
from citybrain.sagas.engine.definition import Workflow

EVENTS: tuple[type[Message], ...] = tuple(getattr(ev, name) for name in ev.DESCRIPTOR.message_types_by_name)
NOW = 0


class Moving(View):
    """The sagas of some workflows that must move."""

    def __init__(self, workflows: Sequence[Workflow]) -> None:
        calls_off = {type_name(event) for workflow in workflows for event in workflow.undo_on}

        def apply(row: Row | None, event: Heard) -> Row | None:
            return moved(row, event.data, calls_off)

        super().__init__(EVENTS, listing.key, apply)

    async def reached(self, partition: Partition) -> int:
        """Up to where of a partition everything is in the rows; more may be."""
        return await self.member.file.models.position(part_name(self.member.group, partition)) or 0


def due(row: Row) -> int:
    """When its saga is to be looked at, in microseconds of city time; NOW: whenever somebody takes it up."""
    return NOW if row["look"] or not row["steps"] else min(row["steps"].values())


def moved(row: Row | None, data: Any, calls_off: Collection[str] = ()) -> Row | None:
    """The row of a saga after one of its events; `calls_off`: what undoes one that needs a human, too."""
    match data:
        case ev.SagaStarted() | ev.SagaResumed() | ev.UndoBegan():
            return _row({}, look=True)
        case ev.SagaCompleted() | ev.SagaUndone():
            return None
        case ev.EventHeard() if row is None or row["human"]:
            if data.event.type_url.rpartition("/")[2] not in calls_off:
                return row
            return _row({} if row is None else row["steps"], look=True, human=True)
    if row is None:
        return None
    steps = dict(row["steps"])
    if isinstance(data, ev.SagaNeedsHuman):
        # No time runs meanwhile; what is out is out.
        out = {step: moment for step, moment in steps.items() if moment == NOW}
        return _row(out, look=False, human=True) if out else None
    look = False
    match data:
        case ev.StepSent() | ev.UndoSent():
            steps[data.step] = NOW
        case ev.WaitBegan():
            steps[data.step] = microseconds(data.deadline)
        case ev.StepFailed() | ev.UndoFailed() if data.HasField("retry_at"):
            # Before the deadline of the step: else it is not tried again.
            steps[data.step] = microseconds(data.retry_at)
        case _:
            # What follows was recorded with it, or was not.
            steps.pop(getattr(data, "step", ""), None)
            look = True
    if row["human"]:
        return _row(steps, look=row["look"], human=True) if steps or row["look"] else None
    return _row(steps, look=look)


def _row(steps: dict[str, int], *, look: bool, human: bool = False) -> Row:
    return {"steps": steps, "look": look, "human": human}
