"""States of streams, batches of readings, request ids and what consumers have used, in memory."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from itertools import islice

from typing_extensions import override

from citybrain.event_store.quotas import Key, QuotaBook, Used
from citybrain.event_store.readings import KEPT_US, MAX_BATCH_BYTES, ReadingsBatch, ReadingsLog
from citybrain.event_store.requests import Bound, RequestBook, Use
from citybrain.event_store.snapshots import Snapshot, Snapshots
from citybrain.event_store.store import LimitExceeded
from tests.memory_engine.at_once import at_once


class MemorySnapshots(Snapshots):
    """Snapshots."""

    def __init__(self) -> None:
        self._kept: dict[str, Snapshot] = {}

    @at_once
    @override
    def newest(self, stream: str) -> Snapshot | None:
        return self._kept.get(stream)

    @at_once
    @override
    def keep(self, stream: str, snapshot: Snapshot) -> None:
        self._kept[stream] = snapshot

    @override
    def close(self) -> None:
        """There is nothing to let go of."""


class MemoryReadings(ReadingsLog):
    """A ReadingsLog."""

    def __init__(self) -> None:
        self._batches: defaultdict[str, deque[ReadingsBatch]] = defaultdict(deque)
        self._position = 0
        self._grown = asyncio.Condition()

    @override
    async def put(self, topic: str, received_at: int, data: bytes) -> None:
        if len(data) > MAX_BATCH_BYTES:
            raise LimitExceeded(f"a batch holds at most {MAX_BATCH_BYTES} bytes; this one has {len(data)}: send several")
        batches = self._batches[topic]
        self._position += 1
        batches.append(ReadingsBatch(self._position, received_at, data))
        while batches[0].received_at < received_at - KEPT_US:
            batches.popleft()
        async with self._grown:
            self._grown.notify_all()

    @override
    async def read(self, topic: str, after: int, limit: int) -> list[ReadingsBatch]:
        await asyncio.sleep(0)
        return list(islice((one for one in self._batches[topic] if one.position > after), limit))

    @override
    async def up_to_now(self, topic: str) -> None:
        """No other process keeps any."""

    @override
    def head(self, topic: str) -> int:
        return self._batches[topic][-1].position if self._batches[topic] else 0

    @override
    async def grown(self, topic: str, after: int) -> None:
        async with self._grown:
            await self._grown.wait_for(lambda: self.head(topic) > after)


class MemoryRequests(RequestBook):
    """A RequestBook."""

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._uses: dict[str, tuple[float, Use]] = {}

    @override
    async def bind(self, request_id: str, caller: str, method: str, content: bytes) -> Bound | None:
        use, now = Use.of(caller, method, content), time.monotonic()
        first = self._uses.get(request_id)
        if first is None or (self._kept_s and first[0] < now - self._kept_s):
            self._uses[request_id] = now, use
            return None
        return use.compared(first[1])

    @override
    def close(self) -> None:
        """There is nothing to let go of."""


class MemoryQuotas(QuotaBook):
    """A QuotaBook."""

    def __init__(self) -> None:
        self._used: dict[tuple[int, bytes], dict[bytes, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))

    @override
    async def read(self, day: int, consumers: Sequence[bytes], process: bytes) -> dict[Key, Used]:
        found: dict[Key, Used] = {}
        for consumer in consumers:
            whose = self._used[day, consumer]
            for name, used in sum(whose.values(), Counter()).items():
                found[consumer, name] = Used(own := whose[process][name], used - own)
        return found

    @override
    async def write(self, day: int, process: bytes, own: Mapping[Key, int]) -> None:
        for (consumer, name), used in own.items():
            self._used[day, consumer][process][name] = used

    @override
    async def most_used(self, day: int, most: int) -> dict[bytes, dict[str, int]]:
        sums = {consumer: dict(sum(whose.values(), Counter())) for (of, consumer), whose in self._used.items() if of == day}
        first = sorted(sums, key=lambda consumer: (-sum(sums[consumer].values()), consumer))[:most]
        return {consumer: sums[consumer] for consumer in first if sums[consumer]}

    @override
    def close(self) -> None:
        """There is nothing to let go of."""
