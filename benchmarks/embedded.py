"""embedded-*: the event store on one SQLite file, beside other event stores that write as durably to the same disk.

An event here has 256 bytes and the full envelope of ES-13; every append names the exact version it expects. A writer is a
task that waits for its answer before it goes on. The peers' events have the same 256 bytes and less around them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from citybrain.options.v1.options_pb2 import CLASSIFICATION_INTERNAL

from benchmarks.peers import peer
from benchmarks.rows import Aim, Row, quantile
from citybrain.event_store.sqlite import SqliteEventStore, file, reading, writing
from citybrain.event_store.store import NO_STREAM, Committed, NewEvent

_STREAMS = 1000
_PAYLOAD = 256
_READ = 200_000
_PAGE = 1000
_LIVE = 2000
_LIVE_PAUSE_S = 0.002
_GROWN = (1_000_000, 5_000_000)
_ALONE = 4000
# Bytes of a page in the write-ahead log.
_FRAME = 4096 + 24

T = TypeVar("T")


def _below(number: float) -> Aim:
    return Aim(number, "value", least=False)


_ids = itertools.count(1)


def measure(full: bool) -> list[Row]:
    """All rows of the embedded store. The row of growth takes minutes and belongs to the long run."""
    rounds, seconds = (3, 10.0) if full else (2, 4.0)
    rows = [
        *_appending(16, rounds, seconds, Aim(4), Aim(2)),
        *_appending(1, rounds, seconds, Aim(0.8), None),
        *_reading(rounds),
        *_living(),
    ]
    return [*rows, *_growing()] if full else rows


def _appending(writers: int, rounds: int, seconds: float, *aims: Aim | None) -> list[Row]:
    """In turns, so that a disk that gets slower gets slower for all."""
    options = {"writers": writers, "streams": _STREAMS, "payload": _PAYLOAD, "seconds": seconds}
    ours, eventsourcing, umadb = [], [], []
    for _ in range(rounds):
        ours.append(_on_a_store(lambda store: _rate(store, writers, seconds)))
        eventsourcing.append(_peer("eventsourcing_sqlite", **options)["appends_per_s"])
        umadb.append(_peer("umadb_server", **options)["appends_per_s"])
    name, rate = f"embedded-append-{writers}", statistics.median(ours)
    peers = (
        (f"eventsourcing on SQLite, {writers} threads", statistics.median(eventsourcing)),
        (f"umadb, {writers} clients", statistics.median(umadb)),
    )
    profile = _parts(1e6 / rate) if writers == 1 else {}
    return [Row(name, rate, "appends/s", *one, aim, profile) for one, aim in zip(peers, aims, strict=True)]


def _parts(whole_us: float) -> dict[str, float]:
    """Where the time of a single append goes. Its transaction and its flush are measured alone too."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "events.db"
        connection = file.opened(path)
        streams = writing.StreamHeads(connection)

        def append(number: int) -> None:
            stream, version = number % _STREAMS, number // _STREAMS
            writing.write(connection, streams, [(f"traffic/signal-{stream}", [_event()], version)])

        transaction = _each_us(append, range(_ALONE))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        for number in range(_ALONE, _ALONE + _STREAMS):
            append(number)
        pages = path.with_name("events.db-wal").stat().st_size / _FRAME / _STREAMS
        connection.close()
        flush = _flush_us(Path(name) / "flushed", round(pages) * _FRAME)
    return {
        f"the flush alone, of {pages:.1f} pages, µs": flush,
        "the rest of the transaction, µs": transaction - flush,
        "to the thread that writes and back, and the loop, µs": whole_us - transaction,
    }


def _flush_us(path: Path, size: int) -> float:
    """Flushes bytes that replace others, as in a write-ahead log that does not grow any more."""
    with path.open("w+b", buffering=0) as flushed:
        flushed.write(bytes(1000 * _FRAME))
        os.fsync(flushed.fileno())

        def flush(number: int) -> None:
            flushed.seek(number * size % (900 * _FRAME))
            flushed.write(bytes(size))
            os.fdatasync(flushed.fileno())

        return _each_us(flush, range(_ALONE // 4))


def _each_us(work: Callable[[int], object], numbers: range) -> float:
    began = time.monotonic()
    for number in numbers:
        work(number)
    return (time.monotonic() - began) / len(numbers) * 1e6


def _reading(rounds: int) -> list[Row]:
    """In turns, too."""
    aims = {"eventsourcing_sqlite": Aim(1.3), "umadb_server": Aim(1 / 3)}
    ours: list[dict[str, float]] = []
    peers: dict[str, list[float]] = {name: [] for name in aims}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            ours.append(asyncio.run(_read_all(Path(name) / "events.db")))
        for name, rates in peers.items():
            rates.append(_peer(name, read=_READ, payload=_PAYLOAD)["reads_per_s"])
    parts = {part: statistics.fmean(one[part] for one in ours) for part in ours[0]}
    rate = 1e6 / sum(parts.values())
    return [
        Row("embedded-read", rate, "events/s", f"{name.partition('_')[0]}, pages", statistics.fmean(peers[name]), aim, parts)
        for name, aim in aims.items()
    ]


def _living() -> list[Row]:
    late = _on_a_store(_lateness)
    heard = _peer("umadb_server", live=_LIVE, payload=_PAYLOAD)
    return [
        Row("embedded-live p50", quantile(late, 0.5), "ms", "umadb, the same way", heard["live_p50_ms"], _below(1)),
        Row("embedded-live p99", quantile(late, 0.99), "ms", "umadb, the same way", heard["live_p99_ms"], _below(5)),
    ]


def _growing() -> list[Row]:
    """One file, filled evenly over its 1,000 streams, measured where it holds a million events and where it holds five."""

    async def grow(store: SqliteEventStore) -> list[float]:
        versions = [0] * _STREAMS
        rates, held = [], 0
        for size in _GROWN:
            await _fill(store, size - held, versions)
            before = sum(versions)
            rates.append(await _rate(store, 16, 10.0, versions))
            held = size + sum(versions) - before
        return rates

    small, large = _on_a_store(grow)
    return [Row("embedded-growth", large, "appends/s at 5 M events, even over 1,000 streams", "at 1 M events", small, Aim(0.8))]


# -- the work ---------------------------------------------------------------------------------------------------------


def _event() -> NewEvent:
    number = next(_ids)
    return NewEvent(
        id=f"0f1e2d3c-4b5a-4697-8877-{number:012x}", type="citybrain.traffic.v1.SignalReported", data=b"x" * _PAYLOAD,
        occurred_at=1_700_000_000_000_000 + number, traceparent=f"00-{number:032x}-{number:016x}-01",
        correlation_id=f"incident-{number % 100}", causation_id=f"1f1e2d3c-4b5a-4697-8877-{number:012x}", actor="traffic",
        district="gongshu", classification=CLASSIFICATION_INTERNAL,
    )  # fmt: skip


async def _rate(store: SqliteEventStore, writers: int, seconds: float, versions: list[int] | None = None) -> float:
    versions = [NO_STREAM] * _STREAMS if versions is None else versions
    end = time.monotonic() + seconds

    async def write(number: int) -> int:
        count = 0
        for stream in itertools.cycle(range(number, _STREAMS, writers)):
            if time.monotonic() >= end:
                break
            outcome = await store.append(f"traffic/signal-{stream}", [_event()], versions[stream])
            assert isinstance(outcome, Committed), outcome
            versions[stream] = outcome.last
            count += 1
        return count

    began = time.monotonic()
    counts = await asyncio.gather(*(write(number) for number in range(writers)))
    return sum(counts) / (time.monotonic() - began)


async def _fill(store: SqliteEventStore, events: int, versions: list[int]) -> None:
    for _ in range(events // (_STREAMS * 50)):
        appends = [
            store.append(f"traffic/signal-{stream}", [_event() for _ in range(50)], versions[stream])
            for stream in range(_STREAMS)
        ]
        for stream, outcome in enumerate(await asyncio.gather(*appends)):
            assert isinstance(outcome, Committed), outcome
            versions[stream] = outcome.last


async def _read_all(path: Path) -> dict[str, float]:
    """Microseconds an event, part by part: the same rows are also read in this thread, with all columns and with some."""
    store = SqliteEventStore(path)
    await _fill(store, _READ, [0] * _STREAMS)
    seen, position = 0, 0
    began = time.monotonic()
    while position < store.head():
        page = await store.read_log(position, _PAGE)
        seen, position = seen + len(page.events), page.reached
    assert seen == _READ, seen
    whole = (time.monotonic() - began) / _READ * 1e6
    store.close()
    connection = file.connect(path)
    some = "SELECT position, stream, version, type, data FROM events WHERE position > ? ORDER BY position LIMIT ?"
    rows = _each_us(lambda page: list(connection.execute(some, (page * _PAGE, _PAGE))), range(_READ // _PAGE)) / _PAGE
    events = _each_us(
        lambda page: reading.read_log(connection, page * _PAGE, _READ, _PAGE, None), range(_READ // _PAGE)
    ) / _PAGE  # fmt: skip
    connection.close()
    return {
        "rows of five columns, as eventsourcing has, µs": rows,
        "the ten columns of the envelope, and an event of each row, µs": events - rows,
        "to a thread that reads and back, µs": whole - events,
    }


async def _lateness(store: SqliteEventStore) -> list[float]:
    """Milliseconds from the call of an append, through its commit, until a subscriber has the event."""
    heard: dict[str, float] = {}
    called: dict[str, float] = {}

    async def hear() -> None:
        position = 0
        while len(heard) < _LIVE:
            await store.grown(position)
            page = await store.read_log(position)
            position = page.reached
            heard.update((event.id, time.monotonic()) for event in page.events)

    hearing = asyncio.ensure_future(hear())
    for number in range(_LIVE):
        event = _event()
        called[event.id] = time.monotonic()
        await store.append(f"traffic/signal-{number % _STREAMS}", [event], number // _STREAMS)
        await asyncio.sleep(_LIVE_PAUSE_S)
    await hearing
    return [(heard[one] - when) * 1000 for one, when in called.items()]


def _on_a_store(work: Callable[[SqliteEventStore], Awaitable[T]]) -> T:
    async def run(folder: Path) -> T:
        store = SqliteEventStore(folder / "events.db")
        try:
            return await work(store)
        finally:
            store.close()

    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(run(Path(name)))


def _peer(script: str, **options: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        return peer(script, folder=name, **options)
