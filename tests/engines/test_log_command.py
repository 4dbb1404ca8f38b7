"""`city log verify` on real engines, as somebody types it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

from citybrain.event_store.distributed.interfaces import Batch
from citybrain.event_store.store import ANY, StoredEvent
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.storage.distributed import Distributed
from tests.contract.store import event
from tests.helpers.city_command import run


def verify(settings: Settings, *options: str) -> subprocess.CompletedProcess[str]:
    said = {
        "CITY_DATA": str(settings.data),
        "CITY_STORE": "distributed",
        "CITY_KAFKA_ADDRESSES": settings.kafka.addresses,
        "CITY_KAFKA_PREFIX": settings.kafka.prefix,
        "CITY_CASSANDRA_ADDRESSES": settings.cassandra.addresses,
        "CITY_CASSANDRA_KEYSPACE": settings.cassandra.keyspace,
    }
    return run(Path.cwd(), "log", "verify", *options, limit_s=100, more=said)


async def lose_one(settings: Settings) -> None:
    """Three events of which Kafka forgets the second, after it was acknowledged."""
    engine = await Distributed.open(settings, [])
    honest = engine._log.publish

    async def forgets(event: StoredEvent) -> None:
        if event.version != 2:
            await honest(event)

    engine._log.publish = forgets  # type: ignore[method-assign]
    for name in ("e1", "e2", "e3"):
        await engine.store.append("traffic/signal-1", [event(name)], ANY)
    await engine.store.writer.settled()
    await engine.close()


def test_what_kafka_lost_is_told_and_published_again(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(lose_one(settings))
    stranger = verify(settings.model_copy(update={"data": tmp_path / "elsewhere"}))
    assert stranger.returncode == 2 and "were wrapped by another master key" in stranger.stderr
    assert "Traceback" not in stranger.stderr
    told = verify(settings)
    assert told.returncode == 1, told.stderr
    assert "traffic/signal-1: 3 events, 1 of them in the log; 2 that Kafka had acknowledged are lost there" in told.stdout
    assert "2 are lost: run `city log verify --repair`" in told.stdout
    repaired = verify(settings, "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert "2 were missing there and are published" in repaired.stdout
    again = verify(settings, "--json")
    assert again.returncode == 0
    found = json.loads(again.stdout)
    assert found["sound"] and found["differing"] == []
    # Beside them are the records of these commands.
    assert found["streams"] > 1 and found["events"] > 4


async def forget_one(settings: Settings) -> None:
    """Three events, of which nobody has published the last, and nobody knows that it has yet to be."""
    engine = await Distributed.open(settings, [])
    for name in ("e1", "e2"):
        await engine.store.append("traffic/signal-2", [event(name)], ANY)
    await engine.store.writer.settled()
    tail = await engine.store.streams.tail("traffic/signal-2")
    (first, *_) = await engine.store.read("traffic/signal-2")
    stored = first._replace(id="e3", version=3)
    assert await engine._tables.append(Batch("traffic/signal-2", tail.bucket, tail.head, tail.fence, (stored,)))
    for opening in await engine._tables.opened(engine.store.writer.id):
        await engine._tables.forget(engine.store.writer.id, opening)
    await engine.close()


def test_what_no_writer_and_no_adopter_published_is_told_and_published(settings: Settings) -> None:
    asyncio.run(forget_one(settings))
    told = verify(settings)
    assert "traffic/signal-2: 3 events, 2 of them in the log" in told.stdout, told.stdout + told.stderr
    repaired = verify(settings, "--repair")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert "1 were missing there and are published" in repaired.stdout
    found = json.loads(verify(settings, "--json").stdout)
    assert found["sound"] and found["differing"] == []
    assert found["streams"] > 1 and found["events"] > 3
