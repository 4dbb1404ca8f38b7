"""Reads that come while one is under way share the next: one hand-over to a thread, or one question to a server, for all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST = 100
"""So many share one read at most."""


class Gathered(Generic[K, V]):
    """Reads values by their keys. `read` gives those that there are.

    The first read begins at once; those that come meanwhile begin together when it is done. So each sees what was there when it
    was asked for, or later.
    """

    def __init__(self, read: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._read = read
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """The value of a key, or None. It raises what `read` raises for it."""
        found: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(found)
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._work())
        return await found

    async def _work(self) -> None:
        while self._waiting:
            keys = list(self._waiting)[:MOST]
            batch = {key: self._waiting.pop(key) for key in keys}
            try:
                values = await self._read(keys)
            except Exception as error:
                await self._one_by_one(batch, error)
                continue
            for key, waiting in batch.items():
                _tell(waiting, values.get(key))
        self._reading = None

    async def _one_by_one(self, batch: Mapping[K, list[asyncio.Future[V | None]]], error: Exception) -> None:
        """A key that cannot be read spoils nothing for others."""
        for key, waiting in batch.items():
            if len(batch) == 1:
                _fail(waiting, error)
                continue
            try:
                _tell(waiting, (await self._read([key])).get(key))
            except Exception as own:
                _fail(waiting, own)


def _tell(waiting: list[asyncio.Future[V | None]], value: V | None) -> None:
    for one in waiting:
        # Who has gone meanwhile is not told.
        if not one.done():
            one.set_result(value)


def _fail(waiting: list[asyncio.Future[V | None]], error: Exception) -> None:
    for one in waiting:
        if not one.done():
            one.set_exception(error)
