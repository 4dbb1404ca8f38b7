"""Processes that write to real streams, and what each was told, kept here: outside of everything that is killed."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path

from citybrain.event_store.cassandra.session import Place
from citybrain.event_store.kafka.cluster import Cluster

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Record:
    """What was told, by event id: stream and version; and what was begun and never answered."""

    # Why nothing more will be told: a writer ended that nobody had ended.
    wrong: str = ""
    told: dict[str, tuple[str, int]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)

    def hear(self, name: str, stream: str, version: int) -> None:
        """A line of a writer."""
        if version:
            self.unknown.discard(name)
            self.told[name] = (stream, version)
        else:
            self.unknown.add(name)

    async def more(self, appends: int) -> None:
        """Waits until so many more were acknowledged."""
        wanted = len(self.told) + appends
        while len(self.told) < wanted:
            assert not self.wrong, self.wrong
            await asyncio.sleep(0.02)


class Child:
    """A process with some writers. `await Child.start(…)`; it must be ended, one way or the other."""

    _numbers = itertools.count()

    def __init__(self, process: Process, record: Record) -> None:
        self._process = process
        self._record = record
        self.up = asyncio.Event()
        self._ended = False
        self.hearing = asyncio.ensure_future(self._listen())

    @classmethod
    async def start(cls, where: Place, cluster: Cluster, record: Record, writers: int) -> Child:
        """Begins to start it; `up` is set when it writes."""
        place = (where.addresses, where.keyspace, cluster.addresses, cluster.prefix)
        command = ["-W", "ignore", "-m", "tests.faults.engines.writer_process", *place, f"p{next(cls._numbers)}", str(writers)]
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE, cwd=ROOT)
        return cls(process, record)

    async def ready(self) -> None:
        """Waits until it writes."""
        await self.up.wait()
        assert not self._record.wrong, self._record.wrong

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL; what it had said is heard."""
        self._ended = True
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self.hearing

    async def stop(self) -> None:
        """Lets it finish what it began; it must end well."""
        assert self._process.stdin is not None
        self._ended = True
        self._process.stdin.write(b"stop\n")
        await self.hearing
        assert await self._process.wait() == 0

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if not line.endswith(b"\n"):
                # It was killed in the middle of a word.
                break
            name, stream, version = json.loads(line)
            if name:
                self._record.hear(name, stream, version)
            else:
                self.up.set()
        if not self._ended:
            self._record.wrong = f"a writer ended by itself, with code {await self._process.wait()}"
            # Whoever waits for it goes on, and is told.
            self.up.set()
