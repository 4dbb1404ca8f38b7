"""An event that fails for good: it waits with its stream, everybody else goes on, and nothing is lost (ES-8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from citybrain.event_store.contract import ANY, LostAssignment, NewEvent, StoreError
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.subscription import Batch, Subscription
from citybrain.event_store.views import Parked, ViewFile

GROUP = "group"


class Member:
    """A member of a group on a real file; some of what it hears is poison."""

    def __init__(self, store: SqliteEventStore, folder: Path, poison: set[str]) -> None:
        self.store = store
        self.file = ViewFile(folder / "views.db")
        self.epoch, self.position = self.file.join(GROUP)
        self.poison = poison
        self.seen: list[str] = []
        self.tries = 0
        self.error: Exception = ValueError("王芳 is in here")

    async def park(self, events: Sequence[Parked]) -> None:
        self.file.park(GROUP, self.epoch, events)

    async def parked(self) -> list[Parked]:
        return self.file.parked(GROUP)

    async def handle(self, batch: Batch) -> None:
        rows: dict[str, dict[str, Any] | None] = {}
        for event in batch.events:
            if event.id in self.poison:
                self.tries += 1
                raise self.error
            rows[event.id] = {"at": event.position}
        self.file.save(GROUP, self.epoch, batch.reached, "seen", rows, batch.unparked)
        self.seen += [event.id for event in batch.events]

    def subscribe(self, **options: Any) -> Subscription:
        options = {"park_after": 2, "lasting": lambda error: not isinstance(error, StoreError), **options}
        return Subscription(self.store, self, self.position, ["t"], self.handle, **options)


def on_store(folder: Path, test: Callable[[SqliteEventStore], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        store = SqliteEventStore(folder / "events.db")
        try:
            await asyncio.wait_for(test(store), 60)
        finally:
            store.close()

    asyncio.run(run())


async def write(store: SqliteEventStore, *names: str) -> None:
    """`a1` is the event a1 of the stream a."""
    for name in names:
        await store.append(name[0], [NewEvent(id=name, type="t", data=b"", occurred_at=1)], ANY)


async def while_running(subscription: Subscription, done: Callable[[], bool]) -> None:
    task = asyncio.create_task(subscription.run())
    while not done():
        await asyncio.sleep(0.001)
        if task.done():
            task.result()
    task.cancel()
    await asyncio.wait([task])


def parked(member: Member) -> list[str]:
    return [event.event_id for event in member.file.parked(GROUP)]


def test_a_poison_event_and_the_later_ones_of_its_stream_wait_while_other_streams_go_on(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await write(store, "a1", "b1", "a2", "b2")
        member = Member(store, tmp_path, {"a1"})
        subscription = member.subscribe()
        told: list[Parked] = []
        subscription._on_parked = told.append
        await while_running(subscription, lambda: subscription.at_rest)
        assert member.seen == ["b1", "b2"]
        assert parked(member) == ["a1", "a2"]
        assert [event.event_id for event in told] == ["a1"]
        assert member.tries == 3, "once in the whole batch, twice alone"
        assert member.file.position(GROUP) == 4
        assert subscription.blocked == 1

    on_store(tmp_path, test)


def test_what_is_parked_holds_no_payload_and_says_where_it_failed_but_not_with_what(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await write(store, "a1")
        member = Member(store, tmp_path, {"a1"})
        subscription = member.subscribe()
        await while_running(subscription, lambda: subscription.at_rest)
        (event,) = member.file.parked(GROUP)
        assert "ValueError in handle (test_parking.py:" in event.reason
        assert "王芳" not in event.reason

    on_store(tmp_path, test)


def test_after_a_restart_a_blocked_stream_is_still_blocked(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await write(store, "a1", "b1")
        first = Member(store, tmp_path, {"a1"})
        subscription = first.subscribe()
        await while_running(subscription, lambda: subscription.at_rest)
        await write(store, "a2", "b2")
        again = Member(store, tmp_path, set())
        subscription = again.subscribe()
        await while_running(subscription, lambda: subscription.at_rest)
        assert again.seen == ["b2"]
        assert parked(again) == ["a1", "a2"]

    on_store(tmp_path, test)


def test_replayed_events_are_handled_in_order_before_live_ones_of_their_stream(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await write(store, "a1", "a2", "b1")
        member = Member(store, tmp_path, {"a1"})
        subscription = member.subscribe()
        await while_running(subscription, lambda: subscription.at_rest)
        member.poison.clear()
        member.position = subscription.position
        assert member.file.ask_replay(GROUP, "a") == 2
        await write(store, "a3", "b2")
        subscription = member.subscribe()
        await while_running(subscription, lambda: len(member.seen) == 5)
        assert [name for name in member.seen if name[0] == "a"] == ["a1", "a2", "a3"]
        assert parked(member) == []
        assert subscription.blocked == 0

    on_store(tmp_path, test)


def test_a_member_at_rest_is_woken_by_who_asks_for_a_replay(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await write(store, "a1")
        member = Member(store, tmp_path, {"a1"})
        subscription = member.subscribe()
        task = asyncio.create_task(subscription.run())
        while not (subscription.at_rest and subscription.blocked):
            await asyncio.sleep(0.001)
        member.poison.clear()
        member.file.ask_replay(GROUP, "a")
        subscription.look_again()
        while subscription.blocked:
            await asyncio.sleep(0.001)
        task.cancel()
        assert member.seen == ["a1"]

    on_store(tmp_path, test)


def test_a_replay_that_fails_again_leaves_the_stream_parked_as_it_was(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await write(store, "a1", "a2")
        member = Member(store, tmp_path, {"a1", "a2"})
        subscription = member.subscribe()
        await while_running(subscription, lambda: subscription.at_rest)
        member.poison.discard("a1")
        member.file.ask_replay(GROUP, "a")
        member.position = subscription.position
        subscription = member.subscribe()
        await while_running(subscription, lambda: member.seen == ["a1"])
        assert parked(member) == ["a2"]
        assert not any(event.replay for event in member.file.parked(GROUP))

    on_store(tmp_path, test)


def test_a_dropped_event_is_never_handled_its_reason_is_kept_and_the_rest_of_its_stream_goes_on(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await write(store, "a1", "a2")
        member = Member(store, tmp_path, {"a1"})
        subscription = member.subscribe()
        await while_running(subscription, lambda: subscription.at_rest)
        (first, _) = member.file.parked(GROUP)
        assert member.file.drop(GROUP, first.position, "sent twice by the old terminal", "sre", 7)
        assert not member.file.drop(GROUP, first.position, "again", "sre", 8)
        member.position = subscription.position
        subscription = member.subscribe()
        await while_running(subscription, lambda: member.seen == ["a2"])
        kept = member.file._db.execute("SELECT event_id, reason, who FROM dropped").fetchall()
        assert kept == [("a1", "sent twice by the old terminal", "sre")]

    on_store(tmp_path, test)


def test_what_is_not_the_events_fault_is_tried_again_for_ever(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await write(store, "a1", "a2")
        member = Member(store, tmp_path, {"a1"})
        member.error = StoreError("the disk is full")
        subscription = member.subscribe(park_after=1)
        task = asyncio.create_task(subscription.run())
        while member.tries < 4:
            await asyncio.sleep(0.001)
        assert subscription.failing
        assert parked(member) == []
        member.poison.clear()
        while not subscription.at_rest:
            await asyncio.sleep(0.001)
        task.cancel()
        assert member.seen == ["a1", "a2"]

    on_store(tmp_path, test)


def test_a_member_that_lost_its_group_parks_nothing(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await write(store, "a1")
        member = Member(store, tmp_path, {"a1"})
        subscription = member.subscribe()
        Member(store, tmp_path, set())
        with pytest.raises(LostAssignment):
            await subscription.run()
        assert parked(member) == []

    on_store(tmp_path, test)


def test_what_a_handler_did_on_its_way_is_not_handed_out_again(tmp_path: Path) -> None:
    async def test(store: SqliteEventStore) -> None:
        await write(store, "a1", "b1", "c1")
        member = Member(store, tmp_path, {"b1"})
        heard: list[str] = []

        async def one_by_one(batch: Batch) -> None:
            for event in batch.events:
                heard.append(event.id)
                await member.handle(Batch([event], batch.reached))
                subscription.done(event)
            member.file.save(GROUP, member.epoch, batch.reached)

        subscription = member.subscribe()
        subscription._handle = one_by_one
        await while_running(subscription, lambda: subscription.at_rest)
        assert heard == ["a1", "b1", "b1", "b1", "c1"]

    on_store(tmp_path, test)
