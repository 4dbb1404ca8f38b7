"""The ring of telemetry keeps the hours it promises, and no more for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

from citybrain.event_store.telemetry import KEPT_US, TelemetryRing

HOUR = 3600 * 1_000_000


def test_batches_of_the_last_six_hours_are_kept_and_older_ones_go(tmp_path: Path) -> None:
    assert KEPT_US == 6 * HOUR
    came = [0, HOUR - 1, HOUR, 3 * HOUR, *range(7 * HOUR - 1000, 7 * HOUR + 1)]

    async def run() -> list[int]:
        ring = TelemetryRing(tmp_path / "t.db")
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
