"""From a stream to the log: in version order, each event only when the one before it is there. Then the mark says so.

Several processes may publish the same stream at once, and some may have slept in between. They may add an event that is already
there, but never one out of order: before a process sends version v, the log has acknowledged version v-1 to it, or to a process
whose mark it has read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from citybrain.event_store.distributed.interfaces import Broker, Mark
from citybrain.event_store.distributed.streams import BucketedStreams
from citybrain.event_store.store import StoredEvent
from citybrain.event_store.watch import Vital, Watch

# For how long marks are collected. Written one by one, they would be an eighth of Cassandra's work for an append.
_TOGETHER_S = 0.02
_LONGEST_PAUSE_S = 5.0


@dataclass(slots=True, frozen=True)
class Held:
    """An event that this process wrote, and its bucket."""

    event: StoredEvent
    bucket: int


class Publisher:
    """Brings streams into the log."""

    def __init__(self, streams: BucketedStreams, broker: Broker, watch: Watch | None = None) -> None:
        """`watch`: gets reports of the loop that writes marks."""
        self.streams = streams
        self._broker = broker
        self._marks = _Marks(streams, (watch or Watch()).begin("marking what is in the log"))

    async def marked(self, stream: str) -> Mark:
        """How far a stream is known to be in the log."""
        return await self.streams.surely(self.streams.tables.mark, stream)

    async def bring(self, stream: str, target: int, known: Mark) -> Mark:
        """Publishes and marks the versions after `known`, up to `target`; returns what is known to be in the log then."""
        reached = await self.publish(stream, target, known)
        if reached != known:
            await asyncio.shield(self.mark(stream, reached))
        return reached

    async def publish(self, stream: str, target: int, known: Mark, held: Mapping[int, Held] | None = None) -> Mark:
        """As `bring`, without the mark. Events in `held` need not be read back. Incomplete: the stream lacks a version."""
        versions = range(known.published + 1, target + 1)
        if held is not None and all(version in held for version in versions):
            found = [held[version] for version in versions]
            events, bucket = [one.event for one in found], found[-1].bucket if found else known.bucket
        else:
            events, bucket = await self.streams.read_all(stream, known.published + 1, target, known.bucket)
        for event in events:
            if event.correlation_id:
                # Before the event is published: whoever hears it then finds all events of its correlation id.
                await self.streams.surely(self.streams.tables.index_correlation, event, known.bucket)
            await self.streams.surely(self._broker.publish, event)
        return Mark(events[-1].version, bucket) if events else known

    def mark(self, stream: str, mark: Mark) -> asyncio.Future[None]:
        """Writes a mark; done when others can see it. Several callers may share the future, so do not cancel it."""
        return self._marks.put(stream, mark)


class _Marks:
    """Marks of many streams. The first one after a pause is written at once; those that follow soon are written together."""

    def __init__(self, streams: BucketedStreams, vital: Vital) -> None:
        self._streams = streams
        self._vital = vital
        self._next: dict[str, Mark] = {}
        self._written: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._begun = -_TOGETHER_S

    def put(self, stream: str, mark: Mark) -> asyncio.Future[None]:
        """Done when this mark is written, or a further one of its stream."""
        self._add(stream, mark)
        loop = asyncio.get_running_loop()
        if self._written is None:
            self._written = loop.create_future()
        written = self._written
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        return written

    def _add(self, stream: str, mark: Mark) -> None:
        before = self._next.get(stream)
        if before is None or before.published < mark.published:
            self._next[stream] = mark

    async def _write(self) -> None:
        clock, pause = self._streams.clock, _TOGETHER_S
        told: list[asyncio.Future[None]] = []
        try:
            while self._written is not None or told:
                if (early := self._begun + pause - clock.now()) > 0:
                    await clock.sleep(early)
                self._begun = clock.now()
                marks, self._next = self._next, {}
                if self._written is not None:
                    told.append(self._written)
                    self._written = None
                with self._vital.round():
                    await self._streams.surely(self._streams.tables.put_marks, marks)
                    for written in told:
                        written.set_result(None)
                    told, pause = [], _TOGETHER_S
                if told:
                    # Marks that were refused are tried again, with those that came meanwhile.
                    for stream, mark in marks.items():
                        self._add(stream, mark)
                    pause = min(pause * 2, _LONGEST_PAUSE_S)
        finally:
            self._writing = None
