"""The ring file of readings keeps the hours it promises, and what one caller gives it ends nothing for the others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from citybrain.event_store.readings import KEPT_US, kept_us
from citybrain.event_store.sqlite.readings import SqliteReadings
from citybrain.event_store.store import StoreError

HOUR = 3600 * 1_000_000


def test_batches_of_the_last_six_hours_are_kept_and_older_ones_go(tmp_path: Path) -> None:
    assert KEPT_US == 6 * HOUR
    came = [0, HOUR - 1, HOUR, 3 * HOUR, *range(7 * HOUR - 1000, 7 * HOUR + 1)]

    async def run() -> list[int]:
        ring = SqliteReadings(tmp_path / "t.db")
        try:
            for at in came:
                await ring.put("t", at, b"x")
            return [batch.received_at for batch in await ring.read("t", 0, 2000)]
        finally:
            ring.close()

    kept = asyncio.run(asyncio.wait_for(run(), 60))
    # It is looked from time to time, so what is a little too old may be there.
    assert kept[:2] == [HOUR, 3 * HOUR] or kept[:3] == [HOUR - 1, HOUR, 3 * HOUR]
    assert kept[-1] == 7 * HOUR and len(kept) >= 1003


def test_what_processes_pass_on_to_each_other_is_kept_for_a_minute(tmp_path: Path) -> None:
    assert (kept_us("t.passed"), kept_us("t")) == (60_000_000, KEPT_US)
    came = [0, 1, 2, *range(60_000_001, 60_001_001)]

    async def run() -> list[list[int]]:
        ring = SqliteReadings(tmp_path / "t.db")
        try:
            for at in came:
                for topic in ("t.passed", "t"):
                    await ring.put(topic, at, b"x")
            return [[one.received_at for one in await ring.read(topic, 0, 2000)][:2] for topic in ("t.passed", "t")]
        finally:
            ring.close()

    passed, other = asyncio.run(asyncio.wait_for(run(), 60))
    # It is looked from time to time, so what is a little too old may be there.
    assert passed[0] > 2
    assert other == [0, 1]


@pytest.mark.parametrize(("topic", "received_at"), [("t", 2**70), ("half a letter \ud800", 1)])
def test_a_batch_that_no_file_can_hold_is_refused_and_those_beside_and_after_it_are_kept(
    tmp_path: Path, topic: str, received_at: int
) -> None:
    async def test() -> None:
        readings = SqliteReadings(tmp_path / "readings.db")
        asked = [readings.put("t", 1, b"before"), readings.put(topic, received_at, b"odd"), readings.put("t", 2, b"beside")]
        before, odd, beside = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(odd, StoreError)
        assert (before, beside) == (None, None)
        with pytest.raises(StoreError):
            await readings.read("t", 2**70, 10)
        await readings.put("t", 3, b"after")
        assert [batch.data for batch in await readings.read("t", 0, 10)] == [b"before", b"beside", b"after"]
        readings.close()

    asyncio.run(asyncio.wait_for(test(), 30))
