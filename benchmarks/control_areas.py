"""control-areas: 1,000 signals in 20 areas follow the traffic, through the gateway and two processes of traffic on one port.

Each area reports once a second, spread evenly over the second. Whoever stands for the controllers in the street follows the
commands, carries each out at its moment, says so, and shows its plan when a timing has ended; so each decision is made on what
the one before has led to. The signals are those of control-1000, and so is the traffic before them.

What is timed: from the moment of a report until the commands that were made from it are heard. Then one process of traffic is
killed, and, when it is there again, the other one: from each kill until every area has been decided on again. Meanwhile signals
show what they were commanded, and then their plan.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc.aio
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub

from benchmarks.control_1000 import SIGNALS, crossing
from benchmarks.kit.measure import processor_s
from benchmarks.rows import Aim, Row, quantile
from citybrain.local.city import LocalCity
from citybrain.local.engine_processes import EngineProcesses
from citybrain.mesh.settings.values import Cassandra, Kafka, Log, Processes, Restarts, Settings
from tests.helpers.callers import bearer
from tests.helpers.signals_in_street import registered, until

AREAS = 20
_WARM_S = 10
_IN_TIME, _SOON = Aim(1000, "value", least=False), Aim(3, "value", least=False)


def measure(full: bool) -> list[Row]:
    """Half a minute; two with FULL."""
    return _rows("control-areas", Settings(), 120 if full else 30)


def measure_engines(full: bool) -> list[Row]:
    """The same on a local Kafka and Cassandra, where both processes control areas. Their processor time counts too."""
    with tempfile.TemporaryDirectory() as folder, EngineProcesses.start(Path(folder)) as engines:
        kafka, cassandra = Kafka(addresses=engines.kafka.address), Cassandra(addresses=engines.cassandra.address)
        settings = Settings(store="distributed", kafka=kafka, cassandra=cassandra)
        return _rows("control-areas on engines", settings, 120 if full else 30, [engine.pid or 0 for engine in engines.all])


def _rows(name: str, settings: Settings, seconds: int, others: Sequence[int] = ()) -> list[Row]:
    processes = Processes(groups=(("traffic",),), copies={"traffic": 2}, restarts=Restarts(longest_pause_s=0.2))
    with tempfile.TemporaryDirectory() as folder:
        update = {"data": Path(folder) / "data", "log": Log(level="error"), "processes": processes}
        with LocalCity(settings.model_copy(update=update), only=["traffic"], say=lambda said: None) as city:
            return asyncio.run(_drive(name, city, seconds, others))


async def _drive(name: str, city: LocalCity, seconds: int, others: Sequence[int]) -> list[Row]:
    assert city.mesh is not None and city.gateway is not None
    async with grpc.aio.insecure_channel(city.gateway.address) as channel:
        begins, draw = int(time.time()), random.Random(1)
        signals = [crossing(f"x{number}", begins - draw.randrange(86)) for number in range(SIGNALS)]
        street = await registered(TrafficServiceStub(channel), bearer(city.data), signals, AREAS)
        street.soon(street.follow())
        street.soon(street.report())
        await until(lambda: street.is_decided_on_after(0))
        await asyncio.sleep(_WARM_S)
        street.took_s.clear()
        pids = [*city.mesh.pids, city.gateway.pid or 0, *others]
        before, own = processor_s(pids), time.process_time()
        await asyncio.sleep(seconds)
        used, own, took_s = processor_s(pids) - before, time.process_time() - own, sorted(street.took_s)
        gaps_s = []
        for child in list(city.mesh.children.values()):
            killed, up = time.time(), child.pid
            child.kill()
            await until(lambda killed=killed: street.is_decided_on_after(killed))  # type: ignore[misc]
            gaps_s.append(time.time() - killed)
            await until(lambda child=child, up=up: child.running and child.pid != up)  # type: ignore[misc]
            await asyncio.sleep(_WARM_S)
        for task in list(street.tasks):
            task.cancel()
    peer = "between two reports"
    cores = os.cpu_count() or 1
    more = {
        "commands a second": len(took_s) / seconds,
        "commands that came too late": street.refused,
        "who measures, cores": own / seconds,
    }
    return [
        Row(f"{name} signals, {seconds} s", len(street.commanded), "signals", "registered", SIGNALS, Aim(1)),
        Row(f"{name} p50, {seconds} s", quantile(took_s, 0.5) * 1000, "ms", peer, 1000, profile=more),
        Row(f"{name} p99, {seconds} s", quantile(took_s, 0.99) * 1000, "ms", peer, 1000, _IN_TIME),
        Row(f"{name} processors, {seconds} s", used / seconds, "cores", "cores of this machine", cores, Aim(1, least=False)),
        Row(f"{name} after a kill", max(gaps_s), "s", peer, 1, _SOON),
    ]
