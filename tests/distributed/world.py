"""A world for the distributed engine: a store and a broker whose answers are late, lost, or come when nobody waits any more.

One seed is one history. Time is driven: the loop leaps to the next moment at which something is due. What an operation does, it
does at one moment of its own, which may come long after its caller was told that it timed out.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from typing_extensions import override

from citybrain.event_store.distributed.interfaces import Batch, Bucket, Mark, Opening, Rows, TimedOut, WriterRow
from citybrain.event_store.store import LogPage, StoredEvent, StoreError

T = TypeVar("T")


class DrivenLoop(asyncio.SelectorEventLoop):
    """An event loop whose time moves only when nothing is left to do."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Leap(self))

    @override
    def time(self) -> float:
        return self._now

    def leap(self, seconds: float) -> None:
        self._now += seconds


class _Leap(selectors.SelectSelector):
    def __init__(self, loop: DrivenLoop) -> None:
        super().__init__()
        self._loop = loop

    @override
    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everything waits, and nothing is due"
        if timeout > 0:
            self._loop.leap(timeout)
        return []


class Weather:
    """How bad it is: 0 is calm. `aims`: how often something happens just at an operation of some name.

    `refusals`: how often the log says that it does not do as asked.
    """

    def __init__(
        self, random: Random, badness: float, aims: dict[str, float] | None = None, refusals: float = 0.0
    ) -> None:  # fmt: skip
        self.random = random
        self.refusals = refusals
        self.badness = badness
        self.aims = aims or {}

    def hits(self, operation: str) -> bool:
        """Something happens here and now."""
        return self.random.random() < self.aims.get(operation, 0.0)

    def delay(self) -> float:
        """Seconds that something takes: mostly some milliseconds, sometimes seconds."""
        if self.random.random() < 0.03 * self.badness:
            return self.random.uniform(0.5, 8)
        return self.random.expovariate(200)

    def is_lost(self) -> bool:
        """An answer does not come."""
        return self.random.random() < 0.08 * self.badness

    def is_refused(self) -> bool:
        """What is asked is not done, and that is said."""
        return self.random.random() < self.refusals

    def happens(self) -> bool:
        """What was asked arrives, though its answer is lost."""
        return self.random.random() < 0.7


class Server:
    """Where every process's requests arrive: what happens there, happens at one moment each."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        # What was lost on its way back may be under way still.
        self._late: set[asyncio.Task[Any]] = set()

    def late(self, work: Callable[[], object]) -> None:
        """It happens a second time, when nobody waits for it any more."""
        task = asyncio.get_running_loop().create_task(self._later(work))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def do(self, work: Callable[[], T], on_its_way_s: float = 0.0) -> T:
        weather = self._weather
        if on_its_way_s:
            await asyncio.sleep(on_its_way_s)
            return work()
        if not weather.is_lost():
            await asyncio.sleep(weather.delay())
            result = work()
            await asyncio.sleep(weather.delay())
            return result
        if weather.happens():
            self.late(work)
        await asyncio.sleep(weather.random.uniform(0.05, 0.5))
        raise TimedOut("no answer")

    async def _later(self, work: Callable[[], object]) -> None:
        await asyncio.sleep(self._weather.random.uniform(0, 12))
        work()


@dataclass
class WriterCells:
    """A row of a writer, of which some may be missing: who beats writes no more than its beat."""

    beat: int | None = None
    closed: bool | None = None


class Store:
    """The tables of the cluster, as the last operation left them."""

    def __init__(self) -> None:
        self.heads: dict[tuple[str, int], Bucket] = {}
        self.events: dict[tuple[str, int], dict[int, StoredEvent]] = defaultdict(dict)
        self.ids: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        self.marks: dict[str, Mark] = {}
        self.writers: dict[str, WriterCells] = {}
        # What was closed or removed begins no more, however late its beginning comes.
        self.ended: set[str] = set()
        self.correlations: set[tuple[str, str, int]] = set()
        self.openings: dict[str, set[Opening]] = defaultdict(set)
        self.numbers: dict[str, set[int]] = defaultdict(set)
        # How many rows, made and deleted ones, of one writer can be read.
        self.readable = 100_000

    def append(self, batch: Batch) -> bool:
        place = (batch.stream, batch.bucket)
        if self.heads.get(place, Bucket(None, None)) != Bucket(batch.head, batch.fence):
            return False
        if any(event.id in self.ids[place] for event in batch.events):
            return False
        for event in batch.events:
            self.events[place][event.version] = event
            self.ids[place][event.id] = event.version
        self.heads[place] = Bucket(batch.events[-1].version, batch.fence)
        return True

    def change_fence(self, stream: str, bucket: int, old: str | None, new: str) -> bool:
        now = self.heads.get((stream, bucket), Bucket(None, None))
        if now.fence != old:
            return False
        self.heads[stream, bucket] = Bucket(now.head, new)
        return True

    def begin(self, writer: str) -> None:
        if writer not in self.ended:
            self.writers[writer] = WriterCells(0, False)

    def beat(self, writer: str, beat: int) -> None:
        self.writers.setdefault(writer, WriterCells()).beat = beat

    def close(self, writer: str) -> None:
        self.ended.add(writer)
        self.writers.setdefault(writer, WriterCells()).closed = True

    def remove(self, writer: str) -> None:
        self.ended.add(writer)
        self.writers.pop(writer, None)

    def is_closed(self, writer: str) -> bool:
        return writer not in self.writers or self.writers[writer].closed is not False

    def open(self, writer: str, opening: Opening) -> None:
        # The same twice, as where the first answer was lost, is one row.
        self.numbers[writer].add(opening.number)
        self.openings[writer].add(opening)

    def forget(self, writer: str, opening: Opening) -> None:
        self.openings[writer].discard(opening)

    def whole(self, stream: str) -> list[StoredEvent]:
        """A stream from its beginning."""
        found = [event for (name, _), rows in self.events.items() if name == stream for event in rows.values()]
        return sorted(found, key=lambda event: event.version)


class Log:
    """The broker: one partition."""

    def __init__(self) -> None:
        self.records: list[StoredEvent] = []
        self._grown: list[asyncio.Future[None]] = []

    def add(self, event: StoredEvent) -> None:
        self.records.append(event)
        for waiter in self._grown:
            if not waiter.done():
                waiter.set_result(None)
        self._grown.clear()

    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        events = [event._replace(position=after + n) for n, event in enumerate(self.records[after : after + limit], 1)]
        return LogPage(events, after + len(events))

    def head(self) -> int:
        return len(self.records)

    async def grown(self, after: int) -> int:
        while len(self.records) <= after:
            waiter = asyncio.get_running_loop().create_future()
            self._grown.append(waiter)
            await waiter
        return len(self.records)


class Process:
    """One process's ways out: the ports. It can be stopped in the middle of anything, for a while or for ever."""

    def __init__(self, store: Store, log: Log, weather: Weather, die: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._log = log
        self._weather = weather
        self.die = die
        self._server = Server(weather)
        self._awake = asyncio.Event()
        self._awake.set()
        self._killed = False

    def kill(self) -> None:
        """SIGKILL: nothing of it goes on but what is on its way already."""
        self._killed = True
        self.pause()

    def pause(self) -> None:
        """SIGSTOP."""
        self._awake.clear()

    def resume(self) -> None:
        """SIGCONT."""
        if not self._killed:
            self._awake.set()

    async def _do(self, operation: str, work: Callable[[], T]) -> T:
        if self._weather.hits(operation) and self._awake.is_set():
            # Aimed: the whole process is asleep between two steps, for longer than others wait for it.
            self.pause()
            await asyncio.sleep(self._weather.random.uniform(3, 9))
            self.resume()
        await self._awake.wait()
        try:
            result = await self._server.do(work)
        except TimedOut:
            await self._awake.wait()
            raise
        await self._awake.wait()
        return result

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._awake.wait()

    async def bucket(self, stream: str, bucket: int) -> Bucket:
        return await self._do("bucket", lambda: self._store.heads.get((stream, bucket), Bucket(None, None)))

    async def append(self, batch: Batch) -> bool:
        weather = self._weather
        if not weather.hits("append"):
            return await self._do("", lambda: self._store.append(batch))
        # Aimed: the batch is on its way for long, or applies at once, and the process is asleep or gone when it has.
        long = weather.random.random() < 0.5
        applying = asyncio.ensure_future(
            self._server.do(lambda: self._store.append(batch), weather.random.uniform(3, 12) if long else 0.001)
        )
        if weather.random.random() < 0.5:
            self.die()
        applied = await applying
        await self._awake.wait()
        return applied

    async def change_fence(self, stream: str, bucket: int, old: str | None, new: str) -> bool:
        return await self._do("change_fence", lambda: self._store.change_fence(stream, bucket, old, new))

    async def rows(self, stream: str, bucket: int, first: int, last: int) -> Rows:
        def read() -> Rows:
            rows = self._store.events[stream, bucket]
            found = [rows[version] for version in sorted(rows) if first <= version <= last]
            return Rows(found, self._store.heads[stream, bucket].head if found else None)

        return await self._do("rows", read)

    async def versions(self, stream: str, bucket: int, ids: Sequence[str]) -> dict[str, int]:
        return await self._do("versions", lambda: {i: v for i, v in self._store.ids[stream, bucket].items() if i in ids})

    async def mark(self, stream: str) -> Mark:
        return await self._do("mark", lambda: self._store.marks.get(stream, Mark()))

    async def put_marks(self, marks: Mapping[str, Mark]) -> None:
        await self._do("put_marks", lambda: self._store.marks.update(marks))

    async def index_correlation(self, event: StoredEvent, bucket: int) -> None:
        await self._do(
            "index_correlation", lambda: self._store.correlations.add((event.correlation_id, event.stream, event.version))
        )

    async def begin(self, writer: str) -> None:
        await self._do("begin", lambda: self._store.begin(writer))

    async def beat(self, writer: str, beat: int) -> None:
        await self._do("beat", lambda: self._store.beat(writer, beat))

    async def close(self, writer: str) -> None:
        await self._do("close", lambda: self._store.close(writer))

    async def remove(self, writer: str) -> None:
        await self._do("remove", lambda: self._store.remove(writer))

    async def is_closed(self, writer: str) -> bool:
        return await self._do("is_closed", lambda: self._store.is_closed(writer))

    async def writers(self) -> list[WriterRow]:
        store = self._store
        return await self._do(
            "writers", lambda: [WriterRow(id, row.beat or 0, store.is_closed(id)) for id, row in sorted(store.writers.items())]
        )

    async def open(self, writer: str, opening: Opening) -> None:
        await self._do("open", lambda: self._store.open(writer, opening))

    async def opened(self, writer: str) -> list[Opening]:
        if len(self._store.numbers[writer]) > self._store.readable:
            # More tombstones than it reads: it says so however often it is asked.
            await asyncio.sleep(0.1)
            raise TimedOut("too many tombstones")
        return await self._do("opened", lambda: sorted(self._store.openings[writer], key=lambda one: (one.stream, one.number)))

    async def forget(self, writer: str, opening: Opening) -> None:
        if self._weather.hits("late forget"):
            # Aimed: no answer, and it happens when the stream is open again.
            self._server.late(lambda: self._store.forget(writer, opening))
        await self._do("forget", lambda: self._store.forget(writer, opening))

    async def publish(self, event: StoredEvent) -> None:
        if self._weather.is_refused():
            raise StoreError("the log does not do as asked")
        await self._do("publish", lambda: self._log.add(event))
