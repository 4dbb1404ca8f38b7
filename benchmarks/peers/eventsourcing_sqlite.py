"""`eventsourcing` on SQLite: its recorder, below aggregates and their serialisation, where it is fastest."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

_PAGE = 1000


def main(options: dict[str, Any]) -> dict[str, float]:
    """`writers` append single events to `streams` for `seconds`; then, where `read` is set, the log is read once in pages."""
    store = SQLiteDatastore(db_name=str(Path(options["folder"]) / "eventsourcing.db"), lock_timeout=30, pool_timeout=60.0)
    recorder = SQLiteApplicationRecorder(store)
    recorder.create_table()
    result: dict[str, float] = {}
    if options.get("seconds"):
        result["appends_per_s"] = append(recorder, options)
    if events := options.get("read"):
        result["reads_per_s"] = read(recorder, events, options["payload"])
    return result


def append(recorder: SQLiteApplicationRecorder, options: dict[str, Any]) -> float:
    """Appends a second, from the first to the last writer's end."""
    writers, payload = options["writers"], b"x" * options["payload"]
    counts = [0] * writers
    end = time.monotonic() + options["seconds"]

    def write(number: int) -> None:
        mine = [UUID(int=stream + 1) for stream in range(number, options["streams"], writers)]
        versions = [0] * len(mine)
        while time.monotonic() < end:
            at = counts[number] % len(mine)
            versions[at] += 1
            recorder.insert_events([StoredEvent(mine[at], versions[at], "benchmark:Happened", payload)])
            counts[number] += 1

    began = time.monotonic()
    with ThreadPoolExecutor(writers) as threads:
        list(threads.map(write, range(writers)))
    return sum(counts) / (time.monotonic() - began)


def read(recorder: SQLiteApplicationRecorder, events: int, size: int) -> float:
    """Fills a log, then reads all of it."""
    for first in range(0, events, _PAGE):
        page = [
            StoredEvent(UUID(int=number % 1000 + 1), number // 1000 + 1, "benchmark:Happened", b"x" * size)
            for number in range(first, first + _PAGE)
        ]
        recorder.insert_events(page)
    seen, last = 0, 0
    began = time.monotonic()
    while page := recorder.select_notifications(start=last + 1, limit=_PAGE):
        seen += len(page)
        last = page[-1].id
    assert seen == events, seen
    return seen / (time.monotonic() - began)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
