"""A feed that reads several partitions in turn, each from its place in the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime

from typing_extensions import override

from citybrain.event_store.store import Cursor, EventStore, Feed, FeedPage, Log, StoredEvent


def log_position(store: EventStore) -> int:
    """How far the log has come, as one number for people: the sum of its partitions' heads."""
    return sum(partition.head() for partition in store.partitions())


async def position_before(log: Log, moment: datetime) -> int:
    """The position after which every event was recorded at or after a moment."""
    wanted = int(moment.timestamp() * 1_000_000)
    low, high = 0, log.head()
    while low < high:
        middle = (low + high) // 2
        page = await log.read_log(middle, 1)
        while not page.events and middle < page.reached < high:
            # The record there is no event, so it says nothing of the time: look further.
            page = await log.read_log(page.reached, 1)
        if page.events and page.events[0].recorded_at < wanted:
            low = page.events[0].position
        else:
            high = middle
    return low


async def last_moment(store: EventStore) -> int:
    """City time of the last event in the log, in microseconds since 1970; 0: there is none."""
    return max(await asyncio.gather(*(_last_moment_of(log) for log in store.partitions())), default=0)


async def _last_moment_of(log: Log) -> int:
    head, back = log.head(), 1
    while head:
        first = max(0, head - back)
        page = await log.read_log(first, back)
        # The last record need not be an event.
        if page.events or not first:
            return page.events[-1].occurred_at if page.events else 0
        back *= 16
    return 0


class PartitionsFeed(Feed):
    """A Feed over logs by their names."""

    def __init__(self, logs: Mapping[str, Log], types: Collection[str] | None = None) -> None:
        self._logs = logs
        self._types = types

    @override
    async def read(self, cursor: Cursor, limit: int = 1000) -> FeedPage:
        events: list[StoredEvent] = []
        reached = {name: cursor[name] for name in self._logs if name in cursor}
        # The partition that was read least comes first: one that always grows must not keep the others waiting.
        for name in sorted(self._logs, key=lambda one: (reached.get(one, 0), one)):
            if len(events) >= limit:
                break
            page = await self._logs[name].read_log(reached.get(name, 0), limit - len(events), self._types)
            events += page.events
            if page.reached:
                reached[name] = page.reached
        return FeedPage(events, reached)

    @override
    def ended(self, cursor: Cursor) -> bool:
        return all(cursor.get(name, 0) >= log.head() for name, log in self._logs.items())

    @override
    async def grown(self, cursor: Cursor) -> None:
        waiting = [asyncio.ensure_future(log.grown(cursor.get(name, 0))) for name, log in self._logs.items()]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
