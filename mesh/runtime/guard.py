"""Who may call what, for every method of every service: the one place where tokens are asked for, and answers are made smaller.

A call comes here however it came to this process: through the gateway, from another service, or past both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from citybrain.mesh.access.limits import class_of
from citybrain.mesh.access.principal import NOBODY, Principal
from citybrain.mesh.access.quotas import Quotas
from citybrain.mesh.access.redaction import Touched, shown
from citybrain.mesh.access.rules import Rule, rule_of
from citybrain.mesh.access.verifying import Verifier
from citybrain.mesh.errors import ServiceError, Unauthenticated, status_of
from citybrain.mesh.runtime.context import AUTHORIZATION, header
from citybrain.mesh.runtime.refusing import Context, Handler, abort

_BEARER = "bearer "


class GuardedContext:
    """A call's context as handlers get it: with its caller, and with answers that hold only what this caller may see."""

    def __init__(self, context: Context, rule: Rule) -> None:
        self._context = context
        self.rule = rule
        self.metadata: Sequence[tuple[str, str | bytes]] = context.invocation_metadata() or ()  # type: ignore[assignment]
        self.principal: Principal = NOBODY
        self.touched = Touched()
        # The status that the handler ended the call with; None: it answered.
        self.refused: tuple[grpc.StatusCode, str] | None = None

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """The metadata of the call."""
        return self.metadata

    def peer(self) -> str:
        """The address of the caller."""
        return str(self._context.peer())

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None: there is none."""
        return self._context.time_remaining()

    async def read(self) -> Any:
        """The next request of a stream."""
        request = await self._context.read()
        if isinstance(request, Message):
            self.rule.admit_request(self.principal, request)
        return request

    async def write(self, response: Message) -> None:
        """Sends one response of a stream."""
        await self._context.write(shown(response, self.principal, self.touched))

    async def send_initial_metadata(self, metadata: Any) -> None:
        """Sends the headers of the answer."""
        await self._context.send_initial_metadata(metadata)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        """Ends the call with a status."""
        self.refused = (code, details)
        await self._context.abort(code, details, trailing_metadata)


class Guard:
    """Wraps handlers. `verifier` knows whose tokens are good, `quotas` how much callers have used today."""

    def __init__(self, verifier: Verifier, quotas: Quotas) -> None:
        self._verifier = verifier
        self._quotas = quotas

    def guarded(self, method: MethodDescriptor, handler: Handler) -> Handler:
        """A handler that is called only for callers who may call the method."""
        rule = rule_of(method)
        number = class_of(method, rule.reads)

        async def guarded(request: Any, context: Context) -> Any:
            call = GuardedContext(context, rule)
            try:
                call.principal = await self._admit(call.metadata, rule)
                if isinstance(request, Message):
                    rule.admit_request(call.principal, request)
                self._quotas.admit(call.principal, number)
            except ServiceError as error:
                await abort(call, status_of(error))
            answer = await handler(request, call)
            if isinstance(answer, Message):
                try:
                    return shown(answer, call.principal, call.touched)
                except ServiceError as error:
                    await abort(call, status_of(error))
            return answer

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

    async def _admit(self, metadata: Any, rule: Rule) -> Principal:
        principal = await self._principal(metadata)
        rule.admit(principal)
        return principal

    async def _principal(self, metadata: Any) -> Principal:
        told = header(metadata, AUTHORIZATION)
        if told[: len(_BEARER)].lower() != _BEARER:
            raise Unauthenticated(
                "this call brings no token: send it as `authorization: Bearer …`; `city token` prints one", "NO_TOKEN"
            )
        token = told[len(_BEARER) :].strip()
        return self._verifier.known(token) or await self._verifier.verify(token)
