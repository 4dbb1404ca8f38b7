"""embedded-*: the event store on one SQLite file, beside other event stores that write as durably to the same disk.

An event here has 256 bytes and the full envelope of ES-13; every append names the exact version it expects. A writer is a
task that waits for its answer before it goes on. The peers' events have the same 256 bytes and less around them.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.peers import peer
from benchmarks.rows import Row, quantile
from citybrain.event_store.contract import NO_STREAM, Committed, NewEvent
from citybrain.event_store.sqlite import SqliteEventStore

_STREAMS = 1000
_PAYLOAD = 256
_READ = 200_000
_LIVE = 2000
_LIVE_PAUSE_S = 0.002
_GROWN = (1_000_000, 5_000_000)

T = TypeVar("T")

_ids = itertools.count(1)


def measure(full: bool) -> list[Row]:
    """All rows of the embedded store; the one of growth takes minutes and is for the long run."""
    rounds, seconds = (3, 10.0) if full else (2, 4.0)
    rows = [*_appending(16, rounds, seconds), *_appending(1, rounds, seconds), *_reading(), *_living()]
    return [*rows, *_growing()] if full else rows


def _appending(writers: int, rounds: int, seconds: float) -> list[Row]:
    """Turn about, so that a disk that grows slower does so for all."""
    options = {"writers": writers, "streams": _STREAMS, "payload": _PAYLOAD, "seconds": seconds}
    ours, eventsourcing, umadb = [], [], []
    for _ in range(rounds):
        ours.append(_on_a_store(lambda store: _rate(store, writers, seconds)))
        eventsourcing.append(_peer("eventsourcing_sqlite", **options)["appends_per_s"])
        umadb.append(_peer("umadb_server", **options)["appends_per_s"])
    name, rate = f"embedded-append-{writers}", statistics.median(ours)
    return [
        Row(name, rate, "appends/s", f"eventsourcing on SQLite, {writers} threads", statistics.median(eventsourcing)),
        Row(name, rate, "appends/s", f"umadb, {writers} clients", statistics.median(umadb)),
    ]


def _reading() -> list[Row]:
    ours = _on_a_store(_read_all)
    options = {"read": _READ, "payload": _PAYLOAD}
    return [
        Row("embedded-read", ours, "events/s", f"{name.partition('_')[0]}, pages", _peer(name, **options)["reads_per_s"])
        for name in ("eventsourcing_sqlite", "umadb_server")
    ]


def _living() -> list[Row]:
    late = _on_a_store(_lateness)
    heard = _peer("umadb_server", live=_LIVE, payload=_PAYLOAD)
    return [
        Row("embedded-live p50", quantile(late, 0.5), "ms", "umadb, the same way", heard["live_p50_ms"]),
        Row("embedded-live p99", quantile(late, 0.99), "ms", "umadb, the same way", heard["live_p99_ms"]),
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
    return [Row("embedded-growth", large, "appends/s at 5 M events, even over 1,000 streams", "at 1 M events", small)]


# -- the work ---------------------------------------------------------------------------------------------------------


def _event() -> NewEvent:
    number = next(_ids)
    return NewEvent(
        id=f"0f1e2d3c-4b5a-4697-8877-{number:012x}", type="citybrain.traffic.v1.SignalReported", data=b"x" * _PAYLOAD,
        occurred_at=1_700_000_000_000_000 + number, traceparent=f"00-{number:032x}-{number:016x}-01",
        correlation_id=f"incident-{number % 100}", causation_id=f"1f1e2d3c-4b5a-4697-8877-{number:012x}", actor="traffic",
        district="gongshu", classification=2,
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


async def _read_all(store: SqliteEventStore) -> float:
    await _fill(store, _READ, [0] * _STREAMS)
    seen, position = 0, 0
    began = time.monotonic()
    while position < store.head():
        page = await store.read_log(position, 1000)
        seen, position = seen + len(page.events), page.reached
    assert seen == _READ, seen
    return seen / (time.monotonic() - began)


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
