"""Runs sagas: appends inputs before anything is decided from them, sends what the engine said, and goes on after a crash.

Correctness rests on the expected version of the saga's stream; whoever loses a race reads again and decides anew. It is long
because appending, sending, timers and taking up share one lock a saga, and are only right together.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message
from opentelemetry import context as otel_context
from opentelemetry import trace

from citybrain.event_store.contract import Committed, Cursor, NewEvent
from citybrain.mesh import context as ctx
from citybrain.mesh.clock import Timer
from citybrain.mesh.errors import CallFailed, Contended, NotFound
from citybrain.mesh.events import Heard, classification_of, type_name
from citybrain.mesh.groups import ServiceFile
from citybrain.mesh.process import Process
from citybrain.mesh.runtime import wait
from citybrain.mesh.service import Provider
from citybrain.mesh.vault import lay_down
from citybrain.observability import names
from citybrain.observability.logs import logger
from citybrain.observability.tracing import context_from, current_traceparent
from citybrain.sagas.definition import Step, Workflow
from citybrain.sagas.engine import due_timers, on_failure, on_undo_failure, react
from citybrain.sagas.state import SagaState, evolve, pack

_NAMESPACE = uuid.UUID("0f6d3f0e-7a0b-5f57-8a52-6a1a6a6d2c55")
_SCAN = ("citybrain.sagas.v1.SagaStarted", "citybrain.sagas.v1.SagaCompleted", "citybrain.sagas.v1.SagaUndone")
# Every call has a machine deadline too: one that hangs is tried again under the same key.
_CALL_DEADLINE_S = 5.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0

Inputs = Callable[[SagaState], Sequence[Message]]


@dataclass(slots=True)
class _Running:
    """A saga this process looks after."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    state: SagaState = field(default_factory=SagaState)
    version: int = 0
    traceparent: str = ""
    # Whose personal data is in the state.
    persons: frozenset[str] = frozenset()
    timer: Timer | None = None


class SagaRunner(Provider):
    """The sagas of a service: `hear(event)` delivers an event, `load(saga_id)` reads one, `resume(saga_id)` goes on."""

    def __init__(self, workflows: Sequence[Workflow]) -> None:
        self._workflows = {(w.name, w.version): w for w in workflows}
        self.calls = sorted({service for workflow in workflows for service in workflow.services()})

    def setup(self) -> None:
        """Starts with nothing known."""
        self._process: Process = self.container.process
        self._name = self.container.manifest.name
        self._log = logger(self._name)
        self._sagas: dict[str, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._process.vault.when_erased(self._forget)

    def start(self) -> None:
        """Takes up every saga that had not ended, as soon as this process leads."""
        leadership = ServiceFile.of(self._process, self._name).leadership
        if leadership.take():
            self._spawn(self._take_up)
            return

        async def stand_by() -> None:
            await leadership.gained()
            self._spawn(self._take_up)

        # Not counted as work: it may wait for ever.
        task = self._process.loop.create_task(stand_by())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Sends nothing more; what was recorded is sent again by whoever comes next."""
        for task in self._tasks:
            task.cancel()
        for running in self._sagas.values():
            if running.timer is not None:
                running.timer.cancel()

    kill = stop

    def get_dependency(self, worker_ctx: Any) -> SagaRunner:
        """The runner itself."""
        return self

    # -- for the service ------------------------------------------------------------------------------------------------

    def hear(self, heard: Heard) -> None:
        """Delivers an event to the sagas it belongs to, and starts those it begins. Twice is once."""
        wait(self._hear(heard))

    def load(self, saga_id: str) -> SagaState:
        """A saga as it stands; NotFound when there is none."""
        running = self._sagas.get(saga_id)
        if running is None or running.version == 0:
            # Only looked at: what this process looks after is loaded by those who write.
            running = wait(self._read(saga_id, _Running()))
        if running.version == 0:
            raise NotFound(f"there is no saga {saga_id}: ListSagas names them", "NO_SUCH_SAGA")
        return running.state

    def resume(self, saga_id: str) -> SagaState:
        """Goes on with a saga that needs a human."""
        self.load(saga_id)

        def resumed(state: SagaState) -> list[Message]:
            return [ev.SagaResumed()] if state.phase == "needs human" else []

        wait(self._put(saga_id, resumed))
        return self.load(saga_id)

    def workflow(self, state: SagaState) -> Workflow:
        """The definition a saga was started with."""
        return self._workflows[state.workflow, state.workflow_version]

    # -- events ---------------------------------------------------------------------------------------------------------

    async def _hear(self, heard: Heard) -> None:
        newest = {w.name: w for w in sorted(self._workflows.values(), key=lambda w: w.version)}
        for workflow in newest.values():
            if isinstance(heard.data, workflow.starts_on):
                saga_id = workflow.hears[workflow.starts_on](heard.data)
                await self._put(saga_id, _starting(workflow, saga_id, heard.data))
            elif type(heard.data) in workflow.hears:
                saga_id = workflow.hears[type(heard.data)](heard.data)
                if saga_id:
                    await self._put(saga_id, _hearing(heard))

    async def _load(self, saga_id: str) -> _Running:
        running = self._sagas.setdefault(saga_id, _Running())
        if running.version == 0:
            async with running.lock:
                if running.version == 0:
                    await self._read(saga_id, running)
        return running

    async def _read(self, saga_id: str, running: _Running) -> _Running:
        state, version = SagaState(), 0
        persons: set[str] = set()
        while True:
            page = await self._process.store.read(self._stream(saga_id), version + 1)
            for heard in await self._process.vault.hear(page):
                event = heard.stored
                state = evolve(state, heard.data, event.occurred_at)
                persons.update(heard.persons)
                version = event.version
                running.traceparent = running.traceparent or event.traceparent
            if len(page) < 1000:
                break
        if any(map(self._process.vault.gone, persons)):
            # Erased while it was read.
            return await self._read(saga_id, running)
        running.state, running.version, running.persons = state, version, frozenset(persons)
        return running

    def _forget(self, person: str) -> None:
        """Whoever was erased is in no state any more: it is folded anew."""
        for saga_id, running in self._sagas.items():
            if person in running.persons:
                self._spawn(self._fold_anew, saga_id, running)

    async def _fold_anew(self, saga_id: str, running: _Running) -> None:
        async with running.lock:
            await self._read(saga_id, running)

    def _stream(self, saga_id: str) -> str:
        return f"{self._name}/saga-{saga_id}"

    async def _put(self, saga_id: str, inputs: Inputs) -> None:
        """Appends inputs and everything that follows from them in one go, then sends what is to be sent.

        It is finished even when its caller has gone: what was recorded must be sent.
        """
        await asyncio.shield(self._begin(self._put_now(saga_id, inputs)))

    async def _put_now(self, saga_id: str, inputs: Inputs) -> None:
        running = await self._load(saga_id)
        async with running.lock:
            for _ in range(20):
                first = list(inputs(running.state))
                if not first:
                    self._set_timer(saga_id, running)
                    return
                workflow = self._workflow_for(running.state, first[0])
                now = self._process.clock.now()
                events, state = react(workflow, running.state, first, now)
                if await self._append(saga_id, running, events, now):
                    running.state = state
                    self._send(saga_id, running, workflow, events)
                    self._set_timer(saga_id, running)
                    return
                await self._read(saga_id, running)
            raise Contended(f"saga {saga_id} is written to by too many at once")

    def _workflow_for(self, state: SagaState, first: Message) -> Workflow:
        if isinstance(first, ev.SagaStarted):
            return self._workflows[first.workflow, first.workflow_version]
        return self.workflow(state)

    async def _append(self, saga_id: str, running: _Running, events: Sequence[Message], now: int) -> bool:
        call = ctx.current()
        stored = [
            NewEvent(
                id=_event_id(saga_id, running.version + number, event),
                type=type_name(event),
                data=b"",
                occurred_at=now,
                traceparent=current_traceparent() or running.traceparent,
                correlation_id=call.correlation_id or saga_id,
                causation_id=call.causation_id,
                actor=self._name,
                classification=classification_of(type_name(event)),
            )
            for number, event in enumerate(events)
        ]
        laid = [(new, lay_down(new, event)) for new, event in zip(stored, events, strict=True)]
        persons = {person for _, parts in laid for person in parts}
        if persons:
            await self._process.vault.seal(laid)
        outcome = await self._process.store.append(self._stream(saga_id), stored, running.version)
        if not isinstance(outcome, Committed):
            return False
        running.version, running.persons = outcome.last, running.persons | persons
        running.traceparent = running.traceparent or stored[0].traceparent
        span = trace.get_current_span()
        for event in stored:
            span.add_event(
                names.APPENDED, {names.EVENT_TYPE: event.type, names.EVENT_ID: event.id, names.STREAM: self._stream(saga_id)}
            )
        self._log.info("saga went on", saga=saga_id, events=[type(event).__name__ for event in events])
        return True

    # -- commands -------------------------------------------------------------------------------------------------------

    def _send(self, saga_id: str, running: _Running, workflow: Workflow, events: Sequence[Message]) -> None:
        for event in events:
            if isinstance(event, ev.StepSent):
                self._spawn(self._run_step, saga_id, workflow, event.step, event.key)
            elif isinstance(event, ev.UndoSent):
                self._spawn(self._run_undo, saga_id, workflow, event.step, event.key)

    async def _run_step(self, saga_id: str, workflow: Workflow, name: str, key: str) -> None:
        step = workflow.leaf(name)
        assert isinstance(step, Step)

        def outcome(result: Message | CallFailed) -> Inputs:
            def inputs(state: SagaState) -> Sequence[Message]:
                now = self._process.clock.now()
                sent = state.steps.get(name)
                if state.phase not in ("running", "needs human") or state.undo_begun or not sent or sent.status != "sent":
                    # The saga went another way meanwhile: its undo carries the same key.
                    return []
                if isinstance(result, CallFailed):
                    return [on_failure(workflow, state, name, key, result.code.name, str(result), now)]
                return [ev.StepAnswered(step=name, key=key, response=pack(result))]

            return inputs

        await self._run(saga_id, f"step {name}", step.command.method, lambda s: step.command.request(s, key), key, outcome)

    async def _run_undo(self, saga_id: str, workflow: Workflow, name: str, key: str) -> None:
        step = workflow.leaf(name)
        assert isinstance(step, Step)
        undo = step.undo
        assert undo is not None

        def outcome(result: Message | CallFailed) -> Inputs:
            def inputs(state: SagaState) -> Sequence[Message]:
                now = self._process.clock.now()
                if state.phase != "undoing" or state.steps[name].undo != "sent":
                    return []
                if isinstance(result, CallFailed):
                    return [on_undo_failure(state, name, key, result.code.name, str(result), now)]
                return [ev.UndoAnswered(step=name, key=key)]

            return inputs

        # The undo names the command by the command's own key.
        await self._run(
            saga_id, f"undo {name}", undo.method, lambda s: undo.request(s, s.steps[name].key), key, outcome
        )  # fmt: skip

    async def _run(
        self,
        saga_id: str,
        what: str,
        method: str,
        request: Callable[[SagaState], Message],
        key: str,
        outcome: Callable[[Message | CallFailed], Inputs],
    ) -> None:
        running = await self._load(saga_id)
        trigger = trace.get_current_span().get_span_context()
        links = [trace.Link(trigger)] if trigger.is_valid else []
        otel_context.attach(context_from(running.traceparent, {names.INCIDENT_ID: saga_id}))
        tracer = self._process.tracing.tracer(self._name)
        with tracer.start_as_current_span(what, links=links) as span:
            span.set_attribute(names.SAGA_ID, saga_id)
            ctx.enter(ctx.Call(self._name, what, key, correlation_id=saga_id))
            result: Message | CallFailed
            try:
                result = await self._process.outgoing.call(
                    self._name, method, request(running.state), request_id=key, deadline_s=_CALL_DEADLINE_S, retry=False
                )
            except CallFailed as failure:
                result = failure
            except Exception as error:
                # The definition is at fault: to try again would not help, and to say nothing would leave the saga hanging.
                self._log.error("saga command could not be made", saga=saga_id, work=what, error=repr(error), exc_info=error)
                result = CallFailed(grpc.StatusCode.INVALID_ARGUMENT, f"the command could not be made: {error!r}")
            if isinstance(result, CallFailed):
                span.set_status(trace.Status(trace.StatusCode.ERROR, f"{result.code.name}: {result}"))
            await self._put(saga_id, outcome(result))

    def _spawn(self, work: Callable[..., Any], *arguments: object) -> None:
        self._begin(self._until_done(work, *arguments))

    async def _until_done(self, work: Callable[..., Any], *arguments: object) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                await work(*arguments)
                return
            except Exception as error:
                about = [str(argument) for argument in arguments[:1]]
                self._log.error(
                    "saga work failed and is tried again", work=work.__name__, about=about, again_in_s=pause, exc_info=error
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Counted from here on: nobody may think the mesh at rest between the decision and the call.
        self._process.activity.begin()
        task = self._process.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._process.activity.end()

    # -- time -----------------------------------------------------------------------------------------------------------

    def _set_timer(self, saga_id: str, running: _Running) -> None:
        due = min(due_timers(running.state), default=None)
        if running.timer is not None:
            running.timer.cancel()
            running.timer = None
        if due is None:
            if running.state.phase in ("completed", "undone"):
                self._sagas.pop(saga_id, None)
            return
        moment, name = due

        async def fire() -> None:
            otel_context.attach(context_from(running.traceparent, {names.INCIDENT_ID: saga_id}))
            ctx.enter(ctx.Call(self._name, "timer", f"{saga_id}/{name}", correlation_id=saga_id))

            def fired(state: SagaState) -> list[Message]:
                return [ev.TimerFired(timer=name)] if (moment, name) in set(due_timers(state)) else []

            try:
                await self._put(saga_id, fired)
            except Exception as error:
                # City time goes on; the saga is looked at as soon as that is possible.
                self._log.error("saga timer failed", saga=saga_id, timer=name, exc_info=error)
                self._spawn(self._put, saga_id, fired)

        async def fire_apart() -> None:
            # In a task of its own: the context set here must not leak into the clock's, nor end with who moves the clock.
            await asyncio.shield(self._begin(fire()))

        running.timer = self._process.clock.at(moment, fire_apart)

    # -- after a crash --------------------------------------------------------------------------------------------------

    async def _take_up(self) -> None:
        open_sagas: dict[str, None] = {}
        feed = self._process.store.feed(_SCAN)
        cursor: Cursor = {}
        while not feed.ended(cursor):
            page = await feed.read(cursor)
            for event in page.events:
                saga_id = event.stream.removeprefix(f"{self._name}/saga-")
                if event.type == _SCAN[0]:
                    open_sagas[saga_id] = None
                else:
                    open_sagas.pop(saga_id, None)
            cursor = page.cursor
        for saga_id in open_sagas:
            # One by one: what is wrong with one must not hold up the others.
            self._spawn(self._take_up_one, saga_id)

    async def _take_up_one(self, saga_id: str) -> None:
        running = await self._load(saga_id)
        async with running.lock:
            state = running.state
            workflow = self.workflow(state)
            for name, step in state.steps.items():
                if state.phase in ("running", "needs human") and not state.undo_begun and step.status == "sent":
                    self._spawn(self._run_step, saga_id, workflow, name, step.key)
                elif state.phase == "undoing" and step.undo == "sent":
                    self._spawn(self._run_undo, saga_id, workflow, name, step.undo_key)
            self._set_timer(saga_id, running)
        self._log.info("saga taken up", saga=saga_id, phase=state.phase)


def _starting(workflow: Workflow, saga_id: str, first: Message) -> Inputs:
    def inputs(state: SagaState) -> Sequence[Message]:
        if state.phase != "new":
            return []
        started = ev.SagaStarted(saga_id=saga_id, workflow=workflow.name, workflow_version=workflow.version)
        started.input.CopyFrom(pack(first))
        return [started]

    return inputs


def _hearing(heard: Heard) -> Inputs:
    def inputs(state: SagaState) -> Sequence[Message]:
        if state.phase in ("new", "completed", "undone") or heard.stored.id in state.heard:
            return []
        return [ev.EventHeard(event_id=heard.stored.id, event=pack(heard.data))]

    return inputs


def _event_id(saga_id: str, number: int, event: Message) -> str:
    """The same input at the same place of the same saga has one id; what depends on it follows from its place."""
    name = type(event).__name__
    detail = ":".join(str(getattr(event, part, "")) for part in ("step", "key", "try_number", "event_id", "timer"))
    return str(uuid.uuid5(_NAMESPACE, f"{saga_id}/{number}/{name}/{detail}"))
