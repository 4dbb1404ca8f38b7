"""One partition of a topic as a log: what is new comes from memory, what is old is read from the broker.

A position is the offset of an event, plus one. Nothing is ever deleted from these topics, so a reader that asks for what is no
longer there is told so, and never given what comes next instead.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence

from citybrain.event_store.contract import LogPage, StoredEvent
from citybrain.event_store.kafka.cluster import BrokerError

# The newest events are kept in memory for those who are up to date: so many, and not more bytes than these.
_TAIL_MAX = 2048
_TAIL_BYTES = 2 * 1024 * 1024

ReadOld = Callable[["KafkaPartition", int, int], Awaitable[list[StoredEvent]]]
Follow = Callable[["KafkaPartition"], None]


class KafkaPartition:
    """A Log. From the first time that somebody reads it, what comes is followed."""

    def __init__(self, topic: str, number: int, end: int, read_old: ReadOld, follow: Follow) -> None:
        self.topic = topic
        self.number = number
        self.name = f"{topic}/{number}"
        """Its name, which never changes."""
        self._head = end
        # Everything behind this position, up to the head, is in the tail.
        self.kept_after = end
        self._tail: deque[StoredEvent] = deque()
        self._bytes = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._read_old = read_old
        self._follow = follow
        self._followed = False
        self._failure: BrokerError | None = None

    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        """See Log.read_log."""
        self.follow()
        head = self._head
        if after >= head:
            return LogPage([], after)
        if after >= self.kept_after:
            first = bisect.bisect_right(self._tail, after, key=lambda event: event.position)
            found = list(itertools.islice(self._tail, first, first + limit))
        else:
            found = await self._read_old(self, after, limit)
        reached = found[-1].position if found else head
        return LogPage(found if types is None else [event for event in found if event.type in types], reached)

    def head(self) -> int:
        """See Log.head."""
        return self._head

    async def grown(self, after: int) -> int:
        """See Log.grown."""
        self.follow()
        while self._head <= after:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return self._head

    def follow(self) -> None:
        """Hears what comes from now on; BrokerError where it cannot be followed any more."""
        if self._failure is not None:
            raise self._failure
        if not self._followed:
            self._followed = True
            self._follow(self)

    # -- what the log brings ------------------------------------------------------------------------------------------------

    def came(self, events: Sequence[StoredEvent]) -> None:
        """Takes new events in, and wakes who waits for them."""
        self._tail.extend(events)
        self._bytes += sum(map(_size, events))
        while self._tail and (len(self._tail) > _TAIL_MAX or self._bytes > _TAIL_BYTES):
            gone = self._tail.popleft()
            self._bytes -= _size(gone)
            self.kept_after = gone.position
        self._head = events[-1].position
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def failed(self, error: BrokerError) -> None:
        """It cannot be followed any more: whoever reads it is told."""
        self._failure = error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)


def _size(event: StoredEvent) -> int:
    return len(event.data) + len(event.sealed)
