"""engines-ready and engines-memory: how soon a local Kafka and Cassandra answer, and how much memory both use.

Ready: from nothing but the jars to both answering their clients. Memory is what is resident, looked at several times a second;
what counts under load is the most that both held together. The load: sixteen writers append as fast as they are answered,
and every event comes through Kafka to one who hears it and to one who reads the log from its beginning.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks.rows import Aim, Row
from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.store import ANY, Committed, NewEvent, Partition
from citybrain.local.engine_processes import EngineProcesses

_READY_AIM_S = 15.0
_MEMORY_AIM_MB = 1300.0
_UNDER = Aim(1, least=False)
_WRITERS = 16
_STREAMS = 1000
_REST_S = 3.0
_LOOK_S = 0.2
_PAYLOAD = b"x" * 256
_TYPE = "citybrain.traffic.v1.SignalReported"


def measure(seconds: float) -> list[Row]:
    """`seconds`: how long the load lasts."""
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        with EngineProcesses.start(Path(name)) as engines:
            ready = time.monotonic() - began
            time.sleep(_REST_S)
            rest = _held(engines)
            load = asyncio.run(_most(engines, seconds))
    rows = [Row("engines-ready", ready, "s", f"aim: under {_READY_AIM_S:.0f} s", _READY_AIM_S, _UNDER)]
    for when, held in (("at rest", rest), ("under load", load)):
        for engine, one in zip(("kafka", "cassandra", "both"), (*held, sum(held)), strict=True):
            aim = f"aim: both under {_MEMORY_AIM_MB:.0f} MB"
            rows.append(Row(f"engines-memory {when}, {engine}", one, "MB", aim, _MEMORY_AIM_MB, _UNDER))
    return rows


def _held(engines: EngineProcesses) -> tuple[float, ...]:
    return tuple(engine.memory_bytes / 1e6 for engine in engines.all)


async def _most(engines: EngineProcesses, seconds: float) -> tuple[float, ...]:
    """The memory of each at the moment when both together used most."""
    place, cluster = Place(engines.cassandra.address), Cluster(engines.kafka.address)
    await migrate(place)
    asked = await Asked.open(place)
    log = await KafkaLog.open(cluster, ["traffic"])
    late = await KafkaLog.open(cluster, ["traffic"])
    store = DistributedEventStore(await CassandraTables.on(asked, place.keyspace), log)
    end = time.monotonic() + seconds

    async def write(number: int) -> None:
        for stream in itertools.cycle(range(number, _STREAMS, _WRITERS)):
            if time.monotonic() >= end:
                return
            new = NewEvent(str(uuid.uuid4()), _TYPE, _PAYLOAD, stream)
            assert isinstance(await store.append(f"traffic/signal-{stream}", [new], ANY), Committed)

    async def hear(partition: Partition) -> None:
        position = partition.head()
        while True:
            await partition.grown(position)
            position = (await partition.read_log(position)).reached

    async def read_again() -> None:
        while True:
            for partition in late.partitions():
                position = 0
                while position < partition.head():
                    position = (await partition.read_log(position)).reached
            await asyncio.sleep(1)

    async def look() -> tuple[float, ...]:
        most = _held(engines)
        while time.monotonic() < end:
            await asyncio.sleep(_LOOK_S)
            most = max(most, _held(engines), key=sum)
        return most

    beside = [asyncio.ensure_future(hear(partition)) for partition in store.partitions()]
    beside.append(asyncio.ensure_future(read_again()))
    looking = asyncio.ensure_future(look())
    await asyncio.gather(*map(write, range(_WRITERS)))
    most = await looking
    for task in beside:
        task.cancel()
    await store.leave()
    store.close()
    log.close()
    late.close()
    asked.close()
    return most
