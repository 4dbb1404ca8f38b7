"""A stream in its buckets: where it ends, what stands in it, and how to ask until there is an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from citybrain.event_store.distributed.interfaces import Clock, Tables, TimedOut
from citybrain.event_store.store import StoredEvent, StoreError

P = ParamSpec("P")
T = TypeVar("T")
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 1.0
# How often a reader looks for a version that must be there.
_TRIES = 10
_INCOMPLETE = "what is not whole is not returned; if it stays so, look whether the streams were put back from an older copy"


class Incomplete(StoreError):
    """A stream lacks a version that it must hold; nothing of it is returned."""


@dataclass(slots=True, frozen=True)
class Tail:
    """The bucket that takes the next append, its head (None: it is empty) and its fence, and the stream's last version."""

    bucket: int
    head: int | None
    fence: str | None
    version: int


class BucketedStreams:
    """Streams in buckets of `bucket_events` versions. A bucket whose head has reached its limit is full, for ever.

    A batch is never split, so a bucket may hold more than its share.
    """

    def __init__(self, tables: Tables, clock: Clock, bucket_events: int) -> None:
        self.tables = tables
        self.clock = clock
        self._size = bucket_events
        self._hints: dict[str, int] = {}

    async def surely(self, ask: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
        """Asks until there is an answer. Only for requests that may take effect twice."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return await ask(*arguments, **named)
            except TimedOut:
                await self.clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def tail(self, stream: str) -> Tail:
        """Where the stream ends: in the first bucket that is not full."""
        bucket = self._hints.get(stream, 0)
        before: int | None = None
        while True:
            found = await self.surely(self.tables.bucket, stream, bucket)
            if found.head is None or not self.is_full(bucket, found.head):
                break
            before, bucket = found.head, bucket + 1
        self._hints[stream] = bucket
        version = found.head
        if version is None:
            version = before if before is not None else await self._closed_head(stream, bucket - 1)
        return Tail(bucket, found.head, found.fence, version)

    async def _closed_head(self, stream: str, bucket: int) -> int:
        if bucket < 0:
            return 0
        return (await self.surely(self.tables.bucket, stream, bucket)).head or 0

    def is_full(self, bucket: int, head: int) -> bool:
        """Whether a bucket with this head takes no append any more, for ever."""
        return head >= (bucket + 1) * self._size

    async def is_closed(self, stream: str, bucket: int) -> bool:
        """Whether a bucket is full and takes no append any more."""
        head = (await self.surely(self.tables.bucket, stream, bucket)).head
        return head is not None and self.is_full(bucket, head)

    async def read(self, stream: str, first: int, last: int, bucket: int = 0) -> tuple[list[StoredEvent], int]:
        """The events from version `first` to `last`, as far as the stream goes, and the bucket of the last one.

        `bucket`: where to begin; the bucket of `first`, or an earlier one. The result has no gap, and it is how the stream
        stood at one moment during the call, even if the reader sleeps between two pages: the reader goes on to the next bucket
        only when this one was full and has been read to its head. Incomplete: a version is missing that must be there.
        """
        found: list[StoredEvent] = []
        reached, tries = bucket, 0
        while first <= last:
            rows = await self.surely(self.tables.rows, stream, bucket, first, last)
            _none_left_out(stream, first, rows.events)
            head = rows.head
            if rows.events:
                found += rows.events
                first, reached, tries = rows.events[-1].version + 1, bucket, 0
                if first > last:
                    break
            else:
                head = (await self.surely(self.tables.bucket, stream, bucket)).head
            if head is None or (head < first and not self.is_full(bucket, head)):
                break
            if head < first:
                bucket += 1
            elif not rows.events:
                # The version came between the two reads, so look again. If it never shows, it is lost.
                tries += 1
                if tries > _TRIES:
                    raise Incomplete(f"{stream} ends at version {head}, and version {first} is missing: {_INCOMPLETE}")
                await self.clock.sleep(_FIRST_PAUSE_S)
        return found, reached

    async def read_all(self, stream: str, first: int, last: int, bucket: int = 0) -> tuple[list[StoredEvent], int]:
        """As `read`, for a `last` that is known to be committed. Incomplete: it was not found."""
        found, reached = await self.read(stream, first, last, bucket)
        if len(found) < last - first + 1:
            raise Incomplete(f"{stream} has version {last}, and was read to {first + len(found) - 1} only: {_INCOMPLETE}")
        return found, reached

    async def versions(self, stream: str, ids: Sequence[str], tail: int) -> dict[str, int]:
        """The versions at which the stream holds some event ids, in the buckets up to `tail`."""
        found: dict[str, int] = {}
        for bucket in range(tail + 1):
            found |= await self.surely(self.tables.versions, stream, bucket, ids)
        return found


def _none_left_out(stream: str, first: int, events: Sequence[StoredEvent]) -> None:
    for version, event in enumerate(events, first):
        if event.version != version:
            raise Incomplete(f"{stream} has version {event.version}, and not {version}: {_INCOMPLETE}")
