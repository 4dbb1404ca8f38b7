"""The events of one correlation id, wherever they stand: a feed whose place is the version reached in each stream.

An event enters the index before it enters the log, and the events of a stream enter the index in order. So a place that says
version v of a stream never leaves out an earlier version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

from typing_extensions import override

from citybrain.event_store.distributed.streams import BucketedStreams
from citybrain.event_store.store import Cursor, Feed, FeedPage, StoredEvent

# How often a follower of one correlation id looks for more events.
_LOOK_S = 0.1


class Correlations(Protocol):
    """Where the events of one correlation id stand."""

    async def correlated(self, correlation_id: str) -> list[tuple[str, int, int]]:
        """Stream, version and bucket of each."""
        ...


class CorrelationFeed(Feed):
    """A Feed of the events of one correlation id."""

    def __init__(
        self, tables: Correlations, streams: BucketedStreams, correlation_id: str, types: Collection[str] | None
    ) -> None:
        self._tables = tables
        self._streams = streams
        self._correlation_id = correlation_id
        self._types = types
        # The place after which the last read found no more.
        self._end: dict[str, int] | None = None

    @override
    async def read(self, cursor: Cursor, limit: int = 1000) -> FeedPage:
        reached = dict(cursor)
        events: list[StoredEvent] = []
        for stream, version, bucket in await self._behind(cursor):
            if len(events) >= limit:
                break
            if version > reached.get(stream, 0):
                found, _ = await self._streams.read_all(stream, version, version, bucket)
                events += [event for event in found if self._types is None or event.type in self._types]
                reached[stream] = version
        self._end = reached if len(events) < limit else None
        return FeedPage(events, reached)

    @override
    def ended(self, cursor: Cursor) -> bool:
        return self._end == dict(cursor)

    @override
    async def grown(self, cursor: Cursor) -> None:
        while not await self._behind(cursor):
            await asyncio.sleep(_LOOK_S)

    async def _behind(self, cursor: Cursor) -> list[tuple[str, int, int]]:
        found = await self._streams.surely(self._tables.correlated, self._correlation_id)
        return [(stream, version, bucket) for stream, version, bucket in found if version > cursor.get(stream, 0)]
