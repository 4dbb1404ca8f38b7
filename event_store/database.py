"""How a file of SQLite is opened that several processes write to."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Literal

_PATIENCE_S = 30.0
_AGAIN_S = 0.01


def open_database(path: Path, synchronous: Literal["FULL", "NORMAL"]) -> sqlite3.Connection:
    """A connection with a write-ahead log, for any thread; `FULL`: a commit is on the disk when it returns."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE_S)
    end = time.monotonic() + _PATIENCE_S
    try:
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
    except BaseException:
        connection.close()
        raise
    return connection
