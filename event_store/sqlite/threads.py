"""How a file of SQLite is asked from the event loop: SQLite blocks, so each file has a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from citybrain.event_store.sqlite.database import refused


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
