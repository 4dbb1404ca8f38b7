"""One partition of a topic: new records come from memory, old ones are read from the broker.

A position is the offset of a record, plus one.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections import deque
from collections.abc import Collection, Sequence
from typing import Generic, Protocol, TypeVar

from typing_extensions import override

from citybrain.event_store.kafka.cluster import BrokerError
from citybrain.event_store.store import Log, LogPage, StoredEvent, Unreadable

# How many of the newest records, and how many bytes of them, are kept in memory for readers that are up to date.
_TAIL_MAX = 2048
_TAIL_BYTES = 2 * 1024 * 1024


class Placed(Protocol):
    """A record of a partition."""

    @property
    def position(self) -> int:
        """Its offset, plus one."""
        ...

    @property
    def data(self) -> bytes:
        """The bytes that were sent."""
        ...


T = TypeVar("T", bound=Placed)


class Reads(Protocol[T]):
    """The reader of the broker."""

    def follow(self, partition: KafkaPartition[T]) -> None:
        """From now on brings the records after the partition's head."""
        ...

    async def read_old(self, partition: KafkaPartition[T], after: int, limit: int) -> list[T | Unreadable]:
        """Records after a position. There must be some."""
        ...


class KafkaPartition(Generic[T]):
    """A partition. From its first read on, new records are followed."""

    def __init__(self, topic: str, number: int, end: int, reads: Reads[T]) -> None:
        self.topic = topic
        self.number = number
        self.name = f"{topic}/{number}"
        """Its name, which never changes."""
        self._head = end
        # Everything after this position, up to the head, is in the tail.
        self.kept_after = end
        self._tail: deque[T | Unreadable] = deque()
        self._bytes = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._reads = reads
        self._followed = False
        self._failure: BrokerError | None = None

    async def read(self, after: int, limit: int) -> list[T | Unreadable]:
        """Records after a position, also those that cannot be read; none if the position is the head."""
        self.follow()
        if after >= self._head:
            return []
        if after < self.kept_after:
            return await self._reads.read_old(self, after, limit)
        first = bisect.bisect_right(self._tail, after, key=lambda one: one.position)
        return list(itertools.islice(self._tail, first, first + limit))

    def head(self) -> int:
        """Position of the last record known."""
        return self._head

    async def grown(self, after: int) -> int:
        """Returns the head as soon as it is above `after`."""
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
        """Follows new records from now on. BrokerError: the partition cannot be followed any more."""
        if self._failure is not None:
            raise self._failure
        if not self._followed:
            self._followed = True
            self._reads.follow(self)

    # -- what the log brings ------------------------------------------------------------------------------------------------

    def came(self, new: Sequence[T | Unreadable]) -> None:
        """Takes new records in, and wakes waiting readers."""
        self._tail.extend(new)
        self._bytes += sum(len(one.data) for one in new)
        while self._tail and (len(self._tail) > _TAIL_MAX or self._bytes > _TAIL_BYTES):
            gone = self._tail.popleft()
            self._bytes -= len(gone.data)
            self.kept_after = gone.position
        self._head = new[-1].position
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def failed(self, error: BrokerError) -> None:
        """Notes that the partition cannot be followed any more: its readers get the error."""
        self._failure = error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)


class EventPartition(KafkaPartition[StoredEvent], Log):
    """A partition that holds events."""

    @override
    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        head = self.head()
        found = await self.read(after, limit)
        reached = found[-1].position if found else max(after, head)
        events = [one for one in found if isinstance(one, StoredEvent) and (types is None or one.type in types)]
        return LogPage(events, reached, [one for one in found if isinstance(one, Unreadable) and one.reason])
