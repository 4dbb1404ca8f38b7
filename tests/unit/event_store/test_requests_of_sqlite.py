"""The file of request ids: several processes, a clock of its own, old rows."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from citybrain.event_store.requests import Bound
from citybrain.event_store.sqlite.requests import SqliteRequests
from citybrain.event_store.store import StoreError

DAY_S = 86_400
METHOD = "citybrain.health.v1.HealthService/ReserveBed"


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_767_600_000.0

    def __call__(self) -> float:
        return self.now


def rows(path: Path) -> int:
    with sqlite3.connect(path) as database:
        return int(database.execute("SELECT count(*) FROM requests").fetchone()[0])


def test_while_another_process_writes_the_loop_goes_on_and_the_id_is_bound_afterwards(tmp_path: Path) -> None:
    async def test() -> None:
        book = SqliteRequests(tmp_path / "requests.db", DAY_S)
        writing = sqlite3.connect(tmp_path / "requests.db", isolation_level=None)
        writing.execute("BEGIN IMMEDIATE")
        binding = asyncio.ensure_future(book.bind("a", "x", METHOD, b""))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not binding.done()
        writing.execute("COMMIT")
        assert await binding is None
        assert await book.bind("a", "y", METHOD, b"") == Bound(("caller",))
        writing.close()
        book.close()

    asyncio.run(asyncio.wait_for(test(), 30))


def test_an_id_is_free_again_the_moment_its_time_is_over_and_old_rows_leave_the_file(tmp_path: Path) -> None:
    async def test() -> None:
        clock, path = Clock(), tmp_path / "requests.db"
        book = SqliteRequests(path, DAY_S, clock)
        for number in range(1200):
            assert await book.bind(f"old {number}", "x", METHOD, b"one") is None
        clock.now += DAY_S
        assert await book.bind("old 1", "x", METHOD, b"two") == Bound(("content",))
        clock.now += 1
        assert await book.bind("old 1", "x", METHOD, b"two") is None
        assert await book.bind("old 1", "x", METHOD, b"one") == Bound(("content",))
        for number in range(1500):
            assert await book.bind(f"new {number}", "x", METHOD, b"") is None
        while rows(path) != 1501:
            await book.bind("new 1", "x", METHOD, b"")
        book.close()

    asyncio.run(asyncio.wait_for(test(), 30))


def test_nothing_of_the_caller_or_the_content_is_in_the_file(tmp_path: Path) -> None:
    async def test() -> None:
        book = SqliteRequests(tmp_path / "requests.db", DAY_S)
        await book.bind("id-of-wang", "caller-wang", METHOD, b"phone 13800001111")
        book.close()

    asyncio.run(test())
    kept = (tmp_path / "requests.db").read_bytes()
    assert METHOD.encode() in kept and not [secret for secret in (b"wang", b"13800001111") if secret in kept]


def test_a_file_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "requests.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match=r"requests.db cannot be used.*put it back from a backup, or move it away"):
        SqliteRequests(tmp_path / "requests.db", DAY_S)
