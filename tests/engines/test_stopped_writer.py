"""A process that stood still past its adoption wakes up and goes on, on both engines: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from citybrain.engines.local import Engines
from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Place
from citybrain.event_store.contract import ANY, Committed, StoredEvent
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from tests.contract.store import event
from tests.engines.record import compare
from tests.engines.writer_process import STREAMS, opened

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 100


async def listen(child: Process, told: dict[str, tuple[str, int]]) -> None:
    """Writes down what the child says it was told, until it says no more."""
    assert child.stdout is not None
    async for line in child.stdout:
        name, stream, version = json.loads(line)
        told[name] = (stream, version)


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
    engines: Engines, prefix: str
) -> None:
    where = Place(engines.cassandra.address, "t" + uuid.uuid4().hex[:20])
    cluster = Cluster(engines.kafka.address, prefix=prefix)

    async def test() -> None:
        await migrate(where)
        told: dict[str, tuple[str, int]] = {}
        async with opened(where, cluster) as (store, tables, log):
            command = ["-m", "tests.engines.writer_process", where.addresses, where.keyspace, cluster.addresses, prefix]
            child = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE, cwd=ROOT)
            hearing = asyncio.ensure_future(listen(child, told))

            async def more(appends: int) -> None:
                wanted = len(told) + appends
                while len(told) < wanted:
                    assert not hearing.done(), "the writer ended"
                    await asyncio.sleep(0.02)

            async def others() -> dict[str, bool]:
                return {row.id: row.closed for row in await tables.writers() if row.id != store.writer.id}

            try:
                await more(40)
                (writer,) = await others()
                child.send_signal(signal.SIGSTOP)
                while not (await others())[writer]:
                    await asyncio.sleep(0.02)
                for number in range(20):
                    stream, name = STREAMS[number % len(STREAMS)], f"own-{number}"
                    outcome = await store.append(stream, [event(name)], ANY)
                    assert isinstance(outcome, Committed)
                    told[name] = (stream, outcome.first)
                child.send_signal(signal.SIGCONT)
                await more(40)
                assert [closed for one, closed in (await others()).items() if one != writer] == [False]
                assert child.stdin is not None
                child.stdin.write(b"stop\n")
                await hearing
                await child.wait()
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()
            assert child.returncode == 0
            await store.writer.settled()
            await compare(told, store, await everything(log))

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))
