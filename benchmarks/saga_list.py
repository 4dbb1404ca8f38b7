"""saga-list: the sagas of one district that need a human, of 100,000 of which 1,000 are open, asked of a process by gRPC.

Beside it stands a call of the same process that does nothing. saga-list walk: what a page of a walk through all of them costs,
beside the same with a tenth of the sagas. They stand in the embedded store as they would after months: all but the open ones
are completed.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb
from citybrain.sagas.v1.saga_service_pb2_grpc import SagaServiceStub
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from benchmarks.kit.waiting import caught_up
from benchmarks.rows import Aim, Row, quantile
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import NewEvent
from citybrain.local.child import MeshChild
from citybrain.sagas.engine.state import pack
from tests.helpers.callers import calling

SAGAS, OPEN, DISTRICTS = 100_000, 1_000, 13
_AT_ONCE = 500
_CAUGHT_UP_S = 900


def measure(calls: int) -> list[Row]:
    """All rows. `calls`: how often the list is asked for."""
    with _filled(SAGAS // 10, OPEN // 10) as (child, _), calling(child) as channel:
        tenth = _walk(SagaServiceStub(channel), SAGAS // 10)
    with _filled(SAGAS, OPEN) as (child, start_s):
        with calling(child) as channel:
            stub, health = SagaServiceStub(channel), HealthStub(channel)
            taken = {"list": _timed(lambda number: _asked(stub, number), calls)}
            taken["nothing"] = _timed(lambda number: health.Check(HealthCheckRequest()), calls)
            page_s = _walk(stub, SAGAS)
        rows_mb = _memory_mb(child.pid)
    bare = quantile(taken["nothing"], 0.99) * 1000
    profile = {"start of the process, with these sagas in its rows, s": start_s, "memory of the process, MB": rows_mb}
    peer, soon, even = "a call that does nothing, p99", Aim(20, "value", least=False), Aim(1.5, least=False)
    return [
        Row("saga-list p50", quantile(taken["list"], 0.5) * 1000, "ms", peer, bare),
        Row("saga-list p99", quantile(taken["list"], 0.99) * 1000, "ms", peer, bare, soon, profile),
        Row("saga-list walk", page_s * 1000, "ms a page of 500", "with a tenth of the sagas", tenth * 1000, even),
    ]


def _asked(stub: Any, number: int) -> None:
    request = pb.ListSagasRequest(states=[pb.SAGA_STATE_NEEDS_HUMAN], district_id=f"d{number % DISTRICTS}", page_size=50)
    assert len(stub.ListSagas(request, timeout=60).sagas) == 50


def _timed(ask: Any, calls: int) -> list[float]:
    taken = []
    for number in range(calls):
        began = time.perf_counter()
        ask(number)
        taken.append(time.perf_counter() - began)
    return taken


def _walk(stub: Any, sagas: int) -> float:
    """Seconds a page, of a walk through all sagas."""
    request, found, pages = pb.ListSagasRequest(page_size=500), 0, 0
    began = time.perf_counter()
    while True:
        answer = stub.ListSagas(request, timeout=60)
        found, pages = found + len(answer.sagas), pages + 1
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert found == sagas
    return (time.perf_counter() - began) / pages


@contextmanager
def _filled(sagas: int, is_open: int) -> Iterator[tuple[MeshChild, float]]:
    """A process that has folded all sagas and was started again, and how many seconds it needed until it listed them."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        data.mkdir()
        asyncio.run(_write(data, sagas, is_open))
        given = {"CITY_LOG_LEVEL": "error", "OTEL_SDK_DISABLED": "true"}
        with MeshChild(data, ["sagas"], given) as child:
            with calling(child) as channel:
                caught_up(MeshServiceStub(channel), _CAUGHT_UP_S)
            child.stop()
            began = time.perf_counter()
            child.start()
            with calling(child) as channel:
                SagaServiceStub(channel).ListSagas(pb.ListSagasRequest(), timeout=60)
            yield child, time.perf_counter() - began


async def _write(data: Path, sagas: int, is_open: int) -> None:
    """All sagas, the open ones spread among the others."""
    store = SqliteEventStore(data / "events.db")
    every = sagas // is_open
    for first in range(0, sagas, _AT_ONCE):
        await asyncio.gather(
            *(_saga(store, number, number % every == 0) for number in range(first, min(first + _AT_ONCE, sagas)))
        )
    store.close()


async def _saga(store: SqliteEventStore, number: int, is_open: bool) -> None:
    saga_id = f"inc-{number:012x}"
    # So that the open ones, too, are spread over all districts.
    district = f"d{number // 100 % DISTRICTS}"
    started = ev.SagaStarted(saga_id=saga_id, workflow="emergency_response", workflow_version=2)
    started.input.CopyFrom(pack(IncidentOpened(incident_id=saga_id, district_id=district)))
    reason = "reserve_ambulance: NoneFree: no ambulance is free within reach"
    last = ev.SagaNeedsHuman(step="reserve_ambulance", reason=reason) if is_open else ev.SagaCompleted()
    new = [
        NewEvent(
            f"{number:031x}{n}", event.DESCRIPTOR.full_name, event.SerializeToString(),
            occurred_at=1_700_000_000_000_000 + number * 1_000_000, correlation_id=saga_id,
        )
        for n, event in enumerate((started, last))
    ]  # fmt: skip
    await store.append(f"sagas/saga-{saga_id}", new, 0)


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024
