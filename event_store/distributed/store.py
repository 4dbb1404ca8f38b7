"""The distributed engine as an EventStore: streams in conditional tables, the log at the broker, and this process's writer."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import ClassVar, Protocol

from typing_extensions import override

from citybrain.event_store.distributed.adoption import Adopter
from citybrain.event_store.distributed.interfaces import Broker, Tables, TimedOut
from citybrain.event_store.distributed.reading import NamedLog, SharedPartition
from citybrain.event_store.distributed.streams import BucketedStreams
from citybrain.event_store.distributed.writer import OPENINGS_MAX, Writer
from citybrain.event_store.feed import PartitionsFeed
from citybrain.event_store.limits import check_limits
from citybrain.event_store.store import (
    Committed,
    Conflict,
    EventStore,
    Features,
    Feed,
    NewEvent,
    Publishing,
    StoredEvent,
    StoreError,
)
from citybrain.event_store.watch import Watch

# How long an ending process waits for its appends under way. Other processes publish what is left then.
_SETTLE_S = 5.0


class SharedLog(Broker, Protocol):
    """The log as the store needs it."""

    @property
    def failing(self) -> str:
        """Why the log takes no events; empty: it takes them."""
        ...

    def partitions(self, types: Collection[str] | None = None) -> Sequence[NamedLog]:
        """The partitions that can hold events of these types; None: all."""
        ...

    async def know(self, types: Collection[str]) -> None:
        """Makes known all partitions that can hold events of these types."""
        ...


class MachineClock:
    """The clock of this machine."""

    now = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)


CorrelationFeeds = Callable[[BucketedStreams, str, Collection[str] | None], Feed]
"""Makes the feed of one correlation id, of some types or all (None)."""


class DistributedEventStore(EventStore):
    """Open it with `DistributedEventStore(…)` inside the running event loop; `await leave()`, then `close()` when done."""

    features: ClassVar[Features] = Features(one_order=False, several_processes=True, durable=True)

    def __init__(
        self,
        tables: Tables,
        log: SharedLog,
        correlations: CorrelationFeeds | None = None,
        *,
        bucket_events: int = 10_000,
        openings_max: int = OPENINGS_MAX,
        watch: Watch | None = None,
    ) -> None:
        """`correlations`: makes the feed of a correlation id; None: no correlation id can be followed.

        `watch`: the one that the log reports to; the loops of this store report there too. The rest: see Writer.
        """
        clock = MachineClock()
        self._watch = watch or Watch()
        self._correlations = correlations
        self._log = log
        self._tables = tables
        self.writer = Writer(
            tables, log, clock, lambda: uuid.uuid4().hex, bucket_events=bucket_events, openings_max=openings_max,
            recorded=lambda: time.time_ns() // 1000, watch=self._watch,
        )  # fmt: skip
        self.streams = self.writer.streams
        self.adopter = Adopter(
            tables, clock, self.streams, self.writer.publisher, lambda: uuid.uuid4().hex, lambda: self.writer.ids,
            watch=self._watch,
        )  # fmt: skip
        self._tasks = [asyncio.ensure_future(self.writer.run()), asyncio.ensure_future(self.adopter.run())]
        self._closed = False

    @override
    def append(
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Awaitable[Committed | Conflict]:
        check_limits(stream, events)
        if self._closed:
            raise StoreError("the event store is closed; nothing was written")
        return asyncio.ensure_future(self.writer.append(stream, events, expected, timeout_s))

    @override
    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        if not backward:
            first = max(1, from_version)
            found, _ = await self.streams.read(stream, first, first + limit - 1)
            return found[:limit]
        last = (await self.streams.tail(stream)).version
        if from_version:
            last = min(last, from_version)
        found, _ = await self.streams.read_all(stream, max(1, last - limit + 1), last)
        return found[::-1]

    @override
    async def version_of(self, stream: str, event_id: str) -> int:
        tail = await self.streams.tail(stream)
        return (await self.streams.versions(stream, [event_id], tail.bucket)).get(event_id, 0)

    @override
    async def writable(self) -> None:
        if self._closed:
            raise StoreError("the event store is closed")
        if self._log.failing:
            raise StoreError(f"the log takes nothing: {self._log.failing}")
        if troubles := self._watch.troubles(stops=True):
            raise StoreError("; ".join(troubles))
        try:
            await self._tables.writers()
        except TimedOut as error:
            raise StoreError(f"the streams do not answer: {error}") from error

    @override
    def unwell(self) -> str:
        return "; ".join(self._watch.troubles(stops=False))

    @override
    def publishing(self) -> Publishing:
        return self.writer.publishing()

    @override
    def partitions(self, types: Collection[str] | None = None) -> list[SharedPartition]:
        return [SharedPartition(log, self.writer.publisher) for log in self._log.partitions(types)]

    @override
    async def know(self, types: Collection[str]) -> None:
        await self._log.know(types)

    @override
    def feed(self, types: Collection[str] | None = None, correlation_id: str = "") -> Feed:
        if correlation_id:
            if self._correlations is None:
                raise StoreError("this store was opened without an index of correlation ids, and cannot follow one")
            return self._correlations(self.streams, correlation_id, types)
        return PartitionsFeed({log.name: log for log in self.partitions(types)}, types)

    async def leave(self) -> None:
        """Finishes what was accepted, as far as that is possible now, then closes this process's writer."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError, TimedOut):
            await asyncio.wait_for(self.writer.settled(), _SETTLE_S)
            for writer in self.writer.ids:
                await asyncio.wait_for(self._tables.close(writer), _SETTLE_S)

    @override
    def close(self) -> None:
        """Other processes publish what was not finished."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
