"""A process that appends to real streams until it is told to stop; it says of each append that it begins, and what it was told.

Run as `python -m tests.faults.engines.writer_process CASSANDRA KEYSPACE KAFKA PREFIX NAME WRITERS`; a line on standard input
stops it. It says lines of JSON, [id, stream, version]: version 0 where it begins. The first line says that it is there.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.kafka.topics import UNNAMED
from citybrain.event_store.store import ANY, Committed, Conflict, Undecided
from tests.contract.store import event
from tests.helpers.speaking import asked_to_stop, say

STREAMS = [f"s{number}" for number in range(12)]


@asynccontextmanager
async def opened(where: Place, cluster: Cluster) -> AsyncIterator[tuple[DistributedEventStore, CassandraTables, KafkaLog]]:
    """A process's store on both engines."""
    asked = await Asked.open(where)
    tables = await CassandraTables.on(asked, where.keyspace)
    log = await KafkaLog.open(cluster, [UNNAMED])
    store = DistributedEventStore(tables, log)
    try:
        yield store, tables, log
    finally:
        await store.leave()
        store.close()
        log.close()
        asked.close()


async def write(where: Place, cluster: Cluster, name: str, writers: int) -> None:
    """Appends until a line comes, each writer one after the other. Who is told nothing in time asks again, as callers do."""
    stop = await asked_to_stop()

    async def fill(store: DistributedEventStore, writer: int) -> None:
        chance = random.Random(f"{name}-{writer}")
        count = 0
        while not stop.done():
            new, stream = event(f"{name}-{writer}-{count}"), chance.choice(STREAMS)
            say([new.id, stream, 0])
            outcome: Committed | Conflict | None = None
            while outcome is None:
                with suppress(Undecided):
                    outcome = await store.append(stream, [new], ANY, timeout_s=chance.uniform(0.5, 5))
            assert isinstance(outcome, Committed)
            say([new.id, stream, outcome.first])
            count += 1

    async with opened(where, cluster) as (store, _, _):
        say(["", "", 0])
        await asyncio.gather(stop, *(fill(store, writer) for writer in range(writers)))
        await store.writer.settled()


if __name__ == "__main__":
    cassandra, keyspace, kafka, prefix, name, writers = sys.argv[1:]
    asyncio.run(write(Place(cassandra, keyspace, answer_s=2), Cluster(kafka, prefix=prefix), name, int(writers)))
