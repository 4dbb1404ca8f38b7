"""The ring file of telemetry: what one caller gives it ends nothing for the others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from citybrain.event_store.contract import StoreError
from citybrain.event_store.telemetry import TelemetryRing


@pytest.mark.parametrize(("topic", "received_at"), [("t", 2**70), ("half a letter \ud800", 1)])
def test_a_batch_that_no_file_can_hold_is_refused_and_those_beside_and_after_it_are_kept(
    tmp_path: Path, topic: str, received_at: int
) -> None:
    async def test() -> None:
        telemetry = TelemetryRing(tmp_path / "telemetry.db")
        asked = [telemetry.put("t", 1, b"before"), telemetry.put(topic, received_at, b"odd"), telemetry.put("t", 2, b"beside")]
        before, odd, beside = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(odd, StoreError)
        assert (before, beside) == (None, None)
        with pytest.raises(StoreError):
            await telemetry.read("t", 2**70, 10)
        await telemetry.put("t", 3, b"after")
        assert [batch.data for batch in await telemetry.read("t", 0, 10)] == [b"before", b"beside", b"after"]
        telemetry.close()

    asyncio.run(asyncio.wait_for(test(), 30))
