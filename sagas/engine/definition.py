"""The vocabulary of a workflow: step, wait, parallel. A workflow is data; its functions are pure and see only the saga."""

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
    """One command, with what to do when it fails. Times are seconds of city time.

    A command that fails for a moment (unavailable, none free, contended) is tried again after `pause_s`, then after longer and
    longer pauses up to `longest_pause_s`, and once more shortly before the deadline. A command that is refused is not tried
    again. `otherwise` says what a final failure means: undo everything, go on without this step, or ask a human.
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
    """Waits for an event that matches. An event that came before the wait began counts too.

    `deadline_s` is in seconds of city time, or a function of the saga's state that gives them. `implied`: an event of a later
    stage ends this wait too, and stays there for a later wait. `fails_on`: events that mean that the wait may never end. The
    function gives the reason, or an empty text where the event is about something else; then a human is asked. If the event
    comes after all, the wait ends and the saga goes on without the human.
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
    """Branches that run side by side. The saga goes on when all of them have ended."""

    branches: tuple[tuple[Node, ...], ...]


Node = Step | Wait | Parallel
"""A part of a workflow: one step, one wait, or several branches at a time."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A cross-department workflow. `hears` says for each type of event which saga it belongs to (an empty id: none)."""

    name: str
    version: int
    starts_on: type[Message]
    hears: Mapping[type[Message], Callable[[Message], str]]
    nodes: tuple[Node, ...]
    # These events undo everything that was done. The function gives the reason.
    undo_on: Mapping[type[Message], Callable[[Message], str]] = field(default_factory=dict)

    def leaves(self) -> Iterator[Step | Wait]:
        """All steps and waits, in the order in which the definition names them."""
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
