"""A stream in its buckets: where it ends, what stands in it, and how to ask until there is an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from citybrain.event_store.contract import StoredEvent
from citybrain.event_store.distributed.ports import Clock, Tables, TimedOut

P = ParamSpec("P")
T = TypeVar("T")
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 1.0


@dataclass(slots=True, frozen=True)
class Tail:
    """The bucket that takes the next append: its head (None: it takes its first) and fence, and the stream's version."""

    bucket: int
    head: int | None
    fence: str | None
    version: int


class Streams:
    """Streams of `bucket_events` versions a bucket: a bucket whose head has reached its limit is closed for ever.

    A batch is never split, so a bucket may hold more than its share.
    """

    def __init__(self, tables: Tables, clock: Clock, bucket_events: int) -> None:
        self.tables = tables
        self.clock = clock
        self._size = bucket_events
        self._hints: dict[str, int] = {}

    async def surely(self, ask: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
        """Asks until there is an answer: for what may happen twice."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return await ask(*arguments, **named)
            except TimedOut:
                await self.clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def tail(self, stream: str) -> Tail:
        """Where the stream ends: the first bucket that is not closed."""
        bucket = self._hints.get(stream, 0)
        before: int | None = None
        while True:
            found = await self.surely(self.tables.bucket, stream, bucket)
            if found.head is None or found.head < (bucket + 1) * self._size:
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

    async def is_closed(self, stream: str, bucket: int) -> bool:
        """Whether a bucket takes no append any more."""
        found = await self.surely(self.tables.bucket, stream, bucket)
        return found.head is not None and found.head >= (bucket + 1) * self._size

    async def read(self, stream: str, first: int, last: int, bucket: int = 0) -> tuple[list[StoredEvent], int]:
        """The events from one version to another, and the bucket of the last; `bucket`: one that is not behind the first."""
        found: list[StoredEvent] = []
        reached = bucket
        while first <= last:
            rows = await self.surely(self.tables.rows, stream, bucket, first, last)
            found += rows
            if rows:
                first, reached = rows[-1].version + 1, bucket
            elif not await self.is_closed(stream, bucket):
                break
            bucket += 1
        return found, reached

    async def versions(self, stream: str, ids: Sequence[str], tail: int) -> dict[str, int]:
        """At which versions the stream holds some event ids, up to a bucket."""
        found: dict[str, int] = {}
        for bucket in range(tail + 1):
            found |= await self.surely(self.tables.versions, stream, bucket, ids)
        return found
