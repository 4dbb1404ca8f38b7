"""Who hears only some types is not woken by events of others, and is at the head of the log all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from citybrain.event_store.parking import GroupMemory
from citybrain.event_store.read_models import Dropped, Parked
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import ANY, LogPage, NewEvent
from citybrain.event_store.subscription import Batch, Subscription


class Nothing(GroupMemory):
    """Nothing is parked."""

    @override
    async def park(self, events: Sequence[Parked]) -> None:
        raise AssertionError("nothing fails here")

    @override
    async def parked(self) -> list[Parked]:
        return []

    @override
    async def asked(self) -> int:
        return 0

    @override
    async def dropped(self, after: int) -> list[Dropped]:
        return []


class Counting(SqliteEventStore):
    """Counts how often the log is read."""

    reads = 0

    @override
    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        self.reads += 1
        return await super().read_log(after, limit, types)


class Heard:
    """A subscription to some types that is up, and what it heard."""

    def __init__(self, store: SqliteEventStore, types: Collection[str] | None, **options: Any) -> None:
        self.ids: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.subscription = Subscription(store, Nothing(), 0, types, self._handle, **options)
        self.task = asyncio.ensure_future(self.subscription.run())

    async def _handle(self, batch: Batch) -> None:
        await self.gate.wait()
        self.ids += [event.id for event in batch.events]


def event(name: str, kind: str) -> NewEvent:
    return NewEvent(id=name, type=f"city.{kind}", data=b"x", occurred_at=7)


def run(tmp_path: Path, test: Callable[[Counting], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        store = Counting(tmp_path / "e.db")
        try:
            await asyncio.wait_for(test(store), 30)
        finally:
            store.close()

    asyncio.run(limited())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_events_of_other_types_wake_nobody_and_it_is_at_the_head_all_the_same(tmp_path: Path) -> None:
    async def test(store: Counting) -> None:
        heard = Heard(store, ["city.A"])
        await until(lambda: heard.subscription.at_rest)
        before = store.reads
        for number in range(5):
            await store.append("s", [event(f"b{number}", "B")], ANY)
            assert heard.subscription.at_rest and heard.subscription.position == store.head()
        assert store.reads == before
        await store.append("s", [event("a", "A")], ANY)
        await until(lambda: heard.ids == ["a"] and heard.subscription.at_rest)
        heard.task.cancel()

    run(tmp_path, test)


def test_what_it_hears_it_has_not_reached_before_it_is_handled(tmp_path: Path) -> None:
    async def test(store: Counting) -> None:
        heard = Heard(store, ["city.A"])
        await until(lambda: heard.subscription.at_rest)
        heard.gate.clear()
        await store.append("s", [event("b", "B")], ANY)
        asyncio.get_running_loop().call_soon(heard.gate.set)
        # In the same moment in which the log has grown, before anybody could do anything.
        grown = store._advance

        def looks(head: int, written: Any) -> None:
            grown(head, written)
            assert not heard.subscription.at_rest
            assert heard.subscription.position == 1

        store._advance = looks  # type: ignore[method-assign]
        await store.append("s", [event("b2", "B"), event("a", "A")], ANY)
        await until(lambda: heard.ids == ["a"] and heard.subscription.position == 3)
        heard.task.cancel()

    run(tmp_path, test)


def test_what_another_process_has_written_is_looked_at_because_its_types_are_not_known(tmp_path: Path) -> None:
    async def test(store: Counting) -> None:
        heard = Heard(store, ["city.A"])
        await until(lambda: heard.subscription.at_rest)
        other = SqliteEventStore(tmp_path / "e.db")
        await other.append("s", [event("b", "B"), event("a", "A")], ANY)
        await until(lambda: heard.ids == ["a"])
        # And what this process writes behind it.
        await store.append("s", [event("a2", "A")], ANY)
        await until(lambda: heard.ids == ["a", "a2"])
        other.close()
        heard.task.cancel()

    run(tmp_path, test)


def test_who_hears_everything_or_stores_its_place_is_woken_by_every_event(tmp_path: Path) -> None:
    async def test(store: Counting) -> None:
        all_of_them, keeper = Heard(store, None), Heard(store, ["city.A"], keeps_place=lambda: True)
        await until(lambda: all_of_them.subscription.at_rest and keeper.subscription.at_rest)
        before = store.reads
        await store.append("s", [event("b", "B")], ANY)
        await until(lambda: all_of_them.ids == ["b"] and store.reads == before + 2)
        for heard in (all_of_them, keeper):
            heard.task.cancel()

    run(tmp_path, test)


def test_who_gives_up_waits_for_nothing_any_more(tmp_path: Path) -> None:
    async def test(store: Counting) -> None:
        heard = Heard(store, ["city.A"])
        await until(lambda: heard.subscription.at_rest)
        heard.task.cancel()
        await asyncio.wait([heard.task])
        await until(lambda: not store._waiting_for)
        assert heard.subscription.position == 0

    run(tmp_path, test)
