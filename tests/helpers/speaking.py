"""A process that says lines of JSON, whatever is done to it: what it had said before it was killed is heard."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Speaking:
    """A process of Python. It must be ended, one way or the other; a line on its standard input asks it to end."""

    def __init__(self, process: Process, hear: Callable[[list[Any]], None], fail: Callable[[str], None]) -> None:
        """`hear` gets each line that does not begin with nothing: that one says it is there. `fail`: it ended by itself."""
        self._process = process
        self._hear = hear
        self._fail = fail
        self._ended = False
        self._wrong = ""
        self._up = asyncio.Event()
        self._hearing = asyncio.ensure_future(self._listen())

    @staticmethod
    async def spawn(module: str, arguments: Sequence[str]) -> Process:
        """Runs a module of the tests."""
        command = ["-W", "ignore", "-m", module, *arguments]
        return await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE, cwd=ROOT)

    async def ready(self) -> None:
        """Waits until it is there."""
        await self._up.wait()
        assert not self._wrong, self._wrong

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL; what it had said is heard."""
        self._ended = True
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._hearing

    async def stop(self) -> None:
        """Lets it finish what it began; it must end well."""
        assert self._process.stdin is not None
        self._ended = True
        self._process.stdin.write(b"stop\n")
        await self._hearing
        assert await self._process.wait() == 0

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if not line.endswith(b"\n"):
                # It was killed in the middle of a word.
                break
            said = json.loads(line)
            if said[0]:
                self._hear(said)
            else:
                self._up.set()
        if not self._ended:
            self._wrong = f"a process ended by itself, with code {await self._process.wait()}"
            self._fail(self._wrong)
            # Whoever waits for it goes on, and is told.
            self._up.set()


async def asked_to_stop() -> asyncio.Future[bytes]:
    """In such a process: done when the line comes. In no thread: a process that fails would wait there for it."""
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    return asyncio.ensure_future(told.readline())


def say(line: list[Any]) -> None:
    """In such a process: says a line."""
    print(json.dumps(line), flush=True)  # noqa: T201
