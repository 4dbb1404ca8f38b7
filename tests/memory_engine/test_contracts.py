"""An engine in memory, of another package, through the suites that ours pass. What it does not promise it says itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from citybrain.event_store.keys import KeyStore
from citybrain.event_store.quotas import QuotaBook
from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.readings import ReadingsLog
from citybrain.event_store.requests import RequestBook
from citybrain.event_store.snapshots import Snapshots
from citybrain.event_store.store import EventStore
from tests.contract.keys import KeyStoreContract
from tests.contract.limits import LimitsContract
from tests.contract.log import LogContract
from tests.contract.machine import MachineContract
from tests.contract.quotas import QuotaBookContract
from tests.contract.read_models import ReadModelsContract
from tests.contract.readings import ReadingsContract
from tests.contract.requests import DAY_S, RequestBookContract
from tests.contract.snapshots import SnapshotsContract
from tests.contract.store import EventStoreContract
from tests.memory_engine.kept import MemoryQuotas, MemoryReadings, MemoryRequests, MemorySnapshots
from tests.memory_engine.keys import MemoryKeys
from tests.memory_engine.read_models import MemoryReadModels
from tests.memory_engine.store import MemoryStore


class InMemory:
    """Joins the suites."""

    features = MemoryStore.features

    @asynccontextmanager
    async def store(self, folder: Path) -> AsyncIterator[EventStore]:
        yield MemoryStore()

    @asynccontextmanager
    async def models(self, folder: Path) -> AsyncIterator[ReadModels]:
        yield MemoryReadModels()

    @asynccontextmanager
    async def keys(self, folder: Path) -> AsyncIterator[KeyStore]:
        yield MemoryKeys()

    @asynccontextmanager
    async def snapshots(self, folder: Path) -> AsyncIterator[Snapshots]:
        yield MemorySnapshots()

    @asynccontextmanager
    async def readings(self, folder: Path) -> AsyncIterator[ReadingsLog]:
        yield MemoryReadings()

    @asynccontextmanager
    async def requests(self, folder: Path, kept_s: int = DAY_S) -> AsyncIterator[RequestBook]:
        yield MemoryRequests(kept_s)

    @asynccontextmanager
    async def quotas(self, folder: Path) -> AsyncIterator[QuotaBook]:
        yield MemoryQuotas()


class TestStore(InMemory, EventStoreContract):
    """ES-1 … ES-5, ES-13."""


class TestLimits(InMemory, LimitsContract):
    """ES-14."""


class TestReadModels(InMemory, ReadModelsContract):
    """ES-7, ES-8: what is kept."""


class TestKeys(InMemory, KeyStoreContract):
    """ES-12: keys. There is no master key, so nothing is asked about one."""


class TestSnapshots(InMemory, SnapshotsContract):
    """ES-10: what is kept."""


class TestRequests(InMemory, RequestBookContract):
    """ES-15."""


class TestQuotas(InMemory, QuotaBookContract):
    """What consumers have used."""


class TestLog(InMemory, LogContract):
    """ES-6 … ES-8: what a subscription does."""


class TestMachine(InMemory, MachineContract):
    """ES-1 … ES-8, all at once."""


class TestReadings(InMemory, ReadingsContract):
    """Batches of readings."""
