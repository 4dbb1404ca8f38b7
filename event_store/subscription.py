"""A subscription: catches up with the log, then goes live without a gap (ES-6). An event that keeps failing is parked (ES-8).

The loop is the same for reactions and views; only the handler of a batch differs. The checkpoint moves only past events that
are done or parked. An event that fails by its own fault is parked at once, with the later ones of its stream, so that other
streams do not wait. It is tried again between pages of the log. When its tries are used up, it waits for a person. An event
that fails for another reason (a neighbour is away, the disk is full) is tried again for ever.

It is long because live and parked events share one loop.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from citybrain.event_store import parking
from citybrain.event_store.parking import GroupMemory, ParkedStreams
from citybrain.event_store.read_models import Parked
from citybrain.event_store.store import Log, LostAssignment, StoredEvent, TellsTypes, Unreadable

_BEHIND = "it waits behind an earlier event of its stream"


@dataclass(slots=True)
class Batch:
    """Events to handle, the checkpoint to store after them, and the positions that are not parked any more."""

    events: list[StoredEvent]
    reached: int
    unparked: tuple[int, ...] = ()
    # Whether nothing of the page is left behind it.
    whole: bool = True


Handle = Callable[[Batch], Awaitable[None]]
Failed = Callable[[Parked, Exception, float], None]


class Subscription:
    """Reads the log behind `position` and hands batches to `handle`, which also stores the checkpoint. Types None: all.

    `park_after`: how often one event is tried before it waits for a person (`on_parked` tells); None: it is tried for ever, and
    everything waits for it. `lasting` says whether an error is the event's own fault. `keeps_place`: whether the checkpoint is
    stored also after a page without events for this group, so that others see how far it is. `on_rest`: called at the end.
    """

    def __init__(
        self,
        log: Log,
        memory: GroupMemory,
        position: int,
        types: Collection[str] | None,
        handle: Handle,
        *,
        batch: int = 500,
        park_after: int | None = None,
        lasting: Callable[[Exception], bool] = lambda error: True,
        on_failure: Failed | None = None,
        on_parked: Callable[[Parked], None] | None = None,
        keeps_place: Callable[[], bool] = lambda: False,
        on_rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._memory = memory
        self._types = None if types is None else frozenset(types)
        self._handle = handle
        self._batch = batch
        self._park_after = park_after
        self._lasting = lasting
        self._on_failure = on_failure
        self._on_parked = on_parked
        self._keeps_place = keeps_place
        self._on_rest = on_rest
        self._waiting = ParkedStreams(memory)
        self._done: set[int] = set()
        # Positions after the checkpoint that are already parked or given up: they are skipped when the log brings them again.
        self._decided: set[int] = set()
        self._asked = asyncio.Event()
        self._begun = False
        # The events in work.
        self._page: Sequence[StoredEvent] = ()
        self._tried = 0
        self._fails = False
        self._position = position
        # While the log is read to its end, where it tells of what types new events are.
        self._next: asyncio.Future[int] | None = None
        self.pauses = False
        """Whether it waits until a failed or parked event is tried again."""

    @property
    def position(self) -> int:
        """Everything at or below is done or parked."""
        if self._next is None or self._next.cancelled():
            return self._position
        return self._next.result() if self._next.done() else self._log.head()

    @position.setter
    def position(self, reached: int) -> None:
        self._position = reached

    @property
    def at_rest(self) -> bool:
        """Whether the log, as it stands now, is read to its end, and no parked event is tried again by itself."""
        return self._begun and self.position >= self._log.head() and not self._waiting.tried

    @property
    def progress(self) -> tuple[int, int, int]:
        """Numbers that change whenever an event was done or tried."""
        return self.position, len(self._done), self._tried

    @property
    def failing(self) -> bool:
        """Whether the last try of some event failed, and it is tried again."""
        return self._fails or self._waiting.failing

    @property
    def oldest(self) -> int:
        """When the oldest event was recorded that was read and is not done, in microseconds since 1970; 0: there is none."""
        waits = (one.recorded_at for one in self._page if one.position > self.position and one.position not in self._done)
        return next(waits, 0)

    @property
    def blocked(self) -> int:
        """How many streams have a parked event, behind which their other events wait."""
        return len(self._waiting)

    @property
    def parked(self) -> int:
        """How many events are not tried again before somebody asks for a replay."""
        return self._waiting.given_over

    def done(self, event: StoredEvent) -> None:
        """A handler calls this for each event of a batch that is done: it does not get the event again if a later one fails."""
        self._done.add(event.position)

    def look_again(self) -> None:
        """To be called when somebody asked for parked events."""
        self._waiting.look_again()
        self._asked.set()

    async def run(self) -> None:
        """Runs until cancelled, or until another member took the partition over (LostAssignment)."""
        await self._waiting.load()
        decided = {one.position for one in await self._memory.dropped(self.position)} | self._waiting.positions()
        self._decided = {position for position in decided if position > self.position}
        self._begun = True
        while True:
            if self._waiting:
                await self._try_parked()
            page = await self._log.read_log(self.position, self._batch, self._types)
            if page.unreadable:
                await self._set_aside(page.unreadable)
            if page.events or (page.reached > self.position and self._keeps_place()):
                self._page = page.events
                await self._work(page.events, page.reached)
            self.position = page.reached
            if self.position >= self._log.head():
                self._on_rest()
                await self._until_something_new()

    async def _set_aside(self, found: Sequence[Unreadable]) -> None:
        """Parks records that are no events. No stream waits for them: an event that was damaged comes from its stream again."""
        new = [one for one in found if one.position not in self._decided]
        parked = [Parked(o.position, o.where, "", o.type, f"it is no event: {o.reason}", time.time_ns() // 1000) for o in new]
        if parked:
            await self._waiting.park(parked)
        for one in parked:
            if self._on_parked is not None:
                self._on_parked(one)

    async def _until_something_new(self) -> None:
        if not self._waiting:
            if self._types is None or self._keeps_place() or not isinstance(self._log, TellsTypes):
                await self._log.grown(self.position)
                return
            # A commit of a city is heard by few of its many subscriptions: only those wake up.
            self._next = self._log.next_of(self._types)
            try:
                self._position = await self._next
            finally:
                self._next = None
            return
        waiting = {asyncio.ensure_future(self._log.grown(self.position)), asyncio.ensure_future(self._asked.wait())}
        rests_s = max(0.0, self._waiting.rests_s(self.position))
        self.pauses = True
        try:
            await asyncio.wait(waiting, timeout=rests_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.pauses = False
            for task in waiting:
                task.cancel()
        self._asked.clear()

    async def _work(self, events: list[StoredEvent], reached: int) -> None:
        """Handles a page of the log; returns when each event is done or parked, and the checkpoint is stored."""
        self._done = {event.position for event in events} & self._decided
        if behind := self._behind([event for event in events if event.stream in self._waiting]):
            await self._waiting.park(behind)
        pause, alone = parking.FIRST_PAUSE_S, False
        while True:
            left = [e for e in events if e.position not in self._done and e.stream not in self._waiting]
            # After a failure, one event at a time: this shows which one fails.
            taken = left[:1] if alone else left
            whole = len(taken) == len(left)
            try:
                await self._handle(Batch(taken, reached if whole else taken[0].position, whole=whole))
                self._done.update(event.position for event in taken)
                self._fails = False
                pause = parking.FIRST_PAUSE_S
                if whole:
                    return
            except LostAssignment:
                raise
            except Exception as error:
                self._tried += 1
                failed = next((event for event in taken if event.position not in self._done), None)
                lasts = failed is not None and self._park_after is not None and self._lasting(error)
                if failed is not None and lasts and len(taken) == 1:
                    await self._stand_aside(failed, error, [event for event in events if event.position > failed.position])
                elif not lasts:
                    self._fails = True
                    if self._on_failure is not None:
                        self._on_failure(_parked(failed or events[-1], describe(error)), error, pause)
                    await self._pause(pause)
                    if alone:
                        pause = min(pause * 2, parking.LONGEST_PAUSE_S)
                alone = True

    async def _pause(self, seconds: float) -> None:
        self.pauses = True
        try:
            await asyncio.sleep(seconds)
        finally:
            self.pauses = False

    # -- parked events ----------------------------------------------------------------------------------------------------

    async def _stand_aside(self, event: StoredEvent, error: Exception, later: Sequence[StoredEvent]) -> None:
        """Parks an event after its first failure, with the later ones of its stream. The partition's member tries it again."""
        parked = _parked(event, describe(error))
        await self._waiting.park([parked, *self._behind([one for one in later if one.stream == event.stream])])
        self._fails = False
        await self._failed_again(parked, error)

    def _behind(self, events: Sequence[StoredEvent]) -> list[Parked]:
        return [_parked(event, _BEHIND) for event in events if event.position not in self._done]

    async def _try_parked(self) -> None:
        """Tries the parked events of one stream, at most a page of them. Live events of the stream cannot overtake them.

        Only one stream between two pages of the log, so that other streams wait for one failed try at most.
        """
        if self._waiting.rests_s(self.position) > 0:
            return
        await self._waiting.look()
        stream = self._waiting.due(self.position)
        for _ in range(self._batch):
            if stream is None or (one := self._waiting.first(stream, self.position)) is None:
                return
            try:
                event = await self._read(one)
                await self._handle(Batch([event], self.position, (one.position,)))
            except LostAssignment:
                raise
            except Exception as error:
                await self._failed_again(one, error)
                return
            finally:
                self._tried += 1
            self._waiting.done(stream)

    async def _failed_again(self, parked: Parked, error: Exception) -> None:
        lasts = self._lasting(error)
        tries, pause = self._waiting.failed(parked.stream, lasting=lasts)
        parked = parked if parked.unreadable else replace(parked, reason=describe(error))
        if lasts and self._park_after is not None and tries >= self._park_after:
            parked = replace(parked, replay=0)
            await self._waiting.park([parked])
            if self._on_parked is not None:
                self._on_parked(parked)
        elif self._on_failure is not None:
            self._on_failure(parked, error, pause)

    async def _read(self, parked: Parked) -> StoredEvent:
        if parked.unreadable:
            raise LookupError(parked.reason)
        page = await self._log.read_log(parked.position - 1, 1)
        if not page.events or page.events[0].id != parked.event_id:
            raise LookupError("the log does not hold a parked event any more")
        return page.events[0]


def describe(error: BaseException) -> str:
    """What went wrong and where. The error's text is left out: it may hold content of an event."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return type(error).__name__ + place


def _parked(event: StoredEvent, reason: str) -> Parked:
    """A Parked that is tried again by itself: at once, or after the earlier parked ones of its stream."""
    return Parked(event.position, event.stream, event.id, event.type, reason, time.time_ns() // 1000, replay=1)
