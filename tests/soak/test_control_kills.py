"""A process of traffic is killed while signals follow the traffic: another one goes on, and nothing unsafe is shown."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc.aio
from citybrain.traffic.v1.traffic_service_pb2 import Signal
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub

from benchmarks.control_1000 import crossing
from citybrain.local.city import LocalCity
from citybrain.mesh.settings.values import Log, Processes, Restarts, Settings
from tests.helpers.callers import bearer
from tests.helpers.signals_in_street import Street, registered, until
from tests.unit.traffic.checker import faults, plan_history, plan_shows

AREAS, SIGNALS = 3, 9
# What is shown after the last report is known without waiting for it.
AFTERWARDS_S = 120


async def kills(city: LocalCity) -> None:
    assert city.mesh is not None and city.gateway is not None
    begins = int(time.time())
    signals = [crossing(f"x{number}", begins - 9 * number) for number in range(SIGNALS)]
    async with grpc.aio.insecure_channel(city.gateway.address) as channel:
        street = await registered(TrafficServiceStub(channel), bearer(city.data), signals, AREAS, spread=False)
        following = [asyncio.ensure_future(work) for work in (street.follow(), street.report(), street.watch())]
        await until(lambda: street.is_decided_on_after(0))
        first, second = city.mesh.children.values()
        for child in (first, second):
            killed, pid = time.time(), child.pid
            child.kill()
            await until(lambda killed=killed: street.is_decided_on_after(killed))  # type: ignore[misc]
            if child is first:
                await until(lambda pid=pid: first.running and first.pid != pid)  # type: ignore[misc]
        for task in (*following, *street.tasks):
            task.cancel()
    judge(street, {signal.signal_id: signal for signal in signals})


def judge(street: Street, signals: dict[str, Signal]) -> None:
    last = max(street.history)
    for second in range(last + 1, last + AFTERWARDS_S):
        street.history[second] = {name: light.shown(second + 0.5).state for name, light in street.lights.items()}
    seconds = sorted(street.history)
    assert seconds == list(range(seconds[0], seconds[-1] + 1))
    for name, signal in signals.items():
        shown = [street.history[second][name] for second in seconds]
        # In its plan green follows yellow at once.
        assert faults(signal, plan_history(signal, seconds[0]), shown, least_clear=0) == []
        # Nobody decides any more: each is in its plan.
        assert shown[-60:] == [plan_shows(signal, second) for second in seconds[-60:]]


def test_whichever_process_is_killed_every_area_is_decided_on_again_and_every_signal_stays_safe(tmp_path: Path) -> None:
    restarts = Restarts(first_pause_s=0.05, longest_pause_s=0.2)
    processes = Processes(groups=(("traffic",),), copies={"traffic": 2}, restarts=restarts)
    settings = Settings(data=tmp_path / "data", log=Log(level="error"), processes=processes)
    with LocalCity(settings, only=["traffic"], say=lambda said: None) as city:
        asyncio.run(kills(city))
