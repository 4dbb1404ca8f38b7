"""Snapshots: a stream's state kept, so that it need not be folded from its first event again (ES-10).

Only an optimisation: whatever is in here may be lost, old or of another release, and every answer stays the same. So a snapshot
names the event it stands behind and the code that made it; whoever takes one up checks both.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from citybrain.event_store.contract import StoreError
from citybrain.event_store.database import open_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshots (stream TEXT PRIMARY KEY, version INTEGER NOT NULL, event_id TEXT NOT NULL,
  code TEXT NOT NULL, state BLOB NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a stream behind one of its events. `code`: what made it; any other code must not read it."""

    version: int
    event_id: str
    code: str
    state: bytes


class Snapshots(Protocol):
    """The port."""

    def newest(self, stream: str) -> Awaitable[Snapshot | None]:
        """What is kept of a stream, if anything is."""
        ...

    def keep(self, stream: str, snapshot: Snapshot) -> asyncio.Future[None]:
        """Keeps it in the place of the one before."""
        ...

    def close(self) -> None:
        """Finishes what was begun, then lets go."""
        ...


class SnapshotFile:
    """Snapshots in one SQLite file (StoreError where it fails), which may be deleted at any time the mesh stands still."""

    def __init__(self, path: Path) -> None:
        self._db = open_database(path, "NORMAL", _SCHEMA)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)

    def newest(self, stream: str) -> asyncio.Future[Snapshot | None]:
        """See Snapshots.newest."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._newest, stream)

    def keep(self, stream: str, snapshot: Snapshot) -> asyncio.Future[None]:
        """See Snapshots.keep."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._keep, stream, snapshot)

    def close(self) -> None:
        """See Snapshots.close."""
        self._thread.submit(self._db.close).result()
        self._thread.shutdown()

    def _newest(self, stream: str) -> Snapshot | None:
        found = self._ask("SELECT version, event_id, code, state FROM snapshots WHERE stream = ?", (stream,))
        return Snapshot(*found[0]) if found else None

    def _keep(self, stream: str, snapshot: Snapshot) -> None:
        values = (stream, snapshot.version, snapshot.event_id, snapshot.code, snapshot.state)
        self._ask("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)", values)

    def _ask(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"snapshots cannot be used: {error}") from error
