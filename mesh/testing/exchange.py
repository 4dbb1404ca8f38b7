"""One call without a network. The handler sees it as gRPC's server would show it; the test holds the caller's side.

Messages are packed and unpacked as on a network, so that neither side can change what the other side holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from typing_extensions import override

from citybrain.mesh.errors import CallFailed, DeadlinePassed
from citybrain.mesh.runtime.calls_here import Aborted, ContextHere
from citybrain.mesh.testing.errors import NeverCame
from citybrain.mesh.testing.parts import greenlets

WAIT_S = 30.0
"""How long a test waits for something, unless it says otherwise: long enough for a busy machine."""
_END: Any = grpc.aio.EOF  # type: ignore[attr-defined]


class Exchange(ContextHere):
    """The context that a handler gets."""

    def __init__(self, handler: Any, metadata: list[tuple[str, str]], deadline_s: float | None) -> None:
        self._handler = handler
        super().__init__(metadata, None if deadline_s is None else time.monotonic() + deadline_s)
        self._expired = False
        self._requests: asyncio.Queue[Message] = asyncio.Queue()
        # One at a time: the method that writes waits for a caller that does not read.
        self._responses: asyncio.Queue[Message] = asyncio.Queue(1)
        self._gone = asyncio.Event()

    # -- the handler's side -----------------------------------------------------------------------------------------------

    async def read(self) -> Any:
        """The next request of a stream."""
        return await self._requests.get()

    async def write(self, response: Message) -> None:
        """Sends one response of a stream. Fails, as gRPC's method does, when the caller has gone."""
        taken, gone = (
            asyncio.ensure_future(self._responses.put(self._packed(response))),
            asyncio.ensure_future(self._gone.wait()),
        )
        await asyncio.wait([taken, gone], return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not taken.done():
            taken.cancel()
            raise ConnectionError("the caller has gone")

    async def send_initial_metadata(self, metadata: object) -> None:
        """Does nothing. It need not check for the caller: a caller that goes cancels the handler."""

    # -- the caller's side ------------------------------------------------------------------------------------------------

    async def begin(self, request: Message | None) -> None:
        """Calls the handler. None: the requests are a stream, and come by `send`."""
        handler, loop = self._handler, asyncio.get_running_loop()
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        argument = None if request is None else handler.request_deserializer(request.SerializeToString())
        self.task = loop.create_task(behaviour(argument, self))
        if (left := self.time_remaining()) is not None:
            timer = loop.call_later(left, self._expire)
            self.task.add_done_callback(lambda _: timer.cancel())

    async def send(self, requests: list[Message], last: bool) -> None:
        """Sends more requests; `last`: no others follow."""
        for request in requests:
            self._requests.put_nowait(self._handler.request_deserializer(request.SerializeToString()))
        if last:
            self._requests.put_nowait(_END)

    async def answer(self) -> Message:
        """The one response; raises the method's own error, or DeadlinePassed."""
        await asyncio.wait([self.task])
        return self._packed(self._result())

    async def receive(self) -> Message | None:
        """The next response; None at the end."""
        if self._responses.empty() and not self.task.done():
            coming = asyncio.ensure_future(self._responses.get())
            await asyncio.wait([coming, self.task], timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                return coming.result()
            coming.cancel()
        if not self._responses.empty():
            return self._responses.get_nowait()
        if not self.task.done():
            raise NeverCame(f"the stream said nothing for {WAIT_S:g} s, and did not end")
        self._result()
        return None

    async def cancel(self) -> None:
        """Cancels the call, as a caller that goes."""
        self._gone.set()
        self.task.cancel()
        await asyncio.wait([self.task])

    def _expire(self) -> None:
        self._expired = True
        self._gone.set()
        self.task.cancel()

    def _result(self) -> Any:
        try:
            return self.task.result()
        except asyncio.CancelledError:
            if self._expired:
                raise DeadlinePassed("the deadline passed before the work was done") from None
            raise CallFailed(grpc.StatusCode.CANCELLED, "the caller has gone") from None
        except Aborted as told:
            error = told.__context__
            raise error if isinstance(error, Exception) else CallFailed(told.code, str(told)) from None

    def _packed(self, response: Message) -> Message:
        packed = self._handler.response_serializer(response)
        return type(response).FromString(packed)


class Stream(Iterator[Any]):
    """The caller's side of a call that streams: iterate the responses, `send` requests, `end` them, `cancel`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @override
    def __next__(self) -> Any:
        response = greenlets().do(self._exchange.receive())
        if response is None:
            raise StopIteration
        return response

    def send(self, *requests: Message) -> None:
        """Sends more requests to a method that reads a stream of them."""
        greenlets().do(self._exchange.send(list(requests), last=False))

    def end(self) -> None:
        """Says that there are no more requests."""
        greenlets().do(self._exchange.send([], last=True))

    def answer(self) -> Any:
        """The one response of a method that only reads a stream."""
        self.end()
        return greenlets().do(self._exchange.answer())

    def cancel(self) -> None:
        """Cancels the call: the next wait in the method raises."""
        greenlets().do(self._exchange.cancel())

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cancel()
