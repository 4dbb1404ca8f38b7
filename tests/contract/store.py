"""The promises of the event store, one by one. An engine joins by one subclass that opens it; what it promises it says itself.

Positions are the engine's own: a test compares them with what the engine gave, never with a number. What is read of the log is
read from each of its partitions. (It is long because a promise is kept in one place.)
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from hypothesis import strategies as st

from citybrain.event_store.feed import FeedInTime, place_after, place_before, place_now
from citybrain.event_store.store import (
    ANY,
    NO_STREAM,
    Committed,
    Conflict,
    Cursor,
    EventStore,
    Feed,
    Log,
    NewEvent,
    StoredEvent,
    Undecided,
)

Test = Callable[[EventStore], Awaitable[None]]
TYPE = "city.Tested"
_NAMES = st.lists(st.integers(0, 9), min_size=1, max_size=3)
_STEPS = st.lists(st.tuples(st.sampled_from("ab"), _NAMES, st.integers(-1, 6)), max_size=20)


def event(name: str = "", data: bytes = b"x", correlation_id: str = "", kind: str = TYPE, sealed: bytes = b"") -> NewEvent:
    """One event with something in every field."""
    return NewEvent(
        id=name or str(uuid.uuid4()), type=kind, data=data, occurred_at=7, traceparent="00-a-b-01",
        correlation_id=correlation_id, causation_id="cause", actor="tester", district="西湖", classification=1, sealed=sealed,
    )  # fmt: skip


async def drain(log: Log, limit: int = 1000, types: Sequence[str] | None = None) -> list[StoredEvent]:
    """Everything that is in a partition of the log, read to its head."""
    found: list[StoredEvent] = []
    position = 0
    while position < log.head():
        page = await log.read_log(position, limit, types)
        assert page.reached > position, "a page that leads nowhere"
        found += page.events
        position = page.reached
    return found


async def fed(feed: Feed, count: int) -> list[StoredEvent]:
    """What a feed has from its beginning, as soon as it is so many."""
    found: list[StoredEvent] = []
    cursor: Cursor = {}
    while len(found) < count:
        page = await feed.read(cursor)
        found, cursor = found + page.events, page.cursor
        if not page.events:
            await feed.grown(cursor)
    return found


class StoreEngine:
    """What a subclass says of its engine."""

    # After this long a test has failed.
    limit_s = 60.0

    def store(self, folder: Path) -> AbstractAsyncContextManager[EventStore]:
        """Opens the place in a folder; a second time, as another process would."""
        raise NotImplementedError

    async def settled(self, store: EventStore) -> None:
        """Waits until what was acknowledged here is in the log, where that is a moment later."""

    # -- for the tests ----------------------------------------------------------------------------------------------------

    def on_store(self, folder: Path, test: Test) -> None:
        """Runs a test on a fresh store."""

        async def run() -> None:
            async with self.store(folder / str(uuid.uuid4())) as store:
                await asyncio.wait_for(test(store), self.limit_s)

        asyncio.run(run())

    async def everything(self, store: EventStore, limit: int = 1000) -> list[StoredEvent]:
        """What stands in all partitions, one after the other."""
        await self.settled(store)
        return [found for log in store.partitions() for found in await drain(log, limit)]

    async def until_seen(self, store: EventStore, count: int) -> list[StoredEvent]:
        """All events of the log, as soon as this reader sees that many."""
        while len(found := await self.everything(store)) < count:
            grown = [asyncio.ensure_future(log.grown(log.head())) for log in store.partitions()]
            # Another process's events may be seen between the look and the wait: the wait is for the next look at most.
            await asyncio.wait(grown, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
            for waiting in grown:
                waiting.cancel()
        return found


class EventStoreContract(StoreEngine):
    """ES-1 … ES-5 and ES-13."""

    # -- ES-1 -------------------------------------------------------------------------------------------------------------

    def test_es1_an_append_with_the_right_version_commits_all_its_events(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            assert versions(await store.append("s", [event("a"), event("b")], NO_STREAM)) == (1, 2)
            assert versions(await store.append("s", [event("c")], 2)) == (3, 3)
            assert [e.id for e in await store.read("s")] == ["a", "b", "c"]

        self.on_store(tmp_path, test)

    def test_es1_a_wrong_version_is_a_conflict_and_writes_nothing(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            await store.append("s", [event("a")], NO_STREAM)
            assert await store.append("s", [event("b"), event("c")], NO_STREAM) == Conflict(1)
            assert await store.append("s", [event("b")], 5) == Conflict(1)
            assert [e.id for e in await store.read("s")] == ["a"]
            assert versions(await store.append("s", [event("d")], ANY)) == (2, 2)
            assert [e.id for e in await self.everything(store)] == ["a", "d"]

        self.on_store(tmp_path, test)

    def test_es1_of_many_writers_with_the_same_expectation_exactly_one_wins(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            outcomes = await asyncio.gather(*(store.append("s", [event()], NO_STREAM) for _ in range(50)))
            assert sum(isinstance(o, Committed) for o in outcomes) == 1
            assert len(await store.read("s")) == 1

        self.on_store(tmp_path, test)

    # -- ES-2 -------------------------------------------------------------------------------------------------------------

    def test_es2_the_same_events_again_answer_the_first_result_whatever_is_expected(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            first = await store.append("s", [event("a"), event("b")], NO_STREAM)
            assert isinstance(first, Committed) and not first.again
            await store.append("s", [event("c")], 2)
            for expected in (NO_STREAM, ANY, 3, 99):
                again = await store.append("s", [event("a"), event("b")], expected)
                assert again == first
                assert isinstance(again, Committed) and again.again
            assert len(await store.read("s")) == len(await self.everything(store)) == 3

        self.on_store(tmp_path, test)

    def test_es2_only_some_of_the_ids_or_another_order_is_a_conflict(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            await store.append("s", [event("a"), event("b")], NO_STREAM)
            for names in (["a", "x"], ["x", "a"], ["b", "a"], ["b", "c"]):
                assert isinstance(await store.append("s", [event(n) for n in names], ANY), Conflict), names
            assert isinstance(await store.append("s", [event("d"), event("d")], ANY), Conflict)
            assert [e.id for e in await store.read("s")] == ["a", "b"]
            assert isinstance(await store.append("other", [event("a")], NO_STREAM), Committed)

        self.on_store(tmp_path, test)

    def test_es2_an_id_is_found_in_its_stream_and_in_no_other(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            await store.append("s", [event("a"), event("b")], NO_STREAM)
            assert await store.version_of("s", "b") == 2
            assert await store.version_of("s", "c") == await store.version_of("t", "a") == 0

        self.on_store(tmp_path, test)

    # -- ES-3 -------------------------------------------------------------------------------------------------------------

    def test_es3_a_caller_who_gives_up_is_told_it_is_undecided_and_its_retry_finds_the_write(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            with pytest.raises(Undecided, match="retry with the same"):
                await store.append("s", [event("a")], NO_STREAM, timeout_s=0)
            assert versions(await store.append("s", [event("a")], NO_STREAM)) == (1, 1)
            assert len(await store.read("s")) == 1

        self.on_store(tmp_path, test)

    def test_es3_the_store_goes_on_with_what_its_caller_gave_up_or_was_stopped_in(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            with pytest.raises(Undecided):
                await store.append("s", [event("a")], NO_STREAM, timeout_s=0)
            append = asyncio.ensure_future(store.append("s", [event("b")], ANY))
            await asyncio.sleep(0)
            append.cancel()
            seen = await self.until_seen(store, 2)
            assert [e.id for e in seen] == [e.id for e in await store.read("s")] == ["a", "b"]

        self.on_store(tmp_path, test)

    def test_a_store_that_can_be_written_says_so_and_its_log_stays_as_it_is(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            await store.append("s", [event("a")], NO_STREAM)
            for _ in range(3):
                await store.writable()
            assert [e.id for e in await self.everything(store)] == ["a"]

        self.on_store(tmp_path, test)

    # -- ES-4 -------------------------------------------------------------------------------------------------------------

    def test_es4_a_stream_reads_forward_and_backward_from_a_version_with_a_limit(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            await store.append("s", [event(str(n)) for n in range(1, 8)], NO_STREAM)
            await store.append("t", [event(str(n)) for n in range(1, 8)], NO_STREAM)
            assert [e.version for e in await store.read("s")] == [1, 2, 3, 4, 5, 6, 7]
            assert [e.version for e in await store.read("s", 3, 2)] == [3, 4]
            assert [e.version for e in await store.read("s", 3, 2, backward=True)] == [3, 2]
            assert [e.version for e in await store.read("s", 0, 2, backward=True)] == [7, 6]
            assert await store.read("s", 8) == await store.read("nowhere") == []

        self.on_store(tmp_path, test)

    # -- ES-5 -------------------------------------------------------------------------------------------------------------

    def test_es5_no_reader_of_the_log_skips_an_event_while_many_write(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            seen: list[tuple[str, int]] = []

            async def read(log: Log) -> None:
                position = 0
                while True:
                    page = await log.read_log(position, 17)
                    assert all(position < e.position <= page.reached for e in page.events)
                    seen.extend((e.stream, e.version) for e in page.events)
                    position = page.reached
                    if position >= log.head():
                        await log.grown(position)

            async def write(stream: str) -> None:
                for version in range(40):
                    await store.append(stream, [event()], version)

            readers = [asyncio.ensure_future(read(log)) for log in store.partitions()]
            await asyncio.gather(*(write(f"s{n}") for n in range(10)))
            while len(seen) < 400 and not any(reader.done() for reader in readers):
                await asyncio.sleep(0.001)
            for reader in readers:
                reader.cancel()
            await asyncio.wait(readers)
            assert [reader.exception() for reader in readers if not reader.cancelled()] == []
            for n in range(10):
                assert [v for s, v in seen if s == f"s{n}"] == list(range(1, 41))

        self.on_store(tmp_path, test)

    def test_es5_every_reader_sees_the_same_order_whatever_it_reads_at_once(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            await asyncio.gather(*(store.append(f"s{n % 7}", [event(f"{n}"), event(f"{n}'")], ANY) for n in range(60)))
            await self.until_seen(store, 120)
            for log in store.partitions():
                whole = [e.id for e in await drain(log)]
                for limit in (1, 7, 100):
                    assert [e.id for e in await drain(log, limit)] == whole
            assert len(await self.everything(store)) == 120

        self.on_store(tmp_path, test)

    def test_es5_one_order_over_all_streams_is_the_order_of_the_commits(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            if not store.features.one_order:
                pytest.skip("this engine promises an order in each partition only")
            committed = [await store.append(f"s{n % 5}", [event(str(n))], ANY) for n in range(30)]
            assert [e.id for e in await self.everything(store)] == [str(n) for n in range(30)]
            positions = [outcome.position for outcome in committed if isinstance(outcome, Committed)]
            assert positions == sorted(set(positions)) and len(positions) == 30

        self.on_store(tmp_path, test)

    def test_es5_a_reader_of_some_types_gets_these_and_is_told_how_far_it_has_looked(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            for n in range(12):
                await store.append("s", [event(str(n), kind=TYPE if n % 3 else "city.Other")], ANY)
            await self.until_seen(store, 12)
            (log,) = [log for log in store.partitions() if await drain(log)]
            others = await drain(log, 2, ["city.Other"])
            assert [e.id for e in others] == ["0", "3", "6", "9"]
            page = await log.read_log(0, types=["city.Never"])
            assert (page.events, page.reached >= others[-1].position) == ([], True)

        self.on_store(tmp_path, test)

    def test_es5_several_processes_write_and_see_one_log(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with self.store(tmp_path) as one, self.store(tmp_path) as two:
                if not one.features.several_processes:
                    pytest.skip("this engine is for one process")
                for n in range(20):
                    writer = one if n % 2 else two
                    assert isinstance(await writer.append("s", [event(str(n))], n), Committed)
                assert await one.append("s", [event("late")], 3) == Conflict(20)
                for store in (one, two):
                    assert [e.id for e in await self.until_seen(store, 20)] == [str(n) for n in range(20)]

        asyncio.run(asyncio.wait_for(test(), self.limit_s))

    def test_what_was_acknowledged_is_there_when_the_place_is_opened_again(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with self.store(tmp_path) as store:
                if not store.features.durable:
                    pytest.skip("this engine keeps nothing")
                first = await store.append("s", [event("a"), event("b")], NO_STREAM)
            async with self.store(tmp_path) as store:
                assert [e.id for e in await self.until_seen(store, 2)] == ["a", "b"]
                assert await store.append("s", [event("a"), event("b")], NO_STREAM) == first
                assert versions(await store.append("s", [event("c")], 2)) == (3, 3)

        asyncio.run(asyncio.wait_for(test(), self.limit_s))

    # -- ES-13, ES-14 -----------------------------------------------------------------------------------------------------

    def test_es13_an_event_comes_back_with_everything_it_was_given(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            given = event("a", data="西湖区".encode(), correlation_id="inc-1", sealed=b"\0what nobody can read")
            await store.append("s", [given], NO_STREAM)
            await store.append("s", [event("b", correlation_id="inc-2")], 1)
            await self.until_seen(store, 2)
            (told,) = await fed(store.feed(correlation_id="inc-1"), 1)
            read, _ = await store.read("s")
            logged, _ = await self.everything(store)
            for found in (told, read, logged):
                assert {name: getattr(found, name) for name in NewEvent.__dataclass_fields__} == {
                    name: getattr(given, name) for name in NewEvent.__dataclass_fields__
                }
                assert (found.stream, found.version) == ("s", 1)
                assert found.recorded_at > 1_700_000_000_000_000
            assert told._replace(position=0) == read._replace(position=0) == logged._replace(position=0)

        self.on_store(tmp_path, test)

    # -- feeds ------------------------------------------------------------------------------------------------------------

    def test_a_feed_goes_on_from_where_it_was_and_hears_what_comes_each_stream_in_order(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            async def write(first: int, last: int) -> None:
                for number in range(first, last):
                    for stream in ("a", "b", "c"):
                        await store.append(stream, [event(f"{stream}{number}", correlation_id=f"inc-{stream}")], ANY)
                    await store.append("a", [event(f"other{number}", kind="city.Other")], ANY)

            await write(0, 5)
            feeds = {"types": store.feed([TYPE]), "correlated": store.feed(correlation_id="inc-a"), "all": store.feed()}
            wanted = {"types": 30, "correlated": 10, "all": 40}
            found: dict[str, list[StoredEvent]] = {name: [] for name in feeds}
            cursors: dict[str, Cursor] = {name: {} for name in feeds}
            writing = asyncio.ensure_future(write(5, 10))
            for name, feed in feeds.items():
                while len(found[name]) < wanted[name]:
                    # Read anew each time, as who comes back with a token does.
                    page = await feed.read(cursors[name], 3)
                    found[name] += page.events
                    cursors[name] = page.cursor
                    if not page.events and feed.ended(page.cursor):
                        await feed.grown(page.cursor)
            await writing
            for name, feed in feeds.items():
                assert (await feed.read(cursors[name])).events == []
                heard = [one.id for one in found[name]]
                assert len(set(heard)) == len(heard) == wanted[name]
                for stream in ("a", "b", "c"):
                    mine = [one.version for one in found[name] if one.stream == stream]
                    assert mine == sorted(mine)
            assert {one.stream for one in found["correlated"]} == {"a"}

        self.on_store(tmp_path, test)

    def test_the_places_of_a_moment_part_what_was_recorded_before_it_from_what_was_recorded_later(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            async def after(place: Cursor, count: int) -> set[str]:
                found: set[str] = set()
                reading = store.feed([TYPE])
                while len(found) < count or not reading.ended(place):
                    page = await reading.read(place, 4)
                    found, place = found | {one.id for one in page.events}, page.cursor
                return found

            for number in range(20):
                await store.append(f"s{number % 5}", [event(f"e{number}")], ANY)
            logged = await self.until_seen(store, 20)
            for middle in (logged[0], logged[len(logged) // 2]):
                moment = middle.recorded_at
                later = {one.id for one in logged if one.recorded_at >= moment}
                assert await after(await place_before(store.partitions([TYPE]), moment), len(later)) == later
                assert await after(await place_after(store.partitions([TYPE]), moment), len(later)) == later
            now = place_now(store.partitions([TYPE]))
            assert await after(now, 0) == set()
            await store.append("s1", [event("new")], ANY)
            await self.until_seen(store, 21)
            assert await after(now, 1) == {"new"}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("citybrain.event_store.feed._CLOCKS_DIFFER_S", 0)
            self.on_store(tmp_path, test)

    def test_a_feed_in_time_has_all_events_in_the_order_in_which_they_were_recorded(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            for number in range(30):
                await store.append(f"s{number % 7}", [event(f"e{number}")], ANY)
                await store.append(f"s{number % 7}", [event(kind="city.Other")], ANY)
            await self.until_seen(store, 60)
            place: Cursor = {}
            found: list[StoredEvent] = []
            while len(found) < 30:
                # Read anew each time, as who comes back with a token does.
                partitions = {partition.name: partition for partition in store.partitions([TYPE])}
                page = await FeedInTime(partitions, [TYPE]).read(place, 4)
                assert page.events
                found, place = found + page.events, page.cursor
            assert [one.id for one in found] == [f"e{number}" for number in range(30)]

        self.on_store(tmp_path, test)


def versions(outcome: Committed | Conflict) -> tuple[int, int]:
    """The versions that were written; a conflict has none."""
    assert isinstance(outcome, Committed), outcome
    return outcome.first, outcome.last
