"""Defects, each a small step from the code that ships: the histories must find every one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from typing_extensions import override

from citybrain.event_store.distributed.adoption import LOOK_S, Adopter
from citybrain.event_store.distributed.interfaces import Batch, Bucket, Mark, Opening, TimedOut
from citybrain.event_store.distributed.open_stream import OpenStream
from citybrain.event_store.distributed.publishing import Held, Publisher
from citybrain.event_store.distributed.reading import GroupReader
from citybrain.event_store.distributed.streams import BucketedStreams, Tail
from citybrain.event_store.distributed.writer import Writer
from citybrain.event_store.store import Conflict, StoredEvent
from tests.distributed.history import Parts, Reader
from tests.distributed.world import Store


class ForgetsTheFence(Store):
    """Appends whatever the fence is."""

    @override
    def append(self, batch: Batch) -> bool:
        now = self.heads.get((batch.stream, batch.bucket), Bucket(None, None))
        return super().append(replace(batch, fence=now.fence))


class LooksBeforeTheFence(Writer):
    """Asks whether it is closed, and only then reads the fence."""

    @override
    async def _usable_tail(self, stream: str, opened: OpenStream) -> Tail | None:
        writer = await self._stand(stream, opened)
        if await self.streams.surely(self._tables.is_closed, writer):
            await self._renew(writer)
            return None
        return await self.streams.tail(stream)


class NeverLooks(Writer):
    """Does not ask whether it is closed."""

    @override
    async def _usable_tail(self, stream: str, opened: OpenStream) -> Tail | None:
        await self._stand(stream, opened)
        return await self.streams.tail(stream)


class ForgetsTooSoon(Writer):
    """Takes a stream for done when nothing is undecided, though something is not in the log yet."""

    @override
    def _may_forget(self, opened: OpenStream) -> bool:
        return not opened.undecided


class NeverSaysWhatItHasOpen(Writer):
    """Appends without having opened the stream."""

    @override
    async def _stand(self, stream: str, opened: OpenStream) -> str:
        if not self._id:
            await self._renew("")
        return self._id


class TakesSilenceForOpen(Store):
    """Takes a row that says nothing of being closed, as a beat leaves it that comes after its removal, for an open one."""

    @override
    def is_closed(self, writer: str) -> bool:
        return writer not in self.writers or self.writers[writer].closed is True


class OneOpeningForAll(Store):
    """What takes an opening away takes away every opening of the stream, also one that came meanwhile."""

    @override
    def forget(self, writer: str, opening: Opening) -> None:
        self.openings[writer] = {one for one in self.openings[writer] if one.stream != opening.stream}


class MarksAhead(Writer):
    """Says that events are in the log before the log has said so."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.publisher = _MarksFirst(self.streams, self.publisher._broker)


class _MarksFirst(Publisher):
    @override
    async def publish(self, stream: str, target: int, known: Mark, held: Mapping[int, Held] | None = None) -> Mark:
        await self.streams.surely(self.streams.tables.put_marks, {stream: Mark(target, known.bucket)})
        return await super().publish(stream, target, known, held)


class PublishesItsOwnOnly(Writer):
    """Takes it that whoever wrote what is before has published it."""

    @override
    async def _until_before(self, stream: str, opened: OpenStream, version: int) -> None:
        await super()._until_before(stream, opened, version)
        opened.known = Mark(max(opened.known.published, version - 1), 0)


class TakesAbsenceForProof(Writer):
    """What timed out and is not there when it is looked for, it takes for not written, and says so."""

    _absent = False

    @override
    async def _send(self, batch: Batch) -> Sequence[StoredEvent]:
        try:
            applied = await self._tables.append(batch)
        except TimedOut:
            first = batch.events[0]
            looked = await self.streams.surely(self._tables.rows, batch.stream, batch.bucket, first.version, first.version)
            rows = looked.events
            applied = bool(rows) and rows[0].id == first.id
            self._absent = not applied
        return batch.events if applied else ()

    @override
    async def _try(self, stream: str, opened: OpenStream) -> None:
        first = opened.waiting[0]
        await super()._try(stream, opened)
        if first.outcome is None and self._absent:
            self._absent = False
            opened.waiting.popleft().outcome = Conflict(0)


class LooksForIdsInTheTailOnly(Writer):
    """Does not look for ids in buckets that are closed."""

    @override
    async def _try(self, stream: str, opened: OpenStream) -> None:
        whole = self.streams.versions
        self.streams.versions = self._in_tail  # type: ignore[method-assign]
        try:
            await super()._try(stream, opened)
        finally:
            self.streams.versions = whole  # type: ignore[method-assign]

    async def _in_tail(self, stream: str, ids: Sequence[str], tail: int) -> dict[str, int]:
        return await self.streams.surely(self._tables.versions, stream, tail, ids)


class LeavesABucketThatIsNotFull(BucketedStreams):
    """Goes on with the next bucket when it has read what there was, and looks only later whether it was full."""

    @override
    async def read(self, stream: str, first: int, last: int, bucket: int = 0) -> tuple[list[StoredEvent], int]:
        found: list[StoredEvent] = []
        reached = bucket
        while first <= last:
            rows = (await self.surely(self.tables.rows, stream, bucket, first, last)).events
            found += rows
            if rows:
                first, reached = rows[-1].version + 1, bucket
            elif not await self.is_closed(stream, bucket):
                break
            bucket += 1
        return found, reached


class KeepsItsIdForEver(Writer):
    """Opens whatever it writes to under one id, until nobody can read any more what that has open."""

    @override
    async def _stand(self, stream: str, opened: OpenStream) -> str:
        self._openings_max = 1_000_000
        return await super()._stand(stream, opened)


class LeavesTooSoon(Writer):
    """Takes away an id that it had before, though streams are open under it."""

    @override
    async def _leave_ids(self) -> None:
        for writer in list(self._leaving):
            await self.streams.surely(self._tables.close, writer)
            await self.streams.surely(self._tables.remove, writer)
            self._leaving.remove(writer)


class EndsAtAnError(Adopter):
    """Looks no more when something could not be adopted."""

    @override
    async def run(self) -> None:
        while not self._failed:
            await self.look()
            await self._clock.sleep(LOOK_S)


class SavesTooEarly(Reader):
    """Keeps its checkpoint before the work is done."""

    @override
    async def take(self, position: int, reader: GroupReader, ids: Sequence[str], stream: str) -> bool:
        self.save(position, reader)
        if self.is_killed():
            return False
        self.handle(stream, ids)
        return True


# `LooksBeforeTheFence`, `TakesSilenceForOpen` and `OneOpeningForAll` are found by chance in one history of hundreds, or not at
# all: test_interleavings.py plays what shows them.
PLANTED = {
    "the fence is not compared": Parts(store=ForgetsTheFence, first_seed=110),
    "closed is not read": Parts(writer=NeverLooks, first_seed=25),
    "an opening is deleted too soon": Parts(writer=ForgetsTooSoon, first_seed=190),
    "nothing is opened": Parts(writer=NeverSaysWhatItHasOpen),
    "the mark is ahead of the acknowledgement": Parts(writer=MarksAhead),
    "what others wrote is not brought along": Parts(writer=PublishesItsOwnOnly),
    "a read is taken as proof of absence": Parts(writer=TakesAbsenceForProof, first_seed=8),
    "ids are looked for in the tail only": Parts(writer=LooksForIdsInTheTailOnly),
    "an id is kept for ever": Parts(writer=KeepsItsIdForEver, first_seed=20),
    "an id is left too soon": Parts(writer=LeavesTooSoon),
    "who adopts ends at an error": Parts(adopter=EndsAtAnError),
    "a bucket is left that is not full": Parts(streams=LeavesABucketThatIsNotFull),
    "the checkpoint is too early": Parts(reader=SavesTooEarly),
    "a retry has new ids": Parts(new_ids=True),
}
