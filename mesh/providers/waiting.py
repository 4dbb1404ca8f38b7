"""Work that waits for people: a read model whose rows are gone as soon as a person has dealt with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from citybrain.mesh.events import Heard
from citybrain.mesh.providers.views import Key, View


@dataclass(frozen=True, slots=True)
class Waits:
    """How many things wait for people; the oldest one's id, since when it waits (microseconds of city time), and why."""

    count: int
    oldest: str
    since: int
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row: something waits for a person. `since` in microseconds of city time; `reason`: why."""

    since: int
    reason: str


class WaitsForPeople(View[Waiting]):
    """A view with a row for each thing that waits for a person, under its id. `GetStatus` reports it."""

    def __init__(
        self, events: Sequence[type[Message]], key: Key, apply: Callable[[Waiting | None, Heard], Waiting | None]
    ) -> None:
        super().__init__(events, key, apply, row=Waiting)

    async def waits(self) -> Waits | None:
        """What waits now; None: nothing does."""
        rows = await self.rows()
        if not rows:
            return None
        oldest, row = min(rows, key=lambda one: (one[1].since, one[0]))
        return Waits(len(rows), oldest, row.since, row.reason)
