"""cassandra-append: appends a second with all that belongs to one, beside the conditional batches alone.

Ours opens streams for others to see, appends, brings each event through Kafka into the log and writes the mark. The floor is
the same conditional batch from the bare driver: head and fence, the event, its id; nothing is opened, published or marked. Both
keep 128 under way over 1,000 streams, on one node that writes to the disk before it answers. What each process needs of the
processors is measured for both: with the engines and the appends on one machine that is what they compete for.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.kit.measure import processor_s
from benchmarks.rows import Aim, Row
from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.distributed.interfaces import Batch
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.store import Committed, NewEvent, StoredEvent
from citybrain.local.engine_processes import EngineProcesses

_STREAMS = 1000
_AT_ONCE = 128
_WARM_S = 10.0
_PAYLOAD = b"x" * 256
_TYPE = "citybrain.traffic.v1.SignalReported"
Append = Callable[[int, int], Awaitable[None]]


def measure(seconds: float) -> list[Row]:
    """The two in turns, twice, after both are warm."""
    with tempfile.TemporaryDirectory() as name, EngineProcesses.start(Path(name)) as engines:
        ours, bare = asyncio.run(_both(engines, seconds))
    profile = {
        f"{who} in {way}, ms of a processor": one.processor_s[who] / one.appends * 1000
        for way, one in (("ours", ours), ("the bare driver's", bare))
        for who in one.processor_s
    }
    peer = "conditional batches from the bare driver"
    return [Row("cassandra-append", ours.rate, "appends/s", peer, bare.rate, Aim(0.8), profile)]


@dataclass
class _Measured:
    appends: int = 0
    seconds: float = 0.0
    # Processor seconds by process: each engine, and this one.
    processor_s: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.appends / self.seconds


async def _both(engines: EngineProcesses, seconds: float) -> tuple[_Measured, _Measured]:
    place, cluster = Place(engines.cassandra.address), Cluster(engines.kafka.address)
    pids = {"Cassandra": engines.cassandra.pid, "Kafka": engines.kafka.pid, "Python": os.getpid()}
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
    measured = {append: _Measured(), bare: _Measured()}
    for warm, round_s in ((True, _WARM_S), (False, seconds), (False, seconds)):
        for way, known in versions.items():
            one = _Measured() if warm else measured[way]
            # A stream without appends for a while must be opened again. Here all streams are in use, as in a busy city.
            await _append(way, known, 0)
            before = {who: processor_s([pid]) for who, pid in pids.items()}
            began = time.monotonic()
            one.appends += await _append(way, known, round_s)
            one.seconds += time.monotonic() - began
            await store.writer.settled()
            for who, pid in pids.items():
                one.processor_s[who] = one.processor_s.get(who, 0.0) + processor_s([pid]) - before[who]
    await store.leave()
    store.close()
    log.close()
    asked.close()
    return measured[append], measured[bare]


async def _append(append: Append, versions: list[int], seconds: float) -> int:
    """Appends for some seconds, and at least once to each stream."""
    end = time.monotonic() + seconds

    async def work(number: int) -> int:
        count = 0
        for stream in itertools.cycle(range(number, _STREAMS, _AT_ONCE)):
            if count * _AT_ONCE >= _STREAMS and time.monotonic() >= end:
                break
            await append(stream, versions[stream])
            versions[stream] += 1
            count += 1
        return count

    return sum(await asyncio.gather(*map(work, range(_AT_ONCE))))
