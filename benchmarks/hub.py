"""hub-replay: the past, through the gateway, to one subscriber. hub-fanout: what happens now, to two hundred of them.

All of it is real: the hub with its guard and its tokens, Envoy with its filters, and events on the disk. The subscribers are
in a process of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import DistrictHubServiceStub
from citybrain.traffic.v1 import events_pb2 as traffic

from benchmarks.kit.measure import processor_s
from benchmarks.rows import Aim, Row
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import ANY, NewEvent
from citybrain.gateway.settings import GatewaySettings
from citybrain.local.child import MeshChild
from citybrain.local.city import ROOT
from citybrain.local.contracts import descriptors
from citybrain.local.envoy import Envoy
from citybrain.local.issuer_keys import own_issuer
from citybrain.mesh.manifest import read_manifest
from citybrain.mesh.settings.values import Settings
from tests.helpers.callers import calling, token

SUBSCRIBERS = 200
_A_SECOND, _A_BATCH = 105, 15
_APPENDED = 100
_HUB = ROOT / "services" / "district_hub" / "manifest.yaml"


def measure(events: int, seconds: float) -> list[Row]:
    """Both rows."""
    return [*replay(events), *fanout(seconds)]


def replay(events: int) -> list[Row]:
    """Events a second to one subscriber, beside reading the same events from the store and doing nothing with them."""
    with tempfile.TemporaryDirectory() as name:
        settings = Settings(data=Path(name) / "data")
        settings.data.mkdir()
        floor = asyncio.run(_filled(settings.data, events))
        with _hub(settings) as (hub, gateway):
            before = processor_s([hub.pid]), processor_s([gateway.pid or 0])
            told = _subscribe(gateway.address, settings, 1, events)
            parts = {
                "the hub": processor_s([hub.pid]) - before[0],
                "Envoy": processor_s([gateway.pid or 0]) - before[1],
                "the subscriber": told["cpu"],
            }
    speed = told["events"] / told["seconds"]
    profile = {f"{part}, µs of processor time an event": cost / told["events"] * 1e6 for part, cost in parts.items()}
    return [Row("hub-replay", speed, "events/s", "the store alone", floor, Aim(20_000, "value"), profile)]


def fanout(seconds: float) -> list[Row]:
    """Events delivered a second to all subscribers together, and how late they come, beside what was written for them."""
    with tempfile.TemporaryDirectory() as name:
        settings = Settings(data=Path(name) / "data")
        with _hub(settings) as (hub, gateway):
            before = processor_s([hub.pid]), processor_s([gateway.pid or 0])
            told = _subscribe(gateway.address, settings, SUBSCRIBERS, int(_A_SECOND * seconds) * SUBSCRIBERS, hub)
            parts = {
                "the hub": processor_s([hub.pid]) - before[0],
                "Envoy": processor_s([gateway.pid or 0]) - before[1],
                "the subscribers": told["cpu"],
            }
    profile = {f"{part}, µs of processor time a delivery": cost / told["events"] * 1e6 for part, cost in parts.items()}
    offered = float(_A_SECOND * SUBSCRIBERS)
    delivered = told["events"] / told["seconds"]
    soon = Aim(250, "value", least=False)
    return [
        Row("hub-fanout", delivered, "deliveries/s", "written for them", offered, Aim(20_000, "value"), profile),
        Row("hub-fanout p99", told["p99"] * 1000, "ms after the commit", "p50", told["p50"] * 1000, soon),
    ]


def _report() -> pb.Report:
    measures = [pb.Measure(name="level", value=1.2, unit="m")]
    report = pb.Report(kind="water.level", subject="pump 7", measures=measures, text="within the usual range")
    report.seen_at.GetCurrentTime()
    return report


@contextmanager
def _hub(settings: Settings) -> Iterator[tuple[MeshChild, Envoy]]:
    given = {"CITY_LOG_LEVEL": "error", "CITY_MAX_STREAMS": "2000", "OTEL_SDK_DISABLED": "true"}
    with MeshChild(settings.data, ["district_hub"], given) as hub:
        for district in ("xihu", "gongshu"):
            with calling(hub) as channel:
                DistrictHubServiceStub(channel).RegisterDistrict(
                    pb.RegisterDistrictRequest(district_id=district, name=district)
                )
        gateway = GatewaySettings(
            upstreams={"district_hub": hub.address}, identity=own_issuer(settings), streams_per_s=10_000,
            access_log=settings.data / "access.log",
        )  # fmt: skip
        with Envoy([read_manifest(_HUB)], descriptors().read_bytes(), gateway, settings.data / "gateway") as front:
            yield hub, front


def _subscribe(address: str, settings: Settings, count: int, events: int, hub: MeshChild | None = None) -> dict[str, float]:
    """What the subscribers saw. `hub`: writes for them, as soon as all of them listen."""
    # One caller has a quarter of the streams: so each ten are a caller.
    claims: dict[str, Any] = {
        "scopes": ["district.read", "district_hub.events", "traffic.events"],
        "district": "xihu",
        "clearance": "INTERNAL",
    }
    tokens = [token(settings.data, f"desk-{number}", **claims) for number in range(max(1, count // 10))]
    command = [sys.executable, "-m", "benchmarks.kit.subscribers", address, str(count), str(events)]
    environment = {**os.environ, "BENCH_TOKENS": " ".join(tokens)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, text=True) as reading:
        assert reading.stdout is not None
        assert reading.stdout.readline() == "listening\n"
        if hub is not None:
            _write(hub, events // count)
        result: dict[str, float] = json.loads(reading.stdout.readline())
    return result


def _write(hub: MeshChild, events: int) -> None:
    """Writes at an even pace."""
    with calling(hub) as channel:
        stub = DistrictHubServiceStub(channel)
        report = pb.Report(
            kind="water.level",
            subject="pump 7",
            measures=[pb.Measure(name="level", value=1.2, unit="m")],
            text="within the usual range",
        )
        report.seen_at.GetCurrentTime()
        began = time.perf_counter()
        for number in range(events // _A_BATCH):
            pause = began + number * _A_BATCH / _A_SECOND - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            request = pb.SendReportsRequest(district_id="xihu", batch_id=str(number), reports=[report] * _A_BATCH)
            stub.SendReports(request, timeout=30)


async def _filled(data: Path, events: int) -> float:
    """Writes the past into the store; returns how many of its events can be read there a second.

    They are of another sector: of its own the hub would fold a view at the same time.
    """
    store = SqliteEventStore(data / "events.db")
    kind = traffic.PriorityGranted.DESCRIPTOR.full_name
    granted = traffic.PriorityGranted(
        incident_id="inc-000000000001",
        grant_id="g1",
        vehicle_id="ambulance-7",
        edge_ids=["e1", "e2", "e3"],
        signal_ids=["s1", "s2"],
    )
    for first in range(0, events, _APPENDED):
        batch = [
            NewEvent(
                id=f"{first + n:032x}", type=kind, occurred_at=1, actor="bench", district="xihu",
                data=granted.SerializeToString(),
            )
            for n in range(min(_APPENDED, events - first))
        ]  # fmt: skip
        await store.append(f"traffic/grant-{first}", batch, ANY)
    store.close()
    store = SqliteEventStore(data / "events.db")
    began, position, found = time.perf_counter(), 0, 0
    while position < store.head():
        page = await store.read_log(position, 1000, [kind])
        position, found = page.reached, found + len(page.events)
    speed = found / (time.perf_counter() - began)
    store.close()
    return speed
