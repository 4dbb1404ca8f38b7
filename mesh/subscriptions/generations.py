"""Generations of a read model: the live one, and one that is folded anew beside it. Which one is read is one row (ES-11).

The row is kept as any other, so that each engine has it; who writes it takes its group over, so that two who do so at once are
one after the other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass

from citybrain.event_store.read_models import ReadModels, RowChanged
from citybrain.event_store.store import LostAssignment

_TABLE = "generations~"
_PAGE = 500
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 1.0


@dataclass(frozen=True, slots=True)
class Generations:
    """Which generation is read, and which is folded beside it (0: none), by what code. No number is given twice."""

    live: int = 1
    building: int = 0
    code: str = ""
    last: int = 1


def table(view: str, generation: int) -> str:
    """Under what name the rows of a generation stand; a group's name is made the same way."""
    return view if generation == 1 else f"{view}~{generation}"


class Switch:
    """The row of one view, whose consumer group has this name."""

    def __init__(self, models: ReadModels, view: str, group: str) -> None:
        self._models = models
        self._view = view
        self._group = group

    async def read(self) -> Generations:
        """As it stands."""
        row = await self._models.get(_TABLE, self._view)
        return Generations() if row is None else Generations(**row)

    async def change(self, change: Callable[[Generations], Generations]) -> Generations:
        """Changes it; returns as what it stands then. `change` is given what stands, and may return that."""
        pause = _FIRST_PAUSE_S
        while True:
            epoch, position = await self._models.join(f"{self._group}~switch")
            kept = await self._models.load(_TABLE, [self._view])
            before = await self.read()
            after = change(before)
            if after == before:
                return after
            try:
                row = {self._view: asdict(after)}
                await self._models.save(f"{self._group}~switch", epoch, position, _TABLE, row, kept=kept)
            except (LostAssignment, RowChanged):
                # Many who take it from each other at once would never come to write.
                await asyncio.sleep(random.uniform(0, pause))
                pause = min(pause * 2, _LONGEST_PAUSE_S)
                continue
            return after

    async def forget(self, generation: int, parts: list[str]) -> None:
        """Removes the rows of a generation that is read no more. `parts`: names of its group, in each partition."""
        name = table(self._view, generation)
        for part in parts:
            # Whoever still folds into it is refused from now on.
            await self._models.join(part)
        epoch, position = await self._models.join(parts[0])
        after = ""
        # Not from the beginning each time: an engine may keep that there was a row.
        while rows := await self._models.scan(name, after, _PAGE):
            kept = await self._models.load(name, [key for key, _ in rows])
            await self._models.save(parts[0], epoch, position, name, dict.fromkeys(kept), kept=kept)
            after = rows[-1][0]
