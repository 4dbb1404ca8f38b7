"""What a writer that is gone left behind is decided and published by anybody, at any time, by several at once if need be.

A writer that only slept loses nothing by it: its next append fails on the fence, and it goes on under a new id.
"""

from __future__ import annotations

from collections.abc import Callable

from citybrain.event_store.distributed.ports import Clock, Tables, TimedOut, WriterRow
from citybrain.event_store.distributed.publishing import Publisher
from citybrain.event_store.distributed.streams import Streams

SILENT_S = 3.0
"""A writer whose beat stood still for so long, by the machine time of who looks, is held to be gone."""
LOOK_S = 1.0
GONE_S = 3600.0
"""A writer that is closed, and whose beat stood still for so long, is forgotten."""


class Adopter:
    """Looks after the writers of others."""

    def __init__(
        self,
        tables: Tables,
        clock: Clock,
        streams: Streams,
        publisher: Publisher,
        new_fence: Callable[[], str],
        own: Callable[[], str],
        gone_s: float = GONE_S,
    ) -> None:
        """`new_fence`: values that never repeat. `own`: the id of this process's own writer."""
        self._gone_s = gone_s
        self._tables = tables
        self._clock = clock
        self._streams = streams
        self._publisher = publisher
        self._new_fence = new_fence
        self._own = own
        self._beats: dict[str, tuple[int, float]] = {}
        # What a writer opens after it was closed it never uses: once is enough, and once more when it is forgotten.
        self._adopted: set[str] = set()

    async def run(self) -> None:
        """Looks again and again, until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Adopts what belongs to writers that are closed, or silent for too long."""
        writers = await self._streams.surely(self._tables.writers)
        known = {writer.id for writer in writers}
        self._adopted &= known
        self._beats = {name: beat for name, beat in self._beats.items() if name in known}
        for writer in writers:
            if writer.id == self._own():
                continue
            still_s = self._still_s(writer)
            if writer.id not in self._adopted and (writer.closed or still_s >= SILENT_S):
                await self._adopt(writer.id)
                self._adopted.add(writer.id)
            elif writer.closed and still_s >= self._gone_s:
                await self._adopt(writer.id)
                await self._streams.surely(self._tables.remove, writer.id)

    def _still_s(self, writer: WriterRow) -> float:
        """How long its beat has stood still, as far as we saw."""
        beat, since = self._beats.get(writer.id, (-1, 0.0))
        if beat != writer.beat:
            since = self._clock.now()
            self._beats[writer.id] = (writer.beat, since)
        return self._clock.now() - since

    async def _adopt(self, writer: str) -> None:
        surely, tables = self._streams.surely, self._tables
        # First: what it opens from now on, it opens under another id.
        await surely(tables.close, writer)
        for opening in await surely(tables.opened, writer):
            stream = opening.stream
            await self._fence_off(stream)
            tail = await self._streams.tail(stream)
            marked = await self._publisher.marked(stream)
            if tail.version > marked.published:
                await self._publisher.bring(stream, tail.version, marked)
            await surely(tables.forget, writer, opening)

    async def _fence_off(self, stream: str) -> None:
        """Makes every append fail that was made for the fence there was; those that had applied are there to be read."""
        surely, tables = self._streams.surely, self._tables
        while True:
            tail = await self._streams.tail(stream)
            fence = self._new_fence()
            try:
                changed = await tables.change_fence(stream, tail.bucket, tail.fence, fence)
            except TimedOut:
                changed = (await surely(tables.bucket, stream, tail.bucket)).fence == fence
            # The append that closed a bucket came before us: the next one has a fence of its own.
            if changed and not await self._streams.is_closed(stream, tail.bucket):
                return
