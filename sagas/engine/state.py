"""Where a saga stands: folded from its own event stream and from nothing else.

It is long because every event has its line here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from typing_extensions import override

from citybrain.mesh.events import message_class, microseconds
from citybrain.mesh.upcasting import modern

# Failures that may be over in a moment, and after which nobody knows whether the command took effect. Every other is an answer.
TRANSIENT = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED", "CANCELLED", "UNKNOWN", "INTERNAL"})
_NOTHING = {"waiting": "not heard of in time", "asked": "nobody decided in time"}
UNDO = "/undo"
"""Ends the key of an undo; before it stands the key of what it takes back."""

# "unknown" is only shown: no event leads to it.
Phase = Literal["new", "running", "undoing", "needs human", "completed", "undone", "terminated", "unknown"]
ENDED = ("completed", "undone", "terminated")
"""The phases in which nothing follows any more."""


@dataclass(slots=True)
class StepState:
    """One attempt of a step, a wait or a question. Moments are microseconds of city time; 0 means none."""

    # "resumed": a human wants it done again, under the same key. "again": the saga has gone back, and it has yet to begin anew.
    status: Literal[
        "sent", "pausing", "waiting", "asked", "done", "skipped", "failed", "timed out", "resumed", "again"
    ]  # fmt: skip
    key: str = ""
    tries: int = 1
    deadline: int = 0
    retry_at: int = 0
    reason: str = ""
    changed_at: int = 0
    # "wanted": it is to be taken back while the saga goes on.
    undo: Literal["", "wanted", "sent", "pausing", "done", "failed", "skipped"] = ""
    undo_key: str = ""
    undo_tries: int = 0
    undo_retry_at: int = 0
    undo_reason: str = ""
    # The authority was asked whether it may be undone; it has said that it may.
    clearance_asked: bool = False
    cleared: bool = False
    name: str = ""
    kind: Literal["step", "child", "wait", "question"] = "step"
    attempt: int = 1
    # The place of its command among all that were sent. 0: none was.
    number: int = 0
    # When its first attempt began.
    began_at: int = 0
    # Nobody knows whether its command took effect.
    unsure: bool = False
    # Of a question: what is asked, who is asked now, and how many have been.
    question: str = ""
    who: str = ""
    times: int = 0
    # The saga that was started for it, and how that ended; empty: it has not, as far as is known.
    child: str = ""
    child_state: str = ""


class HeardEvents(Mapping[str, Message]):
    """The events that a saga has heard, by their ids, in the order in which they were heard.

    One more costs the same however many there are: a saga may hear ten thousand. States share one list, and each sees its own
    part of it. Only where two states go on from the same one is the list copied.
    """

    __slots__ = ("_count", "_list", "_places", "size")

    def __init__(self) -> None:
        self.size = 0
        """In bytes."""
        self._list: list[tuple[str, Message, int]] = []
        self._places: dict[str, int] = {}
        self._count = 0

    def added(self, event_id: str, message: Message, at: int) -> HeardEvents:
        """With one more event, which happened at `at` (microseconds of city time)."""
        longer = HeardEvents()
        if len(self._list) == self._count:
            longer._list, longer._places = self._list, self._places
        else:
            longer._list = self._list[: self._count]
            longer._places = {one: place for one, place in self._places.items() if place < self._count}
        longer._list.append((event_id, message, at))
        longer._places[event_id] = self._count
        longer._count = self._count + 1
        longer.size = self.size + message.ByteSize()
        return longer

    def at(self, event_id: str) -> int:
        """When an event happened; when it was heard, if that was earlier."""
        return self._list[self._place(event_id)][2]

    def since(self, number: int) -> Iterator[tuple[str, Message]]:
        """All but the first `number` of them."""
        for place in range(number, self._count):
            event_id, message, _ = self._list[place]
            yield event_id, message

    @override
    def __getitem__(self, event_id: str) -> Message:
        return self._list[self._place(event_id)][1]

    @override
    def __iter__(self) -> Iterator[str]:
        return (event_id for event_id, _ in self.since(0))

    @override
    def __len__(self) -> int:
        return self._count

    @override
    def __contains__(self, event_id: object) -> bool:
        return self._places.get(event_id, self._count) < self._count  # type: ignore[call-overload,no-any-return]

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeardEvents) and self._list[: self._count] == other._list[: other._count]

    __hash__ = None  # type: ignore[assignment]

    def _place(self, event_id: str) -> int:
        if event_id not in self:
            raise KeyError(event_id)
        return self._places[event_id]


@dataclass(slots=True)
class SagaState:
    """A saga as its events tell it."""

    saga_id: str = ""
    # The exercise that it is part of; empty: it is the city's own.
    exercise: str = ""
    workflow: str = ""
    workflow_version: int = 0
    phase: Phase = "new"
    input: Any = None
    started_at: int = 0
    # Since when it is in its phase.
    since: int = 0
    # For whom it runs; empty: for a service.
    behalf: str = ""
    # The saga that it is a child of, and the key of the step there. Empty: none.
    parent: str = ""
    parent_key: str = ""
    # Whether its parent is to be told that it has ended, or was.
    telling: Literal["", "owed", "told"] = ""
    # It has left the lists of those who look after sagas.
    unlisted: bool = False
    # The incident of its parent. Empty: its own id is the incident's.
    correlation_id: str = ""
    # The ids of sagas whose events it hears: its own, and those of the sagas that it is a child of.
    hears_as: tuple[str, ...] = ()
    # Of the parent.
    district: str = ""
    reason: str = ""
    # Why its undo began.
    undo_reason: str = ""
    # The present attempt of each.
    steps: dict[str, StepState] = field(default_factory=dict)
    # Earlier attempts, the oldest first.
    past: tuple[StepState, ...] = ()
    answers: dict[str, Message] = field(default_factory=dict)
    # How the child of each step ended.
    ends: dict[str, ev.ChildEnded] = field(default_factory=dict)
    # Also those from before it began.
    heard: HeardEvents = field(default_factory=HeardEvents)
    used: set[str] = field(default_factory=set)
    # The events that the saga has gone back for.
    reacted: set[str] = field(default_factory=set)
    # The way that each choice has gone.
    ways: dict[str, int] = field(default_factory=dict)
    # How often the saga has gone back for a loop or a scope.
    rounds: dict[str, int] = field(default_factory=dict)
    # Loops, scopes and branches that are over; with the reason where they did not come to their end.
    ended_parts: dict[str, str] = field(default_factory=dict)
    # How many commands were sent.
    sent: int = 0
    # Everything is undone; from then on no step is sent.
    undo_begun: bool = False
    # The part for whose sake a human is asked; empty: for another reason.
    asked_for: str = ""

    def answer(self, step: str) -> Any:
        """What a step answered; KeyError when it has not."""
        return self.answers[step]

    def answered(self, step: str) -> bool:
        """Whether a step was done."""
        return step in self.answers

    def decision(self, question: str) -> str:
        """The option that was chosen for a question; KeyError when none was."""
        decided: Any = self.answers[question]
        return str(decided.option)

    def child(self, step: str) -> ev.ChildEnded:
        """How the child of a step ended: its `state` (completed, undone, terminated), `reason` and id; KeyError: it has not."""
        return self.ends[step]

    @property
    def incident(self) -> str:
        """The incident that it belongs to."""
        return self.correlation_id or self.saga_id

    def attempt(self, step: str) -> int:
        """The number of the present attempt of a step, also if it has not begun."""
        return self.steps[step].attempt if step in self.steps else 1

    def key(self, step: str) -> str:
        """The request id of a step's command in its present attempt: the same for every try."""
        return f"{self.saga_id}/{step}/{self.attempt(step)}"

    def attempts(self) -> Iterator[StepState]:
        """All attempts: those of the past, and the present ones."""
        yield from self.past
        yield from self.steps.values()

    def attempt_of(self, key: str) -> StepState | None:
        """The attempt whose command has a key."""
        return next((one for one in self.attempts() if one.key == key), None)

    @property
    def taking_back(self) -> list[StepState]:
        """The attempts that are to be taken back while the saga goes on, in the order in which that is done."""
        if self.undo_begun:
            return []
        wanted = [one for one in self.attempts() if one.undo in ("wanted", "sent", "pausing", "failed")]
        return sorted(wanted, key=lambda one: one.number, reverse=True)

    @property
    def flags(self) -> dict[str, str]:
        """What the saga went on without: parts that were left before their end, each with the reason."""
        return {part: reason for part, reason in self.ended_parts.items() if reason}


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
    # A step is copied when it changes.
    state.steps = dict(state.steps)
    before = state.phase
    _apply(state, event, at)
    if state.phase != before:
        state.since = at
    return state


def _apply(state: SagaState, event: Any, at: int) -> None:
    match event:
        case ev.SagaStarted():
            state.saga_id, state.workflow, state.workflow_version = event.saga_id, event.workflow, event.workflow_version
            # A child that was taken back before it began has no input.
            state.input = unpack(event.input) if event.HasField("input") else None
            state.started_at, state.phase = at, "running"
            state.behalf, state.exercise, state.district = event.behalf, event.exercise, event.district_id
            state.parent, state.parent_key = event.parent, event.parent_key
            state.correlation_id, state.hears_as = event.correlation_id, (event.saga_id, *event.hears_as)
        case ev.StepSent():
            kind = "child" if event.child else "step"
            sent = {"key": event.key, "tries": event.try_number, "child": event.child}
            _begin(state, event.step, at, kind, "sent", deadline=event.deadline, **sent)
        case ev.ChildEnded():
            _child_ended(state, event, at)
        case ev.WaitBegan():
            _begin(state, event.step, at, "wait", "waiting", deadline=event.deadline)
        case ev.HumanAsked():
            asked = {"question": event.question, "who": event.who, "times": event.time}
            _begin(state, event.step, at, "question", "asked", deadline=event.deadline, **asked)
        case ev.StepAnswered():
            state.answers = {**state.answers, event.step: unpack(event.response)}
            _change(state, event.step, at, status="done")
        case ev.HumanDecided():
            state.answers = {**state.answers, event.step: event}
            _change(state, event.step, at, status="done")
        case ev.StepFailed():
            retry_at = _moment(event.retry_at)
            status = "pausing" if retry_at else "failed"
            reason, unsure = f"{event.code}: {event.message}", event.code in TRANSIENT
            _change(state, event.step, at, status=status, retry_at=retry_at, reason=reason, unsure=unsure)
        case ev.StepTimedOut():
            late = state.steps[event.step]
            reason = late.reason or _NOTHING.get(late.status, "no answer in time")
            _change(state, event.step, at, status="timed out", reason=reason, unsure=bool(late.key))
        case ev.StepSkipped():
            unsure = state.steps[event.step].unsure or state.steps[event.step].status == "sent"
            _change(state, event.step, at, status="skipped", reason=event.reason, unsure=unsure)
        case ev.EventHeard():
            # An earlier release did not record when the event happened.
            state.heard = state.heard.added(event.event_id, unpack(event.event), min(_moment(event.occurred_at) or at, at))
        case ev.WaitEnded():
            if not event.event_stays:
                state.used = {*state.used, event.event_id}
            state.answers = {**state.answers, event.step: state.heard[event.event_id]}
            _change(state, event.step, at, status="done")
        case ev.ChoiceMade():
            state.ways = {**state.ways, event.step: event.way}
        case ev.PartEnded():
            state.ended_parts = {**state.ended_parts, event.step: event.reason}
        case ev.WentBack():
            _go_back(state, event, at)
        case _:
            _apply_undoing(state, event, at)


def _apply_undoing(state: SagaState, event: Any, at: int) -> None:
    """What undoes a saga, what stops it, and what ends it."""
    match event:
        case ev.UndoBegan():
            # A child may be undone after it has completed. Then its parent is told anew.
            state.phase, state.reason, state.undo_begun, state.telling = "undoing", event.reason, True, ""
            state.undo_reason = event.reason
        case ev.UndoSent():
            values: dict[str, Any] = {"undo": "sent", "undo_key": event.key, "undo_tries": event.try_number, "undo_retry_at": 0}
            _change_attempt(state, event.step, _undone(event.key), at, **values)
        case ev.UndoAnswered():
            _change_attempt(state, event.step, _undone(event.key), at, undo="done")
        case ev.UndoFailed():
            retry_at = _moment(event.retry_at)
            undo = "pausing" if retry_at else "failed"
            reason = f"{event.code}: {event.message}"
            _change_attempt(state, event.step, _undone(event.key), at, undo=undo, undo_retry_at=retry_at, reason=reason)
        case ev.UndoSkipped():
            _change_attempt(state, event.step, _undone(event.key), at, undo="skipped", reason=event.reason)
        case ev.ClearanceAsked():
            _change_attempt(state, event.step, event.key, at, clearance_asked=True)
        case ev.UndoCleared():
            _change_attempt(state, event.step, event.key, at, cleared=True)
        case ev.SagaNeedsHuman():
            state.phase, state.reason, state.asked_for = "needs human", event.reason, event.step
        case ev.SagaResumed():
            _resume(state)
        case ev.StepRetried():
            _retry(state, event.step, at)
        case ev.SagaCompleted():
            state.phase = "completed"
        case ev.SagaUndone():
            state.phase = "undone"
        case ev.SagaTerminated():
            state.phase, state.reason = "terminated", terminated(event)
        case ev.ParentToBeTold():
            state.telling = "owed"
        case ev.ParentTold():
            state.telling = "told"
        case ev.SagaUnlisted():
            state.unlisted = True


def _begin(state: SagaState, name: str, at: int, kind: Any, status: Any, *, deadline: Timestamp, **values: Any) -> None:
    """An attempt begins, or a try of it."""
    before = state.steps.get(name)
    began = StepState(status, deadline=microseconds(deadline), changed_at=at, name=name, kind=kind, began_at=at, **values)
    if before is not None:
        began.attempt, began.began_at, began.number = before.attempt, before.began_at or at, before.number
        if began.tries > 1 or began.times > 1:
            # The reason of the try before is kept until this try has one: its deadline may pass without any answer.
            began.reason = before.reason
    if began.key and (before is None or before.key != began.key):
        state.sent += 1
        began.number = state.sent
    state.steps[name] = began


def _child_ended(state: SagaState, event: ev.ChildEnded, at: int) -> None:
    """A child that has completed is an answer, also a late one; one that ended otherwise is a failure of what waits for it."""
    state.ends = {**state.ends, event.step: event}
    if event.state == "completed":
        state.answers = {**state.answers, event.step: event}
        _change(state, event.step, at, status="done", child_state=event.state)
        return
    _change(state, event.step, at, child_state=event.state, unsure=False)
    if state.steps[event.step].status == "sent":
        why = f"its child {event.child} is {event.state}" + (f": {event.reason}" if event.reason else "")
        _change(state, event.step, at, status="failed", reason=why)


def _go_back(state: SagaState, event: ev.WentBack, at: int) -> None:
    state.rounds = {**state.rounds, event.step: state.rounds.get(event.step, 0) + 1}
    if event.event_id:
        state.reacted = {*state.reacted, event.event_id}
    for key in event.take_back:
        _change_attempt(state, "", key, at, undo="wanted", undo_reason=event.reason)
    if event.leaves:
        state.ended_parts = {**state.ended_parts, event.step: event.reason}
    again = set(event.again)
    state.ways = {name: way for name, way in state.ways.items() if name not in again}
    state.ended_parts = {name: reason for name, reason in state.ended_parts.items() if name not in again}
    state.answers = {name: answer for name, answer in state.answers.items() if name not in again}
    state.ends = {name: end for name, end in state.ends.items() if name not in again}
    # A loop inside begins its rounds anew.
    state.rounds = {name: count for name, count in state.rounds.items() if name not in again}
    for name in event.again:
        before = state.steps.get(name)
        if before is None or before.status == "again":
            continue
        if before.key:
            state.past = (*state.past, before)
        state.steps[name] = StepState(
            "again", name=name, kind=before.kind, attempt=before.attempt + 1, began_at=before.began_at, changed_at=at
        )


def _resume(state: SagaState) -> None:
    """A human has mended the cause: steps that failed are tried anew, and steps under way get their whole time again."""
    state.phase = "undoing" if state.undo_begun else "running"
    # Why a human was asked is over; why all is undone is not.
    state.reason = state.undo_reason
    # A loop that a human was asked about gets all its rounds again.
    state.rounds = {name: count for name, count in state.rounds.items() if name != state.asked_for}
    state.asked_for = ""
    state.past = tuple(map(_undo_anew, state.past))
    for name, step in state.steps.items():
        state.steps[name] = step = _undo_anew(copy.copy(step))
        if not state.undo_begun and step.status not in ("done", "skipped", "again"):
            step.status = "resumed"


def _retry(state: SagaState, step: str, at: int) -> None:
    """A step, or its undo, is tried anew, with all of its tries."""
    for number, one in enumerate(state.past):
        if one.name == step and one.undo in ("pausing", "failed"):
            state.past = (*state.past[:number], _undo_again(one), *state.past[number + 1 :])
            return
    present = state.steps[step] = copy.copy(state.steps[step])
    if present.undo in ("pausing", "failed"):
        state.steps[step] = _undo_again(present)
    else:
        present.status = "resumed"
    state.steps[step].changed_at = at


def terminated(event: ev.SagaTerminated) -> str:
    """Why a saga was terminated, and by whom."""
    return f"terminated by {event.by or 'somebody'}: {event.reason}"


def _undo_anew(step: StepState) -> StepState:
    return _undo_again(step) if step.undo == "failed" else step


def _undo_again(step: StepState) -> StepState:
    return replace(step, undo="wanted" if step.undo_reason else "", undo_tries=0, undo_retry_at=0)


def _change(state: SagaState, step: str, at: int, **values: Any) -> None:
    changed = state.steps[step] = copy.copy(state.steps[step])
    for name, value in values.items():
        setattr(changed, name, value)
    changed.changed_at = at


def _change_attempt(state: SagaState, step: str, key: str, at: int, **values: Any) -> None:
    """Changes the attempt whose command has a key. Without a key: the present one, as an earlier release meant it."""
    for number, one in enumerate(state.past):
        if one.key == key:
            state.past = (*state.past[:number], replace(one, **values, changed_at=at), *state.past[number + 1 :])
            return
    present = next((name for name, one in state.steps.items() if key and one.key == key), step)
    _change(state, present, at, **values)


def _undone(key: str) -> str:
    """The key of the command that an undo takes back."""
    return key.removesuffix(UNDO)


def _moment(moment: Timestamp) -> int:
    return microseconds(moment) if moment.seconds or moment.nanos else 0
