"""A file that several processes write to is had by all who open it at the same moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from citybrain.event_store.database import open_database

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
