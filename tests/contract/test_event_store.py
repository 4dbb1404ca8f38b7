"""The promises of the event store, one by one. Every engine passes this suite."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.event_store import contract
from citybrain.event_store.contract import ANY, NO_STREAM, Committed, Conflict, LimitExceeded, NewEvent
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.subscription import Batch, Subscription
from citybrain.event_store.views import ViewFile
from tests.helpers.parking import Parking

Test = Callable[[SqliteEventStore], Coroutine[Any, Any, None]]


def event(name: str = "", data: bytes = b"x", story: str = "") -> NewEvent:
    return NewEvent(
        id=name or str(uuid.uuid4()), type="city.Tested", data=data, occurred_at=7, traceparent="00-a-b-01",
        correlation_id=story, causation_id="cause", actor="tester", district="西湖", classification=1,
    )  # fmt: skip


def on_store(folder: Path, test: Test) -> None:
    """Runs a test on a fresh store."""

    async def run() -> None:
        store = SqliteEventStore(folder / f"{uuid.uuid4()}.db")
        try:
            await asyncio.wait_for(test(store), 60)
        finally:
            store.close()

    asyncio.run(run())


def test_es1_an_append_with_the_right_version_commits_all_its_events(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        assert await store.append("s", [event("a"), event("b")], NO_STREAM) == Committed(1, 2, 2)
        assert await store.append("s", [event("c")], 2) == Committed(3, 3, 3)
        assert [e.id for e in await store.read("s")] == ["a", "b", "c"]

    on_store(tmp_path, test)


def test_es1_a_wrong_version_is_a_conflict_and_writes_nothing(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await store.append("s", [event("a")], NO_STREAM)
        assert await store.append("s", [event("b"), event("c")], NO_STREAM) == Conflict(1)
        assert await store.append("s", [event("b")], 5) == Conflict(1)
        assert [e.id for e in await store.read("s")] == ["a"]
        assert await store.append("s", [event("d")], ANY) == Committed(2, 2, 2)

    on_store(tmp_path, test)


def test_es1_of_many_writers_with_the_same_expectation_exactly_one_wins(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        outcomes = await asyncio.gather(*(store.append("s", [event()], NO_STREAM) for _ in range(50)))
        assert sum(isinstance(o, Committed) for o in outcomes) == 1
        assert len(await store.read("s")) == 1

    on_store(tmp_path, test)


def test_es2_the_same_events_again_answer_the_first_result_whatever_is_expected(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        first = await store.append("s", [event("a"), event("b")], NO_STREAM)
        await store.append("s", [event("c")], 2)
        for expected in (NO_STREAM, ANY, 3, 99):
            assert await store.append("s", [event("a"), event("b")], expected) == first
        assert len(await store.read("s")) == 3

    on_store(tmp_path, test)


def test_es2_only_some_of_the_ids_or_another_order_is_a_conflict(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await store.append("s", [event("a"), event("b")], NO_STREAM)
        for names in (["a", "x"], ["b", "a"], ["b", "c"]):
            assert isinstance(await store.append("s", [event(n) for n in names], ANY), Conflict)
        assert isinstance(await store.append("s", [event("d"), event("d")], ANY), Conflict)
        assert len(await store.read("s")) == 2
        assert isinstance(await store.append("other", [event("a")], NO_STREAM), Committed)

    on_store(tmp_path, test)


def test_es3_a_caller_who_gives_up_is_told_it_is_undecided_and_its_retry_finds_the_write(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        try:
            await store.append("s", [event("a")], NO_STREAM, timeout_s=0)
        except contract.Undecided:
            pass
        else:
            pytest.fail("an append that nobody waits for cannot be known to be decided")
        assert await store.append("s", [event("a")], NO_STREAM) == Committed(1, 1, 1)

    on_store(tmp_path, test)


def test_es4_a_stream_reads_forward_and_backward_from_a_version_with_a_limit(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await store.append("s", [event(str(n)) for n in range(1, 8)], NO_STREAM)
        assert [e.version for e in await store.read("s")] == [1, 2, 3, 4, 5, 6, 7]
        assert [e.version for e in await store.read("s", 3, 2)] == [3, 4]
        assert [e.version for e in await store.read("s", 3, 2, backward=True)] == [3, 2]
        assert [e.version for e in await store.read("s", 0, 2, backward=True)] == [7, 6]
        assert await store.read("nowhere") == []

    on_store(tmp_path, test)


def test_es5_no_reader_of_the_log_skips_an_event_while_many_write(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        seen: list[tuple[str, int]] = []
        position = 0

        async def read() -> None:
            nonlocal position
            while len(seen) < 400:
                page = await store.read_log(position, 17)
                seen.extend((e.stream, e.version) for e in page.events)
                position = page.reached
                if position >= store.head() and len(seen) < 400:
                    await store.grown(position)

        async def write(stream: str) -> None:
            for version in range(40):
                await store.append(stream, [event()], version)

        await asyncio.gather(read(), *(write(f"s{n}") for n in range(10)))
        for n in range(10):
            assert [v for s, v in seen if s == f"s{n}"] == list(range(1, 41))

    on_store(tmp_path, test)


def test_es5_a_second_process_sees_what_the_first_one_wrote_in_the_same_order(tmp_path: Path) -> None:
    async def test() -> None:
        one, two = SqliteEventStore(tmp_path / "e.db"), SqliteEventStore(tmp_path / "e.db")
        for n in range(20):
            writer = one if n % 2 else two
            assert isinstance(await writer.append("s", [event(str(n))], n), Committed)
        for store in (one, two):
            while store.head() < 20:
                await asyncio.wait_for(store.grown(store.head()), 30)
            assert [e.id for e in (await store.read_log(0)).events] == [str(n) for n in range(20)]
            store.close()

    asyncio.run(test())


def test_es6_a_subscription_catches_up_and_goes_live_without_a_gap(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        seen: list[str] = []

        async def handle(batch: Batch) -> None:
            seen.extend(e.id for e in batch.events)

        for n in range(30):
            await store.append("s", [event(str(n))], n)
        subscription = Subscription(store, Parking(), 10, ["city.Tested"], handle, batch=7)
        task = asyncio.create_task(subscription.run())
        for n in range(30, 60):
            await store.append("s", [event(str(n))], n)
        await until(lambda: subscription.at_rest)
        task.cancel()
        assert seen == [str(n) for n in range(10, 60)]

    on_store(tmp_path, test)


def test_es6_a_failing_batch_is_tried_again_and_nothing_after_it_is_skipped(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        seen: list[str] = []
        failures = 2

        async def handle(batch: Batch) -> None:
            nonlocal failures
            if failures:
                failures -= 1
                raise RuntimeError("not yet")
            seen.extend(e.id for e in batch.events)

        await store.append("s", [event("a"), event("b")], NO_STREAM)
        subscription = Subscription(store, Parking(), 0, ["city.Tested"], handle)
        task = asyncio.create_task(subscription.run())
        await until(lambda: subscription.at_rest)
        task.cancel()
        assert seen == ["a", "b"]

    on_store(tmp_path, test)


def test_es7_a_member_that_lost_the_partition_is_refused_and_its_rows_are_not_written(tmp_path: Path) -> None:
    file = ViewFile(tmp_path / "views.db")
    old, position = file.join("group")
    assert position == 0
    file.save("group", old, 5, "view", {"k": {"n": 1}})
    new, position = file.join("group")
    assert position == 5
    with pytest.raises(contract.LostAssignment):
        file.save("group", old, 9, "view", {"k": {"n": 2}})
    assert file.get("view", "k") == {"n": 1}
    file.save("group", new, 7, "view", {"k": None, "中文": {"区": "西湖"}})
    assert file.scan("view") == [("中文", {"区": "西湖"})]


def test_es13_an_event_comes_back_with_everything_it_was_given(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await store.append("s", [event("a", data="西湖区".encode(), story="inc-1")], NO_STREAM)
        (read,) = (await store.read_story("inc-1", 0)).events
        assert (read.id, read.type, read.stream, read.version, read.position) == ("a", "city.Tested", "s", 1, 1)
        assert (read.occurred_at, read.traceparent, read.correlation_id, read.causation_id) == (
            7,
            "00-a-b-01",
            "inc-1",
            "cause",
        )
        assert (read.actor, read.district, read.classification, read.data.decode()) == ("tester", "西湖", 1, "西湖区")
        assert read.recorded_at > 1_700_000_000_000_000

    on_store(tmp_path, test)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("s", []),
        ("", [event()]),
        ("s" * 201, [event()]),
        ("区" * 67, [event()]),
        ("s", [event(data=b"x" * (contract.MAX_EVENT_BYTES + 1))]),
        ("s", [event() for _ in range(101)]),
        ("s", [event(data=b"x" * contract.MAX_EVENT_BYTES) for _ in range(5)]),
    ],
)
def test_es14_an_append_over_the_limits_is_refused_and_writes_nothing(
    tmp_path: Path, stream: str, events: list[NewEvent]
) -> None:
    async def test(store: SqliteEventStore) -> None:
        with pytest.raises(LimitExceeded):
            await store.append(stream, events, ANY)
        assert store.head() == 0

    on_store(tmp_path, test)


def test_a_store_that_can_be_written_says_so_and_its_log_stays_as_it_is(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await store.append("s", [event("a")], NO_STREAM)
        for _ in range(3):
            await store.writable()
        assert (store.head(), [e.id for e in (await store.read_log(0)).events]) == (1, ["a"])

    on_store(tmp_path, test)


Step = tuple[str, list[int], int]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.lists(st.integers(0, 9), min_size=1, max_size=3), st.integers(-1, 6)), max_size=20
    )
)
def test_es1_es2_es4_any_sequence_of_appends_agrees_with_a_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    model: dict[str, list[str]] = {"a": [], "b": []}

    async def test(store: SqliteEventStore) -> None:
        for stream, numbers, expected in steps:
            ids = [str(n) for n in numbers]
            log = model[stream]
            outcome = await store.append(stream, [event(i) for i in ids], expected)
            if any(i in log for i in ids):
                together = ids[0] in log and log[log.index(ids[0]) : log.index(ids[0]) + len(ids)] == ids
                assert isinstance(outcome, Committed) == together
            elif len(set(ids)) == len(ids) and expected in (ANY, len(log)):
                assert isinstance(outcome, Committed) and (outcome.first, outcome.last) == (len(log) + 1, len(log) + len(ids))
                log.extend(ids)
            else:
                assert outcome == Conflict(len(log))
            read = await store.read(stream)
            assert [e.id for e in read] == log
            assert [e.version for e in read] == list(range(1, len(log) + 1))

    on_store(tmp_path_factory.mktemp("model"), test)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition; the test's own limit says when it hangs."""
    while not condition():
        await asyncio.sleep(0.001)
