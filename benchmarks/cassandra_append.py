"""cassandra-append: appends a second with everything they bring with them, beside the conditional batches alone.

Ours opens streams for others to see, appends, brings each event through Kafka into the log and writes the mark. The floor is
the same conditional batch from the bare driver: head and fence, the event, its id; nothing is opened, published or marked. Both
keep 128 under way over 1,000 streams, on one node that writes to the disk before it answers.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.rows import Row
from citybrain.engines.local import Engines
from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.contract import Committed, NewEvent, StoredEvent
from citybrain.event_store.distributed.ports import Batch
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog

_STREAMS = 1000
_AT_ONCE = 128
_WARM_S = 10.0
_PAYLOAD = b"x" * 256
_TYPE = "citybrain.traffic.v1.SignalReported"
Append = Callable[[int, int], Awaitable[None]]


def measure(seconds: float) -> list[Row]:
    """Turn about, twice, after both are warm."""
    with tempfile.TemporaryDirectory() as name, Engines.start(Path(name)) as engines:
        ours, bare = asyncio.run(_both(Place(engines.cassandra.address), Cluster(engines.kafka.address), seconds))
    return [Row("cassandra-append", ours, "appends/s", "conditional batches from the bare driver", bare)]


async def _both(place: Place, cluster: Cluster, seconds: float) -> tuple[float, float]:
    await migrate(place)
    asked = await Asked.open(place)
    tables = await CassandraTables.on(asked, place.keyspace)
    log = await KafkaLog.open(cluster, ["traffic"])
    store = DistributedEventStore(tables, log)

    async def append(stream: int, version: int) -> None:
        new = NewEvent(str(uuid.uuid4()), _TYPE, _PAYLOAD, version)
        assert isinstance(await store.append(f"traffic/signal-{stream}", [new], version), Committed)

    async def bare(stream: int, version: int) -> None:
        name = f"traffic/bare-{stream}"
        event = StoredEvent(str(uuid.uuid4()), _TYPE, _PAYLOAD, version, "", "", "", "", "", 2, name, version + 1, 1, 0)
        assert await tables.append(Batch(name, 0, version or None, None, (event,)))

    versions = {way: [0] * _STREAMS for way in (append, bare)}
    rates: dict[Append, list[float]] = {append: [], bare: []}
    for round_s in (_WARM_S, seconds, seconds):
        for way, known in versions.items():
            rates[way].append(await _rate(way, known, round_s))
            await store.writer.settled()
    await store.leave()
    store.close()
    log.close()
    asked.close()
    return sum(rates[append][1:]) / 2, sum(rates[bare][1:]) / 2


async def _rate(append: Append, versions: list[int], seconds: float) -> float:
    end = time.monotonic() + seconds

    async def work(number: int) -> int:
        count = 0
        for stream in itertools.cycle(range(number, _STREAMS, _AT_ONCE)):
            if time.monotonic() >= end:
                break
            await append(stream, versions[stream])
            versions[stream] += 1
            count += 1
        return count

    began = time.monotonic()
    counts = await asyncio.gather(*map(work, range(_AT_ONCE)))
    return sum(counts) / (time.monotonic() - began)
