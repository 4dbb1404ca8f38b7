"""The embedded engine: SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from citybrain.event_store.keys import KeyStore
from citybrain.event_store.quotas import QuotaBook
from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.readings import ReadingsLog
from citybrain.event_store.requests import RequestBook
from citybrain.event_store.snapshots import Snapshots
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.sqlite.keys import SqliteKeys
from citybrain.event_store.sqlite.quotas import SqliteQuotas
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.sqlite.readings import SqliteReadings
from citybrain.event_store.sqlite.requests import SqliteRequests
from citybrain.event_store.sqlite.snapshots import SqliteSnapshots
from citybrain.event_store.store import EventStore
from tests.contract.keys import KeyStoreContract, MasterKeyContract
from tests.contract.limits import LimitsContract
from tests.contract.log import LogContract
from tests.contract.machine import MachineContract
from tests.contract.quotas import QuotaBookContract
from tests.contract.read_models import ReadModelsContract
from tests.contract.readings import ReadingsContract
from tests.contract.requests import DAY_S, RequestBookContract
from tests.contract.snapshots import SnapshotsContract
from tests.contract.store import EventStoreContract


class Embedded:
    """Joins the suites."""

    features = SqliteEventStore.features

    @asynccontextmanager
    async def store(self, folder: Path) -> AsyncIterator[EventStore]:
        """One file."""
        store = SqliteEventStore(folder / "events.db")
        try:
            yield store
        finally:
            store.close()

    @asynccontextmanager
    async def models(self, folder: Path) -> AsyncIterator[ReadModels]:
        """Another file."""
        models = SqliteReadModels(folder / "views.db")
        try:
            yield models
        finally:
            models.close()

    def keys(self, folder: Path) -> AbstractAsyncContextManager[KeyStore]:
        """A third."""
        return self.keys_under(folder, b"m" * 32)

    @asynccontextmanager
    async def keys_under(self, folder: Path, master: bytes, *others: bytes) -> AsyncIterator[KeyStore]:
        """The same, with some master keys."""
        keys = SqliteKeys(folder / "keys" / "keys.db", master, others)
        try:
            yield keys
        finally:
            keys.close()

    @asynccontextmanager
    async def snapshots(self, folder: Path) -> AsyncIterator[Snapshots]:
        """A fourth."""
        snapshots = SqliteSnapshots(folder / "snapshots.db")
        try:
            yield snapshots
        finally:
            snapshots.close()

    @asynccontextmanager
    async def readings(self, folder: Path) -> AsyncIterator[ReadingsLog]:
        """A ring in a fifth."""
        ring = SqliteReadings(folder / "readings.db")
        try:
            yield ring
        finally:
            ring.close()

    @asynccontextmanager
    async def requests(self, folder: Path, kept_s: int = DAY_S) -> AsyncIterator[RequestBook]:
        """A sixth."""
        book = SqliteRequests(folder / "requests.db", kept_s)
        try:
            yield book
        finally:
            book.close()

    @asynccontextmanager
    async def quotas(self, folder: Path) -> AsyncIterator[QuotaBook]:
        """A seventh."""
        book = SqliteQuotas(folder / "quotas.db")
        try:
            yield book
        finally:
            book.close()


class TestStore(Embedded, EventStoreContract):
    """ES-1 … ES-5, ES-13."""


class TestLimits(Embedded, LimitsContract):
    """ES-14."""


class TestReadModels(Embedded, ReadModelsContract):
    """ES-7, ES-8: what is kept."""


class TestKeys(Embedded, KeyStoreContract, MasterKeyContract):
    """ES-12: keys."""


class TestSnapshots(Embedded, SnapshotsContract):
    """ES-10: what is kept."""


class TestRequests(Embedded, RequestBookContract):
    """ES-15."""


class TestQuotas(Embedded, QuotaBookContract):
    """What consumers have used."""


class TestLog(Embedded, LogContract):
    """ES-6 … ES-8: what a subscription does."""


class TestMachine(Embedded, MachineContract):
    """ES-1 … ES-8, all at once."""


class TestReadings(Embedded, ReadingsContract):
    """Batches of readings."""
