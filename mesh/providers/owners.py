"""Work that one process of a service does at a time: that of a key, by whoever has the key's partition of the log.

Any process may be told something. It does the work itself if the key is its own, and passes it on if not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from citybrain.event_store.readings import PASSED
from citybrain.mesh.events import type_name
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.context import refuse_in_exercise
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.nameko import DependencyProvider
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.storage.engine import Assignment
from citybrain.mesh.subscriptions.groups import ServiceReadModels

M = TypeVar("M", bound=Message)


class Owner(DependencyProvider, Generic[M]):  # type: ignore[misc]
    """Which process does the work of which key: `areas = Owner(Area, of="control-area", key=lambda area: area.area_id)`.

    `passed`: the message that is passed on. `of`: the kind of streams whose partitions decide; without it whoever leads the
    service does all. `key`: the key of a message. Who has a key may change at any moment, and for a moment two may have it:
    what is appended is decided by the expected version, as always.
    """

    container: Container

    def __init__(self, passed: type[M], *, of: str = "", key: Callable[[M], str] = lambda message: "") -> None:
        self.passed = passed
        self.key = key
        self.of = of

    def setup(self) -> None:
        """Finds the log."""
        self._process: Process = self.container.process
        self._service = self.container.manifest.name
        self._models = ServiceReadModels.of(self._process, self._service)
        self._assignment: Assignment | None = None

    def start(self) -> None:
        """Takes a share of the partitions of the service's events."""
        if self.of:
            types = frozenset(self.container.manifest.publishes)
            self._assignment = self._models.assignment(f"{self._service}.{self.attr_name}", types)

    def stop(self) -> None:
        """Lets other processes have them."""
        if self._assignment is not None:
            self._assignment.leave()

    kill = stop

    def get_dependency(self, worker_ctx: Any) -> Owner[M]:
        """The provider itself: it holds nothing of a call."""
        return self

    @property
    def topic(self) -> str:
        """What is passed on stands here."""
        return f"{type_name(self.passed)}{PASSED}"

    def here(self, key: str) -> bool:
        """Whether this process does the work of a key now."""
        if self._assignment is None:
            return self._models.leadership.take()
        return self._process.engine.partition_of(f"{self._service}/{self.of}-{key}") in self._assignment.partitions()

    def give(self, message: M, work: Callable[[M], None]) -> None:
        """Does the work now if the message's key is of this process; else passes the message on, and returns when that is kept.

        It is passed on once: what its owner has not read within seconds is left out. LimitExceeded: it is over 1 MiB.
        """
        if self.here(self.key(message)):
            work(message)
        else:
            refuse_in_exercise("what is observed comes from the city alone")
            wait(self._process.engine.readings.put(self.topic, self._process.clock.now(), message.SerializeToString()))
