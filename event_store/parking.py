"""The parked events of a group, in the memory of its one member: which streams wait, and which of them are tried again.

Only the member parks events. Others may ask for a replay, or give an event up. Each such request changes a number, and the
member reads the parked events again only when this number has changed.
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
# How often a member with parked events looks for such requests, if nothing else wakes it.
LOOK_S = 1.0


class GroupMemory(Protocol):
    """What the store keeps of a consumer group besides its checkpoint."""

    async def park(self, events: Sequence[Parked]) -> None:
        """Stores parked events. LostAssignment: another member took over."""
        ...

    async def parked(self) -> list[Parked]:
        """The parked events, in the order of the log."""
        ...

    async def asked(self) -> int:
        """A number that changes whenever somebody asks for a replay, or gives an event up."""
        ...

    async def dropped(self, after: int) -> list[Dropped]:
        """The events given up after a position, in the order of the log."""
        ...


class _Tries:
    """The tries of the first parked event of a stream."""

    def __init__(self) -> None:
        # Failures by the event's own fault.
        self.lasting = 0
        self.failed = False
        self.pause = FIRST_PAUSE_S
        # When the next try is due, in machine time; 0: at once.
        self.due = 0.0


class ParkedStreams:
    """Streams with parked events. If a stream's first one has `replay` set, it is tried again without being asked for."""

    def __init__(self, memory: GroupMemory) -> None:
        self._memory = memory
        self._events: dict[str, deque[Parked]] = {}
        # Only streams whose first event is tried again by itself; the others wait for a person.
        self._tries: dict[str, _Tries] = {}
        self._number = 0
        self._look_at = 0.0

    def __len__(self) -> int:
        return len(self._events)

    def __contains__(self, stream: str) -> bool:
        return stream in self._events

    @property
    def tried(self) -> bool:
        """Whether some are tried again by themselves."""
        return bool(self._tries)

    @property
    def failing(self) -> bool:
        """Whether the last try of one of those failed."""
        return any(tries.failed for tries in self._tries.values())

    @property
    def given_over(self) -> int:
        """How many events wait for a person: all events of streams whose first one has used up its tries."""
        return sum(len(events) for stream, events in self._events.items() if stream not in self._tries)

    def positions(self) -> set[int]:
        """Where parked events stand in the log."""
        return {one.position for events in self._events.values() for one in events}

    # -- what is kept of them ---------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Reads all of them from the store. Each stream that is tried again gets all its tries anew, the first at once."""
        # The number is read first: a request that comes during the load then shows at the next look.
        self._number = await self._memory.asked()
        self._look_at = time.monotonic() + LOOK_S
        self._events = {}
        for one in await self._memory.parked():
            self._events.setdefault(one.stream, deque()).append(one)
        self._tries = {stream: _Tries() for stream, events in self._events.items() if events[0].replay}

    async def look(self) -> None:
        """Loads them again if there was a request since the last look."""
        self._look_at = time.monotonic() + LOOK_S
        if await self._memory.asked() != self._number:
            await self.load()

    def look_again(self) -> None:
        """Makes a look due now: there was a request."""
        self._look_at = 0.0

    async def park(self, events: Sequence[Parked]) -> None:
        """Parks events after the parked ones of their streams. If a stream's first one is parked again, it is replaced."""
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
        """Seconds until there is something to do for them: a try, or a look."""
        return min([self._look_at, *(due for due, _ in self._behind(position))]) - time.monotonic()

    def due(self, position: int) -> str | None:
        """The stream to try now; None: none is due. Its first parked event is not after `position`."""
        due, stream = min(self._behind(position), default=(math.inf, None))
        return stream if due <= time.monotonic() else None

    def first(self, stream: str, position: int) -> Parked | None:
        """The first parked event of a stream; None: it is after `position`, or waits for a person."""
        first = self._events[stream][0] if stream in self._tries else None
        return first if first is not None and first.position <= position else None

    def _behind(self, position: int) -> Iterator[tuple[float, str]]:
        """For each stream whose first parked event is not after `position`: when its next try is due, and its name."""
        return ((tries.due, one) for one, tries in self._tries.items() if self._events[one][0].position <= position)

    def done(self, stream: str) -> None:
        """Takes the first event of a stream out: it is done."""
        events = self._events[stream]
        events.popleft()
        del self._tries[stream]
        if not events:
            del self._events[stream]
        elif events[0].replay:
            self._tries[stream] = _Tries()

    def failed(self, stream: str, *, lasting: bool) -> tuple[int, float]:
        """Notes that a stream's first event failed. Returns its `lasting` failures so far, and the pause until its next try."""
        tries = self._tries[stream]
        tries.failed = True
        tries.lasting += lasting
        pause = tries.pause
        tries.due, tries.pause = time.monotonic() + pause, min(pause * 2, LONGEST_PAUSE_S)
        return tries.lasting, pause
