"""Snapshots on a real Cassandra."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.cassandra.snapshots import CassandraSnapshots
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.snapshots import Snapshots
from tests.contract.snapshots import SnapshotsContract


class TestSnapshots(SnapshotsContract):
    """ES-10: what is kept."""

    features = DistributedEventStore.features

    @pytest.fixture(autouse=True)
    def _on(self, place: Place) -> None:
        self.place = place

    @asynccontextmanager
    @override
    async def snapshots(self, folder: Path) -> AsyncIterator[Snapshots]:
        asked = await Asked.open(self.place)
        try:
            snapshots = await CassandraSnapshots.on(asked, self.place.keyspace)
            yield snapshots
            snapshots.close()
        finally:
            asked.close()
