"""Server streams over the log: past events, then live ones without a gap, with a signed token to go on from (ES-6).

It is long because a stream is one piece of work, from where it begins to how it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from citybrain.personal.v1.personal_pb2 import PersonErased
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from citybrain.event_store.feed import FeedInTime, place_after, place_before, place_now
from citybrain.event_store.store import Cursor, Partition, StoredEvent
from citybrain.mesh.access.redaction import sees_personal
from citybrain.mesh.access.rules import sees_district
from citybrain.mesh.errors import Overloaded, Unavailable
from citybrain.mesh.events import Heard, decode, message_class, show_outward, type_name
from citybrain.mesh.runtime.clock import MICROSECONDS
from citybrain.mesh.runtime.context import Call
from citybrain.mesh.runtime.exercises import exercise_of
from citybrain.mesh.runtime.shares import Asker, Shares
from citybrain.mesh.upcasting import written_as

if TYPE_CHECKING:
    from citybrain.mesh.runtime.process import Process

ERASED = type_name(PersonErased)
MAX_BATCH = 100
MAX_BATCH_BYTES = 1024 * 1024
"""The limit of the events in one message: many clients take at most 4 MiB, and one event may have 256 KiB."""
PATIENCE_S = 0.0005
LONGEST_PATIENCE_S = 0.1
"""With many streams open, each leaves so much time for each of them between two of its messages, so that a message has more
events: two hundred streams with a message for every event would be more than a process can write."""
HEARTBEAT_S = 15.0
"""After so long without events, a message with only a token tells that the stream is well."""
STREAM_SHARES = {"caller": 1 / 4, "method": 1 / 2, "reading": 3 / 4}
"""Parts of the streams of a process that one caller, one method, and all that only read may have."""

# So many streams do not wait for each other.
_FEW = 32
_machine_time = time.monotonic
_leave_time = asyncio.sleep


@dataclass(slots=True, frozen=True)
class Follow:
    """The subject of a stream. Give a correlation id, or types, or both. All that follows leaves events out."""

    # Names the stream's subject in resume tokens: a token of one subject is refused by another.
    purpose: str
    correlation_id: str = ""
    # Messages, or their full names.
    types: Collection[type[Message] | str] = ()
    # Must be pure.
    concerns: Callable[[Message], bool] | None = None
    # Only events of this district, and those of none. Empty: of all.
    district: str = ""
    # Only events of at most this classification. 0: of any.
    highest: int = 0
    # Only events recorded at or after this moment (microseconds since 1970).
    recorded_from: int = 0
    # Only what comes from now on.
    from_now: bool = False
    # A replay: only events recorded before this moment, in the order of time; the stream ends then. 0: it does not end.
    recorded_until: int = 0
    # In a replay: how much faster than they were recorded. 0: without pauses.
    speed: float = 0

    @property
    def names(self) -> list[str]:
        """The full names of its types."""
        return [one if isinstance(one, str) else type_name(one) for one in self.types]


@dataclass(slots=True, eq=False)
class Followed:
    """An open stream: the id from its caller, how many messages were sent, and whether the log has more to send."""

    stream_id: str
    call: Call
    asker: Asker
    sent: int = 0
    # None: the stream is not over the log, its method writes it.
    behind: Callable[[], bool] | None = None


class OpenStreams:
    """The streams of a process: how many, how far each was sent, and how they end."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._shares = Shares(limit, STREAM_SHARES)
        self._open: set[Followed] = set()
        self._ending = asyncio.Event()
        self._none_left = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def sent(self) -> dict[str, int]:
        """Messages sent in each stream that has an id from its caller."""
        return {stream.stream_id: stream.sent for stream in self._open if stream.stream_id}

    def at_rest(self) -> bool:
        """Whether every stream over the log has sent all events."""
        return not any(stream.behind is not None and stream.behind() for stream in self._open)

    def end(self) -> None:
        """Ends all streams. Followers can go on elsewhere with their tokens."""
        self._ending.set()
        for stream in list(self._open):
            stream.call.end(self.ending())

    @property
    def patience_s(self) -> float:
        """How long a stream waits between two messages, in seconds: nothing while there are few."""
        return min(LONGEST_PATIENCE_S, PATIENCE_S * len(self._open)) if len(self._open) > _FEW else 0.0

    @property
    def is_ending(self) -> bool:
        """Whether streams are ended."""
        return self._ending.is_set()

    def ending(self) -> Unavailable:
        """The error that a follower gets when its stream is ended."""
        return Unavailable("this process is stopping: open the stream again with the last resume token", "STREAM_ENDED")

    def open(self, stream_id: str, call: Call, asker: Asker) -> Followed:
        """Counts a stream in. Overloaded: there are too many, or its share is full. `ending()`: the process stops."""
        if self._ending.is_set():
            raise self.ending()
        if len(self._open) >= self.limit:
            raise Overloaded("too many streams are open in this process: try again later", "TOO_MANY_STREAMS")
        if full := self._shares.full(asker):
            raise Overloaded(f"many streams are open in this process, and {full}: try again later", "TOO_MANY_STREAMS")
        self._shares.take(asker)
        stream = Followed(stream_id, call, asker)
        self._open.add(stream)
        return stream

    def close(self, stream: Followed) -> None:
        """Counts a stream out."""
        self._open.discard(stream)
        self._shares.give_back(stream.asker)
        if not self._open and self._ending.is_set():
            self._none_left.set()

    async def ended(self, timeout_s: float) -> None:
        """After `end()`: waits until every follower has been told, at most `timeout_s`."""
        if self._open:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._none_left.wait(), timeout_s)

    async def until_ending(self) -> None:
        """Waits for `end()`."""
        await self._ending.wait()


async def follow_log(
    process: Process, follow: Follow, stream: Followed, cursor: Cursor | None, purpose: str, response: Descriptor
) -> AsyncGenerator[Message, None]:
    """Yields responses from a place on (None: where the subject begins), until it is over or the process ends its streams."""
    response_class = message_class(response.full_name)

    def told(place: Cursor, events: Sequence[StoredEvent] = (), opened: Mapping[str, Heard] = MappingProxyType({})) -> Message:
        # Counted before the message goes: a client that learns the count can then wait for the message.
        stream.sent += 1
        response: Any = response_class(resume_token=process.tokens.make(purpose, place))
        for event in events:
            show_outward(response.events.add(), event, opened.get(event.id))
        return cast(Message, response)

    types = written_as(follow.names) or None
    if types:
        await process.store.know(types)
    partitions = {partition.name: partition for partition in process.store.partitions(types)}
    replays = bool(follow.recorded_until)
    if replays or follow.from_now:
        # What another process wrote a moment ago is part of it, though nobody here has heard of it yet.
        await process.engine.up_to_now()
    feed = FeedInTime(partitions, types) if replays else process.store.feed(types, follow.correlation_id)
    end = await place_after(partitions.values(), follow.recorded_until) if replays else None
    ending = asyncio.ensure_future(process.open_streams.until_ending())
    try:
        if cursor is None:
            cursor = await _beginning(follow, partitions.values())
            if follow.from_now:
                # Else a follower that goes before anything has happened could not go on from here.
                yield told(cursor)
        stream.behind = lambda: not feed.ended(cursor)
        pace = _Pace(follow.speed)
        while not ending.done():
            page = await feed.read(cursor, MAX_BATCH)
            while (fits := min(_fitting(page.events), pace.due(page.events))) < len(page.events) and fits:
                page = await feed.read(cursor, fits)
            over = end is not None and all(page.cursor.get(name, 0) >= place for name, place in end.items())
            if page.events and not fits:
                if await _pause(pace.until(page.events[0]), ending):
                    yield told(cursor)
                continue
            wanted = [event for event in page.events if _wanted(follow, stream.call, event)]
            if wanted:
                yield told(page.cursor, wanted, await _opened(process, follow, stream, wanted))
            cursor = page.cursor
            process.activity.changed()
            if over:
                return
            if wanted and (patience := process.open_streams.patience_s):
                await _leave_time(patience)
            if feed.ended(cursor):
                grown = asyncio.ensure_future(feed.grown(cursor))
                try:
                    done, _ = await asyncio.wait([grown, ending], timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    grown.cancel()
                if not done:
                    yield told(cursor)
    finally:
        ending.cancel()
        stream.behind = None
        process.activity.changed()


async def _beginning(follow: Follow, partitions: Iterable[Partition]) -> Cursor:
    if follow.from_now:
        return place_now(partitions)
    if follow.recorded_from and not follow.correlation_id:
        return await place_before(partitions, follow.recorded_from)
    return {}


class _Pace:
    """When the events of a replay are due: their pauses, so many times shorter. Speed 0: at once."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._first = 0
        self._began = 0.0

    def due(self, events: Sequence[StoredEvent]) -> int:
        """How many of the first events are due."""
        if not self._speed or not events:
            return len(events)
        if not self._first:
            self._first, self._began = events[0].recorded_at, _machine_time()
        now = _machine_time()
        return next((number for number, event in enumerate(events) if self.until(event) > now), len(events))

    def until(self, event: StoredEvent) -> float:
        """When an event is due, on the machine's clock."""
        return self._began + (event.recorded_at - self._first) / MICROSECONDS / self._speed


async def _pause(until: float, ending: asyncio.Future[None]) -> bool:
    """Waits until a moment of the machine's clock, or the end of streams. True: it is time to tell that the stream is well."""
    left = until - _machine_time()
    done, _ = await asyncio.wait([ending], timeout=min(left, HEARTBEAT_S))
    return not done and left > HEARTBEAT_S


def _fitting(events: Sequence[StoredEvent]) -> int:
    """How many of the first events one message holds; at least one."""
    size = 0
    for number, event in enumerate(events):
        size += len(event.data) + len(event.sealed)
        if size > MAX_BATCH_BYTES and number:
            return number
    return len(events)


async def _opened(process: Process, follow: Follow, stream: Followed, events: Sequence[StoredEvent]) -> Mapping[str, Heard]:
    """Of events by their ids, those with personal data that this follower may see. That they go to it is recorded first."""
    caller = stream.call.principal
    sealed = [event for event in events if event.sealed and sees_personal(caller, event.type)]
    if not sealed:
        return {}
    heard = {one.stored.id: one for one in await process.vault.hear(sealed)}
    persons = Counter(person for one in heard.values() for person in one.persons)
    recipient = f"{stream.call.caller or 'unknown'}: {stream.call.method} of {follow.purpose}"
    await process.vault.keys.note_sent(persons, recipient, process.clock.now())
    return heard


def _wanted(follow: Follow, call: Call, event: StoredEvent) -> bool:
    if event.classification > call.principal.clearance or not sees_district(call.principal, event.district):
        return False
    # That a person was erased concerns who follows an exercise, too.
    if exercise_of(event.stream) != call.exercise and event.type != ERASED:
        return False
    if event.recorded_at < follow.recorded_from or 0 < follow.recorded_until <= event.recorded_at:
        return False
    if follow.district and event.district and event.district != follow.district:
        return False
    if 0 < follow.highest < event.classification:
        return False
    return follow.concerns is None or follow.concerns(decode(event))
