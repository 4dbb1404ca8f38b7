"""mesh-start and mesh-memory: the whole city on this machine, all services in one process and Envoy before it."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.health.v1 import health_service_pb2 as health_pb
from citybrain.health.v1.health_service_pb2_grpc import HealthServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace

from benchmarks.rows import Aim, Row, quantile
from citybrain.local.city import LocalCity
from citybrain.mesh.settings.values import Settings
from tests.helpers.callers import channel

_RATE = 200
_CALLERS = 4
_WRITES_EVERY = 10
_STARTS = 3
_START_AIM_S = 6.0
_MEMORY_AIM_MB = 400.0
_UNDER = Aim(1, least=False)


def measure(full: bool) -> list[Row]:
    """Start to ready, the median of three; memory idle, and after 10 minutes (FULL) or 1 at 200 calls a second."""
    taken = []
    for _ in range(_STARTS):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            city = LocalCity(Settings(data=Path(folder)))
            try:
                city.start()
                taken.append(time.monotonic() - began)
            finally:
                city.stop()
    minutes = 10 if full else 1
    idle, half, end = _memory(minutes * 60)
    aim = f"aim: under {_MEMORY_AIM_MB:.0f} MB"
    return [
        Row("mesh-start", quantile(taken, 0.5), "s", f"aim: under {_START_AIM_S:.0f} s", _START_AIM_S, _UNDER),
        Row("mesh-memory idle", idle, "MB", aim, _MEMORY_AIM_MB, _UNDER),
        Row(f"mesh-memory after {minutes} min at {_RATE} calls/s", end, "MB", aim, _MEMORY_AIM_MB, _UNDER),
        Row(f"mesh-memory growth, second half of {minutes} min", end - half, "MB", "after the first half", half),
    ]


def _memory(seconds: float) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as folder, LocalCity(Settings(data=Path(folder))) as city:
        assert city.mesh is not None
        assert city.gateway is not None
        pids = [*city.mesh.pids, city.gateway.pid or 0]
        idle = _resident_mb(pids)
        _load(city.gateway.address, city.data, seconds / 2)
        half = _resident_mb(pids)
        _load(city.gateway.address, city.data, seconds / 2)
        return idle, half, _resident_mb(pids)


def _load(address: str, data: Path, seconds: float) -> None:
    """Calls through the gateway at a steady pace, one in ten of them a command that writes."""
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(_CALLERS) as pool:
        for calling in [pool.submit(_caller, address, data, end, number) for number in range(_CALLERS)]:
            calling.result()


def _caller(address: str, data: Path, end: float, number: int) -> None:
    with channel(address, data, subject=f"caller-{number}") as opened:
        reads = EmergencyCommandServiceStub(opened)
        writes = HealthServiceStub(opened)
        due, turn = time.monotonic(), 0
        while due < end:
            turn += 1
            if turn % _WRITES_EVERY == 0:
                station = RoadPlace(edge_id="edge-1", position_m=1)
                writes.RegisterAmbulance(
                    health_pb.RegisterAmbulanceRequest(ambulance_id=f"unit-{number}-{turn % 5000}", station=station), timeout=30
                )
            else:
                reads.ListIncidents(pb.ListIncidentsRequest(), timeout=30)
            due += _CALLERS / _RATE
            time.sleep(max(0.0, due - time.monotonic()))


def _resident_mb(pids: list[int]) -> float:
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * page for pid in pids) / 1e6
