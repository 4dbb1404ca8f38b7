"""Which sagas must move, and when: a read model, so that nobody has to read the whole log to find out.

A saga has a row while a command or a child of it is under way, something is to be decided, a timer is set, or its parent is to
be told that it has ended. A saga that has ended has none else, nor has one that rests until a person sees to it. So a process
that takes sagas up reads nothing of those, however many they are. Because of its row a saga may be looked at too often, but
never too seldom.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.event_store.store import Partition
from citybrain.mesh.events import Heard, microseconds, type_name
from citybrain.mesh.service import View
from citybrain.mesh.subscriptions.groups import part_name
from citybrain.sagas import listing
from citybrain.sagas.engine.definition import Workflow

EVENTS: tuple[type[Message], ...] = tuple(getattr(ev, name) for name in ev.DESCRIPTOR.message_types_by_name)
NOW = 0
_UNDO = "undo/"


@dataclass(frozen=True, slots=True)
class MovingRow:
    """A saga that must move. `steps`: when each step, or undo by its key, is due, in microseconds of city time; NOW: it is out.

    `look`: a process must look at it. `human`: it needs a human.
    """

    steps: dict[str, int] = field(default_factory=dict)
    look: bool = False
    human: bool = False


class Moving(View[MovingRow]):
    """The sagas of some workflows that must move. It may be a moment behind: who takes sagas up reads the log behind it too."""

    rests = False
    pause_s = 1.0

    def __init__(self, workflows: Sequence[Workflow]) -> None:
        calls_off = {type_name(event) for workflow in workflows for event in workflow.undo_on}

        def apply(row: MovingRow | None, event: Heard) -> MovingRow | None:
            return moved(row, event.data, calls_off)

        super().__init__(EVENTS, listing.key, apply, row=MovingRow, exercises=True)

    async def reached(self, partition: Partition) -> int:
        """The position of a partition up to which the rows hold everything. They may hold more."""
        return await self.member.service_models.models.position(part_name(self.member.group, partition)) or 0


def due(row: MovingRow) -> int:
    """When the saga is to be looked at, in microseconds of city time. NOW: as soon as a process takes it up."""
    return NOW if row.look or not row.steps else min(row.steps.values())


def moved(row: MovingRow | None, data: Any, calls_off: Collection[str] = ()) -> MovingRow | None:
    """The row of a saga after one of its events. `calls_off`: types of events that undo a saga even if it needs a human."""
    match data:
        case ev.SagaStarted():
            return MovingRow(look=True)
        case ev.SagaResumed() | ev.UndoBegan():
            # Steps are begun anew, or not waited for any more. What is being taken back is taken back to its end.
            undos = {} if row is None else {name: moment for name, moment in row.steps.items() if name.startswith(_UNDO)}
            return MovingRow(undos, look=True)
        case ev.SagaCompleted() | ev.SagaUndone() | ev.SagaTerminated() | ev.ParentTold():
            return None
        case ev.ParentToBeTold():
            return MovingRow(look=True)
        case ev.EventHeard() if row is None or row.human:
            if data.event.type_url.rpartition("/")[2] not in calls_off:
                return row
            return MovingRow({} if row is None else row.steps, look=True, human=True)
    if row is None:
        return None
    steps = dict(row.steps)
    if isinstance(data, ev.SagaNeedsHuman):
        # Timers of steps stop; commands that are under way are not taken back.
        out = {step: moment for step, moment in steps.items() if moment == NOW or step.startswith(_UNDO)}
        return MovingRow(out, human=True) if out else None
    look = False
    match data:
        case ev.StepSent():
            steps[data.step] = NOW
        case ev.UndoSent():
            steps[_UNDO + data.key] = NOW
        case ev.WaitBegan() | ev.HumanAsked():
            steps[data.step] = microseconds(data.deadline)
        case ev.StepFailed() if data.HasField("retry_at"):
            # This is before the deadline of the step; else there would be no retry.
            steps[data.step] = microseconds(data.retry_at)
        case ev.UndoFailed() if data.HasField("retry_at"):
            steps[_UNDO + data.key] = microseconds(data.retry_at)
        case ev.UndoAnswered() | ev.UndoFailed() | ev.UndoSkipped():
            # An earlier release named only the step.
            over = [_UNDO + data.key] if data.key else [name for name in steps if f"/{data.step}/" in name]
            steps = {name: moment for name, moment in steps.items() if name not in over}
            look = True
        case _:
            # What follows may not be recorded yet.
            steps.pop(getattr(data, "step", ""), None)
            look = True
    if row.human:
        return MovingRow(steps, row.look, human=True) if steps or row.look else None
    return MovingRow(steps, look)
