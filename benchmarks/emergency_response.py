"""From a report to an ambulance assigned and priority commanded, wall clock, through the real gateway; beside it the floor.

The floor is what the same work costs where only physics counts: the durable commits on the way, one fsync each, and the hops
on the way, one bare gRPC call each. Commits on the way, in order: report sorted; incident opened; saga started; ambulance
chosen; ambulance reserved; answer recorded; hospital chosen; place reserved; answer recorded; priority granted. Hops: caller →
gateway → emergency command, workflow → health twice, workflow → traffic.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from benchmarks.kit.measure import processor_s
from benchmarks.rows import Aim, Row, quantile
from citybrain.local.city import LocalCity
from citybrain.mesh.settings.values import Settings
from tests.helpers.paper_city import PaperCity

COMMITS, HOPS = 10, 5
GRANTED = "citybrain.traffic.v1.PriorityGranted"


def measure(reports: int = 100, warm: int = 10) -> list[Row]:
    """Reports one after the other. Each emergency ends before the next begins, so that an ambulance is free."""
    with tempfile.TemporaryDirectory() as folder, LocalCity(Settings(data=Path(folder), time="driven")) as local:
        assert local.gateway is not None and local.mesh is not None
        city = PaperCity(local.gateway.address, local.data)
        city.build(places=10_000)
        taken, used = [], {"mesh": 0.0, "gateway": 0.0}
        pids = {"mesh": local.mesh.pids, "gateway": [local.gateway.pid or 0]}
        for number in range(warm + reports):
            before = {name: processor_s(some) for name, some in pids.items()}
            began = time.perf_counter()
            incident = city.report(f"bench-{number}")
            for _ in city.events_of(incident, lambda event: event.type == GRANTED):
                pass
            if number >= warm:
                taken.append(time.perf_counter() - began)
                used = {name: used[name] + processor_s(some) - before[name] for name, some in pids.items()}
            city.until(lambda incident=incident: city.step(incident, "at_scene") == "waiting")  # type: ignore[misc]
            city.drive(incident)
            city.until(lambda incident=incident: city.ended(incident))  # type: ignore[misc]
        city.close()
        call_s = _direct_call(local.mesh.addresses["health"])
        fsync_s = _fsync(Path(folder))
    floor = COMMITS * fsync_s + HOPS * call_s
    peer = f"floor: {COMMITS} fsync + {HOPS} direct calls, p50"
    return [
        Row(
            "emergency-response p50",
            quantile(taken, 0.5) * 1000,
            "ms",
            peer,
            floor * 1000,
            Aim(2.5, least=False),
            {
                "processor time of the mesh, ms": used["mesh"] / reports * 1000,
                "processor time of Envoy, ms": used["gateway"] / reports * 1000,
                "fsync of the commits on the way, ms": COMMITS * fsync_s * 1000,
                "bare calls, ms": HOPS * call_s * 1000,
            },
        ),
        Row("emergency-response p99", quantile(taken, 0.99) * 1000, "ms", peer, floor * 1000),
    ]


def _direct_call(address: str, calls: int = 500) -> float:
    """Seconds of a trivial call without gateway, store or worker, p50."""
    taken = []
    with grpc.insecure_channel(address) as channel:
        stub = HealthStub(channel)
        for _ in range(calls):
            began = time.perf_counter()
            stub.Check(HealthCheckRequest())
            taken.append(time.perf_counter() - began)
    return quantile(taken, 0.5)


def _fsync(folder: Path, writes: int = 200) -> float:
    """Seconds to write 4 KiB and make it durable, p50."""
    taken = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(writes):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return quantile(taken, 0.5)
