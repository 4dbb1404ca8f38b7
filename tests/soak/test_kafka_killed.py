"""Kafka alone is killed under load: what was acknowledged is compared with a record that is kept outside of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from citybrain.event_store.distributed.verifying import verify
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.kafka.log import KafkaLog
from citybrain.event_store.kafka.topics import UNNAMED
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.store import ANY, Committed, StoredEvent
from citybrain.local.engine_processes import EngineProcesses
from citybrain.local.kafka import Kafka
from tests.contract.log import Member
from tests.contract.store import event
from tests.engines.kafka_on_memory import OnMemory, these

WRITERS = 16
KILLS = 2
# What each writer has acknowledged at least between two kills.
BETWEEN = 8


@pytest.fixture
def kafka(tmp_path: Path, engines: EngineProcesses) -> Iterator[Kafka]:
    """One that may be killed; `engines`, so that what it runs on is there."""
    one = Kafka(tmp_path / "kafka")
    one.start()
    yield one
    one.stop()


@pytest.mark.timeout(240)
def test_nothing_acknowledged_is_lost_or_out_of_order_or_handled_twice_while_kafka_is_killed(
    kafka: Kafka, tmp_path: Path
) -> None:
    asyncio.run(asyncio.wait_for(_killed_under_load(kafka, tmp_path), 200))


async def _killed_under_load(kafka: Kafka, folder: Path) -> None:
    store = OnMemory(await KafkaLog.open(Cluster(kafka.address), [UNNAMED]))
    models = SqliteReadModels(folder / "views.db")
    # Two writers to each stream; what they were told, outside of everything that is tried.
    told: dict[str, dict[int, str]] = defaultdict(dict)
    counts = [0] * WRITERS
    go_on = True

    async def write(number: int) -> None:
        stream = f"s{number // 2}"
        while go_on:
            new = event()
            outcome = await store.append(stream, [new], ANY)
            assert isinstance(outcome, Committed)
            told[stream][outcome.last] = new.id
            counts[number] += 1
            # As a caller does: the next one when this one is in the log.
            await store.writer.settled()

    members = [Member(partition, models, group=f"group@{partition.name}") for partition in store.partitions()]
    hearing = [asyncio.ensure_future((await member.join()).run()) for member in members]
    writing = [asyncio.ensure_future(write(number)) for number in range(WRITERS)]
    for _ in range(KILLS):
        await _until_each_wrote(counts, [count + BETWEEN for count in counts], writing)
        await asyncio.to_thread(kafka.kill)
        await asyncio.to_thread(kafka.start)
    await _until_each_wrote(counts, [count + BETWEEN for count in counts], writing)
    go_on = False
    await asyncio.gather(*writing)
    await store.writer.settled()

    wanted = {stream: [versions[version] for version in sorted(versions)] for stream, versions in told.items()}
    assert sum(map(len, wanted.values())) == sum(counts)
    while sum(len(member.heard) for member in members) < sum(counts):
        assert not any(task.done() for task in hearing), [task for task in hearing if task.done()]
        await asyncio.sleep(0.02)
    heard: dict[str, list[str]] = defaultdict(list)
    for member in members:
        for one in member.heard:
            heard[one.stream].append(one.id)
    assert heard == wanted, "each event once, in order, to each group"
    assert dict(await models.scan("seen")) == {one: {"times": 1} for ids in wanted.values() for one in ids}
    assert await _in_the_log(store) == wanted
    found = await verify(these(*wanted), store.log, store.writer.publisher)
    assert found.sound and not found.differing
    for task in hearing:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    models.close()
    store.close()


async def _until_each_wrote(counts: list[int], wanted: list[int], writing: list[asyncio.Task[None]]) -> None:
    while any(count < least for count, least in zip(counts, wanted, strict=True)):
        for task in writing:
            if task.done():
                task.result()
        await asyncio.sleep(0.02)


async def _in_the_log(store: OnMemory) -> dict[str, list[str]]:
    """What the partitions hold, read from their beginning, each version where it stands first."""
    first: dict[str, dict[int, StoredEvent]] = defaultdict(dict)
    for partition in store.partitions():
        position = 0
        while position < partition.head():
            page = await partition.read_log(position)
            for one in page.events:
                first[one.stream].setdefault(one.version, one)
            position = page.reached
    for versions in first.values():
        assert list(versions) == list(range(1, len(versions) + 1)), "first occurrences are in version order"
    return {stream: [one.id for one in versions.values()] for stream, versions in first.items()}
