"""Snapshots on Cassandra, asked for once: of two at once either may stay, and one that fails is missed by nobody."""

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
    """Snapshots in a keyspace that was migrated; what its methods promise is said there."""

    def __init__(self, asked: Asked, newest: Any, keep: Any) -> None:
        self._asked = asked
        self._newest = newest
        self._keep = keep
        self._keeping: set[asyncio.Future[None]] = set()

    @classmethod
    async def on(cls, asked: Asked, keyspace: str) -> CassandraSnapshots:
        """Prepares what will be asked; the session stays its opener's."""
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
        """What was begun is with Cassandra."""
