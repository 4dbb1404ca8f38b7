"""The audit trail as a process writes it: what every caller did, in chains of batches that show when something was changed.

`note` only puts an entry in memory; it is in the store soon after. `keep` returns when its entry is in the store. Entries go
into batches in the order in which they came. While an append is under way the next batch gathers, so many entries share one.

**When the store is away.** `keep` raises TrailAway, so its call is refused; the entry itself stays in memory, as all others
do, and is written when the store is back: a record is rather too many than lost. At most `MOST_HELD` entries are held; from
then on `admit` refuses calls before they begin. Calls that were begun before may still note theirs. At twice as many `note`
raises TrailAway too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace

from citybrain.audit.v1 import records_pb2 as pb
from typing_extensions import override

from citybrain.event_store.store import Conflict, EventStore, NewEvent, StoreError
from citybrain.mesh.audit import chain
from citybrain.mesh.audit.anchors import Anchors
from citybrain.mesh.audit.chain import Place
from citybrain.mesh.audit.entries import MOST_PERSONS, Entry, Trail, TrailAway, record_of
from citybrain.observability.logs import logger
from citybrain.observability.words import counted

MOST_HELD = 10_000
"""With so many entries in memory calls are refused before they begin."""
BATCH_S = 0.2
"""How long a noted entry waits for others at most."""
ANCHOR_S = 60.0
"""How often a chain that has grown is anchored."""
# Below the limit of an event, with room for what is not records.
_BATCH_BYTES = 200 * 1024
_APPEND_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_CLOSE_S = 10.0
_MANY = 500
# What a record takes besides its own bytes.
_BESIDE_BYTES = 8
_log = logger("audit")


class ChainedTrail(Trail):
    """A trail in the event store. To be made inside the running event loop. `city_time`, `now`: microseconds since 1970."""

    def __init__(
        self,
        store: EventStore,
        city_time: Callable[[], int],
        *,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
        most_held: int = MOST_HELD,
        anchor_s: float = ANCHOR_S,
    ) -> None:
        self._store = store
        self._city_time = city_time
        self._now = now
        self._most = most_held
        self._anchor_s = anchor_s
        self._process = os.urandom(6).hex()
        self._anchors = Anchors(store, city_time, _APPEND_S)
        # The chain of the day, its last batch, and up to where it was anchored.
        self._chain = ""
        self._end = self._anchored = Place()
        # What is in no batch yet; how many entries came, and how many are in the store.
        self._held: deque[tuple[int, Entry]] = deque()
        self._came = self._kept = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._away = ""
        self._some, self._at_once, self._closing = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._closed = False
        self._writing = asyncio.ensure_future(self._write())
        self._looking_after = asyncio.ensure_future(self._anchors.adopt(self._now(), lambda name: name == self._chain))

    # -- for callers ------------------------------------------------------------------------------------------------------

    @override
    def admit(self, *, durable: bool = False) -> None:
        if self._closed or len(self._held) >= self._most or (durable and self._away):
            raise self._refusal()

    @override
    def note(self, entry: Entry) -> None:
        if self._closed or len(self._held) >= 2 * self._most:
            raise self._refusal()
        if len(entry.persons) > MOST_PERSONS:
            for first in range(0, len(entry.persons), MOST_PERSONS):
                self._hold(replace(entry, persons=entry.persons[first : first + MOST_PERSONS]))
            return
        self._hold(entry)

    @override
    async def keep(self, entry: Entry) -> None:
        self.note(entry)
        if self._away:
            raise self._refusal()
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._came, kept))
        self._at_once.set()
        await kept

    @override
    def unwell(self) -> str:
        if self._writing.done() and not self._closed:
            return "the audit trail is not written any more: start this process again"
        return f"the audit trail cannot be written: {self._away}" if self._away else ""

    @override
    async def close(self) -> None:
        """What the store does not take within some seconds is lost, and its number is logged."""
        self._closed = True
        self._looking_after.cancel()
        self._closing.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._writing), _CLOSE_S)
        self._writing.cancel()
        if lost := self._came - self._kept:
            _log.error("audit records are lost: the store took nothing while this process stopped", records=lost)

    def _hold(self, entry: Entry) -> None:
        self._held.append((self._now(), entry))
        self._came += 1
        self._some.set()

    def _refusal(self) -> TrailAway:
        if self._closed:
            return TrailAway("this process is stopping, and records nothing any more: ask another one")
        held = counted(self._came - self._kept, "record")
        # Why the store takes nothing is in the log and in `unwell`: it may name files and hosts.
        why = "it takes nothing" if self._away else "it takes them more slowly than they come"
        return TrailAway(f"what is done cannot be recorded now ({held} wait for the store: {why}): try again later")

    # -- writing ----------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Writes batches until all is written after `close`; a chain that has grown is anchored now and then."""
        due = time.monotonic() + self._anchor_s
        while not self._closing.is_set() or self._kept < self._came:
            await _first(max(0.0, due - time.monotonic()), self._some, self._closing)
            await _first(BATCH_S if self._held else 0.0, self._at_once, self._closing)
            self._some.clear()
            self._at_once.clear()
            while self._held:
                await self._surely(self._next_batch)
                # What came meanwhile waits for others, unless somebody waits for it.
                if not self._waiting and len(self._held) < _MANY and not self._closing.is_set():
                    break
            if self._held:
                self._some.set()
            if time.monotonic() >= due:
                due = time.monotonic() + self._anchor_s
                await self._anchor_end()
        await self._surely(self._close_chain)

    async def _next_batch(self) -> None:
        """Writes the first entries as one batch. They are held until the store has it; after an error it is the same again."""
        day = chain.day_of(self._held[0][0])
        if not self._chain or day > self._chain.rpartition("-")[2]:
            await self._begin(chain.name_of(self._process, day))
        records: list[pb.Record] = []
        size = 0
        for at, entry in self._held:
            record = record_of(at, entry)
            size += record.ByteSize() + _BESIDE_BYTES
            if records and (size > _BATCH_BYTES or chain.day_of(at) > day):
                break
            records.append(record)
        event = chain.batch(self._chain, self._end, self._anchors.newest, self._city_time(), records)
        await self._append(event)
        self._end = Place(self._end.number + 1, chain.hash_of(event.data))
        for _ in records:
            self._held.popleft()
        self._kept += len(records)
        while self._waiting and self._waiting[0][0] <= self._kept:
            _tell(self._waiting.popleft()[1], None)

    async def _append(self, event: NewEvent) -> None:
        """Until it is decided, the same event: a batch that was written although nobody was told must be the next one."""
        stream = chain.stream_of(self._chain)
        while True:
            try:
                outcome = await self._store.append(stream, [event], self._end.number, _APPEND_S)
            except Exception as error:
                await self._pause(error)
                continue
            self._well()
            if isinstance(outcome, Conflict):
                # Nobody else may write there. Where it ends is written down, for `city audit verify`, and another is begun.
                await self._anchors.append(self._own_end(closed=True))
                broken, self._chain = self._chain, ""
                self._process = os.urandom(6).hex()
                raise _Broken(f"{broken} does not end where this process left it: somebody else wrote there")
            return

    async def _begin(self, name: str) -> None:
        """Goes over to the chain of a day. That it begins is written down first, so that it cannot vanish as a whole."""
        ends = [*self._own_end(closed=True), pb.ChainEnd(chain=name)]
        await self._anchors.append(ends)
        self._chain, self._end, self._anchored = name, Place(), Place()

    async def _close_chain(self) -> None:
        if self._chain:
            await self._anchors.append(self._own_end(closed=True))

    async def _anchor_end(self) -> None:
        """If it cannot be anchored now, it is the next time."""
        if self._end != self._anchored:
            end = self._end
            try:
                await self._anchors.append(self._own_end(closed=False))
                self._anchored = end
            except Exception as error:
                _log.warning("the audit trail cannot be anchored now", error=error)

    def _own_end(self, *, closed: bool) -> list[pb.ChainEnd]:
        end = self._end
        return [pb.ChainEnd(chain=self._chain, number=end.number, hash=end.hash, closed=closed)] if self._chain else []

    async def _surely(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does a piece of work, again and again until it is done."""
        while True:
            try:
                await work()
                return
            except Exception as error:
                # An unexpected error too: the loop must go on, and nothing is taken from what is held before it is written.
                await self._pause(error)

    async def _pause(self, error: Exception) -> None:
        """Tells those who wait that their entries are not durable yet, and waits a moment."""
        if not self._away:
            self._pause_s = _FIRST_PAUSE_S
            unexpected = None if isinstance(error, StoreError) else error
            _log.warning("the audit trail cannot be written, and is tried again", error=error, exc_info=unexpected)
        self._away = str(error) or type(error).__name__
        while self._waiting:
            _tell(self._waiting.popleft()[1], self._refusal())
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _well(self) -> None:
        if self._away:
            _log.info("the audit trail is written again")
        self._away = ""


class _Broken(StoreError):
    """A chain of this process was written to by somebody else."""


async def _first(seconds: float, *events: asyncio.Event) -> None:
    """Returns when one of the events is set, or after some seconds."""
    if any(event.is_set() for event in events) or not seconds:
        return
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


def _tell(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
