"""Checks a definition when it is loaded: what would only fail in the middle of a saga is told before any saga begins.

Each problem is one sentence: where it is, what is wrong, what to write. What only a run can show (a request that breaks its
contract, an answer that is not there yet) is shown by `citybrain.sagas.testing`. The module is long because each check has its
own sentence.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from citybrain.mesh.contracts import find_service, services
from citybrain.mesh.events import type_name
from citybrain.sagas.engine import definition
from citybrain.sagas.engine.definition import (
    CarryOn,
    Child,
    Choice,
    Command,
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
    branches,
    leaves,
    parts,
)
from citybrain.sagas.engine.functions import named, takes, uses_key

_WORD = re.compile(r"[a-z][a-z0-9_]{0,39}")
_OTHERWISE = ("undo", "go on", "needs human")


class WorkflowError(Exception):
    """Definitions cannot be used. The message is one line; `problems` has each as a sentence of its own."""

    def __init__(self, problems: Collection[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def check(workflows: Iterable[Workflow]) -> None:
    """Raises WorkflowError if a definition is broken, or two have one name and version."""
    workflows = tuple(workflows)
    found = [problem for workflow in workflows for problem in problems(workflow, beside=workflows)]
    counted = Counter((one.name, one.version) for one in workflows)
    found += [
        f"{many} workflows are called {name}, version {version}: give each another name or version"
        for (name, version), many in counted.items()
        if many > 1
    ]
    if found:
        raise WorkflowError(found)


def problems(
    workflow: Workflow, published: Collection[str] | None = None, beside: Iterable[Workflow] = ()
) -> list[str]:  # fmt: skip
    """What is wrong with a definition, a sentence each. Empty: nothing.

    `published`: full names of the events that manifests publish. None: whatever contracts say is an event counts as published.
    `beside`: the workflows that are loaded with it, which it may have children of.
    """
    beside = (workflow, *beside)
    found = [*_whole(workflow), *_events(workflow, published, beside), *_asked_for(workflow), *_children(workflow, beside)]
    for part in parts(workflow.nodes):
        if not isinstance(part, Parallel):
            what = f"{_KINDS[type(part)]} {part.name}"
            found += [(part.name, f"{what}: {problem}") for problem in _part(part, workflow)]
    which = f"workflow {workflow.name}, version {workflow.version}"
    return [": ".join(filter(None, [_place(workflow, name), which, problem])) for name, problem in found]


def inside(node: Node) -> tuple[tuple[Node, ...], ...]:
    """The sequences of parts inside a part. TypeError: a kind of part that is not known here."""
    if not isinstance(node, Node):
        raise TypeError(f"{type(node).__name__} is a new word of the vocabulary: say here what is inside of one")
    return branches(node)


_Found = Iterator[tuple[str, str]]
"""Each the name near which it stands, and what is wrong."""


def _whole(workflow: Workflow) -> _Found:
    """The name, the names of the parts, and that there are any."""
    if not _WORD.fullmatch(workflow.name):
        yield workflow.name, f"its name is {workflow.name!r}: {_plain()}"
    if workflow.version < 1:
        yield workflow.name, f"its version is {workflow.version}: write 1, or the next number"
    yield from _empty(workflow.nodes, "the workflow", workflow.name)
    counted = Counter(part.name for part in parts(workflow.nodes) if not isinstance(part, Parallel))
    for name, many in counted.items():
        if many > 1:
            yield name, f"{many} parts are called {name}: give each a name of its own, because a saga keeps them by name"


def _empty(nodes: Iterable[Node], what: str, near: str) -> _Found:
    nodes = tuple(nodes)
    if not nodes:
        yield near, f"{what} has no step and no wait: write one, or take {what} out"
    for node in nodes:
        name = type(node).__name__
        sequences = inside(node)
        if not sequences and not isinstance(node, Leaf):
            yield near, f"a {name} has no branches: write some, or take it out"
        for number, branch in enumerate(sequences, 1):
            yield from _empty(branch, f"branch {number} of a {name}", near)
        near = next((leaf.name for leaf in leaves([node])), near)


def _events(workflow: Workflow, published: Collection[str] | None, beside: Iterable[Workflow]) -> _Found:
    """What the workflow hears, and what its parts want to hear of that."""
    is_child = any(workflow.name in one.children() for one in beside)
    if workflow.starts_on not in workflow.hears and not is_child:
        begins = _short(workflow.starts_on)
        yield (
            begins,
            f"starts_on is {begins}, and `hears` does not say which saga one begins: write {_hear(workflow.starts_on)}",
        )
    for event in workflow.undo_on:
        if event not in workflow.hears:
            yield "undo_on", f"undo_on names {_short(event)}, and `hears` does not bring it to a saga: write {_hear(event)}"
    for event, function in workflow.hears.items():
        yield from ((_short(event), f"hears: {problem}") for problem in _unheard(event, published))
        yield from ((_short(event), problem) for problem in _takes(function, 1, f"hears[{_short(event)}]", "the event"))
    for event, function in workflow.undo_on.items():
        yield from (("undo_on", problem) for problem in _takes(function, 1, f"undo_on[{_short(event)}]", "the event"))


def _unheard(event: type[Message], published: Collection[str] | None) -> Iterator[str]:
    """Why no event of a type ever comes."""
    name = type_name(event)
    descriptor: Any = event.DESCRIPTOR
    if descriptor.GetOptions().deprecated:
        yield f"{name} is given up, and nobody hears it: hear what its upcaster makes of it"
    elif published is None and not descriptor.file.name.endswith("/events.proto"):
        yield f"{name} is no event: hear a message of an events.proto"
    elif published is not None and name not in published:
        close = difflib.get_close_matches(name, published, 1, 0.8)
        hint = f"do you mean {close[0]}?" if close else "hear another event, or have its service publish it"
        yield f"no manifest publishes {name}: {hint}"


_KINDS = {
    Step: "step", Child: "child", Wait: "wait", Human: "question",
    CarryOn: "branch", Choice: "choice", Repeat: "loop", During: "scope",
}  # fmt: skip


def _children(workflow: Workflow, beside: Iterable[Workflow]) -> _Found:
    """Children of workflows that are not there, and of such as lead back to this one."""
    # A child is of the newest version of its workflow: an older version is never come back to.
    newest = {one.name: one for one in sorted(beside, key=lambda one: one.version)}
    for child in workflow.leaves():
        if not isinstance(child, Child):
            continue
        problem = ""
        if child.workflow not in newest:
            problem = f"no workflow is called {child.workflow}: {_nearest(child.workflow, newest, 'workflows')}"
        elif newest[workflow.name].version == workflow.version and (
            way := _way_back(newest, child.workflow, workflow.name, frozenset())
        ):
            starts = " starts ".join([workflow.name, ", which starts ".join(way)])
            problem = f"{starts}, and so on without end: take one of these children out"
        if problem:
            yield child.name, f"child {child.name}: {problem}"


def _way_back(newest: Mapping[str, Workflow], name: str, to: str, seen: frozenset[str]) -> list[str]:
    """The workflows over which one leads to another by its children; empty: it does not."""
    if name == to:
        return [name]
    if name not in seen and name in newest:
        for child in sorted(newest[name].children()):
            if way := _way_back(newest, child, to, seen | {name}):
                return [name, *way]
    return []


def _child(child: Child) -> Iterator[str]:
    yield from _takes(child.input, 1, "input", "the state")
    yield from _positive("deadline_s", child.deadline_s)
    yield from _otherwise(child.otherwise, _OTHERWISE)
    yield from _late(child.late)
    yield from _clearance(child.clearance)


def _part(part: Leaf | CarryOn | Choice | Repeat | During, workflow: Workflow) -> Iterator[str]:
    if not _WORD.fullmatch(part.name):
        yield f"its name is {part.name!r}: {_plain()}"
    match part:
        case Step():
            yield from _step(part)
        case Child():
            yield from _child(part)
        case Wait():
            yield from _wait(part, workflow)
        case Human():
            yield from _question(part)
        case Choice():
            for number, (condition, _) in enumerate(part.ways, 1):
                yield from _takes(condition, 1, f"the condition of way {number}", "the state")
        case Repeat():
            yield from _takes(part.until, 1, "until", "the state")
            yield from _bound(part.at_most)
            yield from _otherwise(part.otherwise, _OTHERWISE)
        case During():
            yield from _scope(part, workflow)


def _question(question: Human) -> Iterator[str]:
    yield from _positive("deadline_s", question.deadline_s)
    yield from _takes(question.question, 1, "question", "the state")
    yield from _takes(question.validator, 2, "validator", "the state and the option")
    yield from _otherwise(question.otherwise, _OTHERWISE)
    if not question.who:
        yield "asks nobody: write the authorities that are asked, the first one first"
    for who in question.who:
        if not _WORD.fullmatch(who):
            yield f"asks {who!r}: {_plain()}, because it becomes a part of a scope"
    if len(set(question.options)) < 2:
        yield f"has the options {question.options}: write at least two, each once"
    if question.unanswered and question.unanswered not in question.options:
        yield f"unanswered is {question.unanswered!r}, which is none of {', '.join(question.options)}: write one of them"


def _scope(scope: During, workflow: Workflow) -> Iterator[str]:
    yield from _bound(scope.at_most)
    if not scope.on:
        yield "reacts to nothing: say in `on` what events mean here, or take the scope out"
    here = [part.name for part in parts(scope.nodes) if not isinstance(part, Parallel)]
    steps = [leaf.name for leaf in leaves(scope.nodes) if isinstance(leaf, Step | Child)]
    for event, reaction in scope.on.items():
        yield from _takes(reaction.why, 2, f"on[{_short(event)}]", "the state and the event")
        if event not in workflow.hears:
            yield f"`on` names {_short(event)}, and `hears` does not bring it to a saga: write {_hear(event)} into `hears`"
        match reaction.does:
            case Redo(step) if step not in steps:
                yield f"on {_short(event)} it does {step} anew, which is no step of it: {_nearest(step, steps, 'steps')}"
            case RestartFrom(step) if step not in here:
                yield f"on {_short(event)} it goes back to {step}, which is not in it: {_nearest(step, here, 'parts')}"
            case Redo() | RestartFrom() | Leave() | Undo():
                pass


def _bound(at_most: int) -> Iterator[str]:
    if at_most < 1:
        yield f"at_most is {at_most}: write 1 or more"


def _step(step: Step) -> Iterator[str]:
    yield from _positive("deadline_s", step.deadline_s)
    yield from _positive("pause_s", step.pause_s)
    yield from _positive("longest_pause_s", step.longest_pause_s)
    if 0 < step.deadline_s < step.pause_s:
        yield f"pause_s is {step.pause_s:g} and deadline_s is {step.deadline_s:g}: pause less, else it is tried once"
    yield from _otherwise(step.otherwise, _OTHERWISE)
    yield from _late(step.late)
    if step.late == "undo" and step.undo is None:
        yield "is to be undone when it is late, and has no undo: write one, or leave `late` out"
    yield from _clearance(step.clearance)
    if step.clearance and step.undo is None:
        yield "needs a clearance to be undone, and has no undo: write one, or leave `clearance` out"
    yield from _command(step.command, "command")
    if step.undo is not None:
        yield from _command(step.undo, "undo")
        yield from _undo(step.command, step.undo)


def _wait(wait: Wait, workflow: Workflow) -> Iterator[str]:
    if callable(wait.deadline_s):
        yield from _takes(wait.deadline_s, 1, "deadline_s", "the state")
    else:
        yield from _positive("deadline_s", wait.deadline_s)
    yield from _otherwise(wait.otherwise, _OTHERWISE)
    yield from _takes(wait.matches, 2, "matches", "the state and the event")
    if not wait.events:
        yield "waits for no event: write the type of one, or of several"
    for event in wait.events:
        if event not in workflow.hears:
            yield f"waits for {_short(event)}, and `hears` does not bring it to a saga: write {_hear(event)} into `hears`"
    for event, function in wait.fails_on.items():
        yield from _takes(function, 2, f"fails_on[{_short(event)}]", "the state and the event")
        if event not in workflow.hears:
            yield f"fails_on names {_short(event)}, and `hears` does not bring it to a saga: write {_hear(event)} into `hears`"


def _positive(name: str, seconds: float) -> Iterator[str]:
    if not (seconds > 0 and math.isfinite(seconds)):
        yield f"{name} is {seconds}: write seconds of city time, more than 0"


def _otherwise(said: str, words: tuple[str, ...]) -> Iterator[str]:
    if said not in words:
        yield f"otherwise is {said!r}: write one of {', '.join(map(repr, words))}"


def _late(said: str) -> Iterator[str]:
    if said not in ("use", "undo"):
        yield f"late is {said!r}: write one of 'use', 'undo'"


def _clearance(authority: str) -> Iterator[str]:
    if authority and not _WORD.fullmatch(authority):
        yield f"its clearance is by {authority!r}: {_plain()}, because it becomes a part of a scope"


# -- commands -----------------------------------------------------------------------------------------------------------


def _command(command: Command, what: str) -> Iterator[str]:
    method = method_of(command)
    if isinstance(method, str):
        yield f"{what}: {method}"
    elif method.client_streaming or method.server_streaming:
        yield f"{what}: {command.method} streams, and a saga needs one answer to one request: call another method"
    yield from _takes(command.request, 2, f"the request of its {what}", "the state and the key")


def method_of(command: Command) -> MethodDescriptor | str:
    """The method that a command calls; or why there is none, with what to write."""
    service, slash, name = command.method.partition("/")
    if not slash:
        return f"{command.method!r} is no method: write package.Service/Method"
    try:
        methods = find_service(service).methods_by_name
    except KeyError:
        return f"no contract has a service {service}: {_nearest(service, services(), 'services')}"
    return methods[name] if name in methods else f"{service} has no method {name}: {_nearest(name, methods, 'methods')}"


def _undo(command: Command, undo: Command) -> Iterator[str]:
    """Whether an undo can name what it undoes, though its command may come after it or have no answer: only the key can."""
    made, unmade = method_of(command), method_of(undo)
    if isinstance(made, str) or isinstance(unmade, str):
        return
    if not _ids(made) & _ids(unmade):
        yield (
            f"{made.input_type.name} and {unmade.input_type.name} share no text field `…_id`, so the undo cannot name what the "
            "command did: give both contracts one, e.g. `reservation_id`"
        )
    for request, what in ((command.request, "command"), (undo.request, "undo")):
        if not uses_key(request):
            yield (
                f"has an undo, and the request of its {what} does not use the key: put the second argument of the function "
                "into the id that both requests have, so that the undo names what the command did"
            )


def _ids(method: MethodDescriptor) -> set[str]:
    """The fields of a request that can hold an id."""
    fields = method.input_type.fields
    return {one.name for one in fields if one.type == FieldDescriptor.TYPE_STRING and one.name.endswith("_id")}


def _asked_for(workflow: Workflow) -> _Found:
    """Steps that functions ask for by a name that nothing has. A name that is made by a function is not seen."""
    known = [part.name for part in parts(workflow.nodes) if not isinstance(part, Parallel)]
    for name in dict.fromkeys(one for function in functions(workflow) for one in named(function)):
        if name not in known:
            yield (
                name,
                f"a function asks the state for {name!r}, and nothing here is called that: {_nearest(name, known, 'parts')}",
            )


# -- words --------------------------------------------------------------------------------------------------------------


def _takes(function: Callable[..., Any], many: int, what: str, those: str) -> Iterator[str]:
    if not takes(function, many):
        yield f"{what} cannot be called with {those}: write a function of {many} argument{'s'[: many - 1]}"


def _plain() -> str:
    return "write a plain word of small letters, digits and _, as `reserve_bed`, at most 40"


def _short(event: type[Message]) -> str:
    return type_name(event).rpartition(".")[2]


def _hear(event: type[Message]) -> str:
    return f"`{_short(event)}: lambda event: …` with the id of the saga"


def _nearest(name: str, known: Iterable[str], what: str) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(name, known, 1)
    return f"do you mean {close[0]}?" if close else f"its {what} are {', '.join(known)}"


# -- where --------------------------------------------------------------------------------------------------------------


def _place(workflow: Workflow, name: str) -> str:
    """File and line where a name stands in the module of the definition, as far as its functions tell. Empty: they do not."""
    for function in functions(workflow):
        code = getattr(inspect.unwrap(function), "__code__", None)
        if code is not None and function.__module__ != definition.__name__:
            path = Path(code.co_filename)
            break
    else:
        return ""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    path = path.resolve()
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    # Where it is named, and not where its answer is asked for.
    quoted = re.compile(rf"""(?<!answer\()(?<!answered\()(?<!key\()["']{re.escape(name)}["']""")
    key = re.compile(rf"\b{re.escape(name)} ?[:=]")
    for pattern in (quoted, key):
        for number, line in enumerate(lines, 1):
            if pattern.search(line):
                return f"{shown}:{number}"
    return str(shown)


def functions(workflow: Workflow) -> Iterator[Callable[..., Any]]:
    """All functions of a definition, those of its module first."""
    yield from workflow.hears.values()
    for part in parts(workflow.nodes):
        match part:
            case Step():
                yield from (one.request for one in (part.command, part.undo) if one is not None)
            case Child():
                yield part.input
            case Wait():
                yield part.matches
                yield from part.fails_on.values()
                if callable(part.deadline_s):
                    yield part.deadline_s
            case Human():
                yield from (part.question, part.validator)
            case Choice():
                yield from (condition for condition, _ in part.ways)
            case Repeat():
                yield part.until
            case During():
                yield from (reaction.why for reaction in part.on.values())
