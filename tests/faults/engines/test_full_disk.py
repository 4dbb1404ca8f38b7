"""The disk under both engines is full for a while: callers are told, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from citybrain.event_store.cassandra.migrations import migrate
from citybrain.event_store.cassandra.session import Place
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.kafka.cluster import Cluster
from citybrain.event_store.store import ANY, Committed, StoreError, Undecided
from citybrain.local.cassandra import Cassandra
from citybrain.local.engine_process import EngineProcess
from citybrain.local.engine_processes import EngineProcesses
from citybrain.local.kafka import Kafka
from tests.contract.store import event
from tests.faults.engines.record import compare
from tests.faults.engines.test_stopped_writer import everything
from tests.faults.engines.writer_process import opened

SIZE = "420m"
LIMIT_S = 150


@pytest.fixture
def small(tmp_path: Path, engines: EngineProcesses) -> Iterator[Path]:
    """A small file system of its own; `engines`, so that what they run on is there."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"NOT TESTED ON A FULL DISK: a file system can only be mounted by root ({problem})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leaves no room at all."""
    filler = folder / "filler"
    part = b"x" * 65_536
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(part) == len(part):
            pass
    assert shutil.disk_usage(folder).free < len(part)
    return filler


def start(both: list[EngineProcess]) -> None:
    for engine in both:
        engine.launch()
    for engine in both:
        engine.wait()


@pytest.mark.timeout(LIMIT_S + 90)
def test_a_full_disk_is_told_and_when_there_is_room_again_everything_goes_on(small: Path, prefix: str) -> None:
    both: list[EngineProcess] = [Cassandra(small / "cassandra"), Kafka(small / "kafka")]
    told: dict[str, tuple[str, int]] = {}

    async def append(store: DistributedEventStore, number: int, timeout_s: float | None) -> None:
        stream, name = f"s{number % 3}", f"e{number}"
        outcome = await store.append(stream, [event(name, data=b"x" * 200_000)], ANY, timeout_s)
        assert isinstance(outcome, Committed)
        told[name] = (stream, outcome.first)

    async def test() -> None:
        where = Place(both[0].address, f"small_{prefix}", answer_s=2)
        await migrate(where)
        async with opened(where, Cluster(both[1].address, prefix=prefix)) as (store, _, log):
            for number in range(10):
                await append(store, number, None)
            filler = fill(small)
            number = 10
            with pytest.raises(Undecided, match="retry with the same request id"):
                while True:
                    await append(store, number, 5)
                    number += 1
            with pytest.raises(StoreError, match=r"the streams do not answer|the log takes nothing"):
                while True:
                    await store.writable()
                    await asyncio.sleep(0.1)
            filler.unlink()
            await asyncio.to_thread(start, both)
            # Who was told to ask again does, and is told once.
            await append(store, number, None)
            for later in range(number + 1, number + 10):
                await append(store, later, None)
            await store.writer.settled()
            await store.writable()
            await compare(told, store, await everything(log))

    try:
        start(both)
        asyncio.run(asyncio.wait_for(test(), LIMIT_S))
    finally:
        for engine in both:
            engine.kill()
