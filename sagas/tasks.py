"""What waits for people, as callers see it."""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.sagas.v1 import saga_service_pb2 as pb

from citybrain.mesh.events import timestamp
from citybrain.mesh.service import Task
from citybrain.sagas.engine.definition import Human, Workflow
from citybrain.sagas.listing import CLEARANCE, QUESTION, TROUBLE, SagaRow

_KINDS = {QUESTION: pb.TASK_KIND_QUESTION, CLEARANCE: pb.TASK_KIND_CLEARANCE, TROUBLE: pb.TASK_KIND_TROUBLE}
KINDS_OF_TASKS = {number: kind for kind, number in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class Told:
    """A task, and the saga that it is of."""

    saga_id: str
    task: Task


def place(one: Told) -> tuple[int | str, ...]:
    """What tasks are ordered by: the oldest first. It does not change as long as there is the task."""
    return (one.task.since, one.saga_id, one.task.kind, one.task.name, one.task.key)


def task_of(one: Told, saga: SagaRow | None, workflow: Workflow | None) -> pb.Task:
    """A task as a list shows it. `saga`: None where its row is a moment behind; `workflow`: None in a release without it."""
    told = pb.Task(
        saga_id=one.saga_id, kind=_KINDS[one.task.kind], step=one.task.name, text=one.task.reason,
        authorities=one.task.who, since=timestamp(one.task.since),
    )  # fmt: skip
    if one.task.until:
        told.until.CopyFrom(timestamp(one.task.until))
    if saga is not None:
        told.workflow, told.workflow_version, told.district_id = saga.workflow, saga.version, saga.district
    if workflow is not None and one.task.kind == QUESTION:
        question = next((leaf for leaf in workflow.leaves() if leaf.name == one.task.name), None)
        told.options.extend(question.options if isinstance(question, Human) else ())
    return told
