"""The event store as the services of a process have it: the same, and each append is counted, with how it ended."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Collection, Sequence
from typing import Any, Protocol

from typing_extensions import override

from citybrain.event_store.store import (
    Committed,
    Conflict,
    EventStore,
    Feed,
    NewEvent,
    Partition,
    Publishing,
    StoredEvent,
)
from citybrain.observability import names
from citybrain.observability.metrics import MESH, Metrics


class _Opened(Protocol):
    """An engine that is open."""

    store: EventStore


class Measured(EventStore):
    """The store of an engine with its numbers. `name`: that of the engine in the configuration."""

    def __init__(self, engine: _Opened, metrics: Metrics, name: str) -> None:
        self.features = engine.store.features
        self._opened = engine
        self._metrics = metrics
        self._name = name
        whose = {names.CITY_SERVICE: MESH, names.STORE: name}
        metrics.watch(names.STORE_UNKNOWN, lambda: [(self.publishing().unknown, whose)])
        metrics.watch(names.LOG_BEHIND, lambda: [(self.publishing().events, whose)])
        metrics.watch(names.LOG_BEHIND_AGE, lambda: [(self.publishing().oldest_s, whose)])

    @override
    def append(
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Awaitable[Committed | Conflict]:
        begun = time.perf_counter()
        # What breaks a limit raises here, and is no append.
        appending = asyncio.ensure_future(self._opened.store.append(stream, events, expected, timeout_s))
        # The callback runs in the context of now: so the span of the call is the current one.
        appending.add_done_callback(functools.partial(self._ended, stream.partition("/")[0], begun))
        return appending

    def _ended(self, service: str, begun: float, appending: asyncio.Future[Committed | Conflict]) -> None:
        self._metrics.of(service).stored(self._name, time.perf_counter() - begun, _error(appending))

    @override
    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        return await self._opened.store.read(stream, from_version, limit, backward)

    @override
    async def version_of(self, stream: str, event_id: str) -> int:
        return await self._opened.store.version_of(stream, event_id)

    @override
    async def writable(self) -> None:
        await self._opened.store.writable()

    @override
    def unwell(self) -> str:
        return self._opened.store.unwell()

    @override
    def partitions(self, types: Collection[str] | None = None) -> Sequence[Partition]:
        return self._opened.store.partitions(types)

    @override
    async def know(self, types: Collection[str]) -> None:
        await self._opened.store.know(types)

    @override
    def feed(self, types: Collection[str] | None = None, correlation_id: str = "") -> Feed:
        return self._opened.store.feed(types, correlation_id)

    @override
    def publishing(self) -> Publishing:
        return self._opened.store.publishing()

    @override
    def close(self) -> None:
        self._opened.store.close()


def _error(appending: asyncio.Future[Any]) -> str:
    """Why an append wrote nothing, or is not known to have written; empty: it wrote."""
    if appending.cancelled():
        # Whoever waited has gone; the append goes on.
        return "Cancelled"
    error = appending.exception()
    if error is not None:
        return type(error).__name__
    return "Conflict" if isinstance(appending.result(), Conflict) else ""
