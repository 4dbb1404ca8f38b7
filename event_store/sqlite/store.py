"""The embedded engine: one SQLite file that is both the streams and the log.

One writer thread takes all waiting appends into one transaction (see writing); heads and ids are read inside it, so conflicts
are decided by reading, never by a failing statement. The row id is the position: commit order is the order of the log, and a
reader never walks past an event that becomes visible later (ES-5). Readers have threads and connections of their own.
It is long because writer, readers and the tail in memory keep one promise together.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from typing_extensions import override

from citybrain.event_store.feed import PartitionsFeed
from citybrain.event_store.limits import check_limits
from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.sqlite import file, reading, writing
from citybrain.event_store.store import (
    Committed,
    Conflict,
    EventStore,
    Features,
    GroupLog,
    LogPage,
    NewEvent,
    Partition,
    StoredEvent,
    StoreError,
    Undecided,
)

# How often a process looks whether another one has written to the file.
_OTHERS_POLL_S = 0.02
# The smallest write: it shows whether the file can be written.
_TRY = "INSERT INTO tried VALUES (1, 1) ON CONFLICT (one) DO UPDATE SET times = times + 1"
# After an append this recent, no such write is needed.
_WRITTEN_LATELY_S = 1.0
_GROUP_MAX = 256
# Newest events kept in memory: live subscribers read them without a query.
_TAIL_MAX = 4096


P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class _Append:
    stream: str
    events: Sequence[NewEvent]
    expected: int
    done: asyncio.Future[Committed | Conflict]


@dataclass(slots=True)
class _Try:
    done: asyncio.Future[None]


class SqliteEventStore(EventStore, Partition, GroupLog):
    """An EventStore on one file, and its log's only partition. Create it inside the running event loop; `close()` when done."""

    name = ""
    features: ClassVar[Features] = Features(one_order=True, several_processes=True, durable=True)

    def __init__(self, path: Path, readers: int = 2) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Append | _Try | None] = queue.SimpleQueue()
        self._written_at = 0.0
        self._closed = False
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="store-read")
        self._local = threading.local()
        self._waiters: set[asyncio.Future[None]] = set()
        self._waiting_for: dict[asyncio.Future[int], Collection[str]] = {}
        # Gapless, and ending at the head; emptied when another process has written.
        self._tail: deque[StoredEvent] = deque(maxlen=_TAIL_MAX)
        connection = file.opened(path)
        self._head = int(connection.execute(file.HEAD).fetchone()[0])
        self._streams = writing.StreamHeads(connection)
        self._writer = threading.Thread(target=self._write, args=(connection,), name="store-write", daemon=True)
        self._writer.start()

    @override
    def close(self) -> None:
        """Finishes accepted work, then closes the file."""
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown()

    # -- appending ------------------------------------------------------------------------------------------------------

    @override
    def append(
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> asyncio.Future[Committed | Conflict]:
        """An append that has begun is finished even if its caller has gone."""
        check_limits(stream, events)
        if self._closed:
            raise StoreError(f"the event store on {self._path.name} is closed; nothing was written")
        item = _Append(stream, events, expected, self._loop.create_future())
        self._queue.put(item)
        if timeout_s is not None and timeout_s <= 0:
            _give_up(item, timeout_s)
        elif timeout_s is not None:
            timer = self._loop.call_later(timeout_s, _give_up, item, timeout_s)
            item.done.add_done_callback(lambda _: timer.cancel())
        return item.done

    @override
    async def writable(self) -> None:
        if self._closed:
            raise StoreError(f"the event store on {self._path.name} is closed")
        trying = _Try(self._loop.create_future())
        self._queue.put(trying)
        await trying.done

    @override
    def unwell(self) -> str:
        """Empty: whatever goes wrong here also fails an append."""
        return ""

    def _write(self, connection: sqlite3.Connection) -> None:
        data_version = -1
        while True:
            try:
                first = self._queue.get(timeout=_OTHERS_POLL_S)
            except queue.Empty:
                # If the file cannot be read now, look again the next time.
                with contextlib.suppress(sqlite3.Error):
                    seen = connection.execute("PRAGMA data_version").fetchone()[0]
                    if seen != data_version:
                        head = int(connection.execute(file.HEAD).fetchone()[0])
                        self._tell(functools.partial(self._advance, head, []))
                        data_version = seen
                continue
            group: list[_Append] = []
            tries: list[_Try] = []
            item, last = first, False
            while True:
                if item is None:
                    last = True
                    break
                (tries if isinstance(item, _Try) else group).append(item)  # type: ignore[arg-type]
                if len(group) >= _GROUP_MAX:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._commit(connection, group)
            for trying in tries:
                self._try(connection, trying.done)
            if last:
                connection.close()
                return

    def _commit(self, connection: sqlite3.Connection, group: list[_Append]) -> None:
        try:
            wanted = [(item.stream, item.events, item.expected) for item in group]
            outcomes, written = writing.write(connection, self._streams, wanted)
        except Exception as error:
            if len(group) > 1:
                # One append may be to blame (or the disk is full for all): each gets an answer of its own.
                for item in group:
                    self._commit(connection, [item])
                return
            failure = StoreError(f"the event store cannot write to {self._path.name}: {error}; nothing was written")
            self._tell(lambda: _fail(group[0].done, failure))
            return
        if written:
            self._written_at = time.monotonic()
        head = max((o.position for o in outcomes if isinstance(o, Committed)), default=0)

        def answer() -> None:
            self._advance(head, written)
            for item, outcome in zip(group, outcomes, strict=True):
                if not item.done.done():
                    item.done.set_result(outcome)

        self._tell(answer)

    def _try(self, connection: sqlite3.Connection, done: asyncio.Future[None]) -> None:
        try:
            if time.monotonic() - self._written_at > _WRITTEN_LATELY_S:
                connection.execute(_TRY)
        except sqlite3.Error as error:
            failure = StoreError(f"the event store cannot write to {self._path.name}: {error}")
            self._tell(lambda: _fail(done, failure))
        else:
            self._tell(lambda: None if done.done() else done.set_result(None))

    def _tell(self, callback: Callable[[], None]) -> None:
        # The loop may be closed when a process ends: then nobody waits any more.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)

    # -- reading --------------------------------------------------------------------------------------------------------

    @override
    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        return await self._query(reading.read_stream, stream, from_version, limit, backward)

    @override
    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        # The head is taken before reading: everything at or below it is visible to the query.
        head = self._head
        if self._tail and self._tail[0].position <= after + 1:
            newer = itertools.islice(self._tail, after + 1 - self._tail[0].position, None)
            found = list(itertools.islice((e for e in newer if types is None or e.type in types), limit))
            return LogPage(found, found[-1].position if len(found) == limit else max(head, after))
        wanted = None if types is None else tuple(types)
        events = await self._query(reading.read_log, after, head, limit, wanted)
        return LogPage(events, events[-1].position if len(events) == limit else max(head, after))

    @override
    def partitions(self, types: Collection[str] | None = None) -> list[SqliteEventStore]:
        return [self]

    @override
    def for_group(self, models: ReadModels, group: str) -> SqliteEventStore:
        return self

    @override
    def seen(self, position: int) -> dict[str, int]:
        """Empty: no event stands twice in this log."""
        return {}

    @override
    def feed(self, types: Collection[str] | None = None, correlation_id: str = "") -> PartitionsFeed:
        return PartitionsFeed({self.name: CorrelatedLog(self, correlation_id) if correlation_id else self}, types)

    async def read_correlated(self, correlation_id: str, after: int, limit: int, types: Collection[str] | None) -> LogPage:
        """Events of one correlation id after a position."""
        head = self._head
        wanted = None if types is None else tuple(types)
        events = await self._query(reading.read_correlated, correlation_id, after, head, limit, wanted)
        return LogPage(events, events[-1].position if len(events) == limit else max(head, after))

    @override
    async def version_of(self, stream: str, event_id: str) -> int:
        return await self._query(reading.version_of, stream, event_id)

    @override
    def head(self) -> int:
        return self._head

    @override
    async def grown(self, after: int) -> int:
        while self._head <= after:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return self._head

    def next_of(self, types: Collection[str]) -> asyncio.Future[int]:
        """As `TellsTypes` says."""
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._waiting_for[waiter] = frozenset(types)
        waiter.add_done_callback(self._waiting_for.pop)
        return waiter

    def _advance(self, head: int, written: list[StoredEvent]) -> None:
        if head > self._head:
            before = self._head
            all_known = bool(written) and written[0].position == before + 1
            if not all_known:
                self._tail.clear()
            self._tail.extend(written)
            self._head = head
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            new = {event.type for event in written}
            for waiting, types in self._waiting_for.items():
                if not waiting.done() and not (all_known and new.isdisjoint(types)):
                    waiting.set_result(before)

    async def _query(self, read: Callable[Concatenate[sqlite3.Connection, P], T], *arguments: P.args, **named: P.kwargs) -> T:
        return await self._loop.run_in_executor(self._readers, functools.partial(self._read, read, *arguments, **named))

    def _read(self, read: Callable[Concatenate[sqlite3.Connection, P], T], *arguments: P.args, **named: P.kwargs) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = file.connect(self._path)
        return read(connection, *arguments, **named)


class CorrelatedLog:
    """The events of the log that have one correlation id."""

    def __init__(self, store: SqliteEventStore, correlation_id: str) -> None:
        self._store = store
        self._correlation_id = correlation_id
        self.head = store.head
        self.grown = store.grown

    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        """Events after a position."""
        return await self._store.read_correlated(self._correlation_id, after, limit, types)


def _give_up(item: _Append, timeout_s: float) -> None:
    _fail(
        item.done,
        Undecided(f"append to {item.stream} was not decided in {timeout_s:.3g} s: retry with the same request id"),
    )


def _fail(done: asyncio.Future[Any], failure: Exception) -> None:
    if not done.done():
        done.set_exception(failure)
