"""A service's event streams: load, decide, append with the expected version, answer. A retry gets the same answer.

It is long because a command is one piece of work, from the state it is decided on to its answer.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from citybrain.mesh.v1.events_pb2 import StreamCopied
from google.protobuf.message import Message
from opentelemetry import trace

from citybrain.event_store.store import Committed, NewEvent, StoredEvent
from citybrain.mesh.access.rules import require_district
from citybrain.mesh.errors import Contended, Refused, ServiceError
from citybrain.mesh.events import Heard, classification_of, hear, type_name
from citybrain.mesh.personal.vault import lay_down
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.context import Call, correlate, current
from citybrain.mesh.runtime.exercises import KIND, city_stream, exercise_of, stream_in
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.nameko import DependencyProvider
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.runtime.validation import check_event
from citybrain.mesh.storage.kept_states import KeptStates
from citybrain.observability import names
from citybrain.observability.logs import logger
from citybrain.observability.tracing import current_traceparent

S = TypeVar("S")
R = TypeVar("R")

_CACHED_STREAMS = 10_000
_ATTEMPTS = 50
_PAGE = 1000
_NAMESPACE = uuid.UUID("5b1f8f0e-3f9e-5c57-8d0a-0a6c1c9f2d11")


@dataclass(slots=True, frozen=True)
class Cause:
    """The work that later events continue: its trace, its correlation id, and the event itself."""

    traceparent: str = ""
    correlation_id: str = ""
    event_id: str = ""


@dataclass(slots=True)
class _Loaded(Generic[S]):
    state: S
    version: int
    cause: Cause
    # The persons whose data is in the state.
    persons: frozenset[str] = frozenset()


class Streams(DependencyProvider, Generic[S]):  # type: ignore[misc]
    """Streams of one kind: `initial` makes the state before the first event, `evolve` is pure and returns the next.

    `snapshot_every`: for long streams. Each so many events (the first time sooner) the state is kept, and a process that does
    not know the stream goes on from there. No answer changes by it. 0: no state is kept.
    `district`: the district of what a stream is about, by its state. A caller who is bound to another is refused (Forbidden).
    Nor do they write an event that names another district.
    """

    container: Container

    def __init__(
        self,
        kind: str,
        initial: Callable[[], S],
        evolve: Callable[[S, Message], S],
        *,
        snapshot_every: int = 0,
        district: Callable[[S], str] | None = None,
    ) -> None:
        self._kind = kind
        self._initial = initial
        self._evolve = evolve
        self._every = snapshot_every
        self._district = district

    def setup(self) -> None:
        """Begins without any known state. ValueError: streams of two kinds could have the same name."""
        self._process: Process = self.container.process
        self._service = self.container.manifest.name
        if self._kind.startswith(KIND):
            raise ValueError(
                f"{self._service} has streams of the kind {self._kind!r}: kinds that begin so are those of exercises"
            )
        for other in self.container.dependencies:
            kinds = (f"{self._kind}-", f"{other._kind}-") if isinstance(other, Streams) else ("", "")
            if kinds[0] != kinds[1] and kinds[1].startswith(kinds[0]):
                raise ValueError(
                    f"{self._service} has streams of the kinds {self._kind!r} and {other._kind!r}: "
                    f"{self._service}/{other._kind}-1 could be of either. Choose names of which none begins with the other"
                )
        self._cache: OrderedDict[str, _Loaded[S]] = OrderedDict()
        self._log = logger(self._service)
        self._numbers = self._process.metrics.of(self._service)
        self._process.vault.when_erased(self._forget)
        self._kept: KeptStates | None = None
        if self._every:
            kind = type(self._initial())
            self._kept = KeptStates(self._process, self._service, kind, self._evolve, self._every)

    @property
    def evolve(self) -> Callable[[S, Message], S]:
        """The function that makes the next state."""
        return self._evolve

    def get_dependency(self, worker_ctx: Any) -> Streams[S]:
        """The streams themselves: they hold nothing of a single call."""
        return self

    def load(self, key: str) -> S:
        """The state of one stream now."""
        return self._allowed(self._fresh(self.stream_id(key)).state)

    def known(self, key: str) -> S:
        """The state as this process knows it, without asking the store: for decisions that the append checks again."""
        return self._allowed(self._known(self.stream_id(key)).state)

    def cause(self, key: str) -> Cause:
        """The last event of a stream as a cause, for work that continues it."""
        return self._fresh(self.stream_id(key)).cause

    def handle(
        self,
        key: str,
        decide: Callable[[S], Sequence[Message]],
        reply: Callable[[S, Sequence[Any]], R],
        *,
        label: str = "",
        because: Cause | None = None,
        continues: bool = False,
    ) -> R:
        """Runs one command on one stream and returns `reply(state afterwards, the command's events)`.

        `decide` is pure. If it raises an error of the domain, nothing is written. A call that appends more than once to the
        same stream gives each append a label. `because`: the work that the events continue, if that is not the call itself.
        `continues`: a call without a correlation id takes that of the stream's last event (e.g. a terminal that reports).
        Raises Contended if other writers are always faster.
        """
        call = current()
        stream = self.stream_id(key)
        for attempt in range(_ATTEMPTS):
            loaded = self._known(stream) if attempt == 0 else self._fresh(stream)
            if attempt and (done := self._carried_out(stream, call, label)):
                return reply(*done)
            if continues and not call.correlation_id and loaded.cause.correlation_id:
                correlate(loaded.cause.correlation_id)
            # A retry may be decided on a state that already holds its own effect. If it would write, the store knows the ids.
            # If `decide` refuses, or has nothing to write, we ask whether the command was carried out before. If not, it may
            # have seen an old state: only a decision on the newest state counts.
            self._allowed(loaded.state)
            try:
                messages = decide(loaded.state)
            except ServiceError:
                if done := self._carried_out(stream, call, label):
                    return reply(*done)
                if self._fresh(stream).version == loaded.version:
                    raise
                continue
            if not messages:
                if done := self._carried_out(stream, call, label):
                    return reply(*done)
                newest = self._fresh(stream)
                if newest.version == loaded.version:
                    return reply(newest.state, [])
                continue
            events, persons = self._events(stream, messages, call, label, because)
            outcome = wait(self._process.store.append(stream, events, loaded.version))
            if isinstance(outcome, Committed) and outcome.again:
                return reply(*self._as_decided(stream, outcome.first, call, label))
            if isinstance(outcome, Committed):
                state = loaded.state
                for message in messages:
                    state = self._evolve(state, message)
                last = events[-1]
                self._keep(
                    stream,
                    _Loaded(
                        state, outcome.last, Cause(last.traceparent, last.correlation_id, last.id), loaded.persons | persons
                    ),
                )
                self._keep_snapshot(stream, loaded.version)
                self._note(stream, events)
                return reply(state, messages)
        raise Contended(f"{stream} is written to by too many at once: retry with the same request id")

    # -- loading --------------------------------------------------------------------------------------------------------

    def stream_id(self, key: str) -> str:
        """The stream's name in the store."""
        return stream_in(current().exercise, f"{self._service}/{self._kind}-{key}")

    def _allowed(self, state: S) -> S:
        """The state. Forbidden: it is of another district than the caller's."""
        if self._district is not None:
            require_district(current().principal, self._district(state))
        return state

    def _known(self, stream: str) -> _Loaded[S]:
        """The state as this process knows it. It may be old: the append finds out."""
        known = self._cache.get(stream)
        return self._fresh(stream) if known is None else known

    def _fresh(self, stream: str) -> _Loaded[S]:
        loaded = self._cache.get(stream) or self._beginning(stream)
        before = loaded.version
        while True:
            page = wait(self._process.store.read(stream, loaded.version + 1, _PAGE))
            loaded = self._fold(loaded, page)
            if len(page) < _PAGE:
                self._keep(stream, loaded)
                self._keep_snapshot(stream, before)
                return loaded

    def _beginning(self, stream: str) -> _Loaded[S]:
        """From where a stream is read that this process does not know."""
        if exercise_of(stream):
            return self._copied(stream)
        return self._from_snapshot(stream) or _Loaded(self._initial(), 0, Cause())

    def _copied(self, stream: str) -> _Loaded[S]:
        """What a stream of an exercise begins with: the city's stream, as it was when the exercise first looked at it."""
        city, store = city_stream(stream), self._process.store
        first = wait(store.read(stream, 1, 1))
        if not first:
            copied = StreamCopied(version=self._fresh(city).version)
            new = NewEvent(
                id=str(uuid.uuid5(_NAMESPACE, stream)),
                type=type_name(copied),
                data=copied.SerializeToString(),
                occurred_at=self._process.clock.now(),
                traceparent=current_traceparent(),
                correlation_id=current().correlation_id,
                actor=current().caller,
                classification=classification_of(type_name(copied)),
            )
            # If another process was first, its copy counts.
            wait(store.append(stream, [new], 0))
            first = wait(store.read(stream, 1, 1))
        last: int = hear(first[0]).data.version  # type: ignore[attr-defined]
        known = self._cache.get(city)
        # If this process has just looked at the city's stream, it need not be folded again.
        loaded = known if known is not None and known.version == last else _Loaded(self._initial(), 0, Cause())
        while loaded.version < last:
            page = wait(store.read(city, loaded.version + 1, min(_PAGE, last - loaded.version)))
            if not page:
                raise Refused(
                    f"the exercise has seen more of {city} than there is: a backup was put back since; begin another exercise",
                    "EXERCISE_OUTDATED",
                )
            loaded = self._fold(loaded, page)
        return replace(loaded, version=1)

    def _fold(self, loaded: _Loaded[S], events: Sequence[StoredEvent]) -> _Loaded[S]:
        if not events:
            return loaded
        state, persons = loaded.state, loaded.persons
        for heard in self._hear(events):
            state = self._evolve(state, heard.data)
            persons = persons.union(heard.persons)
        last = events[-1]
        return _Loaded(state, last.version, Cause(last.traceparent, last.correlation_id, last.id), persons)

    def _hear(self, events: Sequence[StoredEvent]) -> list[Heard]:
        if any(event.sealed for event in events):
            return wait(self._process.vault.hear(events))
        return [hear(event) for event in events]

    def _forget(self, person: str | None) -> None:
        """Drops states with data of an erased person, so that they are folded anew. None: anybody may have been erased."""
        of_them = [
            stream for stream, loaded in self._cache.items() if loaded.persons and (person is None or person in loaded.persons)
        ]
        for stream in of_them:
            del self._cache[stream]

    def _carried_out(self, stream: str, call: Call, label: str) -> tuple[S, list[Message]] | None:
        """The state and the events of this command, if it was carried out before."""
        written = wait(self._process.store.version_of(stream, call.event_id(stream, label, 0)))
        return self._as_decided(stream, written, call, label) if written else None

    def _as_decided(self, stream: str, first: int, call: Call, label: str) -> tuple[S, list[Message]]:
        """The state and the events of a command that was carried out before."""
        begun = self._copied(stream) if exercise_of(stream) else _Loaded(self._initial(), 0, Cause())
        state, version = begun.state, begun.version
        mine: list[Message] = []
        while True:
            page = wait(self._process.store.read(stream, version + 1, _PAGE))
            for heard in self._hear(page):
                event, message = heard.stored, heard.data
                if event.version >= first and event.id != call.event_id(stream, label, event.version - first):
                    return state, mine
                state = self._evolve(state, message)
                if event.version >= first:
                    mine.append(message)
            if len(page) < _PAGE:
                return state, mine
            version = page[-1].version

    def _keep(self, stream: str, loaded: _Loaded[S]) -> None:
        if not self._process.vault.may_stay(loaded.persons):
            return
        kept = self._cache.get(stream)
        if kept is None or kept.version <= loaded.version:
            self._cache[stream] = loaded
            self._cache.move_to_end(stream)
            if len(self._cache) > _CACHED_STREAMS:
                self._cache.popitem(last=False)

    # -- snapshots ------------------------------------------------------------------------------------------------------

    def _from_snapshot(self, stream: str) -> _Loaded[S] | None:
        found = None if self._kept is None else self._kept.take_up(stream)
        if found is None:
            return None
        state, at = found
        return _Loaded(state, at.version, Cause(at.traceparent, at.correlation_id, at.id))

    def _keep_snapshot(self, stream: str, before: int) -> None:
        loaded = self._cache.get(stream)
        # A state with personal data is kept only in memory, where it is dropped when the person is erased.
        # Nor is one of an exercise: its stream is short, and forgotten soon.
        if self._kept is not None and loaded is not None and not loaded.persons and not exercise_of(stream):
            self._kept.keep(stream, loaded.state, loaded.version, loaded.cause.event_id, before)

    # -- writing --------------------------------------------------------------------------------------------------------

    def _events(
        self,
        stream: str,
        messages: Sequence[Message],
        call: Call,
        label: str,
        because: Cause | None,
    ) -> tuple[list[NewEvent], set[str]]:
        """The events, with their personal data sealed, and the persons these data are about."""
        happened = self._process.clock.now()
        for message in messages:
            check_event(message)
            # What a caller may not see they do not make happen either: its answer would be refused after it was written.
            require_district(call.principal, getattr(message, "district_id", ""))
        events = [
            NewEvent(
                id=call.event_id(stream, label, number),
                type=type_name(message),
                data=b"",
                occurred_at=happened,
                traceparent=(because.traceparent if because else "") or current_traceparent(),
                correlation_id=(because.correlation_id if because else "") or call.correlation_id,
                causation_id=(because.event_id if because else "") or call.causation_id,
                actor=call.caller,
                district=getattr(message, "district_id", ""),
                classification=classification_of(type_name(message)),
            )
            for number, message in enumerate(messages)
        ]
        laid = [(event, lay_down(event, message)) for event, message in zip(events, messages, strict=True)]
        persons = {person for _, parts in laid for person in parts}
        if persons:
            call.touched.persons |= persons
            wait(self._process.vault.seal(laid))
        return events, persons

    def _note(self, stream: str, events: Sequence[NewEvent]) -> None:
        span = trace.get_current_span()
        for event in events:
            self._numbers.appended(event.type)
            span.add_event(names.APPENDED, {names.EVENT_TYPE: event.type, names.EVENT_ID: event.id, names.STREAM: stream})
        self._log.debug("appended", stream=stream, types=[event.type.rpartition(".")[2] for event in events])
