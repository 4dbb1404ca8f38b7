"""What waits for people: a read model of its own, whose rows are gone as soon as somebody has seen to it."""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.mesh.providers.views import View


@dataclass(frozen=True, slots=True)
class Waits:
    """How much waits for people; of the oldest, its id, since when it waits (microseconds of city time), and why."""

    count: int
    oldest: str
    since: int
    reason: str


class WaitsForPeople(View):
    """A view with a row for each thing that waits for somebody, under its id: `since` and `reason`. `GetStatus` tells of it."""

    async def waits(self) -> Waits | None:
        """What waits now; None where nothing does."""
        rows = await self.rows()
        if not rows:
            return None
        oldest, row = min(rows, key=lambda one: (one[1]["since"], one[0]))
        return Waits(len(rows), oldest, row["since"], row["reason"])
