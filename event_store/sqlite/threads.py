"""How a file of SQLite is asked from the event loop: SQLite blocks, so each file has a thread of its own.

One row by its key is read in the thread that asks: with a write-ahead log a reader waits for no writer, and two hand-overs
between threads cost ten times as much as such a read.
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from citybrain.event_store.sqlite.database import open_database, refused


class HasThread(Protocol):
    """A file, and the one thread that does everything with it."""

    path: Path
    thread: ThreadPoolExecutor


F = TypeVar("F", bound=HasThread)
P = ParamSpec("P")
T = TypeVar("T")


def in_its_thread(work: Callable[Concatenate[F, P], T]) -> Callable[Concatenate[F, P], asyncio.Future[T]]:
    """Makes a method run in the file's thread; calls run one after the other. StoreError: SQLite refused one."""

    @functools.wraps(work)
    def begin(self: F, /, *arguments: P.args, **named: P.kwargs) -> asyncio.Future[T]:
        done = functools.partial(_told, work, self, *arguments, **named)
        return asyncio.get_running_loop().run_in_executor(self.thread, done)

    return begin


def _told(work: Callable[..., T], self: HasThread, *arguments: object, **named: object) -> T:
    try:
        return work(self, *arguments, **named)
    except sqlite3.Error as error:
        raise refused(self.path, error) from error


class AtOnce:
    """Reads single rows of a file in the thread that asks, by a connection of its own, as they are committed now."""

    def __init__(self, path: Path) -> None:
        """StoreError: the file cannot be opened."""
        self._db = open_database(path, "NORMAL")
        self._db.execute("PRAGMA query_only=ON")
        # Who asks must not be held up: what cannot be read now is read in the thread of the file, which waits.
        self._db.execute("PRAGMA busy_timeout=0")

    def read(
        self,
        sql: str,
        parameters: tuple[Any, ...],
        made: Callable[[Any], T],
        otherwise: Callable[[], asyncio.Future[T]],
    ) -> asyncio.Future[T]:
        """What `made` makes of the row that a statement finds, or of None. `otherwise`: how the file's thread finds it."""
        try:
            found = self._db.execute(sql, parameters).fetchone()
        except sqlite3.Error:
            return otherwise()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        done.set_result(made(found))
        return done

    def close(self) -> None:
        """Closes its connection."""
        self._db.close()
