"""Tests the pure half of a service in one sentence: given some events, when something is decided, then this follows.

given(domain.evolve_ambulance, domain.Ambulance(), registered).when(domain.report_mission, request).then(reported)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from citybrain.mesh.errors import ServiceError
from citybrain.mesh.events import type_name
from citybrain.mesh.testing.errors import Misused

S = TypeVar("S")
Error = TypeVar("Error", bound=Exception)
Evolve = Callable[[S, Message], S]


class Given(Generic[S]):
    """A state that was folded from events; a test may look at `state`."""

    def __init__(self, evolve: Evolve[S], state: S) -> None:
        self._evolve = evolve
        self.state = state

    def when(self, decide: Callable[..., Sequence[Message]], *arguments: object, **named: object) -> Decided[S]:
        """Calls `decide(state, *arguments, **named)`, twice. Misused: the results differ, so `decide` is not pure."""
        first, second = (_outcome(decide, self.state, *arguments, **named) for _ in range(2))
        difference = _difference(_text(first), _text(second), "at first", "then")
        if difference:
            raise Misused(f"{_name(decide)} is not pure: asked twice it decided differently\n{difference}")
        return Decided(self._evolve, self.state, first, _name(decide))


class Decided(Generic[S]):
    """What was decided. One of its methods ends the sentence."""

    def __init__(self, evolve: Evolve[S], state: S, outcome: list[Message] | Exception, name: str) -> None:
        self._evolve = evolve
        self._state = state
        self._outcome = outcome
        self._name = name

    def then(self, first: Message, *more: Message) -> Given[S]:
        """Asserts exactly these events, in this order. The sentence may go on with the state after them."""
        return self._happened([first, *more])

    def then_nothing(self) -> Given[S]:
        """Asserts that there is no event."""
        return self._happened([])

    def then_refused(self, error: type[Error] = ServiceError, reason: str = "") -> Error:  # type: ignore[assignment]
        """Asserts an error of this type and, if given, this reason; returns the error."""
        refused = self._outcome
        wanted = f"{self._name} was expected to raise {error.__name__}"
        if not isinstance(refused, Exception):
            raise AssertionError(f"{wanted}; it decided\n{_indented(_text(refused))}")
        if not isinstance(refused, error):
            raise AssertionError(f"{wanted}; it raised {refused!r}") from refused
        said = getattr(refused, "reason", "")
        if reason and said != reason:
            raise AssertionError(f"{self._name} was expected to refuse with {reason}; it said {said}: {refused}") from refused
        return refused

    def _happened(self, expected: list[Message]) -> Given[S]:
        decided = self._outcome
        if isinstance(decided, Exception):
            raise AssertionError(
                f"{self._name} was expected to decide\n{_indented(_text(expected))}\nit raised {decided!r}"
            ) from decided
        difference = _difference(_text(expected), _text(decided), "expected", "decided")
        if difference:
            raise AssertionError(f"{self._name} decided otherwise\n{difference}")
        return given(self._evolve, self._state, *decided)


def given(evolve: Evolve[S], initial: S, *events: Message) -> Given[S]:
    """The state after some events."""
    state = initial
    for event in events:
        state = evolve(state, event)
    return Given(evolve, state)


def _outcome(decide: Callable[..., Sequence[Message]], *arguments: object, **named: object) -> list[Message] | Exception:
    try:
        return list(decide(*arguments, **named))
    except Exception as error:
        return error


def _name(decide: Callable[..., object]) -> str:
    return str(getattr(decide, "__name__", decide))


def _text(outcome: Sequence[Message] | Exception) -> list[str]:
    if isinstance(outcome, Exception):
        return [repr(outcome)]
    return [line for event in outcome for line in (type_name(event), *_fields(event))] or ["nothing"]


def _fields(event: Message) -> Iterable[str]:
    return (f"  {line}" for line in text_format.MessageToString(event, as_utf8=True).splitlines())


def _difference(left: list[str], right: list[str], left_name: str, right_name: str) -> str:
    if left == right:
        return ""
    lines = (line for line in difflib.ndiff(left, right) if not line.startswith("?"))
    return "\n".join([f"- {left_name}", f"+ {right_name}", *lines])


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)
