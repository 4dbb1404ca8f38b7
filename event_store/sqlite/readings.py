"""Readings of the embedded engine: one file, one row for each batch; old rows are deleted."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from citybrain.event_store.readings import KEPT_US, MAX_BATCH_BYTES, PASSED, PASSED_KEPT_US, ReadingsBatch, ReadingsLog
from citybrain.event_store.sqlite.database import open_database, undo
from citybrain.event_store.store import LimitExceeded, StoreError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
  position INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, received_at INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS batches_by_topic ON batches (topic, position);
"""
_GROUP_MAX = 256
_PRUNE_EVERY = 1000
_OTHERS_POLL_S = 0.05


class SqliteReadings(ReadingsLog):
    """A ReadingsLog on one file. Create it inside the running event loop; several processes may open the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = open_database(path, "NORMAL", _SCHEMA)
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._closed = False
        self._heads: dict[str, int] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._since_pruned = 0
        self._thread = threading.Thread(target=self._run, name="readings", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finishes accepted work, then closes the file."""
        self._closed = True
        self._work.put(None)
        self._thread.join()

    @override
    async def put(self, topic: str, received_at: int, data: bytes) -> None:
        if len(data) > MAX_BATCH_BYTES:
            raise LimitExceeded(f"a batch holds at most {MAX_BATCH_BYTES} bytes; this one has {len(data)}: send several")
        sql = "INSERT INTO batches (topic, received_at, data) VALUES (?, ?, ?) RETURNING position"
        rows = await self._ask(sql, (topic, received_at, data), writes=True)
        self._reached(topic, int(rows[0][0]))

    @override
    async def read(self, topic: str, after: int, limit: int) -> list[ReadingsBatch]:
        sql = "SELECT position, received_at, data FROM batches WHERE topic = ? AND position > ? ORDER BY position LIMIT ?"
        return [ReadingsBatch(*row) for row in await self._ask(sql, (topic, after, limit))]

    @override
    async def up_to_now(self, topic: str) -> None:
        """All processes share the file: what is in it can be read."""
        await self._look(topic)

    @override
    def head(self, topic: str) -> int:
        return self._heads.get(topic, 0)

    @override
    async def grown(self, topic: str, after: int) -> None:
        while self.head(topic) <= after:
            waiter = self._loop.create_future()
            self._waiters.add(waiter)
            # Another process may put batches in. Nobody wakes us for those, so we look.
            await asyncio.wait([waiter], timeout=_OTHERS_POLL_S)
            self._waiters.discard(waiter)
            if not waiter.done():
                await self._look(topic)

    async def _look(self, topic: str) -> None:
        rows = await self._ask("SELECT coalesce(max(position), 0) FROM batches WHERE topic = ?", (topic,))
        self._reached(topic, int(rows[0][0]))

    def _reached(self, topic: str, position: int) -> None:
        if position > self.head(topic):
            self._heads[topic] = position
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _ask(self, sql: str, arguments: tuple[object, ...], writes: bool = False) -> asyncio.Future[list[tuple[Any, ...]]]:
        if self._closed:
            raise StoreError(f"{self._path.name} is closed: nothing was taken")
        item = _Item(self._loop.create_future(), sql, arguments, writes)
        self._work.put(item)
        return item.done

    # -- the thread that owns the file ------------------------------------------------------------------------------------

    def _run(self) -> None:
        database = self._database
        while True:
            item = self._work.get()
            group: list[_Item] = []
            while item is not None:
                group.append(item)
                if len(group) >= _GROUP_MAX or self._work.empty():
                    break
                item = self._work.get()
            self._do(database, group)
            if item is None:
                database.close()
                return

    def _do(self, database: sqlite3.Connection, group: list[_Item]) -> None:
        """One transaction for all waiting items; a read sees what was put before it."""
        outcomes: list[tuple[_Item, list[tuple[Any, ...]] | Exception]] = []
        try:
            database.execute("BEGIN IMMEDIATE" if any(item.writes for item in group) else "BEGIN")
            for item in group:
                outcomes.append((item, database.execute(item.sql, item.arguments).fetchall()))
                self._since_pruned += item.writes
            if self._since_pruned >= _PRUNE_EVERY:
                (newest,) = database.execute("SELECT max(received_at) FROM batches").fetchone()
                database.execute("DELETE FROM batches WHERE received_at < ?", (newest - KEPT_US,))
                passed = "DELETE FROM batches WHERE received_at < ? AND topic LIKE ?"
                database.execute(passed, (newest - PASSED_KEPT_US, f"%{PASSED}"))
                self._since_pruned = 0
            database.execute("COMMIT")
        except Exception as error:
            undo(database)
            if len(group) > 1:
                # One item may be to blame, or the disk. Each item is done alone and gets its own answer; the thread lives on.
                for item in group:
                    self._do(database, [item])
                return
            failure = StoreError(f"readings cannot be kept in {self._path.name}: {error}; nothing was written")
            outcomes = [(item, failure) for item in group]
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_answer, outcomes)


@dataclass(slots=True)
class _Item:
    done: asyncio.Future[list[tuple[Any, ...]]]
    sql: str
    arguments: tuple[object, ...]
    writes: bool = False


def _answer(outcomes: list[tuple[_Item, list[tuple[Any, ...]] | Exception]]) -> None:
    for item, outcome in outcomes:
        if item.done.done():
            continue
        if isinstance(outcome, Exception):
            item.done.set_exception(outcome)
        else:
            item.done.set_result(outcome)
