"""Views and checkpoints of the embedded engine: one SQLite file per service.

Rows and the checkpoint that covers them are written in one transaction, so a view holds the effect of every event exactly once
(ES-7). The file is written with `synchronous=NORMAL`: a power cut may take the last rows, never the consistency; they are
folded again from the log.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from citybrain.event_store.contract import LostAssignment

Row = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (view TEXT NOT NULL, key TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (view, key))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, position INTEGER NOT NULL) WITHOUT ROWID;
"""


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

    def join(self, group: str) -> tuple[int, int]:
        """Takes the group's partition over; returns the epoch of this member and the position it goes on from."""
        self._db.execute("INSERT INTO groups VALUES (?, 1, 0) ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1", (group,))
        epoch, position = self._db.execute("SELECT epoch, position FROM groups WHERE name = ?", (group,)).fetchone()
        return int(epoch), int(position)

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

    def save(self, group: str, epoch: int, position: int, view: str = "", rows: Mapping[str, Row | None] | None = None) -> None:
        """Writes changed rows (None: deleted) and the checkpoint together; LostAssignment where another member took over."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for key, row in (rows or {}).items():
                if row is None:
                    self._db.execute("DELETE FROM rows WHERE view = ? AND key = ?", (view, key))
                else:
                    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
                    self._db.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", (view, key, text))
            changed = self._db.execute(
                "UPDATE groups SET position = ? WHERE name = ? AND epoch = ?", (position, group, epoch)
            ).rowcount
            if changed != 1:
                raise LostAssignment(f"{group} was taken over by another member")
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
