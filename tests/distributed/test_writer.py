"""What a writer sends: which appends go together, what each of them is told, and what is published of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any, TypeVar

from typing_extensions import override

from citybrain.event_store.distributed.interfaces import Batch, Mark, Opening, Rows, TimedOut
from citybrain.event_store.distributed.writer import Writer
from citybrain.event_store.store import ANY, Committed, Conflict, NewEvent, Publishing, StoredEvent, StoreError
from tests.distributed.history import _end
from tests.distributed.world import DrivenLoop, Log, Process, Store, Weather

T = TypeVar("T")
STREAM = "s"


class Counting(Process):
    """A process that keeps what it sends."""

    def __init__(self, store: Store, log: Log) -> None:
        super().__init__(store, log, Weather(Random(3), 0))
        self.sent: list[list[str]] = []
        self.looked_back = 0
        self.before_a_group: Callable[[], Coroutine[Any, Any, object]] | None = None

    @override
    async def append(self, batch: Batch) -> bool:
        self.sent.append([event.id for event in batch.events])
        if len(batch.events) > 1 and (before := self.before_a_group):
            self.before_a_group = None
            await before()
        return await super().append(batch)

    @override
    async def rows(self, stream: str, bucket: int, first: int, last: int) -> Rows:
        self.looked_back += 1
        return await super().rows(stream, bucket, first, last)


def writing(ports: Process, name: str = "w") -> Writer:
    numbers = itertools.count()
    return Writer(ports, ports, ports, lambda: f"{name}{next(numbers)}")


def append(writer: Writer, *ids: str, expected: int = ANY) -> asyncio.Task[Any]:
    return asyncio.ensure_future(writer.append(STREAM, [NewEvent(one, "t", b"", 0) for one in ids], expected))


def acted(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    loop = DrivenLoop()
    try:
        return loop.run_until_complete(run())
    finally:
        _end(loop)


def logged(ports: Process) -> list[str]:
    return [record.id for record in ports._log.records]


def test_appends_that_wait_for_one_stream_go_out_as_one_batch_and_each_gets_its_own_answer() -> None:
    ports = Counting(Store(), Log())
    writer = writing(ports)

    async def run() -> list[Committed | Conflict]:
        outcomes = await asyncio.gather(
            append(writer, "a"),
            append(writer, "b"),
            append(writer, "c", "d", expected=2),
            append(writer, "late", expected=2),
            append(writer, "e"),
            append(writer, "b"),
        )
        await writer.settled()
        return list(outcomes)

    assert acted(run) == [
        Committed(1, 1, 0), Committed(2, 2, 0), Committed(3, 4, 0), Conflict(4), Committed(5, 5, 0), Committed(2, 2, 0)
    ]  # fmt: skip
    assert ports.sent[0] == ["a", "b", "c", "d"]
    assert [event.id for event in ports._store.whole(STREAM)] == logged(ports) == ["a", "b", "c", "d", "e"]


def test_an_append_that_came_first_through_another_writer_takes_nothing_along_that_was_not_written() -> None:
    store, log = Store(), Log()
    ports = Counting(store, log)
    other, writer = writing(Counting(store, log), "o"), writing(ports)

    async def overtaken() -> None:
        await append(other, "retried")
        await append(other, "another")

    async def run() -> list[Committed | Conflict]:
        await append(writer, "first")
        ports.before_a_group = overtaken
        outcomes = await asyncio.gather(*(append(writer, one) for one in ("second", "retried", "behind")))
        await other.settled()
        await writer.settled()
        return list(outcomes)

    assert acted(run) == [Committed(2, 2, 0), Committed(3, 3, 0), Committed(5, 5, 0)]
    assert ["retried", "behind"] in ports.sent
    whole = [event.id for event in store.whole(STREAM)]
    assert whole == ["first", "second", "retried", "another", "behind"]
    assert list(dict.fromkeys(logged(ports))) == whole


def test_an_append_that_is_refused_fails_alone_and_those_that_wait_with_it_are_written() -> None:
    class Refuses(Counting):
        @override
        async def append(self, batch: Batch) -> bool:
            if any(event.id == "bad" for event in batch.events):
                raise StoreError("refused")
            return await super().append(batch)

    ports = Refuses(Store(), Log())
    writer = writing(ports)

    async def run() -> list[Committed | Conflict | BaseException]:
        asked = (append(writer, one) for one in ("a", "b", "bad", "c", "d"))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        await writer.settled()
        return list(outcomes)

    assert [type(outcome) for outcome in acted(run)] == [Committed, Committed, StoreError, Committed, Committed]
    assert logged(ports) == ["a", "b", "c", "d"]


def test_a_writer_publishes_what_it_has_written_without_reading_it_back() -> None:
    ports = Counting(Store(), Log())
    writer = writing(ports)

    async def run() -> None:
        for number in range(20):
            await append(writer, str(number), expected=number)
            await writer.settled()

    acted(run)
    assert logged(ports) == [str(number) for number in range(20)]
    assert ports.looked_back == 0


def test_where_a_mark_was_refused_the_next_append_brings_all_into_the_log() -> None:
    class RefusesAMark(Counting):
        refused = False

        @override
        async def put_marks(self, marks: Mapping[str, Mark]) -> None:
            if not self.refused:
                self.refused = True
                raise StoreError("refused")
            await super().put_marks(marks)

    ports = RefusesAMark(Store(), Log())
    writer = writing(ports)

    async def run() -> None:
        await append(writer, "a")
        await asyncio.sleep(1)
        await append(writer, "b")
        await asyncio.wait_for(writer.settled(), 60)

    acted(run)
    assert list(dict.fromkeys(logged(ports))) == ["a", "b"]
    assert ports._store.marks[STREAM].published == 2


def test_marks_are_written_at_most_every_twenty_milliseconds_and_all_of_them_are() -> None:
    class TellsWhen(Counting):
        def __init__(self, store: Store, log: Log) -> None:
            super().__init__(store, log)
            self.moments: list[float] = []

        @override
        async def put_marks(self, marks: Mapping[str, Mark]) -> None:
            self.moments.append(self.now())
            await super().put_marks(marks)

    ports = TellsWhen(Store(), Log())
    writer = writing(ports)
    streams = [f"s{number}" for number in range(50)]

    async def run() -> None:
        for first in range(0, len(streams), 5):
            some = streams[first : first + 5]
            await asyncio.gather(*(writer.append(stream, [NewEvent(stream, "t", b"", 0)], ANY) for stream in some))
        await writer.settled()

    acted(run)
    assert all(later - earlier >= 0.02 - 1e-9 for earlier, later in itertools.pairwise(ports.moments))
    assert {stream: mark.published for stream, mark in ports._store.marks.items()} == dict.fromkeys(streams, 1)


def test_what_comes_next_in_a_stream_is_published_while_the_mark_is_on_its_way() -> None:
    class Holds(Counting):
        held: asyncio.Event

        @override
        async def put_marks(self, marks: Mapping[str, Mark]) -> None:
            await self.held.wait()
            await super().put_marks(marks)

    ports = Holds(Store(), Log())
    writer = writing(ports)

    async def run() -> None:
        ports.held = asyncio.Event()
        await append(writer, "a")
        await append(writer, "b")
        async with asyncio.timeout(60):
            while logged(ports) != ["a", "b"]:
                await ports.sleep(0.01)
        assert not ports._store.marks
        ports.held.set()
        await writer.settled()

    acted(run)
    assert ports._store.marks[STREAM].published == 2


def test_of_two_processes_that_append_the_same_at_once_the_second_is_told_that_it_was_there() -> None:
    store, log = Store(), Log()
    one, other = Counting(store, log), Counting(store, log)
    first, second = writing(one), writing(other, "o")

    async def run() -> list[bool]:
        both = []
        for number in range(20):
            new = [NewEvent(str(number), "t", b"one", 0)]
            same = [NewEvent(str(number), "t", b"other", 0)]
            told = await asyncio.gather(first.append(STREAM, new, ANY), second.append(STREAM, same, ANY))
            assert [outcome.first for outcome in told if isinstance(outcome, Committed)] == [number + 1] * 2
            both.append([outcome.again for outcome in told if isinstance(outcome, Committed)])
            stands = store.whole(STREAM)[number].data
            # Who is not told so may answer from what it sent.
            assert both[-1] == ([False, True] if stands == b"one" else [True, False])
        return [sum(told) == 1 for told in both]

    assert all(acted(run))


def test_under_a_new_id_a_stream_is_written_to_only_after_that_id_was_seen_to_be_open() -> None:
    class Telling(Counting):
        def __init__(self, store: Store, log: Log) -> None:
            super().__init__(store, log)
            self.calls: list[str] = []

        @override
        async def open(self, writer: str, opening: Opening) -> None:
            self.calls.append(f"{opening.stream} is open under {writer}")
            await super().open(writer, opening)

        @override
        async def is_closed(self, writer: str) -> bool:
            self.calls.append(f"is {writer} closed")
            return await super().is_closed(writer)

        @override
        async def append(self, batch: Batch) -> bool:
            self.calls.append(f"{batch.stream} is written to")
            return await super().append(batch)

    ports = Telling(Store(), Log())
    numbers = itertools.count()
    writer = Writer(ports, ports, ports, lambda: f"w{next(numbers)}", openings_max=1)

    async def run() -> None:
        await append(writer, "a")
        # So many other ids that the stream is open under none that is still used; its fence is the one it had.
        for number in range(8):
            await writer.append(f"other {number}", [NewEvent("x", "t", b"", 0)], ANY)
        await writer.settled()
        ports.calls.clear()
        await append(writer, "b")
        await writer.settled()

    acted(run)
    assert ports.calls[:3] == ["s is open under w9", "is w9 closed", "s is written to"]


def test_a_writer_tells_how_far_publishing_is_behind_and_how_often_an_outcome_was_unknown() -> None:
    class Slow(Counting):
        takes = False
        times_out = True

        @override
        async def publish(self, event: StoredEvent) -> None:
            if not self.takes:
                raise StoreError("the log is away")
            await super().publish(event)

        @override
        async def append(self, batch: Batch) -> bool:
            applied = await super().append(batch)
            if self.times_out:
                self.times_out = False
                raise TimedOut("no answer")
            return applied

    ports, numbers = Slow(Store(), Log()), itertools.count()
    moments = {"now": 5_000_000}
    writer = Writer(ports, ports, ports, lambda: f"w{next(numbers)}", recorded=lambda: moments["now"])

    async def run() -> list[Publishing]:
        await append(writer, "a")
        await append(writer, "b")
        moments["now"] = 7_500_000
        behind = writer.publishing()
        ports.takes = True
        await asyncio.wait_for(writer.settled(), 60)
        return [behind, writer.publishing()]

    assert acted(run) == [Publishing(2, 2.5, 1), Publishing(0, 0.0, 1)]
