"""The decider: from an input and the saga's state it makes the events to append. No I/O, no clock, no randomness.

The events say which commands are to be sent (StepSent, UndoSent), so that the same commands go out again after a crash.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import timestamp
from citybrain.sagas.engine.definition import Node, Parallel, Step, Wait, Workflow
from citybrain.sagas.engine.state import SagaState, StepState, evolve

# Failures that may be over in a moment. Every other failure is an answer.
TRANSIENT = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED", "CANCELLED", "UNKNOWN", "INTERNAL"})
# How often an undo is tried before a human is asked.
UNDO_TRIES = 12
UNDO_PAUSE_S = 2.0
UNDO_LONGEST_PAUSE_S = 30.0
UNDO_DEADLINE_S = 30.0
# Pauses grow: thousands of sagas that wait for one thing must not ask for it all the time.
_GROWTH = 1.5
_WAIT = "wait/"
# In bytes: every contract takes a reason of this length.
_LONGEST_REASON = 500


def misfit(workflow: Workflow, state: SagaState) -> str:
    """Why a definition cannot be the one that a saga has gone by so far; empty where it can."""
    for name, step in state.steps.items():
        try:
            now = "a step" if isinstance(workflow.leaf(name), Step) else "a wait"
        except KeyError:
            return f"it has no {name}"
        # Only a step sends a command.
        before = "a step" if step.key else "a wait"
        if now != before:
            return f"{name} is {now} in it, and was {before}"
    return ""


class Try(NamedTuple):
    """A try of a step's command, or of its undo."""

    step: str
    key: str
    number: int
    undo: bool


def shortened(reason: str) -> str:
    """The reason, cut to a length that every undo command can carry, without half a character at its end."""
    return reason.encode()[:_LONGEST_REASON].decode(errors="ignore")


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
    while (following := next(_next(workflow, state, now, fired, looked_at), None)) is not None:
        events.append(following)
        # Another state: what was heard before may fit now.
        state, looked_at = evolve(state, following, now), 0
    return events, state


def on_failure(workflow: Workflow, state: SagaState, step: str, key: str, code: str, message: str, now: int) -> Message:
    """The input for a step whose command failed: tried again before its deadline, or failed for good."""
    definition = workflow.leaf(step)
    assert isinstance(definition, Step)
    failed = ev.StepFailed(step=step, key=key, code=code, message=shortened(message))
    tries, deadline = state.steps[step].tries, state.steps[step].deadline
    first = int(definition.pause_s * 1_000_000)
    again = min(now + _pause(definition.pause_s, definition.longest_pause_s, tries), max(now + first, deadline - first))
    if code in TRANSIENT and again < deadline:
        failed.retry_at.CopyFrom(timestamp(again))
    return failed


def on_undo_failure(state: SagaState, step: str, key: str, code: str, message: str, now: int) -> Message:
    """The input for an undo that failed: tried again, or a human is needed."""
    failed = ev.UndoFailed(step=step, key=key, code=code, message=shortened(message))
    tries = state.steps[step].undo_tries
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
                yield step.deadline, _WAIT + name
    elif state.phase == "undoing":
        for name, step in state.steps.items():
            if step.undo == "pausing":
                yield step.undo_retry_at, f"undo/{name}/{step.undo_tries}"


def ends_a_wait(timer: str) -> bool:
    """Whether a timer is the deadline of a wait."""
    return timer.startswith(_WAIT)


def tries_before(timer: str) -> int:
    """How many tries were made before a timer; 1 for a timer that ends a step or a wait."""
    kind, _, rest = timer.partition("/")
    return int(rest.rpartition("/")[2]) if kind in ("retry", "undo") else 1


def tries_out(state: SagaState) -> Iterator[Try]:
    """The tries that are recorded as sent and have no recorded outcome yet."""
    for name, step in state.steps.items():
        if state.phase in ("running", "needs human") and not state.undo_begun and step.status == "sent":
            yield Try(name, step.key, step.tries, undo=False)
        elif state.phase == "undoing" and step.undo == "sent":
            yield Try(name, step.undo_key, step.undo_tries, undo=True)


# -- what comes next ----------------------------------------------------------------------------------------------------


def _next(workflow: Workflow, state: SagaState, now: int, fired: Collection[str], looked_at: int) -> Iterator[Message]:
    """The events that follow from the state. The caller takes the first, folds it in, and asks again.

    Events that were heard come before deadlines that have passed: an event that happened in time counts. `looked_at`: of the
    first so many that were heard nothing follows.
    """
    if state.phase == "running":
        yield from _called_off(workflow, state, looked_at)
        yield from _waited_for(workflow, state, looked_at)
        yield from _in_vain(workflow, state, looked_at)
        yield from _overdue(state, now, fired)
        yield from _failed(workflow, state)
        yield from _go_on(workflow.nodes, state, now)
        if _ended(workflow.nodes, state):
            yield ev.SagaCompleted()
    elif state.phase == "needs human" and not state.undo_begun:
        yield from _called_off(workflow, state, looked_at)
        yield from _came_after_all(workflow, state, looked_at)
    elif state.phase == "undoing":
        yield from _undo(workflow, state, now)


def _waiting(workflow: Workflow, state: SagaState) -> Iterator[tuple[str, StepState, Wait]]:
    """The waits that have begun and not ended."""
    for name, step in state.steps.items():
        if step.status == "waiting":
            node = workflow.leaf(name)
            assert isinstance(node, Wait)
            yield name, step, node


def _waited_for(workflow: Workflow, state: SagaState, looked_at: int) -> Iterator[Message]:
    for name, step, node in _waiting(workflow, state):
        for event_id, message in state.heard.since(looked_at):
            in_time = event_id not in state.used and state.heard.at(event_id) <= step.deadline
            if in_time and isinstance(message, node.event) and node.matches(state, message):
                yield ev.WaitEnded(step=name, event_id=event_id, event_stays=node.implied)


def _in_vain(workflow: Workflow, state: SagaState, looked_at: int) -> Iterator[Message]:
    """Waits that may never end. An event from before the wait began says nothing: it was known when the wait began."""
    for name, step, node in _waiting(workflow, state):
        for event_id, message in state.heard.since(looked_at):
            why = node.fails_on.get(type(message))
            if why is not None and state.heard.at(event_id) > step.changed_at and (reason := why(state, message)):
                yield ev.StepFailed(step=name, code=type(message).__name__, message=shortened(reason))


def _came_after_all(workflow: Workflow, state: SagaState, looked_at: int) -> Iterator[Message]:
    """The events that a human was asked about have come after all: no human is needed any more."""
    asked = [workflow.leaf(name) for name, step in state.steps.items() if step.status in ("failed", "timed out")]
    # If none has come now, none follows from those before.
    if any(_has_come(node, state, looked_at) for node in asked) and all(_has_come(node, state, 0) for node in asked):
        yield ev.SagaResumed()


def _has_come(node: Step | Wait, state: SagaState, looked_at: int) -> bool:
    unused = (message for event_id, message in state.heard.since(looked_at) if event_id not in state.used)
    return isinstance(node, Wait) and any(isinstance(one, node.event) and node.matches(state, one) for one in unused)


def _overdue(state: SagaState, now: int, fired: Collection[str]) -> Iterator[Message]:
    for name, step in state.steps.items():
        ends = step.status in ("sent", "pausing") or (step.status == "waiting" and _WAIT + name in fired)
        if ends and step.deadline <= now:
            yield ev.StepTimedOut(step=name, key=step.key)


def _called_off(workflow: Workflow, state: SagaState, looked_at: int) -> Iterator[Message]:
    for _, message in state.heard.since(looked_at):
        reason = workflow.undo_on.get(type(message))
        if reason is not None:
            yield ev.UndoBegan(reason=shortened(reason(message)))


def _failed(workflow: Workflow, state: SagaState) -> Iterator[Message]:
    for name, step in state.steps.items():
        if step.status in ("failed", "timed out"):
            definition = workflow.leaf(name)
            why = shortened(f"{name}: {step.reason}")
            if definition.otherwise == "go on":
                yield ev.StepSkipped(step=name, reason=step.reason)
            elif definition.otherwise == "needs human":
                yield ev.SagaNeedsHuman(step=name, reason=why)
            else:
                yield ev.UndoBegan(reason=why)


def _go_on(nodes: Iterable[Node], state: SagaState, now: int) -> Iterator[Message]:
    for node in nodes:
        if isinstance(node, Parallel):
            for branch in node.branches:
                yield from _go_on(branch, state, now)
        elif isinstance(node, Wait):
            yield from _wait(node, state, now)
        else:
            yield from _send(node, state, now)
        if not _ended([node], state):
            return


def _send(node: Step, state: SagaState, now: int) -> Iterator[Message]:
    step = state.steps.get(node.name)
    if step is None or step.status == "resumed":
        deadline = timestamp(now + int(node.deadline_s * 1_000_000))
        yield ev.StepSent(step=node.name, key=state.key(node.name), try_number=1, deadline=deadline)
    elif step.status == "pausing" and step.retry_at <= now:
        yield ev.StepSent(step=node.name, key=step.key, try_number=step.tries + 1, deadline=timestamp(step.deadline))


def _wait(node: Wait, state: SagaState, now: int) -> Iterator[Message]:
    step = state.steps.get(node.name)
    if step is None or step.status == "resumed":
        seconds = node.deadline_s(state) if callable(node.deadline_s) else node.deadline_s
        yield ev.WaitBegan(step=node.name, deadline=timestamp(now + int(seconds * 1_000_000)))


def _ended(nodes: Iterable[Node], state: SagaState) -> bool:
    for node in nodes:
        if isinstance(node, Parallel):
            if not all(_ended(branch, state) for branch in node.branches):
                return False
        elif node.name not in state.steps or state.steps[node.name].status not in ("done", "skipped"):
            return False
    return True


def _undo(workflow: Workflow, state: SagaState, now: int) -> Iterator[Message]:
    """Undoes in reverse, one after the other. A command that was sent counts as carried out, whether it was answered or not."""
    for name in reversed(state.steps):
        step = state.steps[name]
        definition = workflow.leaf(name)
        if not isinstance(definition, Step) or definition.undo is None or step.undo in ("done", "skipped"):
            continue
        key = f"{step.key}/undo"
        deadline = timestamp(now + int(UNDO_DEADLINE_S * 1_000_000))
        if step.undo == "" or (step.undo == "pausing" and step.undo_retry_at <= now):
            yield ev.UndoSent(step=name, key=key, try_number=step.undo_tries + 1, deadline=deadline)
        elif step.undo == "failed":
            yield ev.SagaNeedsHuman(step=name, reason=f"{name} could not be undone: {step.reason}")
        return
    yield ev.SagaUndone(reason=state.reason)
