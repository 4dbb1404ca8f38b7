"""Request ids of the embedded engine: one SQLite file for all processes of a data folder.

A request id is bound inside the event loop's own thread. That takes some tens of microseconds; to ask another thread takes
several times as long. What may take long is left to a thread: waiting for another process that writes, moving pages out of the
write-ahead log (which waits for the disk), and deleting old rows.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from typing_extensions import override

from citybrain.event_store.requests import Bound, RequestBook, Use, key
from citybrain.event_store.sqlite.database import open_database, refused
from citybrain.event_store.sqlite.threads import in_its_thread

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (id BLOB PRIMARY KEY, caller BLOB NOT NULL, method TEXT NOT NULL, content BLOB NOT NULL,
  at INTEGER NOT NULL) WITHOUT ROWID;
"""
_BIND_NEW = "INSERT OR IGNORE INTO requests VALUES (?1, ?2, ?3, ?4, ?5)"
# Binds a new id, and one that is too old; returns what the id is bound to.
_BIND = (
    "INSERT INTO requests VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO UPDATE SET caller = iif(at < ?6, ?2, caller),"
    " method = iif(at < ?6, ?3, method), content = iif(at < ?6, ?4, content), at = iif(at < ?6, ?5, at)"
    " RETURNING caller, method, content"
)
# There is no index by age, which would cost as much as the rows: the file is gone through in the order of ids, round and round.
_NEXT = "SELECT id FROM requests WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"
_FORGET = "DELETE FROM requests WHERE id > ? AND id <= ? AND at < ?"
# After so many requests the file is tidied; then twice as many rows are looked at.
_TIDY_EVERY = 500
_LOOKED_AT = 2 * _TIDY_EVERY
_LAST = b"\xff" * 32


class SqliteRequests(RequestBook):
    """RequestBook in one SQLite file; several processes may have it open. `kept_s`: how long an id is bound; 0: for ever.

    The file may be deleted whenever the mesh is stopped: then ids that were used before count as new.
    """

    def __init__(self, path: Path, kept_s: float, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._kept_us = int(kept_s * 1e6)
        self._now = now
        self._patient = open_database(path, "NORMAL", _SCHEMA)
        try:
            self._quick = open_database(path, "NORMAL")
            # It neither waits for another writer nor for the disk.
            self._quick.execute("PRAGMA busy_timeout=0")
            self._quick.execute("PRAGMA wal_autocheckpoint=0")
        except sqlite3.Error as error:
            self._patient.close()
            raise refused(path, error) from error
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)
        self._binds = 0
        self._tidying: Future[None] | None = None
        self._looked_until = b""

    @override
    async def bind(self, request_id: str, caller: str, method: str, content: bytes) -> Bound | None:
        use, name = Use.of(caller, method, content), key(request_id)
        self._binds += 1
        if self._binds % _TIDY_EVERY == 0 and (self._tidying is None or self._tidying.done()):
            self._tidying = self.thread.submit(self._tidy)
        try:
            return self._bound(self._quick, name, use)
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise refused(self.path, error) from error
        # Another process, or our own thread, writes at this moment.
        return await self._bound_patiently(name, use)

    @override
    def close(self) -> None:
        self._quick.close()
        self.thread.submit(self._patient.close).result()
        self.thread.shutdown()

    def _bound(self, db: sqlite3.Connection, name: bytes, use: Use) -> Bound | None:
        now = int(self._now() * 1e6)
        since = now - self._kept_us if self._kept_us else 0
        values = (name, use.caller, use.method, use.content, now)
        # Nearly every id is new.
        if db.execute(_BIND_NEW, values).rowcount:
            return None
        ((caller, called, content),) = db.execute(_BIND, (*values, since)).fetchall()
        return use.compared(Use(caller, called, content))

    # -- in the thread ----------------------------------------------------------------------------------------------------

    @in_its_thread
    def _bound_patiently(self, name: bytes, use: Use) -> Bound | None:
        return self._bound(self._patient, name, use)

    def _tidy(self) -> None:
        # What fails here fails again with the next request, which tells its caller.
        with contextlib.suppress(sqlite3.Error):
            if self._kept_us:
                since = int(self._now() * 1e6) - self._kept_us
                found = self._patient.execute(_NEXT, (self._looked_until, _LOOKED_AT)).fetchone()
                until = found[0] if found else _LAST
                self._patient.execute(_FORGET, (self._looked_until, until, since))
                self._looked_until = until if found else b""
            self._patient.execute("PRAGMA wal_checkpoint(PASSIVE)")
