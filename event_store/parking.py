"""What a group has parked, in the memory of its one member: which streams wait, and which of them are tried again.

The member alone parks. Others ask for a replay or give up, which changes a number: only then is what is parked read again.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from citybrain.event_store.read_models import Dropped, Parked

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
# How often a group with parked events looks whether somebody asked for them, where nothing else wakes it.
LOOK_S = 1.0


class GroupMemory(Protocol):
    """What is kept of a consumer group besides its checkpoint."""

    async def park(self, events: Sequence[Parked]) -> None:
        """Keeps parked events; LostAssignment where another member took over."""
        ...

    async def parked(self) -> list[Parked]:
        """What is parked, in the order of the log."""
        ...

    async def asked(self) -> int:
        """Another number whenever somebody has asked for parked events, or given one up."""
        ...

    async def dropped(self, after: int) -> list[Dropped]:
        """What was given up behind a position, in the order of the log."""
        ...


class _Tries:
    """Of the first parked event of a stream."""

    def __init__(self) -> None:
        self.lasting = 0
        self.failed = False
        self.pause = FIRST_PAUSE_S
        # By machine time; at once.
        self.due = 0.0


class ParkedStreams:
    """Streams with parked events. The first of a stream is tried again by itself where its `replay` says so."""

    def __init__(self, memory: GroupMemory) -> None:
        self._memory = memory
        self._events: dict[str, deque[Parked]] = {}
        # Of those whose first event is tried again; the others wait for somebody.
        self._tries: dict[str, _Tries] = {}
        self._number = 0
        self._look_at = 0.0

    def __len__(self) -> int:
        return len(self._events)

    def __contains__(self, stream: str) -> bool:
        return stream in self._events

    @property
    def tried(self) -> bool:
        """Some are tried again by themselves."""
        return bool(self._tries)

    @property
    def failing(self) -> bool:
        """One of those has failed when it was tried last."""
        return any(tries.failed for tries in self._tries.values())

    @property
    def given_over(self) -> int:
        """How many events wait for somebody: all of streams whose first event has used up its tries."""
        return sum(len(events) for stream, events in self._events.items() if stream not in self._tries)

    def positions(self) -> set[int]:
        """Where parked events stand in the log."""
        return {one.position for events in self._events.values() for one in events}

    # -- what is kept of them ---------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Reads all of them. What somebody asked for is tried at once, and as often as if it were new."""
        # The number first: what is asked for meanwhile shows at the next look.
        self._number = await self._memory.asked()
        self._look_at = time.monotonic() + LOOK_S
        self._events = {}
        for one in await self._memory.parked():
            self._events.setdefault(one.stream, deque()).append(one)
        self._tries = {stream: _Tries() for stream, events in self._events.items() if events[0].replay}

    async def look(self) -> None:
        """Reads them anew where somebody asked for some, or gave one up."""
        self._look_at = time.monotonic() + LOOK_S
        if await self._memory.asked() != self._number:
            await self.load()

    def look_again(self) -> None:
        """Somebody did: a look is due."""
        self._look_at = 0.0

    async def park(self, events: Sequence[Parked]) -> None:
        """Parks events behind what there is of their streams, or says anew of the first of one why it is parked."""
        await self._memory.park(events)
        for one in events:
            waiting = self._events.setdefault(one.stream, deque())
            if waiting and waiting[0].position == one.position:
                waiting.popleft()
                waiting.appendleft(one)
            else:
                waiting.append(one)
            if waiting[0] is one:
                self._tries.pop(one.stream, None)
                if one.replay:
                    self._tries[one.stream] = _Tries()

    # -- trying them again ------------------------------------------------------------------------------------------------

    def rests_s(self, position: int) -> float:
        """How long there is nothing to do for them, in seconds; at most until a look is due."""
        return min([self._look_at, *(due for due, _ in self._behind(position))]) - time.monotonic()

    def due(self, position: int) -> str | None:
        """The stream whose first event, at or below a position, is to be tried now."""
        due, stream = min(self._behind(position), default=(math.inf, None))
        return stream if due <= time.monotonic() else None

    def first(self, stream: str, position: int) -> Parked | None:
        """The event of a stream that is to be tried; None where none is at or below a position, or it waits for somebody."""
        first = self._events[stream][0] if stream in self._tries else None
        return first if first is not None and first.position <= position else None

    def _behind(self, position: int) -> Iterator[tuple[float, str]]:
        """When streams are due whose first event is no further than a position."""
        return ((tries.due, one) for one, tries in self._tries.items() if self._events[one][0].position <= position)

    def done(self, stream: str) -> None:
        """The first event of a stream is done, and parked no more."""
        events = self._events[stream]
        events.popleft()
        del self._tries[stream]
        if not events:
            del self._events[stream]
        elif events[0].replay:
            self._tries[stream] = _Tries()

    def failed(self, stream: str, *, lasting: bool) -> tuple[int, float]:
        """The first event of a stream failed: how often so that trying again is no use, and after what pause it is tried."""
        tries = self._tries[stream]
        tries.failed = True
        tries.lasting += lasting
        pause = tries.pause
        tries.due, tries.pause = time.monotonic() + pause, min(pause * 2, LONGEST_PAUSE_S)
        return tries.lasting, pause
