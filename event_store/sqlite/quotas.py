"""What consumers have used, in the embedded engine: one SQLite file for all processes of a data folder.

A row lost by a power cut is one second of counting. So a commit does not wait for the disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from typing_extensions import override

from citybrain.event_store.quotas import Key, QuotaBook, Used
from citybrain.event_store.sqlite.database import open_database, undo
from citybrain.event_store.sqlite.threads import in_its_thread

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uses (day INTEGER, consumer BLOB, class TEXT, process BLOB, used INTEGER NOT NULL,
  PRIMARY KEY (day, consumer, class, process)) WITHOUT ROWID;
"""
_WRITE = "INSERT INTO uses VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET used = excluded.used"
_READ = "SELECT class, sum(iif(process = ?, used, 0)), sum(used) FROM uses WHERE day = ? AND consumer = ? GROUP BY class"
_MOST_USED = (
    "WITH most AS (SELECT consumer FROM uses WHERE day = ?1 GROUP BY consumer ORDER BY sum(used) DESC, consumer LIMIT ?2)"
    " SELECT consumer, class, sum(used) FROM uses WHERE day = ?1 AND consumer IN most GROUP BY consumer, class"
)
_FORGET = "DELETE FROM uses WHERE day < ?"


class SqliteQuotas(QuotaBook):
    """QuotaBook in one SQLite file; several processes may have it open.

    The file may be deleted whenever the mesh is stopped: then the day begins anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = open_database(path, "NORMAL", _SCHEMA)
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)
        self._newest = 0

    @override
    async def read(self, day: int, consumers: Sequence[bytes], process: bytes) -> dict[Key, Used]:
        return await self._read(day, consumers, process)

    @override
    async def write(self, day: int, process: bytes, own: Mapping[Key, int]) -> None:
        await self._write(day, [(day, *key, process, used) for key, used in own.items()])

    @override
    async def most_used(self, day: int, most: int) -> dict[bytes, dict[str, int]]:
        return await self._most_used(day, most)

    @override
    def close(self) -> None:
        self.thread.submit(self._database.close).result()
        self.thread.shutdown()

    # -- in the thread ----------------------------------------------------------------------------------------------------

    @in_its_thread
    def _read(self, day: int, consumers: Sequence[bytes], process: bytes) -> dict[Key, Used]:
        return {
            (consumer, name): Used(own, used - own)
            for consumer in consumers
            for name, own, used in self._database.execute(_READ, (process, day, consumer))
        }

    @in_its_thread
    def _write(self, day: int, rows: Sequence[tuple[object, ...]]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            if day > self._newest:
                # The day before is kept: the clock of another process may still be there.
                self._database.execute(_FORGET, (day - 1,))
            self._database.executemany(_WRITE, rows)
            self._database.execute("COMMIT")
        except BaseException:
            undo(self._database)
            raise
        self._newest = max(self._newest, day)

    @in_its_thread
    def _most_used(self, day: int, most: int) -> dict[bytes, dict[str, int]]:
        found: dict[bytes, dict[str, int]] = {}
        for consumer, name, used in self._database.execute(_MOST_USED, (day, most)):
            found.setdefault(consumer, {})[name] = used
        return found
