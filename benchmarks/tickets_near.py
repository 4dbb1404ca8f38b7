"""tickets-near: the open tickets of the hotline within 500 m of a place, the nearest first, asked of a process by gRPC.

Beside it stands a call of the same process that does nothing. All tickets are open, spread over the city: half of them in a
tenth of its area, as in any city.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from citybrain.mesh.v1.mesh_service_pb2_grpc import MeshServiceStub
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import hotline_pb2 as pb
from citybrain.urban.v1.places_pb2 import Position
from citybrain.urban.v1.urban_service_pb2_grpc import UrbanServiceStub
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from benchmarks.kit.waiting import caught_up
from benchmarks.rows import Aim, Row, quantile
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import NewEvent
from citybrain.local.child import MeshChild
from citybrain.mesh.events import timestamp
from tests.helpers.callers import calling

METRES, PAGE = 500.0, 50
_MIDDLE, _HALF_DEG = (30.25, 120.17), 0.3
_BEGIN = 1_700_000_000_000_000
_AT_ONCE = 1000
_CAUGHT_UP_S = 1800
_QUIET = {"CITY_LOG_LEVEL": "error", "OTEL_SDK_DISABLED": "true"}


def measure(tickets: int, calls: int) -> list[Row]:
    """All rows. `calls`: how often is asked."""
    with _filled(tickets) as (child, folded_s), calling(child) as channel:
        stub, health, by = UrbanServiceStub(channel), HealthStub(channel), random.Random(2)
        taken: dict[str, list[float]] = {"near": [], "nothing": []}
        found = 0
        for number in range(calls + calls // 10):
            began = time.perf_counter()
            request = pb.ListTicketsNearRequest(position=_place(by), metres=METRES, page_size=PAGE)
            answer = stub.ListTicketsNear(request, timeout=60)
            between = time.perf_counter()
            health.Check(HealthCheckRequest())
            if number >= calls // 10:
                taken["near"].append(between - began)
                taken["nothing"].append(time.perf_counter() - between)
                found += len(answer.tickets)
    name, peer, bare = f"tickets-near, {tickets:,}", "a call that does nothing, p99", quantile(taken["nothing"], 0.99) * 1000
    profile = {"tickets in an answer": found / calls, "until the read models had folded all, s": folded_s}
    return [
        Row(f"{name} p50", quantile(taken["near"], 0.5) * 1000, "ms", peer, bare),
        Row(f"{name} p99", quantile(taken["near"], 0.99) * 1000, "ms", peer, bare, Aim(20, "value", least=False), profile),
    ]


def _place(by: random.Random) -> Position:
    """Half of all places are in a tenth of the area."""
    half = _HALF_DEG * (0.1**0.5 if by.random() < 0.5 else 1.0)
    return Position(latitude=_MIDDLE[0] + by.uniform(-half, half), longitude=_MIDDLE[1] + by.uniform(-half, half))


@contextmanager
def _filled(tickets: int) -> Iterator[tuple[MeshChild, float]]:
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        data.mkdir()
        asyncio.run(_write(data, tickets))
        with MeshChild(data, ["urban"], _QUIET) as child:
            began = time.perf_counter()
            with calling(child) as channel:
                stub: Any = MeshServiceStub(channel)
                caught_up(stub, _CAUGHT_UP_S)
            yield child, time.perf_counter() - began


async def _write(data: Path, tickets: int) -> None:
    store, by = SqliteEventStore(data / "events.db"), random.Random(1)
    for first in range(0, tickets, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, tickets))
        await asyncio.gather(*(_ticket(store, number, _place(by)) for number in numbers))
    store.close()


async def _ticket(store: SqliteEventStore, number: int, place: Position) -> None:
    at = _BEGIN + number * 10_000_000
    opened = ev.TicketOpened(
        ticket_id=f"tic-{number:012x}", kind="noise", department="urban", district_id=f"d{number % 13}", position=place,
        opened_at=timestamp(at), version="benchmark", order_id=f"wo-{number:012x}",
    )  # fmt: skip
    new = NewEvent(f"{number:032x}", opened.DESCRIPTOR.full_name, opened.SerializeToString(), occurred_at=at)
    await store.append(f"urban/ticket-{opened.ticket_id}", [new], 0)
