"""The stream of a saga: read to its end, and appended to only if nobody else has appended meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message
from opentelemetry import trace

from citybrain.event_store.limits import MAX_APPEND_BYTES, MAX_APPEND_EVENTS
from citybrain.event_store.store import Committed, NewEvent, StoredEvent
from citybrain.event_store.subscription import describe
from citybrain.mesh.access.principal import service_subject
from citybrain.mesh.events import Heard, UnreadableEvent, classification_of, type_name
from citybrain.mesh.personal.vault import lay_down
from citybrain.mesh.runtime import context as ctx
from citybrain.mesh.runtime.exercises import stream_in
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.subscriptions.groups import lasting
from citybrain.observability import names
from citybrain.observability.logs import logger
from citybrain.observability.tracing import current_traceparent
from citybrain.sagas.engine.exercises import parted
from citybrain.sagas.engine.snapshots import Folded, Snapshots, is_due
from citybrain.sagas.engine.state import ENDED, SagaState, evolve

_NAMESPACE = uuid.UUID("0f6d3f0e-7a0b-5f57-8a52-6a1a6a6d2c55")
_PAGE = 1000
_MAY_END_A_STEP = (
    ev.StepAnswered, ev.ChildEnded, ev.WaitEnded, ev.HumanDecided, ev.StepFailed, ev.StepTimedOut, ev.StepSkipped
)  # fmt: skip
# A step that has failed and is tried again has not ended.
_ENDS = ("done", "failed", "timed out", "skipped")


@dataclass(frozen=True, slots=True)
class Known:
    """What this process knows of a saga: its stream up to a version.

    Events that could not be read are left out of the state, and `unreadable` says why.
    """

    state: SagaState = field(default_factory=SagaState)
    version: int = 0
    traceparent: str = ""
    # Whose personal data is in the state.
    persons: frozenset[str] = frozenset()
    unreadable: str = ""
    # The id of the newest event that sent each command, by the key of the command. What the command does has this cause.
    sent: Mapping[str, str] = field(default_factory=dict)
    # This process has just appended it with all that follows from it.
    settled: bool = False
    # The version of its newest snapshot, as far as this process knows. 0: there is none.
    kept: int = 0

    @property
    def begun(self) -> bool:
        """Whether there is a saga. Before, there may be events for it, which came early."""
        return bool(self.state.saga_id)

    @property
    def ended(self) -> bool:
        """Whether the saga is over."""
        return self.state.phase in ENDED


class Records:
    """The sagas of a service."""

    def __init__(self, process: Process, service: str) -> None:
        self._store = process.store
        self._vault = process.vault
        self._snapshots = Snapshots(process, service)
        self._service = service
        self._log = logger(service)
        self._numbers = process.metrics.of(service)

    def stream(self, saga_id: str) -> str:
        """The stream of a saga."""
        exercise, own = parted(saga_id)
        return stream_in(exercise, f"{self._service}/saga-{own}")

    # -- reading --------------------------------------------------------------------------------------------------------

    async def read(self, saga_id: str, known: Known) -> Known:
        """Reads on from what is known to the end of the stream. Of a long one not all is read, if there is a snapshot of it."""
        stream, last = self.stream(saga_id), ""
        while True:
            page = await self._store.read(stream, known.version + 1, _PAGE)
            if not known.version and len(page) == _PAGE and (found := await self._snapshots.newest(stream)) is not None:
                folded, version = found
                sent = dict(folded.sent)
                known = Known(folded.state, version, folded.traceparent, folded.persons, sent=sent, kept=version)
                continue
            for event, heard in zip(page, await self._open(page), strict=True):
                known, last = _with(known, event, heard), event.id
            if len(page) < _PAGE:
                break
        if last:
            known = await self._keep(stream, known, last)
        if self.must_be_forgotten(known):
            # The person was erased while the stream was read, or since.
            return await self.read(saga_id, Known())
        if known.unreadable and not known.state.saga_id:
            # Its beginning does not read: it is a saga all the same.
            known = replace(known, state=replace(known.state, saga_id=parted(saga_id)[1]))
        return known

    async def _keep(self, stream: str, known: Known, event_id: str) -> Known:
        """Has a snapshot made, if one is due. `event_id`: of the last event."""
        if not is_due(known.version, known.kept) or known.unreadable:
            return known
        folded = Folded(known.state, known.traceparent, known.persons, dict(known.sent))
        await self._snapshots.keep(stream, folded, known.version, event_id)
        return replace(known, kept=known.version)

    def must_be_forgotten(self, known: Known) -> bool:
        """Whether it holds data of a person who was erased."""
        return any(map(self._vault.gone, known.persons))

    async def _open(self, page: Sequence[StoredEvent]) -> list[Heard | Exception]:
        try:
            return list(await self._vault.hear(page))
        except Exception as error:
            if not lasting(error):
                raise
            if len(page) == 1:
                return [error]
        # Event by event: one that cannot be read must not hide the others.
        return [one for event in page for one in await self._open([event])]

    # -- writing --------------------------------------------------------------------------------------------------------

    async def append(
        self, saga_id: str, known: Known, events: Sequence[Message], state: SagaState, now: int
    ) -> Known | None:  # fmt: skip
        """Appends events that lead to `state`; None where the stream has grown since it was read, and nothing was appended.

        One append, or as few as the store's limits allow. If the process ends between two of them, the next process makes the
        rest: it follows from the events that are there.
        """
        call = ctx.current()
        stored = [
            NewEvent(
                id=_event_id(saga_id, known.version + number, event),
                type=type_name(event),
                data=b"",
                occurred_at=now,
                traceparent=current_traceparent() or known.traceparent,
                correlation_id=state.correlation_id or call.correlation_id or parted(saga_id)[1],
                causation_id=call.causation_id,
                actor=service_subject(self._service),
                classification=classification_of(type_name(event)),
            )
            for number, event in enumerate(events)
        ]
        laid = [(new, lay_down(new, event)) for new, event in zip(stored, events, strict=True)]
        persons = {person for _, parts in laid for person in parts}
        if persons:
            await self._vault.seal(laid)
        version = known.version
        for part in _within_limits(stored):
            outcome = await self._store.append(self.stream(saga_id), part, version)
            # Another process has appended the same input. What that process made of it counts.
            if not isinstance(outcome, Committed) or outcome.again:
                return None
            version = outcome.last
        span = trace.get_current_span()
        for new in stored:
            self._numbers.appended(new.type)
            span.add_event(
                names.APPENDED, {names.EVENT_TYPE: new.type, names.EVENT_ID: new.id, names.STREAM: self.stream(saga_id)}
            )
        if not parted(saga_id)[0]:
            self._count(events, state, now)
        self._log.info("saga went on", saga=saga_id, events=[type(event).__name__ for event in events])
        traceparent = known.traceparent or stored[0].traceparent
        sent = {**known.sent, **{event.key: new.id for new, event in zip(stored, events, strict=True) if _is_sent(event)}}
        persons |= known.persons
        now_known = Known(
            state, version, traceparent, frozenset(persons), known.unreadable, sent, settled=True, kept=known.kept
        )
        return await self._keep(self.stream(saga_id), now_known, stored[-1].id)

    def _count(self, events: Sequence[Message], state: SagaState, now: int) -> None:
        """Counts what events of the city's own sagas say: that one began or ended, that a step ended."""
        for event in events:
            if isinstance(event, ev.SagaStarted):
                self._numbers.saga_started(state.workflow)
            elif isinstance(event, ev.SagaCompleted | ev.SagaUndone | ev.SagaTerminated):
                self._numbers.saga_ended(state.workflow, state.phase)
        for name, status, seconds in ended_steps(events, state, now):
            self._numbers.step_ended(state.workflow, name, status, seconds)


def ended_steps(events: Sequence[Message], state: SagaState, now: int) -> Iterator[tuple[str, str, float]]:
    """The steps that ended by these events, which led to `state`: each with how it ended, and how many seconds it took."""
    for name in {event.step: None for event in events if isinstance(event, _MAY_END_A_STEP)}:
        step = state.steps.get(name)
        if step is not None and step.status in _ENDS:
            yield name, step.status, max(0, now - step.began_at) / 1e6


def _with(known: Known, event: StoredEvent, heard: Heard | Exception) -> Known:
    """What is known after one more event."""
    state, unreadable, persons = known.state, known.unreadable, known.persons
    try:
        if isinstance(heard, Exception):
            raise heard
        persons = persons.union(heard.persons)
        state = evolve(state, heard.data, event.occurred_at)
    except UnreadableEvent as error:
        unreadable = unreadable or str(error)
    except Exception as error:
        # The text of the error may hold what the event holds, which is not for everybody.
        unreadable = unreadable or f"version {event.version}, a {event.type}, does not read: {describe(error)}"
    sent = known.sent
    if not isinstance(heard, Exception) and _is_sent(heard.data):
        sent = {**sent, heard.data.key: event.id}
    return Known(
        state, event.version, known.traceparent or event.traceparent, persons, unreadable, sent, kept=known.kept
    )  # fmt: skip


def _is_sent(event: Message) -> TypeGuard[ev.StepSent | ev.UndoSent]:
    return isinstance(event, ev.StepSent | ev.UndoSent)


def _within_limits(events: Sequence[NewEvent]) -> Iterator[list[NewEvent]]:
    """Splits events into as few appends as the limits allow. An event that is too large is left to the store to refuse."""
    part: list[NewEvent] = []
    size = 0
    for event in events:
        more = len(event.data) + len(event.sealed)
        if part and (len(part) == MAX_APPEND_EVENTS or size + more > MAX_APPEND_BYTES):
            yield part
            part, size = [], 0
        part.append(event)
        size += more
    yield part


def _event_id(saga_id: str, number: int, event: Message) -> str:
    """The id of an event: the same input at the same version of the same saga always has the same id."""
    name = type(event).__name__
    detail = ":".join(str(getattr(event, part, "")) for part in ("step", "key", "try_number", "event_id", "timer"))
    return str(uuid.uuid5(_NAMESPACE, f"{saga_id}/{number}/{name}/{detail}"))
