"""Opens SQLite files to which several processes write, and explains why a file cannot be used."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Literal

from citybrain.event_store.store import StoreError

_PATIENCE_S = 30.0
_AGAIN_S = 0.01
# As large as the first file that SQLite makes beside the database.
_PROBE_BYTES = 64 * 1024
_ASK_THE_SYSTEM = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM)
_SOMETHING_ELSE = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


def open_database(path: Path, synchronous: Literal["FULL", "NORMAL"], schema: str = "") -> sqlite3.Connection:
    """A connection with a write-ahead log, for any thread; `FULL`: a commit is on the disk when it returns.

    Makes the folder, the file and its tables if they are missing. StoreError says which file cannot be opened, why, what to do.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE_S)
        try:
            _prepare(connection, synchronous, schema)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise refused(path, error) from error
    return connection


def _prepare(connection: sqlite3.Connection, synchronous: str, schema: str) -> None:
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            # If two processes switch a new file to WAL at the same moment, SQLite refuses one at once, in spite of `timeout`.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_AGAIN_S)
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.executescript(schema)


def undo(connection: sqlite3.Connection) -> None:
    """Rolls back a transaction that failed. Errors of the rollback are ignored: the first error is the one to report.

    After some errors, above all a full disk, SQLite has ended the transaction itself. Then there is nothing to roll back.
    """
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def refused(path: Path, error: sqlite3.Error | OSError) -> StoreError:
    """The error for a file that cannot be used: which file, what is wrong, and what to do."""
    return StoreError(f"{path} cannot be used: {_wrong(path, error)}")


def is_refused(error: OSError) -> bool:
    """Whether a system error is about this machine's disks or rights, and not about the code."""
    return error.errno in (*_FULL, *_NOT_ALLOWED, *_SOMETHING_ELSE, errno.EROFS)


def _wrong(path: Path, error: sqlite3.Error | OSError) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    # SQLite calls many things "disk I/O error" and "unable to open database file"; the system knows which it is.
    number = error.errno if isinstance(error, OSError) else _try_to_write(path.parent) if code in _ASK_THE_SYSTEM else None
    if code == sqlite3.SQLITE_FULL or number in _FULL:
        return "its disk is full: make room there, or give another --data"
    if number == errno.EROFS:
        return "its disk may only be read: have it made writable, or give another --data"
    if number in _NOT_ALLOWED or (code in _ASK_THE_SYSTEM and not os.access(path, os.R_OK | os.W_OK)):
        return f"this user ({os.getuid()}) may not write it: have its owner give the rights, or run as its owner"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return f"{error}: put it back from a backup, or move it away if it is something else"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{error}: another process has held it for long, see which (`city status`)"
    said = error.strerror if isinstance(error, OSError) else error
    return f"{said}: see whether it, its folder and its disk are as they should be"


def _try_to_write(folder: Path) -> int | None:
    """Tries to write a small file into a folder. Returns the system's error number; None: it was written."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except OSError as error:
        return error.errno
    return None
