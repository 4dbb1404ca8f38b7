"""credit-check: a decision about a firm by its number, with its trace of who asked, through the gateway, among many of them.

Beside it stands a call that does nothing, of a process of its own behind the same gateway. The firms and their records stand in
the embedded store and in the read model as they would after years: a tenth of the records are bad, one firm in a hundred has
a sanction.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev
from citybrain.credit.v1.credit_service_pb2_grpc import CreditServiceStub
from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub
from google.protobuf.message import Message

from benchmarks.kit.measure import SERVICES
from benchmarks.kit.waiting import caught_up
from benchmarks.rows import Aim, Row, quantile
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import NewEvent
from citybrain.gateway.settings import GatewaySettings
from citybrain.local.child import MeshChild
from citybrain.local.contracts import descriptors
from citybrain.local.envoy import Envoy
from citybrain.local.issuer_keys import own_issuer
from citybrain.mesh.events import timestamp
from citybrain.mesh.identifiers import uscc_check
from citybrain.mesh.manifest import read_manifest
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.startup.serve import choose
from citybrain.mesh.storage.embedded import key_file
from tests.helpers.callers import bearer, calling

RECORDS_EACH = 10
_AT_ONCE = 200
_CALLERS = 16
_BEGIN = 1_700_000_000_000_000
_DAY = 86_400_000_000
_QUIET = {"CITY_LOG_LEVEL": "error", "OTEL_SDK_DISABLED": "true"}


@dataclass(frozen=True, slots=True)
class _City:
    """Where the gateway answers, with a token."""

    address: str
    token: tuple[str, str]
    caught_up_s: float


def measure(firms: int, calls: int, seconds: float) -> list[Row]:
    """All rows. `calls`: how often one caller asks; `seconds`: for how long many do."""
    with _filled(firms) as city:
        return asyncio.run(_rows(city, firms, calls, seconds))


async def _rows(city: _City, firms: int, calls: int, seconds: float) -> list[Row]:
    by = random.Random(1)
    async with grpc.aio.insecure_channel(city.address) as channel:
        credit: Any = CreditServiceStub(channel)
        nothing: Any = TrafficServiceStub(channel)

        async def check() -> None:
            subject = pb.SubjectRef(uscc=_code(by.randrange(firms)))
            request = pb.CheckCreditRequest(
                subject=subject, purpose=pb.CHECK_PURPOSE_APPROVAL, basis="行政许可法, art. 34", matter="benchmark"
            )
            await credit.CheckCredit(request, metadata=[city.token], timeout=30)

        async def empty() -> None:
            await nothing.GetSignal(traffic.GetSignalRequest(signal_id="signal-1"), metadata=[city.token], timeout=30)

        ways = {"check": check, "empty": empty}
        for way in ways.values():
            await _alone(way, 200)
        taken = {name: await _alone(way, calls) for name, way in ways.items()}
        rates = {name: max([await _together(way, seconds) for _ in range(2)]) for name, way in ways.items()}
    name, peer = f"credit-check, {firms:,} firms", "a call that does nothing"
    profile = {"until the read models had folded all, s": city.caught_up_s}
    p50, p99 = ({way: quantile(found, part) * 1000 for way, found in taken.items()} for part in (0.5, 0.99))
    return [
        Row(f"{name} p50", p50["check"], "ms", peer, p50["empty"]),
        Row(f"{name} p99", p99["check"], "ms", peer, p99["empty"], Aim(20, "value", least=False), profile),
        Row(f"{name} rate", rates["check"], "calls/s", peer, rates["empty"], Aim(0.5)),
    ]


async def _alone(call: Callable[[], Awaitable[None]], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - began)
    return taken


async def _together(call: Callable[[], Awaitable[None]], seconds: float) -> float:
    """Calls a second, of several callers at a time."""
    end, done = time.perf_counter() + seconds, 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return done / (time.perf_counter() - began)


@contextmanager
def _filled(firms: int) -> Iterator[_City]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(data=folder / "data")
        settings.data.mkdir()
        asyncio.run(_write(settings, firms))
        (manifest,) = choose(["credit"], [])
        bench = read_manifest(SERVICES / "bench" / "manifest.yaml")
        with (
            MeshChild(settings.data, ["credit"], _QUIET) as credit,
            MeshChild(settings.data, ["bench", "--folder", str(SERVICES)], _QUIET) as nothing,
        ):
            began = time.perf_counter()
            with calling(credit) as channel:
                caught_up(MeshServiceStub(channel), 1800)
            caught_up_s = time.perf_counter() - began
            where = GatewaySettings(
                upstreams={"credit": credit.address, "bench": nothing.address}, identity=own_issuer(settings),
                access_log=folder / "access.log", reads_per_s=100_000, commands_per_s=100_000,
            )  # fmt: skip
            with Envoy([manifest, bench], descriptors().read_bytes(), where, folder / "gateway") as gateway:
                yield _City(gateway.address, bearer(settings.data), caught_up_s)


async def _write(settings: Settings, firms: int) -> None:
    """All firms, each with its records in one stream, and where its number leads."""
    keys = key_file(settings)
    store = SqliteEventStore(settings.data / "events.db")
    for first in range(0, firms, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, firms))
        ids = [await keys.person("uscc", _code(number)) for number in numbers]
        await asyncio.gather(*(_firm(store, number, one) for number, one in zip(numbers, ids, strict=True)))
    store.close()
    keys.close()


async def _firm(store: SqliteEventStore, number: int, subject_id: str) -> None:
    kind, district = pb.SUBJECT_KIND_FIRM, f"d{number % 13}"
    events: list[Message] = [ev.SubjectRegistered(subject_id=subject_id, kind=kind, district_id=district, sector="C")]
    for n in range(RECORDS_EACH):
        at = timestamp(_BEGIN + (number % 700 + n) * _DAY)
        record = pb.Record(
            record_id=f"rec-{number:08x}{n:04x}", kind=pb.RECORD_KIND_BAD if n == 0 else pb.RECORD_KIND_GOOD,
            dimension=pb.CREDIT_DIMENSION_LAW_ABIDING, weight=pb.RECORD_WEIGHT_MINOR, source="benchmark", law="a law, art. 1",
            case_id=f"case-{number}-{n}", since=at, recorded_at=at, state=pb.RECORD_STATE_STANDING,
        )  # fmt: skip
        events.append(ev.RecordAdded(subject_id=subject_id, kind=kind, record=record, district_id=district))
    if number % 100 == 0:
        sanction = pb.Sanction(
            sanction_id=f"san-{number}", case_id=f"case-{number}-0", law="a law, art. 2",
            measures=[pb.SANCTION_MEASURE_NO_APPROVAL], since=timestamp(_BEGIN), until=timestamp(_BEGIN + 3000 * _DAY),
            record_id=f"rec-{number:08x}0000",
        )  # fmt: skip
        events.append(ev.SanctionImposed(subject_id=subject_id, kind=kind, sanction=sanction, district_id=district))
    new = [
        NewEvent(
            f"{number:030x}{n:02x}", event.DESCRIPTOR.full_name, event.SerializeToString(),
            occurred_at=_BEGIN + number * 1_000_000,
        )
        for n, event in enumerate(events)
    ]  # fmt: skip
    await store.append(f"credit/subject-{subject_id}", new, 0)


def _code(number: int) -> str:
    body = f"91330106MA{number:07d}"
    return body + uscc_check(body)
