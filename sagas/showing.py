"""A saga as callers see it: whole, and as a list shows it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from citybrain.sagas.v1 import saga_service_pb2 as pb

from citybrain.mesh.events import timestamp
from citybrain.sagas.engine.definition import Human, Leaf, Node, Parallel, Workflow, inside
from citybrain.sagas.engine.exercises import in_exercise, parted
from citybrain.sagas.engine.state import SagaState
from citybrain.sagas.listing import SagaRow, district_of_saga

STATES = {
    "running": pb.SAGA_STATE_RUNNING,
    "undoing": pb.SAGA_STATE_UNDOING,
    "needs human": pb.SAGA_STATE_NEEDS_HUMAN,
    "completed": pb.SAGA_STATE_COMPLETED,
    "undone": pb.SAGA_STATE_UNDONE,
    "unknown": pb.SAGA_STATE_UNKNOWN,
    "terminated": pb.SAGA_STATE_TERMINATED,
}
_UNDO_STATUS = {"sent": "undoing", "pausing": "undoing", "done": "undone", "failed": "undo failed", "skipped": "undo skipped"}


def shown(state: SagaState, workflow: Workflow | None) -> pb.Saga:
    """A saga, step by step. Of a workflow that this release has not, the steps that were begun are known."""
    names = list(state.steps) if workflow is None else [leaf.name for leaf in workflow.leaves()]
    where = {} if workflow is None else dict(_branches(workflow.nodes, "", itertools.count(1)))
    leaves = [] if workflow is None else list(workflow.leaves())
    options = {leaf.name: leaf.options for leaf in leaves if isinstance(leaf, Human)}
    return pb.Saga(
        saga_id=in_exercise(state.exercise, state.saga_id),
        exercise=state.exercise,
        workflow=state.workflow,
        workflow_version=state.workflow_version,
        state=STATES[state.phase],
        correlation_id=state.incident,
        steps=[_step(name, state, where.get(name, ""), options.get(name, ())) for name in names],
        started_at=timestamp(state.started_at),
        reason=state.reason,
        district_id=district_of_saga(state),
        state_since=timestamp(state.since),
        parent=state.parent and in_exercise(state.exercise, state.parent),
    )


def in_a_list(row: SagaRow, state: str, reason: str) -> pb.Saga:
    """A saga without its steps, in this state for this reason."""
    return pb.Saga(
        saga_id=row.saga_id,
        exercise=parted(row.saga_id)[0],
        workflow=row.workflow,
        workflow_version=row.version,
        state=STATES[state],
        correlation_id=row.incident,
        started_at=timestamp(row.started_at),
        reason=reason,
        district_id=row.district,
        state_since=timestamp(row.since),
        parent=row.parent,
    )


def _step(name: str, state: SagaState, branch: str, options: Iterable[str]) -> pb.SagaStep:
    step = state.steps.get(name)
    if step is None:
        return pb.SagaStep(name=name, status="not begun", branch=branch)
    told = pb.SagaStep(
        name=name,
        status=_UNDO_STATUS.get(step.undo, step.status),
        reason=step.reason,
        changed_at=timestamp(step.changed_at),
        # A wait has no command.
        tries=(step.undo_tries if step.undo else step.tries) if step.key else 0,
        branch=branch,
        child=step.child and in_exercise(state.exercise, step.child),
    )
    if step.kind == "question":
        told.question = step.question
        if step.status == "asked":
            told.asks = step.who
        told.options.extend(options)
    # In every other phase its timers have stopped.
    if state.phase == "undoing" and step.undo == "pausing":
        told.next_try_at.CopyFrom(timestamp(step.undo_retry_at))
    elif state.phase == "running" and step.status in ("sent", "pausing", "waiting", "asked"):
        told.deadline.CopyFrom(timestamp(step.deadline))
        if step.status == "pausing":
            told.next_try_at.CopyFrom(timestamp(step.retry_at))
    return told


def _branches(nodes: Iterable[Node], within: str, forks: Iterator[int]) -> Iterator[tuple[str, str]]:
    """Each step with the branch in which it stands. `forks` numbers the places where branches run side by side."""
    for node in nodes:
        if isinstance(node, Parallel):
            fork = next(forks)
            for number, branch in enumerate(node.branches, 1):
                yield from _branches(branch, f"{within}/{fork}.{number}".lstrip("/"), forks)
        elif isinstance(node, Leaf):
            yield node.name, within
        else:
            yield from _branches(inside(node), within, forks)
