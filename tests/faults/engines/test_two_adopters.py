"""What a writer left that was killed before it could publish is adopted by two processes at once, on both engines."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.local.engine_processes import EngineProcesses
from tests.faults.engines.children import Child, Record
from tests.faults.engines.record import compare
from tests.faults.engines.test_everything_killed import until_nothing_is_open
from tests.faults.engines.test_stopped_writer import everything
from tests.faults.engines.writer_process import opened

LIMIT_S = 100


@pytest.mark.timeout(LIMIT_S + 60)
def test_two_that_adopt_at_once_lose_nothing_and_keep_the_order(engines: EngineProcesses, prefix: str) -> None:
    where = Place(engines.cassandra.address, "t" + uuid.uuid4().hex[:20])
    cluster = Cluster(engines.kafka.address, prefix=prefix)

    async def test() -> None:
        await migrate(where)
        asked = await Asked.open(where)
        tables = await CassandraTables.on(asked, where.keyspace)
        record = Record()
        writer = await Child.start(where, cluster, record, 8)
        adopters = [await Child.start(where, cluster, Record(), 0) for _ in range(2)]
        try:
            await asyncio.gather(*(child.ready() for child in adopters))
            await record.more(40)
            # Nothing is published any more, and all is acknowledged as before.
            engines.kafka.pause()
            before = set(record.told)
            await record.more(40)
            await writer.kill()
            unpublished = record.told.keys() - before
            # Both have seen that it is silent, and wait for Kafka with what it left.
            while not any(row.closed for row in await tables.writers()):
                await asyncio.sleep(0.05)
            engines.kafka.resume()
            alive = [row.id for row in await tables.writers() if not row.closed]
            assert len(alive) == len(adopters)
            await until_nothing_is_open(tables, *alive)
            async with opened(where, cluster) as (store, _, log):
                records = await everything(log)
                streams = await compare(record.told, store, records, record.unknown)
            assert unpublished <= {name for names in streams.values() for name in names}
            await asyncio.gather(*(child.stop() for child in adopters))
        finally:
            engines.kafka.resume()
            await asyncio.gather(*(child.kill() for child in (writer, *adopters)))
            asked.close()

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))
