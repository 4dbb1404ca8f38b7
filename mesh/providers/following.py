"""Server streams over the log: past events, then live ones without a gap, with a signed token to go on from (ES-6)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from citybrain.events.v1 import event_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from citybrain.event_store.store import Cursor, StoredEvent
from citybrain.mesh.access.principal import Principal
from citybrain.mesh.access.redaction import sees_personal
from citybrain.mesh.access.rules import sees_district
from citybrain.mesh.errors import Overloaded, Unavailable
from citybrain.mesh.events import decode, message_class, outward, type_name
from citybrain.mesh.runtime.context import Call
from citybrain.mesh.runtime.shares import Asker, Shares
from citybrain.mesh.upcasting import written_as

if TYPE_CHECKING:
    from citybrain.mesh.runtime.process import Process

MAX_BATCH = 100
MAX_BATCH_BYTES = 1024 * 1024
"""The limit of the events in one message: many clients take at most 4 MiB, and one event may have 256 KiB."""
HEARTBEAT_S = 15.0
"""After so long without events, a message with only a token tells that the stream is well."""
STREAM_SHARES = {"caller": 1 / 4, "method": 1 / 2, "reading": 3 / 4}
"""Parts of the streams of a process that one caller, one method, and all that only read may have."""


@dataclass(slots=True, frozen=True)
class Follow:
    """The subject of a stream. Give a correlation id, or types, or both. `concerns` leaves out more events; it must be pure."""

    # Names the stream's subject in resume tokens: a token of one subject is refused by another.
    purpose: str
    correlation_id: str = ""
    types: Collection[type[Message]] = ()
    concerns: Callable[[Message], bool] | None = None
    # Only events recorded at or after this moment (microseconds since 1970).
    recorded_from: int = 0


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
    process: Process, follow: Follow, stream: Followed, cursor: Cursor, purpose: str, response: Descriptor
) -> AsyncGenerator[Message, None]:
    """Yields responses until the process ends its streams."""
    response_class = message_class(response.full_name)
    types = written_as(type_name(message) for message in follow.types)
    feed = process.store.feed(types or None, follow.correlation_id)
    ending = asyncio.ensure_future(process.open_streams.until_ending())
    try:
        stream.behind = lambda: not feed.ended(cursor)
        while not ending.done():
            page = await feed.read(cursor, MAX_BATCH)
            while (fits := _fitting(page.events)) < len(page.events):
                page = await feed.read(cursor, fits)
            wanted = [event for event in page.events if _wanted(follow, stream.call.principal, event)]
            if wanted:
                opened = await _opened(process, follow, stream, wanted)
                token = process.tokens.make(purpose, page.cursor)
                # Counted before the message goes: a client that learns the count can then wait for the message.
                stream.sent += 1
                yield response_class(events=opened, resume_token=token)
            cursor = page.cursor
            process.activity.changed()
            if feed.ended(cursor):
                grown = asyncio.ensure_future(feed.grown(cursor))
                try:
                    done, _ = await asyncio.wait([grown, ending], timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    grown.cancel()
                if not done:
                    stream.sent += 1
                    yield response_class(resume_token=process.tokens.make(purpose, cursor))
    finally:
        ending.cancel()
        stream.behind = None
        process.activity.changed()


def _fitting(events: Sequence[StoredEvent]) -> int:
    """How many of the first events one message holds; at least one."""
    size = 0
    for number, event in enumerate(events):
        size += len(event.data) + len(event.sealed)
        if size > MAX_BATCH_BYTES and number:
            return number
    return len(events)


async def _opened(process: Process, follow: Follow, stream: Followed, events: Sequence[StoredEvent]) -> list[event_pb2.Event]:
    """Events as this follower may see them. If personal data go to it, that is recorded first."""
    caller = stream.call.principal
    sealed = [event for event in events if event.sealed and sees_personal(caller, event.type)]
    if not sealed:
        return [outward(event) for event in events]
    heard = {one.stored.id: one for one in await process.vault.hear(sealed)}
    persons = Counter(person for one in heard.values() for person in one.persons)
    recipient = f"{stream.call.caller or 'unknown'}: {stream.call.method} of {follow.purpose}"
    await process.vault.keys.note_sent(persons, recipient, process.clock.now())
    return [outward(event, heard.get(event.id)) for event in events]


def _wanted(follow: Follow, caller: Principal, event: StoredEvent) -> bool:
    if event.classification > caller.clearance or not sees_district(caller, event.district):
        return False
    if event.recorded_at < follow.recorded_from:
        return False
    return follow.concerns is None or follow.concerns(decode(event))
