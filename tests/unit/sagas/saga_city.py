"""A saga service and a department on real parts, for tests of the runner; a second process beside them, on the same data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message

from citybrain.event_store.store import NewEvent
from citybrain.mesh.events import hear
from citybrain.mesh.runtime import context
from citybrain.mesh.runtime.clock import DrivenClock
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.service import Heard, Service, rpc, subscribe
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.sagas.engine.definition import Command, Node, Step, Workflow
from citybrain.sagas.engine.moving import Moving
from citybrain.sagas.engine.runner import SagaRunner

SECOND = 1_000_000
GET = "citybrain.traffic.v1.TrafficService/GetSignal"
KINDS = (IncidentOpened, MissionReported, IncidentCancelled)


class PromptMoving(Moving):
    """Folded at once, and rest waits for that: tests look at its rows."""

    rests = True
    pause_s = 0.0


class Department(Service):
    """Answers GetSignal, unless told otherwise; keeps every call."""

    name = "department"
    calls: ClassVar[list[str]] = []
    # For which event each was made.
    causes: ClassVar[list[str]] = []
    # In which exercise.
    exercises: ClassVar[list[str]] = []
    fails: ClassVar[dict[str, Exception]] = {}
    held: ClassVar[dict[str, asyncio.Event]] = {}
    # How long an answer is.
    long: ClassVar[dict[str, int]] = {}

    @rpc
    def GetSignal(self, request: traffic.GetSignalRequest) -> traffic.GetSignalResponse:
        name = request.signal_id
        self.calls.append(name)
        self.causes.append(context.current().causation_id)
        self.exercises.append(context.current().exercise)
        if name in self.held:
            wait(self.held[name].wait())
        if name in self.fails:
            raise self.fails[name]
        return traffic.GetSignalResponse(held_for=name + "." * self.long.get(name, 0))


def command(name: str) -> Command:
    # The department knows what it is asked by its name. A definition with an undo must use its key all the same.
    return Command(GET, lambda state, key: traffic.GetSignalRequest(signal_id=name if key else ""))


def step(name: str, **options: Any) -> Step:
    options.setdefault("undo", command(f"undo {name}"))
    options.setdefault("deadline_s", 60)
    return Step(name, options.pop("command", command(name)), **options)


def incident_of(event: Message) -> str:
    return str(event.incident_id)  # type: ignore[attr-defined]


class City:
    """A saga service and a department in one process; `hears`: by a subscription of its own, too.

    `older`: other versions of the workflow that are still there, or other workflows. `retired`: what is gone.
    """

    def __init__(
        self, parts: Parts, *nodes: Node, version: int = 1, hears: bool = False, alone: bool = True,
        older: Sequence[Workflow] = (), retired: Collection[tuple[str, int]] = (), kinds: Sequence[type[Message]] = KINDS,
    ) -> None:  # fmt: skip
        self.nodes, self.older = nodes, older
        self.workflow = Workflow(
            name="test",
            version=version,
            starts_on=IncidentOpened,
            hears=dict.fromkeys(kinds, incident_of),
            undo_on={IncidentCancelled: lambda e: "false call"},
            nodes=nodes,
        )
        self.parts = parts
        self.clock = parts.process.clock
        self.deaf: asyncio.Event | None = None
        """What its subscription waits for before it hears anything."""
        if alone:
            Department.calls, Department.fails, Department.held, Department.long = [], {}, {}, {}
            Department.causes, Department.exercises = [], []
            parts.add(Department, "citybrain.traffic.v1.TrafficService")
        workflows = [*older, self.workflow]
        members: dict[str, Any] = {"name": "sagas", "runner": SagaRunner(workflows, retired), "moving": PromptMoving(workflows)}
        if hears:

            def hear_it(service: Any, event: Heard) -> None:
                if self.deaf is not None:
                    wait(self.deaf.wait())
                service.runner.hear(event)

            members["hear"] = subscribe(*KINDS)(hear_it)
        self.container = parts.add(type("Host", (Service,), members), "citybrain.sagas.v1.SagaService")
        self.runner = runner_of(self.container)

    def start(self) -> City:
        self.parts.start()
        self.advance(1)
        return self

    @contextmanager
    def beside(self) -> Iterator[City]:
        """Another process of the saga service, on the same data, that calls the same department. This one is up before."""
        parts = Parts(self.parts.process.settings.data)
        try:
            other = City(parts, *self.nodes, alone=False, older=self.older)
            parts.start(serve=False)
            parts.process.outgoing.addresses.update(self.parts.process.outgoing.addresses)
            yield other
        finally:
            parts.stop()

    def end(self) -> None:
        """The process is killed, as far as its sagas go: nothing is tidied up, and another one may lead."""
        self.runner.stop()
        self.parts.process.read_models["sagas"].leadership.give_up()

    def advance(self, seconds: float) -> None:
        assert isinstance(self.clock, DrivenClock)
        wait(self.clock.advance(int(seconds * SECOND)))

    def write(self, message: Message, name: str, at_s: float = 0) -> None:
        """Something happens elsewhere."""
        at = int(at_s * SECOND) or 1
        new = NewEvent(id=name, type=message.DESCRIPTOR.full_name, data=message.SerializeToString(), occurred_at=at)
        wait(self.parts.store.append("elsewhere", [new], -1))

    def hear(self, message: Message, name: str = "opened", at_s: float = 0) -> None:
        self.write(message, name, at_s)
        self.redeliver(name)

    def redeliver(self, name: str) -> None:
        """What has happened is delivered, for the first time or once more."""
        page = wait(self.parts.store.read("elsewhere"))
        context.enter(context.Call("sagas", "hear", name))
        self.runner.hear(hear(next(event for event in page if event.id == name)))

    def open(self) -> City:
        self.hear(IncidentOpened(incident_id="s"))
        return self

    def rest(self) -> None:
        wait(self.parts.process.activity.rest())

    def phase(self, saga_id: str = "s") -> str:
        return self.runner.load(saga_id).phase

    def status(self, name: str) -> str:
        return self.runner.load("s").steps[name].status

    def recorded(self, saga_id: str = "s") -> list[str]:
        events = wait(self.parts.store.read(f"sagas/saga-{saga_id}"))
        return [event.type.rpartition(".")[2] for event in events]


def runner_of(container: Container) -> SagaRunner:
    (runner,) = [extension for extension in container.dependencies if isinstance(extension, SagaRunner)]
    return runner


def city(tmp_path: Path, test: Callable[[City], None], *nodes: Node, **options: Any) -> None:
    on_parts(tmp_path, lambda parts: test(City(parts, *nodes, **options)))
