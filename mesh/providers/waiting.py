"""Work that waits for people: a read model whose rows are gone as soon as a person has dealt with them."""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.mesh.providers.views import View


@dataclass(frozen=True, slots=True)
class Waits:
    """How many things wait for people; the oldest one's id, since when it waits (microseconds of city time), and why."""

    count: int
    oldest: str
    since: int
    reason: str


class WaitsForPeople(View):
    """A view with a row (`since`, `reason`) for each thing that waits for a person, under its id. `GetStatus` reports it."""

    async def waits(self) -> Waits | None:
        """What waits now; None: nothing does."""
        rows = await self.rows()
        if not rows:
            return None
        oldest, row = min(rows, key=lambda one: (one[1]["since"], one[0]))
        return Waits(len(rows), oldest, row["since"], row["reason"])
