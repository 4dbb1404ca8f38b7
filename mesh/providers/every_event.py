"""A read model of every event of the log, whatever its type, also of services that run and are written elsewhere."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from google.protobuf.message import DecodeError
from typing_extensions import override

from citybrain.event_store.store import StoredEvent, StoreError
from citybrain.mesh.events import message_class
from citybrain.mesh.providers.views import View
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.subscriptions.generations import table
from citybrain.mesh.subscriptions.groups import GroupMember, Part
from citybrain.observability.logs import logger

R = TypeVar("R")
# How often it looks for services that have published for the first time.
_SERVICES_S = 60.0
_CONTRACT = re.compile(r"(citybrain\.[a-z0-9_]+\.v\d+)\.\w+")


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it stands in the log. `unreadable`: its bytes are no message of its type, though its contract is known."""

    stored: StoredEvent
    unreadable: bool


class EveryEvent(View[R]):
    """A read model of all events; `apply(row, event)` gets each as `Recorded`. It is folded about a second behind the log.

    A row is of one type in one partition of the log, so members on several partitions never change the same row. Rest does not
    wait for it.
    """

    rests = False
    pause_s = 1.0

    def __init__(self, apply: Callable[[R | None, Recorded], R], *, row: type[R]) -> None:
        super().__init__((), _type, cast(Any, apply), row=row)

    @override
    def setup(self) -> None:
        super().setup()
        wait(self._know_all())
        self._known = self._names()

    @property
    def driven(self) -> bool:
        """Whether city time is driven, so that it has nothing to do with the clock that events are recorded by."""
        return self._process.settings.time == "driven"

    @override
    def _member_of(self, generation: int) -> GroupMember:
        return GroupMember(self._process, self._service, table(self._group, generation), None)

    @override
    async def _keyed(self, part: Part, events: Sequence[StoredEvent]) -> list[tuple[str, Any]]:
        where = f"@{part.partition.name}" if part.partition.name else ""
        return [(event.type + where, Recorded(event, _unreadable(event))) for event in events]

    @override
    async def _look(self) -> None:
        await super()._look()
        if time.monotonic() < self._know_at:
            return
        await self._know_all()
        names = self._names()
        if names != self._known:
            self._known = names
            self._join_again()

    def _join_again(self) -> None:
        """Works on the partitions that are known now."""
        self.member.leave()
        self.member = self._member_of(self._live)
        self._follow()
        if self.builder is not None:
            # The next look makes another, which goes on where this one stopped.
            self.builder.leave()
            self.builder = None

    async def _know_all(self) -> None:
        self._know_at = time.monotonic() + _SERVICES_S
        try:
            await self._process.engine.know_all()
        except StoreError as error:
            logger(self._service).error("services that publish are not all known", exc_info=error)

    def _names(self) -> frozenset[str]:
        return frozenset(partition.name for partition in self._process.store.partitions())


def _type(event: Any) -> str:
    return str(event.stored.type)


def _unreadable(event: StoredEvent) -> bool:
    try:
        message_class(event.type).FromString(event.data)
    except KeyError:
        if _load(event.type):
            return _unreadable(event)
    except DecodeError:
        return True
    return False


# Types whose contract is not known here.
_unknown: set[str] = set()


def _load(name: str) -> bool:
    """Loads the contract of a type of events: this process may run none of the services that use it. False: there is none."""
    package = _CONTRACT.fullmatch(name)
    if package is None or name in _unknown:
        return False
    try:
        importlib.import_module(f"{package[1]}.events_pb2")
        message_class(name)
    except (ImportError, KeyError):
        _unknown.add(name)
        return False
    return True
