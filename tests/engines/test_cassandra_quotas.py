"""Counts of quotas on a real Cassandra."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typing_extensions import override

from citybrain.event_store.cassandra.quotas import CassandraQuotas
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.distributed.store import DistributedEventStore
from citybrain.event_store.quotas import QuotaBook
from tests.contract.quotas import LI, ONE, WANG, QuotaBookContract


class TestQuotas(QuotaBookContract):
    """What consumers have used."""

    features = DistributedEventStore.features

    @pytest.fixture(autouse=True)
    def _on(self, place: Place) -> None:
        self.place = place

    @asynccontextmanager
    @override
    async def quotas(self, folder: Path) -> AsyncIterator[QuotaBook]:
        asked = await Asked.open(self.place)
        try:
            book = await CassandraQuotas.on(asked, self.place.keyspace)
            yield book
            book.close()
        finally:
            asked.close()

    def test_a_long_list_is_read_in_pages(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("citybrain.event_store.cassandra.quotas._PAGE", 3)

        async def test(book: QuotaBook) -> None:
            # All in one partition, and pages end between the classes of a consumer.
            all_of_them = [bytes([16 * n + 1]) + b"c" * 31 for n in range(10)]
            await book.write(self.day, ONE, {(one, name): 2 for one in all_of_them for name in ("command", "read")})
            assert await book.most_used(self.day, 100) == {one: {"command": 2, "read": 2} for one in all_of_them}

        self.on_quotas(tmp_path, test)

    def test_rows_expire(self, tmp_path: Path) -> None:
        async def test(book: QuotaBook) -> None:
            await book.write(self.day, ONE, {(LI, "read"): 1, (WANG, "read"): 1})
            asked = await Asked.open(self.place)
            rows = await asked.ask(f"SELECT ttl(used) FROM {self.place.keyspace}.quotas WHERE day = {self.day} ALLOW FILTERING")
            asked.close()
            assert len(rows) == 2 and all(0 < ttl <= 2 * 86_400 for (ttl,) in rows)

        self.on_quotas(tmp_path, test)
