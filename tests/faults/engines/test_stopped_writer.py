"""A process that stood still past its adoption wakes up and goes on, on both engines: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import signal
import uuid

import pytest

from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Place
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.store import ANY, Committed, StoredEvent
from citybrain.local.engine_processes import EngineProcesses
from tests.contract.store import event
from tests.faults.engines.children import Child, Record
from tests.faults.engines.record import compare
from tests.faults.engines.writer_process import STREAMS, opened

LIMIT_S = 100


async def everything(log: KafkaLog) -> list[StoredEvent]:
    await log.up_to_now()
    found = []
    for partition in log.partitions():
        after = 0
        while after < partition.head():
            page = await partition.read_log(after)
            found += page.events
            after = page.reached
    return found


@pytest.mark.timeout(LIMIT_S + 60)
def test_a_writer_that_stood_still_past_its_adoption_goes_on_and_nothing_is_lost_or_doubled(
    engines: EngineProcesses, prefix: str
) -> None:
    where = Place(engines.cassandra.address, "t" + uuid.uuid4().hex[:20])
    cluster = Cluster(engines.kafka.address, prefix=prefix)

    async def test() -> None:
        await migrate(where)
        record = Record()
        async with opened(where, cluster) as (store, tables, log):
            child = await Child.start(where, cluster, record, 4)

            async def others() -> dict[str, bool]:
                return {row.id: row.closed for row in await tables.writers() if row.id != store.writer.id}

            try:
                await record.more(40)
                (writer,) = await others()
                child.signal(signal.SIGSTOP)
                while not (await others())[writer]:
                    await asyncio.sleep(0.02)
                for number in range(20):
                    stream, name = STREAMS[number % len(STREAMS)], f"own-{number}"
                    outcome = await store.append(stream, [event(name)], ANY)
                    assert isinstance(outcome, Committed)
                    record.told[name] = (stream, outcome.first)
                child.signal(signal.SIGCONT)
                await record.more(40)
                assert [closed for one, closed in (await others()).items() if one != writer] == [False]
                await child.stop()
            finally:
                await child.kill()
            await store.writer.settled()
            assert not record.unknown
            await compare(record.told, store, await everything(log))

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))
