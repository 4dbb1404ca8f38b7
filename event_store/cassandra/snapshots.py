"""Snapshots on Cassandra. A failed request is not repeated; of two writes at once either may win. A snapshot may be lost."""

from __future__ import annotations

import asyncio
from dataclasses import astuple
from typing import Any

from typing_extensions import override

from citybrain.event_store.cassandra.session import Asked
from citybrain.event_store.snapshots import Snapshot, Snapshots

# $ is the keyspace.
_NEWEST = "SELECT version, event_id, code, state FROM $.snapshots WHERE stream = ?"
_KEEP = "INSERT INTO $.snapshots (stream, version, event_id, code, state) VALUES (?, ?, ?, ?, ?)"


class CassandraSnapshots(Snapshots):
    """Snapshots in a migrated keyspace. The port says what the methods promise."""

    def __init__(self, asked: Asked, newest: Any, keep: Any) -> None:
        self._asked = asked
        self._newest = newest
        self._keep = keep
        self._keeping: set[asyncio.Future[None]] = set()

    @classmethod
    async def on(cls, asked: Asked, keyspace: str) -> CassandraSnapshots:
        """Prepares the statements. The caller still has to close the session."""
        newest, keep = [await asked.prepare(cql.replace("$", keyspace)) for cql in (_NEWEST, _KEEP)]
        return cls(asked, newest, keep)

    @override
    async def newest(self, stream: str) -> Snapshot | None:
        found = await self._asked.ask(self._newest, (stream,))
        return Snapshot(*found[0]) if found else None

    @override
    def keep(self, stream: str, snapshot: Snapshot) -> asyncio.Future[None]:
        keeping = asyncio.ensure_future(self._put(stream, snapshot))
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)
        return keeping

    async def _put(self, stream: str, snapshot: Snapshot) -> None:
        await self._asked.ask(self._keep, (stream, *astuple(snapshot)))

    @override
    def close(self) -> None:
        """Requests that were begun are with Cassandra already."""
