"""The embedded engine: one SQLite file that is both the streams and the log.

One writer thread takes all waiting appends into one transaction; heads and ids are read inside it, so conflicts are decided by
reading, never by a failing statement. The row id is the position: commit order is the order of the log, and a reader never
walks past an event that becomes visible later (ES-5). Readers have threads and connections of their own.
It is long because writer, readers and the tail in memory keep one promise together.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import operator
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from citybrain.event_store.contract import (
    ANY,
    Committed,
    Conflict,
    Features,
    LogPage,
    NewEvent,
    StoredEvent,
    StoreError,
    Undecided,
    check_limits,
)
from citybrain.event_store.feed import PartitionsFeed
from citybrain.event_store.read_models import ReadModels

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  position INTEGER PRIMARY KEY,
  stream TEXT NOT NULL, version INTEGER NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, data BLOB NOT NULL,
  occurred_at INTEGER NOT NULL, recorded_at INTEGER NOT NULL, traceparent TEXT NOT NULL, correlation_id TEXT NOT NULL,
  causation_id TEXT NOT NULL, actor TEXT NOT NULL, district TEXT NOT NULL, classification INTEGER NOT NULL,
  sealed BLOB NOT NULL DEFAULT x'',
  UNIQUE (stream, version), UNIQUE (stream, id));
CREATE TABLE IF NOT EXISTS tried (one INTEGER PRIMARY KEY, times INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_story ON events (correlation_id, position);
"""
_COLUMNS = (
    "id, type, data, occurred_at, traceparent, correlation_id, causation_id, actor, district, classification,"
    " stream, version, recorded_at, position, sealed"
)
_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
# What files of earlier releases lack, in the order in which it came.
_ADDED = {"sealed": "ALTER TABLE events ADD COLUMN sealed BLOB NOT NULL DEFAULT x''"}
_HEAD = "SELECT coalesce(max(version), 0) FROM events WHERE stream = ?"
_IDS = "SELECT id, version, position FROM events WHERE stream = ? AND id"
_ONE_ID = f"{_IDS} = ?"
_HEADS_MAX = 100_000
# How often a process looks whether another one has written to the file.
_OTHERS_POLL_S = 0.02
# What writes least: how it is tried whether the file can be written.
_TRY = "INSERT INTO tried VALUES (1, 1) ON CONFLICT (one) DO UPDATE SET times = times + 1"
# An append that was written so lately needs no trying.
_WRITTEN_LATELY_S = 1.0
_GROUP_MAX = 256
# Newest events kept in memory: live subscribers read them without a query.
_TAIL_MAX = 4096


@dataclass(slots=True)
class _Append:
    stream: str
    events: Sequence[NewEvent]
    expected: int
    done: asyncio.Future[Committed | Conflict]


@dataclass(slots=True)
class _Try:
    done: asyncio.Future[None]


class SqliteEventStore:
    """An EventStore on one file, and its log's only partition. Create it inside the running event loop; `close()` when done."""

    name = ""
    features: ClassVar[Features] = Features(one_order=True, several_processes=True, durable=True)

    def __init__(self, path: Path, readers: int = 2) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Append | _Try | None] = queue.SimpleQueue()
        self._written_at = 0.0
        self._closed = False
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="store-read")
        self._local = threading.local()
        self._waiters: set[asyncio.Future[None]] = set()
        # Gapless, and ending at the head; empty where another process wrote in between.
        self._tail: deque[StoredEvent] = deque(maxlen=_TAIL_MAX)
        connection = _connect(path)
        _migrate(connection)
        self._head = int(connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0])
        self._heads = _Heads(connection)
        self._writer = threading.Thread(target=self._write, args=(connection,), name="store-write", daemon=True)
        self._writer.start()

    def close(self) -> None:
        """Finishes what was accepted, then lets go of the file."""
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown()

    # -- appending ------------------------------------------------------------------------------------------------------

    def append(
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> asyncio.Future[Committed | Conflict]:
        """See EventStore.append. An append that has begun is finished even when its caller has gone."""
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

    async def writable(self) -> None:
        """See EventStore.writable."""
        if self._closed:
            raise StoreError(f"the event store on {self._path.name} is closed")
        trying = _Try(self._loop.create_future())
        self._queue.put(trying)
        await trying.done

    def _write(self, connection: sqlite3.Connection) -> None:
        data_version = -1
        while True:
            try:
                first = self._queue.get(timeout=_OTHERS_POLL_S)
            except queue.Empty:
                # What cannot be read now is looked at again the next time.
                with contextlib.suppress(sqlite3.Error):
                    seen = connection.execute("PRAGMA data_version").fetchone()[0]
                    if seen != data_version:
                        head = int(connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0])
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
            outcomes, written = _in_transaction(connection, self._heads, group)
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
        # The loop may be gone when a process is torn down: then nobody waits any more.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)

    # -- reading --------------------------------------------------------------------------------------------------------

    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        """See EventStore.read."""
        if backward:
            where, order = ("version <= ?" if from_version else "version >= ?"), "DESC"
        else:
            where, order = "version >= ?", "ASC"
        sql = f"SELECT {_COLUMNS} FROM events WHERE stream = ? AND {where} ORDER BY version {order} LIMIT ?"
        rows = await self._query(sql, (stream, from_version, limit))
        return list(itertools.starmap(StoredEvent, rows))

    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        """See Log.read_log."""
        # The head is taken before reading: everything at or below it is visible to the query.
        head = self._head
        if self._tail and self._tail[0].position <= after + 1:
            newer = itertools.islice(self._tail, after + 1 - self._tail[0].position, None)
            found = list(itertools.islice((e for e in newer if types is None or e.type in types), limit))
            return LogPage(found, found[-1].position if len(found) == limit else max(head, after))
        wanted = "" if types is None else f" AND type IN ({','.join('?' * len(types))})"
        sql = f"SELECT {_COLUMNS} FROM events WHERE position > ? AND position <= ?{wanted} ORDER BY position LIMIT ?"
        rows = await self._query(sql, (after, head, *(types or ()), limit))
        events = list(itertools.starmap(StoredEvent, rows))
        return LogPage(events, events[-1].position if len(events) == limit else max(head, after))

    def partitions(self, types: Collection[str] | None = None) -> list[SqliteEventStore]:
        """See EventStore.partitions."""
        return [self]

    def for_group(self, models: ReadModels, group: str) -> SqliteEventStore:
        """See Partition.for_group."""
        return self

    def seen(self, position: int) -> dict[str, int]:
        """See GroupLog.seen: nothing stands twice in this log."""
        return {}

    def feed(self, types: Collection[str] | None = None, story: str = "") -> PartitionsFeed:
        """See EventStore.feed."""
        return PartitionsFeed({self.name: _Story(self, story) if story else self}, types)

    async def read_story(self, story: str, after: int, limit: int, types: Collection[str] | None) -> LogPage:
        """Events of one correlation id behind a position."""
        head = self._head
        wanted = "" if types is None else f" AND type IN ({','.join('?' * len(types))})"
        sql = (
            f"SELECT {_COLUMNS} FROM events WHERE correlation_id = ? AND position > ? AND position <= ?{wanted}"
            " ORDER BY position LIMIT ?"
        )
        rows = await self._query(sql, (story, after, head, *(types or ()), limit))
        events = list(itertools.starmap(StoredEvent, rows))
        return LogPage(events, events[-1].position if len(events) == limit else max(head, after))

    async def version_of(self, stream: str, event_id: str) -> int:
        """See EventStore.version_of."""
        rows = await self._query("SELECT version FROM events WHERE stream = ? AND id = ?", (stream, event_id))
        return int(rows[0][0]) if rows else 0

    def head(self) -> int:
        """See Log.head."""
        return self._head

    async def grown(self, after: int) -> int:
        """See Log.grown."""
        while self._head <= after:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return self._head

    def _advance(self, head: int, written: list[StoredEvent]) -> None:
        if head > self._head:
            if not written or written[0].position != self._head + 1:
                self._tail.clear()
            self._tail.extend(written)
            self._head = head
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _query(self, sql: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        return await self._loop.run_in_executor(self._readers, self._select, sql, arguments)

    def _select(self, sql: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connect(self._path)
        return connection.execute(sql, arguments).fetchall()


class _Story:
    """The log, as far as it belongs to one story."""

    def __init__(self, store: SqliteEventStore, story: str) -> None:
        self._store = store
        self._story = story
        self.head = store.head
        self.grown = store.grown

    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        """See Log.read_log."""
        return await self._store.read_story(self._story, after, limit, types)


def newest_moment(path: Path) -> int:
    """When the last event of a file was recorded, in microseconds since 1970; 0 where there is none. Only reads.

    StoreError where the file cannot be read.
    """
    if not path.is_file():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            found = connection.execute("SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"{path.name}: {error}") from None
    return int(found[0]) if found else 0


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Brings a file of an earlier release up to this one; stored events stay as they are."""
    connection.executescript(_SCHEMA)
    connection.execute("BEGIN IMMEDIATE")
    has = {row[1] for row in connection.execute("PRAGMA table_info(events)")}
    for column, statement in _ADDED.items():
        if column not in has:
            connection.execute(statement)
    connection.execute("COMMIT")


def _give_up(item: _Append, timeout_s: float) -> None:
    _fail(
        item.done,
        Undecided(f"append to {item.stream} was not decided in {timeout_s:.3g} s: retry with the same request id"),
    )


def _fail(done: asyncio.Future[Any], failure: Exception) -> None:
    if not done.done():
        done.set_exception(failure)


class _Heads:
    """Heads of streams as this process left them; forgotten when another process has written to the file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._data_version = -1
        self._heads: dict[str, int] = {}

    def look(self) -> None:
        """To be called inside a transaction, where nobody else can write any more."""
        (data_version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version or len(self._heads) > _HEADS_MAX:
            self._data_version = data_version
            self._heads.clear()

    def of(self, stream: str) -> int:
        """The last version of a stream; 0 where there is none."""
        head = self._heads.get(stream)
        if head is None:
            (head,) = self._connection.execute(_HEAD, (stream,)).fetchone()
            self._heads[stream] = head
        return head

    def move(self, stream: str, head: int) -> None:
        """A stream has grown in this transaction."""
        self._heads[stream] = head

    def forget(self) -> None:
        """The transaction was rolled back."""
        self._heads.clear()


def _in_transaction(
    connection: sqlite3.Connection, heads: _Heads, group: list[_Append]
) -> tuple[list[Committed | Conflict], list[StoredEvent]]:
    """Decides every append of the group and commits them together; returns the outcomes and what was written."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        heads.look()
        position = int(connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0])
        outcomes: list[Committed | Conflict] = []
        written: list[StoredEvent] = []
        # What this transaction has yet to insert is looked for here.
        pending: dict[str, list[StoredEvent]] = {}
        # Only the store tells this time, and nothing is decided by it.
        now = time.time_ns() // 1000
        for item in group:
            outcome, events = _decide(connection, heads, pending, item, position, now)
            if events:
                position += len(events)
                written += events
                pending.setdefault(item.stream, []).extend(events)
            outcomes.append(outcome)
        if written:
            connection.executemany(_INSERT, map(_row, written))
        connection.execute("COMMIT")
        return outcomes, written
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        heads.forget()
        raise


_row = operator.attrgetter(*(field.name for field in dataclasses.fields(StoredEvent)))


def _decide(
    connection: sqlite3.Connection,
    heads: _Heads,
    pending: dict[str, list[StoredEvent]],
    item: _Append,
    position: int,
    now: int,
) -> tuple[Committed | Conflict, list[StoredEvent]]:
    stream, events = item.stream, item.events
    head = heads.of(stream)
    ids = [event.id for event in events]
    # A stream that does not exist holds no ids.
    known = _known(connection, stream, ids) if head else []
    known += [(event.id, event.version, event.position) for event in pending.get(stream, ()) if event.id in ids]
    if known:
        versions = [row[1] for row in known]
        together = versions == list(range(versions[0], versions[0] + len(ids)))
        if together and [row[0] for row in known] == ids:
            return Committed(versions[0], versions[-1], known[-1][2], again=True), []
        return Conflict(head), []
    if len(set(ids)) < len(ids) or item.expected not in (ANY, head):
        return Conflict(head), []
    written = [
        StoredEvent(
            e.id, e.type, e.data, e.occurred_at, e.traceparent, e.correlation_id, e.causation_id, e.actor, e.district,
            e.classification, stream, head + n, now, position + n, e.sealed,
        )
        for n, e in enumerate(events, 1)
    ]  # fmt: skip
    heads.move(stream, head + len(written))
    return Committed(head + 1, head + len(written), position + len(written)), written


def _known(connection: sqlite3.Connection, stream: str, ids: Sequence[str]) -> list[tuple[str, int, int]]:
    """Which of some ids a stream holds, with their versions and positions, in the order of the versions."""
    if len(ids) == 1:
        return connection.execute(_ONE_ID, (stream, ids[0])).fetchall()
    places = ",".join("?" * len(ids))
    return connection.execute(f"{_IDS} IN ({places}) ORDER BY version", (stream, *ids)).fetchall()
