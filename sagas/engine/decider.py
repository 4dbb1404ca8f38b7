"""The decider: from an input and the saga's state it makes the events to append. No I/O, no clock, no randomness.

The events say which commands are to be sent (StepSent, UndoSent), so that the same commands go out again after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import timestamp
from citybrain.sagas.engine.definition import Child, Human, Step, Wait, Workflow
from citybrain.sagas.engine.following import ASKED, WAIT, following, shortened
from citybrain.sagas.engine.state import TRANSIENT, UNDO, SagaState, evolve

# How often an undo is tried before a human is asked.
UNDO_TRIES = 12
UNDO_PAUSE_S = 2.0
UNDO_LONGEST_PAUSE_S = 30.0
# Pauses grow: thousands of sagas that wait for one thing must not ask for it all the time.
_GROWTH = 1.5
_KINDS = {Step: "step", Child: "child", Wait: "wait", Human: "question"}


def misfit(workflow: Workflow, state: SagaState) -> str:
    """Why a definition cannot be the one that a saga has gone by so far; empty where it can."""
    for name, step in state.steps.items():
        try:
            kind = _KINDS[type(workflow.leaf(name))]
        except KeyError:
            return f"it has no {name}"
        if kind != step.kind:
            return f"{name} is a {kind} in it, and was a {step.kind}"
    return ""


class Try(NamedTuple):
    """A try of a step's command, or of its undo."""

    step: str
    key: str
    number: int
    undo: bool


def react(
    workflow: Workflow, state: SagaState, inputs: Iterable[Message], now: int, *, settled: bool = False
) -> tuple[list[Message], SagaState]:
    """Takes inputs in, and goes on until a further input is needed.

    Returns the events to append, inputs first, and the state after them. `now` is city time in microseconds. `inputs` may be
    empty: events that follow from the state alone are made too. Only its own timer ends a wait that was in vain, and the caller
    fires that timer only when every event that happened in time has been heard.

    `settled`: the state is one that this function returned. Then of what was heard before nothing follows any more, and events
    that are heard now are looked at alone: else each would cost as much as all before it.
    """
    events: list[Message] = []
    fired: set[str] = set()
    before, only_heard = len(state.heard), settled
    for event in inputs:
        events.append(event)
        state = evolve(state, event, now)
        only_heard = only_heard and isinstance(event, ev.EventHeard)
        if isinstance(event, ev.TimerFired):
            fired.add(event.timer)
    looked_at = before if only_heard else 0
    while (then := next(following(workflow, state, now, fired, looked_at), None)) is not None:
        events.append(then)
        # Another state: what was heard before may fit now.
        state, looked_at = evolve(state, then, now), 0
    return events, state


def on_failure(workflow: Workflow, state: SagaState, step: str, key: str, code: str, message: str, now: int) -> Message:
    """The input for a step whose command failed: tried again before its deadline, or failed for good."""
    definition = workflow.leaf(step)
    failed = ev.StepFailed(step=step, key=key, code=code, message=shortened(message))
    if not isinstance(definition, Step):
        return failed
    tries, deadline = state.steps[step].tries, state.steps[step].deadline
    first = int(definition.pause_s * 1_000_000)
    again = min(now + _pause(definition.pause_s, definition.longest_pause_s, tries), max(now + first, deadline - first))
    if code in TRANSIENT and again < deadline:
        failed.retry_at.CopyFrom(timestamp(again))
    return failed


def on_undo_failure(state: SagaState, step: str, undo_key: str, code: str, message: str, now: int) -> Message:
    """The input for an undo that failed: tried again, or a human is needed."""
    failed = ev.UndoFailed(step=step, key=undo_key, code=code, message=shortened(message))
    tries = next((one.undo_tries for one in state.attempts() if one.undo_key == undo_key), state.steps[step].undo_tries)
    if code in TRANSIENT and tries < UNDO_TRIES:
        failed.retry_at.CopyFrom(timestamp(now + _pause(UNDO_PAUSE_S, UNDO_LONGEST_PAUSE_S, tries)))
    return failed


def _pause(first_s: float, longest_s: float, tries: int) -> int:
    """Microseconds from a try that failed to the next one."""
    grown = first_s
    for _ in range(tries - 1):
        grown = min(grown * _GROWTH, max(first_s, longest_s))
    return int(grown * 1_000_000)


def due_timers(state: SagaState) -> Iterator[tuple[int, str]]:
    """When this saga must be looked at: moments in microseconds of city time, each with the name of its timer."""
    if state.phase == "running":
        for name, step in state.steps.items():
            if step.status == "pausing":
                yield min(step.retry_at, step.deadline), f"retry/{name}/{step.tries}"
            elif step.status == "sent":
                yield step.deadline, f"deadline/{name}/{step.key}"
            elif step.status == "waiting":
                yield step.deadline, WAIT + name
            elif step.status == "asked":
                yield step.deadline, f"{ASKED}{name}/{step.times}"
    if state.phase in ("running", "undoing"):
        under_way = [one for one in state.attempts() if one.undo in ("sent", "pausing")]
        # One after the other: what is not at its turn yet waits for that, and for no moment.
        for one in sorted(under_way, key=lambda one: one.number, reverse=True)[:1]:
            if one.undo == "pausing":
                yield one.undo_retry_at, f"undo/{one.name}/{one.attempt}/{one.undo_tries}"


def ends_a_wait(timer: str) -> bool:
    """Whether a timer is the deadline of a wait."""
    return timer.startswith(WAIT)


def tries_before(timer: str) -> int:
    """How many tries were made before a timer; 1 for a timer that ends a step or a wait."""
    kind, _, rest = timer.partition("/")
    return int(rest.rpartition("/")[2]) if kind in ("retry", "undo") else 1


def tries_out(state: SagaState) -> Iterator[Try]:
    """The tries that are recorded as sent and have no recorded outcome yet."""
    if state.phase not in ("running", "needs human", "undoing"):
        return
    for name, step in state.steps.items():
        if step.status == "sent" and not step.undo and not state.undo_begun:
            yield Try(name, step.key, step.tries, undo=False)
    for one in state.attempts():
        if one.undo == "sent":
            yield Try(one.name, one.undo_key, one.undo_tries, undo=True)


def seen_by(state: SagaState, one: Try) -> SagaState:
    """The state as the function of a command sees it: an undo sees the reason why its own command is taken back."""
    attempt = state.attempt_of(one.key.removesuffix(UNDO)) if one.undo else None
    return replace(state, reason=attempt.undo_reason) if attempt is not None and attempt.undo_reason else state
