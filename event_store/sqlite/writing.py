"""One transaction of the embedded engine: decides and writes the appends of many callers in one commit."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from citybrain.event_store.sqlite.database import undo
from citybrain.event_store.sqlite.file import BY_KEY, COLUMNS, HEAD, NUMBER_OF, digest, sort_correlations
from citybrain.event_store.store import ANY, Committed, Conflict, NewEvent, StoredEvent

_INSERT = f"INSERT INTO events ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_PLACE = "INSERT INTO places VALUES (?, ?, ?)"
# Looks many ids up at once: an id is rarely there already, and one statement for each would cost more than all other decisions.
# There are few lengths, so that each statement is prepared once.
_MET = {
    many: f"WITH asked (stream, key) AS (VALUES {','.join(['(?,?)'] * many)})"
    " SELECT asked.stream, asked.key FROM asked CROSS JOIN places p ON p.stream = asked.stream AND p.key = asked.key"
    for many in (16, 4, 1)
}
_HEAD_OF = "SELECT max(key) FROM places WHERE stream = ?"
# How many events wait at most until they are sorted by correlation id. A reader of a correlation id searches all of these.
_SORT_EVERY = 1024
_HEADS_MAX = 100_000


class StreamHeads:
    """The head of the log, and the numbers and heads of streams. Forgotten when another process has written to the file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._data_version = -1
        self._known: dict[str, tuple[int, int]] = {}
        self._head = -1

    def look(self) -> int:
        """The head of the log. To be called inside a transaction, when nobody else can write."""
        (data_version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version or len(self._known) > _HEADS_MAX:
            self._data_version = data_version
            self.forget()
        if self._head < 0:
            self._head = int(self._connection.execute(HEAD).fetchone()[0])
        return self._head

    def committed(self, head: int) -> None:
        """Notes the log's new head after a commit."""
        self._head = head

    def of(self, stream: str) -> tuple[int, int]:
        """Number and last version of a stream; 0, 0: there is no such stream."""
        known = self._known.get(stream)
        if known is None:
            found = self._connection.execute(NUMBER_OF, (stream,)).fetchone()
            known = (0, 0) if found is None else (found[0], self._connection.execute(_HEAD_OF, found).fetchone()[0])
            self._known[stream] = known
        return known

    def grown(self, stream: str, number: int, head: int) -> int:
        """Notes that a stream has grown in this transaction; returns its number. A new stream gets one."""
        if not number:
            number = self._connection.execute("INSERT INTO streams (name) VALUES (?)", (stream,)).lastrowid or 0
        self._known[stream] = (number, head)
        return number

    def forget(self) -> None:
        """Forgets all: the transaction was rolled back, or another process has written."""
        self._known.clear()
        self._head = -1


Wanted = tuple[str, Sequence[NewEvent], int]
"""Stream, events and expected version of one append."""


def write(
    connection: sqlite3.Connection, streams: StreamHeads, group: Sequence[Wanted]
) -> tuple[list[Committed | Conflict], list[StoredEvent]]:
    """Decides every append of the group and commits them together; returns the outcomes and what was written."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        began = position = streams.look()
        outcomes: list[Committed | Conflict] = []
        written: list[StoredEvent] = []
        places: list[tuple[int, int, int]] = []
        # Events of this transaction that are not inserted yet, by stream.
        pending: dict[str, list[StoredEvent]] = {}
        # The events' `recorded_at`. Nothing is decided by it.
        now = time.time_ns() // 1000
        asked = [
            [(number, digest(event.id)) for event in events]
            for number, events in [(streams.of(stream)[0], events) for stream, events, _ in group]
        ]
        # A stream that does not exist holds no ids.
        met = _met(connection, [one for each in asked for one in each if one[0]])
        for (stream, events, expected), keys in zip(group, asked, strict=True):
            number, head = streams.of(stream)
            known = _known(connection, keys, events) if met and not met.isdisjoint(keys) else []
            if stream in pending:
                ids = {event.id for event in events}
                known += [(event.id, event.version, event.position) for event in pending[stream] if event.id in ids]
            refused = _refused(head, known, events, expected)
            if refused is not None:
                outcomes.append(refused)
                continue
            number = streams.grown(stream, number, head + len(events))
            mine = pending.setdefault(stream, [])
            for e, (_, key) in zip(events, keys, strict=True):
                position += 1
                head += 1
                stored = StoredEvent(
                    e.id, e.type, e.data, e.occurred_at, e.traceparent, e.correlation_id, e.causation_id, e.actor, e.district,
                    e.classification, stream, head, now, position, e.sealed,
                )  # fmt: skip
                written.append(stored)
                mine.append(stored)
                places.append((number, head, position))
                places.append((number, key, position))
            outcomes.append(Committed(head - len(events) + 1, head, position))
        if written:
            connection.executemany(_INSERT, written)
            connection.executemany(_PLACE, places)
            if position // _SORT_EVERY > began // _SORT_EVERY:
                sort_correlations(connection)
        connection.execute("COMMIT")
        streams.committed(position)
        return outcomes, written
    except BaseException:
        undo(connection)
        streams.forget()
        raise


def _refused(
    head: int, known: list[tuple[str, int, int]], events: Sequence[NewEvent], expected: int
) -> Committed | Conflict | None:
    """The outcome of an append that writes nothing; None: the append is to be written."""
    if known:
        versions = [row[1] for row in known]
        together = versions == list(range(versions[0], versions[0] + len(events)))
        if together and [row[0] for row in known] == [event.id for event in events]:
            return Committed(versions[0], versions[-1], known[-1][2], again=True)
        return Conflict(head)
    if expected not in (ANY, head) or (len(events) > 1 and len({event.id for event in events}) < len(events)):
        return Conflict(head)
    return None


def _met(connection: sqlite3.Connection, asked: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of the asked digests of ids that stand in their streams."""
    met: set[tuple[int, int]] = set()
    first = 0
    while first < len(asked):
        many = next(many for many in _MET if len(asked) - first >= many)
        met.update(connection.execute(_MET[many], [value for one in asked[first : first + many] for value in one]))
        first += many
    return met


def _known(
    connection: sqlite3.Connection, keys: Sequence[tuple[int, int]], events: Sequence[NewEvent]
) -> list[tuple[str, int, int]]:
    """Which of some ids a stream holds, with their versions and positions, in the order of the versions."""
    rows = [row for key in keys for row in connection.execute(f"{BY_KEY} = ?", key)]
    ids = {event.id for event in events}
    return sorted({row for row in rows if row[0] in ids}, key=lambda row: row[1])
