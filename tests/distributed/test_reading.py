"""What is read of a stream is whole: how it stood at a moment of the reading, or nothing and what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

import pytest
from typing_extensions import override

from citybrain.event_store.cassandra.correlations import CorrelationFeed
from citybrain.event_store.distributed.interfaces import Mark, Rows
from citybrain.event_store.distributed.publishing import Publisher
from citybrain.event_store.distributed.streams import BucketedStreams, Incomplete
from citybrain.event_store.distributed.writer import Writer
from citybrain.event_store.store import ANY, NewEvent
from tests.distributed.history import _end
from tests.distributed.planted import LeavesABucketThatIsNotFull
from tests.distributed.world import DrivenLoop, Log, Process, Store, Weather

T = TypeVar("T")
STREAM, BUCKET = "s", 5


def acted(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    loop = DrivenLoop()
    try:
        return loop.run_until_complete(run())
    finally:
        _end(loop)


def calm(store: Store) -> Process:
    return Process(store, Log(), Weather(Random(1), 0))


async def filled(store: Store, events: int) -> Writer:
    ports = calm(store)
    writer = Writer(ports, ports, ports, lambda: "w", bucket_events=BUCKET)
    await more(writer, events)
    return writer


async def more(writer: Writer, events: int) -> None:
    for _ in range(events):
        number = len((await writer.streams.read(STREAM, 1, 1000))[0]) + 1
        await writer.append(STREAM, [NewEvent(f"e{number}", "t", b"", 0, correlation_id="incident")], ANY)
    await writer.settled()


@pytest.mark.parametrize(("kind", "versions"), [(BucketedStreams, list(range(1, 14))), (LeavesABucketThatIsNotFull, None)])
def test_who_sleeps_between_two_pages_of_a_stream_leaves_nothing_out(
    kind: type[BucketedStreams], versions: list[int] | None
) -> None:
    async def run() -> list[int]:
        store = Store()
        writer = await filled(store, 8)

        class Sleepy(Process):
            slept = False

            @override
            async def rows(self, stream: str, bucket: int, first: int, last: int) -> Rows:
                found = await super().rows(stream, bucket, first, last)
                if bucket == 1 and not self.slept:
                    # It has version 8, of a bucket that ends with 10; five more come before it asks again.
                    self.slept = True
                    await more(writer, 5)
                return found

        sleepy = Sleepy(store, Log(), Weather(Random(1), 0))
        found, _ = await kind(sleepy, sleepy, BUCKET).read(STREAM, 1, 1000)
        return [event.version for event in found]

    read = acted(run)
    if versions is None:
        # The defect that this is about.
        assert read == [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13]
    else:
        # How it stood when the page was read that ends it.
        assert read == versions[: len(read)] and len(read) >= 8


def test_a_reader_goes_on_from_one_bucket_to_the_next_and_ends_where_the_stream_does() -> None:
    async def run() -> list[list[int]]:
        store = Store()
        streams = (await filled(store, 12)).streams
        found = [await streams.read(STREAM, *ends) for ends in ((1, 12), (1, 1000), (5, 6), (10, 11), (12, 12), (13, 20))]
        return [[event.version for event in events] for events, _ in found]

    assert acted(run) == [list(range(1, 13)), list(range(1, 13)), [5, 6], [10, 11], [12], []]


@pytest.mark.parametrize("missing", [3, 5, 8, 12])
def test_where_a_version_is_missing_nothing_is_returned_or_published_but_what_is_missing_is_told(missing: int) -> None:
    async def run() -> int:
        store, log = Store(), Log()
        await filled(store, 12)
        (place,) = [place for place, rows in store.events.items() if missing in rows]
        del store.events[place][missing]
        ports = Process(store, log, Weather(Random(1), 0))
        streams = BucketedStreams(ports, ports, BUCKET)
        with pytest.raises(Incomplete, match=f"s .*{missing}"):
            await streams.read_all(STREAM, 1, 12)
        with pytest.raises(Incomplete):
            await Publisher(streams, ports).bring(STREAM, 12, Mark())
        with pytest.raises(Incomplete):
            await CorrelationFeed(_Told(), streams, "incident", None).read({})
        return len(log.records)

    assert acted(run) == 0


class _Told:
    """An index that tells of every event of the incident."""

    async def correlated(self, correlation_id: str) -> list[tuple[str, int, int]]:
        return [(STREAM, version, 0) for version in range(1, 13)]


def test_what_came_into_a_bucket_between_two_questions_is_read_too() -> None:
    async def run() -> list[int]:
        store = Store()
        writer = await filled(store, 4)

        class Late(Process):
            asked = 0

            @override
            async def rows(self, stream: str, bucket: int, first: int, last: int) -> Rows:
                self.asked += 1
                if self.asked == 1:
                    found = Rows([], None)
                    await asyncio.sleep(1)
                    return found
                return await super().rows(stream, bucket, first, last)

        late = Late(store, Log(), Weather(Random(1), 0))
        found, _ = await BucketedStreams(late, late, BUCKET).read_all(STREAM, 1, (await writer.streams.tail(STREAM)).version)
        return [event.version for event in found]

    assert acted(run) == [1, 2, 3, 4]
