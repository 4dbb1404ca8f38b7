"""saga-*: the engine of the workflows on one SQLite file, beside DBOS on SQLite, which also records every step durably.

A step of ours is a command to a service over gRPC, here in the same process; a step of DBOS is a call of a function.
"""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message

from benchmarks.peers import peer
from benchmarks.rows import Aim, Row
from citybrain.event_store.store import ANY, NewEvent
from citybrain.mesh.events import hear, type_name
from citybrain.mesh.runtime import context
from citybrain.mesh.runtime.clock import WallClock
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import Service, rpc
from citybrain.mesh.testing.parts import Parts, greenlets, on_parts
from citybrain.observability.logs import configure
from citybrain.sagas.engine.definition import Command, Node, Step, Wait, Workflow
from citybrain.sagas.engine.moving import Moving
from citybrain.sagas.engine.records import Known
from citybrain.sagas.engine.runner import SagaRunner

_STEPS = 8
_GET = "citybrain.traffic.v1.TrafficService/GetSignal"
_DONE = (type_name(ev.SagaCompleted),)


class Department(Service):
    """Does nothing, quickly."""

    name = "department"

    @rpc
    def GetSignal(self, request: traffic.GetSignalRequest) -> traffic.GetSignalResponse:
        """Answers."""
        return traffic.GetSignalResponse()


def _incident(event: Message) -> str:
    return str(event.incident_id)  # type: ignore[attr-defined]


def _workflow(*nodes: Node) -> Workflow:
    hears: Any = dict.fromkeys((IncidentOpened, MissionReported), _incident)
    return Workflow(name="bench", version=1, starts_on=IncidentOpened, hears=hears, nodes=nodes)


def _trivial() -> tuple[Node, ...]:
    command = Command(_GET, lambda state, key: traffic.GetSignalRequest(signal_id="s"))
    return tuple(Step(f"s{number}", command, deadline_s=600) for number in range(_STEPS))


class _Sagas:
    """A service that runs one workflow, and a department, in this process."""

    def __init__(self, parts: Parts, *nodes: Node) -> None:
        self.parts = parts
        parts.add(Department, "citybrain.traffic.v1.TrafficService")
        workflows = [_workflow(*nodes)]
        members: dict[str, Any] = {"name": "sagas", "runner": SagaRunner(workflows), "moving": Moving(workflows)}
        container = parts.add(type("Host", (Service,), members), "citybrain.sagas.v1.SagaService")
        (self.runner,) = [one for one in container.dependencies if isinstance(one, SagaRunner)]
        parts.start()
        (self.log,) = parts.store.partitions()
        self.written = 0

    def hear(self, *messages: tuple[Message, str]) -> None:
        """Delivers events, each written first, as a subscription would."""
        for message, name in messages:
            new = NewEvent(
                name, message.DESCRIPTOR.full_name, message.SerializeToString(), occurred_at=self.parts.process.clock.now()
            )
            wait(self.parts.store.append("elsewhere", [new], ANY))
        page = wait(self.parts.store.read("elsewhere", self.written + 1, len(messages)))
        self.written += len(messages)
        for event in page:
            context.enter(context.Call("sagas", "hear", event.id))
            self.runner.hear(hear(event))

    def completed(self, count: int) -> None:
        """Waits until so many sagas have completed."""
        wait(self._completed(count))

    async def _completed(self, count: int) -> None:
        position, seen = 0, 0
        while seen < count:
            page = await self.log.read_log(position, types=_DONE)
            seen, position = seen + len(page.events), page.reached
            if seen < count:
                await self.log.grown(position)


def measure(full: bool) -> list[Row]:
    """All rows of the workflows."""
    # A line for each append would be measured too.
    configure("warning")
    with tempfile.TemporaryDirectory() as folder:
        alone_ms, together = on_parts(Path(folder) / "ours", _sequential, clock=WallClock(), max_workers=64)
        theirs = peer("dbos_sqlite", folder=folder, steps=_STEPS, one_by_one=100, at_once=200)
        first_us, last_us, taken_up_ms, whole_ms = _long(Path(folder) / "long")
    dbos = "DBOS on SQLite"
    return [
        Row("saga-8-seq p50", alone_ms, "ms", dbos, theirs["p50_ms"], Aim(1 / 3, least=False)),
        Row("saga-8-200", together, "sagas/s", dbos, theirs["workflows_per_s"], Aim(8)),
        Row("saga-long, of 10,000 heard events", last_us, "µs of processor time an event, the last 500",
            "the first 500", first_us, Aim(1.5, least=False)),
        Row("saga-long, taken up", taken_up_ms, "ms, from its snapshot and what came after", "its whole stream", whole_ms,
            Aim(1, least=False)),
    ]  # fmt: skip


def _sequential(parts: Parts) -> tuple[float, float]:
    """Milliseconds of one saga at a time, p50; sagas a second with 200 at once."""
    sagas = _Sagas(parts, *_trivial())
    taken = []
    for number in range(100):
        event = (IncidentOpened(incident_id=f"one-{number}"), f"one-{number}")
        began = time.perf_counter()
        sagas.hear(event)
        sagas.completed(number + 1)
        taken.append(time.perf_counter() - began)
    many = [(IncidentOpened(incident_id=f"many-{number}"), f"many-{number}") for number in range(200)]
    began = time.perf_counter()
    sagas.hear(*many)
    sagas.completed(100 + len(many))
    return statistics.median(taken) * 1000, len(many) / (time.perf_counter() - began)


def _long(folder: Path) -> tuple[float, float, float, float]:
    """Processor time of an event that a saga hears, in microseconds: of the first 500 after a hundred, and of the last.

    Then how long it takes to take the saga up, in milliseconds: as a process does, and with no snapshot.
    """
    parts = greenlets().run(lambda: Parts(folder, clock=WallClock()))
    never = Wait("never", MissionReported, 86_400, matches=lambda state, event: False)
    sagas = greenlets().run(lambda: _Sagas(parts, never))
    greenlets().run(lambda: sagas.hear((IncidentOpened(incident_id="s"), "opened")))

    def hears(count: int) -> float:
        began = os.times()
        for _ in range(count):
            sagas.hear((MissionReported(incident_id="s", ambulance_id="a"), f"e{sagas.written}"))
        ended = os.times()
        return (ended.user + ended.system - began.user - began.system) / count * 1e6

    # In pieces: one piece of work may not take longer than a minute here.
    costs = [greenlets().run(functools.partial(hears, count)) for count in (100, *[500] * 20)]
    records, snapshots = sagas.runner._records, sagas.runner._records._snapshots

    async def nothing(*_: object) -> None:
        return None

    def taken_up() -> float:
        began = time.perf_counter()
        wait(records.read("s", Known()))
        return (time.perf_counter() - began) * 1000

    # Neither run is to leave a snapshot for the other.
    snapshots.keep = nothing  # type: ignore[method-assign, assignment]
    with_it = min(greenlets().run(taken_up) for _ in range(5))
    snapshots.newest = nothing  # type: ignore[method-assign, assignment]
    whole = min(greenlets().run(taken_up) for _ in range(5))
    greenlets().run(parts.stop)
    return costs[1], costs[-1], with_it, whole
