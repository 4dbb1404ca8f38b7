"""A subscription: catches up with the log, then goes live without a gap (ES-6).

The loop is the same for reactions and views; what differs is the batch handler. The checkpoint moves only past work that is
done. A handler that fails is tried again with growing pauses: no event of the log is skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from citybrain.event_store.contract import EventStore, LostAssignment, StoredEvent

Handle = Callable[[list[StoredEvent], int], Awaitable[None]]
Failed = Callable[[StoredEvent, Exception, float], None]

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0


class Subscription:
    """Reads the log behind `position` and hands batches to `handle(events, reached)`, which also stores the checkpoint."""

    def __init__(
        self,
        store: EventStore,
        position: int,
        types: Collection[str],
        handle: Handle,
        *,
        batch: int = 500,
        on_failure: Failed | None = None,
    ) -> None:
        self._store = store
        self._types = frozenset(types)
        self._handle = handle
        self._batch = batch
        self._on_failure = on_failure
        self.position = position
        """Everything at or below is done."""
        self.failing = False
        """The last batch failed and waits to be tried again."""

    @property
    def at_rest(self) -> bool:
        """Nothing is left to do in the log as it stands now."""
        return self.position >= self._store.head()

    async def run(self) -> None:
        """Runs until cancelled, or until another member took the partition over (LostAssignment)."""
        while True:
            page = await self._store.read_log(self.position, self._batch, self._types)
            if page.events:
                await self._until_done(page.events, page.reached)
            self.position = page.reached
            if self.at_rest:
                await self._store.grown(self.position)

    async def _until_done(self, events: list[StoredEvent], reached: int) -> None:
        pause = _FIRST_PAUSE_S
        # A handler that moves `position` on the way is not given again what it has done.
        while events := [event for event in events if event.position > self.position]:
            try:
                await self._handle(events, reached)
                self.failing = False
                return
            except LostAssignment:
                raise
            except Exception as error:
                self.failing = True
                if self._on_failure is not None:
                    failed = next((event for event in events if event.position > self.position), events[-1])
                    self._on_failure(failed, error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
