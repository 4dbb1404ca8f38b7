"""Snapshots of the embedded engine: one SQLite file for all services of a city."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from typing_extensions import override

from citybrain.event_store.snapshots import Snapshot, Snapshots
from citybrain.event_store.sqlite.database import open_database
from citybrain.event_store.store import StoreError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshots (stream TEXT PRIMARY KEY, version INTEGER NOT NULL, event_id TEXT NOT NULL,
  code TEXT NOT NULL, state BLOB NOT NULL) WITHOUT ROWID;
"""


class SqliteSnapshots(Snapshots):
    """Snapshots in one SQLite file, which may be deleted whenever the mesh is stopped. StoreError: the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._db = open_database(path, "NORMAL", _SCHEMA)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)

    @override
    def newest(self, stream: str) -> asyncio.Future[Snapshot | None]:
        return asyncio.get_running_loop().run_in_executor(self._thread, self._newest, stream)

    @override
    def keep(self, stream: str, snapshot: Snapshot) -> asyncio.Future[None]:
        return asyncio.get_running_loop().run_in_executor(self._thread, self._keep, stream, snapshot)

    @override
    def close(self) -> None:
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
