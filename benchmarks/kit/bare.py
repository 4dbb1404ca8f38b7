"""The peer of the kit: the same two calls on bare grpc.aio, and the same commit on bare SQLite with one writer thread.

`python -m benchmarks.kit.bare DATABASE` says on standard output where it answers, and stops when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import sys
import threading
import uuid
from typing import Any

import grpc.aio
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceServicer, add_TrafficServiceServicer_to_server
from typing_extensions import override

_SCHEMA = """
CREATE TABLE events (position INTEGER PRIMARY KEY, stream TEXT, version INTEGER, id TEXT, data BLOB,
  UNIQUE (stream, version), UNIQUE (stream, id));
"""
_MOST_AT_ONCE = 64


class Writer:
    """Takes all waiting events into one transaction, and answers them after the commit."""

    def __init__(self, path: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[tuple[str, int, str, bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)
        threading.Thread(target=self._write, daemon=True).start()

    def append(self, stream: str, version: int, data: bytes) -> asyncio.Future[None]:
        """A future that is done when the event is durable."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.put((stream, version, str(uuid.uuid4()), data, done))
        return done

    def _write(self) -> None:
        while True:
            group = [self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get())
            self._database.execute("BEGIN IMMEDIATE")
            rows = [item[:4] for item in group]
            self._database.executemany("INSERT INTO events (stream, version, id, data) VALUES (?, ?, ?, ?)", rows)
            self._database.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._answer, group)

    @staticmethod
    def _answer(group: list[Any]) -> None:
        for item in group:
            if not item[4].done():
                item[4].set_result(None)


class Servicer(TrafficServiceServicer):
    """The two calls, with as many at once as the kit admits."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        self._versions: dict[str, int] = {}

    @override
    async def GetSignal(self, request: pb.GetSignalRequest, context: Any) -> pb.GetSignalResponse:
        """Answers."""
        async with self._slots:
            return pb.GetSignalResponse(held_for=request.signal_id)

    @override
    async def ReportSignal(self, request: pb.ReportSignalRequest, context: Any) -> pb.ReportSignalResponse:
        """Takes the next version of the signal's stream, and appends."""
        async with self._slots:
            version = self._versions[request.signal_id] = self._versions.get(request.signal_id, 0) + 1
            event = ev.SignalReported(signal_id=request.signal_id, command_id=request.command_id, report=request.report)
            await self._writer.append(request.signal_id, version, event.SerializeToString())
            return pb.ReportSignalResponse()


async def main() -> None:
    """Serves until standard input ends."""
    server = grpc.aio.server()
    add_TrafficServiceServicer_to_server(Servicer(Writer(sys.argv[1])), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(json.dumps({"ready": f"127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
