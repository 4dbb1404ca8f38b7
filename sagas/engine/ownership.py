"""Which sagas this process carries on: those whose streams stand in the partitions of the log that it works on.

Any process may append an event that it heard to a saga, with what follows from it. The process that owns the saga's partition
sends the commands and sets the timers; it learns from the log what others have appended. One owner at a time saves work, and is
not needed for safety: two owners append nothing twice (the expected version decides), and send commands with the same key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from citybrain.sagas.v1 import events_pb2 as ev

from citybrain.event_store.store import Partition
from citybrain.mesh.events import type_name
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.subscriptions.groups import ServiceReadModels
from citybrain.observability.logs import logger
from citybrain.sagas.engine.exercises import saga_of
from citybrain.sagas.engine.moving import NOW, Moving, due
from citybrain.sagas.engine.records import Records

# After these nothing is to be done for a saga. Behind the end of a child stands that its parent is to be told.
_ENDED = tuple(map(type_name, (ev.SagaCompleted, ev.SagaUndone, ev.SagaTerminated, ev.ParentTold, ev.SagaUnlisted)))
_TYPES = frozenset(message.full_name for message in ev.DESCRIPTOR.message_types_by_name.values())
_LOOK_S = 1.0
_AGAIN_S = 1.0


class Carrier(Protocol):
    """The part of the runner that Ownership tells what to look at."""

    def look_at(self, saga_id: str, version: int, ended: bool) -> None:
        """A saga of this process has come to `version`. 0: the saga is this process's from now on, at whatever version."""
        ...

    def look_later(self, saga_id: str, moment: int) -> None:
        """A saga is this process's from now on, and rests until a moment of city time."""
        ...

    def let_go(self) -> None:
        """Some sagas are not this process's any more."""
        ...


@dataclass(slots=True)
class _Part:
    """A partition of this process, and up to where it was looked at; below 0: not looked at yet."""

    partition: Partition
    position: int = -1
    following: asyncio.Task[None] | None = None


class Ownership:
    """The partitions of a service's own log, shared by its processes."""

    def __init__(self, process: Process, service: str, records: Records, moving: Moving, carrier: Carrier) -> None:
        self._process = process
        self._service = service
        self._records = records
        self._moving = moving
        self._carrier = carrier
        self._log = logger(service)
        self._parts: dict[str, _Part] = {}
        # Whether the partitions of this process are known yet.
        self._shared = False
        self._leave: Callable[[], None] | None = None

    def start(self) -> None:
        """From now on sagas are taken up when their partition comes to this process, and let go of when it goes."""
        own = ServiceReadModels.of(self._process, self._service)
        self._assignment = own.assignment(f"{self._service}.carry", _TYPES)
        unwatch = self._process.activity.watch(self._at_rest)
        # Not counted as work, because it waits for ever.
        sharing = self._process.loop.create_task(self._without_end(self._share))

        def leave() -> None:
            sharing.cancel()
            for part in self._parts.values():
                _cancel(part.following)
            self._assignment.leave()
            unwatch()

        self._leave = leave

    def stop(self) -> None:
        """Lets other processes have the partitions."""
        if self._leave is not None:
            self._leave()
            self._leave = None

    def owns(self, saga_id: str) -> bool:
        """Whether a saga is this process's to carry on."""
        return self._process.engine.partition_of(self._records.stream(saga_id)) in self._parts

    def _at_rest(self) -> bool:
        return self._shared and all(part.position >= part.partition.head() for part in self._parts.values())

    async def _share(self) -> None:
        while True:
            mine = self._assignment.partitions()
            for name in self._parts.keys() - mine.keys():
                _cancel(self._parts.pop(name).following)
                self._log.info("sagas are carried on elsewhere", partition=name)
                self._carrier.let_go()
            for name in mine.keys() - self._parts.keys():
                # First it belongs to this process, then it is read: so no saga is missed between the two.
                part = self._parts[name] = _Part(mine[name])
                part.following = self._process.loop.create_task(self._without_end(self._follow, part))
            self._shared = True
            self._process.activity.changed()
            await self._assignment.changed(mine.keys(), _LOOK_S)

    async def _follow(self, part: _Part) -> None:
        """Takes up the sagas that must move, then those with new events."""
        log = part.partition
        if part.position < 0:
            part.position = await self._take_up(log)
        while True:
            page = await log.read_log(part.position, types=_TYPES)
            for event in {event.stream: event for event in page.events}.values():
                self._carrier.look_at(saga_of(event.stream), event.version, event.type in _ENDED)
            part.position = page.reached
            if part.position >= log.head():
                self._process.activity.changed()
                await log.grown(part.position)

    async def _take_up(self, log: Partition) -> int:
        """Has every saga of the partition looked at that must move, now or when it is due. Returns the position it read up to.

        The read model holds everything up to its position, and perhaps more. So its position is read first, then its rows, and
        then the log behind that position.
        """
        reached, head = await self._moving.reached(log), log.head()
        later = {saga_id: due(row) for saga_id, row in await self._moving.rows() if self._is_in(log, saga_id)}
        now: dict[str, None] = {saga_id: None for saga_id, moment in later.items() if moment == NOW}
        while reached < head:
            page = await log.read_log(reached, types=_TYPES)
            for event in page.events:
                saga_id = saga_of(event.stream)
                if event.type in _ENDED:
                    now.pop(saga_id, None)
                    later.pop(saga_id, None)
                else:
                    now[saga_id] = None
            reached = page.reached
        for saga_id in now:
            self._carrier.look_at(saga_id, 0, False)
        for saga_id in later.keys() - now.keys():
            self._carrier.look_later(saga_id, later[saga_id])
        self._log.info("sagas are carried on here", partition=log.name, taken_up=len(now), later=len(later.keys() - now.keys()))
        return reached

    def _is_in(self, partition: Partition, saga_id: str) -> bool:
        return self._process.engine.partition_of(self._records.stream(saga_id)) == partition.name

    async def _without_end(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Runs work that should never end. An error is logged, and the work begins again."""
        while True:
            try:
                await work(*arguments)
            except Exception as error:
                self._log.error("sagas are not looked after, which is tried again", again_in_s=_AGAIN_S, exc_info=error)
            await asyncio.sleep(_AGAIN_S)


def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
