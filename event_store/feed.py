"""Feeds over several partitions, each read from its place in the cursor: in turn, or in the order of time. Places by moment."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from typing_extensions import override

from citybrain.event_store.store import Cursor, EventStore, Feed, FeedPage, Log, Partition, StoredEvent

# A store's clock may have been set back, and several writers need not have the same time.
_CLOCKS_DIFFER_S = 60
_READ_AHEAD = 500


def log_position(store: EventStore) -> int:
    """How far the log has come, as one number for people: the sum of its partitions' heads."""
    return sum(partition.head() for partition in store.partitions())


def place_now(partitions: Iterable[Partition]) -> Cursor:
    """The place after all that is known to be committed."""
    return {partition.name: partition.head() for partition in partitions}


async def place_before(partitions: Iterable[Partition], moment: int) -> Cursor:
    """A place before all events that were recorded at or after a moment (microseconds since 1970), and a few others."""
    found = list(partitions)
    searched = [_position_before(partition, moment - _CLOCKS_DIFFER_S * 1_000_000) for partition in found]
    return dict(zip((partition.name for partition in found), await asyncio.gather(*searched), strict=True))


async def place_after(partitions: Iterable[Partition], moment: int) -> Cursor:
    """A place after all events that were recorded before a moment (microseconds since 1970), and a few others."""
    return await place_before(partitions, moment + 2 * _CLOCKS_DIFFER_S * 1_000_000)


async def position_before(log: Log, moment: datetime) -> int:
    """The position after which every event was recorded at or after a moment."""
    return await _position_before(log, int(moment.timestamp() * 1_000_000))


async def _position_before(log: Log, wanted: int) -> int:
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


@dataclass(slots=True)
class _Ahead:
    """What was read of a partition: its events after `start`, and up to where it was searched for them."""

    start: int
    events: list[StoredEvent]
    reached: int


class FeedInTime(PartitionsFeed):
    """The same events in the order in which they were recorded: for a replay, where all partitions lie in the past.

    Each stream keeps its order in any case. It reads ahead in every partition, so it holds some hundred events of each.
    """

    def __init__(self, logs: Mapping[str, Log], types: Collection[str] | None = None) -> None:
        super().__init__(logs, types)
        self._ahead: dict[str, _Ahead] = {}

    @override
    async def read(self, cursor: Cursor, limit: int = 1000) -> FeedPage:
        names = list(self._logs)
        found = await asyncio.gather(*(self._after(name, cursor.get(name, 0)) for name in names))
        left = {name: len(events) for name, events in zip(names, found, strict=True)}
        reached = {name: cursor[name] for name in names if name in cursor}
        for name in names:
            if not left[name] and self._ahead[name].reached:
                reached[name] = self._ahead[name].reached
        taken: list[StoredEvent] = []
        queues = ([(event.recorded_at, name, event) for event in events] for name, events in zip(names, found, strict=True))
        for _, name, event in heapq.merge(*queues, key=lambda one: one[:2]):
            taken.append(event)
            left[name] -= 1
            reached[name] = event.position if left[name] else self._ahead[name].reached
            # What follows in a partition that is not read to its end may be older than what was read of the others.
            if len(taken) >= limit or (not left[name] and self._ahead[name].reached < self._logs[name].head()):
                break
        return FeedPage(taken, reached)

    async def _after(self, name: str, place: int) -> list[StoredEvent]:
        """The next events of a partition; none: there are none up to its head."""
        log = self._logs[name]
        ahead = self._ahead.get(name)
        if ahead is None or not ahead.start <= place <= ahead.reached:
            ahead = self._ahead[name] = _Ahead(place, [], place)
        events = [event for event in ahead.events if event.position > place]
        while not events and ahead.reached < log.head():
            page = await log.read_log(ahead.reached, _READ_AHEAD, self._types)
            ahead = self._ahead[name] = _Ahead(ahead.reached, page.events, page.reached)
            events = page.events
        return events
