"""Request ids on a real Cassandra."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from citybrain.event_store.cassandra.requests import CassandraRequests
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.requests import RequestBook
from tests.contract.requests import DAY_S, RequestBookContract


class TestRequests(RequestBookContract):
    """ES-15."""

    features = DistributedEventStore.features

    @pytest.fixture(autouse=True)
    def _on(self, place: Place) -> None:
        self.place = place

    @asynccontextmanager
    @override
    async def requests(self, folder: Path, kept_s: int = DAY_S) -> AsyncIterator[RequestBook]:
        asked = await Asked.open(self.place)
        try:
            book = await CassandraRequests.on(asked, self.place.keyspace, kept_s)
            yield book
            book.close()
        finally:
            asked.close()
