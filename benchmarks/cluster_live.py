"""cluster-live: the time from the commit on Cassandra until a subscriber has the event through Kafka, beside Kafka alone.

Both engines run on this machine, one node each; Cassandra is told to write to the disk before it answers. An append is one
conditional write, then the outbox brings the event into the log. The floor is a bare producer and a bare consumer in one
process, on the same Kafka.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import threading
import time
import uuid
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.rows import Aim, Row, quantile
from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.tables import CassandraTables
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.kafka.topics import Topics, event_topic, events
from citybrain.event_store.store import ANY, Committed, NewEvent, Partition
from citybrain.local.engine_processes import EngineProcesses

_LIVE = 2000
_WARM = 300
_PAUSE_S = 0.002
_STREAMS = 100
_PAYLOAD = b"x" * 256


def measure() -> list[Row]:
    """One after the other. The first events are not counted: Java is still cold."""
    with tempfile.TemporaryDirectory() as name, EngineProcesses.start(Path(name)) as engines:
        cluster = Cluster(engines.kafka.address)
        bare = _bare(cluster)
        late = asyncio.run(_late(Place(engines.cassandra.address), cluster))
    peer = "a bare producer and consumer"
    return [
        Row("cluster-live p50", quantile(late, 0.5), "ms", peer, quantile(bare, 0.5)),
        Row("cluster-live p99", quantile(late, 0.99), "ms", peer, quantile(bare, 0.99), Aim(10, "difference", least=False)),
    ]


async def _late(place: Place, cluster: Cluster) -> list[float]:
    """Milliseconds from each commit, as its writer sees it, until the subscriber has the event."""
    await migrate(place)
    asked = await Asked.open(place)
    log = await KafkaLog.open(cluster, ["traffic"])
    store = DistributedEventStore(await CassandraTables.on(asked, place.keyspace), log)
    heard: dict[str, float] = {}
    committed: dict[str, float] = {}

    async def hear(partition: Partition) -> None:
        position = partition.head()
        while True:
            await partition.grown(position)
            page = await partition.read_log(position)
            position = page.reached
            heard.update((event.id, time.monotonic()) for event in page.events)

    async def write(number: int) -> None:
        new = NewEvent(str(uuid.uuid4()), "citybrain.traffic.v1.SignalReported", _PAYLOAD, number)
        assert isinstance(await store.append(f"traffic/signal-{number % _STREAMS}", [new], ANY), Committed)
        committed[new.id] = time.monotonic()

    hearing = [asyncio.ensure_future(hear(partition)) for partition in store.partitions()]
    for number in range(_WARM + _LIVE):
        await write(number)
        await asyncio.sleep(_PAUSE_S)
    while len(heard) < len(committed):
        await asyncio.sleep(0.01)
    for task in hearing:
        task.cancel()
    await store.leave()
    store.close()
    log.close()
    asked.close()
    # The subscriber may have an event before its writer has the answer.
    late = [max(0.0, heard[one] - when) * 1000 for one, when in committed.items()]
    return late[_WARM:]


def _bare(cluster: Cluster) -> list[float]:
    """Milliseconds from the call of the producer until the consumer has the record."""
    topic = event_topic(cluster, "bare")
    asyncio.run(_made(cluster, topic))
    consumer = Consumer(cluster.options({"group.id": "bare", "auto.offset.reset": "earliest"}))
    consumer.assign([TopicPartition(topic, number, 0) for number in range(cluster.partitions)])
    producer = Producer(cluster.options({"enable.idempotence": True, "acks": "all", "linger.ms": 1}))
    called: dict[bytes, float] = {}
    heard: dict[bytes, float] = {}

    def hear() -> None:
        while len(heard) < _WARM + _LIVE:
            message = consumer.poll(1)
            if message is not None and message.error() is None:
                heard[message.key() or b""] = time.monotonic()

    hearing = threading.Thread(target=hear)
    hearing.start()
    for number in itertools.count(1):
        key = uuid.uuid4().bytes
        called[key] = time.monotonic()
        producer.produce(topic, _PAYLOAD, key, number % cluster.partitions)
        producer.poll(0)
        if number == _WARM + _LIVE:
            break
        time.sleep(_PAUSE_S)
    hearing.join()
    consumer.close()
    return [(heard[one] - when) * 1000 for one, when in called.items()][_WARM:]


async def _made(cluster: Cluster, topic: str) -> None:
    topics = Topics(cluster, events(cluster))
    await topics.ready([topic])
    topics.close()
