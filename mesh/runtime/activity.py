"""The work in progress in a process, so that Rest() can answer when only idle streams are left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Activity:
    """Counts work in progress, and knows what else must be at rest (subscriptions, streams, sagas)."""

    def __init__(self) -> None:
        self._busy = 0
        self._parties: list[Callable[[], bool]] = []
        self._idle_waiters: list[asyncio.Future[None]] = []

    @contextmanager
    def working(self) -> Iterator[None]:
        """Counts as work in progress inside this block."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Does not count inside this block, because the work waits for somebody outside, perhaps for ever."""
        self.end()
        try:
            yield
        finally:
            self.begin()

    def begin(self) -> None:
        """Counts one more thing in progress."""
        self._busy += 1

    def end(self) -> None:
        """Counts one thing less in progress."""
        self._busy -= 1
        self.changed()

    def watch(self, at_rest: Callable[[], bool]) -> Callable[[], None]:
        """Registers a party that is asked whether it is at rest; returns a function that takes it out again."""
        self._parties.append(at_rest)
        return lambda: self._parties.remove(at_rest)

    def changed(self) -> None:
        """To be called when a party may have come to rest: waiters look again."""
        if self._busy == 0:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is in progress, and every party is at rest."""
        return self._busy == 0 and all(party() for party in self._parties)

    async def rest(self) -> None:
        """Waits until everything is at rest."""
        while not self.at_rest:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle_waiters.append(waiter)
            # Parties tell us of every change. The timeout is for one that forgets to.
            await asyncio.wait([waiter], timeout=0.05)
