"""A subscription: catches up with the log, then goes live without a gap (ES-6); an event that fails for good is parked (ES-8).

The loop is the same for reactions and views; what differs is the handler of a batch. The checkpoint moves only past work that
is done or parked. A failure that is not the event's own fault (a neighbour away, a full disk) is tried again for ever.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from citybrain.event_store.contract import Log, LostAssignment, StoredEvent
from citybrain.event_store.read_models import Dropped, Parked

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
# How often a group with parked events looks whether somebody asked for them, where nothing else wakes it.
_REPLAY_LOOK_S = 1.0


@dataclass(slots=True)
class Batch:
    """Events to handle, then a checkpoint to store, together with what is not parked any more."""

    events: list[StoredEvent]
    reached: int
    unparked: tuple[int, ...] = ()


class GroupMemory(Protocol):
    """What is kept of a consumer group besides its checkpoint."""

    async def park(self, events: Sequence[Parked]) -> None:
        """Keeps parked events; LostAssignment where another member took over."""
        ...

    async def parked(self) -> list[Parked]:
        """What is parked, in the order of the log."""
        ...

    async def dropped(self) -> list[Dropped]:
        """What was given up, in the order of the log."""
        ...


Handle = Callable[[Batch], Awaitable[None]]
Failed = Callable[[StoredEvent, Exception, float], None]


class Subscription:
    """Reads the log behind `position` and hands batches to `handle`, which also stores the checkpoint.

    `park_after`: tries of one event before it is parked; None: never. `lasting` says of an error whether it is the event's own.
    """

    def __init__(
        self,
        log: Log,
        memory: GroupMemory,
        position: int,
        types: Collection[str],
        handle: Handle,
        *,
        batch: int = 500,
        park_after: int | None = None,
        lasting: Callable[[Exception], bool] = lambda error: True,
        on_failure: Failed | None = None,
        on_parked: Callable[[Parked], None] | None = None,
    ) -> None:
        self._log = log
        self._memory = memory
        self._types = frozenset(types)
        self._handle = handle
        self._batch = batch
        self._park_after = park_after
        self._lasting = lasting
        self._on_failure = on_failure
        self._on_parked = on_parked
        self._blocked: set[str] = set()
        self._done: set[int] = set()
        # Parked or given up, though the checkpoint had not come so far: the log brings them once more, and they are not ours.
        self._decided: set[int] = set()
        self._asked = asyncio.Event()
        self.position = position
        """Everything at or below is done or parked."""
        self.failing = False
        """The last try failed, and another one follows."""

    @property
    def at_rest(self) -> bool:
        """Nothing is left to do in the log as it stands now."""
        return self.position >= self._log.head()

    @property
    def progress(self) -> tuple[int, int]:
        """Changes whenever something was done."""
        return self.position, len(self._done)

    @property
    def blocked(self) -> int:
        """Streams whose events wait behind a parked one."""
        return len(self._blocked)

    def done(self, event: StoredEvent) -> None:
        """Called by a handler on its way through a batch: what is done is not handed out again when a later one fails."""
        self._done.add(event.position)

    def look_again(self) -> None:
        """Somebody asked for parked events."""
        self._asked.set()

    async def run(self) -> None:
        """Runs until cancelled, or until another member took the partition over (LostAssignment)."""
        parked = await self._memory.parked()
        self._blocked = {event.stream for event in parked}
        decided: list[Parked | Dropped] = [*parked, *await self._memory.dropped()]
        self._decided = {event.position for event in decided if event.position > self.position}
        while True:
            if self._blocked:
                await self._replay()
            page = await self._log.read_log(self.position, self._batch, self._types)
            if page.events:
                await self._work(page.events, page.reached)
            self.position = page.reached
            if self.at_rest:
                await self._until_something_new()

    async def _until_something_new(self) -> None:
        if not self._blocked:
            await self._log.grown(self.position)
            return
        waiting = {asyncio.ensure_future(self._log.grown(self.position)), asyncio.ensure_future(self._asked.wait())}
        try:
            await asyncio.wait(waiting, timeout=_REPLAY_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        self._asked.clear()

    async def _work(self, events: list[StoredEvent], reached: int) -> None:
        """Handles a page of the log to its end; returns when each event is done or parked, and the checkpoint stored."""
        self._done = {event.position for event in events} & self._decided
        if self._blocked:
            await self._park_behind(events)
        pause, tries, alone = _FIRST_PAUSE_S, 0, False
        while True:
            left = [e for e in events if e.position not in self._done and e.stream not in self._blocked]
            # After a failure one by one: so it is known which event is to blame.
            taken = left[:1] if alone else left
            whole = len(taken) == len(left)
            try:
                await self._handle(Batch(taken, reached if whole else taken[0].position))
                self._done.update(event.position for event in taken)
                self.failing = False
                pause, tries = _FIRST_PAUSE_S, 0
                if whole:
                    return
            except LostAssignment:
                raise
            except Exception as error:
                self.failing = True
                failed = next((event for event in taken if event.position not in self._done), events[-1])
                tries += alone and bool(taken) and self._lasting(error)
                if self._park_after is not None and tries >= self._park_after:
                    await self._park(failed, error)
                    await self._park_behind([event for event in events if event.position > failed.position])
                    self.failing, tries, pause = False, 0, _FIRST_PAUSE_S
                    continue
                if self._on_failure is not None:
                    self._on_failure(failed, error, pause)
                await asyncio.sleep(pause)
                if alone:
                    pause = min(pause * 2, _LONGEST_PAUSE_S)
                alone = True

    async def _park(self, event: StoredEvent, error: Exception) -> None:
        parked = _parked(event, describe(error))
        await self._memory.park([parked])
        self._blocked.add(event.stream)
        if self._on_parked is not None:
            self._on_parked(parked)

    async def _park_behind(self, events: Sequence[StoredEvent]) -> None:
        behind = [event for event in events if event.stream in self._blocked and event.position not in self._done]
        if behind:
            await self._memory.park([_parked(event, "an earlier event of its stream is parked") for event in behind])

    async def _replay(self) -> None:
        """Handles the parked events that somebody asked for, in order, here: live events of their streams cannot overtake."""
        parked = await self._memory.parked()
        stuck: set[str] = set()
        going: set[str] = set()
        for one in parked:
            # What only waits behind one that is done now need not be asked for. What is ahead of the checkpoint comes from the
            # log first: done before that, it would be done again then.
            is_asked = bool(one.replay) or one.stream in going
            if not is_asked or one.stream in stuck or one.position > self.position:
                stuck.add(one.stream)
                continue
            (event,) = (await self._log.read_log(one.position - 1, 1)).events
            try:
                await self._handle(Batch([event], self.position, (one.position,)))
                going.add(one.stream)
            except LostAssignment:
                raise
            except Exception as error:
                stuck.add(one.stream)
                await self._memory.park([_parked(event, describe(error))])
        self._blocked = {event.stream for event in await self._memory.parked()}


def describe(error: BaseException) -> str:
    """What went wrong and where, without the error's text: that may hold what the event held."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return type(error).__name__ + place


def _parked(event: StoredEvent, reason: str) -> Parked:
    return Parked(event.position, event.stream, event.id, event.type, reason, time.time_ns() // 1000)
