"""Clients of a store that do what a history is made of, and say what they begin and what they are told.

They go from stream to stream: who sees that one is long enough goes to the next, so that no history grows without end.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from random import Random
from typing import Any, TypeVar, cast

from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.store import (
    ANY,
    Committed,
    Conflict,
    Cursor,
    EventStore,
    LimitExceeded,
    NewEvent,
    Partition,
    StoredEvent,
    StoreError,
)
from tests.linearizability.model import Append, Asked, Find, Hear, Read, Told
from tests.linearizability.record import Say, begin, end, places

T = TypeVar("T")
TYPE = "city.Tested"
# What every event belongs to, so that one who follows it hears every stream whole.
STORY = "all"
# A stream of so many events has been long enough.
LONG = 40
# So many streams are written to at a time.
AT_ONCE = 2


class Client:
    """One caller: what it asks, it asks one after the other."""

    def __init__(self, store: EventStore, who: str, chance: Random, say: Say, now: Callable[[], int]) -> None:
        self._store = store
        self._who = who
        self._chance = chance
        self._say = say
        self._now = now
        self._numbers = itertools.count()
        self._first = 0
        # As far as this client was told.
        self._heads: dict[str, int] = defaultdict(int)
        self._mine: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        self._twins: dict[str, int] = defaultdict(int)

    async def write(self) -> None:
        """One append, again and again until it is decided; sometimes its client gives up."""
        stream = self._stream()
        asked = self._wanted(stream)
        while await self.append(stream, asked, self._patience()) is None and self._chance.random() < 0.8:
            pass

    async def append(self, stream: str, asked: Append, timeout_s: float | None = None) -> Committed | Conflict | None:
        """One try."""
        events = [NewEvent(id=one, type=TYPE, data=b"x", occurred_at=0, correlation_id=STORY) for one in asked.ids]

        async def work() -> Committed | Conflict | None:
            try:
                return await self._store.append(stream, events, asked.expected, timeout_s)
            except LimitExceeded:
                raise
            except StoreError:
                # Not decided in time, or the store could not: it counts as something that may happen yet.
                return None

        outcome = await self._ask(stream, asked, work(), lambda outcome: outcome)
        if isinstance(outcome, Committed):
            self._sees(stream, outcome.last)
            self._mine[stream].append(asked.ids)
        elif outcome is not None:
            self._sees(stream, outcome.actual)
        return outcome

    async def read(self) -> None:
        """One of the ways to read a stream."""
        chance, stream = self._chance, self._stream()
        head = self._heads[stream]
        way = chance.random()
        if way < 0.4:
            await self._page(stream, Read())
        elif way < 0.55:
            await self._page(stream, Read(max(1, head - chance.randrange(8)), chance.choice([1, 3, 10, 1000])))
        elif way < 0.7:
            await self._page(stream, Read(0, chance.choice([3, 10, 1000]), backward=True))
        elif way < 0.75:
            await self._page(stream, Read(head + 1, chance.choice([3, 10]), backward=True))
        elif way < 0.85 and self._mine[stream]:
            one = chance.choice(chance.choice(self._mine[stream]))
            await self._ask(stream, Find(one), self._store.version_of(stream, one), int)
        else:
            await self.fold(stream, chance.choice([3, 7]))

    async def fold(self, stream: str, size: int) -> None:
        """The whole stream page by page, as a service folds its state."""
        version = 0
        while page := await self._page(stream, Read(version + 1, size)):
            version = page[-1].version
            if len(page) < size:
                return

    async def read_all_ways(self, stream: str) -> None:
        """A stream from its beginning, from its end, and in pages."""
        await self._page(stream, Read())
        await self._page(stream, Read(0, 1000, backward=True))
        await self.fold(stream, 7)

    # -- followers ------------------------------------------------------------------------------------------------------

    async def follow_correlated(self) -> None:
        """Hears the events of the one correlation id, for ever."""
        feed, cursor = self._store.feed(correlation_id=STORY), cast(Cursor, {})
        while True:
            page = await self._heard(feed.read(cursor, self._chance.choice([3, 1000])), lambda page: page.events)
            cursor = page.cursor
            if not page.events:
                await feed.grown(cursor)

    async def follow_log(self, partition: Partition) -> None:
        """Hears a partition as a group does that begins with it, for ever."""
        log, position = partition.for_group(cast(ReadModels, _KeepsNothing()), self._who), 0
        while True:
            limit = self._chance.choice([3, 1000])
            page = await self._heard(log.read_log(position, limit, [TYPE]), lambda page: page.events)
            position = page.reached
            if position >= log.head():
                await log.grown(position)

    async def _heard(self, asking: Awaitable[T], events: Callable[[T], Sequence[StoredEvent]]) -> T:
        begun = self._now()
        page = await asking
        ended = self._now()
        heard: dict[str, list[StoredEvent]] = defaultdict(list)
        for event in events(page):
            heard[event.stream].append(event)
        for stream, some in heard.items():
            number = next(self._numbers)
            self._say(begin(self._who, number, begun, stream, Hear()))
            self._say(end(self._who, number, ended, places(some)))
        return page

    # -- within ---------------------------------------------------------------------------------------------------------

    async def _page(self, stream: str, asked: Read) -> list[StoredEvent] | None:
        reading = self._store.read(stream, asked.first, asked.limit, asked.backward)
        page = await self._ask(stream, asked, reading, places)
        self._sees(stream, max((event.version for event in page or ()), default=0))
        return page

    async def _ask(self, stream: str, asked: Asked, work: Awaitable[T], told: Callable[[T], Told]) -> T | None:
        number = next(self._numbers)
        self._say(begin(self._who, number, self._now(), stream, asked))
        answer = await work
        self._say(end(self._who, number, self._now(), told(answer)))
        return answer

    def _stream(self) -> str:
        return f"s{self._first + self._chance.randrange(AT_ONCE)}"

    def _sees(self, stream: str, head: int) -> None:
        self._heads[stream] = max(self._heads[stream], head)
        while self._heads[f"s{self._first}"] >= LONG:
            self._first += 1

    def _wanted(self, stream: str) -> Append:
        chance, mine = self._chance, self._mine[stream]
        way = chance.random()
        new = tuple(f"{self._who}-{next(self._numbers)}" for _ in range(chance.choice([1, 1, 1, 2, 3])))
        if way < 0.15:
            # As others do at the same time: one request that came twice, to two processes.
            self._twins[stream] += 1
            ids: tuple[str, ...] = (f"twin{self._twins[stream]}",)
        elif way < 0.22 and mine:
            ids = mine[-1]
        elif way < 0.27 and mine:
            ids = (mine[-1][-1], *new)
        else:
            ids = new
        return Append(ids, chance.choice([ANY, ANY, ANY, self._heads[stream], self._heads[stream], chance.randrange(LONG)]))

    def _patience(self) -> float | None:
        return self._chance.choice([*[None] * 7, 0, 0.004, 0.5])


class _KeepsNothing:
    """Where a group begins that was never there: it has heard nothing."""

    async def seen(self, group: str, streams: Iterable[str]) -> dict[str, int]:
        return {}


async def keep_on(do: Callable[[], Awaitable[Any]], pause: Callable[[], float], stop: asyncio.Future[Any]) -> None:
    """One thing after the other, with pauses, until it is stopped."""
    while not stop.done():
        await do()
        await asyncio.sleep(pause())
