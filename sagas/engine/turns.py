"""Old work takes turns: only some tries of one kind run at a time, and of those that wait the least tried goes first.

After a start thousands of old tries may be due at one moment. What is new does not take turns, so it never stands behind them.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

AT_A_TIME = 8


@dataclass(slots=True)
class _Kind:
    """How many have a turn now, and those that wait: (tries, order, turn)."""

    busy: int = 0
    waiting: list[tuple[int, int, asyncio.Future[None]]] = field(default_factory=list)


class Turns:
    """The turns of all kinds of work."""

    def __init__(self, at_a_time: int = AT_A_TIME) -> None:
        self._at_a_time = at_a_time
        self._kinds: dict[str, _Kind] = defaultdict(_Kind)
        self._order = itertools.count()

    @contextlib.asynccontextmanager
    async def turn(self, kind: str, tries: int) -> AsyncIterator[None]:
        """Waits for a turn and has it. `tries`: how often it was tried before; 0: it is new, and does not wait."""
        if not tries:
            yield
            return
        mine = self._kinds[kind]
        if mine.busy < self._at_a_time:
            mine.busy += 1
        else:
            await self._wait(kind, mine, tries)
        try:
            yield
        finally:
            self._give(kind, mine)

    async def _wait(self, kind: str, mine: _Kind, tries: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(mine.waiting, (tries, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The turn came, and the task that waited for it is gone.
                self._give(kind, mine)
            raise

    def _give(self, kind: str, mine: _Kind) -> None:
        """Passes a turn on to the next that still waits."""
        while mine.waiting:
            turn = heapq.heappop(mine.waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        mine.busy -= 1
        if not mine.busy:
            del self._kinds[kind]
