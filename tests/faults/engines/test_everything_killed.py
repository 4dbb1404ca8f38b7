"""Writers in several processes, Kafka and Cassandra are killed at random, in one history; then all is compared with a record.

The record is kept outside of what is killed: what each writer began, and what it was told.
"""

from __future__ import annotations

import asyncio
import random
import sys
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.read_models import CassandraReadModels
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.store import Partition, StoreError
from citybrain.local.engine_processes import EngineProcesses
from tests.contract.machine import ALL, Folding
from tests.faults.engines.children import Child, Record
from tests.faults.engines.record import compare
from tests.faults.engines.test_stopped_writer import everything
from tests.faults.engines.writer_process import opened

PROCESSES, WRITERS_EACH = 2, 8
VICTIMS = ("a writer", "Kafka", "Cassandra")
LIMIT_S = 240


async def follow(partition: Partition, models: CassandraReadModels, group: str) -> None:
    """A member that begins again whatever happens to it, as the kit's do."""
    while True:
        with suppress(StoreError):
            member = Folding(partition, models, set(), f"{group}@{partition.name}", f"folded-{group}")
            await (await member.join(batch=50, park_after=None)).run()
        await asyncio.sleep(0.1)


async def until_nothing_is_open(tables: CassandraTables, *living: str) -> None:
    """Every writer but those that live has left, or was adopted."""
    while True:
        rows = [row for row in await tables.writers() if row.id not in living]
        if all(row.closed for row in rows) and not any([await tables.opened(row.id) for row in rows]):
            return
        await asyncio.sleep(0.1)


async def killed(engines: EngineProcesses, where: Place, cluster: Cluster, seed: int, rounds: int) -> None:
    """`rounds` kills of each victim, in an order and at moments that the seed says."""
    chance = random.Random(seed)
    victims = [*VICTIMS] * rounds
    chance.shuffle(victims)
    sys.stdout.write(f"seed {seed}: killed are {', '.join(victims)}\n")

    async def happens(record: Record, children: list[Child]) -> None:
        for victim in victims:
            await record.more(chance.randrange(40, 120))
            if victim == "a writer":
                number = chance.randrange(PROCESSES)
                await children[number].kill()
                children[number] = await Child.start(where, cluster, record, WRITERS_EACH)
            else:
                # A process that finds no engine when it begins ends with an error, and here nobody starts it again.
                await asyncio.gather(*(child.ready() for child in children))
                engine = engines.kafka if victim == "Kafka" else engines.cassandra
                await asyncio.to_thread(engine.kill)
                await asyncio.to_thread(engine.start)

    await lived_through(where, cluster, happens)


async def lived_through(where: Place, cluster: Cluster, happens: Callable[[Record, list[Child]], Awaitable[None]]) -> None:
    """Something happens under 16 writers and two groups that follow; then nothing is lost, doubled or out of order."""
    record = Record()
    await migrate(where)
    async with opened(where, cluster) as (store, tables, log):
        asked = await Asked.open(where)
        models = await CassandraReadModels.on(asked, where.keyspace, "followers")
        following = [
            asyncio.ensure_future(follow(partition, models, group))
            for partition in store.partitions()
            for group in ("one", "other")
        ]
        children = [await Child.start(where, cluster, record, WRITERS_EACH) for _ in range(PROCESSES)]
        try:
            await happens(record, children)
            await asyncio.gather(*(child.ready() for child in children))
            await record.more(60)
            # One of them in the middle of its work; nobody writes after it to what it leaves.
            await children.pop().kill()
            await asyncio.gather(*(child.stop() for child in children))
        finally:
            await asyncio.gather(*(child.kill() for child in children))
        # What the dead left is adopted by whoever lives: now only we do.
        await until_nothing_is_open(tables, store.writer.id)
        streams = await compare(record.told, store, await everything(log), record.unknown)
        await each_group_has_folded(streams, models)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        asked.close()


async def each_group_has_folded(streams: dict[str, list[str]], models: CassandraReadModels) -> None:
    """The views are the fold of the log: each event is in them once, and each stream's in order."""
    count = sum(map(len, streams.values()))
    for group in ("one", "other"):
        while True:
            rows = {key: row["ids"] for key, row in await models.scan(f"folded-{group}")}
            shared = rows.pop(ALL, [])
            if len(shared) >= count and sum(map(len, rows.values())) >= count:
                break
            await asyncio.sleep(0.05)
        assert rows == {stream: ids for stream, ids in streams.items() if ids}
        assert sorted(shared) == sorted(name for ids in streams.values() for name in ids)


def run(engines: EngineProcesses, prefix: str, seed: int, rounds: int, limit_s: float = LIMIT_S) -> None:
    where = Place(engines.cassandra.address, "t" + uuid.uuid4().hex[:20], answer_s=2)
    cluster = Cluster(engines.kafka.address, prefix=prefix)
    try:
        asyncio.run(asyncio.wait_for(killed(engines, where, cluster, seed, rounds), limit_s))
    finally:
        for engine in engines.all:
            engine.start()


@pytest.mark.timeout(LIMIT_S + 60)
def test_writers_kafka_and_cassandra_are_killed_and_nothing_is_lost_doubled_or_out_of_order(
    engines: EngineProcesses, prefix: str
) -> None:
    run(engines, prefix, seed=1, rounds=1)
