"""Makes docs/workflows/<name>.md, a picture and tables of the newest version of each workflow, from its definition.

`make workflows` writes the pages; `make check` fails where one has drifted. The picture is Mermaid text, which forges draw.
It is long because every word of the vocabulary has its shape and its row.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import Message

from citybrain.mesh.events import type_name
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
    inside,
    leaves,
    parts,
    undoable,
)
from citybrain.sagas.workflows import newest
from tools import made_files

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "workflows"
COMPLETED, HUMAN, UNDO, UNDONE = "completed", "human", "undo", "undone"
_STEPS = ("step", "calls", "deadline", "tried again after", "if it fails for good", "undo")
_CHILDREN = ("child", "a saga of", "deadline", "if it is undone, terminated or late", "undo")
_WAITS = ("wait", "for", "deadline", "if nothing comes", "the same at once on")
_QUESTIONS = ("question", "asked, one after the other", "each has", "options", "if nobody decides")
_SCOPES = ("scope", "on", "what happens", "at most")
_UNDO = (
    "Whatever was sent is undone, answered or not, in the reverse order in which it was sent. An undo that cannot succeed asks "
    "a person. While a person is asked no deadline passes."
)
FAILS = {"undo": UNDO, "needs human": HUMAN}
_MEANS = {"undo": "all is undone", "go on": "it goes on without", "needs human": "a person is asked"}
_ENDS = {
    COMPLETED: '(["completed"])',
    HUMAN: '[/"a person is asked"/]',
    UNDO: '{{"undo, last sent first"}}',
    UNDONE: '(["undone"])',
}


class Exit(NamedTuple):
    """An arrow that leads on from a node to whatever comes next."""

    node: str
    arrow: str = "-->"


def made(workflows: Iterable[Workflow] | None = None) -> dict[str, str]:
    """The pages as they should stand, by file name."""
    return {f"{one.name}.md": page(one) for one in (newest() if workflows is None else workflows)}


def drift() -> list[str]:
    """The names of pages that are not as they should be, or of no workflow."""
    return made_files.drift(FOLDER, "*.md", made())


def page(workflow: Workflow) -> str:
    """The page of one workflow."""
    means = dict(_meanings(workflow.nodes, ""))
    steps = [leaf for leaf in leaves(workflow.nodes) if isinstance(leaf, Step)]
    children = [leaf for leaf in leaves(workflow.nodes) if isinstance(leaf, Child)]
    waits = [leaf for leaf in leaves(workflow.nodes) if isinstance(leaf, Wait)]
    texts = [f"# {workflow.name}", *_about(workflow), f"```mermaid\n{picture(workflow)}```"]
    texts.append(_UNDO)
    if steps:
        texts.append(_table(_STEPS, [_row(step, means[step.name]) for step in steps]))
    if children:
        texts.append(_table(_CHILDREN, [_child_row(child, means[child.name]) for child in children]))
    if waits:
        texts.append(_table(_WAITS, [_wait_row(wait, means[wait.name]) for wait in waits]))
    questions = [leaf for leaf in leaves(workflow.nodes) if isinstance(leaf, Human)]
    if questions:
        texts.append(_table(_QUESTIONS, [_question_row(question, means[question.name]) for question in questions]))
    scopes = [part for part in parts(workflow.nodes) if isinstance(part, During)]
    if scopes:
        texts.append(_table(_SCOPES, [row for scope in scopes for row in _scope_rows(scope)]))
    return "\n\n".join(texts) + "\n"


def picture(workflow: Workflow) -> str:
    """The workflow as a Mermaid flowchart. TypeError: it has a kind of node that is not known here."""
    drawn = _Picture()
    begun = drawn.node("begins", f'(["{_short(workflow.starts_on)}"])')
    exits = drawn.sequence(workflow.nodes, [Exit(begun)])
    drawn.lead(exits, drawn.end(COMPLETED))
    for event in workflow.undo_on:
        drawn.edge(drawn.node(f"off_{_short(event)}", f'(["{_short(event)}"])'), drawn.end(UNDO))
    if UNDO in drawn.ends:
        undone = [leaf for leaf in leaves(workflow.nodes) if undoable(leaf)]
        before = UNDO
        for step in reversed(undone):
            by = _method(step.undo) if isinstance(step, Step) and step.undo else f"all that {step.workflow} has done"  # type: ignore[union-attr]
            name = drawn.node(f"undo_{step.name}", f'["undo {step.name}<br/>{by}"]')
            drawn.edge(before, name)
            before = name
        drawn.edge(before, drawn.end(UNDONE))
    return drawn.text()


class _Picture:
    """The lines of a flowchart while it is drawn."""

    def __init__(self) -> None:
        self.ends: dict[str, None] = {}
        self._nodes: list[str] = []
        self._edges: list[str] = []
        self._forks = itertools.count(1)
        # The parts around what is drawn that need not succeed, each with the arrows that lead out of it early.
        self._lenient: list[tuple[str, list[Exit]]] = []
        self.names: dict[str, str] = {}

    def node(self, name: str, shape: str) -> str:
        self._nodes.append(f"    {name}{shape}")
        # What stands behind its kind is the name of the part.
        self.names[name.partition("_")[2]] = name
        return name

    def end(self, name: str) -> str:
        if name not in self.ends:
            self.ends[name] = None
            self.node(name, _ENDS[name])
        return name

    def edge(self, start: str, end: str, arrow: str = "-->") -> None:
        self._edges.append(f"    {start} {arrow} {end}")

    def lead(self, exits: Sequence[Exit], end: str) -> None:
        for one in exits:
            self.edge(one.node, end, one.arrow)

    def sequence(self, nodes: Iterable[Node], exits: Sequence[Exit]) -> Sequence[Exit]:
        """Draws nodes one after the other, from where arrows come; gives the arrows that lead on."""
        for node in nodes:
            match node:
                case Step():
                    exits = self._step(node, exits)
                case Child():
                    exits = self._child(node, exits)
                case Wait():
                    exits = self._wait(node, exits)
                case Human():
                    exits = self._question(node, exits)
                case Parallel():
                    exits = self._parallel(node, exits)
                case Choice():
                    exits = self._choice(node, exits)
                case CarryOn():
                    exits = self._carry_on(node, exits)
                case Repeat():
                    exits = self._loop(node, exits)
                case During():
                    exits = self._scope(node, exits)
                case _:
                    raise TypeError(f"{type(node).__name__} is a new word of the vocabulary: say here how one is drawn")
        return exits

    def _step(self, step: Step, exits: Sequence[Exit]) -> Sequence[Exit]:
        name = self.node(
            f"do_{step.name}", f'["{step.name}<br/>{_method(step.command)}<br/>within {duration(step.deadline_s)}"]'
        )
        self.lead(exits, name)
        return self._failing(name, step.otherwise, "fails")

    def _child(self, child: Child, exits: Sequence[Exit]) -> Sequence[Exit]:
        shape = f'[["{child.name}<br/>a saga of {child.workflow}<br/>within {duration(child.deadline_s)}"]]'
        # An arrow that leads back to a step leads back to it in the same way.
        name = self.node(f"do_{child.name}", shape)
        self.lead(exits, name)
        return self._failing(name, child.otherwise, "fails")

    def _failing(self, name: str, otherwise: str, why: str) -> Sequence[Exit]:
        """Where it leads from a part that may fail."""
        if otherwise == "go on":
            return [Exit(name), Exit(name, f'-. "{why}: without it" .->')]
        if otherwise == "undo" and self._lenient:
            part, left = self._lenient[-1]
            left.append(Exit(name, f'-. "{why}: {part} is left" .->'))
            return [Exit(name)]
        self.edge(name, self.end(FAILS[otherwise]), f'-. "{why}" .->')
        return [Exit(name)]

    def _wait(self, wait: Wait, exits: Sequence[Exit]) -> Sequence[Exit]:
        events = " or ".join(map(_short, wait.events))
        shape = f'[["{wait.name}<br/>waits for {events}<br/>within {_deadline(wait)}"]]'
        name = self.node(f"wait_{wait.name}", shape)
        self.lead(exits, name)
        exits = self._failing(name, wait.otherwise, "nothing comes")
        for event in wait.fails_on:
            exits = [*exits, *self._failing(name, wait.otherwise, _short(event))[1:]]
        return exits

    def _question(self, question: Human, exits: Sequence[Exit]) -> Sequence[Exit]:
        asked = ", then ".join(question.who)
        shape = f'[/"{question.name}<br/>asks {asked}<br/>each has {duration(question.deadline_s)}"/]'
        name = self.node(f"ask_{question.name}", shape)
        self.lead(exits, name)
        if question.unanswered:
            return [Exit(name)]
        return self._failing(name, question.otherwise, "nobody decides")

    def _choice(self, choice: Choice, exits: Sequence[Exit]) -> Sequence[Exit]:
        name = self.node(f"which_{choice.name}", f'{{"{choice.name}"}}')
        self.lead(exits, name)
        ways = [self.sequence(way, [Exit(name, f'-- "way {number}" -->')]) for number, (_, way) in enumerate(choice.ways, 1)]
        ways.append(self.sequence(choice.otherwise, [Exit(name, '-- "else" -->')]))
        return [one for way in ways for one in way]

    def _carry_on(self, branch: CarryOn, exits: Sequence[Exit]) -> Sequence[Exit]:
        self._lenient.append((branch.name, []))
        exits = self.sequence(branch.nodes, exits)
        _, left = self._lenient.pop()
        return [*exits, *left]

    def _loop(self, loop: Repeat, exits: Sequence[Exit]) -> Sequence[Exit]:
        begun = self.node(f"loop_{loop.name}", f'(("{loop.name}"))')
        self.lead(exits, begun)
        again = self.node(f"again_{loop.name}", f'{{"enough, or {loop.at_most} rounds?"}}')
        self.lead(self.sequence(loop.nodes, [Exit(begun)]), again)
        self.edge(again, begun, '-- "no" -->')
        return self._failing(again, loop.otherwise, "not enough")

    def _scope(self, scope: During, exits: Sequence[Exit]) -> Sequence[Exit]:
        begun = self.node(f"scope_{scope.name}", f'(("{scope.name}"))')
        self.lead(exits, begun)
        exits = self.sequence(scope.nodes, [Exit(begun)])
        for event, reaction in scope.on.items():
            # The event may come anywhere in the scope.
            heard = self.node(f"on_{scope.name}_{_short(event)}", f'(["in {scope.name}: {_short(event)}"])')
            match reaction.does:
                case Redo(step):
                    self.edge(heard, f"do_{step}", '-. "anew, after its undo" .->')
                case RestartFrom(step):
                    self.edge(heard, self.names[step], '-. "from here, after the undo of all since" .->')
                case Leave():
                    exits = [*exits, Exit(heard, '-. "after the undo of the scope" .->')]
                case Undo():
                    self.edge(heard, self.end(UNDO))
        return exits

    def _parallel(self, parallel: Parallel, exits: Sequence[Exit]) -> Sequence[Exit]:
        number = next(self._forks)
        fork, join = f"fork_{number}", f"join_{number}"
        self.node(fork, '(("all of"))')
        self.lead(exits, fork)
        for branch in parallel.branches:
            self.lead(self.sequence(branch, [Exit(fork)]), join)
        self.node(join, '(("done"))')
        return [Exit(join)]

    def text(self) -> str:
        return "\n".join(["flowchart TD", *self._nodes, *self._edges]) + "\n"


# -- words --------------------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Seconds in words."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _about(workflow: Workflow) -> Iterator[str]:
    module = inspect.getmodule(next(iter(workflow.hears.values())))
    source = Path(inspect.getsourcefile(module) or "").resolve() if module is not None else None
    if module is not None and module.__doc__:
        yield " ".join(module.__doc__.partition("\n\n")[0].split())
    where = "its definition"
    if source is not None and source.is_relative_to(ROOT):
        where = f"[{source.relative_to(ROOT)}](../../{source.relative_to(ROOT)})"
    yield f"Version {workflow.version}, made by `make workflows` from {where}. The words: [sagas](../../sagas/README.md)."
    said = [f"It begins with `{type_name(workflow.starts_on)}`."]
    if workflow.undo_on:
        said.append(f"All is undone on {_events(workflow.undo_on)}, whenever that comes.")
    others = [event for event in workflow.hears if event is not workflow.starts_on and event not in workflow.undo_on]
    if others:
        said.append(f"It also hears {_events(others)}.")
    yield " ".join(said)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" if line[0] != "---" else f"|{'|'.join(line)}|" for line in lines)


def _meanings(nodes: Iterable[Node], lenient: str) -> Iterator[tuple[str, str]]:
    """What a final failure of each leaf means, by its name. `lenient`: the part around it that need not succeed."""
    for node in nodes:
        if isinstance(node, Leaf):
            left = lenient and node.otherwise == "undo"
            yield node.name, f"the rest of `{lenient}` is left out" if left else _MEANS[node.otherwise]
        else:
            yield from _meanings(inside(node), node.name if isinstance(node, CarryOn) else lenient)


def _row(step: Step, means: str) -> tuple[str, ...]:
    longest = max(step.pause_s, step.longest_pause_s)
    again = duration(step.pause_s) + (f", growing to {duration(longest)}" if longest > step.pause_s else "")
    undo = ("none" if step.undo is None else f"`{_method(step.undo)}`") + _undone_when(step)
    return f"`{step.name}`", f"`{_method(step.command)}`", duration(step.deadline_s), again, means, undo


def _child_row(child: Child, means: str) -> tuple[str, ...]:
    undo = f"all that it has done{_undone_when(child)}"
    return f"`{child.name}`", f"`{child.workflow}`", duration(child.deadline_s), means, undo


def _undone_when(one: Step | Child) -> str:
    cleared = f", when {one.clearance} clears it" if one.clearance else ""
    return cleared + (", also if it goes on without" if one.late == "undo" else "")


def _wait_row(wait: Wait, means: str) -> tuple[str, ...]:
    stays = ", which stays for a later wait" if wait.implied else ""
    heard = " or ".join(f"`{_short(event)}`" for event in wait.events) + stays
    return f"`{wait.name}`", heard, _deadline(wait), means, _events(wait.fails_on) or "nothing"


def _question_row(question: Human, means: str) -> tuple[str, ...]:
    if question.unanswered:
        means = f"`{question.unanswered}` counts"
    options = ", ".join(f"`{option}`" for option in question.options)
    return f"`{question.name}`", ", ".join(question.who), duration(question.deadline_s), options, means


def _scope_rows(scope: During) -> Iterator[tuple[str, ...]]:
    for event, reaction in scope.on.items():
        match reaction.does:
            case Redo(step):
                what = f"`{step}` is undone and done anew, while the rest goes on"
            case RestartFrom(step):
                what = f"all since `{step}` is undone, and it goes on from there"
            case Leave():
                what = "all of the scope is undone, and it goes on after it"
            case Undo():
                what = "all is undone"
        yield f"`{scope.name}`", f"`{_short(event)}`", what, f"{scope.at_most} times, then a person is asked"


def _deadline(wait: Wait) -> str:
    return "a computed time" if callable(wait.deadline_s) else duration(wait.deadline_s)


def _method(command: Command) -> str:
    service, _, method = command.method.partition("/")
    return f"{service.rpartition('.')[2].removesuffix('Service')}.{method}"


def _short(event: type[Message]) -> str:
    return type_name(event).rpartition(".")[2]


def _events(events: Iterable[Any]) -> str:
    return ", ".join(f"`{_short(event)}`" for event in events)


def main() -> int:
    """Writes the pages, and removes those of no workflow."""
    made_files.write(FOLDER, "*.md", made())
    return 0


if __name__ == "__main__":
    sys.exit(main())
