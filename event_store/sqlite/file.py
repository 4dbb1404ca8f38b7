"""The file of the embedded engine: its tables, and how a file of an earlier form is brought up to date.

The table `events` is in the order of the log, so a commit only adds to its end. The table `places` finds events by stream. In
it the versions and ids of a stream are neighbours, so an append touches only a page or two. The table `stories`, which finds
events by correlation id, is filled later, with many events at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from pathlib import Path

from citybrain.event_store.sqlite.database import open_database, refused
from citybrain.event_store.store import StoreError

COLUMNS = (
    "id, type, data, occurred_at, traceparent, correlation_id, causation_id, actor, district, classification,"
    " stream, version, recorded_at, position, sealed"
)
"""In the order of StoredEvent's fields."""

HEAD = "SELECT coalesce(max(position), 0) FROM events"

# `places`: an event's position, found by its stream's number and a key: a version (above 0), or the digest of an id (below 0).
# Two ids may have the same digest, so an id that is found is compared. `stories`: the events by correlation id. `sorted`: up to
# which position `stories` is filled; newer events are searched in `events`.
_TABLES = (
    """CREATE TABLE IF NOT EXISTS events (
      position INTEGER PRIMARY KEY,
      stream TEXT NOT NULL, version INTEGER NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, data BLOB NOT NULL,
      occurred_at INTEGER NOT NULL, recorded_at INTEGER NOT NULL, traceparent TEXT NOT NULL, correlation_id TEXT NOT NULL,
      causation_id TEXT NOT NULL, actor TEXT NOT NULL, district TEXT NOT NULL, classification INTEGER NOT NULL,
      sealed BLOB NOT NULL DEFAULT x'')""",
    "CREATE TABLE IF NOT EXISTS streams (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE IF NOT EXISTS places (stream INTEGER NOT NULL, key INTEGER NOT NULL, position INTEGER NOT NULL,
      PRIMARY KEY (stream, key, position)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS stories (story TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (story, position))
      WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS sorted (one INTEGER PRIMARY KEY, upto INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO sorted VALUES (1, 0)",
    "CREATE TABLE IF NOT EXISTS tried (one INTEGER PRIMARY KEY, times INTEGER NOT NULL)",
)
BY_KEY = "SELECT id, version, e.position FROM places p JOIN events e ON e.position = p.position WHERE p.stream = ? AND p.key"
"""The events under some keys of a stream. Append an operator; the parameters are the stream's number and the keys."""
NUMBER_OF = "SELECT number FROM streams WHERE name = ?"
"""The number of a stream, by its name."""
_SORT = (
    "INSERT INTO stories SELECT correlation_id, position FROM events WHERE position > (SELECT upto FROM sorted)"
    " AND correlation_id != '' ORDER BY 1, 2"
)
_FORM = 1
# Files of the first form had a tree for versions, one for ids and one for correlation ids, all filled with every append.
_FROM_FIRST_FORM = (
    "INSERT INTO events ({columns}) SELECT {columns} FROM first_form ORDER BY position",
    "INSERT INTO streams (name) SELECT stream FROM first_form GROUP BY stream ORDER BY min(position)",
    "INSERT INTO places SELECT number, version, position FROM first_form JOIN streams ON name = stream ORDER BY 1, 2",
    "INSERT INTO places SELECT number, digest(id), position FROM first_form JOIN streams ON name = stream ORDER BY 1, 2",
    "DROP TABLE first_form",
)


def connect(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return."""
    return open_database(path, "FULL")


def opened(path: Path) -> sqlite3.Connection:
    """A connection to a file, which is brought to the present form. StoreError: that cannot be done."""
    connection = connect(path)
    try:
        migrate(connection)
    except BaseException as error:
        # Closing also rolls back what was begun.
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise refused(path, error) from error
        raise
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Brings a file of an earlier form to the present one; events stay as they are. If it fails, close the connection."""
    connection.create_function("digest", 1, digest, deterministic=True)
    connection.execute("BEGIN IMMEDIATE")
    (form,) = connection.execute("PRAGMA user_version").fetchone()
    if form > _FORM:
        raise StoreError("the file of events was written by a later release: use that release, or another data folder")
    has = {row[1] for row in connection.execute("PRAGMA table_info(events)")}
    old = form < _FORM and bool(has)
    if old:
        if "sealed" not in has:
            connection.execute("ALTER TABLE events ADD COLUMN sealed BLOB NOT NULL DEFAULT x''")
        connection.execute("ALTER TABLE events RENAME TO first_form")
    for statement in _TABLES:
        connection.execute(statement)
    if old:
        for statement in _FROM_FIRST_FORM:
            connection.execute(statement.format(columns=COLUMNS))
        sort_correlations(connection)
    connection.execute(f"PRAGMA user_version={_FORM}")
    connection.execute("COMMIT")


def digest(event_id: str) -> int:
    """The key of an id in `places`: 63 bits of its BLAKE2b, below zero."""
    return -1 - (int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8).digest(), "big") >> 1)


def sort_correlations(connection: sqlite3.Connection) -> None:
    """Adds the events since the last time to `stories`, sorted by correlation id."""
    connection.execute(_SORT)
    connection.execute(f"UPDATE sorted SET upto = ({HEAD})")


def newest_moment(path: Path) -> int:
    """When the last event of a file was recorded, in microseconds since 1970; 0: there is none. Does not write.

    StoreError: the file cannot be read.
    """
    if not path.is_file():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            found = connection.execute("SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise refused(path, error) from None
    return int(found[0]) if found else 0
