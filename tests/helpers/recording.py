"""A process that records what callers do until it is killed. Run as `python -m tests.helpers.recording FILE NAME`.

It writes the number of each entry that it was told is durable, one a line.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.mesh.audit.entries import Entry
from citybrain.mesh.audit.trail import ChainedTrail


async def record(file: Path, name: str) -> None:
    """Keeps one entry after the other in several tasks, and notes others beside."""
    store = SqliteEventStore(file)
    trail = ChainedTrail(store, lambda: 1, anchor_s=0.05)

    async def task(which: int) -> None:
        number = 0
        while True:
            trail.note(Entry(subject="noted", method="m/Look"))
            await trail.keep(Entry(subject="kept", method="m/Do", request_id=f"{name} {which} {number}"))
            sys.stdout.write(f"{name} {which} {number}\n")
            sys.stdout.flush()
            number += 1

    await asyncio.gather(*(task(which) for which in range(4)))


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]), sys.argv[2]))
