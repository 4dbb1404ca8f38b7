"""The two clocks. Events, timers and windows use city time; leases, deadlines and back-off use machine time.

City time is the wall clock in production, and driven from outside in demonstrations and tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from typing_extensions import override

Fire = Callable[[], Awaitable[None]]
MICROSECONDS = 1_000_000
# With more timers than this, cancelled ones are removed.
_AT_LEAST = 1000


class Timer:
    """A timer that can be cancelled."""

    __slots__ = ("cancelled", "fire")

    def __init__(self, fire: Fire) -> None:
        self.fire = fire
        self.cancelled = False

    def cancel(self) -> None:
        """It will not fire any more, and holds its function no longer."""
        self.cancelled = True
        self.fire = _nothing


async def _nothing() -> None:
    """What a cancelled timer does."""


class CityClock:
    """City time in microseconds since 1970 UTC, and the timers that wait for it."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()
        self._most = _AT_LEAST

    def now(self) -> int:
        """City time now."""
        raise NotImplementedError

    def known(self) -> bool:
        """Whether the time is known."""
        return True

    def heading_for(self) -> int:
        """The moment to which city time is being moved; if it is not, now."""
        return self.now()

    def at(self, due: int, fire: Fire) -> Timer:
        """Fires once, when city time has reached `due`. Timers of the same moment fire in the order they were set."""
        timer = Timer(fire)
        heapq.heappush(self._due, (due, next(self._order), timer))
        if len(self._due) > self._most:
            # Most are cancelled long before they are due.
            self._due = [one for one in self._due if not one[2].cancelled]
            heapq.heapify(self._due)
            self._most = max(_AT_LEAST, 2 * len(self._due))
        return timer

    async def carry_out(self, work: Coroutine[Any, Any, object]) -> None:
        """Does the work of a timer. Driven time waits until it is done; wall time goes on, beside the other timers."""
        await work

    async def _fire_until(self, moment: int) -> None:
        while self._due and self._due[0][0] <= moment:
            due, _, timer = heapq.heappop(self._due)
            if not timer.cancelled:
                self._reach(due)
                await timer.fire()

    def _reach(self, moment: int) -> None:
        """City time has come to a timer's moment."""


class WallClock(CityClock):
    """City time is the wall clock."""

    def __init__(self) -> None:
        super().__init__()
        # By how much it is ahead of the machine's: for exercises.
        self.skew_us = 0
        self._set = asyncio.Event()
        self._under_way: set[asyncio.Task[object]] = set()

    @override
    def now(self) -> int:
        """The wall clock."""
        return time.time_ns() // 1000 + self.skew_us

    @override
    def at(self, due: int, fire: Fire) -> Timer:
        """Also wakes `run`, which may be sleeping until a later timer."""
        self._set.set()
        return super().at(due, fire)

    @override
    async def carry_out(self, work: Coroutine[Any, Any, object]) -> None:
        """Starts the work and returns: a slow one must not delay the next timer."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def run(self) -> None:
        """Fires timers as they come due, until cancelled."""
        while True:
            await self._fire_until(self.now())
            self._set.clear()
            # Never sleeps for long: the wall clock may be set forward.
            pause = 0.5 if not self._due else max(0.0, min(0.5, (self._due[0][0] - self.now()) / MICROSECONDS))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._set.wait(), pause)


class DrivenClock(CityClock):
    """City time stands still until somebody moves it.

    After a restart it stands at the last moment in the log (`last`), and no timer fires until somebody tells the time.
    """

    def __init__(self, last: int = 0) -> None:
        super().__init__()
        self._now = last
        self._told = False
        self._heading_for = last

    @override
    def now(self) -> int:
        """The last moment that was told, or is in the log; 0: there is none."""
        return self._now

    @override
    def known(self) -> bool:
        """False after a restart, until somebody tells the time."""
        return self._told

    @override
    def heading_for(self) -> int:
        return max(self._now, self._heading_for)

    async def advance(self, moment: int) -> int:
        """Moves to a moment (never back) and fires what is due on the way, each timer at its own moment."""
        if not self._told:
            # Timers that came due while nobody told the time are late, and fire now.
            self._told = True
            self._now = max(self._now, moment)
        self._heading_for = moment
        await self._fire_until(max(self._now, moment))
        self._now = max(self._now, moment)
        return self._now

    @override
    def _reach(self, moment: int) -> None:
        self._now = max(self._now, moment)
