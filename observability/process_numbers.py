"""What a process uses: processor time, memory, threads, files. And how late its event loop is."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from citybrain.observability import names
from citybrain.observability.metrics import MESH, Metrics, Numbers

# How long the loop is asked to pause.
_PAUSE_S = 0.25
_SELF = Path("/proc/self")
_WHOSE = {names.CITY_SERVICE: MESH}


def watch_process(metrics: Metrics) -> None:
    """Tells of this process each time the metrics are read. Where there is no /proc, of its times alone."""
    began = time.monotonic()

    def alone(value: Callable[[], float]) -> Callable[[], Numbers]:
        return lambda: [(value(), _WHOSE)]

    metrics.watch(names.CPU_TIME, _cpu)
    metrics.watch(names.UPTIME, alone(lambda: time.monotonic() - began))
    if _SELF.is_dir():
        metrics.watch(names.MEMORY, alone(_memory))
        metrics.watch(names.THREADS, alone(lambda: _entries("task")))
        metrics.watch(names.FILES, alone(lambda: _entries("fd")))


async def watch_loop(
    metrics: Metrics, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Measures how late the running event loop goes on after pauses, until it is cancelled."""
    numbers = metrics.of(MESH)
    while True:
        asked = now() + _PAUSE_S
        await sleep(_PAUSE_S)
        numbers.loop_delayed(max(0.0, now() - asked))


def _cpu() -> Numbers:
    used = os.times()
    return [(used.user, {**_WHOSE, names.CPU_MODE: "user"}), (used.system, {**_WHOSE, names.CPU_MODE: "system"})]


def _entries(folder: str) -> float:
    return float(sum(1 for _ in (_SELF / folder).iterdir()))


def _memory() -> float:
    # The second number: pages in RAM.
    pages = int((_SELF / "statm").read_text(encoding="ascii").split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
