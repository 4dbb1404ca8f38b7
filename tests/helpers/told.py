"""A state of which a test looks at what was decided last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any, TypeVar

from google.protobuf.message import Message

from citybrain.mesh.testing.sentence import Given

S = TypeVar("S")


class Told(Given[S]):
    """As `given`; its `events` are what was decided last."""

    def __init__(self, evolve: Callable[[S, Message], S], state: S, events: Iterable[Any] = ()) -> None:
        super().__init__(evolve, reduce(evolve, events, state))
        self.events = tuple(events)

    def decides(self, decide: Callable[..., Sequence[Message]], *arguments: object) -> Told[S]:
        """What follows from a decision, as the state before the next one."""
        return Told(self._evolve, self.state, list(decide(self.state, *arguments)))

    def told(self, *events: Message) -> None:
        """Asserts that exactly these events were decided last."""
        assert self.events == events, f"decided was {self.events}"
