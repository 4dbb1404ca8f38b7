"""What follows from where a saga stands, by its definition: the next commands, waits and questions, and what is undone. Pure.

It is long because it is one table: for each part of the vocabulary, what comes next.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeGuard

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import timestamp
from citybrain.sagas.engine.definition import (
    CarryOn,
    Child,
    Choice,
    During,
    Human,
    Leaf,
    Leave,
    Node,
    Parallel,
    Redo,
    Repeat,
    RestartFrom,
    Step,
    Undo,
    Wait,
    Workflow,
    inside,
    leaves,
    parts,
    undoable,
)
from citybrain.sagas.engine.state import ENDED, UNDO, SagaState, StepState

UNDO_DEADLINE_S = 30.0
# How the names of timers begin that end a wait, or a question.
WAIT, ASKED = "wait/", "asked/"
# In bytes: every contract takes a reason of this length.
_LONGEST_REASON = 500
# In bytes. Behind the id stand the name of a step and its attempt, and contracts take 120 to 150 bytes.
_LONGEST_ID = 64
_CHILDREN = uuid.UUID("5c7a2b52-0f0c-5d0e-9d29-3a4a7e0f6b11")
_SECOND = 1_000_000


def shortened(reason: str) -> str:
    """The reason, cut to a length that every undo command can carry, without half a character at its end."""
    return reason.encode()[:_LONGEST_REASON].decode(errors="ignore")


def child_id(key: str) -> str:
    """The id of the saga that is started for a step, by the key of the step: the same after a crash.

    It says whose child it is, `inc-1.transfer.1`. One that would be too long for the keys of its own steps is made short.
    """
    readable = key.replace("/", ".")
    return readable if len(readable.encode()) <= _LONGEST_ID else str(uuid.uuid5(_CHILDREN, key))


def following(workflow: Workflow, state: SagaState, now: int, fired: Collection[str], looked_at: int) -> Iterator[Message]:
    """The events that follow from the state. The caller takes the first, folds it in, and asks again.

    Events that were heard come before deadlines that have passed: an event that happened in time counts. `looked_at`: of the
    first so many that were heard nothing follows.
    """
    if state.phase == "running":
        yield from _called_off(workflow, state, looked_at)
        yield from _reacted(workflow, state, looked_at)
        yield from _waited_for(workflow, state, looked_at)
        yield from _in_vain(workflow, state, looked_at)
        yield from _left_over(workflow, state)
        yield from _overdue(workflow, state, now, fired)
        yield from _failed(workflow, state)
        yield from _given_up(workflow, state)
        yield from _take_back(workflow, state, now)
        yield from _tried_again(state, now)
        yield from _go_on(workflow.nodes, state, now)
        if _ended(workflow.nodes, state) and not state.taking_back:
            yield ev.SagaCompleted()
    elif state.phase == "needs human" and not state.undo_begun:
        yield from _called_off(workflow, state, looked_at)
        yield from _reacted(workflow, state, looked_at)
        yield from _came_after_all(workflow, state, looked_at)
        yield from _needs_nobody(workflow, state)
    elif state.phase == "undoing":
        yield from _undo(workflow, state, now)
    yield from owed(state)


def owed(state: SagaState) -> Iterator[Message]:
    """A child that has ended tells its parent. It follows from the state alone, also where the definition is gone."""
    if state.phase in ENDED and state.parent and not state.telling:
        yield ev.ParentToBeTold(parent=state.parent, parent_key=state.parent_key)


# -- what was heard -----------------------------------------------------------------------------------------------------


def _called_off(workflow: Workflow, state: SagaState, looked_at: int) -> Iterator[Message]:
    for _, message in state.heard.since(looked_at):
        reason = workflow.undo_on.get(type(message))
        if reason is not None:
            yield ev.UndoBegan(reason=shortened(reason(message)))


def _reacted(workflow: Workflow, state: SagaState, looked_at: int) -> Iterator[Message]:
    """What events mean inside the scopes that are open. An event from before its scope began means nothing there."""
    for scope in parts(workflow.nodes):
        if not isinstance(scope, During) or (began := _began(scope, state)) is None or _ended([scope], state):
            continue
        for event_id, message in state.heard.since(looked_at):
            reaction = scope.on.get(type(message))
            if reaction is None or event_id in state.reacted or state.heard.at(event_id) <= began:
                continue
            if reason := shortened(reaction.why(state, message)):
                yield from _reaction(scope, reaction.does, state, event_id, reason)


def _reaction(
    scope: During, does: Redo | RestartFrom | Leave | Undo, state: SagaState, event_id: str, reason: str
) -> Iterator[Message]:
    if isinstance(does, Undo):
        yield ev.UndoBegan(reason=reason)
        return
    if state.rounds.get(scope.name, 0) >= scope.at_most:
        if state.phase == "running":
            yield ev.SagaNeedsHuman(step=scope.name, reason=shortened(f"{reason}; this was so {scope.at_most} times before"))
        return
    if isinstance(does, Redo):
        concerned = [does.step] if does.step in state.steps else []
    else:
        concerned = _since(scope.nodes, does.step if isinstance(does, RestartFrom) else "", state)
    if concerned:
        leaves_it = isinstance(does, Leave)
        took = _took_effect(leaves([scope]), state, concerned)
        again = () if leaves_it else concerned
        yield ev.WentBack(
            step=scope.name, reason=reason, event_id=event_id, again=again, take_back=took, leaves=leaves_it
        )  # fmt: skip


def _since(nodes: Iterable[Node], step: str, state: SagaState) -> list[str]:
    """The names of all parts that have begun, from a step on; an empty name: from the first one."""
    names = [str(node.name) for node in parts(nodes) if not isinstance(node, Parallel)]
    from_there = names[names.index(step) :] if step else names
    begun = state.steps.keys() | state.ways.keys() | state.ended_parts.keys() | state.rounds.keys()
    return [name for name in from_there if name in begun]


def _took_effect(definitions: Iterable[Leaf], state: SagaState, names: Collection[str]) -> list[str]:
    """The keys of the present commands of some steps that must be taken back, the newest first."""
    may_be = {leaf.name for leaf in definitions if undoable(leaf)}
    took = [state.steps[name] for name in names if name in may_be and name in state.steps]
    return [one.key for one in sorted(took, key=lambda one: one.number, reverse=True) if one.key and not one.undo]


def _began(scope: Node, state: SagaState) -> int | None:
    """When the first of a scope began; None: nothing of it has begun."""
    begun = [state.steps[leaf.name].began_at for leaf in leaves([scope]) if leaf.name in state.steps]
    return min(begun, default=None)


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
    asked = [workflow.leaf(name) for name, _ in _failures(workflow, state)]
    # If none has come now, none follows from those before.
    if any(_has_come(node, state, looked_at) for node in asked) and all(_has_come(node, state, 0) for node in asked):
        yield ev.SagaResumed()


def _has_come(node: Leaf, state: SagaState, looked_at: int) -> bool:
    unused = (message for event_id, message in state.heard.since(looked_at) if event_id not in state.used)
    return isinstance(node, Wait) and any(isinstance(one, node.event) and node.matches(state, one) for one in unused)


def _needs_nobody(workflow: Workflow, state: SagaState) -> Iterator[Message]:
    """What a human was asked about is well meanwhile: it was answered after all, or the saga has gone back behind it."""
    stuck = any(_stuck(workflow, one) for one in state.taking_back)
    if state.asked_for in state.steps and not stuck and not _failures(workflow, state):
        yield ev.SagaResumed()


# -- what has failed ------------------------------------------------------------------------------------------------------


def _overdue(workflow: Workflow, state: SagaState, now: int, fired: Collection[str]) -> Iterator[Message]:
    for name, step in state.steps.items():
        if step.deadline > now:
            continue
        if step.status == "asked":
            yield _nobody_decided(workflow, name, step, now)
        elif step.status in ("sent", "pausing") or (step.status == "waiting" and WAIT + name in fired):
            yield ev.StepTimedOut(step=name, key=step.key)


def _nobody_decided(workflow: Workflow, name: str, step: StepState, now: int) -> Message:
    node = workflow.leaf(name)
    assert isinstance(node, Human)
    if step.times < len(node.who):
        return _question(node, step.question, step.times, now)
    if node.unanswered:
        return ev.HumanDecided(step=name, option=node.unanswered, reason="nobody decided in time")
    return ev.StepTimedOut(step=name)


def _question(node: Human, question: str, asked: int, now: int) -> Message:
    deadline = timestamp(now + int(node.deadline_s * _SECOND))
    return ev.HumanAsked(step=node.name, who=node.who[asked], question=shortened(question), deadline=deadline, time=asked + 1)


def _failures(workflow: Workflow, state: SagaState) -> list[tuple[str, StepState]]:
    """The steps, waits and questions that have failed, without those of parts that were left."""
    failed = [(name, step) for name, step in state.steps.items() if step.status in ("failed", "timed out")]
    if not failed:
        return []
    left = {leaf.name for part in parts(workflow.nodes) if _is_left(part, state) for leaf in leaves([part])}
    return [(name, step) for name, step in failed if name not in left]


def _is_left(part: Node, state: SagaState) -> TypeGuard[During | CarryOn]:
    return isinstance(part, During | CarryOn) and part.name in state.ended_parts


def _left_over(workflow: Workflow, state: SagaState) -> Iterator[Message]:
    """What was not done yet in a part that was left is not waited for, tried again or asked any more."""
    for part in parts(workflow.nodes) if state.ended_parts else ():
        if _is_left(part, state):
            for leaf in leaves([part]):
                step = state.steps.get(leaf.name)
                if step is not None and step.status in ("pausing", "waiting", "asked", "again", "resumed"):
                    yield ev.StepSkipped(step=leaf.name, reason=state.ended_parts[part.name])


def _failed(workflow: Workflow, state: SagaState) -> Iterator[Message]:
    for name, step in _failures(workflow, state):
        otherwise = workflow.leaf(name).otherwise
        why = shortened(f"{name}: {step.reason}")
        may_fail = [part for part in _around(workflow.nodes, name) if isinstance(part, CarryOn)]
        if otherwise == "go on":
            yield ev.StepSkipped(step=name, reason=step.reason)
        elif otherwise == "needs human":
            yield ev.SagaNeedsHuman(step=name, reason=why)
        elif may_fail:
            yield ev.PartEnded(step=may_fail[-1].name, reason=why)
        else:
            yield ev.UndoBegan(reason=why)


def _given_up(workflow: Workflow, state: SagaState) -> Iterator[Message]:
    """Takes back what may have taken effect though the saga has gone on without it, where its definition says so."""
    for name, step in state.steps.items():
        if step.status == "skipped" and step.unsure and not step.undo:
            node = workflow.leaf(name)
            if undoable(node) and node.late == "undo":
                why = f"the saga has gone on without {name}, and nobody knows whether it took effect"
                yield ev.WentBack(step=name, reason=shortened(why), take_back=[step.key])


def _around(nodes: Iterable[Node], name: str) -> list[Node]:
    """The parts around a leaf, the outermost first."""
    for node in nodes:
        within = inside(node)
        if any(leaf.name == name for leaf in leaves(within)):
            return [node, *_around(within, name)]
    return []


# -- what comes next ----------------------------------------------------------------------------------------------------


def _go_on(nodes: Iterable[Node], state: SagaState, now: int) -> Iterator[Message]:
    for node in nodes:
        match node:
            case Step():
                yield from _send(node, state, now)
            case Child():
                yield from _start(node, state, now)
            case Wait():
                yield from _wait(node, state, now)
            case Human():
                yield from _ask(node, state, now)
            case Parallel():
                for branch in node.branches:
                    yield from _go_on(branch, state, now)
            case Choice():
                if node.name not in state.ways:
                    yield ev.ChoiceMade(step=node.name, way=_way(node, state))
                else:
                    yield from _go_on(_chosen(node, state), state, now)
            case Repeat():
                yield from _round(node, state, now)
            case CarryOn() | During():
                if node.name not in state.ended_parts:
                    yield from _go_on(node.nodes, state, now)
        if not _ended([node], state):
            return


def _tried_again(state: SagaState, now: int) -> Iterator[Message]:
    """What pauses is tried again when it is due, also while a step before it is done anew."""
    for name, step in state.steps.items():
        if step.status == "pausing" and step.retry_at <= now:
            yield ev.StepSent(step=name, key=step.key, try_number=step.tries + 1, deadline=timestamp(step.deadline))


def _may_begin(step: StepState | None, state: SagaState) -> bool:
    """Whether a part is to begin: for the first time, or anew; then only when all is taken back that was before it."""
    return step is None or step.status == "resumed" or (step.status == "again" and not state.taking_back)


def _send(node: Step, state: SagaState, now: int) -> Iterator[Message]:
    if _may_begin(state.steps.get(node.name), state):
        deadline = timestamp(now + int(node.deadline_s * _SECOND))
        yield ev.StepSent(step=node.name, key=state.key(node.name), try_number=1, deadline=deadline)


def _start(node: Child, state: SagaState, now: int) -> Iterator[Message]:
    step = state.steps.get(node.name)
    if step is not None and step.status == "resumed" and step.child_state:
        # A child that has ended cannot be tried again: another one is started, under a key of its own.
        yield ev.WentBack(step=node.name, reason=shortened(step.reason), again=[node.name])
    elif _may_begin(step, state):
        deadline = timestamp(now + int(node.deadline_s * _SECOND))
        key = state.key(node.name)
        yield ev.StepSent(step=node.name, key=key, try_number=1, deadline=deadline, child=child_id(key))


def _wait(node: Wait, state: SagaState, now: int) -> Iterator[Message]:
    if _may_begin(state.steps.get(node.name), state):
        seconds = node.deadline_s(state) if callable(node.deadline_s) else node.deadline_s
        yield ev.WaitBegan(step=node.name, deadline=timestamp(now + int(seconds * _SECOND)))


def _ask(node: Human, state: SagaState, now: int) -> Iterator[Message]:
    if _may_begin(state.steps.get(node.name), state):
        yield _question(node, node.question(state), 0, now)


def _way(node: Choice, state: SagaState) -> int:
    return next((number for number, (condition, _) in enumerate(node.ways) if condition(state)), len(node.ways))


def _chosen(node: Choice, state: SagaState) -> Sequence[Node]:
    way = state.ways[node.name]
    return node.ways[way][1] if way < len(node.ways) else node.otherwise


def _round(node: Repeat, state: SagaState, now: int) -> Iterator[Message]:
    if node.name in state.ended_parts:
        return
    yield from _go_on(node.nodes, state, now)
    if not _ended(node.nodes, state):
        return
    rounds = state.rounds.get(node.name, 0) + 1
    still = f"{node.name}: not done after {rounds} rounds"
    if node.until(state):
        yield ev.PartEnded(step=node.name)
    elif rounds < node.at_most:
        yield ev.WentBack(step=node.name, reason=f"round {rounds + 1}", again=_since(node.nodes, "", state))
    elif node.otherwise == "go on":
        yield ev.PartEnded(step=node.name, reason=still)
    elif node.otherwise == "needs human":
        yield ev.SagaNeedsHuman(step=node.name, reason=still)
    else:
        yield ev.UndoBegan(reason=still)


def _ended(nodes: Iterable[Node], state: SagaState) -> bool:
    return all(_has_ended(node, state) for node in nodes)


def _has_ended(node: Node, state: SagaState) -> bool:
    match node:
        case Parallel():
            return all(_ended(branch, state) for branch in node.branches)
        case Choice():
            return node.name in state.ways and _ended(_chosen(node, state), state)
        case Repeat():
            return node.name in state.ended_parts
        case CarryOn() | During():
            return node.name in state.ended_parts or _ended(node.nodes, state)
    return node.name in state.steps and state.steps[node.name].status in ("done", "skipped")


# -- undoing --------------------------------------------------------------------------------------------------------------


def _to_undo(workflow: Workflow, one: StepState) -> Step | Child | None:
    """The definition of an attempt that has an effect to undo; None: there is none, or it is undone."""
    if not one.key or one.undo in ("done", "skipped"):
        return None
    definition = workflow.leaf(one.name)
    return definition if undoable(definition) else None


def _stuck(workflow: Workflow, one: StepState) -> bool:
    """Whether an attempt can be taken back only with a person's help."""
    definition = _to_undo(workflow, one)
    return definition is not None and (one.undo == "failed" or bool(definition.clearance and not one.cleared))


def _undo(workflow: Workflow, state: SagaState, now: int) -> Iterator[Message]:
    """Undoes everything in reverse, one after the other. A command that was sent counts as carried out, answered or not."""
    backwards = sorted(state.attempts(), key=lambda one: one.number, reverse=True)
    yield from _clearances(workflow, backwards, state)
    for one in backwards:
        if (definition := _to_undo(workflow, one)) is not None:
            if _stuck(workflow, one):
                yield _asked_about(definition, one, state)
            else:
                yield from _undo_one(one, now)
            return
    yield ev.SagaUndone(reason=state.reason)


def _take_back(workflow: Workflow, state: SagaState, now: int) -> Iterator[Message]:
    """Takes back in reverse what is to be taken back while the saga goes on.

    What cannot be taken back stops the saga only where something waits for that: the life of a patient may depend on the rest.
    """
    yield from _clearances(workflow, state.taking_back, state)
    for one in state.taking_back:
        if (definition := _to_undo(workflow, one)) is None:
            continue
        if not _stuck(workflow, one):
            yield from _undo_one(one, now)
            return
        waits = any(step.status == "again" for step in state.steps.values())
        if waits or _ended(workflow.nodes, state):
            yield _asked_about(definition, one, state)
            return


def _undo_one(one: StepState, now: int) -> Iterator[Message]:
    if one.undo in ("", "wanted") or (one.undo == "pausing" and one.undo_retry_at <= now):
        deadline = timestamp(now + int(UNDO_DEADLINE_S * _SECOND))
        yield ev.UndoSent(step=one.name, key=one.key + UNDO, try_number=one.undo_tries + 1, deadline=deadline)


def _clearances(workflow: Workflow, attempts: Iterable[StepState], state: SagaState) -> Iterator[Message]:
    """Authorities are asked as soon as their clearance is wanted, and not only when the saga waits for nothing else."""
    for one in attempts:
        definition = _to_undo(workflow, one)
        if definition is not None and definition.clearance and not (one.cleared or one.clearance_asked):
            why = shortened(one.undo_reason or state.reason)
            yield ev.ClearanceAsked(step=one.name, key=one.key, authority=definition.clearance, reason=why)


def _asked_about(definition: Step | Child, one: StepState, state: SagaState) -> Message:
    why = f"{one.name} could not be undone: {one.reason}"
    if one.undo != "failed":
        because = one.undo_reason or state.reason
        why = f"{one.name} protects life, and is undone only when {definition.clearance} clears it: {because}"
    return ev.SagaNeedsHuman(step=one.name, reason=shortened(why))
