"""A disk that fills up under open files: what is told is that it is full, nothing of the work is kept, and then it goes on."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from citybrain.personal.v1 import personal_pb2

from citybrain.event_store.snapshots import Snapshot
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.sqlite.keys import SqliteKeys
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.sqlite.readings import SqliteReadings
from citybrain.event_store.sqlite.snapshots import SqliteSnapshots
from citybrain.event_store.store import ANY, NewEvent, StoreError
from citybrain.observability.spans import Span
from citybrain.observability.trace_store import TraceStore
from tests.unit.event_store.test_database import small

__all__ = ["small"]

LARGE = 300_000
WORDS = os.urandom(LARGE // 2).hex()


async def append(store: SqliteEventStore, number: int) -> None:
    events = [NewEvent(f"{number}-{n}", "t", WORDS.encode()[:200_000], 1) for n in range(3)]
    await store.append("s", events, ANY)


async def fold(models: SqliteReadModels, number: int) -> None:
    epoch, _ = await models.join("g")
    await models.save("g", epoch, number, "v", {str(number): {"text": WORDS}})


async def obtain(keys: SqliteKeys, number: int) -> None:
    await keys.obtain([f"{number}-{n}" for n in range(3000)], personal_pb2.CIPHER_AES_256_GCM)


async def destroy(keys: SqliteKeys, number: int) -> None:
    await keys.destroy("somebody" * 600, number)


async def snap(snapshots: SqliteSnapshots, number: int) -> None:
    await snapshots.keep(f"s{number}", Snapshot(1, "e", "code", WORDS.encode()))


async def put(readings: SqliteReadings, number: int) -> None:
    await readings.put("t", number, WORDS.encode())


async def trace(store: TraceStore, number: int) -> None:
    store.insert([Span("t", f"{number}", "", "health", WORDS, "server", 1, 2)])


Work = Callable[[Any, int], Awaitable[None]]
KINDS: dict[str, tuple[Callable[[Path], Any], Work]] = {
    "events": (SqliteEventStore, append),
    "read models": (SqliteReadModels, fold),
    "keys": (lambda path: SqliteKeys(path, b"k" * 32), obtain),
    "erasures": (lambda path: SqliteKeys(path, b"k" * 32), destroy),
    "snapshots": (SqliteSnapshots, snap),
    "readings": (SqliteReadings, put),
    "spans": (TraceStore, trace),
}


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_disk_that_fills_up_it_is_told_that_it_is_full_and_what_comes_when_there_is_room_is_kept(
    small: Path, kind: str
) -> None:
    open_it, work = KINDS[kind]

    async def test() -> None:
        kept = open_it(small / "kept.db")
        try:
            await fill_and_work(kept)
        finally:
            kept.close()

    async def fill_and_work(kept: Any) -> None:
        filler = small / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)) == 4096:
                pass
        for number in range(2):
            with pytest.raises((StoreError, sqlite3.Error)) as told:
                await work(kept, number)
            assert "full" in str(told.value), told.value
        filler.unlink()
        await work(kept, 2)

    asyncio.run(test())
