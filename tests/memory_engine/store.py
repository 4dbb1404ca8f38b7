"""Streams and log in memory: one list in the order of the commits, and for each stream where its events stand in it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import ClassVar

from typing_extensions import override

from citybrain.event_store.feed import PartitionsFeed
from citybrain.event_store.limits import check_limits
from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.store import (
    ANY,
    Committed,
    Conflict,
    EventStore,
    Features,
    GroupLog,
    Log,
    LogPage,
    NewEvent,
    Partition,
    StoredEvent,
    StoreError,
    Undecided,
)
from tests.memory_engine.at_once import at_once


class MemoryStore(EventStore, Partition, GroupLog):
    """An EventStore, and its log's only partition."""

    name = ""
    features: ClassVar[Features] = Features(one_order=True, several_processes=False, durable=False)

    def __init__(self) -> None:
        self._log: list[StoredEvent] = []
        self._streams: dict[str, list[StoredEvent]] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._closed = False

    @override
    def close(self) -> None:
        self._closed = True

    # -- appending ------------------------------------------------------------------------------------------------------

    @override
    def append(
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> asyncio.Future[Committed | Conflict]:
        check_limits(stream, events)
        self._is_open()
        return self._append(stream, events, expected, timeout_s)

    @at_once
    def _append(self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None) -> Committed | Conflict:
        outcome = self._decided(stream, events, expected)
        if timeout_s is not None and timeout_s <= 0:
            # Who waits for nothing is told nothing, though it is decided.
            raise Undecided(f"append to {stream} was not waited for: retry with the same request id")
        return outcome

    def _decided(self, stream: str, events: Sequence[NewEvent], expected: int) -> Committed | Conflict:
        there = self._streams.get(stream, [])
        known = [self._versions.get((stream, one.id), 0) for one in events]
        if any(known):
            first, last = known[0], known[0] + len(events) - 1
            if not first or known != list(range(first, last + 1)):
                return Conflict(len(there))
            return Committed(first, last, there[last - 1].position, again=True)
        if expected not in (ANY, len(there)) or len({one.id for one in events}) < len(events):
            return Conflict(len(there))
        there = self._streams.setdefault(stream, there)
        first, now = len(there) + 1, time.time_ns() // 1000
        for version, one in enumerate(events, first):
            given = dataclasses.asdict(one)
            stored = StoredEvent(**given, stream=stream, version=version, recorded_at=now, position=len(self._log) + 1)
            self._log.append(stored)
            there.append(stored)
            self._versions[stream, one.id] = version
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        return Committed(first, len(there), len(self._log))

    @override
    async def writable(self) -> None:
        self._is_open()

    @override
    def unwell(self) -> str:
        return ""

    def _is_open(self) -> None:
        if self._closed:
            raise StoreError("the event store in memory is closed; nothing was written")

    # -- reading --------------------------------------------------------------------------------------------------------

    @override
    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        await asyncio.sleep(0)
        there = self._streams.get(stream, [])
        if backward:
            return there[: from_version or None][::-1][:limit]
        return there[max(0, from_version - 1) :][:limit]

    @override
    async def version_of(self, stream: str, event_id: str) -> int:
        return self._versions.get((stream, event_id), 0)

    @override
    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        return await self.select(after, limit, lambda one: types is None or one.type in types)

    async def select(self, after: int, limit: int, wanted: Callable[[StoredEvent], bool]) -> LogPage:
        """Events behind a position of which something is so."""
        await asyncio.sleep(0)
        found = list(islice(filter(wanted, islice(self._log, after, None)), limit))
        return LogPage(found, found[-1].position if len(found) == limit else max(after, len(self._log)))

    @override
    def head(self) -> int:
        return len(self._log)

    @override
    async def grown(self, after: int) -> int:
        while len(self._log) <= after:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return len(self._log)

    @override
    def partitions(self, types: Collection[str] | None = None) -> list[MemoryStore]:
        return [self]

    @override
    def for_group(self, models: ReadModels, group: str) -> MemoryStore:
        return self

    @override
    def seen(self, position: int) -> dict[str, int]:
        """Nothing stands twice in this log."""
        return {}

    @override
    def feed(self, types: Collection[str] | None = None, correlation_id: str = "") -> PartitionsFeed:
        return PartitionsFeed({self.name: _Story(self, correlation_id) if correlation_id else self}, types)


class _Story(Log):
    """The events of one correlation id."""

    def __init__(self, store: MemoryStore, correlation_id: str) -> None:
        self._store = store
        self._correlation_id = correlation_id

    @override
    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        def wanted(one: StoredEvent) -> bool:
            return one.correlation_id == self._correlation_id and (types is None or one.type in types)

        return await self._store.select(after, limit, wanted)

    @override
    def head(self) -> int:
        return self._store.head()

    @override
    async def grown(self, after: int) -> int:
        return await self._store.grown(after)
