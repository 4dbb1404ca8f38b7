"""How a file of SQLite is opened that several processes write to, and what is told where it cannot be used."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Literal

from citybrain.event_store.contract import StoreError

_PATIENCE_S = 30.0
_AGAIN_S = 0.01
# With less than this SQLite cannot even make the small files beside its own, and says so in other words.
_NO_ROOM_BYTES = 128 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM)


def open_database(path: Path, synchronous: Literal["FULL", "NORMAL"], schema: str = "") -> sqlite3.Connection:
    """A connection with a write-ahead log, for any thread; `FULL`: a commit is on the disk when it returns.

    The folder, the file and its tables are made where there are none. StoreError: which file cannot be opened, why, what to do.
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
            # Of two that turn a new file to it at the same moment, one is told so at once, however patient it is.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_AGAIN_S)
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.executescript(schema)


def refused(path: Path, error: sqlite3.Error | OSError) -> StoreError:
    """What is told where a file cannot be used: which one, what is wrong with it, and what to do."""
    return StoreError(f"{path} cannot be used: {_wrong(path, error)}")


def _wrong(path: Path, error: sqlite3.Error | OSError) -> str:
    code = error.sqlite_errorcode & 0xFF if isinstance(error, sqlite3.Error) and hasattr(error, "sqlite_errorcode") else 0
    number = error.errno if isinstance(error, OSError) else 0
    failed = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
    if code == sqlite3.SQLITE_FULL or number in _FULL or (failed and _is_full(path)):
        return "its disk is full: make room there"
    if number == errno.EROFS or code == sqlite3.SQLITE_READONLY:
        return "it may only be read: have its disk, its folder and the file itself made writable"
    if number in _NOT_ALLOWED or (code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM) and not _is_allowed(path)):
        return f"user {os.getuid()} may not read and write it: have its owner give the rights, or run as its owner"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return f"{error}: put it back from a backup, or move it away if it is something else"
    return f"{error}: see whether its disk and its folder are as they should be"


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _NO_ROOM_BYTES
    except OSError:
        return False


def _is_allowed(path: Path) -> bool:
    there = path if path.exists() else path.parent
    return os.access(there, os.R_OK | os.W_OK) and os.access(path.parent, os.R_OK | os.W_OK | os.X_OK)
