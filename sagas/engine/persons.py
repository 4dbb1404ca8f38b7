"""Decisions of a person about a step of a saga: go on without it, or give it up. Pure."""

from __future__ import annotations

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound, Refused
from citybrain.sagas.engine.decider import shortened
from citybrain.sagas.engine.state import SagaState, StepState

GIVEN_UP = "GIVEN_UP"


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
    return [skipped, ev.SagaResumed()] if state.phase == "needs human" else [skipped]


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
        ev.UndoBegan(reason=shortened(f"{step} was given up by {by or 'somebody'}: {reason}")),
    ]


def _begun(state: SagaState, step: str) -> StepState:
    if step not in state.steps:
        begun = ", ".join(state.steps) or "none"
        raise NotFound(f"saga {state.saga_id} has not begun a step {step}; it has begun: {begun}", "STEP_NOT_BEGUN")
    return state.steps[step]


def _not_ended(state: SagaState, step: str, known: StepState) -> None:
    if state.phase in ("completed", "undone"):
        raise Refused(f"saga {state.saga_id} has ended: it is {state.phase}", "SAGA_ENDED")
    if not state.undo_begun and known.status in ("done", "skipped"):
        raise Refused(f"step {step} of saga {state.saga_id} is {known.status}", "STEP_ENDED")
