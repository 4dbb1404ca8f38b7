"""The file of spans, for the commands that open it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from citybrain.event_store.sqlite.database import refused
from citybrain.local.problems import Problem


@contextmanager
def span_file(path: Path) -> Iterator[None]:
    """Goes around work with the file. Problem: the file cannot be used."""
    try:
        yield
    except sqlite3.Error as error:
        raise Problem(str(refused(path, error))) from error
