"""Who may call what, for every method of every service: the one place where tokens are asked for, and answers are made smaller.

A call comes here however it came to this process: through the gateway, from another service, or past both.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from opentelemetry import context as otel_context
from opentelemetry.context import Context as Within

from citybrain.mesh.access.limits import CLASSES, class_of
from citybrain.mesh.access.principal import NOBODY, Principal
from citybrain.mesh.access.quotas import Quotas
from citybrain.mesh.access.redaction import Touched, shown
from citybrain.mesh.access.rules import Rule, rule_of
from citybrain.mesh.access.verifying import Verifier
from citybrain.mesh.audit.entries import Entry, Trail, TrailAway
from citybrain.mesh.errors import ServiceError, Unauthenticated, status_of
from citybrain.mesh.runtime.context import AUTHORIZATION, REQUEST_ID, header
from citybrain.mesh.runtime.refusing import Context, Handler, abort
from citybrain.observability.incoming import Incoming, incoming
from citybrain.observability.logs import logger
from citybrain.observability.metrics import Metrics

CONTINUES = "traces.continue"
"""The scope without which nobody outside has a trace of theirs continued."""

_BEARER = "bearer "
# A call that ends so was not allowed, whoever found that out.
_REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
# Of these a line is written already, with what went wrong.
_TOLD = (grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
_NOT_LET_IN = (*_REFUSALS, grpc.StatusCode.RESOURCE_EXHAUSTED)


def _say(log: Any, call: GuardedContext) -> None:
    """Writes a line of a call that was refused. Its message stays out: it may hold what the caller has sent."""
    within = otel_context.attach(call.within) if call.within is not None else None
    log.info("call refused", method=call.rule.path, code=call.code.name, reason=call.reason)
    if within is not None:
        otel_context.detach(within)


def _reason(trailers: Any) -> str:
    """The reason that an error's details give to programs; empty: they give none."""
    why = error_details_pb2.ErrorInfo()
    for name, value in trailers:
        if name == "grpc-status-details-bin":
            details = status_pb2.Status.FromString(value).details
            return why.reason if any(packed.Unpack(why) for packed in details) else ""
    return ""


class GuardedContext:
    """A call's context as handlers get it: with its caller, and with answers that hold only what this caller may see."""

    def __init__(self, context: Context, rule: Rule, trail: Trail) -> None:
        self._context = context
        self._trail = trail
        self.rule = rule
        self.metadata: Sequence[tuple[str, str | bytes]] = context.invocation_metadata() or ()  # type: ignore[assignment]
        self.principal: Principal = NOBODY
        self.touched = Touched()
        # Whether the caller may make this call.
        self.allowed = False
        # Whether the trail has it.
        self.recorded = False
        # The status that the call was ended with; OK: it was answered.
        self.code = grpc.StatusCode.OK
        self.reason = ""
        # The trace of the work; empty: the call did not come so far. And the context in which its span is the current one.
        self.trace_id = ""
        self.within: Within | None = None

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """The metadata of the call."""
        return self.metadata

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None: there is none."""
        return self._context.time_remaining()

    def told(self) -> Incoming:
        """What the call says of its trace, as far as this caller is believed."""
        caller = self.principal
        return incoming(self.metadata, of_service=caller.is_service, continues=caller.holds(CONTINUES))

    async def read(self) -> Any:
        """The next request of a stream."""
        request = await self._context.read()
        if isinstance(request, Message):
            self.rule.admit_request(self.principal, request)
        return request

    async def write(self, response: Message) -> None:
        """Sends one response of a stream. What touches persons or secrets is recorded first.

        Unauthenticated: the caller's token has ended meanwhile.
        """
        if time.time() > self.principal.ends:
            raise Unauthenticated(
                "the token of this stream has ended: open it again with another token, from the last resume token",
                "TOKEN_ENDED",
            )
        touched = Touched()
        answer = shown(response, self.principal, touched)
        if touched.sensitive:
            await self._trail.keep(self.entry(touched))
        await self._context.write(answer)

    async def send_initial_metadata(self, metadata: Any) -> None:
        """Sends the headers of the answer."""
        await self._context.send_initial_metadata(metadata)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        """Ends the call with a status. The trail gets it before the caller does."""
        self.code = code
        self.reason = self.reason or _reason(trailing_metadata)
        if code in _REFUSALS:
            self.allowed = False
        # Of a stream that was opened, how it ended is a record of its own.
        self.note(again=self.rule.streams)
        await self._context.abort(code, details, trailing_metadata)

    def note(self, *, again: bool = False) -> None:
        """Has the call recorded soon, if it is not yet."""
        if again or not self.recorded:
            self.recorded = True
            with contextlib.suppress(TrailAway):
                self._trail.note(self.entry(self.touched))

    def entry(self, touched: Touched) -> Entry:
        """What the audit trail keeps of this call."""
        caller = self.principal
        return Entry(
            subject=caller.caller,
            method=self.rule.path,
            team=caller.team,
            on_behalf_of=caller.subject if caller.actor else "",
            persons=tuple(sorted(touched.persons)),
            classification=touched.classification,  # type: ignore[arg-type]
            allowed=self.allowed,
            code=self.code.name,
            reason=self.reason,
            request_id=header(self.metadata, REQUEST_ID),
            trace_id=self.trace_id or self.told().trace_id,
        )


class Guard:
    """Wraps handlers. `verifier` knows whose tokens are good, `quotas` what they have used; `trail` keeps what they did.

    `metrics` counts the calls, also those that are refused here.
    """

    def __init__(self, verifier: Verifier, trail: Trail, quotas: Quotas, metrics: Metrics) -> None:
        self._verifier = verifier
        self._trail = trail
        self._quotas = quotas
        self._metrics = metrics

    def guarded(self, method: MethodDescriptor, handler: Handler, service: str) -> Handler:
        """A handler that is called only for callers who may call the method. `service`: the one whose calls these are."""
        rule = rule_of(method)
        numbers, log = self._metrics.of(service), logger(service)
        number = class_of(method, rule.reads)

        async def guarded(request: Any, context: Context) -> Any:
            call = GuardedContext(context, rule, self._trail)
            begun, ended = time.perf_counter(), ""
            try:
                await self._admit(call, request, number)
                if rule.streams:
                    # A stream may stay open for days: that it was opened is recorded now.
                    self._trail.note(call.entry(call.touched))
                    call.recorded = True
                answer = await handler(request, call)
                if not isinstance(answer, Message):
                    return answer
                answer = shown(answer, call.principal, call.touched)
                if call.touched.sensitive:
                    call.recorded = True
                    await self._trail.keep(call.entry(call.touched))
                return answer
            except (ServiceError, TrailAway) as error:
                await abort(call, status_of(error))
            except asyncio.CancelledError:
                # Nobody waits any more. Whether the caller has gone or their deadline has passed cannot be told apart here: a
                # caller whose deadline passes also hangs up.
                ended = "CANCELLED"
                raise
            except Exception:
                # Not by `abort`, which says how: gRPC answers UNKNOWN then.
                ended = "UNKNOWN" if call.code is grpc.StatusCode.OK else ""
                raise
            finally:
                call.note()
                took = time.perf_counter() - begun
                if call.code not in _TOLD:
                    _say(log, call)
                numbers.called(rule.path, ended or call.code.name, took, call.within, kind=CLASSES[number])
                if call.code in _NOT_LET_IN:
                    numbers.refused(call.code.name, call.reason)

        return guarded

    def known_callers(
        self, handler: Callable[[Any, Context], AsyncIterator[Any]]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        """For a method of gRPC's own that streams, e.g. reflection: any caller with a good token may call it."""

        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                await self._principal(context.invocation_metadata() or ())
            except ServiceError as error:
                await abort(context, status_of(error))
            async for response in handler(request, context):
                yield response

        return guarded

    async def _admit(self, call: GuardedContext, request: Any, number: int) -> None:
        caller = await self._principal(call.metadata)
        call.principal = dataclasses.replace(caller, district="") if call.rule.any_district and caller.district else caller
        call.rule.admit(call.principal)
        if isinstance(request, Message):
            call.rule.admit_request(call.principal, request)
        # What could not be recorded is not begun, and does not count.
        self._trail.admit(durable=call.rule.sensitive)
        self._quotas.admit(call.principal, number)
        call.allowed = True

    async def _principal(self, metadata: Any) -> Principal:
        told = header(metadata, AUTHORIZATION)
        if told[: len(_BEARER)].lower() != _BEARER:
            raise Unauthenticated(
                "this call brings no token: send it as `authorization: Bearer …`; `city token` prints one", "NO_TOKEN"
            )
        token = told[len(_BEARER) :].strip()
        return self._verifier.known(token) or await self._verifier.verify(token)
