"""Decisions of a person about a saga: that it goes on, without a step, or is undone, or just ends. Pure."""

from __future__ import annotations

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound, Refused
from citybrain.sagas.engine.decider import shortened
from citybrain.sagas.engine.definition import Step, Workflow
from citybrain.sagas.engine.state import ENDED, SagaState, StepState

GIVEN_UP = "GIVEN_UP"


def resume(state: SagaState, reason: str, by: str) -> list[Message]:
    """The inputs that let a saga go on that needs a human. None where it needs nobody."""
    return [ev.SagaResumed(reason=reason, by=by)] if state.phase == "needs human" else []


def skip(state: SagaState, step: str, reason: str, by: str) -> list[Message]:
    """The inputs that make a saga go on without a step, or without undoing it. None where that was decided before."""
    known = _begun(state, step)
    if state.phase == "undoing" or state.undo_begun:
        if known.undo in ("", "done"):
            raise Refused(f"saga {state.saga_id} is undone in reverse, and not at {step} now", "NOT_BEING_UNDONE")
        skipped: Message = ev.UndoSkipped(step=step, reason=reason, by=by)
        said = known.undo == "skipped"
    else:
        skipped = ev.StepSkipped(step=step, reason=reason, by=by)
        said = known.status == "skipped"
    if said:
        return []
    _not_ended(state, step, known)
    return [skipped, *resume(state, reason, by)]


def fail(state: SagaState, step: str, reason: str, by: str) -> list[Message]:
    """The inputs that undo a saga because a step will never be done. None where that was decided before."""
    known = _begun(state, step)
    if known.reason.startswith(f"{GIVEN_UP}: "):
        return []
    if state.phase == "undoing" or state.undo_begun:
        raise Refused(f"saga {state.saga_id} is being undone already", "IS_BEING_UNDONE")
    _not_ended(state, step, known)
    return [
        ev.StepFailed(step=step, key=known.key, code=GIVEN_UP, message=reason, by=by),
        ev.UndoBegan(reason=shortened(f"{step} was given up by {by or 'somebody'}: {reason}"), by=by),
    ]


def retry(state: SagaState, step: str, reason: str, by: str) -> list[Message]:
    """The inputs that have a step tried again at once, or its undo. None where it is being tried."""
    known = _begun(state, step)
    undoing = state.phase == "undoing" or state.undo_begun
    _not_ended(state, step, known)
    if known.undo == "sent" if undoing else known.status in ("sent", "resumed"):
        return []
    failed = known.undo in ("pausing", "failed") if undoing else known.status in ("pausing", "failed", "timed out")
    if not failed:
        stands = f"its undo is {known.undo or 'not begun'}" if undoing else f"it is {known.status}"
        raise Refused(f"step {step} of saga {state.saga_id} has not failed: {stands}", "NOT_FAILED")
    return [ev.StepRetried(step=step, reason=reason, by=by), *resume(state, reason, by)]


def cancel(state: SagaState, reason: str, by: str) -> list[Message]:
    """The inputs that undo all that a saga has done. None where the same was decided before."""
    why = shortened(f"cancelled by {by or 'somebody'}: {reason}")
    if state.undo_reason == why:
        return []
    if state.phase in ENDED:
        raise _has_ended(state)
    if state.phase == "undoing" or state.undo_begun:
        raise Refused(f"saga {state.saga_id} is being undone already: {state.undo_reason}", "IS_BEING_UNDONE")
    return [ev.UndoBegan(reason=why, by=by)]


def terminate(state: SagaState, reason: str, by: str) -> list[Message]:
    """The inputs that end a saga where it stands, whatever it is. None where that was decided before."""
    if state.phase == "terminated":
        return []
    if state.phase in ENDED:
        raise _has_ended(state)
    return [ev.SagaTerminated(reason=reason, by=by)]


def not_undone(workflow: Workflow | None, state: SagaState) -> list[str]:
    """The steps whose commands were sent and not undone, in the order in which they began.

    Without a definition nobody knows which steps have an undo: then all that were sent.
    """
    undoable = {one.name for one in workflow.leaves() if isinstance(one, Step) and one.undo} if workflow else set(state.steps)
    return [name for name, one in state.steps.items() if name in undoable and one.key and one.undo not in ("done", "skipped")]


def _begun(state: SagaState, step: str) -> StepState:
    if step not in state.steps:
        begun = ", ".join(state.steps) or "none"
        raise NotFound(f"saga {state.saga_id} has not begun a step {step}; it has begun: {begun}", "STEP_NOT_BEGUN")
    return state.steps[step]


def _has_ended(state: SagaState) -> Refused:
    return Refused(f"saga {state.saga_id} has ended: it is {state.phase}", "SAGA_ENDED")


def _not_ended(state: SagaState, step: str, known: StepState) -> None:
    if state.phase in ENDED:
        raise _has_ended(state)
    if not state.undo_begun and known.status in ("done", "skipped"):
        raise Refused(f"step {step} of saga {state.saga_id} is {known.status}", "STEP_ENDED")
