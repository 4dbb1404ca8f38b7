"""This process as a member of a service's consumer groups: its partitions, its checkpoints, and what is parked.

It is long because a member and its parts share what they know.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import grpc
from typing_extensions import override

from citybrain.event_store.feed import position_before
from citybrain.event_store.keys import PersonErased
from citybrain.event_store.parking import GroupMemory
from citybrain.event_store.read_models import Dropped, Kept, Parked, ReadModels, Row
from citybrain.event_store.store import LimitExceeded, LostAssignment, Partition, StoreError
from citybrain.event_store.subscription import Batch, Subscription, describe
from citybrain.mesh.errors import ServiceError
from citybrain.mesh.runtime.exercises import exercise_of
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.storage.engine import Assignment
from citybrain.mesh.storage.leadership import Lead, MayBeLost
from citybrain.mesh.upcasting import written_as
from citybrain.observability.logs import logger

Since = Literal["beginning", "now"] | datetime
"""Where a new group begins: at the first event, after the last one, or at the first that was recorded at or after a moment."""

# About ten seconds of tries: enough for services that were deployed in the wrong order.
PARK_AFTER = 8
# How often a process that has all partitions looks whether it still has them.
_ALONE_LOOK_S = 1.0
_AFTER_LOSS_S = 1.0
# For so long after a new beginning it is not known whether the subscription goes on.
_FRESH_S = 3.0
_NO_PROGRESS = (-1, 0, 0)
_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
)


def lasting(error: Exception) -> bool:
    """Whether the event (or the code) is to blame, so that trying again is no use; not a neighbour, the disk or the moment."""
    if isinstance(error, ServiceError):
        return error.code not in _PASSING
    if isinstance(error, LimitExceeded | PersonErased):
        return True
    return not isinstance(error, StoreError | OSError | TimeoutError)


class ServiceReadModels:
    """A service's read models, and the lead that decides which process folds into them."""

    def __init__(self, process: Process, service: str) -> None:
        self._engine = process.engine
        self.models: ReadModels = process.engine.models(service)
        self.leadership: Lead = MayBeLost(process.engine.lead(service), lambda: process.faults.loses_lead(service))
        process.faults.watch(lambda: self.leadership.lose() if process.faults.loses_lead(service) else None)

    @classmethod
    def of(cls, process: Process, service: str) -> ServiceReadModels:
        """The read models of a service; opened on first use."""
        if service not in process.read_models:
            process.read_models[service] = cls(process, service)
        return process.read_models[service]

    def assignment(self, group: str, types: Collection[str] | None) -> Assignment:
        """What this process works on for a group of the service."""
        return self._engine.assignment(group, types, self.leadership)

    def close(self) -> None:
        """Finishes work under way, closes the read models, and gives the lead up."""
        self.models.close()
        self.leadership.give_up()


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a group is, in the partitions that this process works on; if it works on none, in all partitions.

    `position` and `lag` (positions still to be looked at) are sums over the partitions. `catching_up`: the part of the lag that
    was there when this process began. `parked`: events that wait for a person, in this process's partitions. `failing`: the
    event that fails and is tried again, with the reason. `still_s`: for how long nothing was done though there is work.
    `restarts`: how often a subscription was begun again for that. `age_s`: how long ago the oldest event was recorded that was
    read and is not done.
    """

    leads: bool
    position: int
    lag: int
    catching_up: int
    parked: int
    failing: str
    still_s: float
    restarts: int
    age_s: float = 0.0


class Part(GroupMemory):
    """A group in one partition, while this process works on it. It is the memory of the group's subscription there."""

    def __init__(self, member: GroupMember, partition: Partition) -> None:
        self.models = member.service_models.models
        self.name = part_name(member.group, partition)
        self.partition = partition
        self.log = partition.for_group(self.models, self.name)
        self.must_reach = partition.head()
        self.epoch = 0
        self.subscription: Subscription | None = None
        self._progress = _NO_PROGRESS
        self._moved_at = time.monotonic()

    @property
    def at_rest(self) -> bool:
        """Whether nothing is left to do in the partition as it stands now."""
        return self.subscription is not None and self.subscription.at_rest

    def still_s(self) -> float:
        """Seconds since this call last found progress; 0 while there is nothing to do, or a pause before the next try."""
        now = time.monotonic()
        progress = _NO_PROGRESS if self.subscription is None else self.subscription.progress
        waits = self.at_rest or (self.subscription is not None and self.subscription.pauses)
        if progress != self._progress or waits:
            self._progress, self._moved_at = progress, now
        return now - self._moved_at

    async def save(
        self,
        batch: Batch,
        view: str = "",
        rows: Mapping[str, Row | None] | None = None,
        kept: Mapping[str, Kept] | None = None,
    ) -> None:
        """Stores a batch's checkpoint and the rows it covers. Raises what ReadModels.save raises."""
        seen = self.log.seen(batch.reached)
        await self.models.save(self.name, self.epoch, batch.reached, view, rows, batch.unparked, kept=kept, seen=seen)

    @override
    async def park(self, events: Sequence[Parked]) -> None:
        await self.models.park(self.name, self.epoch, events)

    @override
    async def parked(self) -> list[Parked]:
        return await self.models.parked(self.name)

    @override
    async def asked(self) -> int:
        return await self.models.asked(self.name)

    @override
    async def dropped(self, after: int) -> list[Dropped]:
        return await self.models.dropped(self.name, after)


class _Stalled(Exception):
    """A subscription hangs."""


PartHandle = Callable[[Part, Batch], Awaitable[None]]


class GroupMember:
    """A consumer group of a service, as one process sees it. Its name is `service.method` or `service.view.name`."""

    def __init__(
        self,
        process: Process,
        service: str,
        group: str,
        types: Collection[str] | None,
        since: Since = "beginning",
        *,
        exercises: bool = False,
    ) -> None:
        """`types`: None for every event of the log. `exercises`: those of exercises too."""
        self._process = process
        self.service_models = ServiceReadModels.of(process, service)
        self.group = group
        self.types = None if types is None else written_as(types)
        self._since = since
        self._exercises = exercises
        self._log = logger(service)
        self._failure = ""
        self._began_again = float("-inf")
        self._restarts = 0
        self.keeps_place = False
        """Whether the checkpoint is stored also after a page without events for the group, for others to see."""
        self._parts: dict[str, Part] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # The names of this process's partitions; None: not known before the first look.
        self._assigned: frozenset[str] | None = None

    def follow(
        self,
        handle: PartHandle,
        *,
        batch: int = 500,
        park_after: int | None = PARK_AFTER,
        when_changed_elsewhere: Callable[[], None] | None = None,
        rests: bool = True,
    ) -> None:
        """Handles events from where the group stopped, in this process's partitions. Rest waits until all are handled.

        `when_changed_elsewhere`: called when another process may have changed rows. `rests`: False: rest does not wait.
        """
        self._options = (handle if self._exercises else _without_exercises(handle), batch, park_after)
        self._changed_elsewhere = when_changed_elsewhere
        self._assignment = self.service_models.assignment(self.group, self.types)
        self._unwatch = self._process.activity.watch(self._at_rest) if rests else lambda: None
        self._task = self._process.loop.create_task(self._stay())

    def tell_changes(self, when_changed_elsewhere: Callable[[], None]) -> None:
        """From now on calls this when another process may have changed rows."""
        self._changed_elsewhere = when_changed_elsewhere

    def leave(self) -> None:
        """Stops handling events, and gives the partitions up."""
        self._task.cancel()
        for task in self._tasks.values():
            task.cancel()
        self._assignment.leave()
        self._unwatch()

    def _at_rest(self) -> bool:
        return self._assigned is not None and all(name in self._parts and self._parts[name].at_rest for name in self._assigned)

    async def _stay(self) -> None:
        """Stays a member until cancelled: an error is logged, and the work begins again."""
        while True:
            try:
                await self._member()
            except Exception as error:
                self._log.error("membership begins again", group=self.group, exc_info=error)
            await asyncio.sleep(_AFTER_LOSS_S)

    async def _member(self) -> None:
        """Works on this process's partitions, each in a task, and looks whether other processes have changed rows."""
        seen = -1
        while True:
            mine = self._assignment.partitions()
            for name in self._tasks.keys() - mine.keys():
                await self._let_go(name)
            for name in mine.keys() - self._tasks.keys():
                self._tasks[name] = self._process.loop.create_task(self._work_on(mine[name]))
            self._assigned = frozenset(mine)
            self._process.activity.changed()
            alone = len(mine) == len(self._process.store.partitions(self.types))
            if self._changed_elsewhere is not None and not alone:
                # If the read models do not answer now, they are asked again the next time.
                with contextlib.suppress(StoreError):
                    changes = await self.service_models.models.changes()
                    if changes != seen:
                        self._changed_elsewhere()
                        seen = changes
            await self._assignment.changed(mine.keys(), _ALONE_LOOK_S if alone else self._process.engine.look_s)

    async def _let_go(self, name: str) -> None:
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])
        self._parts.pop(name, None)

    async def _work_on(self, partition: Partition) -> None:
        handle, batch, park_after = self._options
        while True:
            part = Part(self, partition)
            try:
                start = await self._start(part)
                part.epoch, position = await self.service_models.models.join(part.name, start)
                part.subscription = Subscription(
                    part.log, part, position, self.types, functools.partial(handle, part), batch=batch, park_after=park_after,
                    lasting=lasting, on_failure=self._failed, on_parked=self._parked,
                    keeps_place=lambda: self.keeps_place, on_rest=self._process.activity.changed,
                )  # fmt: skip
                self._parts[partition.name] = part
                self._process.activity.changed()
                await self._until_it_ends(part, part.subscription)
            except _Stalled as stalled:
                self._restarts += 1
                self._failure = str(stalled)
                self._log.error("subscription stalled and begins again", group=part.name, reason=self._failure)
            except LostAssignment as error:
                self._log.error("another member took the group over", group=part.name, error=error)
                self._failure = str(error)
            except Exception as error:
                # The store or the read models fail. Nothing is lost by beginning again at the group's checkpoint.
                self._log.error("subscription begins again", group=part.name, exc_info=error)
                self._failure = describe(error)
            self._began_again = time.monotonic()
            self._parts.pop(partition.name, None)
            await asyncio.sleep(_AFTER_LOSS_S)

    async def _until_it_ends(self, part: Part, subscription: Subscription) -> None:
        """Runs a subscription; raises the error that ended it, or _Stalled if it hangs."""
        limit_s = self._process.settings.stalled_s
        running = asyncio.ensure_future(subscription.run())
        try:
            while not running.done():
                await asyncio.wait([running], timeout=min(1.0, limit_s / 4))
                if part.still_s() >= limit_s:
                    raise _Stalled(f"nothing was done for {limit_s:g} s, with work after position {subscription.position}")
            await running
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def _start(self, part: Part) -> int:
        if self._since == "beginning" or await self.service_models.models.position(part.name) is not None:
            return 0
        return part.partition.head() if self._since == "now" else await position_before(part.partition, self._since)

    # -- where it stands ------------------------------------------------------------------------------------------------

    async def standing(self) -> Standing:
        """How far the group is now, as far as this process knows."""
        position = lag = catching_up = 0
        parts = list(self._parts.values())
        mine = self._process.store.partitions(self.types)
        if self._assigned:
            mine = [partition for partition in mine if partition.name in self._assigned]
        # A process that stands by has nothing to catch up with. One that does not know yet may have.
        stands_by = self._assigned is not None and not self._assigned
        must_reach = {part.name: part.must_reach for part in parts}
        for partition in mine:
            name, head = part_name(self.group, partition), partition.head()
            at = await self.reached(partition)
            position, lag = position + at, lag + max(0, head - at)
            catching_up += 0 if stands_by else max(0, must_reach.get(name, head) - at)
        parked = sum(part.subscription.parked for part in parts if part.subscription is not None)
        still_s = max((part.still_s() for part in parts), default=0.0)
        again = time.monotonic() - self._began_again < _FRESH_S
        failing = self._failure if again or any(part.subscription and part.subscription.failing for part in parts) else ""
        oldest = [at for part in parts if part.subscription is not None and (at := part.subscription.oldest)]
        age_s = max(0.0, time.time() - min(oldest) / 1e6) if oldest else 0.0
        return Standing(bool(self._assigned), position, lag, catching_up, parked, failing, still_s, self._restarts, age_s)

    async def reached(self, partition: Partition) -> int:
        """The group's position in a partition, in whatever process it is worked on."""
        part = self._parts.get(partition.name)
        if part is not None and part.subscription is not None:
            return part.subscription.position
        return await self.service_models.models.position(part_name(self.group, partition)) or 0

    async def parked(self) -> dict[str, list[Parked]]:
        """The parked events by partition, in the order of the log."""
        partitions = self._process.store.partitions(self.types)
        found = {one.name: await self.service_models.models.parked(part_name(self.group, one)) for one in partitions}
        return {name: parked for name, parked in found.items() if parked}

    async def replay(self, stream: str) -> int:
        """Asks that the parked events of a stream are tried again, in order; returns how many there are."""
        asked = 0
        for partition in self._process.store.partitions(self.types):
            asked += await self.service_models.models.ask_replay(part_name(self.group, partition), stream)
        self._look_again()
        return asked

    async def drop(self, partition: str, position: int, reason: str, who: str) -> bool:
        """Gives a parked event up for ever; the next one of its stream is tried again. False: it is not parked."""
        for one in self._process.store.partitions(self.types):
            if one.name == partition:
                now = self._process.clock.now()
                gone = await self.service_models.models.drop(part_name(self.group, one), position, reason, who, now)
                self._look_again()
                return gone
        return False

    def _look_again(self) -> None:
        for part in self._parts.values():
            if part.subscription is not None:
                part.subscription.look_again()

    # -- what failed ----------------------------------------------------------------------------------------------------

    def _failed(self, event: Parked, error: Exception, pause: float) -> None:
        self._failure = f"{event.type} at {event.position}: {event.reason}"
        self._log.error(
            "event failed and is tried again", group=self.group, event_id=event.event_id, type=event.type, again_in_s=pause,
            exc_info=error,
        )  # fmt: skip

    def _parked(self, event: Parked) -> None:
        if event.unreadable:
            self._log.error(
                "a record of the log is no event, and is set aside", group=self.group, at=event.stream, reason=event.reason
            )
            return
        self._log.error(
            "event is parked; later ones of its stream wait behind it", group=self.group, event_id=event.event_id,
            type=event.type, stream=event.stream, position=event.position, reason=event.reason,
        )  # fmt: skip


def _without_exercises(handle: PartHandle) -> PartHandle:
    async def handle_others(part: Part, batch: Batch) -> None:
        if any(exercise_of(event.stream) for event in batch.events):
            batch = replace(batch, events=[event for event in batch.events if not exercise_of(event.stream)])
        await handle(part, batch)

    return handle_others


def part_name(group: str, partition: Partition) -> str:
    """The name under which a group's checkpoint in a partition is stored."""
    return f"{group}@{partition.name}" if partition.name else group
