"""kafka-consume: how fast a service works through a log on Kafka, beside FastStream on confluent-kafka.

A handler is called for each event. On the kit each call has a span and a context, the message is parsed, what came twice is
dropped, and the checkpoint is kept on disk. The peer has a span for each message, or for each batch where it is given batches,
parses nothing, and commits its place to Kafka behind what was handled.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

from citybrain.traffic.v1 import events_pb2 as ev

from benchmarks.peers import peer
from benchmarks.rows import Aim, Row
from citybrain.event_store.distributed.reading import SharedPartition
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.store import StoredEvent
from citybrain.local.kafka import Kafka
from citybrain.mesh.events import type_name
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import Heard, Service, subscribe
from citybrain.mesh.testing.parts import Parts, greenlets

_STREAMS = 1000
_LIMIT_S = 300.0
_PEER_EVENTS = 10_000
_BATCH = 500


def measure(events: int) -> list[Row]:
    """A topic of events over 1,000 streams, handled from its beginning. The slow peer gets fewer events."""
    with tempfile.TemporaryDirectory() as name:
        kafka = Kafka(Path(name) / "kafka")
        kafka.start()
        try:
            asyncio.run(_fill(Cluster(kafka.address), events))
            ours = _kit(kafka.address, events)
            one_by_one = _faststream(kafka.address, min(events, _PEER_EVENTS), 0)
            batches = _faststream(kafka.address, events, _BATCH)
        finally:
            kafka.stop()
    return [
        Row("kafka-consume", ours, "events/s", "FastStream, a span and a commit for each", one_by_one, Aim(3)),
        Row("kafka-consume", ours, "events/s", "FastStream, given batches, a span and a commit for each batch", batches),
    ]


async def _fill(cluster: Cluster, events: int) -> None:
    log = await KafkaLog.open(cluster, ["traffic"])
    for version in range(1, events // _STREAMS + 1):
        await asyncio.gather(*(log.publish(_event(stream, version)) for stream in range(_STREAMS)))
    log.close()


def _event(stream: int, version: int) -> StoredEvent:
    message = ev.SignalReported(signal_id=f"s{stream}", command_id=str(uuid.uuid4()))
    moment = 1_700_000_000_000_000 + version
    return StoredEvent(
        str(uuid.uuid4()), type_name(message), message.SerializeToString(), moment, f"00-{stream + 1:032x}-{version:016x}-01",
        f"incident-{stream % 100}", str(uuid.uuid4()), "traffic", "gongshu", 2, f"traffic/signal-{stream}", version, moment, 0,
    )  # fmt: skip


def _faststream(address: str, events: int, batch: int) -> float:
    options = {"address": address, "topic": "city.traffic.events", "group": f"peer-{batch}", "events": events, "batch": batch}
    return peer("faststream_confluent", limit_s=_LIMIT_S, **options)["handled_per_s"]


def _kit(address: str, events: int) -> float:
    """Runs the service in a process of its own, as the peer runs."""
    command = [sys.executable, "-m", "benchmarks.on_kafka", address, str(events)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_LIMIT_S)
    return float(json.loads(done.stdout))


# -- the process that hears -----------------------------------------------------------------------------------------------


class Reacting(Service):
    """Hears reports, one event after the other."""

    name = "reacting"
    count = 0
    began = ended = 0.0

    @subscribe(ev.SignalReported)
    def hear(self, event: Heard) -> None:
        """Looks at it."""
        assert isinstance(event.data, ev.SignalReported)
        Reacting.ended = time.monotonic()
        Reacting.began = Reacting.began or Reacting.ended
        Reacting.count += 1


class _Hearing:
    """A store for listening only. Nothing is missing in this log, so no stream is ever read."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log

    def partitions(self, types: Collection[str] | None = None) -> list[SharedPartition]:
        """The one partition it was given."""
        return [SharedPartition(partition, None) for partition in self._log.partitions(types)]  # type: ignore[arg-type]


def _hear(address: str, events: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        parts = Parts(Path(name))
        engine: Any = parts.process.engine
        engine.store = _Hearing(wait(KafkaLog.open(Cluster(address), ["traffic"])))
        parts.add(Reacting, "citybrain.traffic.v1.TrafficService")
        parts.start(serve=False)
        end = time.monotonic() + _LIMIT_S
        while Reacting.count < events and time.monotonic() < end:
            wait(asyncio.sleep(0.01))
    assert Reacting.count == events, f"{Reacting.count} of {events} were handled"
    sys.stdout.write(json.dumps(Reacting.count / (Reacting.ended - Reacting.began)))
    sys.stdout.flush()
    # Nothing more is measured, so the process ends at once.
    os._exit(0)


if __name__ == "__main__":
    greenlets().run(lambda: _hear(sys.argv[1], int(sys.argv[2])))
