"""Calls to other services: identity, request id, deadline, trace and correlation id travel with each.

A call without an answer is tried again with the same request id. If the service had done the work, it only answers again.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace

from citybrain.mesh.access.certificates import CHANNEL_OPTIONS, Files, OwnCertificate
from citybrain.mesh.access.own_tokens import OwnTokens
from citybrain.mesh.errors import CallFailed, ServiceError
from citybrain.mesh.events import message_class
from citybrain.mesh.runtime.calls_here import Metadata, answer_here
from citybrain.mesh.runtime.context import current, onward_metadata
from citybrain.mesh.runtime.server import GrpcServer, find_method
from citybrain.observability import names
from citybrain.observability.metrics import Metrics
from citybrain.observability.tracing import CurrentSpan, Tracing, ended_with

DEFAULT_DEADLINE_S = 5.0
Ask = Callable[[Message, Metadata, float], Awaitable[Message]]
_FIRST_PAUSE_S = 0.02
# A channel with an older certificate is closed when its calls have ended: they all have a deadline.
_GRACE_S = 3600.0
# How long another service may take to say whether it is ready.
_ASK_S = 1.0
# Texts of gRPC for a message, or metadata, that is larger than this side takes.
_TOO_LARGE = ("message larger than max", "metadata size exceeds")
# CANCELLED too: a server that stops cancels calls that reach it before we know that it stops. If our own caller has cancelled,
# `remaining` raises.
_TRANSIENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def _code(error: grpc.aio.AioRpcError) -> grpc.StatusCode:
    """The code of a failed call. gRPC gives too large messages the code of an overloaded service; here they get their own."""
    told = error.details() or ""
    is_too_large = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and any(size in told for size in _TOO_LARGE)
    return grpc.StatusCode.OUT_OF_RANGE if is_too_large else error.code()


async def _over_the_network(stub: Any, request: Message, metadata: Metadata, timeout_s: float) -> Message:
    try:
        response: Message = await stub(request, timeout=timeout_s, metadata=metadata)
        return response
    except grpc.aio.AioRpcError as error:
        code = _code(error)
        raise CallFailed(code, error.details() or code.name) from None


class Outgoing:
    """Channels to the other services, opened on first use, and anew when our certificate is renewed.

    `addresses` is gRPC service → host:port.
    """

    def __init__(
        self,
        tracing: Tracing,
        tokens: OwnTokens,
        own: OwnCertificate | None = None,
        elsewhere: Callable[[str], str | None] = lambda _: None,
        *,
        metrics: Metrics | None = None,
    ) -> None:
        """`own`: with it services are called by TLS, and must show a certificate of our authorities.

        `elsewhere`: finds a service that no address is known of, each time it is called. `metrics` counts the calls.
        """
        self.tokens = tokens
        self.addresses: dict[str, str] = {}
        self._tracing = tracing
        self._metrics = metrics or Metrics()
        self._own = own
        self._elsewhere = elsewhere
        # Each with what our certificate was when it was opened.
        self._channels: dict[str, tuple[grpc.aio.Channel, Files | None]] = {}
        self._closing: dict[grpc.aio.Channel, asyncio.Task[None]] = {}
        self._stubs: dict[str, tuple[grpc.aio.Channel, Any]] = {}
        # The address of this process, and its server.
        self._here: tuple[str, GrpcServer] | None = None

    async def call(
        self,
        caller: str,
        path: str,
        request: Message,
        *,
        request_id: str = "",
        deadline_s: float | None = None,
        retry: bool = True,
    ) -> Message:
        """Calls `package.Service/Method` and returns its response; raises CallFailed with the status.

        `deadline_s`: in machine time; never longer than the current call has left. `retry`: tries again within this time while
        the service is unavailable; a caller with a retry rule of its own says False.
        """
        call = current()
        left = call.remaining()
        limit = min(x for x in (left, deadline_s, DEFAULT_DEADLINE_S if deadline_s is None else None) if x is not None)
        until = time.monotonic() + limit
        request_id = request_id or call.onward_id(path)
        tracer, here = self._tracing.tracer(caller), otel_context.get_current()
        with CurrentSpan(tracer, path, here, trace.SpanKind.CLIENT, {names.RPC_METHOD: path}) as span:
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            token = self.tokens.token(caller, call.behalf)
            metadata = onward_metadata(call, token, request_id, carrier)
            pause, begun, ended = _FIRST_PAUSE_S, time.perf_counter(), grpc.StatusCode.UNKNOWN
            try:
                while True:
                    # Asked for anew each time: the channel of the last try may be closed by now.
                    ask = self._asking(path, type(request))
                    try:
                        answer = await ask(request, metadata, max(0.001, until - time.monotonic()))
                        ended = grpc.StatusCode.OK
                        return answer
                    except CallFailed as error:
                        if retry and error.code in _TRANSIENT and time.monotonic() + pause < until:
                            call.remaining()  # nobody waits any more: Cancelled
                            span.add_event(names.RETRY, {names.ERROR: error.code.name})
                            await asyncio.sleep(pause)
                            pause *= 2
                            continue
                        raise
            except ServiceError as error:
                # The answer of the service, or that nobody waits any more.
                ended = error.code
                raise
            except asyncio.CancelledError:
                ended = grpc.StatusCode.CANCELLED
                raise
            finally:
                ended_with(span, ended, asked=True)
                self._metrics.of(caller).has_called(path, ended.name, time.perf_counter() - begun)

    async def unreachable(self, service: str) -> str:
        """Why another service cannot be called; empty: it answers, and says that it is ready."""
        try:
            stub: Any = HealthStub(self._channel(service))
            address = self._address(service)
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=_ASK_S)
        except CallFailed as error:
            return str(error)
        except grpc.aio.AioRpcError as error:
            # A service that is not built with this kit may have no health checks: it answered.
            answered = error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)
            return "" if answered else f"does not answer at {address}: {error.details() or error.code().name}"
        ready = answer.status == health_pb2.HealthCheckResponse.SERVING
        return "" if ready else f"answers at {address}, and says that it is not ready"

    async def close(self) -> None:
        """Closes every channel."""
        for channel, task in list(self._closing.items()):
            task.cancel()
            await channel.close(None)
        for channel, _ in self._channels.values():
            await channel.close(None)

    def serves(self, address: str, server: GrpcServer) -> None:
        """From now on services at this address are called in this process, by the handlers of its server, while it serves."""
        self._here = address, server

    def _asking(self, path: str, request: type[Message]) -> Ask:
        """What asks a method. CallFailed: its service has no known address."""
        service, _, method = path.partition("/")
        if self._here is not None and self._here[1].has(service, method) and self._address(service) == self._here[0]:
            return functools.partial(answer_here, self._here[1].handler(service, method))
        return functools.partial(_over_the_network, self._stub(path, request))

    def _stub(self, path: str, request: type[Message]) -> Any:
        """The stub of a method, kept for the next call. CallFailed: its service has no known address."""
        service, _, method = path.partition("/")
        channel = self._channel(service)
        found = self._stubs.get(path)
        if found is None or found[0] is not channel:
            answer = message_class(find_method(service, method).output_type.full_name)
            found = self._stubs[path] = (
                channel,
                channel.unary_unary(
                    f"/{path}", request_serializer=request.SerializeToString, response_deserializer=answer.FromString
                ),
            )
        return found[1]

    def _address(self, service: str) -> str:
        address = self.addresses.get(service) or self._elsewhere(service)
        if address is None:
            raise CallFailed(grpc.StatusCode.UNAVAILABLE, f"{service} runs nowhere this process knows of")
        return address

    def _channel(self, service: str) -> grpc.aio.Channel:
        address = self._address(service)
        files = self._own.current() if self._own is not None else None
        found = self._channels.get(address)
        if found is not None and found[1] is files:
            return found[0]
        channel = self._open(address, files)
        self._channels[address] = channel, files
        if found is not None:
            self._let_end(found[0])
        return channel

    @staticmethod
    def _open(address: str, files: Files | None) -> grpc.aio.Channel:
        # A lost service is tried again soon: an emergency cannot wait for gRPC's back-off of up to minutes.
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 500)]
        if files is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, files.for_channels(), options=[*options, *CHANNEL_OPTIONS])

    def _let_end(self, channel: grpc.aio.Channel) -> None:
        task = asyncio.ensure_future(channel.close(_GRACE_S))
        self._closing[channel] = task
        task.add_done_callback(lambda _: self._closing.pop(channel, None))
