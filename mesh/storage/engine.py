"""The engine that keeps a process's events and read models: files of one machine, or a cluster that many machines share."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from typing_extensions import override

from citybrain.event_store.keys import KeyStore
from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.readings import ReadingsLog
from citybrain.event_store.snapshots import Snapshots
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.sqlite.keys import SqliteKeys
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.sqlite.readings import SqliteReadings
from citybrain.event_store.sqlite.snapshots import SqliteSnapshots
from citybrain.event_store.store import EventStore, Partition
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.personal.vault import key_file
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.storage.leadership import Lead, Leadership


class Assignment(Protocol):
    """Which partitions of the log this process works on for a group; another process works on each of the others."""

    def partitions(self) -> Mapping[str, Partition]:
        """The partitions of this process now, by name."""
        ...

    async def changed(self, known: Collection[str], timeout_s: float) -> None:
        """Returns when the partitions are others than those known, or after `timeout_s`."""
        ...

    def leave(self) -> None:
        """Gives the partitions up, so that other processes may have them."""
        ...


class Engine(Protocol):
    """Opened by `open_engine`."""

    store: EventStore
    """The events."""

    keys: KeyStore
    """The keys of persons."""

    @property
    def snapshots(self) -> Snapshots:
        """States of streams."""
        ...

    @property
    def readings(self) -> ReadingsLog:
        """Batches of readings. To be used inside the running event loop."""
        ...

    look_s: float
    """How often a process looks whether others have changed rows, in seconds."""

    def models(self, service: str) -> ReadModels:
        """The read models of a service that runs in this process."""
        ...

    def lead(self, service: str) -> Lead:
        """The lead of a service."""
        ...

    def assignment(self, group: str, types: Collection[str], lead: Lead) -> Assignment:
        """The partitions that this process works on for a group. `lead`: that of the group's service."""
        ...

    def partition_of(self, stream: str) -> str:
        """The name of the partition that holds a stream."""
        ...

    async def up_to_now(self) -> None:
        """Returns when everything that is in the log now is known in this process."""
        ...

    async def close(self) -> None:
        """Finishes accepted work, then closes."""
        ...


async def open_engine(settings: Settings, manifests: Sequence[Manifest]) -> Engine:
    """Opens the configured engine. StoreError: it cannot be opened. OSError: the keys of persons cannot be used."""
    if settings.store == "distributed":
        # Imported only now: its drivers cost time and memory.
        from citybrain.mesh.storage.distributed import Distributed

        return await Distributed.open(settings, manifests)
    return Embedded(settings)


class AllOrNothing(Assignment):
    """The assignment of the embedded engine: the leader of a service works on the whole log, for all of its groups."""

    def __init__(self, store: EventStore, leadership: Lead) -> None:
        self._all = {partition.name: partition for partition in store.partitions()}
        self._leadership = leadership
        self._gained: asyncio.Task[None] | None = None

    @override
    def partitions(self) -> Mapping[str, Partition]:
        if self._gained is None:
            # Takes a free lead at once: until it is known which process leads, no process is at rest.
            with contextlib.suppress(OSError):
                self._leadership.take()
            self._gained = asyncio.ensure_future(self._leadership.gained())
        return self._all if self._leadership.leads else {}

    @override
    async def changed(self, known: Collection[str], timeout_s: float) -> None:
        """A leader stays the leader until it ends, so nothing can change for it."""
        if not known and self._gained is not None and not self._gained.done():
            await asyncio.wait([self._gained], timeout=timeout_s)
        else:
            await asyncio.sleep(timeout_s)

    @override
    def leave(self) -> None:
        if self._gained is not None:
            self._gained.cancel()


class Embedded(Engine):
    """SQLite files: one for events, one for each service's read models, one each for snapshots, readings and keys."""

    look_s = 0.02
    store: SqliteEventStore
    keys: SqliteKeys

    def __init__(self, settings: Settings) -> None:
        """To be made inside the running event loop."""
        self._data = data = settings.data
        self.keys = key_file(settings)
        self.store = SqliteEventStore(data / "events.db")

    @functools.cached_property
    @override
    def snapshots(self) -> SqliteSnapshots:
        return SqliteSnapshots(self._data / "snapshots.db")

    @functools.cached_property
    @override
    def readings(self) -> SqliteReadings:
        return SqliteReadings(self._data / "readings.db")

    @override
    def models(self, service: str) -> ReadModels:
        return SqliteReadModels(self._data / f"{service}.views.db")

    @override
    def lead(self, service: str) -> Lead:
        return Leadership(self._data / f"{service}.lead")

    @override
    def assignment(self, group: str, types: Collection[str], lead: Lead) -> Assignment:
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
        for name in ("readings", "snapshots", "keys"):
            if name in vars(self):
                vars(self)[name].close()
        self.store.close()
