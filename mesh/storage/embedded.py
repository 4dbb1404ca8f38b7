"""The engine of one machine: SQLite files."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import ClassVar

from typing_extensions import override

from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.sqlite.keys import SqliteKeys
from citybrain.event_store.sqlite.quotas import SqliteQuotas
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.sqlite.readings import SqliteReadings
from citybrain.event_store.sqlite.requests import SqliteRequests
from citybrain.event_store.sqlite.snapshots import SqliteSnapshots
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.personal.vault import keys_folder, master_secrets
from citybrain.mesh.settings.engines import EngineFeatures
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.storage.engine import AllOrNothing, Assignment, Engine
from citybrain.mesh.storage.leadership import Lead, Leadership

EVENTS = "events.db"
"""The file of streams and log, in the data folder."""


class Embedded(Engine):
    """SQLite files: one for events, one for each service's read models, one each for snapshots, readings, request ids,
    quotas and keys."""

    features: ClassVar[EngineFeatures] = EngineFeatures(
        store=SqliteEventStore.features, many_machines=False, files=True, log_apart=False, rest_is_seen=True
    )
    look_s = 0.02
    store: SqliteEventStore
    keys: SqliteKeys

    def __init__(self, settings: Settings) -> None:
        """To be made inside the running event loop."""
        self._data = data = settings.data
        self._request_ids_kept_s = settings.request_ids_kept_s
        self.keys = key_file(settings)
        self.store = SqliteEventStore(data / EVENTS)

    @classmethod
    @override
    async def open(cls, settings: Settings, manifests: Sequence[Manifest]) -> Embedded:
        return cls(settings)

    @classmethod
    @override
    def missing(cls, settings: Settings) -> str:
        if (settings.data / EVENTS).is_file():
            return ""
        return f"there are no events in {settings.data}: give the --data of the city"

    @functools.cached_property
    @override
    def snapshots(self) -> SqliteSnapshots:
        return SqliteSnapshots(self._data / "snapshots.db")

    @functools.cached_property
    @override
    def readings(self) -> SqliteReadings:
        return SqliteReadings(self._data / "readings.db")

    @functools.cached_property
    @override
    def requests(self) -> SqliteRequests:
        return SqliteRequests(self._data / "requests.db", self._request_ids_kept_s)

    @functools.cached_property
    @override
    def quotas(self) -> SqliteQuotas:
        return SqliteQuotas(self._data / "quotas.db")

    @override
    def models(self, service: str) -> ReadModels:
        return SqliteReadModels(self._data / f"{service}.views.db")

    @override
    def lead(self, service: str) -> Lead:
        return Leadership(self._data / f"{service}.lead")

    @override
    def assignment(self, group: str, types: Collection[str] | None, lead: Lead) -> Assignment:
        return AllOrNothing(self.store, lead)

    @override
    def partition_of(self, stream: str) -> str:
        """There is only one."""
        return self.store.name

    @override
    async def up_to_now(self) -> None:
        """Nothing to wait for. Events of other processes may still be missing for a few hundredths of a second."""

    @override
    async def close(self) -> None:
        # Files that were never used were not opened.
        for name in ("readings", "snapshots", "requests", "quotas", "keys"):
            if name in vars(self):
                vars(self)[name].close()
        self.store.close()


def key_file(settings: Settings) -> SqliteKeys:
    """The file of the keys of persons. Files that are not configured are made in the data folder. OSError: no usable keys."""
    return SqliteKeys(keys_folder(settings) / "keys.db", *master_secrets(settings))
