"""Where a saga stands: folded from its own event stream and from nothing else."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Literal

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.events import message_class, microseconds
from citybrain.mesh.upcasting import modern

# "unknown" is only shown: no event leads to it.
Phase = Literal["new", "running", "undoing", "needs human", "completed", "undone", "terminated", "unknown"]
ENDED = ("completed", "undone", "terminated")
"""The phases in which nothing follows any more."""


@dataclass(slots=True)
class StepState:
    """One step or wait. Moments are microseconds of city time; 0 means none."""

    # "resumed": a human wants it done again, and it was not sent again yet.
    status: Literal["sent", "pausing", "waiting", "done", "skipped", "failed", "timed out", "resumed"]
    key: str = ""
    tries: int = 1
    deadline: int = 0
    retry_at: int = 0
    reason: str = ""
    changed_at: int = 0
    undo: Literal["", "sent", "pausing", "done", "failed", "skipped"] = ""
    undo_key: str = ""
    undo_tries: int = 0
    undo_retry_at: int = 0


@dataclass(slots=True)
class SagaState:
    """A saga as its events tell it."""

    saga_id: str = ""
    workflow: str = ""
    workflow_version: int = 0
    phase: Phase = "new"
    input: Any = None
    started_at: int = 0
    # Since when it is in its phase.
    since: int = 0
    # For whom it runs; empty: for a service.
    behalf: str = ""
    reason: str = ""
    # Why its undo began.
    undo_reason: str = ""
    steps: dict[str, StepState] = field(default_factory=dict)
    answers: dict[str, Message] = field(default_factory=dict)
    heard: dict[str, Message] = field(default_factory=dict)
    # When each happened; when it was heard, if that was earlier.
    heard_at: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    @property
    def undo_begun(self) -> bool:
        """Whether the undo of any step has begun. From then on no step is sent."""
        return any(step.undo for step in self.steps.values())

    def answer(self, step: str) -> Any:
        """What a step answered; KeyError when it has not."""
        return self.answers[step]

    def answered(self, step: str) -> bool:
        """Whether a step was done."""
        return step in self.answers

    def key(self, step: str) -> str:
        """The request id of a step's command: the same for every try."""
        return f"{self.saga_id}/{step}/1"


def unpack(packed: PackedAny) -> Message:
    """The message inside an Any, upcast to its newest type."""
    return modern(message_class(packed.type_url.rpartition("/")[2]).FromString(packed.value))


def pack(message: Message) -> PackedAny:
    """A message as an Any."""
    packed = PackedAny()
    packed.Pack(message, deterministic=True)
    return packed


def evolve(state: SagaState, event: Message, at: int) -> SagaState:
    """The state after an event that happened at city time `at`. Returns a new state."""
    state = copy.copy(state)
    state.steps = {name: copy.copy(step) for name, step in state.steps.items()}
    before = state.phase
    _apply(state, event, at)
    if state.phase != before:
        state.since = at
    return state


def _apply(state: SagaState, event: Any, at: int) -> None:
    match event:
        case ev.SagaStarted():
            state.saga_id, state.workflow, state.workflow_version = event.saga_id, event.workflow, event.workflow_version
            state.input, state.started_at, state.phase = unpack(event.input), at, "running"
            state.behalf = event.behalf
        case ev.StepSent():
            before = state.steps.get(event.step)
            # The reason of the try before is kept until this try has one: its deadline may pass without any answer.
            reason = before.reason if before is not None and event.try_number > 1 else ""
            state.steps[event.step] = StepState(
                "sent", event.key, event.try_number, microseconds(event.deadline), changed_at=at, reason=reason
            )
        case ev.StepAnswered():
            state.answers = {**state.answers, event.step: unpack(event.response)}
            _change(state, event.step, at, status="done")
        case ev.StepFailed():
            retry_at = _moment(event.retry_at)
            status = "pausing" if retry_at else "failed"
            _change(state, event.step, at, status=status, retry_at=retry_at, reason=f"{event.code}: {event.message}")
        case ev.StepTimedOut():
            late = state.steps[event.step]
            nothing = "not heard of in time" if late.status == "waiting" else "no answer in time"
            _change(state, event.step, at, status="timed out", reason=late.reason or nothing)
        case ev.StepSkipped():
            _change(state, event.step, at, status="skipped", reason=event.reason)
        case ev.WaitBegan():
            state.steps[event.step] = StepState("waiting", deadline=microseconds(event.deadline), changed_at=at)
        case ev.EventHeard():
            state.heard = {**state.heard, event.event_id: unpack(event.event)}
            # An earlier release did not record when the event happened.
            state.heard_at = {**state.heard_at, event.event_id: min(_moment(event.occurred_at) or at, at)}
        case ev.WaitEnded():
            if not event.event_stays:
                state.used = {*state.used, event.event_id}
            state.answers = {**state.answers, event.step: state.heard[event.event_id]}
            _change(state, event.step, at, status="done")
        case ev.UndoBegan():
            state.phase, state.reason, state.undo_reason = "undoing", event.reason, event.reason
        case ev.UndoSent():
            _change(state, event.step, at, undo="sent", undo_key=event.key, undo_tries=event.try_number, undo_retry_at=0)
        case ev.UndoAnswered():
            _change(state, event.step, at, undo="done")
        case ev.UndoFailed():
            retry_at = _moment(event.retry_at)
            undo = "pausing" if retry_at else "failed"
            _change(state, event.step, at, undo=undo, undo_retry_at=retry_at, reason=f"{event.code}: {event.message}")
        case ev.UndoSkipped():
            _change(state, event.step, at, undo="skipped", reason=event.reason)
        case ev.SagaNeedsHuman():
            state.phase, state.reason = "needs human", event.reason
        case ev.SagaResumed():
            _resume(state)
        case ev.StepRetried():
            _again(state.steps[event.step], undoing=state.undo_begun)
            state.steps[event.step].changed_at = at
        case ev.SagaCompleted():
            state.phase = "completed"
        case ev.SagaUndone():
            state.phase = "undone"
        case ev.SagaTerminated():
            state.phase, state.reason = "terminated", terminated(event)


def _resume(state: SagaState) -> None:
    """A human has mended the cause: steps that failed are tried anew, and steps under way get their whole time again."""
    undoing = state.undo_begun
    state.phase = "undoing" if undoing else "running"
    for step in state.steps.values():
        if step.undo == "failed" or (not undoing and step.status not in ("done", "skipped")):
            _again(step, undoing)


def _again(step: StepState, undoing: bool) -> None:
    """A step, or its undo, is begun anew, with all of its tries."""
    if undoing:
        step.undo, step.undo_tries, step.undo_retry_at = "", 0, 0
    else:
        step.status = "resumed"


def terminated(event: ev.SagaTerminated) -> str:
    """Why a saga was terminated, and by whom."""
    return f"terminated by {event.by or 'somebody'}: {event.reason}"


def _change(state: SagaState, step: str, at: int, **values: Any) -> None:
    changed = state.steps[step]
    for name, value in values.items():
        setattr(changed, name, value)
    changed.changed_at = at


def _moment(moment: Timestamp) -> int:
    return microseconds(moment) if moment.seconds or moment.nanos else 0
