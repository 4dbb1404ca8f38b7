"""What a saga and its children record of each other. Pure: each makes inputs for one of the two from where that one stands.

A parent tells its child to begin, or to undo all; the child tells its parent that it has ended. Both are recorded in the stream
of who tells before anything is told, and again after a crash; whoever is told twice records it once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import timestamp, type_name
from citybrain.sagas.engine.definition import Child, Workflow
from citybrain.sagas.engine.following import shortened
from citybrain.sagas.engine.state import ENDED, SagaState, StepState, pack

Inputs = Callable[[SagaState], Sequence[Message]]
"""What is recorded of a saga, as it stands."""


class NoChild(Exception):
    """A child cannot be started. The message says why."""


def started(workflow: Workflow, parent: SagaState, one: StepState, district: str) -> ev.SagaStarted:
    """How the child of a step begins, without its input. `district`: that of the parent."""
    return ev.SagaStarted(
        saga_id=one.child,
        workflow=workflow.name,
        workflow_version=workflow.version,
        behalf=parent.behalf,
        exercise=parent.exercise,
        parent=parent.saga_id,
        parent_key=one.key,
        correlation_id=parent.incident,
        hears_as=parent.hears_as,
        district_id=district,
    )


def with_input(first: ev.SagaStarted, leaf: Child, workflow: Workflow, parent: SagaState) -> ev.SagaStarted:
    """With what the function of the parent makes. NoChild: that is not what the workflow of the child begins with."""
    given = leaf.input(parent)
    if type(given) is not workflow.starts_on:
        made = type_name(given) if isinstance(given, Message) else repr(given)
        raise NoChild(f"the input of {leaf.name} is {made}, and {workflow.name} begins with {type_name(workflow.starts_on)}")
    first.input.CopyFrom(pack(given))
    return first


def begins(first: ev.SagaStarted, workflow: Workflow, parent: SagaState) -> Inputs:
    """The child begins, and has heard what its parent has, as far as its workflow hears that."""

    def inputs(child: SagaState) -> Sequence[Message]:
        if child.phase in ENDED or child.undo_begun or _is_other(child, first):
            return []
        early = [
            ev.EventHeard(event_id=event_id, event=pack(message), occurred_at=timestamp(parent.heard.at(event_id)))
            for event_id, message in parent.heard.items()
            if event_id not in child.heard and heard_by(workflow, message, parent.hears_as)
        ]
        return early if child.saga_id else [first, *early]

    return inputs


def taken_back(first: ev.SagaStarted, reason: str) -> Inputs:
    """The child undoes all that it has done. One that has not begun is recorded as undone: it can never begin any more.

    Its input may not be there any more, and is not needed.
    """

    def inputs(child: SagaState) -> Sequence[Message]:
        if child.undo_begun or child.phase == "terminated" or _is_other(child, first):
            return []
        undone = ev.UndoBegan(reason=shortened(f"{child.parent or first.parent} takes it back: {reason}"))
        return [undone] if child.saga_id else [first, undone]

    return inputs


def _is_other(child: SagaState, first: ev.SagaStarted) -> bool:
    """Whether a saga has the id of a child and is none of this parent: whoever makes ids of events made it too."""
    return bool(child.saga_id) and child.parent_key != first.parent_key


def heard_by(workflow: Workflow, message: Message, ids: Sequence[str]) -> bool:
    """Whether a child hears an event: it belongs to one of the sagas whose events it hears, and does not begin one."""
    kind = type(message)
    return kind in workflow.hears and kind is not workflow.starts_on and workflow.hears[kind](message) in ids


def told(child: SagaState) -> Inputs:
    """The parent learns how its child stands: that its step is done or has failed, or is undone."""

    def inputs(parent: SagaState) -> Sequence[Message]:
        one = parent.attempt_of(child.parent_key)
        if child.phase not in ENDED or parent.phase in ENDED or one is None:
            return []
        if one.undo:
            return _undone(child, one)
        if parent.undo_begun or one.child_state or one is not parent.steps[one.name]:
            return []
        reason = shortened(child.reason)
        return [ev.ChildEnded(step=one.name, key=one.key, child=child.saga_id, state=child.phase, reason=reason)]

    return inputs


def _undone(child: SagaState, one: StepState) -> Sequence[Message]:
    if one.undo != "sent":
        return []
    if child.phase == "undone":
        return [ev.UndoAnswered(step=one.name, key=one.undo_key)]
    if child.phase == "terminated":
        why = f"{child.saga_id} was terminated: see to what it did, then skip the undo of {one.name}"
        return [ev.UndoFailed(step=one.name, key=one.undo_key, code="CHILD_TERMINATED", message=shortened(why))]
    # It had completed before it was told to undo.
    return []


def has_told(child: SagaState) -> Inputs:
    """The child records that its parent knows how it ended. A child that was told to undo since then tells anew."""

    def inputs(now: SagaState) -> Sequence[Message]:
        return [ev.ParentTold()] if now.telling == "owed" and now.phase == child.phase else []

    return inputs


def unlisted(phase: str, before: int, ancestors: Sequence[SagaState]) -> Inputs:
    """A saga that came to an end before a moment leaves the lists. `ancestors`: of whom it is a child.

    One that may move yet stays: its parent may undo it as long as one of its ancestors is open, and must know of its end.
    """

    def inputs(state: SagaState) -> Sequence[Message]:
        is_over = state.phase == phase and phase in ENDED and state.since < before and state.telling != "owed"
        if not is_over or state.unlisted or any(one.phase not in ENDED for one in ancestors):
            return []
        return [ev.SagaUnlisted()]

    return inputs
