"""saga-remote, saga-recover, saga-takeover: workflows in a process of their own, whose steps are calls of two others.

saga-remote: sagas of eight such steps, fifty at a time. saga-recover: a thousand sagas whose command has no answer yet, as a
process leaves them that is killed: from the start of the next one until each has gone on; beside it the start of a process that
finds none. saga-takeover: one of two processes is killed in the midst of its work: until the other has moved all of its sagas.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.sagas.v1 import saga_service_pb2 as pb
from citybrain.sagas.v1.saga_service_pb2_grpc import SagaServiceStub
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.kit.measure import kit
from benchmarks.kit.workflows import SLOW
from benchmarks.rows import Aim, Row
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import NewEvent
from citybrain.mesh.events import type_name
from citybrain.sagas.engine.state import pack
from tests.helpers.callers import channel

_AT_ONCE, _WARM, _SAGAS = 50, 100, 500
# One caller alone has a share of the process.
_CALLERS = 8
_IN_FLIGHT = 1000
_LIMIT_S = 60.0
_SOON = Aim(5, "value", least=False)


def measure(full: bool) -> list[Row]:
    """All rows."""
    with tempfile.TemporaryDirectory() as name:
        remote = _remote(Path(name))
    with tempfile.TemporaryDirectory() as name:
        empty_s = _start_s(Path(name), 0)
    with tempfile.TemporaryDirectory() as name:
        recover_s = _start_s(Path(name), _IN_FLIGHT)
    with tempfile.TemporaryDirectory() as name:
        takeover_s = _takeover(Path(name))
    floor = "aim: 60 sagas a second"
    return [
        Row("saga-remote", remote, "sagas/s", floor, 60.0, Aim(1)),
        Row("saga-recover, of 1,000 in flight", recover_s, "s", "start of the process alone", empty_s, _SOON),
        Row("saga-takeover", takeover_s, "s", "aim: under 5 s", 5.0, _SOON),
    ]


def _remote(data: Path) -> float:
    """Sagas a second, fifty at a time: another begins when one has completed."""
    with kit(data), kit(data, "clinic"), kit(data, "workflows") as host, ExitStack() as opened:
        channels = [opened.enter_context(_calling(host, data, f"caller-{number}")) for number in range(_CALLERS)]
        return asyncio.run(_fifty_at_a_time(data, [SagaServiceStub(one) for one in channels]))


async def _fifty_at_a_time(data: Path, stubs: Sequence[SagaServiceStub]) -> float:
    store, begin_one = SqliteEventStore(data / "events.db"), asyncio.get_running_loop().run_in_executor
    (log,) = store.partitions()
    number, done, position, began, before = 0, 0, 0, 0.0, 0
    while done < _WARM + _SAGAS:
        due = range(number, min(_WARM + _SAGAS, done + _AT_ONCE))
        await asyncio.gather(*(begin_one(None, _begin, stubs[one % _CALLERS], f"saga-{one}") for one in due))
        number = max(number, due.stop)
        page = await log.read_log(position, types=[type_name(ev.SagaCompleted)])
        done, position = done + len(page.events), page.reached
        if not began and done >= _WARM:
            began, before = time.perf_counter(), done
        if not page.events:
            await asyncio.sleep(0.002)
    taken = time.perf_counter() - began
    store.close()
    return (done - before) / taken


def _start_s(data: Path, in_flight: int) -> float:
    """Seconds from the start of a process until each saga in flight has an answer."""
    asyncio.run(_left_in_flight(data, in_flight))
    with kit(data), kit(data, "clinic"):
        began = time.perf_counter()
        with kit(data, "workflows"):
            answered = lambda found: type_name(ev.StepAnswered) in found.values() or not in_flight  # noqa: E731
            _until(data, 0, lambda found: len(found) >= in_flight and answered(found), [type_name(ev.StepAnswered)])
            return time.perf_counter() - began


def _takeover(data: Path) -> float:
    """Seconds from the end of one process until another has moved each of its sagas."""
    # The second stands by, as the first one leads.
    with (
        kit(data),
        kit(data, "clinic"),
        kit(data, "workflows") as first,
        kit(data, "workflows"),
        _calling(first, data) as opened,
    ):
        stub = SagaServiceStub(opened)
        ids = [f"{SLOW}-{number}" for number in range(_AT_ONCE)]
        for saga_id in ids:
            _begin(stub, saga_id)
        streams = {f"workflows/saga-{saga_id}" for saga_id in ids}
        moved = [type_name(ev.StepAnswered), type_name(ev.SagaCompleted)]
        head = _until(data, 0, lambda found: streams <= found.keys(), moved)
        began = time.perf_counter()
        os.kill(first.pid, signal.SIGKILL)
        _until(data, head, lambda found: streams <= found.keys(), moved)
        return time.perf_counter() - began


def _calling(server: subprocess.Popen[str], data: Path, caller: str = "caller") -> grpc.Channel:
    assert isinstance(server.args, list)
    return channel(str(server.args[-1]), data, subject=caller)


def _begin(stub: SagaServiceStub, saga_id: str) -> None:
    event = IncidentOpened(incident_id=saga_id)
    request = pb.StartSagaRequest(workflow="remote", event_type=type_name(event), event_json=MessageToJson(event))
    stub.StartSaga(request, timeout=_LIMIT_S)


def _until(data: Path, after: int, enough: Callable[[dict[str, str]], bool], types: list[str]) -> int:
    """Reads events of some types until enough streams have one, by stream with its type; returns where the log ends then."""
    return asyncio.run(_read_until(data, after, enough, types))


async def _read_until(data: Path, after: int, enough: Callable[[dict[str, str]], bool], types: list[str]) -> int:
    store = SqliteEventStore(data / "events.db")
    try:
        (log,) = store.partitions()
        found: dict[str, str] = {}
        position, end = after, time.monotonic() + _LIMIT_S
        while not enough(found):
            if time.monotonic() > end:
                raise TimeoutError(f"only {len(found)} sagas have moved after {_LIMIT_S:g} s")
            page = await log.read_log(position, types=types)
            found.update((event.stream, event.type) for event in page.events)
            position = page.reached
            if not page.events:
                await asyncio.sleep(0.01)
        return position
    finally:
        store.close()


async def _left_in_flight(data: Path, count: int) -> None:
    """Sagas as a process leaves them that is killed: their first command was sent, and has no answer."""
    store = SqliteEventStore(data / "events.db")
    now = time.time_ns() // 1000
    deadline = Timestamp(seconds=now // 1_000_000 + 600)
    for number in range(count):
        saga_id = f"left-{number}"
        opened = IncidentOpened(incident_id=saga_id)
        events: list[Message] = [
            ev.SagaStarted(saga_id=saga_id, workflow="remote", workflow_version=1, input=pack(opened)),
            ev.StepSent(step="s0", key=f"{saga_id}/s0/1", try_number=1, deadline=deadline),
        ]
        new = [
            NewEvent(f"{saga_id}-{n}", type_name(event), event.SerializeToString(), occurred_at=now, correlation_id=saga_id)
            for n, event in enumerate(events)
        ]
        await store.append(f"workflows/saga-{saga_id}", new, 0)
    store.close()
