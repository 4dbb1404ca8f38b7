"""Where a history takes place: a store on either engine, opened by each process that has clients on it."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, cast

from citybrain.event_store.store import EventStore, StoredEvent

SOUND = "citybrain.event_store.sqlite:SqliteEventStore"


@dataclass(frozen=True, slots=True)
class Slow:
    """How often a process stands still before it asks the tables for something, and for how many seconds at most.

    `at_the_end`: how often it does when it has just got the last events that there are, as far as it can know.
    """

    often: float = 0.0
    longest_s: float = 0.0
    at_the_end: float = 0.0


@dataclass(frozen=True, slots=True)
class EmbeddedPlace:
    """A file; `kind` is the class of the store."""

    path: str
    kind: str = SOUND

    @asynccontextmanager
    async def opened(self, chance: Random, slow: Slow) -> AsyncIterator[EventStore]:
        """A process's store. It reads with one question, so there is nothing between two."""
        module, _, name = self.kind.partition(":")
        store: EventStore = getattr(importlib.import_module(module), name)(Path(self.path))
        try:
            yield store
        finally:
            store.close()


@dataclass(frozen=True, slots=True)
class DistributedPlace:
    """A keyspace that was migrated, topics, and how many events a bucket of a stream has."""

    cassandra: str
    keyspace: str
    kafka: str
    prefix: str
    bucket_events: int

    @asynccontextmanager
    async def opened(self, chance: Random, slow: Slow) -> AsyncIterator[EventStore]:
        """A process's store, which may be slow between two questions."""
        # Who is on the other engine needs no driver.
        from citybrain.event_store.cassandra.correlations import CorrelationFeed
        from citybrain.event_store.cassandra.session import Asked, Place
        from citybrain.event_store.cassandra.tables import CassandraTables
        from citybrain.event_store.distributed.store import DistributedEventStore
        from citybrain.event_store.kafka.cluster import Cluster
        from citybrain.event_store.kafka.log import KafkaLog
        from citybrain.event_store.kafka.topics import UNNAMED

        asked = await Asked.open(Place(self.cassandra, self.keyspace, answer_s=2))
        log = await KafkaLog.open(Cluster(self.kafka, prefix=self.prefix), [UNNAMED])
        tables = cast(
            CassandraTables, Standing(await CassandraTables.on(asked, self.keyspace), self.bucket_events, chance, slow)
        )
        correlations = functools.partial(CorrelationFeed, tables)
        store = DistributedEventStore(tables, log, correlations, bucket_events=self.bucket_events)
        try:
            yield store
        finally:
            await store.leave()
            store.close()
            log.close()
            asked.close()


AnyPlace = EmbeddedPlace | DistributedPlace


class Standing:
    """Tables before which who asks stands still now and then, as a process does that gets no processor for a while."""

    def __init__(self, tables: Any, bucket_events: int, chance: Random, slow: Slow) -> None:
        self._tables = tables
        self._full = bucket_events
        self._chance = chance
        self._slow = slow

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._tables, name)
        if not inspect.iscoroutinefunction(asked):
            return asked

        async def later(*arguments: Any, **named: Any) -> Any:
            await self._stand(self._slow.often)
            answer = await asked(*arguments, **named)
            if 0 < _events(answer) < self._full:
                await self._stand(self._slow.at_the_end)
            return answer

        return later

    async def _stand(self, often: float) -> None:
        if self._chance.random() < often:
            await asyncio.sleep(self._chance.uniform(0, self._slow.longest_s))


def _events(answer: object) -> int:
    if isinstance(answer, StoredEvent):
        return 1
    some = getattr(answer, "events", answer)
    return sum(map(_events, some)) if isinstance(some, list | tuple) else 0
