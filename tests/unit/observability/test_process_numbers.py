"""What a process tells of itself: its processor time, memory, threads, files; and how late its event loop is."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from citybrain.observability import names, process_numbers
from citybrain.observability.metrics import Metrics
from citybrain.observability.process_numbers import watch_loop, watch_process


def values(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """The points of each metric, by its name."""
    data = reader.get_metrics_data()
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
    return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}


def test_a_process_tells_what_it_uses() -> None:
    reader = InMemoryMetricReader()
    watch_process(Metrics(reader))
    before = values(reader)
    held, more = bytearray(64 * 1024 * 1024), threading.Event()
    held[::4096] = b"x" * len(held[::4096])
    waiting = [threading.Thread(target=more.wait) for _ in range(20)]
    for one in waiting:
        one.start()
    after = values(reader)
    more.set()
    for one in waiting:
        one.join()
    # Threads of other tests may end meanwhile.
    assert after[names.THREADS][0].value - before[names.THREADS][0].value > 10
    assert after[names.MEMORY][0].value - before[names.MEMORY][0].value > 32 * 1024 * 1024
    assert after[names.UPTIME][0].value > before[names.UPTIME][0].value
    assert before[names.FILES][0].value > 2
    assert {point.attributes[names.CPU_MODE] for point in before[names.CPU_TIME]} == {"user", "system"}
    assert sum(point.value for point in before[names.CPU_TIME]) > 0


def test_where_the_kernel_tells_nothing_the_times_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_numbers, "_SELF", Path("/no/such"))
    reader = InMemoryMetricReader()
    watch_process(Metrics(reader))
    assert values(reader).keys() == {names.CPU_TIME, names.UPTIME}


def test_a_loop_that_goes_on_too_late_is_told_by_how_much() -> None:
    reader, moments = InMemoryMetricReader(), iter([10.0, 10.65, 11.0])

    async def sleep(_seconds: float) -> None:
        if not more:
            raise asyncio.CancelledError
        more.pop()

    more = [True]
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch_loop(Metrics(reader), lambda: next(moments), sleep))
    (point,) = values(reader)[names.LOOP_DELAY]
    assert (point.count, round(point.sum, 6)) == (1, 0.4)
