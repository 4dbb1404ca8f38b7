"""Reads the embedded engine's file. Each call sees what is committed when it begins."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from citybrain.event_store.sqlite.file import BY_KEY, COLUMNS, NUMBER_OF, digest
from citybrain.event_store.store import StoredEvent

_OF_EVENT = ", ".join(f"e.{column}" for column in COLUMNS.split(", "))
# Makes the tuple from a row directly: a call of a Python function for each row would be slow.
_STORED: Callable[[tuple[Any, ...]], StoredEvent] = functools.partial(tuple.__new__, StoredEvent)
_NO_LIMIT = 2**63 - 1


def read_stream(connection: sqlite3.Connection, stream: str, version: int, limit: int, backward: bool) -> list[StoredEvent]:
    """Events of a stream from a version on; 0 and backward: from its head."""
    first, last = (1, version or _NO_LIMIT) if backward else (max(1, version), _NO_LIMIT)
    sql = (
        f"SELECT {_OF_EVENT} FROM places p JOIN events e ON e.position = p.position"
        f" WHERE p.stream = ({NUMBER_OF}) AND p.key BETWEEN ? AND ? ORDER BY p.key {'DESC' if backward else 'ASC'} LIMIT ?"
    )
    return _events(connection.execute(sql, (stream, first, last, limit)))


def read_log(
    connection: sqlite3.Connection, after: int, upto: int, limit: int, types: Sequence[str] | None
) -> list[StoredEvent]:
    """Events after position `after`, up to and with position `upto`."""
    sql = f"SELECT {COLUMNS} FROM events WHERE position > ? AND position <= ?{_of_types(types)} ORDER BY position LIMIT ?"
    return _events(connection.execute(sql, (after, upto, *(types or ()), limit)))


def read_correlated(
    connection: sqlite3.Connection, correlation_id: str, after: int, upto: int, limit: int, types: Sequence[str] | None
) -> list[StoredEvent]:
    """Events of one correlation id after position `after`, up to and with position `upto`."""
    # The border is read before `stories`: events that are sorted in between are above it, and found in `events`.
    (border,) = connection.execute("SELECT upto FROM sorted").fetchone()
    found: list[StoredEvent] = []
    if after < border:
        sql = (
            f"SELECT {_OF_EVENT} FROM stories s JOIN events e ON e.position = s.position WHERE s.story = ?"
            f" AND s.position > ? AND s.position <= ?{_of_types(types)} ORDER BY s.position LIMIT ?"
        )
        found = _events(connection.execute(sql, (correlation_id, after, min(border, upto), *(types or ()), limit)))
    if len(found) < limit:
        sql = (
            f"SELECT {COLUMNS} FROM events WHERE position > ? AND position <= ? AND correlation_id = ?{_of_types(types)}"
            " ORDER BY position LIMIT ?"
        )
        newer = (max(after, border), upto, correlation_id, *(types or ()), limit - len(found))
        found += _events(connection.execute(sql, newer))
    return found


def version_of(connection: sqlite3.Connection, stream: str, event_id: str) -> int:
    """The version at which a stream holds an event id; 0: it does not."""
    number = connection.execute(NUMBER_OF, (stream,)).fetchone()
    rows = connection.execute(f"{BY_KEY} = ?", (*number, digest(event_id))) if number else ()
    return next((version for found, version, _ in rows if found == event_id), 0)


def _events(rows: sqlite3.Cursor) -> list[StoredEvent]:
    return list(map(_STORED, rows))


def _of_types(types: Sequence[str] | None) -> str:
    return "" if types is None else f" AND type IN ({','.join('?' * len(types))})"
