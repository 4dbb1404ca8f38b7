"""Appending from one process: committed or conflict, whatever is lost on the way. Others can finish what a writer leaves.

Why no append of a writer W is lost when an adopter takes over (adoption.py). W is one id; a process may have several:

1. Before W appends to a stream, it stores an opening, which names the stream, and waits until that is acknowledged. It deletes
   the opening only when it has nothing undecided or unpublished in the stream, or has opened the stream again.
2. After that, W reads the fence of the stream's last bucket.
3. After that, W reads whether it is closed. Only if it is not, it may append with this fence.
4. The adopter closes W, for ever. After that it reads W's openings, and after that it changes the fence of each stream.
5. W read "not closed" in step 3, so that read began before the closing in step 4 was done. The opening of step 1 was stored
   even earlier. So the adopter finds the opening of every stream in which W may have an append under way.
6. In the same way, W read its fence in step 2 before the adopter changed it. Fences never repeat. So an append of W either
   applied before the change, and the adopter reads and publishes it, or it can never apply. (If appends have filled the bucket,
   the adopter also changes the fence of the next one.)

It is long because opening, writing and publishing a stream share what is known of the stream.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from citybrain.event_store.distributed.interfaces import Batch, Broker, Clock, Mark, Opening, Tables, TimedOut
from citybrain.event_store.distributed.open_stream import OpenStream
from citybrain.event_store.distributed.publishing import Held, Publisher
from citybrain.event_store.distributed.streams import BucketedStreams, Tail
from citybrain.event_store.distributed.waiting import Waiting, as_written, decide, ids_of, stored, together
from citybrain.event_store.limits import check_limits
from citybrain.event_store.store import ANY, Committed, Conflict, NewEvent, Publishing, StoredEvent, Undecided
from citybrain.event_store.watch import Vital, Watch

BEAT_S = 1.0
# How long an event of another writer may be on its way to the log before we publish it too.
_OTHERS_S = 0.1
_LOOK_S = 0.02
# The opening of a stream that was idle for this long is deleted.
_IDLE_S = 5.0
_FORGET_AT_ONCE = 16
_AGAIN_S = 0.02
# How many of a stream's events are kept here until they are in the log; the others are read back.
_HELD_MAX = 100
# What cannot be published is tried again after pauses that grow.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
# After this many openings a writer goes on under a new id. Each opening that was deleted leaves a tombstone among those of its
# id, and Cassandra reads no more than 100,000 tombstones at once.
OPENINGS_MAX = 2000
# How many earlier ids may still have streams in use.
_LEAVING_MAX = 4


class Writer:
    """One process's appends. `run()` keeps it alive. `new_id` makes the ids of writers, which never repeat."""

    def __init__(
        self,
        tables: Tables,
        broker: Broker,
        clock: Clock,
        new_id: Callable[[], str],
        *,
        bucket_events: int = 10_000,
        openings_max: int = OPENINGS_MAX,
        recorded: Callable[[], int] = lambda: 0,
        watch: Watch | None = None,
    ) -> None:
        """`recorded`: makes the events' `recorded_at`; nothing is decided by it.

        `openings_max`: how many streams are opened under one id. `watch`: gets reports of the loops here.
        """
        self._recorded = recorded
        self._bucket_events = bucket_events
        self._openings_max = openings_max
        self._watch = watch or Watch()
        self._vital = self._watch.begin("the beat of this writer")
        self.streams = BucketedStreams(tables, clock, bucket_events)
        self.publisher = Publisher(self.streams, broker, self._watch)
        self._tables = tables
        self._clock = clock
        self._new_id = new_id
        self._id = ""
        # Earlier ids under which streams may still be open, the oldest first.
        self._leaving: list[str] = []
        self._beats = itertools.count(1)
        self._openings = itertools.count(1)
        # How many openings there were under the present id.
        self._opened = 0
        self._renewing = asyncio.Lock()
        self._open: dict[str, OpenStream] = {}
        # How often the outcome of a write was unknown.
        self._unknown = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def id(self) -> str:
        """The id under which others know it now; empty: none yet."""
        return self._id

    @property
    def ids(self) -> list[str]:
        """The ids under which it has streams open, or will have; the newest last."""
        return [*self._leaving, self._id] if self._id else []

    async def run(self) -> None:
        """Beats, and between beats deletes openings of idle streams, until cancelled. Without beats it would count as dead."""
        while True:
            with self._vital.round():
                await self._beat()
                end = self._clock.now() + BEAT_S
                idle = [name for name, opened in self._open.items() if self._may_forget(opened)]
                while idle and self._clock.now() < end:
                    some, idle = idle[:_FORGET_AT_ONCE], idle[_FORGET_AT_ONCE:]
                    await asyncio.gather(*map(self._forget_if_idle, some))
                await self._leave_ids()
            await self._clock.sleep(BEAT_S)

    def publishing(self) -> Publishing:
        """How far publishing is behind; `oldest_s` by the clock that makes `recorded_at`. From any thread."""
        waiting = [opened for opened in list(self._open.values()) if opened.unpublished]
        # Of a stream whose oldest unpublished event is not held here, its age is not known.
        held = [opened.held.get(next(iter(opened.unpublished), 0)) for opened in waiting]
        oldest = min((one.event.recorded_at for one in held if one is not None), default=None)
        age_s = 0.0 if oldest is None else max(0.0, (self._recorded() - oldest) / 1e6)
        return Publishing(sum(len(opened.unpublished) for opened in waiting), age_s, self._unknown)

    async def settled(self) -> None:
        """Waits until nothing is undecided, unpublished or unmarked."""
        while any(one.undecided or one.unpublished or one.unmarked for one in self._open.values()):
            await self._clock.sleep(_LOOK_S)

    # -- appending ------------------------------------------------------------------------------------------------------

    async def append(
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Committed | Conflict:
        """Raises Undecided after `timeout_s`; the append goes on until it is decided."""
        check_limits(stream, events)
        deciding = self._spawn(self._decide(stream, events, expected))
        if timeout_s is not None and not (await asyncio.wait([deciding], timeout=timeout_s))[0]:
            raise Undecided(f"append to {stream} was not decided in {timeout_s:.3g} s: retry with the same request id")
        outcome: Committed | Conflict = await asyncio.shield(deciding)
        return outcome

    async def _decide(self, stream: str, events: Sequence[NewEvent], expected: int) -> Committed | Conflict:
        opened = self._open.setdefault(stream, OpenStream())
        # From here on the stream counts as in use, and its opening stays.
        opened.undecided += 1
        mine = Waiting(events, expected)
        opened.waiting.append(mine)
        try:
            # Several conditional writes to one stream at once would only delay each other. So they take turns, in the order of
            # waiting, and whoever has the turn sends the appends that fit together.
            async with opened.turn:
                while mine.outcome is None:
                    await self._try(stream, opened)
                    if mine.outcome is None:
                        await self._clock.sleep(_AGAIN_S)
                return mine.outcome
        finally:
            if mine.outcome is None:
                # It failed by an error of its own: the others must not fail with it.
                opened.waiting.remove(mine)
            opened.undecided -= 1
            opened.touched = self._clock.now()

    async def _try(self, stream: str, opened: OpenStream) -> None:
        """Tries the first waiting append once. If it is not decided then, nothing that was sent for it can still apply."""
        known, opened.tail = opened.tail, None
        if known is not None and known.bucket == 0 and opened.writer == self._id:
            # Ids need not be looked up: there is no earlier bucket, and the batch does not apply if this one holds an id of it.
            group = together(opened.waiting, known.version)
            if group and await self._write(stream, opened, group, known):
                return
        tail = await self._usable_tail(stream, opened)
        if tail is None:
            return
        first = opened.waiting[0]
        group = together(opened.waiting, tail.version) or [first]
        # Ids are looked up after the tail was read: an append that moved the head can then be found by its ids.
        written = await self.streams.versions(stream, ids_of(group), tail.bucket)
        if written:
            group = [first]
        ids = ids_of([first])
        before = {one: written[one] for one in ids if one in written}
        if before:
            decide(opened.waiting, as_written(ids, before, tail.version))
        elif len(set(ids)) < len(ids) or first.expected not in (ANY, tail.version):
            decide(opened.waiting, Conflict(tail.version))
        else:
            await self._write(stream, opened, group, tail)

    async def _write(self, stream: str, opened: OpenStream, group: Sequence[Waiting], tail: Tail) -> bool:
        """Sends appends that follow each other as one batch. False: the batch has written nothing, and never will."""
        asked = stored(group, stream, tail.version, self._recorded())
        try:
            rows = await self._send(Batch(stream, tail.bucket, tail.head, tail.fence, asked))
        except Exception:
            if len(group) == 1:
                raise
            # One of them may be to blame: send the first one alone.
            return await self._write(stream, opened, group[:1], tail)
        if not rows:
            return False
        head = rows[-1].version
        if head < (tail.bucket + 1) * self._bucket_events:
            opened.tail = Tail(tail.bucket, head, tail.fence, head)
        opened.unpublished += [row.version for row in rows]
        opened.held |= {row.version: Held(row, tail.bucket) for row in rows[: max(0, _HELD_MAX - len(opened.held))]}
        self._publish_soon(stream, opened)
        done = 0
        for one in group:
            mine = slice(done, done + len(one.events))
            # If another process wrote the same ids, the stream may hold other content than was sent from here.
            again = tuple(rows[mine]) != asked[mine]
            done += len(one.events)
            decide(opened.waiting, Committed(asked[mine][0].version, asked[mine][-1].version, 0, again=again))
        return True

    async def _usable_tail(self, stream: str, opened: OpenStream) -> Tail | None:
        """Where the stream ends, with a fence that this writer may use; None: the writer was closed, and has a new id now."""
        writer = await self._stand(stream, opened)
        tail = await self.streams.tail(stream)
        if (tail.bucket, tail.fence) not in opened.allowed:
            # Asked only now, after the fence was read: step 3 above. An earlier answer says nothing about this fence.
            if await self.streams.surely(self._tables.is_closed, writer):
                await self._renew(writer)
                return None
            opened.allowed.add((tail.bucket, tail.fence))
        return tail

    async def _stand(self, stream: str, opened: OpenStream) -> str:
        """Makes sure that the stream is open under an id of this writer; returns that id."""
        if opened.writer and opened.writer in self.ids[-1 - _LEAVING_MAX :]:
            return opened.writer
        while not self._id or self._opened >= self._openings_max:
            await self._renew(self._id, leaving=True)
        writer = self._id
        before, opening_before = opened.writer, opened.opening
        opening = Opening(stream, next(self._openings))
        self._opened += 1
        await self.streams.surely(self._tables.open, writer, opening)
        opened.writer, opened.opening = writer, opening
        opened.allowed.clear()
        opened.tail = None
        if before in self._leaving and opening_before is not None:
            await self.streams.surely(self._tables.forget, before, opening_before)
        return writer

    async def _send(self, batch: Batch) -> Sequence[StoredEvent]:
        """Sends a batch until it is decided; returns its events as they stand in the stream, or none if it can never apply."""
        while True:
            try:
                applied = await self._tables.append(batch)
            except TimedOut:
                self._unknown += 1
                # To look for its events and not find them would prove nothing: the batch may still apply. So send it again.
                await self._clock.sleep(_AGAIN_S)
                continue
            if applied:
                return batch.events
            ends = batch.events[0].version, batch.events[-1].version
            rows = (await self.streams.surely(self._tables.rows, batch.stream, batch.bucket, *ends)).events
            # All ids are compared: another writer may have written the first append of this batch, and another one after it.
            return rows if [row.id for row in rows] == [event.id for event in batch.events] else ()

    # -- publishing -----------------------------------------------------------------------------------------------------

    def _publish_soon(self, stream: str, opened: OpenStream) -> None:
        if not opened.publishing:
            opened.publishing = True
            self._spawn(self._publish(stream, opened))

    async def _publish(self, stream: str, opened: OpenStream) -> None:
        pause = _FIRST_PAUSE_S
        vital: Vital | None = None
        try:
            while opened.unpublished:
                try:
                    await self._publish_more(stream, opened)
                    pause = _FIRST_PAUSE_S
                except Exception as error:
                    # Other streams go on; this one waits until its problem is solved.
                    vital = vital or self._watch.begin(f"publishing {stream}")
                    vital.wrong(error)
                    await self._clock.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_S)
        finally:
            opened.publishing = False
            if vital is not None:
                self._watch.end(vital)

    async def _publish_more(self, stream: str, opened: OpenStream) -> None:
        await self._until_before(stream, opened, opened.unpublished[0])
        target = opened.unpublished[-1]
        opened.known = await self.publisher.publish(stream, target, opened.known, opened.held)
        opened.unpublished = [version for version in opened.unpublished if version > opened.known.published]
        opened.held = {version: one for version, one in opened.held.items() if version > opened.known.published}
        # The next events do not wait for the mark.
        marked = self.publisher.mark(stream, opened.known)
        marked.add_done_callback(functools.partial(_marked, opened, opened.known))

    async def _until_before(self, stream: str, opened: OpenStream, version: int) -> None:
        """Waits a moment for others to publish what comes before a version. After that we publish it."""
        end = self._clock.now() + _OTHERS_S
        while opened.known.published < version - 1:
            marked = await self.publisher.marked(stream)
            if marked.published > opened.known.published:
                opened.known = opened.marked = marked
            elif self._clock.now() >= end:
                return
            else:
                await self._clock.sleep(_LOOK_S)

    # -- life -----------------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        if not self._id:
            await self._renew("")
        for writer in self.ids:
            await self.streams.surely(self._tables.beat, writer, next(self._beats))

    async def _renew(self, old: str, leaving: bool = False) -> None:
        """Goes on under a new id, if `old` is still the present one. `leaving`: `old` is not closed, and has streams open."""
        async with self._renewing:
            if self._id == old:
                fresh = await self.streams.surely(self._begin)
                if leaving and old:
                    self._leaving.append(old)
                self._id, self._opened = fresh, 0
            elif not leaving and old in self._leaving:
                self._leaving.remove(old)

    async def _leave_ids(self) -> None:
        """Closes and removes earlier ids under which nothing is open any more: nobody need look there."""
        for writer in list(self._leaving):
            if not any(opened.writer == writer for opened in self._open.values()):
                await self.streams.surely(self._tables.close, writer)
                await self.streams.surely(self._tables.remove, writer)
                if writer in self._leaving:
                    self._leaving.remove(writer)

    async def _begin(self) -> str:
        fresh = self._new_id()
        await self._tables.begin(fresh)
        return fresh

    async def _forget_if_idle(self, stream: str) -> None:
        opened = self._open[stream]
        async with opened.turn:
            if not self._may_forget(opened):
                return
            writer, opening = opened.writer, opened.opening
            # What was read under this opening is dropped: a later append must open the stream first, and then read all anew.
            opened.writer, opened.opening = "", None
            opened.allowed.clear()
            opened.tail = None
            if opening is not None:
                await self.streams.surely(self._tables.forget, writer, opening)
            if not opened.undecided:
                del self._open[stream]

    def _may_forget(self, opened: OpenStream) -> bool:
        busy = opened.undecided or opened.unpublished or opened.publishing or opened.unmarked
        return not busy and self._clock.now() - opened.touched >= _IDLE_S

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _marked(opened: OpenStream, mark: Mark, written: asyncio.Future[None]) -> None:
    if not written.cancelled() and mark.published > opened.marked.published:
        opened.marked = mark
