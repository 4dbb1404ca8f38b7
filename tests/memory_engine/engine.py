"""A whole engine in memory, as another package would bring one: the mesh knows it by the one line in `installed`.

It is for one process and ends with it. All of it runs on the mesh's own loop, without threads.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from typing_extensions import override

from citybrain.event_store.read_models import ReadModels
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.settings.engines import EngineFeatures
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.storage.engine import AllOrNothing, Assignment, Engine
from citybrain.mesh.storage.leadership import Lead
from tests.memory_engine.kept import MemoryQuotas, MemoryReadings, MemoryRequests, MemorySnapshots
from tests.memory_engine.keys import MemoryKeys
from tests.memory_engine.read_models import MemoryReadModels
from tests.memory_engine.store import MemoryStore


class InMemory(Engine):
    """Lists and dictionaries."""

    features: ClassVar[EngineFeatures] = EngineFeatures(
        store=MemoryStore.features, many_machines=False, files=False, log_apart=False, rest_is_seen=True
    )
    look_s = 1.0
    store: MemoryStore
    keys: MemoryKeys

    def __init__(self, settings: Settings) -> None:
        self.store = MemoryStore()
        self.keys = MemoryKeys()
        self._snapshots = MemorySnapshots()
        self._readings = MemoryReadings()
        self._requests = MemoryRequests(settings.request_ids_kept_s)
        self._quotas = MemoryQuotas()

    @classmethod
    @override
    async def open(cls, settings: Settings, manifests: Sequence[Manifest]) -> InMemory:
        return cls(settings)

    @classmethod
    @override
    def missing(cls, settings: Settings) -> str:
        return f"the engine {settings.store} is in the memory of the city's own process: no other can open it"

    @property
    @override
    def snapshots(self) -> MemorySnapshots:
        return self._snapshots

    @property
    @override
    def readings(self) -> MemoryReadings:
        return self._readings

    @property
    @override
    def requests(self) -> MemoryRequests:
        return self._requests

    @property
    @override
    def quotas(self) -> MemoryQuotas:
        return self._quotas

    @override
    def models(self, service: str) -> ReadModels:
        return MemoryReadModels()

    @override
    def lead(self, service: str) -> Lead:
        return AlwaysLeads()

    @override
    def assignment(self, group: str, types: Collection[str] | None, lead: Lead) -> Assignment:
        return AllOrNothing(self.store, lead)

    @override
    def partition_of(self, stream: str) -> str:
        return self.store.name

    @override
    async def up_to_now(self) -> None:
        """It is."""

    @override
    async def close(self) -> None:
        self.store.close()


class AlwaysLeads(Lead):
    """There is nobody else."""

    leads = True

    @override
    async def gained(self) -> None:
        """From the start."""

    @override
    def take(self) -> bool:
        return True

    @override
    def give_up(self) -> None:
        """Nobody would take it."""
