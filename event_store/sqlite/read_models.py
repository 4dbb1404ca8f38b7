"""Views, checkpoints and parked events of the embedded engine: one SQLite file per service.

Rows and the checkpoint that covers them are written in one transaction, so a view holds the effect of every event exactly once
(ES-7); a parked event that is done at last leaves in the same transaction (ES-8). The file is written with
`synchronous=NORMAL`: a power cut may take the last rows, never the consistency; they are folded again from the log.
(It is long because a port is implemented in one place.)
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from typing_extensions import override

from citybrain.event_store.read_models import (
    Dropped,
    FoldedBy,
    Kept,
    Parked,
    ReadModels,
    Row,
    RowChanged,
    WindowsSeen,
    checked,
    row_text,
)
from citybrain.event_store.sqlite.database import open_database, undo
from citybrain.event_store.sqlite.threads import AtOnce, in_its_thread
from citybrain.event_store.store import LostAssignment

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (view TEXT NOT NULL, key TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (view, key))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (grp TEXT NOT NULL, stream TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (grp, stream))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parked (grp TEXT NOT NULL, position INTEGER NOT NULL, stream TEXT NOT NULL, event_id TEXT NOT NULL,
  type TEXT NOT NULL, reason TEXT NOT NULL, parked_at INTEGER NOT NULL, replay INTEGER NOT NULL,
  PRIMARY KEY (grp, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asked (grp TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dropped (grp TEXT NOT NULL, position INTEGER NOT NULL, event_id TEXT NOT NULL, reason TEXT NOT NULL,
  who TEXT NOT NULL, dropped_at INTEGER NOT NULL, PRIMARY KEY (grp, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS timers (name TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS windows (name TEXT PRIMARY KEY, closed_until INTEGER NOT NULL, resume INTEGER NOT NULL,
  position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS folded_by (grp TEXT PRIMARY KEY, shape TEXT NOT NULL, code TEXT NOT NULL) WITHOUT ROWID;
"""
_ASKED = "INSERT INTO asked VALUES (?, 1) ON CONFLICT (grp) DO UPDATE SET number = number + 1"
_ONE = "SELECT row FROM rows WHERE view = ? AND key = ?"
_PARKED = "position, stream, event_id, type, reason, parked_at, replay"


def _revision(text: str) -> int:
    """A number made from a row's text: the same text gives the same number."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _row(found: tuple[str] | None) -> Row | None:
    return None if found is None else json.loads(found[0])


class SqliteReadModels(ReadModels):
    """ReadModels in one service's file. The port says what the methods promise."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = open_database(path, "NORMAL", _SCHEMA)
        self._at_once = AtOnce(path)
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)

    @override
    def close(self) -> None:
        self._at_once.close()
        self.thread.submit(self._db.close).result()
        self.thread.shutdown()

    @in_its_thread
    @override
    def join(self, group: str, start: int = 0) -> tuple[int, int]:
        # In one statement: two that join at once must not read the same epoch.
        joined = self._db.execute(
            "INSERT INTO groups VALUES (?, 1, ?) ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1 RETURNING epoch, position",
            (group, start),
        ).fetchall()
        epoch, position = joined[0]
        return int(epoch), int(position)

    @in_its_thread
    @override
    def position(self, group: str) -> int | None:
        found = self._db.execute("SELECT position FROM groups WHERE name = ?", (group,)).fetchone()
        return None if found is None else int(found[0])

    @in_its_thread
    @override
    def changes(self) -> int:
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    @override
    def get(self, view: str, key: str) -> asyncio.Future[Row | None]:
        (key,) = checked([key])
        return self._at_once.read(_ONE, (view, key), _row, lambda: self._get(view, key))

    @in_its_thread
    def _get(self, view: str, key: str) -> Row | None:
        return _row(self._db.execute(_ONE, (view, key)).fetchone())

    def _text(self, view: str, key: str) -> str | None:
        found = self._db.execute(_ONE, (view, key)).fetchone()
        return None if found is None else found[0]

    @in_its_thread
    @override
    def scan(self, view: str, after: str = "", limit: int = -1) -> list[tuple[str, Row]]:
        found = self._db.execute(
            "SELECT key, row FROM rows WHERE view = ? AND key > ? ORDER BY key LIMIT ?", (view, after, limit)
        )
        return [(key, json.loads(row)) for key, row in found]

    @in_its_thread
    @override
    def load(self, view: str, keys: Iterable[str]) -> dict[str, Kept]:
        found = ((key, self._text(view, key)) for key in checked(keys))
        return {key: Kept(json.loads(text), _revision(text)) for key, text in found if text is not None}

    @in_its_thread
    @override
    def seen(self, group: str, streams: Iterable[str]) -> dict[str, int]:
        sql = "SELECT version FROM seen WHERE grp = ? AND stream = ?"
        found = ((stream, self._db.execute(sql, (group, stream)).fetchone()) for stream in streams)
        return {stream: row[0] for stream, row in found if row is not None}

    @in_its_thread
    @override
    def keep_folded_by(self, group: str, by: FoldedBy) -> FoldedBy:
        self._db.execute("INSERT OR IGNORE INTO folded_by VALUES (?, ?, ?)", (group, *astuple(by)))
        return FoldedBy(*self._db.execute("SELECT shape, code FROM folded_by WHERE grp = ?", (group,)).fetchone())

    @in_its_thread
    @override
    def save(
        self,
        group: str,
        epoch: int,
        position: int,
        view: str = "",
        rows: Mapping[str, Row | None] | None = None,
        unparked: Iterable[int] = (),
        *,
        kept: Mapping[str, Kept] | None = None,
        seen: Mapping[str, int] | None = None,
    ) -> None:
        """All is one transaction: if a row has changed, nothing is written."""
        rows = rows or {}
        texts = {key: None if (row := rows[key]) is None else row_text(row) for key in checked(rows)}
        with self._as_member(group, epoch, position):
            for key, text in texts.items():
                if kept is not None:
                    there = self._text(view, key)
                    loaded = kept[key].revision if key in kept else 0
                    if loaded != (0 if there is None else _revision(there)):
                        raise RowChanged(f"row {key} of {view} has changed since it was loaded")
                if text is None:
                    self._db.execute("DELETE FROM rows WHERE view = ? AND key = ?", (view, key))
                else:
                    self._db.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", (view, key, text))
            versions = [(group, *one) for one in (seen or {}).items()]
            self._db.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", versions)
            for done in unparked:
                self._db.execute("DELETE FROM parked WHERE grp = ? AND position = ?", (group, done))

    # -- parked events --------------------------------------------------------------------------------------------------

    @in_its_thread
    @override
    def park(self, group: str, epoch: int, events: Sequence[Parked]) -> None:
        with self._as_member(group, epoch):
            given_up = "SELECT 1 FROM dropped WHERE grp = ? AND position = ?"
            rows = [
                (group, *astuple(event))
                for event in events
                if self._db.execute(given_up, (group, event.position)).fetchone() is None
            ]
            self._db.executemany(f"INSERT OR REPLACE INTO parked (grp, {_PARKED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    @in_its_thread
    @override
    def parked(self, group: str) -> list[Parked]:
        found = self._db.execute(f"SELECT {_PARKED} FROM parked WHERE grp = ? ORDER BY position", (group,))
        return [Parked(*row) for row in found]

    @in_its_thread
    @override
    def count_parked(self, group: str) -> int:
        return int(self._db.execute("SELECT count(*) FROM parked WHERE grp = ?", (group,)).fetchone()[0])

    @in_its_thread
    @override
    def asked(self, group: str) -> int:
        found = self._db.execute("SELECT number FROM asked WHERE grp = ?", (group,)).fetchone()
        return found[0] if found else 0

    @in_its_thread
    @override
    def ask_replay(self, group: str, stream: str) -> int:
        self._db.execute("BEGIN IMMEDIATE")
        with self._transaction():
            self._db.execute(_ASKED, (group,))
            return self._db.execute("UPDATE parked SET replay = 1 WHERE grp = ? AND stream = ?", (group, stream)).rowcount

    @in_its_thread
    @override
    def drop(self, group: str, position: int, reason: str, who: str, now: int) -> bool:
        self._db.execute("BEGIN IMMEDIATE")
        with self._transaction():
            found = self._db.execute(
                "DELETE FROM parked WHERE grp = ? AND position = ? RETURNING event_id", (group, position)
            ).fetchone()
            if found is None:
                return False
            self._db.execute(_ASKED, (group,))
            self._db.execute("INSERT INTO dropped VALUES (?, ?, ?, ?, ?, ?)", (group, position, found[0], reason, who, now))
            return True

    @in_its_thread
    @override
    def dropped(self, group: str, after: int = 0) -> list[Dropped]:
        found = self._db.execute(
            "SELECT position, event_id, reason, who, dropped_at FROM dropped WHERE grp = ? AND position > ? ORDER BY position",
            (group, after),
        )
        return [Dropped(*row) for row in found]

    # -- timers ---------------------------------------------------------------------------------------------------------

    @in_its_thread
    @override
    def last_run(self, timer: str) -> int | None:
        found = self._db.execute("SELECT last FROM timers WHERE name = ?", (timer,)).fetchone()
        return None if found is None else int(found[0])

    @in_its_thread
    @override
    def ran(self, timer: str, moment: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO timers VALUES (?, ?)", (timer, moment))

    @in_its_thread
    @override
    def windows_seen(self, name: str) -> WindowsSeen:
        found = self._db.execute("SELECT closed_until, resume, position FROM windows WHERE name = ?", (name,)).fetchone()
        return WindowsSeen(*found) if found else WindowsSeen()

    @in_its_thread
    @override
    def save_windows_seen(self, name: str, seen: WindowsSeen) -> None:
        self._db.execute("INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?)", (name, *astuple(seen)))

    # -- transactions ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _as_member(self, group: str, epoch: int, position: int | None = None) -> Iterator[None]:
        """A transaction that only the group's current member can commit. It moves the checkpoint if `position` is given."""
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
            undo(self._db)
            raise
