"""Embedded stores that break in one thing each what callers in several processes rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from typing_extensions import override

from citybrain.event_store.store import ANY, Committed, Conflict, NewEvent, StoredEvent
from tests.contract.broken import Sound


class ReadsOldPages(Sound):
    """Answers what it has answered before, for a while."""

    _KEPT_S = 0.3

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pages: dict[tuple[object, ...], tuple[float, list[StoredEvent]]] = {}

    @override
    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        asked, now = (stream, from_version, limit, backward), self._loop.time()
        kept = self._pages.get(asked)
        if kept is None or kept[0] < now - self._KEPT_S:
            self._pages[asked] = now, await super().read(*asked)
        return self._pages[asked][1]


class ReadsInTwoParts(Sound):
    """Reads what there is, and a moment later what came behind the next ones."""

    @override
    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        page = await super().read(stream, from_version, limit, backward)
        if backward or not page or len(page) == limit:
            return page
        await asyncio.sleep(0.05)
        return page + await super().read(stream, page[-1].version + 3, limit - len(page))


class AcknowledgesFirst(Sound):
    """Says that events are there, and writes them a moment later: a kill in between takes them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._late: set[asyncio.Future[Any]] = set()

    @override
    async def append(  # type: ignore[override]
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Committed | Conflict:
        head = len(await super().read(stream))
        if expected not in (ANY, head) or [event for event in events if await self.version_of(stream, event.id)]:
            return await super().append(stream, events, expected, timeout_s)

        async def write() -> None:
            await asyncio.sleep(0.05)
            await super(AcknowledgesFirst, self).append(stream, events, head)

        self._late.add(asyncio.ensure_future(write()))
        return Committed(head + 1, head + len(events), 0)


class ConflictsWithItself(Sound):
    """Compares the version before it looks for the ids: who asks again is told that somebody else was there."""

    @override
    async def append(  # type: ignore[override]
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Committed | Conflict:
        head = len(await super().read(stream))
        if expected not in (ANY, head):
            return Conflict(head)
        return await super().append(stream, events, expected, timeout_s)


class WritesAgain(Sound):
    """Takes what comes a second time for something new."""

    @override
    async def append(  # type: ignore[override]
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Committed | Conflict:
        if await self.version_of(stream, events[0].id):
            events = [replace(event, id=f"{event.id}'") for event in events]
        return await super().append(stream, events, expected, timeout_s)
