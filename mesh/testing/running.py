"""A service that runs inside the test: its subscriptions, views, timers and streams are real; only the network is left out.

The test stays in its plain thread: it fires methods, tells events of neighbours, moves city time, and waits for results. It is
long because a test finds everything it can do in one class.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from google.protobuf import text_format
from google.protobuf.message import Message

from citybrain.event_store.feed import log_position
from citybrain.event_store.read_models import given_over
from citybrain.event_store.store import Cursor, StoredEvent
from citybrain.mesh.entrypoints.calls import Rpc
from citybrain.mesh.entrypoints.passed import Passed
from citybrain.mesh.entrypoints.reactions import Subscribe
from citybrain.mesh.entrypoints.timers import Timer
from citybrain.mesh.entrypoints.windows import Window, Windows
from citybrain.mesh.events import Heard, hear, type_name
from citybrain.mesh.providers.views import View
from citybrain.mesh.runtime import context as ctx
from citybrain.mesh.runtime import exercises
from citybrain.mesh.runtime.clock import MICROSECONDS, DrivenClock
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.server import find_method
from citybrain.mesh.testing.errors import Misused, NeverCame
from citybrain.mesh.testing.exchange import WAIT_S, Exchange, Stream
from citybrain.mesh.testing.neighbours import Fake
from citybrain.mesh.testing.parts import Parts, greenlets
from citybrain.mesh.testing.setting import MORNING, append, event_of, microseconds_of, parts_of, set_up
from citybrain.observability import names

M = TypeVar("M", bound=Message)
_SHOWN = 12
_LONGEST = 160


@contextmanager
def running(
    service: type,
    *neighbours: Fake,
    contract: str = "",
    folder: Path | None = None,
    city_time: datetime = MORNING,
    **given: Any,
) -> Iterator[Running]:
    """Runs a service: `with running(HealthService, traffic=fake(…)) as health:`.

    `contract`: the gRPC service it answers, if there is no manifest.yaml beside its module. `folder`: keeps its files, so that
    it can be stopped and run again. `given`: by the name of the dependency, a fake neighbour for a client, earlier events
    `{key: [events]}` for streams, rows `{key: row}` for a view, or any object that takes the place of the dependency.
    """
    with parts_of(set_up(service, neighbours, given), contract, folder, city_time) as (parts, container):
        run = Running(parts, container)
        greenlets().run(functools.partial(parts.start, serve=False))
        run.advance(to=city_time)
        try:
            yield run
        finally:
            run.hang_up()


class Running:
    """A service that runs, for a test to use and look at."""

    def __init__(self, parts: Parts, container: Container) -> None:
        self.parts = parts
        self._container = container
        self._contract = container.manifest.grpc
        self._process = parts.process
        self._calls: list[Exchange] = []

    # -- making it work ---------------------------------------------------------------------------------------------------

    def fire(
        self,
        name: str,
        what: Message | Iterable[Message] | Window | None = None,
        *,
        caller: str = "test",
        request_id: str = "",
        deadline_s: float | None = None,
        correlation_id: str = "",
        exercise: str = "",
        **claims: Any,
    ) -> Any:
        """Calls a method of the contract as `caller` would, with a token that allows everything, or only what `claims` say
        (`scopes`, `district`, `clearance`, `team`). Or hands an event to a subscription or a window to its method, or lets
        a timer run now.

        A unary call returns its response, a call that streams returns a Stream. If the method reads a stream, `what` is all its
        requests; None: the stream stays open, and `send` adds requests. Raises the errors that the method raised.
        """
        entrypoint = self._entrypoint(name)
        if isinstance(entrypoint, Rpc):
            if correlation_id:
                # Only services of the mesh say to which incident a call belongs.
                claims["actor"] = caller
            metadata = [self.parts.bearer(caller, **claims), (ctx.REQUEST_ID, request_id or uuid.uuid4().hex)]
            if correlation_id:
                metadata.append(("baggage", f"{names.INCIDENT_ID}={quote(correlation_id)}"))
            if exercise:
                metadata.append((exercises.HEADER, exercise))
            return self._call(name, what, metadata, deadline_s)
        if isinstance(entrypoint, Timer):
            return greenlets().do(entrypoint.run(self._process.clock.now()))
        if isinstance(entrypoint, Passed):
            if not isinstance(what, Message):
                raise Misused(f"{name} gets what another process was told: give a message")
            return greenlets().do(entrypoint.run(what, uuid.uuid4().hex))
        if isinstance(entrypoint, Windows):
            if not isinstance(what, Window):
                raise Misused(f"{name} gets windows: give a Window(start, end, states)")
            return greenlets().do(entrypoint.run(what))
        if not isinstance(what, Message):
            raise Misused(f"{name} hears events: give one of {', '.join(entrypoint.types)}")
        if type_name(what) not in entrypoint.types:
            raise Misused(f"{name} does not hear {type_name(what)}; it hears {', '.join(entrypoint.types)}")
        return greenlets().do(entrypoint.hear(self._outside_the_log(what, request_id, caller, correlation_id)))

    def tell(
        self, first: Message, *more: Message, stream: str = "", correlation_id: str = "", actor: str = "test"
    ) -> list[Heard]:
        """Appends events of other services to the log now, in one stream, in this order."""
        where = stream or f"{first.DESCRIPTOR.file.package.rpartition('.')[0].rpartition('.')[2]}/test"
        now = self._process.clock.now()

        new = functools.partial(append, self.parts, where, [first, *more], occurred_at=now)
        return [hear(event) for event in greenlets().run(lambda: new(correlation_id=correlation_id, actor=actor))]

    def advance(self, seconds: float = 0, *, to: datetime | None = None) -> int:
        """Moves city time on, and returns when every timer that is due on the way has done its work."""
        clock = self._process.clock
        assert isinstance(clock, DrivenClock)
        moment = microseconds_of(to) if to is not None else clock.now() + int(seconds * MICROSECONDS)

        async def move() -> int:
            with self._process.activity.working():
                return await clock.advance(moment)

        return greenlets().do(move())

    # -- looking at what it did -------------------------------------------------------------------------------------------

    def rest(self, limit_s: float = WAIT_S) -> None:
        """Waits until nothing is left to do: every event is heard, every row written."""

        async def work() -> None:
            try:
                await asyncio.wait_for(self._process.activity.rest(), limit_s)
            except TimeoutError:
                raise NeverCame(f"it did not come to rest within {limit_s:g} s\n{await self._groups()}") from None

        greenlets().do(work())

    def events(self, *types: type[Message]) -> list[Heard]:
        """The events in the log, of some types or all."""
        return greenlets().do(self._events([type_name(kind) for kind in types]))

    def wait_for_event(
        self, kind: type[M], where: Callable[[M], bool] = lambda message: True, limit_s: float = WAIT_S
    ) -> Heard:
        """The first event of a type whose message fits; waits until one is in the log."""

        async def look() -> Heard:
            feed = self._process.store.feed([type_name(kind)])
            cursor: Cursor = {}
            while True:
                page = await feed.read(cursor)
                for event in page.events:
                    heard = hear(event)
                    if where(heard.data):  # type: ignore[arg-type]
                        return heard
                cursor = page.cursor
                if feed.ended(cursor):
                    await feed.grown(cursor)

        async def work() -> Heard:
            try:
                return await asyncio.wait_for(look(), limit_s)
            except TimeoutError:
                there = _shown(await self._events([]))
                raise NeverCame(
                    f"no {kind.DESCRIPTOR.full_name} that fits came within {limit_s:g} s\nin the log:\n{there}\n"
                    f"{await self._groups()}"
                ) from None

        return greenlets().do(work())

    def row(self, view: str, key: str) -> Any:
        """A row of a view as it stands now, or None."""
        return greenlets().run(lambda: self._view(view).get(key))

    def wait_for_row(
        self, view: str, key: str, condition: Callable[[Any], bool] = lambda row: True, limit_s: float = WAIT_S
    ) -> Any:
        """Waits until a row of a view is there and fits; returns it."""
        found = self._view(view)

        async def look() -> Any:
            while True:
                revision = found.revision
                row = await found.row(key)
                if row is not None and condition(row):
                    return row
                await found.changed(revision)

        async def work() -> Any:
            try:
                return await asyncio.wait_for(look(), limit_s)
            except TimeoutError:
                rows = await found.rows(limit=_SHOWN)
                there = "\n".join(f"  {name}: {row}" for name, row in rows) or "  nothing"
                raise NeverCame(
                    f"{view} has no row {key!r} that fits within {limit_s:g} s\nin the view:\n{there}\n{await self._groups()}"
                ) from None

        return greenlets().do(work())

    # -- inside -----------------------------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """Cancels every call that is still open."""
        for call in self._calls:
            greenlets().do(call.cancel())

    def _call(self, name: str, what: Any, metadata: list[tuple[str, str]], deadline_s: float | None) -> Any:
        contract = find_method(self._contract, name)
        requests = [] if what is None else [what] if isinstance(what, Message) else list(what)
        if not contract.client_streaming and len(requests) != 1:
            raise Misused(f"{name} takes one {contract.input_type.full_name}; {len(requests)} were given")
        for request in requests:
            if type_name(request) != contract.input_type.full_name:
                raise Misused(f"{name} takes a {contract.input_type.full_name}, not a {type_name(request)}")
        exchange = Exchange(self._process.server.handler(self._contract, name), metadata, deadline_s)
        greenlets().do(exchange.begin(None if contract.client_streaming else requests[0]))
        self._calls.append(exchange)
        stream = Stream(exchange)
        if contract.client_streaming:
            greenlets().do(exchange.send(requests, last=what is not None))
            if what is None or contract.server_streaming:
                return stream
        elif contract.server_streaming:
            return stream
        return greenlets().do(exchange.answer())

    def _outside_the_log(self, message: Message, name: str, actor: str, correlation_id: str) -> StoredEvent:
        new = event_of(message, occurred_at=self._process.clock.now(), correlation_id=correlation_id, actor=actor, name=name)
        return StoredEvent(**dataclasses.asdict(new), stream="test", version=1, recorded_at=new.occurred_at, position=0)

    def _entrypoint(self, name: str) -> Any:
        entrypoints = {entrypoint.method_name: entrypoint for entrypoint in self._container.entrypoints}
        if name not in entrypoints:
            raise Misused(
                f"{self._container.service_name} has nothing to fire of the name {name}; it has: {_listed(entrypoints)}"
            )
        return entrypoints[name]

    def _view(self, name: str) -> View[Any]:
        views = {view.attr_name: view for view in self._container.dependencies if isinstance(view, View)}
        if name not in views:
            raise Misused(f"{self._container.service_name} folds no view {name}; it folds: {_listed(views)}")
        return views[name]

    async def _events(self, types: list[str]) -> list[Heard]:
        feed = self._process.store.feed(types or None)
        cursor: Cursor = {}
        found: list[Heard] = []
        while not feed.ended(cursor):
            page = await feed.read(cursor)
            found += [hear(event) for event in page.events]
            cursor = page.cursor
        return found

    async def _groups(self) -> str:
        """How far each subscription and view has come, and what holds it up."""
        head = log_position(self._process.store)
        lines = [f"the log ends at {head}; the service:"]
        for part in (*self._container.entrypoints, *self._container.dependencies):
            if not isinstance(part, Subscribe | View):
                continue
            member, standing = part.member, await part.member.standing()
            fails = f", which fails: {standing.failing}" if standing.failing else ""
            lines.append(f"  {member.group} is at {standing.position}{fails}")
            for parked in (await member.parked()).values():
                waiting = {one.position for one in given_over(parked)}
                for one in parked:
                    state = "parked" if one.position in waiting else "being tried again"
                    lines.append(f"    {state}: {one.type} at {one.position}: {one.reason}")
        return "\n".join(lines)


def _shown(events: list[Heard]) -> str:
    lines = [f"  (and {len(events) - _SHOWN} before)"] if len(events) > _SHOWN else []
    for heard in events[-_SHOWN:]:
        text = text_format.MessageToString(heard.data, as_one_line=True, as_utf8=True)
        lines.append(f"  {heard.stored.type} in {heard.stored.stream}: {text[:_LONGEST]}{'…' if len(text) > _LONGEST else ''}")
    return "\n".join(lines) or "  nothing"


def _listed(found: Iterable[str]) -> str:
    return ", ".join(sorted(found)) or "none"
