"""Single rows of SQLite are read in the thread that asks: as they are committed, and without waiting for anybody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from citybrain.event_store.sqlite.database import open_database
from citybrain.event_store.sqlite.keys import SqliteKeys
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.sqlite.threads import AtOnce, HasThread

SCHEMA = "CREATE TABLE IF NOT EXISTS one (n INTEGER)"


@contextmanager
def busy(file: HasThread) -> Iterator[None]:
    """The thread of a file does something else meanwhile."""
    go = threading.Event()
    file.thread.submit(go.wait)
    try:
        yield
    finally:
        go.set()


def test_a_row_is_read_as_it_is_kept_now_whatever_its_thread_does(tmp_path: Path) -> None:
    async def work() -> None:
        models = SqliteReadModels(tmp_path / "views.db")
        epoch, _ = await models.join("group")
        await models.save("group", epoch, 1, "view", {"k": {"n": 1}})
        with busy(models):
            later = models.save("group", epoch, 2, "view", {"k": {"n": 2}})
            found, missing = models.get("view", "k"), models.get("view", "other")
            assert found.done() and found.result() == {"n": 1}
            assert missing.done() and missing.result() is None
        await later
        assert await models.get("view", "k") == {"n": 2}
        models.close()

    asyncio.run(work())


def test_whom_a_number_leads_to_is_read_so_too_and_to_nobody_as_soon_as_they_are_erased(tmp_path: Path) -> None:
    async def work() -> None:
        keys = SqliteKeys(tmp_path / "keys.db", b"m" * 32)
        person = await keys.person("phone", "1")
        with busy(keys):
            known = keys.known_person("phone", "1")
            assert known.done() and known.result() == person
        await keys.destroy(person, 1)
        assert keys.known_person("phone", "1").result() == ""
        keys.close()

    asyncio.run(work())


@pytest.mark.parametrize("sql", ["SELECT n FROM nowhere", "INSERT INTO one VALUES (1) RETURNING n"])
def test_what_cannot_be_read_at_once_is_left_to_the_thread_of_the_file_and_nothing_is_written(tmp_path: Path, sql: str) -> None:
    async def work() -> None:
        open_database(tmp_path / "f.db", "NORMAL", SCHEMA).close()
        at_once = AtOnce(tmp_path / "f.db")
        otherwise: Callable[[], asyncio.Future[str]] = asyncio.get_running_loop().create_future
        assert not at_once.read(sql, (), str, otherwise).done()
        assert at_once.read("SELECT count(*) FROM one", (), str, otherwise).result() == "(0,)"
        at_once.close()

    asyncio.run(work())


def test_where_a_file_is_held_it_waits_for_nobody(tmp_path: Path) -> None:
    async def work() -> None:
        path = tmp_path / "f.db"
        open_database(path, "NORMAL", SCHEMA).close()
        at_once = AtOnce(path)
        # A file whose log has to be restored is the only one that holds readers up, and no test makes one: so SQLite is asked.
        told = at_once.read("PRAGMA busy_timeout", (), lambda row: row[0], asyncio.get_running_loop().create_future)
        assert told.result() == 0
        at_once.close()

    asyncio.run(work())
