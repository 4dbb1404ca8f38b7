"""readings-10k: 10,000 channels, a reading a second each, in batches through the real gateway, folded by their service.

A hundred roadside controllers send the readings of a hundred channels each, once a second, spread evenly over the second; they
send when it is time, whatever became of the batch before. The service keeps a batch before it answers, folds seconds, and waits
0.3 s after the end of each for what comes late; then it decides and appends one event, which a follower hears through the
gateway.

What is timed, for every second: from the moment its last batch was about to be sent until the follower has its event. Less
than the 0.3 s that are waited, and what was left of the second, it cannot be; that floor is measured too. What counts as folded
is what those events say, not what was acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub

from benchmarks.kit.detectors import EVERYTHING, LATE_S
from benchmarks.kit.measure import SERVICES, processor_s
from benchmarks.rows import Aim, Row, quantile
from citybrain.gateway.settings import GatewaySettings
from citybrain.local.child import MeshChild
from citybrain.local.contracts import descriptors
from citybrain.local.engine_processes import EngineProcesses
from citybrain.local.envoy import Envoy
from citybrain.local.issuer_keys import own_issuer
from citybrain.mesh.events import timestamp
from citybrain.mesh.manifest import read_manifest
from citybrain.mesh.settings.values import Cassandra, Kafka, Log, Settings, Traces
from citybrain.observability.receiver import Receiver
from tests.helpers.callers import bearer

_CHANNELS, _CONTROLLERS = 10_000, 100
_EACH = _CHANNELS // _CONTROLLERS
_WARM_S = 3
_SETTLE_S = 10.0
_IN_TIME = Aim(1000, "value", least=False)


@dataclass
class _Run:
    """What was sent for each second, and what came back as events."""

    first: int = 0
    last: int = 0
    sent: Counter[int] = field(default_factory=Counter)
    last_sent: dict[int, float] = field(default_factory=dict)
    folded: dict[int, int] = field(default_factory=dict)
    heard: dict[int, float] = field(default_factory=dict)
    processor_s: float = 0.0
    ended: float = 0.0

    def seconds(self) -> range:
        """The seconds that count."""
        return range(self.first, self.last)


def measure(full: bool) -> list[Row]:
    """Half a minute; five with FULL."""
    return _rows("readings-10k", Settings(log=Log(level="error")), 300 if full else 30)


def measure_engines(full: bool) -> list[Row]:
    """The same on a local Kafka and Cassandra. Their processor time counts too."""
    with tempfile.TemporaryDirectory() as folder, EngineProcesses.start(Path(folder)) as engines:
        settings = Settings(
            log=Log(level="error"),
            store="distributed",
            kafka=Kafka(addresses=engines.kafka.address),
            cassandra=Cassandra(addresses=engines.cassandra.address),
        )
        pids = [engine.pid or 0 for engine in engines.all]
        return _rows("readings-10k on engines", settings, 300 if full else 30, pids)


def _rows(name: str, settings: Settings, seconds: int, others: Sequence[int] = ()) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        receiver = Receiver(Path(folder) / "traces.db")
        endpoint = receiver.start()
        settings = settings.model_copy(update={"data": Path(folder) / "data", "traces": Traces(endpoint=endpoint)})
        manifest = read_manifest(SERVICES / "detectors" / "manifest.yaml")
        try:
            with MeshChild(settings.data, ["detectors", "--folder", str(SERVICES)], settings=settings) as mesh:
                where = GatewaySettings(
                    upstreams={"detectors": mesh.address}, otlp_endpoint=endpoint, identity=own_issuer(settings)
                )
                with Envoy([manifest], descriptors().read_bytes(), where, Path(folder) / "gateway") as gateway:
                    run = asyncio.run(
                        _drive(gateway.address, bearer(settings.data), [mesh.pid, gateway.pid or 0, *others], seconds)
                    )
        finally:
            receiver.stop()
    return _told(name, run, seconds)


def _told(name: str, run: _Run, seconds: int) -> list[Row]:
    # A second without an event counts with the whole time it was waited for.
    late = [run.heard.get(one, run.ended) - run.last_sent[one] for one in run.seconds()]
    floor = [one + 1 + LATE_S - run.last_sent[one] for one in run.seconds()]
    offered = sum(run.sent[one] for one in run.seconds()) / seconds
    folded = sum(run.folded.get(one, 0) for one in run.seconds()) / seconds
    peer = f"floor: the end of the second, and {LATE_S} s for what is late"
    cores = os.cpu_count() or 1
    return [
        Row(f"{name}, {seconds} s", folded, "readings/s", "offered", offered, Aim(1)),
        Row(f"{name} p50, {seconds} s", quantile(late, 0.5) * 1000, "ms", peer, quantile(floor, 0.5) * 1000),
        Row(f"{name} p99, {seconds} s", quantile(late, 0.99) * 1000, "ms", peer, quantile(floor, 0.99) * 1000, _IN_TIME),
        Row(f"{name} processors, {seconds} s", run.processor_s / seconds, "cores", "cores of this machine", cores),
    ]


async def _drive(address: str, token: tuple[str, str], pids: Sequence[int], seconds: int) -> _Run:
    run = _Run()
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = TrafficServiceStub(channel)
        hearing = asyncio.ensure_future(_hear(stub, token, run))
        begin = math.ceil(time.time()) + 1
        run.first, run.last = begin + _WARM_S, begin + _WARM_S + seconds
        sending = asyncio.gather(*(_controller(stub, token, run, number, begin) for number in range(_CONTROLLERS)))
        await _until(run.first)
        before = processor_s(pids)
        await _until(run.last)
        run.processor_s = processor_s(pids) - before
        await sending
        end = time.monotonic() + _SETTLE_S
        while run.last - 1 not in run.heard and time.monotonic() < end:
            await asyncio.sleep(0.01)
        hearing.cancel()
        run.ended = time.time()
    return run


async def _controller(stub: Any, token: tuple[str, str], run: _Run, number: int, begin: int) -> None:
    """Sends each batch at its time. It sends a little longer than is counted, so that the last second is like the others."""
    speeds = [pb.EdgeSpeed(edge_id=f"edge-{number}-{n}", speed_mps=3 + n % 17, vehicles=1) for n in range(_EACH)]
    under_way: set[asyncio.Task[None]] = set()
    for turn in range(run.last - begin + 1):
        await _until(begin + turn + number / _CONTROLLERS)
        task = asyncio.ensure_future(_send(stub, token, run, speeds))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


async def _send(stub: Any, token: tuple[str, str], run: _Run, speeds: list[pb.EdgeSpeed]) -> None:
    at = time.time()
    second = int(at)
    run.sent[second] += len(speeds)
    run.last_sent[second] = at
    request = pb.ReportObservationsRequest(observed_at=timestamp(int(at * 1e6)), speeds=speeds)
    # A refused batch is missing in the sums.
    with contextlib.suppress(grpc.aio.AioRpcError):
        await stub.ReportObservations(request, timeout=10, metadata=[token])


async def _hear(stub: Any, token: tuple[str, str], run: _Run) -> None:
    async for response in stub.FollowSignalCommands(pb.FollowSignalCommandsRequest(), metadata=[token]):
        now = time.time()
        for event in response.events:
            measured = ev.SpeedsMeasured()
            event.data.Unpack(measured)
            second = measured.from_time.seconds
            run.heard.setdefault(second, now)
            run.folded[second] = sum(one.vehicles for one in measured.speeds if one.edge_id == EVERYTHING)


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.time()))
