"""A file that several processes write to is had by all who open it at the same moment; one that cannot be used is told."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.sqlite.database import is_refused, open_database, refused, undo
from citybrain.event_store.sqlite.keys import SqliteKeys
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.sqlite.readings import SqliteReadings
from citybrain.event_store.sqlite.snapshots import SqliteSnapshots
from citybrain.event_store.store import StoreError

AT_ONCE = 8


def test_of_those_who_open_a_new_file_at_the_same_moment_nobody_is_turned_away(tmp_path: Path) -> None:
    def opened(path: Path, together: threading.Barrier) -> str:
        together.wait(30)
        connection = open_database(path, "NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS it (one INTEGER)")
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        connection.close()
        return str(mode)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for number in range(30):
            together = threading.Barrier(AT_ONCE)
            asked = [threads.submit(opened, tmp_path / f"{number}.db", together) for _ in range(AT_ONCE)]
            assert [one.result(60) for one in asked] == ["wal"] * AT_ONCE


OPENERS: dict[str, Callable[[Path], Any]] = {
    "events": SqliteEventStore,
    "read models": SqliteReadModels,
    "keys": lambda path: SqliteKeys(path, b"k" * 32),
    "snapshots": SqliteSnapshots,
    "readings": SqliteReadings,
}


async def told(open_it: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        open_it(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path} cannot be used: ")
    return line


def test_what_a_transaction_failed_with_is_told_also_where_it_cannot_be_taken_back(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "it.db", "NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY)
    with pytest.raises(ValueError, match="what it failed with"):
        try:
            raise ValueError("what it failed with")
        except ValueError:
            undo(connection)
            raise
    assert connection.in_transaction
    connection.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"NOT TESTED ON A FULL DISK: a file system can only be mounted by root ({problem})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("left", [0, 4096, 12_288], ids=["nothing", "a page", "three pages"])
@pytest.mark.parametrize("kind", OPENERS)
def test_a_file_that_is_opened_on_a_full_disk_says_which_it_is_and_what_to_do(small: Path, kind: str, left: int) -> None:
    filler = small / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096:
            pass
    os.truncate(filler, filler.stat().st_size - left)
    assert "its disk is full: make room there" in asyncio.run(told(OPENERS[kind], small / "kept.db"))
    filler.unlink()
    (small / "kept.db").unlink(missing_ok=True)

    async def there_is_room() -> None:
        OPENERS[kind](small / "kept.db").close()

    asyncio.run(there_is_room())


@pytest.mark.parametrize("kind", OPENERS)
def test_a_file_on_a_disk_that_may_only_be_read_says_so(small: Path, kind: str) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    assert "its disk may only be read" in asyncio.run(told(OPENERS[kind], small / "kept.db"))


@pytest.mark.parametrize("kind", OPENERS)
def test_a_file_that_is_no_database_and_a_folder_in_its_place_are_told(tmp_path: Path, kind: str) -> None:
    (tmp_path / "letter.db").write_text("to the mayor" * 100, encoding="utf-8")
    said = asyncio.run(told(OPENERS[kind], tmp_path / "letter.db"))
    assert "file is not a database: put it back from a backup" in said
    (tmp_path / "folder.db").mkdir()
    assert "see whether it, its folder and its disk are as they should be" in asyncio.run(
        told(OPENERS[kind], tmp_path / "folder.db")
    )


def test_a_file_that_may_not_be_written_is_told_with_the_user_who_may_not(tmp_path: Path) -> None:
    said = str(refused(tmp_path / "kept.db", PermissionError(errno.EACCES, "Permission denied")))
    assert f"this user ({os.getuid()}) may not write it: have its owner give the rights" in said
    assert is_refused(PermissionError(errno.EACCES, "Permission denied"))
    assert not is_refused(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
