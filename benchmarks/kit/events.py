"""kit-subscribe: how fast a service works through a log, its checkpoint (and read model) in its file, beside bare parts."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
import time
from pathlib import Path

from citybrain.traffic.v1 import events_pb2 as ev

from benchmarks.kit.measure import kit
from benchmarks.rows import Aim, Row
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import ANY, NewEvent
from citybrain.mesh.events import type_name

_STREAMS = 1000
_BATCH = 500
_LIMIT_S = 120.0


def measure(events: int = 60_000) -> list[Row]:
    """A log of events over 1,000 streams, worked through from its beginning."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(_fill(folder / "events.db", events))
        floor = _bare(folder, events)
        peer = "bare: read, parse, count, one transaction a batch"
        return [
            Row(row, _kit_rate(folder, service, group, events), "events/s", peer, floor, Aim(10_000, "value"))
            for row, service, group in (
                ("kit-subscribe", "folding", "folding.view.counted"),
                ("kit-subscribe reaction", "reacting", "reacting.hear"),
            )
        ]


async def _fill(path: Path, events: int) -> None:
    store = SqliteEventStore(path)
    for first in range(0, events, 5000):
        appends = []
        for number in range(first, min(events, first + 5000)):
            signal = f"signal-{number % _STREAMS}"
            event = ev.SignalReported(signal_id=signal, command_id=f"c{number}")
            new = NewEvent(f"e{number}", type_name(event), event.SerializeToString(), number)
            appends.append(store.append(f"traffic/signal-{signal}", [new], ANY))
        await asyncio.gather(*appends)
    store.close()


def _kit_rate(folder: Path, service: str, group: str, events: int) -> float:
    """Events a second, between the first checkpoint that is seen and the last."""
    with kit(folder, service):
        views = sqlite3.connect(f"file:{folder / service}.views.db?mode=ro", uri=True, timeout=30)
        seen: list[tuple[float, int]] = []
        end = time.monotonic() + _LIMIT_S
        while not seen or seen[-1][1] < events:
            assert time.monotonic() < end, f"{service} stands at {seen[-1:]}"
            row = views.execute("SELECT position FROM groups WHERE name = ?", (group,)).fetchone()
            if row and row[0]:
                seen.append((time.monotonic(), row[0]))
            time.sleep(0.002)
        views.close()
    (begin, first), (done, last) = seen[0], seen[-1]
    return (last - first) / (done - begin)


def _bare(folder: Path, events: int) -> float:
    """The same by hand in one thread: no kit, no greenlet, no context."""
    log = sqlite3.connect(folder / "events.db")
    views = sqlite3.connect(folder / "bare.views.db", isolation_level=None)
    views.execute("PRAGMA journal_mode=WAL")
    views.execute("PRAGMA synchronous=NORMAL")
    views.execute("CREATE TABLE rows (key TEXT PRIMARY KEY, row TEXT) WITHOUT ROWID")
    views.execute("CREATE TABLE checkpoint (position INTEGER)")
    views.execute("INSERT INTO checkpoint VALUES (0)")
    began, position = time.monotonic(), 0
    while position < events:
        page = log.execute(
            "SELECT position, data FROM events WHERE position > ? ORDER BY position LIMIT ?", (position, _BATCH)
        ).fetchall()
        rows: dict[str, dict[str, int]] = {}
        for _, data in page:
            signal = ev.SignalReported.FromString(data).signal_id
            if signal not in rows:
                found = views.execute("SELECT row FROM rows WHERE key = ?", (signal,)).fetchone()
                rows[signal] = json.loads(found[0]) if found else {"count": 0}
            rows[signal] = {"count": rows[signal]["count"] + 1}
        position = page[-1][0]
        views.execute("BEGIN IMMEDIATE")
        views.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", [(key, json.dumps(row)) for key, row in rows.items()])
        views.execute("UPDATE checkpoint SET position = ?", (position,))
        views.execute("COMMIT")
    rate = events / (time.monotonic() - began)
    log.close()
    views.close()
    return rate
