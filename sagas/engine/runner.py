"""Runs sagas: appends inputs with what the decider makes of them, sends the commands, and goes on after a crash.

It is correct because every append names the version it expects of the saga's stream: whoever loses a race reads again and
decides anew. The module is long because deciding, sending and timers share one lock a saga, and are only right together.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message
from opentelemetry import context as otel_context
from opentelemetry import trace
from typing_extensions import override

from citybrain.event_store.store import LimitExceeded, StoreError
from citybrain.event_store.subscription import describe
from citybrain.mesh.access.principal import behalf_of, service_subject
from citybrain.mesh.entrypoints.reactions import Subscribe
from citybrain.mesh.errors import BadRequest, CallFailed, Contended, NotFound, Refused, ServiceError
from citybrain.mesh.events import Heard, timestamp, type_name
from citybrain.mesh.manifest import ManifestError
from citybrain.mesh.runtime import context as ctx
from citybrain.mesh.runtime.clock import Timer
from citybrain.mesh.runtime.exercises import exercise_of
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.service import Provider
from citybrain.mesh.subscriptions.groups import lasting
from citybrain.observability import names
from citybrain.observability.logs import logger
from citybrain.observability.tracing import WorkSpan, context_from
from citybrain.sagas.engine import children, persons
from citybrain.sagas.engine.checking import check
from citybrain.sagas.engine.decider import (
    Try,
    due_timers,
    ends_a_wait,
    misfit,
    on_failure,
    on_undo_failure,
    react,
    seen_by,
    tries_before,
    tries_out,
)
from citybrain.sagas.engine.definition import Child, Command, Step, Workflow
from citybrain.sagas.engine.exercises import in_exercise, may_be_id
from citybrain.sagas.engine.following import owed
from citybrain.sagas.engine.hearing import Hearing
from citybrain.sagas.engine.moving import Moving
from citybrain.sagas.engine.ownership import Ownership
from citybrain.sagas.engine.records import Known, Records
from citybrain.sagas.engine.state import ENDED, UNDO, Phase, SagaState, evolve, pack
from citybrain.sagas.engine.turns import Turns
from citybrain.sagas.listing import district_of_saga

# In machine time, for every call: a call that hangs is tried again under the same key.
_CALL_DEADLINE_S = 5.0
_FIRST_PAUSE_S = 0.05
# In the order of tries: sagas that other processes left go behind all that this process knows.
_LAST = 1_000_000
_LONGEST_PAUSE_S = 5.0
# What a saga may hear. The events that it heard are its state, which whoever takes it up has to read.
MAX_HEARD = 20_000
MAX_HEARD_BYTES = 8 * 1024 * 1024
# A step that the saga does not wait for any more, though its command may still take effect.
_GIVEN_UP = ("skipped", "failed", "timed out")

Inputs = Callable[[SagaState], Sequence[Message]]
Outcome = Callable[[Message | CallFailed], Inputs]


@dataclass(slots=True)
class _Running:
    """A saga in the memory of this process: it carries the saga on, or is just working on it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    known: Known = field(default_factory=Known)
    # The tries that this process has under way.
    out: set[Try] = field(default_factory=set)
    # The moment of the next timer, and its name.
    due: tuple[int, str] | None = None
    timer: Timer | None = None
    # Timers that are due, and wait until everything is heard.
    held: set[str] = field(default_factory=set)
    # The log says already why it is left alone.
    told: bool = False
    # It is telling its parent that it has ended.
    telling: bool = False


class SagaRunner(Provider):
    """The sagas of a service: `hear(event)` delivers an event, `load(saga_id)` reads one, `resume(saga_id)` goes on."""

    def __init__(self, workflows: Sequence[Workflow], retired: Collection[tuple[str, int]] = ()) -> None:
        """`retired`: names and versions of definitions that were published once and are gone. WorkflowError: one is broken."""
        check(workflows)
        self._workflows = {(w.name, w.version): w for w in workflows}
        self._newest = {w.name: w for w in sorted(workflows, key=lambda w: w.version)}
        self._retired = frozenset(retired)
        self._have_children = any(workflow.children() for workflow in workflows)
        self.workflows = tuple(workflows)
        self.calls = sorted({service for workflow in workflows for service in workflow.services()})

    def setup(self) -> None:
        """Prepares the runner; nothing is read yet."""
        self._process: Process = self.container.process
        self._name = self.container.manifest.name
        self._me = service_subject(self._name)
        self._log = logger(self._name)
        self._records = Records(self._process, self._name)
        moving = [one for one in self.container.dependencies if isinstance(one, Moving)]
        if not moving:
            raise ManifestError(f"{self._name} runs sagas and has no Moving: give its class one, of the same workflows")
        self._ownership = Ownership(self._process, self._name, self._records, moving[0], self)
        self._sagas: dict[str, _Running] = {}
        # Sagas of this process that rest and are not in its memory.
        self._later: dict[str, Timer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = Turns()
        self._process.vault.when_erased(self._forget)

    def start(self) -> None:
        """Takes up every saga of this process that must move, now and whenever it gets more of them."""
        types = {type_name(event) for workflow in self._workflows.values() for event in workflow.hears}
        members = [one.member for one in self.container.entrypoints if isinstance(one, Subscribe) and types & set(one.types)]
        self._hearing = Hearing(self._process, self._log, members)
        self._ownership.start()

    def stop(self) -> None:
        """Sends nothing more. The next owner sends what is recorded and has no answer."""
        self._ownership.stop()
        for task in self._tasks:
            task.cancel()
        for running in self._sagas.values():
            _no_timer(running)
        for timer in self._later.values():
            timer.cancel()

    kill = stop

    def get_dependency(self, worker_ctx: Any) -> SagaRunner:
        """The runner itself."""
        return self

    # -- for the service ------------------------------------------------------------------------------------------------

    def hear(self, heard: Heard) -> None:
        """Delivers an event to the sagas it belongs to, and starts those it begins. A second delivery changes nothing."""
        wait(self._hear(heard))

    def load(self, saga_id: str) -> SagaState:
        """A saga as it stands, whichever process carries it on. NotFound where there is none.

        A saga that this release cannot carry on is *unknown*, or *needs human* where its definition is gone; its reason says
        what to do.
        """
        known = wait(self._read(saga_id))
        if not known.begun:
            raise NotFound(f"there is no saga {saga_id}: ListSagas names them", "NO_SUCH_SAGA")
        if gone := self._gone(known):
            return replace(known.state, phase="needs human", reason=gone)
        strange = self._strange(known)
        return replace(known.state, phase="unknown", reason=strange) if strange else known.state

    def begin(self, name: str, began_with: Message, by: str = "") -> SagaState:
        """Starts a saga by hand, of the newest version of a workflow; where it runs already, nothing happens.

        NotFound: there is no such workflow. BadRequest: it does not start on such an event, or the event names no saga.
        Refused: a saga of another workflow has its id.
        """
        workflow = self._newest.get(name)
        if workflow is None:
            raise NotFound(f"there is no workflow {name}; there are: {', '.join(sorted(self._newest))}", "NO_SUCH_WORKFLOW")
        if type(began_with) is not workflow.starts_on:
            raise BadRequest([("event_type", f"is {type_name(began_with)}: {name} starts on {type_name(workflow.starts_on)}")])
        if workflow.starts_on not in workflow.hears:
            parents = sorted(one.name for one in self._newest.values() if name in one.children())
            raise BadRequest([("workflow", f"is {name}, which only begins as a child: start one of {', '.join(parents)}")])
        saga_id = workflow.hears[workflow.starts_on](began_with)
        if not saga_id:
            raise BadRequest([("event_json", "does not say which saga it is for: fill in what the id is made of")])
        exercise = ctx.current().exercise
        known_as = in_exercise(exercise, saga_id)
        wait(self._put(known_as, _starting(workflow, saga_id, began_with, behalf_of(by), exercise)))
        state = self.load(known_as)
        if state.workflow != name:
            raise Refused(f"saga {saga_id} is of the workflow {state.workflow}: GetSaga shows it", "IS_OF_ANOTHER_WORKFLOW")
        return state

    def definition(self, name: str, version: int) -> Workflow | None:
        """One version of a workflow; None: this release does not have it."""
        return self._workflows.get((name, version))

    def resume(self, saga_id: str, reason: str = "", by: str = "") -> SagaState:
        """Goes on with a saga that needs a human."""
        return self.decide(saga_id, lambda state: persons.resume(state, reason, by))

    def decide(self, saga_id: str, decision: Callable[[SagaState], Sequence[Message]], *, of_any: bool = False) -> SagaState:
        """Records a person's decision. Raises what `decision` raises.

        Refused where this release cannot carry the saga on. `of_any`: it may also be about such a saga, as far as that reads.
        """
        state = self.load(saga_id)
        if not of_any and (state.phase == "unknown" or (state.phase not in ENDED and self.workflow(state) is None)):
            raise Refused(
                f"nothing of saga {saga_id} can be decided here: {state.reason}. TerminateSaga ends it all the same",
                "UNKNOWN_SAGA",
            )
        wait(self._put(saga_id, decision))
        return self.load(saga_id)

    def unlist(self, saga_id: str, phase: Phase, before: int) -> bool:
        """Has a saga leave the lists that came to this end before a moment; whether it did. Not yet: it may be undone yet."""
        try:
            state = wait(self._read(saga_id)).state
            others = [wait(self._read(in_exercise(state.exercise, one))).state for one in state.hears_as[1:]]
            wait(self._put(saga_id, children.unlisted(phase, before, others)))
            return wait(self._read(saga_id)).state.unlisted
        except Exception as error:
            # The others are looked at all the same, and this one again.
            self._log.error("saga cannot leave the lists", saga=saga_id, exc_info=error)
            return False

    def not_here(self, name: str, version: int) -> tuple[Phase, str] | None:
        """What an open saga of a definition is that this release has not, and why; None: it has it."""
        if (name, version) in self._workflows:
            return None
        known = Known(SagaState(workflow=name, workflow_version=version, phase="running"), version=1)
        if gone := self._gone(known):
            return "needs human", gone
        return "unknown", self._strange(known)

    def workflow(self, state: SagaState) -> Workflow | None:
        """The definition that a saga began with; None where this release does not have it, or has another by its name."""
        found = self._workflows.get((state.workflow, state.workflow_version))
        return None if found is None or misfit(found, state) else found

    # -- what Ownership calls -----------------------------------------------------------------------------------------------

    @override
    def look_at(self, saga_id: str, version: int, ended: bool) -> None:
        running = self._sagas.get(saga_id)
        if running is None and ended:
            self._not_later(saga_id)
            return
        if running is None or not version or running.known.version < version:
            self._begin(self._record(saga_id, _nothing, seen=version, tries=0 if version else _LAST))

    @override
    def look_later(self, saga_id: str, moment: int) -> None:
        # A saga in memory has its timer already.
        if saga_id not in self._sagas:
            self._not_later(saga_id)
            self._later[saga_id] = self._process.clock.at(moment, functools.partial(self._wake, saga_id))

    def _not_later(self, saga_id: str) -> None:
        if (timer := self._later.pop(saga_id, None)) is not None:
            timer.cancel()

    async def _wake(self, saga_id: str) -> None:
        """Looks at a saga that has rested: that sets its timer, and the timer does what is due."""
        self._later.pop(saga_id, None)

        async def apart() -> None:
            await asyncio.shield(self._begin(self._woken(saga_id)))

        await self._process.clock.carry_out(apart())

    async def _woken(self, saga_id: str) -> None:
        try:
            await self._put(saga_id, _nothing, tries=_LAST)
        except Exception as error:
            # City time goes on; the saga is looked at as soon as that is possible.
            self._log.error("saga is due and cannot be looked at", saga=saga_id, exc_info=error)
            self._begin(self._record(saga_id, _nothing, tries=_LAST))

    @override
    def let_go(self) -> None:
        for saga_id in [one for one in self._later if not self._ownership.owns(one)]:
            self._not_later(saga_id)
        for saga_id, running in list(self._sagas.items()):
            self._drop_unless_needed(saga_id, running)

    async def _read(self, saga_id: str) -> Known:
        running = self._sagas.get(saga_id)
        return await self._records.read(saga_id, Known() if running is None else running.known)

    # -- events ---------------------------------------------------------------------------------------------------------

    async def _hear(self, heard: Heard) -> None:
        kind, exercise = type(heard.data), exercise_of(heard.stored.stream)
        # Each version says itself what its sagas hear; only the newest begins any.
        hearing: dict[str, None] = {}
        for workflow in self._workflows.values():
            hearing[_whose(workflow, heard.data)] = None
            if kind is workflow.starts_on and kind in workflow.hears and workflow is self._newest[workflow.name]:
                saga_id = workflow.hears[kind](heard.data)
                starting = _starting(workflow, saga_id, heard.data, behalf_of(heard.stored.actor), exercise)
                if may_be_id(saga_id):
                    await self._put(in_exercise(exercise, saga_id), starting)
        for saga_id in filter(None, hearing):
            if may_be_id(saga_id):
                await self._put_heard(in_exercise(exercise, saga_id), heard, saga_id)
            else:
                # It names no saga that can be. To fail here would hold up what comes behind it in its stream.
                self._log.warning("an event is passed over that names no saga that can be", event_id=heard.stored.id)

    async def _put_heard(self, saga_id: str, heard: Heard, whose: str) -> None:
        """`whose`: the saga that the event belongs to: this one, or one whose child it is."""
        await self._keep_heard(saga_id, heard, whose)
        if not self._have_children:
            return
        # After that: a child that begins meanwhile has what its parent has heard.
        running = self._sagas.get(saga_id)
        state = (running.known if running is not None and running.known.version else await self._read(saga_id)).state
        workflow = self.workflow(state)
        for one in state.attempts():
            if not one.child or one.child_state or one.undo == "done":
                continue
            leaf = workflow.leaf(one.name) if workflow is not None else None
            if not isinstance(leaf, Child) or self._may_hear(leaf.workflow, heard.data, whose):
                await self._put_heard(in_exercise(state.exercise, one.child), heard, whose)

    def _may_hear(self, workflow: str, event: Message, whose: str) -> bool:
        """Whether a child of a workflow may hear an event. It may be of an older version, which says itself what it hears."""
        versions = (one for one in self._workflows.values() if one.name == workflow)
        return any(children.heard_by(one, event, [whose]) for one in versions)

    async def _keep_heard(self, saga_id: str, heard: Heard, whose: str) -> None:
        try:
            await self._put(saga_id, _hearing(heard, whose, self.workflow))
        except LimitExceeded as error:
            # Else the event would be missed in silence.
            self._log.error("saga cannot keep what it heard", saga=saga_id, event_id=heard.stored.id, error=error)
            await self._put(saga_id, _asking(f"event {heard.stored.id} cannot be kept: {error}"))

    # -- one saga, one at a time ----------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _alone(self, saga_id: str) -> AsyncIterator[_Running]:
        """Has a saga to itself. A saga of another process does not stay in memory."""
        running = self._sagas.setdefault(saga_id, _Running())
        running.users += 1
        try:
            async with running.lock:
                yield running
        finally:
            running.users -= 1
            self._drop_unless_needed(saga_id, running)

    def _drop_unless_needed(self, saga_id: str, running: _Running) -> None:
        is_open = running.known.begun and not running.known.ended
        is_ours = is_open and self._ownership.owns(saga_id)
        moment = running.due
        is_due = moment is not None and moment[0] <= self._process.clock.now()
        # A saga that is due stays: it would be taken up again at once.
        if is_ours and (is_due or not (self._process.vault.blind and running.known.persons)):
            return
        _no_timer(running)
        if not running.users:
            self._sagas.pop(saga_id, None)
            if is_ours and moment is not None:
                self.look_later(saga_id, moment[0])

    def _forget(self, person: str | None) -> None:
        """Folds states anew that hold data of an erased person. None: anybody; then sagas are read when they are due."""
        for saga_id, running in list(self._sagas.items()):
            if person is None:
                self._drop_unless_needed(saga_id, running)
            elif person in running.known.persons:
                self._begin(self._record(saga_id, _nothing))

    async def _put(
        self, saga_id: str, inputs: Inputs, answered: Try | None = None, seen: int = 0, tries: int = 0
    ) -> None:  # fmt: skip
        """Appends inputs and everything that follows from them in one append, then sends the commands.

        It goes on when its caller has gone, because a recorded command must be sent. `answered`: the try whose outcome this is.
        `seen`: a version that the stream is known to have. `tries`: as for `Turns.turn`.
        """
        await asyncio.shield(self._begin(self._put_now(saga_id, inputs, answered, seen, tries)))

    async def _put_now(self, saga_id: str, inputs: Inputs, answered: Try | None, seen: int, tries: int) -> None:
        async with self._turns.turn("look", tries), self._alone(saga_id) as running:
            await self._decide(saga_id, running, inputs, seen)
            if answered is not None:
                running.out.discard(answered)
            self._act(saga_id, running)

    async def _decide(self, saga_id: str, running: _Running, inputs: Inputs, seen: int) -> None:
        # Others append too. An append fails where they did. That nothing is to be done must be decided from a fresh read.
        is_new = running.known.version >= seen > 0
        if not running.known.version or self._records.must_be_forgotten(running.known):
            running.known, is_new = await self._records.read(saga_id, running.known), True
        for _ in range(20):
            known, now = running.known, self._process.clock.now()
            events, state = self._what_follows(known, list(inputs(known.state)), now)
            if events:
                appended = await self._records.append(saga_id, known, events, state, now)
                if appended is not None:
                    running.known = appended
                    return
            elif is_new:
                return
            running.known, is_new = await self._records.read(saga_id, known), True
        raise Contended(f"saga {saga_id} is written to by too many at once")

    def _what_follows(self, known: Known, first: list[Message], now: int) -> tuple[list[Message], SagaState]:
        state = known.state
        if first and isinstance(first[0], ev.SagaStarted):
            return react(self._workflows[first[0].workflow, first[0].workflow_version], state, first, now)
        workflow = self.workflow(state)
        if workflow is not None and not known.unreadable:
            return react(workflow, state, first, now, settled=known.settled)
        # The event is kept. A release that knows the saga decides what follows.
        state = functools.reduce(lambda folded, event: evolve(folded, event, now), first, state)
        last = list(owed(state)) if first else []
        return [*first, *last], functools.reduce(lambda folded, event: evolve(folded, event, now), last, state)

    def _gone(self, known: Known) -> str:
        """Why a saga cannot be carried on by this release or a newer one; empty where it can be, or has ended."""
        name, version = known.state.workflow, known.state.workflow_version
        if not known.begun or known.ended or known.unreadable:
            return ""
        if (here := self._workflows.get((name, version))) is not None:
            why = misfit(here, known.state)
            return why and (
                f"version {version} of workflow {name} was changed after this saga began: {why}. Start a release that has it "
                "as it was, and resume the saga there; the change belongs into another version"
            )
        # Without a newer version here it may be one that a newer release has brought.
        if (name, version) not in self._retired and all(n != name or v < version for n, v in self._workflows):
            return ""
        return (
            f"version {version} of workflow {name} is gone from this release: see to it by hand, or start a release that has "
            "this version, and resume it there"
        )

    def _strange(self, known: Known) -> str:
        """Why this release does not carry a saga on; empty where it does, or where the saga has ended."""
        state = known.state
        if not known.begun or known.ended:
            return ""
        problem = known.unreadable
        if not problem and self.workflow(state) is None:
            problem = f"this release has no version {state.workflow_version} of workflow {state.workflow}"
        return problem and f"{problem}; the saga is left alone: start the release that wrote it, or a newer one"

    def _act(self, saga_id: str, running: _Running) -> None:
        """Sends commands and sets the next timer, if the saga is this process's."""
        self._not_later(saga_id)
        known = running.known
        workflow = self.workflow(known.state)
        strange, is_ours = self._strange(known), self._ownership.owns(saga_id)
        if is_ours and known.state.telling == "owed" and not running.telling:
            running.telling = True
            self._begin(self._tell(saga_id, running))
        if is_ours and (gone := self._gone(known)):
            _no_timer(running)
            if known.state.phase != "needs human":
                self._begin(self._record(saga_id, _asking(gone)))
            return
        if strange or workflow is None or not is_ours:
            _no_timer(running)
            if strange and is_ours and not running.told:
                self._log.error("saga is left alone", saga=saga_id, reason=strange)
                running.told = True
            return
        out = list(tries_out(known.state))
        # A step that has begun anew may have the same try again; the end of a child is no answer that takes it out.
        running.out -= {one for one in running.out if isinstance(workflow.leaf(one.step), Child)}.difference(out)
        for one in out:
            if one not in running.out:
                running.out.add(one)
                send = self._send_to_child if isinstance(workflow.leaf(one.step), Child) else self._send
                self._begin(send(saga_id, workflow, known, one))
        self._set_timer(saga_id, running)

    # -- commands -------------------------------------------------------------------------------------------------------

    async def _send(self, saga_id: str, workflow: Workflow, known: Known, one: Try) -> None:
        """Makes a command, calls the service, and records the outcome."""
        step = workflow.leaf(one.step)
        assert isinstance(step, Step)
        what = f"{'undo' if one.undo else 'step'} {one.step}"
        command = step.undo if one.undo else step.command
        assert command is not None
        # The request of an undo names the command that it undoes.
        key = one.key.removesuffix(UNDO) if one.undo else one.key
        outcome = self._undo_outcome(one) if one.undo else self._step_outcome(workflow, one)
        trigger = trace.get_current_span().get_span_context()
        links = [trace.Link(trigger)] if trigger.is_valid else []
        otel_context.attach(context_from(known.traceparent, {names.INCIDENT_ID: known.state.incident}))
        tracer = self._process.tracing.tracer(self._name)
        async with contextlib.AsyncExitStack() as turn:
            await turn.enter_async_context(self._turns.turn(command.method, one.number - 1))
            if await self._is_terminated(saga_id, known):
                return
            with WorkSpan(tracer, what, attributes={names.SAGA_ID: saga_id}, links=links) as span:
                ctx.enter(self._work(what, known, one.key))
                result = await self._call(command, seen_by(known.state, one), key, one, what)
                if isinstance(result, CallFailed):
                    span.set_status(trace.Status(trace.StatusCode.ERROR, result.code.name))
                # Recording may take long, and must not hold up other calls.
                await turn.aclose()

                def failed(reason: str) -> Inputs:
                    return outcome(CallFailed(grpc.StatusCode.OUT_OF_RANGE, f"its answer cannot be kept: {reason}"))

                def failed_and_asked(reason: str) -> Inputs:
                    # Both together: a try without an outcome would be sent again although a human is needed.
                    return lambda state: [*failed(reason)(state), *_asking(reason)(state)]

                await self._record(saga_id, outcome(result), one, instead=(failed, failed_and_asked))

    def _work(self, what: str, known: Known, key: str) -> ctx.Call:
        """For whom and why something is done for a saga, under a key."""
        state, cause = known.state, known.sent.get(key, "")
        return ctx.Call(
            self._me, what, key, correlation_id=state.incident, causation_id=cause, behalf=state.behalf,
            exercise=state.exercise,
        )  # fmt: skip

    async def _is_terminated(self, saga_id: str, known: Known) -> bool:
        """Whether a person has ended the saga while a command of it waited for its turn."""
        running = self._sagas.get(saga_id)
        if running is None or running.known.version < known.version:
            # It is not in memory any more. If it cannot be read now, what is recorded counts: the command is sent.
            with contextlib.suppress(StoreError):
                known = await self._records.read(saga_id, known)
        else:
            known = running.known
        return known.state.phase == "terminated"

    # -- children ---------------------------------------------------------------------------------------------------------

    async def _send_to_child(self, saga_id: str, workflow: Workflow, known: Known, one: Try) -> None:
        """Has a child begin, or undo all. Its end is told by the child, or here, if it has ended already."""
        leaf = workflow.leaf(one.step)
        assert isinstance(leaf, Child)
        if await self._is_terminated(saga_id, known):
            return
        what = f"{'undo' if one.undo else 'step'} {one.step}"
        state = seen_by(known.state, one)
        otel_context.attach(context_from(known.traceparent, {names.INCIDENT_ID: state.incident}))
        with WorkSpan(self._process.tracing.tracer(self._name), what, attributes={names.SAGA_ID: saga_id}):
            ctx.enter(self._work(what, known, one.key))
            attempt = state.attempt_of(one.key.removesuffix(UNDO))
            assert attempt is not None
            child_id, newest = in_exercise(state.exercise, attempt.child), self._newest[leaf.workflow]
            first = children.started(newest, state, attempt, district_of_saga(state))
            if one.undo:
                inputs = children.taken_back(first, state.reason)
            else:
                try:
                    inputs = children.begins(children.with_input(first, leaf, newest, state), newest, state)
                except Exception as error:
                    # The definition is at fault, as for a command that cannot be made.
                    self._log.error("child of a saga cannot be started", saga=saga_id, work=what, exc_info=error)
                    await self._cannot(saga_id, workflow, one, f"the child could not be started: {error!r}")
                    return
            refused: list[str] = []

            def keeps_nothing(reason: str) -> Inputs:
                refused.append(reason)
                return _nothing

            await self._record(child_id, inputs, instead=(keeps_nothing,))
            known_child = await self._read(child_id)
            child = known_child.state
            if refused:
                await self._cannot(saga_id, workflow, one, f"the child cannot be kept: {refused[0]}")
            elif child.parent_key != attempt.key and not known_child.unreadable:
                await self._cannot(saga_id, workflow, one, f"there is a saga {attempt.child}, which is no child of this one")
            elif child.phase in ENDED:
                await self._record(saga_id, children.told(child))

    async def _cannot(self, saga_id: str, workflow: Workflow, one: Try, why: str) -> None:
        outcome = self._undo_outcome(one) if one.undo else self._step_outcome(workflow, one)
        await self._record(saga_id, outcome(CallFailed(grpc.StatusCode.INVALID_ARGUMENT, why)), one)

    async def _tell(self, saga_id: str, running: _Running) -> None:
        """Tells its parent that a child has ended, and records that it did."""
        known = running.known
        state = known.state
        try:
            otel_context.attach(context_from(known.traceparent, {names.INCIDENT_ID: state.incident}))
            ctx.enter(self._work("tell", known, state.parent_key))
            await self._record(in_exercise(state.exercise, state.parent), children.told(state))
        finally:
            running.telling = False
        await self._record(saga_id, children.has_told(state))

    # -- outcomes -----------------------------------------------------------------------------------------------------------

    async def _call(self, command: Command, state: SagaState, key: str, one: Try, what: str) -> Message | CallFailed:
        try:
            request = command.request(state, key)
            return await self._process.outgoing.call(
                self._name, command.method, request, request_id=one.key, deadline_s=_CALL_DEADLINE_S, retry=False
            )
        except CallFailed as failure:
            return failure
        except Exception as error:
            # The definition is at fault. A retry would not help, and without an outcome the saga would hang.
            self._log.error(
                "saga command could not be made", saga=state.saga_id, work=what, error=error, exc_info=error
            )  # fmt: skip
            return CallFailed(grpc.StatusCode.INVALID_ARGUMENT, f"the command could not be made: {error!r}")

    def _step_outcome(self, workflow: Workflow, one: Try) -> Outcome:
        def outcome(result: Message | CallFailed) -> Inputs:
            def inputs(state: SagaState) -> Sequence[Message]:
                now = self._process.clock.now()
                attempt = state.attempt_of(one.key)
                if state.phase not in ("running", "needs human") or state.undo_begun or attempt is None or attempt.undo:
                    # The saga went another way meanwhile. Its undo names this command by its key.
                    return []
                is_out = attempt.status == "sent"
                # An answer counts also when the saga has given the step up.
                if attempt is not state.steps[one.step] or not (is_out or attempt.status in _GIVEN_UP):
                    return []
                if isinstance(result, CallFailed):
                    if not is_out:
                        return []
                    return [on_failure(workflow, state, one.step, one.key, result.code.name, str(result), now)]
                return [ev.StepAnswered(step=one.step, key=one.key, response=pack(result))]

            return inputs

        return outcome

    def _undo_outcome(self, one: Try) -> Outcome:
        def outcome(result: Message | CallFailed) -> Inputs:
            def inputs(state: SagaState) -> Sequence[Message]:
                now = self._process.clock.now()
                if state.phase in ENDED or not any(
                    attempt.undo == "sent" and attempt.undo_key == one.key for attempt in state.attempts()
                ):
                    return []
                if isinstance(result, CallFailed):
                    return [on_undo_failure(state, one.step, one.key, result.code.name, str(result), now)]
                return [ev.UndoAnswered(step=one.step, key=one.key)]

            return inputs

        return outcome

    async def _record(
        self,
        saga_id: str,
        inputs: Inputs,
        answered: Try | None = None,
        seen: int = 0,
        tries: int = 0,
        instead: Sequence[Callable[[str], Inputs]] = (),
    ) -> None:
        """Puts inputs, however long it takes. If they can never be kept it puts `instead`: at last, that a human is needed."""
        instead, pause = instead or (_asking,), _FIRST_PAUSE_S
        while True:
            try:
                await self._put(saga_id, inputs, answered, seen, tries)
                return
            except Exception as error:
                if not _in_vain(error):
                    self._log.error("saga work failed and is tried again", saga=saga_id, again_in_s=pause, exc_info=error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_S)
                    continue
                self._log.error("saga cannot go on like this", saga=saga_id, exc_info=error)
                if not instead:
                    return
                if isinstance(error, ServiceError | LimitExceeded):
                    reason = str(error)
                else:
                    # A defect is not an answer of the service: it goes straight to a human.
                    reason, instead = f"a defect: {describe(error)}", instead[-1:]
                inputs, instead = instead[0](reason), instead[1:]

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Counted from here on: the mesh is not at rest between the decision and the call.
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
        due = min((one for one in due_timers(running.known.state) if one[1] not in running.held), default=None)
        if due != running.due:
            _no_timer(running)
            if due is not None:
                running.due = due
                running.timer = self._process.clock.at(due[0], functools.partial(self._fire, saga_id, running, *due))

    async def _fire(self, saga_id: str, running: _Running, moment: int, name: str) -> None:
        running.due = running.timer = None

        async def apart() -> None:
            # In a task of its own: its context must not leak into the clock's, and it outlives the call that moves the clock.
            await asyncio.shield(self._begin(self._fired(saga_id, running, moment, name)))

        await self._process.clock.carry_out(apart())

    async def _fired(self, saga_id: str, running: _Running, moment: int, name: str) -> None:
        incident = running.known.state.incident
        otel_context.attach(context_from(running.known.traceparent, {names.INCIDENT_ID: incident}))
        ctx.enter(ctx.Call(self._me, "timer", f"{saga_id}/{name}", correlation_id=incident))

        def fired(state: SagaState) -> list[Message]:
            return [ev.TimerFired(timer=name)] if (moment, name) in set(due_timers(state)) else []

        tries = tries_before(name)
        try:
            if ends_a_wait(name):
                running.held.add(name)
                try:
                    await self._hearing.up_to_now()
                finally:
                    running.held.discard(name)
            await self._put(saga_id, fired, tries=tries)
        except Exception as error:
            # City time goes on; the saga is looked at as soon as that is possible.
            self._log.error("saga timer failed", saga=saga_id, timer=name, exc_info=error)
            self._begin(self._record(saga_id, fired, tries=tries))


def _starting(workflow: Workflow, saga_id: str, began_with: Message, behalf: str, exercise: str) -> Inputs:
    def inputs(state: SagaState) -> Sequence[Message]:
        if state.saga_id:
            return []
        started = ev.SagaStarted(
            saga_id=saga_id, workflow=workflow.name, workflow_version=workflow.version, behalf=behalf, exercise=exercise,
            input=pack(began_with),
        )  # fmt: skip
        return [started]

    return inputs


def _whose(workflow: Workflow, event: Message) -> str:
    """The saga that hears an event under a definition, which is not the one that begins it; empty: none."""
    kind = type(event)
    return workflow.hears[kind](event) if kind in workflow.hears and kind is not workflow.starts_on else ""


def _hearing(heard: Heard, whose: str, definition: Callable[[SagaState], Workflow | None]) -> Inputs:
    def inputs(state: SagaState) -> Sequence[Message]:
        if state.phase in ENDED or heard.stored.id in state.heard:
            return []
        # What comes before its saga is kept in the stream, and counts when the saga begins.
        workflow = definition(state)
        # A saga whose definition is not here keeps what any definition says that it hears.
        if workflow is not None and _whose(workflow, heard.data) != whose:
            return []
        # What undoes it ends it too, and is heard in any case.
        if workflow is None or type(heard.data) not in workflow.undo_on:
            _check_heard(state)
        at = timestamp(heard.stored.occurred_at)
        return [ev.EventHeard(event_id=heard.stored.id, event=pack(heard.data), occurred_at=at)]

    return inputs


def _check_heard(state: SagaState) -> None:
    """LimitExceeded: the saga keeps no more events."""
    many, size = len(state.heard), state.heard.size
    if many >= MAX_HEARD or size >= MAX_HEARD_BYTES:
        raise LimitExceeded(
            f"it has heard {many} events of {size} bytes, and a saga keeps at most {MAX_HEARD} of {MAX_HEARD_BYTES} bytes: "
            "tell it what matters with SignalSaga, or cancel it, and let a new version of its workflow hear less"
        )


def _asking(reason: str) -> Inputs:
    """A human is asked."""
    return lambda state: [ev.SagaNeedsHuman(reason=reason)] if state.phase in ("running", "undoing") else []


def _nothing(state: SagaState) -> Sequence[Message]:
    """No input: only what follows from what is there."""
    return []


def _in_vain(error: Exception) -> bool:
    """Whether no retry can help."""
    return isinstance(error, LimitExceeded) or lasting(error)


def _no_timer(running: _Running) -> None:
    if running.timer is not None:
        running.timer.cancel()
        running.due = running.timer = None
