"""sector-readings: 20,000 devices of four kinds, a reading a second each, taken into control charts by one process of a sector.

The batches go to the process of urban management itself, ten a second. The readings of a minute are folded, and taken into the
charts when it has been over for as long as late readings are waited for. In each minute some more devices begin to show what
they never did. What is timed is from the moment at which a minute is due until the anomalies that it completes are in the list.
What is sent and not accepted counts as lost.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
from citybrain.urban.v1 import devices_pb2 as pb
from citybrain.urban.v1 import places_pb2
from citybrain.urban.v1.urban_service_pb2_grpc import UrbanServiceStub

from benchmarks.kit.measure import processor_s
from benchmarks.rows import Aim, Row, quantile
from citybrain.local.child import MeshChild
from citybrain.mesh.events import timestamp
from citybrain.services.urban.control_chart import PERSISTENCE
from tests.helpers.callers import bearer

DEVICES, BATCHES = 20_000, 10
WINDOW_S, LATE_S = 60, 60
ODD = 20
"""So many devices a minute begin to show what they never did."""
KINDS = {
    "drainage_level": (0.8, 0.05),
    "bridge_strain": (120.0, 4.0),
    "gas_pressure": (200.0, 1.0),
    "water_pressure": (40.0, 0.4),
}
"""By kind: what is normal, and how far it strays."""
_QUIET = {"CITY_LOG_LEVEL": "error", "OTEL_SDK_DISABLED": "true"}
_LOOK_S = 0.05
_SOON_S = 10.0


@dataclass
class _Run:
    sent: int = 0
    accepted: int = 0
    answered_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    processor_s: float = 0.0


def measure(full: bool) -> list[Row]:
    """Three minutes in which anomalies come; only with FULL, because late readings are waited for, too."""
    minutes = PERSISTENCE - 1 + 3
    if not full:
        return []
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        with MeshChild(data, ["urban"], _QUIET) as urban:
            run = asyncio.run(_drive(urban.address, bearer(data), urban.pid or 0, minutes))
    seconds = minutes * WINDOW_S
    soon = Aim(1000, "value", least=False)
    return [
        Row("sector-readings", run.accepted / seconds, "readings/s", "sent", run.sent / seconds, Aim(1)),
        Row("sector-readings p99", quantile(run.late_s, 0.99) * 1000, "ms after a minute is due", "", 0, soon),
        Row("sector-readings, a batch is answered, p99", quantile(run.answered_s, 0.99) * 1000, "ms", "", 0),
        Row("sector-readings processors", run.processor_s / seconds, "cores", "cores of this machine", os.cpu_count() or 1),
    ]


async def _drive(address: str, token: tuple[str, str], pid: int, minutes: int) -> _Run:
    run = _Run()
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = UrbanServiceStub(channel)
        await _register(stub, token)
        first = (math.floor(time.time() / WINDOW_S) + 1) * WINDOW_S
        await asyncio.sleep(first - time.time())
        before = processor_s([pid])
        looking = [asyncio.ensure_future(_look(stub, token, run, first, minute)) for minute in range(PERSISTENCE - 1, minutes)]
        sending: set[asyncio.Task[None]] = set()
        for turn in range(minutes * WINDOW_S * BATCHES):
            await asyncio.sleep(max(0.0, first + turn / BATCHES - time.time()))
            sending.add(asyncio.ensure_future(_send(stub, token, run, first, turn)))
        run.processor_s = processor_s([pid]) - before
        await asyncio.gather(*sending, *looking)
    return run


async def _register(stub: Any, token: tuple[str, str]) -> None:
    for begin in range(0, DEVICES, 100):
        devices = []
        for number in range(begin, begin + 100):
            kind, (mean, sigma) = list(KINDS.items())[number % len(KINDS)]
            position = places_pb2.Position(latitude=30.2 + number % 100 * 0.001, longitude=120.1 + number // 100 * 0.001)
            devices.append(
                pb.Device(
                    device_id=f"dev-{number}", kind=kind, position=position, district_id=f"d{number % 13}",
                    baseline=pb.Baseline(mean=mean, sigma=sigma),
                )
            )  # fmt: skip
        await stub.RegisterDevices(pb.RegisterDevicesRequest(devices=devices), metadata=[token], timeout=60)


async def _send(stub: Any, token: tuple[str, str], run: _Run, first: int, turn: int) -> None:
    at = time.time()
    by, minute = random.Random(turn), int(at - first) // WINDOW_S
    kinds, each, readings = list(KINDS.values()), DEVICES // BATCHES, []
    for number in range(turn % BATCHES * each, (turn % BATCHES + 1) * each):
        mean, sigma = kinds[number % len(KINDS)]
        # One device in a hundred may become odd, so many more in each minute, and stays so.
        strays = 12.0 if number % 100 == 0 and number // 100 < ODD * (minute + 1) else 0.0
        value = mean + (by.gauss(0, 1) + strays) * sigma
        readings.append(pb.DeviceReading(device_id=f"dev-{number}", observed_at=timestamp(int(at * 1e6)), value=value))
    run.sent += len(readings)
    began = time.perf_counter()
    answer = await stub.ReportReadings(pb.ReportReadingsRequest(readings=readings), metadata=[token], timeout=60)
    run.answered_s.append(time.perf_counter() - began)
    run.accepted += answer.accepted


async def _look(stub: Any, token: tuple[str, str], run: _Run, first: int, minute: int) -> None:
    """Waits until the anomalies of a minute are in the list."""
    due = first + (minute + 1) * WINDOW_S + LATE_S
    await asyncio.sleep(due - time.time())
    while time.time() < due + _SOON_S:
        answer = await stub.ListAnomalies(pb.ListAnomaliesRequest(page_size=500), metadata=[token], timeout=60)
        if len(answer.anomalies) >= ODD * (minute - PERSISTENCE + 2):
            break
        await asyncio.sleep(_LOOK_S)
    run.late_s.append(time.time() - due)
