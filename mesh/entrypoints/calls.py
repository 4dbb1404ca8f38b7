"""gRPC methods of all four kinds. The contract says which kind a method is; the decorator is the same.

| contract | the method |
|---|---|
| unary | `def Method(self, request) -> Response` |
| server stream | `def Method(self, request)` that yields responses, or returns a `Follow` (the log, live, with resume tokens) |
| client stream | `def Method(self, requests) -> Response`, where `requests` is iterated |
| both | `def Method(self, requests)` that iterates and yields |

Every request is checked against its contract before the method sees it. In a stream the next request is read only when the
method asks for it. After a `yield` the method goes on only when the caller has taken the response. So nobody is flooded. When
the caller goes, its deadline passes or the process stops, the next wait in the method raises, and so do its own calls.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from opentelemetry import context as otel_context
from opentelemetry import trace

from citybrain.event_store.store import StoreError
from citybrain.mesh.entrypoints.base import CityEntrypoint
from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Cancelled, ServiceError, status_of
from citybrain.mesh.providers.following import Follow, Followed, follow_log
from citybrain.mesh.runtime import context as ctx
from citybrain.mesh.runtime import exercises
from citybrain.mesh.runtime.activity import Activity
from citybrain.mesh.runtime.container import expected
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.guard import GuardedContext
from citybrain.mesh.runtime.refusing import Unreadable, abort, code_of
from citybrain.mesh.runtime.server import find_method
from citybrain.mesh.runtime.shares import Asker
from citybrain.mesh.runtime.validation import check, prepare
from citybrain.observability import names
from citybrain.observability.incoming import Incoming
from citybrain.observability.tracing import CurrentSpan, ended_with

F = TypeVar("F", bound=Callable[..., Any])
_END: Any = grpc.aio.EOF  # type: ignore[attr-defined]
# gRPC's timers may be so early.
_EARLY_S = 0.02


class Rpc(CityEntrypoint):
    """A method of the service's contract."""

    def setup(self) -> None:
        """Puts the method on the process's server."""
        contract = self.container.manifest.grpc
        self._path = f"{contract}/{self.method_name}"
        self._method = find_method(contract, self.method_name)
        prepare(self._method.input_type)
        one = not self._method.client_streaming and not self._method.server_streaming
        handler = self._unary if one else self._stream
        self.container.process.server.add(contract, self.method_name, handler, named=self.service)

    # -- unary ----------------------------------------------------------------------------------------------------------

    async def _unary(self, request: Message, context: GuardedContext) -> Message:
        call, told = _call_of(self._path, context)
        with self._span(told) as span:
            context.trace_id, context.within = (
                trace.format_trace_id(span.get_span_context().trace_id),
                otel_context.get_current(),
            )
            ctx.enter(call)
            try:
                check(request)
                await self._bind(call, context, request)
                run = self._with_faults(request) if self.container.process.faults.any else None
                response: Message = await self.container.run_worker(self, request, asker=self._asker(call, context), run=run)
                ended_with(span, grpc.StatusCode.OK)
                return response
            except asyncio.CancelledError:
                call.end()
                ended_with(span, _given_up(call))
                raise
            except Exception as error:
                await self._fail(error, span, context)
                raise

    # -- streams --------------------------------------------------------------------------------------------------------

    async def _stream(self, request: Any, context: GuardedContext) -> Message | None:
        """Runs the method in a worker that lives as long as the stream. If it returns a Follow, the worker ends then."""
        streams = self.container.process.open_streams
        call, told = _call_of(self._path, context)
        followed: Followed | None = None
        try:
            # The span of a stream over the log ends as soon as the stream is open: a span of days would never be seen.
            with self._span(told) as span:
                context.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
                context.within = otel_context.get_current()
                ctx.enter(call)
                try:
                    stream_id = ctx.header(context.invocation_metadata(), ctx.STREAM_ID)
                    followed = streams.open(stream_id, call, self._asker(call, context))
                    result = await self._in_worker(request, context, followed)
                    # How a stream over the log ends is not known yet.
                    if not isinstance(result, Follow):
                        ended_with(span, grpc.StatusCode.OK)
                except asyncio.CancelledError:
                    call.end()
                    ended_with(span, _given_up(call))
                    raise
                except Exception as error:
                    await self._fail(error, span, context)
                    raise
            if isinstance(result, Follow):
                await self._follow(result, request, context, followed)
                return None
            response: Message | None = result
            return response
        finally:
            if followed is not None:
                streams.close(followed)

    async def _in_worker(self, request: Any, context: GuardedContext, followed: Followed) -> Any:
        activity = self.container.process.activity
        if self._method.client_streaming:
            request = _Requests(context, activity, followed)
        else:
            check(request)

        def run(method: Callable[..., Any]) -> Any:
            self.container.process.faults.in_call(self.service, self.method_name)
            result = method(request)
            if isinstance(result, Follow) or not self._method.server_streaming:
                return result
            responses = iter(result)
            try:
                for response in responses:
                    followed.sent += 1
                    with activity.idle():
                        # `to_its_end`: a half sent response would stand before the status that ends the stream. The wait ends
                        # anyway when the caller has gone or its deadline has passed: gRPC knows that.
                        wait(_sent(context.write(response)), to_its_end=True)
            finally:
                # Closes what the method holds open, in its own worker, whatever ended the stream.
                if close := getattr(responses, "close", None):
                    close()
            return None

        activity.begin()
        return await self.container.work(self, (request,), finished=activity.end, run=run)

    async def _follow(self, follow: Follow, request: Message, context: GuardedContext, followed: Followed) -> None:
        process = self.container.process
        purpose = f"{self._path}|{follow.purpose}{exercises.of_token(followed.call.exercise)}"
        ended: Exception = process.open_streams.ending()
        try:
            token = getattr(request, "resume_token", "")
            cursor = process.tokens.read(purpose, token) if token else None
            # Headers are sent now: else a follower without events yet would not know that the stream is open (e.g. a browser).
            await _sent(context.send_initial_metadata(()))
            described = follow_log(process, follow, followed, cursor, purpose, self._method.output_type)
            # Closed at once when the follower goes: an abandoned stream would count as one with events to send.
            async with aclosing(described) as responses:
                async for response in responses:
                    await context.write(response)
            if follow.recorded_until and not process.open_streams.is_ending:
                # A replay has an end.
                return
        except Exception as error:
            if not expected(error):
                self.log.error("stream failed", method=self._path, exc_info=error)
            ended = error
        await abort(context, status_of(ended))

    async def _bind(self, call: ctx.Call, context: GuardedContext, request: Message) -> None:
        """Binds the request id of a command from outside to its sender, method and content. The kit makes those of services."""
        if context.principal.is_service or context.rule.reads or not ctx.header(context.metadata, ctx.REQUEST_ID):
            return
        content = request.SerializeToString(deterministic=True)
        bound = await self.container.process.engine.requests.bind(call.request_id, call.caller, self._path, content)
        if bound is None:
            return
        if "caller" in bound.differs:
            raise AlreadyDifferent(
                "another caller has used this request id: choose ids that nobody else has", "REQUEST_ID_TAKEN"
            )
        what = " and another ".join(bound.differs)
        raise BadRequest([("x-request-id", f"was used before with another {what}: use a new id for a new command")])

    def _with_faults(self, request: Message) -> Callable[[Callable[..., Any]], Any]:
        """Runs the method as faults that are switched on let it."""

        def run(method: Callable[..., Any]) -> Any:
            self.container.process.faults.in_call(self.service, self.method_name)
            return method(request)

        return run

    # -- both -----------------------------------------------------------------------------------------------------------

    def _asker(self, call: ctx.Call, context: GuardedContext) -> Asker:
        return Asker(call.caller, self._path, context.rule.reads, not context.principal.is_service)

    def _span(self, told: Incoming) -> CurrentSpan:
        attributes = {names.RPC_METHOD: self._path}
        return CurrentSpan(self.tracer, self._path, told.context, trace.SpanKind.SERVER, attributes, told.links)

    async def _fail(self, error: Exception, span: trace.Span, context: GuardedContext) -> None:
        status = status_of(error)
        ended_with(span, code_of(status), error)
        if not expected(error):
            self.log.error("call failed", method=self._path, exc_info=error)
        await abort(context, status)


class _Requests:
    """The requests of a stream, one after the other; each is read only when it is asked for."""

    def __init__(self, context: GuardedContext, activity: Activity, followed: Followed) -> None:
        self._context = context
        self._activity = activity
        self._followed = followed

    @property
    def _answering(self) -> bool:
        return self._followed.sent > 0

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        with self._activity.idle():
            message: Message = wait(self._next())
        if message is _END:
            raise StopIteration
        if isinstance(message, Unreadable):
            raise message.refusal
        check(message)
        return message

    async def _next(self) -> Any:
        # `shield`, because gRPC still writes into its buffer when nobody waits for the message any more.
        message = await asyncio.shield(self._context.read())
        if message is _END and not self._answering:
            # gRPC also reports the end when the caller has gone, and half of the requests must not count as all. So headers are
            # sent, which fails if the caller has gone. (Once answers have begun this is not needed: the next answer fails.)
            await _sent(self._context.send_initial_metadata(()))
        return message


async def _sent(sending: Awaitable[None]) -> None:
    """Sends something to the caller. Cancelled: the caller has gone."""
    try:
        await sending
    except (ServiceError, StoreError):
        # The guard sends no more, and says why.
        raise
    except Exception as error:
        # gRPC has no error type of its own for this.
        raise Cancelled("the caller has gone") from error


def _given_up(call: ctx.Call) -> grpc.StatusCode:
    """Why nobody waits for a call any more: its caller has gone, or the deadline has passed, when gRPC ends the call too."""
    passed = call.deadline is not None and time.monotonic() > call.deadline - _EARLY_S
    return grpc.StatusCode.DEADLINE_EXCEEDED if passed else grpc.StatusCode.CANCELLED


def _call_of(path: str, context: GuardedContext) -> tuple[ctx.Call, Incoming]:
    metadata = context.invocation_metadata()
    inside, told = context.principal.is_service, context.told()
    left = context.time_remaining()
    named = ctx.header(metadata, exercises.HEADER)
    call = ctx.Call(
        caller=context.principal.caller,
        behalf=context.principal.subject,
        principal=context.principal,
        touched=context.touched,
        method=path,
        # Without a request id, a retry looks like a new request.
        request_id=ctx.header(metadata, ctx.REQUEST_ID) or os.urandom(16).hex(),
        deadline=None if left is None else time.monotonic() + left,
        # Only services of the mesh say to which incident a call belongs, and for which event it is made.
        correlation_id=told.incident,
        causation_id=ctx.cause(metadata) if inside else "",
        exercise=exercises.admit(named, holds_scope=inside or context.principal.holds(exercises.SCOPE)),
    )
    return call, told


def rpc(method: F) -> F:
    """Makes a method answer the gRPC method of the same name. The contract says whether requests or responses are streams."""
    decorated: F = Rpc.decorator(method)
    return decorated
