"""This process as the member of a service's consumer groups: who leads, where a group goes on, what is done, what is parked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import grpc

from citybrain.event_store.contract import EventStore, LostAssignment, StoredEvent, StoreError
from citybrain.event_store.read_models import Parked, ReadModels, Row
from citybrain.event_store.subscription import Batch, Handle, Subscription, describe
from citybrain.event_store.views import ViewFile
from citybrain.mesh.errors import ServiceError
from citybrain.mesh.leadership import Leadership
from citybrain.mesh.process import Process
from citybrain.mesh.upcasting import written_as
from citybrain.observability.logs import logger

Since = Literal["beginning", "now"] | datetime
"""Where a group that is new begins: at the first event, behind the last, or at the first that was recorded since a moment."""

# About ten seconds of tries: what a deployment in the wrong order needs to heal by itself.
PARK_AFTER = 8
# How often a process that stands by looks whether the one that leads has changed rows.
_OTHERS_LOOK_S = 0.02
_AFTER_LOSS_S = 1.0
# A subscription that began again this lately has not shown yet that it goes on.
_FRESH_S = 3.0
_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
)


def lasting(error: Exception) -> bool:
    """Whether trying again is no use: it lies with the event (or the code), not with a neighbour, the disk or the moment."""
    if isinstance(error, ServiceError):
        return error.code not in _PASSING
    return not isinstance(error, StoreError | OSError | TimeoutError)


class ServiceFile:
    """A service's read models, and the lead over who folds into them."""

    def __init__(self, process: Process, service: str) -> None:
        self.models: ReadModels = ViewFile(process.settings.data / f"{service}.views.db")
        self.leadership = Leadership(process.settings.data / f"{service}.lead")

    @classmethod
    def of(cls, process: Process, service: str) -> ServiceFile:
        """The file of a service; opened on first use."""
        if service not in process.files:
            process.files[service] = cls(process, service)
        return process.files[service]

    def close(self) -> None:
        """Finishes what is under way, lets go of the file and the lead."""
        self.models.close()
        self.leadership.give_up()


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a group is. `lag`: positions of the log it has yet to look at; `failing`: which event fails, and how."""

    leads: bool
    position: int
    lag: int
    parked: int
    failing: str


class GroupMember:
    """A consumer group of a service, as one of its processes sees it. Its name is `service.method` or `service.view.name`."""

    def __init__(self, process: Process, service: str, group: str, since: Since = "beginning") -> None:
        self._process = process
        self.file = ServiceFile.of(process, service)
        self.group = group
        self._since = since
        self._epoch = 0
        self._log = logger(service)
        self._failure = ""
        self._began_again = float("-inf")
        self.subscription: Subscription | None = None
        """What this process does for the group; None while it stands by."""
        # Another process leads: nothing is to be done here. Not known before the first look.
        self._stands_by = False

    def follow(
        self,
        types: Collection[str],
        handle: Handle,
        *,
        batch: int = 500,
        park_after: int | None = PARK_AFTER,
        when_changed_elsewhere: Callable[[], None] | None = None,
    ) -> None:
        """Hears the events of some types from where the group stopped, while this process leads; Rest waits for it."""
        self._options = (written_as(types), handle, batch, park_after)
        self._changed_elsewhere = when_changed_elsewhere
        self._unwatch = self._process.activity.watch(self._at_rest)
        self._task = self._process.loop.create_task(self._member())

    def leave(self) -> None:
        """Hears no more."""
        self._task.cancel()
        self._unwatch()

    def _at_rest(self) -> bool:
        return self._stands_by if self.subscription is None else self.subscription.at_rest

    async def _member(self) -> None:
        while True:
            await self._stand_by()
            types, handle, batch, park_after = self._options
            start = await self._start()
            self._epoch, position = await self.file.models.join(self.group, start)
            self.subscription = Subscription(
                self._process.store, self, position, types, handle, batch=batch, park_after=park_after, lasting=lasting,
                on_failure=self._failed, on_parked=self._parked,
            )  # fmt: skip
            self._process.activity.changed()
            try:
                await self.subscription.run()
            except LostAssignment as error:
                self._log.error("another member took the group over", group=self.group, error=str(error))
                self._failure = str(error)
            except Exception as error:
                # The store cannot be read: nothing is lost by beginning again where the group stands.
                self._log.error("subscription begins again", group=self.group, error=repr(error), exc_info=error)
                self._failure = describe(error)
            self._began_again = time.monotonic()
            self.subscription = None
            await asyncio.sleep(_AFTER_LOSS_S)

    async def _stand_by(self) -> None:
        gained = asyncio.ensure_future(self.file.leadership.gained())
        seen = -1
        try:
            while not gained.done():
                if self._changed_elsewhere is not None:
                    changes = await self.file.models.changes()
                    if changes != seen:
                        self._changed_elsewhere()
                        seen = changes
                await asyncio.wait([gained], timeout=_OTHERS_LOOK_S)
                self._stands_by = not gained.done()
        finally:
            gained.cancel()

    async def _start(self) -> int:
        if self._since == "beginning" or await self.file.models.position(self.group) is not None:
            return 0
        store = self._process.store
        return store.head() if self._since == "now" else await position_before(store, self._since)

    async def standing(self) -> Standing:
        """Where the group is now, as far as this process knows."""
        file, subscription = self.file, self.subscription
        position = subscription.position if subscription is not None else await file.models.position(self.group) or 0
        parked = await file.models.count_parked(self.group)
        again = time.monotonic() - self._began_again < _FRESH_S
        failing = self._failure if again or (subscription is not None and subscription.failing) else ""
        return Standing(file.leadership.leads, position, max(0, self._process.store.head() - position), parked, failing)

    # -- what is done, failed and parked --------------------------------------------------------------------------------

    async def save(self, batch: Batch, view: str = "", rows: dict[str, Row | None] | None = None) -> None:
        """Stores a batch's checkpoint, with the rows it covers; LostAssignment where another member took over."""
        await self.file.models.save(self.group, self._epoch, batch.reached, view, rows, batch.unparked)

    async def park(self, events: Sequence[Parked]) -> None:
        """See GroupMemory."""
        await self.file.models.park(self.group, self._epoch, events)

    async def parked(self) -> list[Parked]:
        """See GroupMemory."""
        return await self.file.models.parked(self.group)

    async def replay(self, stream: str) -> int:
        """Has the parked events of a stream tried again, in order; returns how many there are."""
        asked = await self.file.models.ask_replay(self.group, stream)
        if self.subscription is not None:
            self.subscription.look_again()
        return asked

    async def drop(self, position: int, reason: str, who: str) -> bool:
        """Gives a parked event up for ever; what stands behind it is tried again. False where it is not parked."""
        now = self._process.clock.now()
        gone = await self.file.models.drop(self.group, position, reason, who, now)
        if self.subscription is not None:
            self.subscription.look_again()
        return gone

    def _failed(self, event: StoredEvent, error: Exception, pause: float) -> None:
        self._failure = f"{event.type} at {event.position}: {describe(error)}"
        self._log.error(
            "event failed and is tried again", group=self.group, event_id=event.id, type=event.type, again_in_s=pause,
            error=repr(error), exc_info=error,
        )  # fmt: skip

    def _parked(self, event: Parked) -> None:
        self._log.error(
            "event is parked; later ones of its stream wait behind it", group=self.group, event_id=event.event_id,
            type=event.type, stream=event.stream, position=event.position, reason=event.reason,
        )  # fmt: skip


async def position_before(store: EventStore, moment: datetime) -> int:
    """The position behind which every event was recorded at or after a moment."""
    wanted = int(moment.timestamp() * 1_000_000)
    low, high = 0, store.head()
    while low < high:
        middle = (low + high) // 2
        page = await store.read_log(middle, 1)
        if page.events and page.events[0].recorded_at < wanted:
            low = page.events[0].position
        else:
            high = middle
    return low
