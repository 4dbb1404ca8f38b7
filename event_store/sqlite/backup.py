"""Copies of the embedded engine's files, made while others write to them, and the checks of a copy before it is used."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from citybrain.event_store.sqlite.database import refused
from citybrain.event_store.store import StoreError

Progress = Callable[[int, int], None]
"""Called with the pages that are done, and all pages."""

_PAGES = 256


def copy_database(source: Path, target: Path, progress: Progress) -> None:
    """Copies a database as it stands now to a file that does not exist. Writers go on and are not waited for.

    StoreError: the database cannot be read or the copy cannot be written; the copy is not whole then.
    """
    try:
        with (
            contextlib.closing(sqlite3.connect(f"file:{source}?mode=rw", uri=True, isolation_level=None, timeout=30)) as there,
            contextlib.closing(sqlite3.connect(target, isolation_level=None)) as here,
        ):
            # One transaction for the whole copy: without it, each write of another process would begin the copy anew.
            there.execute("BEGIN")
            there.execute("SELECT count(*) FROM sqlite_master").fetchone()
            there.backup(
                here, pages=_PAGES, progress=lambda _status, left, all_pages: progress(all_pages - left, all_pages), sleep=0
            )
            there.execute("COMMIT")
            # The copy is one file: no part of it is in a write-ahead log.
            here.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise StoreError(f"{source.name} cannot be copied: {error}") from error
    sync(target)


def settle(path: Path) -> None:
    """Moves all of a database into its own file, and out of the write-ahead log. StoreError: that cannot be done."""
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as database:
            (busy, *_) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise refused(path, error) from error
    if busy:
        raise StoreError(f"{path.name} is still written to by somebody else: end that, and begin again")
    sync(path)


def sync(path: Path) -> None:
    """Returns when a file, or a folder's list of entries, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_events(path: Path) -> tuple[int, int]:
    """Head and number of events of a log that nobody writes to. StoreError: the log is not whole."""
    with _checked(path) as database:
        broken = database.execute(
            "SELECT stream FROM events GROUP BY stream HAVING max(version) != count(*) OR min(version) != 1 LIMIT 1"
        ).fetchone()
        if broken is not None:
            raise StoreError(f"{path.name}: stream {broken[0]} has gaps: this copy cannot be used, take another one")
        head, count = database.execute("SELECT coalesce(max(position), 0), count(*) FROM events").fetchone()
        (places,) = database.execute("SELECT count(*) FROM places JOIN events USING (position)").fetchone()
        if places != 2 * count:
            raise StoreError(
                f"{path.name}: not every event can be found by its stream: this copy cannot be used, take another one"
            )
        return int(head), int(count)


def check_views(path: Path, head: int) -> None:
    """Raises StoreError if read models are damaged, or have come further than `head` of the log."""
    with _checked(path) as database:
        ahead = database.execute("SELECT name, position FROM groups WHERE position > ? LIMIT 1", (head,)).fetchone()
        if ahead is not None:
            raise StoreError(
                f"{path.name}: {ahead[0]} stands at {ahead[1]}, and the log ends at {head}: this is no copy of one city"
            )


@contextlib.contextmanager
def _checked(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
            (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise StoreError(f"{path.name} is damaged ({found}): this copy cannot be used, take another one")
            yield database
    except sqlite3.Error as error:
        raise StoreError(f"{path.name} cannot be read ({error}): this copy cannot be used, take another one") from error
