"""A process is killed while it records: what was durable stays, and the trail is sound and goes on."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.local.city import ROOT
from citybrain.mesh.audit import chain
from citybrain.mesh.audit.reading import Found, Query, records
from citybrain.mesh.audit.trail import ChainedTrail
from citybrain.mesh.audit.verifying import Report, verify

LIMIT_S = 60
KILLS = 4


def killed(file: Path, name: str, after: int) -> set[str]:
    """Records until so many entries are durable, then is killed; returns those that it was told are."""
    command = [sys.executable, "-m", "tests.helpers.recording", str(file), name]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(after)]
        process.kill()
        # What it had written when it was killed counts too; a line that was cut short does not.
        told += process.stdout.readlines()
        process.wait(LIMIT_S)
    return {line.strip() for line in told if line.endswith("\n")}


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_durable_when_a_process_was_killed_is_there_and_the_trail_is_sound(seed: int, tmp_path: Path) -> None:
    chance, file = random.Random(seed), tmp_path / "events.db"
    told: set[str] = set()
    for number in range(KILLS):
        told |= killed(file, f"process {number}", chance.randrange(1, 80))

    async def look() -> tuple[Report, set[str], Report]:
        store = SqliteEventStore(file)
        before = await verify(store)
        found = {one.record.request_id async for one in records(store, Query()) if isinstance(one, Found)}
        later = ChainedTrail(store, lambda: 1)
        await later._looking_after
        await later.close()
        after = await verify(store)
        store.close()
        return before, found, after

    before, found, after = asyncio.run(asyncio.wait_for(look(), LIMIT_S))
    assert before.sound and len(told) >= KILLS and told <= found
    chains = {name: one for name, one in after.chains.items() if name != chain.ANCHORS}
    assert after.sound and len(chains) == KILLS
    assert all(one.anchored == one.batches > 0 for one in chains.values()), "the next process anchors their ends"
