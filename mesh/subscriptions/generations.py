"""Generations of a read model: the live one, and perhaps a new one that is folded beside it. A row says which is live (ES-11).

This row is stored like every row of a view, so it needs nothing special of an engine. A process that changes it first takes
over the row's group. So of two processes that change it at once, one is refused and tries again.
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
    """The generations of one view. No number is used twice."""

    # The one that is read.
    live: int = 1
    # The one that is folded beside it; 0: none. And a digest of the code that folds it.
    building: int = 0
    code: str = ""
    # The highest number used so far.
    last: int = 1


def table(view: str, generation: int) -> str:
    """The name under which the rows of a generation are stored. The name of its group is made in the same way."""
    return view if generation == 1 else f"{view}~{generation}"


class Switch:
    """The row of generations of one view. `group`: the name of the view's consumer group."""

    def __init__(self, models: ReadModels, view: str, group: str) -> None:
        self._models = models
        self._view = view
        self._group = group

    async def read(self) -> Generations:
        """The generations now."""
        row = await self._models.get(_TABLE, self._view)
        return Generations() if row is None else Generations(**row)

    async def change(self, change: Callable[[Generations], Generations]) -> Generations:
        """Changes the row; returns the new generations. `change` gets the present ones, and may return them as they are."""
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
                # Without random pauses, processes that take the group from each other might never come to write.
                await asyncio.sleep(random.uniform(0, pause))
                pause = min(pause * 2, _LONGEST_PAUSE_S)
                continue
            return after

    async def forget(self, generation: int, parts: list[str]) -> None:
        """Removes the rows of a generation that is no longer read. `parts`: names of its group, one for each partition."""
        name = table(self._view, generation)
        for part in parts:
            # A member that still folds into it is refused from now on.
            await self._models.join(part)
        epoch, position = await self._models.join(parts[0])
        after = ""
        # Goes on after the last key: an engine may keep something of a deleted row.
        while rows := await self._models.scan(name, after, _PAGE):
            kept = await self._models.load(name, [key for key, _ in rows])
            await self._models.save(parts[0], epoch, position, name, dict.fromkeys(kept), kept=kept)
            after = rows[-1][0]
