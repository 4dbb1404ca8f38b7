"""Views, checkpoints and parked events of the embedded engine: one SQLite file per service.

Rows and the checkpoint that covers them are written in one transaction, so a view holds the effect of every event exactly once
(ES-7); a parked event that is done at last leaves in the same transaction (ES-8). The file is written with
`synchronous=NORMAL`: a power cut may take the last rows, never the consistency; they are folded again from the log.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from citybrain.event_store.contract import LostAssignment

Row = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (view TEXT NOT NULL, key TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (view, key))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parked (grp TEXT NOT NULL, position INTEGER NOT NULL, stream TEXT NOT NULL, event_id TEXT NOT NULL,
  type TEXT NOT NULL, reason TEXT NOT NULL, parked_at INTEGER NOT NULL, replay INTEGER NOT NULL,
  PRIMARY KEY (grp, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dropped (grp TEXT NOT NULL, position INTEGER NOT NULL, event_id TEXT NOT NULL, reason TEXT NOT NULL,
  who TEXT NOT NULL, dropped_at INTEGER NOT NULL, PRIMARY KEY (grp, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS timers (name TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS windows (name TEXT PRIMARY KEY, closed_until INTEGER NOT NULL, resume INTEGER NOT NULL,
  position INTEGER NOT NULL) WITHOUT ROWID;
"""
_PARKED = "position, stream, event_id, type, reason, parked_at, replay"


@dataclass(slots=True, frozen=True)
class Parked:
    """An event that waits: it failed for good, or stands behind one of its stream that did. Holds no payload (ES-8)."""

    position: int
    stream: str
    event_id: str
    type: str
    reason: str
    # Microseconds since 1970, by the store's clock.
    parked_at: int
    # Somebody asked to try it again.
    replay: int = 0


@dataclass(slots=True, frozen=True)
class WindowsSeen:
    """How far windows of telemetry were told, and from which batch on the open ones are folded again after a restart."""

    # Microseconds since 1970: every window before it was told.
    closed_until: int = 0
    # Position of the last batch that no open window needs.
    resume: int = 0
    # Position of the last batch that was folded when this was kept.
    position: int = 0


class ViewFile:
    """Blocking access to one service's file; the kit calls it from the thread that owns it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Lets go of the file."""
        self._db.close()

    def join(self, group: str, start: int = 0) -> tuple[int, int]:
        """Takes the group's partition over; returns the epoch of this member and the position it goes on from.

        A group that is new begins behind `start`.
        """
        self._db.execute(
            "INSERT INTO groups VALUES (?, 1, ?) ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1", (group, start)
        )
        epoch, position = self._db.execute("SELECT epoch, position FROM groups WHERE name = ?", (group,)).fetchone()
        return int(epoch), int(position)

    def position(self, group: str) -> int | None:
        """How far a group has come; None where it never began."""
        found = self._db.execute("SELECT position FROM groups WHERE name = ?", (group,)).fetchone()
        return None if found is None else int(found[0])

    def changes(self) -> int:
        """A number that differs when another process has written to the file."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def get(self, view: str, key: str) -> Row | None:
        """One row, or None."""
        found = self._db.execute("SELECT row FROM rows WHERE view = ? AND key = ?", (view, key)).fetchone()
        return None if found is None else json.loads(found[0])

    def scan(self, view: str, after: str = "", limit: int = -1) -> list[tuple[str, Row]]:
        """Rows in the order of their keys, behind a key; all when no limit is given."""
        found = self._db.execute(
            "SELECT key, row FROM rows WHERE view = ? AND key > ? ORDER BY key LIMIT ?", (view, after, limit)
        )
        return [(key, json.loads(row)) for key, row in found]

    def load(self, view: str, keys: Iterable[str]) -> dict[str, Row]:
        """The rows of some keys that exist."""
        return {key: row for key in keys if (row := self.get(view, key)) is not None}

    def save(
        self,
        group: str,
        epoch: int,
        position: int,
        view: str = "",
        rows: Mapping[str, Row | None] | None = None,
        unparked: Iterable[int] = (),
    ) -> None:
        """Writes changed rows (None: deleted) and the checkpoint together, and takes parked events out that are done.

        LostAssignment where another member took over.
        """
        with self._as_member(group, epoch, position):
            for key, row in (rows or {}).items():
                if row is None:
                    self._db.execute("DELETE FROM rows WHERE view = ? AND key = ?", (view, key))
                else:
                    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
                    self._db.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", (view, key, text))
            for done in unparked:
                self._db.execute("DELETE FROM parked WHERE grp = ? AND position = ?", (group, done))

    # -- parked events --------------------------------------------------------------------------------------------------

    def park(self, group: str, epoch: int, events: Sequence[Parked]) -> None:
        """Parks events, or says anew why they are parked. Before the checkpoint moves past them."""
        with self._as_member(group, epoch):
            rows = [(group, *astuple(event)) for event in events]
            self._db.executemany(f"INSERT OR REPLACE INTO parked (grp, {_PARKED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def parked(self, group: str) -> list[Parked]:
        """What a group has parked, in the order of the log."""
        found = self._db.execute(f"SELECT {_PARKED} FROM parked WHERE grp = ? ORDER BY position", (group,))
        return [Parked(*row) for row in found]

    def count_parked(self, group: str) -> int:
        """How many events a group has parked."""
        return int(self._db.execute("SELECT count(*) FROM parked WHERE grp = ?", (group,)).fetchone()[0])

    def ask_replay(self, group: str, stream: str) -> int:
        """Asks the group's member to try the parked events of a stream again; returns how many there are."""
        return self._db.execute("UPDATE parked SET replay = 1 WHERE grp = ? AND stream = ?", (group, stream)).rowcount

    def drop(self, group: str, position: int, reason: str, who: str, now: int) -> bool:
        """Gives one parked event up, with a reason that is kept; those behind it are tried again. False: it is not parked."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._transaction():
            found = self._db.execute(
                "DELETE FROM parked WHERE grp = ? AND position = ? RETURNING stream, event_id", (group, position)
            ).fetchone()
            if found is None:
                return False
            stream, event_id = found
            self._db.execute("INSERT INTO dropped VALUES (?, ?, ?, ?, ?, ?)", (group, position, event_id, reason, who, now))
            self._db.execute("UPDATE parked SET replay = 1 WHERE grp = ? AND stream = ?", (group, stream))
            return True

    # -- timers ---------------------------------------------------------------------------------------------------------

    def last_run(self, timer: str) -> int | None:
        """The moment of a timer's last run that was finished; None where it never ran."""
        found = self._db.execute("SELECT last FROM timers WHERE name = ?", (timer,)).fetchone()
        return None if found is None else int(found[0])

    def ran(self, timer: str, moment: int) -> None:
        """The run of a moment is finished."""
        self._db.execute("INSERT OR REPLACE INTO timers VALUES (?, ?)", (timer, moment))

    def windows_seen(self, name: str) -> WindowsSeen:
        """What is kept of some windows of telemetry."""
        found = self._db.execute("SELECT closed_until, resume, position FROM windows WHERE name = ?", (name,)).fetchone()
        return WindowsSeen(*found) if found else WindowsSeen()

    def save_windows_seen(self, name: str, seen: WindowsSeen) -> None:
        """Keeps it."""
        self._db.execute("INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?)", (name, *astuple(seen)))

    # -- transactions ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _as_member(self, group: str, epoch: int, position: int | None = None) -> Iterator[None]:
        """A transaction that only the group's current member can commit; moves the checkpoint where one is given."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._transaction():
            yield
            changed = self._db.execute(
                "UPDATE groups SET position = coalesce(?, position) WHERE name = ? AND epoch = ?", (position, group, epoch)
            ).rowcount
            if changed != 1:
                raise LostAssignment(f"{group} was taken over by another member")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
