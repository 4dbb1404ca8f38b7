"""The vocabulary of a workflow: step, parallel, wait. A workflow is data; its functions are pure, of the saga's state only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from google.protobuf.message import Message

if TYPE_CHECKING:
    from citybrain.sagas.engine.state import SagaState

__all__ = ["Build", "Command", "Node", "Parallel", "Step", "Wait", "Workflow"]

Build = Callable[["SagaState", str], Message]
"""Makes a request from the saga's state and the key of the step (the request id of the command)."""


@dataclass(frozen=True, slots=True)
class Command:
    """A call of another service: `package.Service/Method` and how its request is made."""

    method: str
    request: Build


@dataclass(frozen=True, slots=True)
class Step:
    """One command. Times are seconds of city time.

    What fails for a moment (unavailable, none free, contended) is tried again after `pause_s`, then after longer and longer
    pauses up to `longest_pause_s`, and once more shortly before the deadline; what is refused is not. `otherwise` says what a
    final failure means: undo everything, go on without, or ask a human.
    """

    name: str
    command: Command
    deadline_s: float
    undo: Command | None = None
    pause_s: float = 1.0
    longest_pause_s: float = 30.0
    otherwise: Literal["undo", "go on", "needs human"] = "undo"


@dataclass(frozen=True, slots=True)
class Wait:
    """Waits until an event is heard that matches; early ones count.

    `deadline_s` may come from the saga's state. `implied`: an event of a later stage matches too, and is not used up: it may be
    what a later wait waits for. `fails_on`: an event that happens while it waits and says that what is waited for may never
    come; the function gives the reason (empty: it says nothing of this). What comes after all, when a human is asked already,
    ends the wait, and the saga goes on.
    """

    name: str
    event: type[Message]
    deadline_s: float | Callable[[SagaState], float]
    matches: Callable[[SagaState, Message], bool] = lambda state, message: True
    otherwise: Literal["undo", "needs human"] = "needs human"
    implied: bool = False
    fails_on: Mapping[type[Message], Callable[[SagaState, Message], str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parallel:
    """Branches that run side by side; goes on when all have ended."""

    branches: tuple[tuple[Node, ...], ...]


Node = Step | Wait | Parallel


@dataclass(frozen=True, slots=True)
class Workflow:
    """A cross-department workflow. `hears` says, per event type, which saga an event belongs to (empty: none)."""

    name: str
    version: int
    starts_on: type[Message]
    hears: Mapping[type[Message], Callable[[Message], str]]
    nodes: tuple[Node, ...]
    # This event means: undo everything that was done. The function gives the reason.
    undo_on: Mapping[type[Message], Callable[[Message], str]] = field(default_factory=dict)

    def leaves(self) -> Iterator[Step | Wait]:
        """All steps and waits in the order of the text."""
        return _leaves(self.nodes)

    def services(self) -> set[str]:
        """Full names of the gRPC services that its commands call."""
        commands = [c for leaf in self.leaves() if isinstance(leaf, Step) for c in (leaf.command, leaf.undo) if c is not None]
        return {command.method.partition("/")[0] for command in commands}

    def leaf(self, name: str) -> Step | Wait:
        """One step or wait by name; KeyError when there is none."""
        for leaf in self.leaves():
            if leaf.name == name:
                return leaf
        raise KeyError(f"{self.name} has no step {name}")


def _leaves(nodes: tuple[Node, ...]) -> Iterator[Step | Wait]:
    for node in nodes:
        if isinstance(node, Parallel):
            for branch in node.branches:
                yield from _leaves(branch)
        else:
            yield node
