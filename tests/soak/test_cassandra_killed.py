"""Cassandra alone is killed under sixteen writers, and nothing else, so that what fails says whose fault it is."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Place
from citybrain.local.engine_processes import EngineProcesses
from tests.engines.test_cassandra_store import LOGS
from tests.faults.engines.record import compare
from tests.faults.engines.test_network_cut import LIMIT_S, load


@pytest.mark.timeout(LIMIT_S + 60)
def test_killed_under_load_nothing_that_was_acknowledged_is_lost_doubled_or_out_of_order(engines: EngineProcesses) -> None:
    where = Place(engines.cassandra.address, "t" + uuid.uuid4().hex[:20], answer_s=2)

    async def test() -> None:
        await migrate(where)
        async with load(where) as writing:
            for _ in range(2):
                await writing.more()
                await asyncio.to_thread(engines.cassandra.kill)
                await asyncio.to_thread(engines.cassandra.start)
            await writing.more()
            await writing.end()
            await compare(writing.told, writing.stores[0], LOGS[where.keyspace].records)

    try:
        asyncio.run(asyncio.wait_for(test(), LIMIT_S))
    finally:
        engines.cassandra.start()
