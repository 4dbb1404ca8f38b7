"""A line between a client and the city that a test can cut and mend."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


class Line:
    """Carries TCP from a port of its own to an address. Cut: all connections break, and nobody gets a new one.

    Held: nothing goes through, and nobody is told.
    """

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._ways: set[asyncio.Task[None]] = set()
        self._cut = False

    def __enter__(self) -> Line:
        self._thread.start()
        self.address = self._do(self._listen())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self) -> None:
        """Breaks it."""
        self._do(self._break())

    def mend(self) -> None:
        """It carries again."""
        self._cut = False

    def hold(self) -> None:
        """Lets nothing more through the connections there are; new ones are carried."""
        self._do(self._hold())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> str:
        self._held: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _break(self) -> None:
        self._cut = True
        for way in list(self._ways):
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def _hold(self) -> None:
        self._held |= self._ways

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.close()
            return
        back, forth = await asyncio.open_connection(self._host, self._port)
        for source, target in ((reader, forth), (back, writer)):
            way = asyncio.ensure_future(self._carry(source, target))
            self._ways.add(way)
            way.add_done_callback(self._ways.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while part := await source.read(65_536):
                if asyncio.current_task() in self._held:
                    await asyncio.Event().wait()
                target.write(part)
                await target.drain()
        except ConnectionError:
            pass
        finally:
            target.close()
