"""A line between a client and what it talks to, which a test can hold, cut and mend."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


class Wire:
    """A TCP proxy on the loop of the test.

    Held: nothing goes through and nothing is refused; what was sent arrives when it is mended. Cut: all connections break, and
    nobody gets a new one. Stranded: nothing more goes through the connections there are, ever, and nobody is told; new ones are
    well.
    """

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._open = asyncio.Event()
        self._open.set()
        self._cut = False
        self._ways: set[asyncio.Task[None]] = set()
        self._stranded: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self) -> str:
        """Begins; the address to talk to."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def hold(self) -> None:
        self._open.clear()

    def strand(self) -> None:
        self._stranded |= self._ways

    async def cut(self) -> None:
        self._cut = True
        for way in list(self._ways):
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    def mend(self) -> None:
        self._cut = False
        self._open.set()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.close()
            return
        await self._open.wait()
        back, forth = await asyncio.open_connection(self._host, self._port)
        for source, target in ((reader, forth), (back, writer)):
            way = asyncio.ensure_future(self._carry(source, target))
            self._ways.add(way)
            way.add_done_callback(self._ways.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while part := await source.read(65_536):
                await (asyncio.Event() if asyncio.current_task() in self._stranded else self._open).wait()
                target.write(part)
                await target.drain()
        except ConnectionError:
            pass
        finally:
            target.close()


class Line:
    """A wire in a thread of its own, for tests without a loop."""

    def __init__(self, target: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._wire = Wire(target)

    def __enter__(self) -> Line:
        self._thread.start()
        self.address = self._do(self._wire.listen())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._do(self._wire.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def hold(self) -> None:
        self._loop.call_soon_threadsafe(self._wire.hold)

    def strand(self) -> None:
        self._loop.call_soon_threadsafe(self._wire.strand)

    def cut(self) -> None:
        self._do(self._wire.cut())

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._wire.mend)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
