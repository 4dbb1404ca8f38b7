"""What a store of readings promises: batches by topic in the order they came in, as they were sent.

An engine joins by one subclass that opens it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import ClassVar

import pytest

from citybrain.event_store.readings import MAX_BATCH_BYTES, ReadingsBatch, ReadingsLog
from citybrain.event_store.store import Features, LimitExceeded

Test = Callable[[ReadingsLog], Awaitable[None]]
TOPIC = "citybrain.traffic.v1.DetectorCounts"


async def everything(log: ReadingsLog, count: int, limit: int = 100, topic: str = TOPIC) -> list[ReadingsBatch]:
    """A topic from its beginning, as soon as it has so many."""
    found: list[ReadingsBatch] = []
    while len(found) < count:
        position = found[-1].position if found else 0
        await log.grown(topic, position)
        found += await log.read(topic, position, limit)
    return found


class ReadingsContract:
    """What every engine does."""

    features: ClassVar[Features]
    # After this long a test has failed.
    limit_s = 60.0

    def readings(self, folder: Path) -> AbstractAsyncContextManager[ReadingsLog]:
        """Opens the place in a folder; a second time, as another process would."""
        raise NotImplementedError

    def on_one(self, folder: Path, test: Test) -> None:
        """Runs a test on a fresh place."""

        async def run() -> None:
            async with self.readings(folder / str(uuid.uuid4())) as log:
                await asyncio.wait_for(test(log), self.limit_s)

        asyncio.run(run())

    def on_two(self, folder: Path, test: Callable[[ReadingsLog, ReadingsLog], Awaitable[None]]) -> None:
        """Runs a test on a place that two processes have open."""
        if not self.features.several_processes:
            pytest.skip("this engine is for one process")

        async def run() -> None:
            place = folder / str(uuid.uuid4())
            async with self.readings(place) as one, self.readings(place) as two:
                await asyncio.wait_for(test(one, two), self.limit_s)

        asyncio.run(run())

    def test_batches_come_out_as_they_were_sent_and_in_that_order(self, tmp_path: Path) -> None:
        async def test(log: ReadingsLog) -> None:
            sent = [(1_000_000 + number, b"\x00batch %d" % number) for number in range(20)]
            for received_at, data in sent:
                await log.put(TOPIC, received_at, data)
            found = await everything(log, 20, limit=7)
            assert [(one.received_at, one.data) for one in found] == sent
            positions = [one.position for one in found]
            assert positions == sorted(set(positions))
            assert log.head(TOPIC) == positions[-1]
            assert await log.read(TOPIC, positions[-1], 10) == []

        self.on_one(tmp_path, test)

    def test_a_topic_has_its_own_batches_only(self, tmp_path: Path) -> None:
        async def test(log: ReadingsLog) -> None:
            await log.put(TOPIC, 1, b"a")
            await log.put("citybrain.health.v1.Beds", 2, b"b")
            (found,) = await everything(log, 1, topic="citybrain.health.v1.Beds")
            assert (found.received_at, found.data) == (2, b"b")
            assert log.head("citybrain.other.v1.Nothing") == 0
            assert await log.read("citybrain.other.v1.Nothing", 0, 10) == []

        self.on_one(tmp_path, test)

    def test_a_batch_that_is_too_large_is_refused_and_the_largest_is_kept(self, tmp_path: Path) -> None:
        async def test(log: ReadingsLog) -> None:
            with pytest.raises(LimitExceeded, match="send several"):
                await log.put(TOPIC, 1, bytes(MAX_BATCH_BYTES + 1))
            await log.put(TOPIC, 2, bytes(MAX_BATCH_BYTES))
            (found,) = await everything(log, 1)
            assert (found.received_at, len(found.data)) == (2, MAX_BATCH_BYTES)

        self.on_one(tmp_path, test)

    def test_another_process_is_woken_by_what_comes(self, tmp_path: Path) -> None:
        async def test(here: ReadingsLog, there: ReadingsLog) -> None:
            waiting = asyncio.ensure_future(there.grown(TOPIC, 0))
            await here.put(TOPIC, 1, b"a")
            await waiting
            assert [one.data for one in await there.read(TOPIC, 0, 10)] == [b"a"]

        self.on_two(tmp_path, test)

    def test_what_another_process_was_told_is_kept_can_be_read_after_a_look(self, tmp_path: Path) -> None:
        async def test(here: ReadingsLog, there: ReadingsLog) -> None:
            assert await there.read(TOPIC, 0, 10) == []
            for number in range(20):
                await here.put(TOPIC, number, b"%d" % number)
                await there.up_to_now(TOPIC)
                found = await there.read(TOPIC, 0, 100)
                assert len(found) == number + 1
                assert there.head(TOPIC) == found[-1].position

        self.on_two(tmp_path, test)

    def test_what_was_kept_is_there_when_the_place_is_opened_again(self, tmp_path: Path) -> None:
        if not self.features.durable:
            pytest.skip("this engine keeps nothing")

        async def run() -> None:
            place = tmp_path / str(uuid.uuid4())
            async with self.readings(place) as log:
                for number in range(5):
                    await log.put(TOPIC, number, b"%d" % number)
            async with self.readings(place) as log:
                assert [one.data for one in await everything(log, 5, limit=2)] == [b"0", b"1", b"2", b"3", b"4"]

        asyncio.run(asyncio.wait_for(run(), self.limit_s))
