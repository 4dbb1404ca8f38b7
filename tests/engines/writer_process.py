"""A process that appends to real streams until it is told to stop, and says of each append what it was told: a line of JSON.

Run as `python -m tests.engines.writer_process CASSANDRA KEYSPACE KAFKA PREFIX`; a line on standard input stops it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.contract import ANY, Committed
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.kafka.topics import UNNAMED
from tests.contract.store import event

STREAMS = [f"s{number}" for number in range(4)]


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


async def write(where: Place, cluster: Cluster) -> None:
    """Appends to all streams at once, one after the other to each, until a line comes."""
    stop = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))

    async def fill(store: DistributedEventStore, stream: str) -> None:
        count = 0
        while not stop.done():
            name = f"child-{stream}-{count}"
            outcome = await store.append(stream, [event(name)], ANY)
            assert isinstance(outcome, Committed) and not outcome.again
            print(json.dumps([name, stream, outcome.first]), flush=True)  # noqa: T201
            count += 1

    async with opened(where, cluster) as (store, _, _):
        await asyncio.gather(*(fill(store, stream) for stream in STREAMS))
        await store.writer.settled()


if __name__ == "__main__":
    cassandra, keyspace, kafka, prefix = sys.argv[1:]
    asyncio.run(write(Place(cassandra, keyspace), Cluster(kafka, prefix=prefix)))
