"""A door before a real Kafka that turns the first produce request away, and lets the next one through that was sent behind it.

This is what a client meets when the leader of a partition changes between two of its requests.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress

_PRODUCE = 0
_NOT_LEADER = 6


class Door:
    """A proxy on the loop of the test. Its clients take it for the broker."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._host, self._port = host, int(port)
        # Done when the first produce request has come. It gets its answer when a second one is here.
        self.first_is_here = asyncio.Event()
        self.turned_away = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> str:
        """Begins; the address to talk to."""
        self._server = await asyncio.start_server(self._connect, self._host, 0)
        self._own = self._server.sockets[0].getsockname()[1]
        return f"{self._host}:{self._own}"

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        kafka, to_kafka = await asyncio.open_connection(self._host, self._port)
        for way in (self._forth(client, to_client, to_kafka), self._back(kafka, to_client)):
            task = asyncio.ensure_future(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forth(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter, to_kafka: asyncio.StreamWriter
    ) -> None:
        held = b""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await _frame(client)
                if not self.turned_away and struct.unpack_from(">h", request)[0] == _PRODUCE:
                    self.first_is_here.set()
                    if not held:
                        held = request
                        continue
                    self.turned_away = True
                    to_client.write(_framed(_refusal(held)))
                to_kafka.write(_framed(request))
        to_kafka.close()

    async def _back(self, kafka: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        # Kafka tells its clients where it is: they are led back to this door.
        real, here = (self._host.encode() + struct.pack(">i", port) for port in (self._port, self._own))
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                to_client.write(_framed((await _frame(kafka)).replace(real, here)))
        to_client.close()


async def _frame(source: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">i", await source.readexactly(4))
    return await source.readexactly(length)


def _framed(what: bytes) -> bytes:
    return struct.pack(">i", len(what)) + what


def _refusal(request: bytes) -> bytes:
    """The answer that this broker does not lead the partition, to a produce request for one partition (versions 9 to 12)."""
    version, number, client_name = struct.unpack_from(">hih", request, 2)
    assert 9 <= version <= 12, f"produce requests of version {version} have another form: teach it to this door"
    # After the header come tags, the id of a transaction, `acks` and a limit of time.
    at = 10 + client_name + 1
    at += max(1, request[at]) + 6
    topic = request[at + 1 : at + 1 + request[at + 1]]
    (partition,) = struct.unpack_from(">i", request, at + 1 + len(topic) + 1)
    refused = struct.pack(">ihqqq", partition, _NOT_LEADER, -1, -1, -1) + b"\x01\x00\x00"
    return struct.pack(">i", number) + b"\x00\x02" + topic + b"\x02" + refused + b"\x00" + struct.pack(">i", 0) + b"\x00"
