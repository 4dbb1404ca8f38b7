"""Finishing the work of a writer that is gone: any process may do this, at any time, and several at once.

If the writer was only asleep, nothing is lost: its next append fails on the new fence, and it goes on under a new id. writer.py
says why no append is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from citybrain.event_store.distributed.interfaces import Clock, Opening, Tables, TimedOut, WriterRow
from citybrain.event_store.distributed.publishing import Publisher
from citybrain.event_store.distributed.streams import BucketedStreams
from citybrain.event_store.watch import Vital, Watch

SILENT_S = 3.0
"""A writer counts as gone if its beat has not changed for this long, by the machine time of the process that looks."""
LOOK_S = 1.0
# How many streams are published at a time. Some may wait for a part of the log that is away; the others go on.
_AT_ONCE = 32
GONE_S = 3600.0
"""A closed writer whose beat has not changed for this long is removed."""


class Adopter:
    """Looks after the writers of other processes, each in a task of its own: one that fails does not delay the others."""

    def __init__(
        self,
        tables: Tables,
        clock: Clock,
        streams: BucketedStreams,
        publisher: Publisher,
        new_fence: Callable[[], str],
        own: Callable[[], Collection[str]],
        gone_s: float = GONE_S,
        watch: Watch | None = None,
    ) -> None:
        """`new_fence`: makes values that never repeat. `own`: the ids of this process's own writer. `watch`: gets reports."""
        self._gone_s = gone_s
        self._tables = tables
        self._clock = clock
        self._streams = streams
        self._publisher = publisher
        self._new_fence = new_fence
        self._own = own
        self._watch = watch or Watch()
        self._vital = self._watch.begin("looking after other writers")
        self._beats: dict[str, tuple[int, float]] = {}
        # A closed writer never uses what it opens later. So it is adopted once, and once more before it is removed.
        self._adopted: set[str] = set()
        self._adopting: dict[str, asyncio.Task[None]] = {}
        # Why the last try to adopt a writer failed.
        self._failed: dict[str, Vital] = {}

    async def run(self) -> None:
        """Looks again and again, until cancelled."""
        try:
            while True:
                with self._vital.round():
                    await self.look()
                await self._clock.sleep(LOOK_S)
        finally:
            for task in self._adopting.values():
                task.cancel()

    async def look(self) -> None:
        """Begins to adopt writers that are closed, or silent for too long."""
        writers = await self._streams.surely(self._tables.writers)
        known = {writer.id for writer in writers}
        self._adopted &= known
        for gone in self._failed.keys() - known:
            # Another process has adopted and removed it.
            self._watch.end(self._failed.pop(gone))
        self._beats = {name: beat for name, beat in self._beats.items() if name in known}
        for writer in writers:
            if writer.id in self._own() or writer.id in self._adopting:
                continue
            still_s = self._still_s(writer)
            if writer.id not in self._adopted and (writer.closed or still_s >= SILENT_S):
                self._begin(writer.id, remove=False)
            elif writer.closed and still_s >= self._gone_s:
                self._begin(writer.id, remove=True)

    def _begin(self, writer: str, remove: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._try(writer, remove))
        self._adopting[writer] = task
        task.add_done_callback(lambda _: self._adopting.pop(writer))

    async def _try(self, writer: str, remove: bool) -> None:
        """Adopts a writer. A failure is reported, and tried again at a later look."""
        # `stops=False`: this process can still take calls, so the report is only for people.
        vital = self._failed.pop(writer, None) or self._watch.begin(f"adopting writer {writer}", stops=False)
        with vital.round():
            await self._adopt(writer)
            if remove:
                await self._streams.surely(self._tables.remove, writer)
            self._adopted.add(writer)
        if vital.reason:
            self._failed[writer] = vital
        else:
            self._watch.end(vital)

    def _still_s(self, writer: WriterRow) -> float:
        """For how many seconds its beat has not changed, as far as this process has seen."""
        beat, since = self._beats.get(writer.id, (-1, 0.0))
        if beat != writer.beat:
            since = self._clock.now()
            self._beats[writer.id] = (writer.beat, since)
        return self._clock.now() - since

    async def _adopt(self, writer: str) -> None:
        # Close it first: what it opens under this id from now on, it never uses.
        await self._streams.surely(self._tables.close, writer)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def bring(opening: Opening) -> None:
            async with turns:
                await self._bring(writer, opening)

        # Asked once only: a failure is reported, and the openings are asked for again at a later look.
        openings = await self._tables.opened(writer)
        done = await asyncio.gather(*map(bring, openings), return_exceptions=True)
        # By now every stream was tried, so a failure of one has not delayed the others.
        if failed := [one for one in done if isinstance(one, BaseException)]:
            raise failed[0]

    async def _bring(self, writer: str, opening: Opening) -> None:
        """Decides and publishes what a writer left undecided or unpublished in a stream."""
        stream = opening.stream
        await self._fence_off(stream)
        tail = await self._streams.tail(stream)
        marked = await self._publisher.marked(stream)
        if tail.version > marked.published:
            await self._publisher.bring(stream, tail.version, marked)
        await self._streams.surely(self._tables.forget, writer, opening)

    async def _fence_off(self, stream: str) -> None:
        """Changes the fence. Appends made for the old fence have applied, and can be read, or never will."""
        surely, tables = self._streams.surely, self._tables
        while True:
            tail = await self._streams.tail(stream)
            fence = self._new_fence()
            try:
                changed = await tables.change_fence(stream, tail.bucket, tail.fence, fence)
            except TimedOut:
                changed = (await surely(tables.bucket, stream, tail.bucket)).fence == fence
            # If an append filled this bucket before us, the writer may go on in the next one, which has a fence of its own.
            if changed and not await self._streams.is_closed(stream, tail.bucket):
                return
