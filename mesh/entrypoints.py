"""How work reaches a service: a gRPC call, a stream of events that is followed, an event of the log, a timer.

Each is a nameko entrypoint; the method it decorates is plain synchronous code.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from nameko.extensions import Entrypoint
from opentelemetry import context as otel_context
from opentelemetry import trace

from citybrain.event_store.contract import StoredEvent
from citybrain.mesh import context as ctx
from citybrain.mesh.clock import MICROSECONDS
from citybrain.mesh.container import Container, expected
from citybrain.mesh.errors import Overloaded, status_of
from citybrain.mesh.events import hear, type_name
from citybrain.mesh.following import Follow, follow_log
from citybrain.mesh.server import abort, find_method
from citybrain.mesh.validation import check
from citybrain.mesh.views import GroupMember
from citybrain.observability import names
from citybrain.observability.logs import logger
from citybrain.observability.tracing import context_from, context_from_metadata

F = TypeVar("F", bound=Callable[..., Any])


class _CityEntrypoint(Entrypoint):  # type: ignore[misc]
    """Shared by all entrypoints of the kit."""

    container: Container
    method_name: str

    @property
    def service(self) -> str:
        """Name of the service this entrypoint belongs to."""
        return self.container.manifest.name

    @property
    def tracer(self) -> trace.Tracer:
        """The tracer of this service."""
        return self.container.process.tracing.tracer(self.service)

    def _server_span(self, path: str, parent: otel_context.Context) -> AbstractContextManager[trace.Span]:
        # The status is set by us: gRPC ends a refused call by an exception that would be written over it.
        return self.tracer.start_as_current_span(
            path, context=parent, kind=trace.SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        )


class Rpc(_CityEntrypoint):
    """A unary gRPC method: `def Method(self, request) -> response`."""

    def setup(self) -> None:
        """Puts the method on the process's server."""
        self._path = f"{self.container.manifest.grpc}/{self.method_name}"
        self._log = logger(self.service)
        self.container.process.server.unary(self.container.manifest.grpc, self.method_name, self._handle)

    async def _handle(self, request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        call, parent = _admit(self._path, context)
        with self._server_span(self._path, parent) as span:
            span.set_attribute(names.RPC_METHOD, self._path)
            ctx.enter(call)
            try:
                check(request)
                response: Message = await self.container.run_worker(self, request)
                return response
            except asyncio.CancelledError:
                call.cancelled = True
                raise
            except Exception as error:
                status = status_of(error)
                span.set_status(trace.Status(trace.StatusCode.ERROR, status.message))
                if not expected(error):
                    self._log.error("call failed", method=self._path, error=repr(error), exc_info=error)
                await abort(context, status)
                raise


class ServerStream(_CityEntrypoint):
    """A server stream: `def Method(self, request) -> Follow` says what is followed; the kit sends it, and goes on sending.

    A stream holds no worker while it is open. The response type has `repeated Event events` and `string resume_token`.
    """

    def setup(self) -> None:
        """Puts the method on the process's server."""
        self._path = f"{self.container.manifest.grpc}/{self.method_name}"
        self._log = logger(self.service)
        self._response = find_method(self.container.manifest.grpc, self.method_name).output_type
        self.container.process.server.server_stream(self.container.manifest.grpc, self.method_name, self._handle)

    async def _handle(self, request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
        call, parent = _admit(self._path, context)
        process = self.container.process
        with self._server_span(self._path, parent) as span:
            span.set_attribute(names.RPC_METHOD, self._path)
            ctx.enter(call)
            try:
                check(request)
                follow: Follow = await self.container.run_worker(self, request)
                if process.streams.full:
                    raise Overloaded("too many streams are open in this process: try again later", "TOO_MANY_STREAMS")
                purpose = f"{self._path}|{follow.purpose}"
                token = getattr(request, "resume_token", "")
                position = process.tokens.read(purpose, token) if token else 0
            except Exception as error:
                status = status_of(error)
                span.set_status(trace.Status(trace.StatusCode.ERROR, status.message))
                if not expected(error):
                    self._log.error("stream failed", method=self._path, error=repr(error), exc_info=error)
                await abort(context, status)
                return
        # The span ends when the stream is open: one that lasts for days would never be seen.
        stream_id = ctx.header(context.invocation_metadata(), ctx.STREAM_ID)
        ended: Exception = process.streams.ending()
        # Closed here and now when the follower goes: an abandoned stream would count as one that is behind.
        async with aclosing(follow_log(process, follow, position, purpose, self._response, stream_id)) as responses:
            try:
                async for response in responses:
                    yield response
            except Exception as error:
                self._log.error("stream failed", method=self._path, error=repr(error), exc_info=error)
                ended = error
        await abort(context, status_of(ended))


class Subscribe(_CityEntrypoint):
    """A reaction: the method hears each event of some types, one after the other; its checkpoint moves when it is done."""

    def __init__(self, *types: type[Message], **options: Any) -> None:
        self._types = [type_name(message) for message in types]
        super().__init__(**options)

    def start(self) -> None:
        """Joins the consumer group `service.method` and goes on where it stopped."""
        self._log = logger(self.service)
        self._member = GroupMember(self.container.process, self.service, f"{self.service}.{self.method_name}")
        self._member.follow(self._types, self._batch, self._failed, batch=50)

    def stop(self) -> None:
        """Leaves the group; what is under way is finished by its worker and heard again otherwise."""
        self._member.leave()

    kill = stop

    async def _batch(self, events: list[StoredEvent], reached: int) -> None:
        for event in events:
            await self._one(event)
            # The next event must not be waited for by what this one has done.
            self._member.subscription.position = event.position
            await self._member.save(event.position)
        self.container.process.activity.changed()

    async def _one(self, event: StoredEvent) -> None:
        parent = context_from(event.traceparent, {names.INCIDENT_ID: event.correlation_id} if event.correlation_id else {})
        path = f"{self.service}.{self.method_name}"
        token = otel_context.attach(parent)
        try:
            with self.tracer.start_as_current_span(f"handle {event.type}", kind=trace.SpanKind.CONSUMER) as span:
                span.set_attribute(names.EVENT_ID, event.id)
                span.set_attribute(names.EVENT_TYPE, event.type)
                span.set_attribute(names.CONSUMER_GROUP, path)
                ctx.enter(ctx.Call(self.service, path, event.id, correlation_id=event.correlation_id, causation_id=event.id))
                await self.container.run_worker(self, hear(event))
        finally:
            otel_context.detach(token)

    def _failed(self, event: StoredEvent, error: Exception, pause: float) -> None:
        self._log.error(
            "event failed and is tried again", event_id=event.id, type=event.type, again_in_s=pause, error=repr(error),
            exc_info=error,
        )  # fmt: skip


class Every(_CityEntrypoint):
    """A timer on city time: the method runs every so many seconds."""

    def __init__(self, seconds: float, **options: Any) -> None:
        self._seconds = seconds
        super().__init__(**options)

    def start(self) -> None:
        """Waits for the next full interval of city time."""
        self._log = logger(self.service)
        self._stopped = False
        self._timer = self.container.process.clock.at(0, self._fire)

    def stop(self) -> None:
        """Fires no more."""
        self._stopped = True
        self._timer.cancel()

    kill = stop

    async def _fire(self) -> None:
        if self._stopped:
            return
        clock = self.container.process.clock
        now = clock.now()
        interval = int(self._seconds * MICROSECONDS)
        # Where time leaps, the runs it leaps over are left out but for the last: a day at once is not 86,400 runs.
        base = max(now, clock.heading_for() - interval)
        self._timer = clock.at(base - base % interval + interval, self._fire)
        # The moment names the run: after a crash the same moment writes the same events.
        ctx.enter(ctx.Call(self.service, f"{self.service}.{self.method_name}", str(now)))
        try:
            await self.container.run_worker(self)
        except Exception as error:
            self._log.error("timer failed", method=self.method_name, error=repr(error), exc_info=error)


def _admit(path: str, context: grpc.aio.ServicerContext[Any, Any]) -> tuple[ctx.Call, otel_context.Context]:
    metadata = context.invocation_metadata() or ()
    parent, story = context_from_metadata(metadata)
    left = context.time_remaining()
    call = ctx.Call(
        caller=ctx.header(metadata, ctx.CALLER) or "anonymous",
        method=path,
        # Without a request id a retry cannot be told from a second wish.
        request_id=ctx.header(metadata, ctx.REQUEST_ID) or str(uuid.uuid4()),
        deadline=None if left is None else time.monotonic() + left,
        correlation_id=story,
    )
    return call, parent


def rpc(method: F) -> F:
    """Makes a method answer the gRPC call of its name."""
    decorated: F = Rpc.decorator(method)
    return decorated


def server_stream(method: F) -> F:
    """Makes a method answer the server-streaming gRPC call of its name, by the Follow it returns."""
    decorated: F = ServerStream.decorator(method)
    return decorated


def subscribe(*types: type[Message]) -> Callable[[F], F]:
    """Makes a method hear every event of some types, once each as far as its effects go."""
    decorator: Callable[[F], F] = Subscribe.decorator(*types)
    return decorator


def every(seconds: float) -> Callable[[F], F]:
    """Makes a method run every so many seconds of city time."""
    decorator: Callable[[F], F] = Every.decorator(seconds)
    return decorator
