"""The vocabulary of a workflow. A workflow is data; its functions are pure and see only the saga.

It is long because the vocabulary is one language: who writes a workflow reads this page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeGuard

from google.protobuf.message import Message

if TYPE_CHECKING:
    from citybrain.sagas.engine.state import SagaState

__all__ = [
    "Build",
    "CarryOn",
    "Child",
    "Choice",
    "Command",
    "Condition",
    "During",
    "Human",
    "Leaf",
    "Leave",
    "Node",
    "Parallel",
    "Reaction",
    "Redo",
    "Repeat",
    "RestartFrom",
    "Step",
    "Undo",
    "Wait",
    "Workflow",
]

Build = Callable[["SagaState", str], Message]
"""Makes a request from the saga's state and the key of the step (the request id of the command)."""

Condition = Callable[["SagaState"], bool]
"""Something that is so, or is not, as the saga stands."""

Otherwise = Literal["undo", "go on", "needs human"]
"""What a final failure means: undo everything, go on without this, or ask a human."""


@dataclass(frozen=True, slots=True)
class Command:
    """A call of another service: `package.Service/Method` and how its request is made."""

    method: str
    request: Build


@dataclass(frozen=True, slots=True)
class Step:
    """One command, with what to do when it fails. Times are seconds of city time.

    A command that fails for a moment (unavailable, none free, contended) is tried again after `pause_s`, then after longer and
    longer pauses up to `longest_pause_s`, and once more shortly before the deadline. A command that is refused is not tried
    again. `otherwise` says what a final failure means: undo everything, go on without this step, or ask a human.

    `late`: what becomes of a command that may take effect after the saga has gone on without the step. "use": if an answer
    comes, the step is done after all. "undo": it is taken back at once, since nobody knows; a service that has not seen a
    command yet refuses it after its undo.
    `clearance`: the authority without which the step is never undone, because it protects life: "fire command". Empty: none.
    """

    name: str
    command: Command
    deadline_s: float
    undo: Command | None = None
    pause_s: float = 1.0
    longest_pause_s: float = 30.0
    otherwise: Otherwise = "undo"
    late: Literal["use", "undo"] = "use"
    clearance: str = ""


@dataclass(frozen=True, slots=True)
class Child:
    """Another workflow as a saga of its own: `workflow` by its name, the newest version when the child begins.

    `input` makes what the child begins with, a message of its workflow's `starts_on`. The step is done when the child has
    completed; then `state.answer(name)` is a `ChildEnded`. It fails when the child was undone or terminated, or has not
    completed before `deadline_s` (seconds of city time). The undo of the step undoes all that the child has done, also after
    the child has completed, and waits for that. The child hears the events of its parent too. `otherwise`, `late` and
    `clearance`: as for a step.
    """

    name: str
    workflow: str
    input: Callable[[SagaState], Message]
    deadline_s: float
    otherwise: Otherwise = "undo"
    late: Literal["use", "undo"] = "use"
    clearance: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Waits for an event that matches. An event that came before the wait began counts too.

    `event`: its type, or several types: whichever comes first. What came is `state.answer(name)`. `deadline_s` is in seconds of
    city time, or a function of the saga's state that gives them. `implied`: an event of a later stage ends this wait too, and
    stays there for a later wait. `fails_on`: events that mean that the wait may never end. The function gives the reason, or an
    empty text where the event is about something else; then a human is asked. If the event comes after all, the wait ends and
    the saga goes on without the human.
    """

    name: str
    event: type[Message] | tuple[type[Message], ...]
    deadline_s: float | Callable[[SagaState], float]
    matches: Callable[[SagaState, Message], bool] = lambda state, message: True
    otherwise: Otherwise = "needs human"
    implied: bool = False
    fails_on: Mapping[type[Message], Callable[[SagaState, Message], str]] = field(default_factory=dict)

    @property
    def events(self) -> tuple[type[Message], ...]:
        """The types of the events that it waits for."""
        return self.event if isinstance(self.event, tuple) else (self.event,)


@dataclass(frozen=True, slots=True)
class Human:
    """A person decides. `state.decision(name)` is the option that they chose.

    `who`: the authorities, in the order in which they are asked: the next one, when `deadline_s` has passed without a decision.
    Each that was asked may decide. `question`: what they have to know, in words. `validator`: why a decision cannot be taken as
    the saga stands, empty where it can; such a decision is refused and not recorded. `unanswered`: the option that counts when
    nobody decides at all; empty: that is a failure, and `otherwise` says what it means.
    """

    name: str
    who: tuple[str, ...]
    question: Callable[[SagaState], str]
    deadline_s: float
    options: tuple[str, ...] = ("approve", "reject")
    validator: Callable[[SagaState, str], str] = lambda state, option: ""
    unanswered: str = ""
    otherwise: Otherwise = "needs human"


@dataclass(frozen=True, slots=True)
class Parallel:
    """Branches that run side by side. The saga goes on when all of them have ended.

    A branch must succeed: if it fails, the saga does. A branch that need not is a `CarryOn`.
    """

    branches: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class CarryOn:
    """A part that need not succeed. If something in it fails that would have everything undone, the rest of the part is left
    out, the saga is flagged with the reason, and goes on after it. What the part had done stays.
    """

    name: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Goes the first way whose condition is so when the saga comes here; else `otherwise`. It stays with that way."""

    name: str
    ways: tuple[tuple[Condition, tuple[Node, ...]], ...]
    otherwise: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Repeat:
    """Does its nodes again and again, until something is so at the end of a round; `at_most` so many rounds.

    Each round is another attempt of each step, with a key of its own. `otherwise`: what it means if it is still not so then.
    """

    name: str
    nodes: tuple[Node, ...]
    until: Condition
    at_most: int
    otherwise: Otherwise = "needs human"


@dataclass(frozen=True, slots=True)
class Redo:
    """One step is taken back and done anew, while the rest goes on."""

    step: str


@dataclass(frozen=True, slots=True)
class RestartFrom:
    """What was done since a step of the scope, that step included, is taken back in reverse; then the saga goes on from it."""

    step: str


@dataclass(frozen=True, slots=True)
class Leave:
    """What the scope has done is taken back, and the saga goes on after it."""


@dataclass(frozen=True, slots=True)
class Undo:
    """Everything is undone, and the saga ends."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """What an event means inside a scope. `why`: the reason in words, or an empty text where the event means nothing here."""

    does: Redo | RestartFrom | Leave | Undo
    why: Callable[[SagaState, Message], str]


@dataclass(frozen=True, slots=True)
class During:
    """A scope: while something in it has begun and it has not ended, events have meanings of their own.

    Each event is reacted to once. After `at_most` reactions a human is asked instead.
    """

    name: str
    nodes: tuple[Node, ...]
    on: Mapping[type[Message], Reaction]
    at_most: int = 3


Leaf = Step | Child | Wait | Human
"""A part of a workflow that something is recorded of: a command, another saga, an event, or a decision."""

Node = Leaf | Parallel | CarryOn | Choice | Repeat | During
"""A part of a workflow."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A cross-department workflow. `hears` says for each type of event which saga it belongs to (an empty id: none).

    A workflow that only begins as a child of others leaves `starts_on` out of `hears`.
    """

    name: str
    version: int
    starts_on: type[Message]
    hears: Mapping[type[Message], Callable[[Message], str]]
    nodes: tuple[Node, ...]
    # These events undo everything that was done. The function gives the reason.
    undo_on: Mapping[type[Message], Callable[[Message], str]] = field(default_factory=dict)
    _by_name: dict[str, Leaf] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Asked for by every event of every saga.
        object.__setattr__(self, "_by_name", {leaf.name: leaf for leaf in leaves(self.nodes)})

    def leaves(self) -> Iterator[Leaf]:
        """All steps, children, waits and questions, in the order in which the definition names them."""
        return leaves(self.nodes)

    def services(self) -> set[str]:
        """Full names of the gRPC services that its commands call."""
        commands = [c for leaf in self.leaves() if isinstance(leaf, Step) for c in (leaf.command, leaf.undo) if c is not None]
        return {command.method.partition("/")[0] for command in commands}

    def children(self) -> set[str]:
        """Names of the workflows that its sagas start as their children."""
        return {leaf.workflow for leaf in self.leaves() if isinstance(leaf, Child)}

    def leaf(self, name: str) -> Leaf:
        """One step, child, wait or question by name; KeyError when there is none."""
        if name not in self._by_name:
            raise KeyError(f"{self.name} has no step {name}")
        return self._by_name[name]


def branches(node: Node) -> tuple[tuple[Node, ...], ...]:
    """The sequences of parts inside a part."""
    match node:
        case Parallel():
            return node.branches
        case Choice():
            # That nothing is done where no condition is so is no mistake.
            return (*(way for _, way in node.ways), *((node.otherwise,) if node.otherwise else ()))
        case CarryOn() | Repeat() | During():
            return (node.nodes,)
    return ()


def inside(node: Node) -> tuple[Node, ...]:
    """The parts that a part is made of, whatever way it goes."""
    return tuple(one for branch in branches(node) for one in branch)


def parts(nodes: Iterable[Node]) -> Iterator[Node]:
    """All parts, and all that they are made of, in the order of the definition."""
    for node in nodes:
        yield node
        yield from parts(inside(node))


def leaves(nodes: Iterable[Node]) -> Iterator[Leaf]:
    """The steps, children, waits and questions among some parts."""
    return (node for node in parts(nodes) if isinstance(node, Leaf))


def undoable(leaf: Leaf) -> TypeGuard[Step | Child]:
    """Whether what a part does can be taken back. A child is undone by its own steps."""
    return isinstance(leaf, Child) or (isinstance(leaf, Step) and leaf.undo is not None)
