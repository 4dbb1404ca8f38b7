"""The engine that keeps a process's events and read models: its port, and how the configured one is opened.

An engine is one class that inherits from `Engine` and has a name (mesh/settings/engines.py). How it differs from others is said
by its `features`; no other module asks for its name.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from typing_extensions import override

from citybrain.event_store.keys import KeyStore
from citybrain.event_store.quotas import QuotaBook
from citybrain.event_store.read_models import ReadModels
from citybrain.event_store.readings import ReadingsLog
from citybrain.event_store.requests import RequestBook
from citybrain.event_store.snapshots import Snapshots
from citybrain.event_store.store import EventStore, Partition, StoreError
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.settings.engines import EngineFeatures, features_of, load_engine
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.storage.leadership import Lead

if TYPE_CHECKING:
    from citybrain.event_store.distributed.verifying import Verdict


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

    features: ClassVar[EngineFeatures]
    """How it differs from others. The module of the class imports no driver: features are read where nothing is opened."""

    store: EventStore
    """The events."""

    keys: KeyStore
    """The keys of persons."""

    @classmethod
    async def open(cls, settings: Settings, manifests: Sequence[Manifest]) -> Engine:
        """Opens the engine for some services, inside the running event loop. Missing files or tables are made.

        StoreError: it cannot be opened. OSError: the keys of persons cannot be used.
        """
        ...

    @classmethod
    def missing(cls, settings: Settings) -> str:
        """Why a command finds no city to open here, and what to do about it. Empty: there may be one."""
        return ""

    @property
    def snapshots(self) -> Snapshots:
        """States of streams."""
        ...

    @property
    def readings(self) -> ReadingsLog:
        """Batches of readings. To be used inside the running event loop."""
        ...

    @property
    def requests(self) -> RequestBook:
        """What request ids are bound to. To be used inside the running event loop."""
        ...

    @property
    def quotas(self) -> QuotaBook:
        """What consumers have used on a day. To be used inside the running event loop."""
        ...

    look_s: float
    """How often a process looks whether others have changed rows, in seconds."""

    def models(self, service: str) -> ReadModels:
        """The read models of a service that runs in this process."""
        ...

    def lead(self, service: str) -> Lead:
        """The lead of a service."""
        ...

    def assignment(self, group: str, types: Collection[str] | None, lead: Lead) -> Assignment:
        """The partitions that this process works on for a group; types None: of all types. `lead`: of the group's service."""
        ...

    def partition_of(self, stream: str) -> str:
        """The name of the partition that holds a stream."""
        ...

    async def up_to_now(self) -> None:
        """Returns when everything that is in the log now is known in this process."""
        ...

    async def know_all(self) -> None:
        """Makes the partitions of every service's events known here, also of services that run and are written elsewhere.

        StoreError: they cannot be found now. An engine whose partitions are all known has nothing to do.
        """
        return None

    async def verify(self, repair: bool) -> Verdict:
        """Compares log and streams of the whole city; `repair`: publishes what is missing in the log."""
        raise StoreError("log and streams of this engine are one, so there is nothing to compare")

    async def close(self) -> None:
        """Finishes accepted work, then closes."""
        ...


def engine_named(name: str) -> type[Engine]:
    """The class of an engine; StoreError if there is none of this name, or it cannot be used."""
    engine: type[Engine] = load_engine(name)
    if Engine not in getattr(engine, "__mro__", ()):
        raise StoreError(f"the engine {name} is no class that inherits from {Engine.__module__}.Engine")
    return engine


async def open_engine(settings: Settings, manifests: Sequence[Manifest]) -> Engine:
    """Opens the configured engine. StoreError: it cannot be opened. OSError: the keys of persons cannot be used."""
    if settings.peers and not features_of(settings.store).store.several_processes:
        raise StoreError(
            f"the engine {settings.store} is for one process, and peers names services in others, which would never hear "
            "what happens in this one: run all services in this process, or choose another engine"
        )
    return await engine_named(settings.store).open(settings, manifests)


class AllOrNothing(Assignment):
    """The assignment of an engine of one partition: the leader of a service works on the whole log, for all of its groups."""

    def __init__(self, store: EventStore, leadership: Lead) -> None:
        self._all = {partition.name: partition for partition in store.partitions()}
        self._leadership = leadership
        self._gained: asyncio.Task[None] | None = None

    @override
    def partitions(self) -> Mapping[str, Partition]:
        if self._gained is None or (self._gained.done() and not self._leadership.leads):
            # Takes a free lead at once: until it is known which process leads, no process is at rest.
            with contextlib.suppress(OSError):
                self._leadership.take()
            self._gained = asyncio.ensure_future(self._leadership.gained())
        return self._all if self._leadership.leads else {}

    @override
    async def changed(self, known: Collection[str], timeout_s: float) -> None:
        """Nearly always a leader stays the leader until it ends, so it need not be woken."""
        if not known and self._gained is not None and not self._gained.done():
            await asyncio.wait([self._gained], timeout=timeout_s)
        else:
            await asyncio.sleep(timeout_s)

    @override
    def leave(self) -> None:
        if self._gained is not None:
            self._gained.cancel()
