"""How a call is refused: always in the same form, also if its bytes are no message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from citybrain.mesh.errors import BadRequest, shortened, status_of
from citybrain.mesh.events import message_class
from citybrain.mesh.runtime.context import REQUEST_ID, header

Context = grpc.aio.ServicerContext[Any, Any]
# What handlers get as their context differs: gRPC's own, or a guarded one.
Handler = Callable[[Any, Any], Awaitable[Any]]

_MOST_REQUEST_ID_BYTES = 200


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """Its code, as gRPC has it."""
    return next(code for code in grpc.StatusCode if code.value[0] == status.code)


async def abort(context: Any, status: status_pb2.Status) -> None:
    """Ends a call with a status; its details then also name the request id. Does not return."""
    code = code_of(status)
    if request_id := header(context.invocation_metadata(), REQUEST_ID):
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=shortened(request_id, _MOST_REQUEST_ID_BYTES)))
    trailers: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", status.SerializeToString())]
    again = error_details_pb2.RetryInfo()
    if any(detail.Unpack(again) for detail in status.details):
        # For callers in JSON, who get it as a header.
        trailers.append(("retry-after", str(again.retry_delay.seconds)))
    await context.abort(code, status.message, trailing_metadata=tuple(trailers))


class Unreadable:
    """Takes the place of a request whose bytes are no message of its contract."""

    def __init__(self, contract: str) -> None:
        self.refusal = BadRequest([("request", f"is no {contract}: its bytes cannot be read as one. Is it another version?")])


def reader(contract: str) -> Callable[[bytes], Any]:
    """A function that reads requests of a contract; it returns Unreadable for bytes that cannot be read."""
    read = message_class(contract).FromString

    def reader(data: bytes) -> Any:
        # If this raised, gRPC would answer UNKNOWN, with the name of a Python class.
        try:
            return read(data)
        except DecodeError:
            return Unreadable(contract)

    return reader


def readable(handler: Handler) -> Handler:
    """Wraps a handler: it only gets requests that could be read; others are refused."""

    async def checked(request: Any, context: Context) -> Any:
        if isinstance(request, Unreadable):
            await abort(context, status_of(request.refusal))
        return await handler(request, context)

    return checked


def readable_stream(handler: Callable[[Any, Context], AsyncIterator[Any]]) -> Callable[[Any, Context], AsyncIterator[Any]]:
    """The same for a handler that yields its answers."""

    async def checked(request: Any, context: Context) -> AsyncIterator[Any]:
        if isinstance(request, Unreadable):
            await abort(context, status_of(request.refusal))
        async for response in handler(request, context):
            yield response

    return checked


def readable_requests(handler: Callable[[Any, Context], AsyncIterator[Any]]) -> Callable[[Any, Context], AsyncIterator[Any]]:
    """The same for a handler that reads a stream of requests: those before an unreadable one are still answered."""

    async def checked(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        async def read() -> AsyncIterator[Any]:
            async for request in requests:
                if isinstance(request, Unreadable):
                    await abort(context, status_of(request.refusal))
                yield request

        async for response in handler(read(), context):
            yield response

    return checked
