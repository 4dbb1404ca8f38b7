"""Decisions of a person about a saga: an answer to a question; that something has happened; that a step is left out, tried
again, given up, or may be undone; that the saga goes on, is undone, or just ends.

All of them are pure, and none records the same decision twice.
"""

from __future__ import annotations

from collections.abc import Callable

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import timestamp, type_name
from citybrain.sagas.engine.definition import Human, Workflow
from citybrain.sagas.engine.definition import undoable as may_be_undone
from citybrain.sagas.engine.exercises import in_exercise
from citybrain.sagas.engine.following import shortened
from citybrain.sagas.engine.state import ENDED, UNDO, SagaState, StepState, pack

GIVEN_UP = "GIVEN_UP"

May = Callable[[str], bool]
"""Whether the person may act for an authority."""


def authority_scope(who: str) -> str:
    """The scope of those who may decide for an authority: sagas.decide.fire_command."""
    return f"sagas.decide.{who}"


def decide(
    workflow: Workflow, state: SagaState, question: str, option: str, reason: str, by: str, may: May
) -> list[Message]:  # fmt: skip
    """The inputs of an answer to a question. Forbidden: they are not of an authority that was asked. Refused: not now."""
    known = _begun(state, question)
    node = workflow.leaf(question)
    if not isinstance(node, Human):
        raise Refused(f"{question} of saga {state.saga_id} is no question: nobody is asked there", "NO_QUESTION")
    asked = node.who[: known.times] or node.who[:1]
    if not any(map(may, asked)):
        scopes = " or ".join(map(authority_scope, asked))
        raise Forbidden(f"{question} is decided by {', '.join(asked)}: this token needs the scope {scopes}", "NOT_ASKED")
    if option not in node.options:
        raise BadRequest([("option", f"is none of {question}: choose one of {', '.join(node.options)}")])
    if known.status == "done":
        decided = state.decision(question)
        if decided == option:
            return []
        raise Refused(f"{question} of saga {state.saga_id} was decided: {decided}", "WAS_DECIDED")
    if state.phase in ENDED or state.undo_begun or known.status not in ("asked", "timed out"):
        raise Refused(f"nobody is asked for {question} of saga {state.saga_id} now: it is {state.phase}", "NOT_ASKED_NOW")
    if why_not := node.validator(state, option):
        raise Refused(f"{option} cannot be chosen for {question} now: {why_not}", "DECISION_REFUSED")
    return [ev.HumanDecided(step=question, option=option, reason=reason, by=by)]


def clear(workflow: Workflow, state: SagaState, step: str, reason: str, by: str, may: May) -> list[Message]:
    """The inputs that let a step be undone which protects life. Forbidden: they are not of the authority that clears it."""
    known = _begun(state, step)
    definition = workflow.leaf(step)
    authority = getattr(definition, "clearance", "")
    if not authority:
        raise Refused(f"{step} of saga {state.saga_id} needs no clearance to be undone", "NO_CLEARANCE_NEEDED")
    if not may(authority):
        raise Forbidden(f"{authority} clears {step}: this token needs the scope {authority_scope(authority)}", "NOT_ASKED")
    waiting = [one for one in state.attempts() if one.name == step and one.key and one.undo not in ("done", "skipped")]
    left = [one for one in waiting if not one.cleared]
    if waiting and not left:
        return []
    if not left or not (state.undo_begun or any(one.undo for one in left)):
        raise Refused(
            f"{step} of saga {state.saga_id} is not being undone: it is {known.undo or known.status}", "NOT_BEING_UNDONE"
        )
    cleared: list[Message] = [ev.UndoCleared(step=step, key=one.key, reason=reason, by=by) for one in left]
    return [*cleared, *resume(state, reason, by)]


def signal(
    workflow: Workflow, state: SagaState, signal_id: str, event: Message, reason: str, by: str, now: int
) -> list[Message]:  # fmt: skip
    """The inputs of an event that a person tells the saga of. BadRequest: the saga does not hear such an event.

    `now`: city time in microseconds, at which it counts as having happened.
    """
    event_id = f"signal/{signal_id}"
    if event_id in state.heard:
        if state.heard[event_id] == event:
            return []
        raise Refused(f"signal {signal_id} told saga {state.saga_id} something else: give this one another id", "SIGNAL_GIVEN")
    if state.phase in ENDED:
        raise _has_ended(state)
    kind = type(event)
    if kind not in workflow.hears or kind is workflow.starts_on:
        heard = ", ".join(sorted(type_name(one) for one in workflow.hears if one is not workflow.starts_on))
        raise BadRequest([("event_type", f"is {type_name(event)}, which {workflow.name} does not hear; it hears: {heard}")])
    if (named := workflow.hears[kind](event)) not in state.hears_as:
        raise BadRequest([("event_json", f"is for saga {named or 'none'}, and was sent to {state.saga_id}")])
    return [ev.EventHeard(event_id=event_id, event=pack(event), occurred_at=timestamp(now), by=by, reason=reason)]


def resume(state: SagaState, reason: str, by: str) -> list[Message]:
    """The inputs that let a saga go on that needs a human. None where it needs nobody."""
    return [ev.SagaResumed(reason=reason, by=by)] if state.phase == "needs human" else []


def skip(state: SagaState, step: str, reason: str, by: str) -> list[Message]:
    """The inputs that make a saga go on without a step, or without undoing it. None where that was decided before."""
    known = _begun(state, step)
    back = next((one for one in state.taking_back if one.name == step), None)
    if state.undo_begun or back is not None:
        if state.undo_begun:
            undone = [one for one in state.attempts() if one.name == step and one.undo not in ("", "done")]
            back = next((one for one in undone if one.undo != "skipped"), undone[0] if undone else None)
        if back is None:
            raise Refused(f"saga {state.saga_id} is undone in reverse, and not at {step} now", "NOT_BEING_UNDONE")
        skipped: Message = ev.UndoSkipped(step=step, reason=reason, by=by, key=back.key + UNDO)
        said = back.undo == "skipped"
    else:
        skipped = ev.StepSkipped(step=step, reason=reason, by=by)
        said = known.status == "skipped"
    if said:
        return []
    if back is None:
        _not_ended(state, step, known)
    elif state.phase in ENDED:
        raise _has_ended(state)
    return [skipped, *resume(state, reason, by)]


def fail(state: SagaState, step: str, reason: str, by: str) -> list[Message]:
    """The inputs that undo a saga because a step will never be done. None where that was decided before."""
    known = _begun(state, step)
    if known.reason.startswith(f"{GIVEN_UP}: "):
        return []
    if state.undo_begun:
        raise Refused(f"saga {state.saga_id} is being undone already", "IS_BEING_UNDONE")
    _not_ended(state, step, known)
    return [
        ev.StepFailed(step=step, key=known.key, code=GIVEN_UP, message=reason, by=by),
        ev.UndoBegan(reason=shortened(f"{step} was given up by {by or 'somebody'}: {reason}"), by=by),
    ]


def retry(state: SagaState, step: str, reason: str, by: str) -> list[Message]:
    """The inputs that have a step tried again at once, or its undo. None where it is being tried."""
    known = _begun(state, step)
    if state.phase in ENDED:
        raise _has_ended(state)
    backs = [one for one in state.attempts() if one.name == step and one.undo in ("sent", "pausing", "failed")]
    if not state.undo_begun and not backs:
        _not_ended(state, step, known)
    if any(one.undo == "sent" for one in backs) or (not state.undo_begun and known.status in ("sent", "resumed")):
        return []
    if not backs and (state.undo_begun or known.status not in ("pausing", "failed", "timed out")):
        stands = f"its undo is {known.undo or 'not begun'}" if state.undo_begun else f"it is {known.status}"
        raise Refused(f"step {step} of saga {state.saga_id} has not failed: {stands}", "NOT_FAILED")
    return [ev.StepRetried(step=step, reason=reason, by=by), *resume(state, reason, by)]


def cancel(state: SagaState, reason: str, by: str) -> list[Message]:
    """The inputs that undo all that a saga has done. None where the same was decided before."""
    why = shortened(f"cancelled by {by or 'somebody'}: {reason}")
    if state.undo_reason == why:
        return []
    if state.phase in ENDED:
        raise _has_ended(state)
    if state.undo_begun:
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
    """The steps whose commands were sent and not undone, or whose children were not, in the order in which they began.

    Without a definition nobody knows which steps have an undo: then all that were sent.
    """
    undoable = {one.name for one in workflow.leaves() if may_be_undone(one)} if workflow else set(state.steps)
    sent = [one for one in state.attempts() if one.name in undoable and one.key and one.undo not in ("done", "skipped")]
    return list(dict.fromkeys(one.name for one in sent if one.child_state != "undone"))


def children_left(state: SagaState) -> list[str]:
    """The sagas that were started for steps and not undone, as far as is known, in the order in which they began."""
    left = [one for one in state.attempts() if one.child and one.child_state != "undone" and one.undo != "done"]
    return [in_exercise(state.exercise, one.child) for one in sorted(left, key=lambda one: one.number)]


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
