"""Calls of services that run in this process: as over the network, without the network.

The handler is the one that gRPC calls, with the guard before it: tokens, scopes, quotas, audit and metrics are the same. The
request and the answer are packed and read again, so that neither side can change what the other holds.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message

from citybrain.mesh.errors import CallFailed

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The most that a request or an answer may have, here as over the network."""

Metadata = Sequence[tuple[str, str | bytes]]


class Aborted(Exception):
    """The handler has ended the call with a status."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code


class ContextHere:
    """The context that a handler gets. `until`: the caller's deadline by the machine's clock; None: there is none."""

    def __init__(self, metadata: Metadata, until: float | None) -> None:
        self._metadata = metadata
        self._until = until

    def invocation_metadata(self) -> Metadata:
        """The metadata of the call."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline."""
        return None if self._until is None else self._until - time.monotonic()

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: object = ()) -> NoReturn:
        """Ends the call with a status."""
        raise Aborted(code, details)


async def answer_here(handler: Any, request: Message, metadata: Metadata, timeout_s: float) -> Message:
    """The answer of a unary method in this process; raises CallFailed with the status, as a call over the network.

    `handler`: as gRPC has it. If the caller is cancelled, the work is, too.
    """
    context = ContextHere(metadata, time.monotonic() + timeout_s)
    asked = handler.request_deserializer(_packed(request, "the request"))
    # In a context of its own, as a call from elsewhere: nothing of the caller's work goes with it but its metadata.
    work = asyncio.get_running_loop().create_task(handler.unary_unary(asked, context), context=contextvars.Context())
    work.add_done_callback(_seen)
    try:
        done, _ = await asyncio.wait([work], timeout=timeout_s)
    except asyncio.CancelledError:
        work.cancel()
        raise
    if not done:
        # As over the network, the caller does not wait until the work has ended.
        work.cancel()
        raise CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    if work.cancelled():
        raise CallFailed(grpc.StatusCode.CANCELLED, "the service has ended the call")
    try:
        response: Message = work.result()
    except Aborted as told:
        raise CallFailed(told.code, str(told)) from None
    except Exception as error:
        # The service has logged it. Its text may hold what is not for the caller.
        raise CallFailed(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error).__name__}") from None
    return type(response).FromString(_packed(response, "the answer"))


def _seen(work: asyncio.Task[Any]) -> None:
    """Nobody waits any more for work that has gone on after its deadline: how it ended is no news."""
    if not work.cancelled():
        work.exception()


def _packed(message: Message, what: str) -> bytes:
    data = message.SerializeToString()
    if len(data) > MAX_MESSAGE_BYTES:
        raise CallFailed(
            grpc.StatusCode.OUT_OF_RANGE,
            f"{what} is larger than max: {len(data)} bytes, of at most {MAX_MESSAGE_BYTES}; ask for less",
        )
    return data
