"""What a subscription does on an engine's log and read models: nothing skipped, effects once, poison set aside (ES-6 … ES-8).

It is asked of each partition of the log by a member that works as the kit's do: it folds what it hears into rows. (It is long
because a promise is kept in one place.)
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from citybrain.event_store import parking
from citybrain.event_store.parking import GroupMemory
from citybrain.event_store.read_models import Dropped, Parked, ReadModels, Row, given_over
from citybrain.event_store.store import ANY, EventStore, LostAssignment, Partition, StoredEvent, StoreError
from citybrain.event_store.subscription import Batch, Subscription
from tests.contract.read_models import ReadModelsEngine
from tests.contract.store import TYPE, StoreEngine, event

GROUP = "group"
Test = Callable[[EventStore, ReadModels], Awaitable[None]]


class Member(GroupMemory):
    """A member of a group on one partition: a row per event, that counts how often it was folded in. Some events are poison."""

    def __init__(self, partition: Partition, models: ReadModels, poison: Collection[str] = (), group: str = GROUP) -> None:
        self.partition = partition
        self.log = partition.for_group(models, group)
        self.models = models
        self.poison = set(poison)
        self.group = group
        self.heard: list[StoredEvent] = []
        self.tries = 0
        # How often all that is parked was read.
        self.read = 0
        self.error: Exception = ValueError("王芳 is in here")
        self.told: list[Parked] = []

    async def join(self, start: int = 0, **options: Any) -> Subscription:
        """Takes the group over; the subscription goes on where it stands."""
        self.epoch, position = await self.models.join(self.group, start)
        options = {"park_after": 2, "lasting": lambda error: not isinstance(error, StoreError), **options}
        self.subscription = Subscription(self.log, self, position, [TYPE], self.handle, on_parked=self.told.append, **options)
        return self.subscription

    @override
    async def park(self, events: Sequence[Parked]) -> None:
        await self.models.park(self.group, self.epoch, events)

    @override
    async def parked(self) -> list[Parked]:
        self.read += 1
        return await self.models.parked(self.group)

    @override
    async def asked(self) -> int:
        return await self.models.asked(self.group)

    @override
    async def dropped(self, after: int) -> list[Dropped]:
        return await self.models.dropped(self.group, after)

    async def handle(self, batch: Batch) -> None:
        """Folds a batch, as a view does."""
        known = await self.models.load("seen", [e.id for e in batch.events])
        rows: dict[str, Row | None] = {}
        for heard in batch.events:
            if heard.id in self.poison:
                self.tries += 1
                raise self.error
            kept = known.get(heard.id)
            if kept is None or not kept.holds(self.group, heard.position, bool(batch.unparked)):
                rows[heard.id] = {"times": ((kept and kept.row) or {"times": 0})["times"] + 1}
        seen = self.log.seen(batch.reached)
        await self.models.save(self.group, self.epoch, batch.reached, "seen", rows, batch.unparked, kept=known, seen=seen)
        self.heard += batch.events

    @property
    def seen(self) -> list[str]:
        """What it has handled, in order."""
        return [heard.id for heard in self.heard]

    async def waiting(self) -> list[str]:
        """What is parked."""
        return [parked.event_id for parked in await self.parked()]

    async def waits(self, *names: str) -> bool:
        """Whether just these are parked, and all of them wait for somebody."""
        parked = await self.parked()
        return [one.event_id for one in parked] == list(names) and given_over(parked) == parked


async def running(subscription: Subscription, until: Callable[[], bool | Awaitable[bool]]) -> None:
    """Runs a subscription until a condition holds; what ends it earlier is raised."""
    task = asyncio.create_task(subscription.run())
    try:
        while True:
            holds = until()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.001)
            if task.done():
                task.result()
                raise AssertionError("the subscription ended")
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


async def write(store: EventStore, *names: str) -> None:
    """`a1` is the event a1 of the stream a."""
    for name in names:
        await store.append(name[0], [event(name)], ANY)


async def write_to_the_log(store: EventStore, *names: str) -> None:
    """Writes them; each can be read in the log when this has returned."""
    await write(store, *names)
    missing = set(names)
    while missing:
        for partition in store.partitions():
            missing -= {found.id for found in (await partition.read_log(0)).events}
        await asyncio.sleep(0.001)


class LogContract(StoreEngine, ReadModelsEngine):
    """ES-6, ES-7, ES-8."""

    def on_both(self, folder: Path, test: Test) -> None:
        """Runs a test on a fresh store with fresh read models."""

        async def run() -> None:
            place = folder / str(uuid.uuid4())
            async with self.store(place) as store, self.models(place) as models:
                await asyncio.wait_for(test(store, models), self.limit_s)

        asyncio.run(run())

    async def member(self, store: EventStore, models: ReadModels, stream: str, poison: Collection[str] = ()) -> Member:
        """A member for the partition that holds a stream's events, which must have some."""
        while True:
            for number, log in enumerate(store.partitions()):
                page = await log.read_log(0)
                if any(found.stream == stream for found in page.events):
                    return Member(log, models, poison, f"{GROUP}/{number}")
            await asyncio.sleep(0.001)

    async def members(self, store: EventStore, models: ReadModels, streams: str) -> list[Member]:
        """A member for each partition that holds events of some streams, the one that holds most first."""
        groups = {(await self.member(store, models, stream)).group for stream in streams}
        logs = {f"{GROUP}/{number}": log for number, log in enumerate(store.partitions())}
        found = [(len((await logs[group].read_log(0)).events), group) for group in groups]
        return [Member(logs[group], models, group=group) for _, group in sorted(found, reverse=True)]

    # -- ES-6 -------------------------------------------------------------------------------------------------------------

    def test_es6_what_was_is_caught_up_and_what_comes_is_heard_without_a_gap(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, *(f"s{n}" for n in range(30)))
            member = await self.member(store, models, "s")
            subscription = await member.join(batch=7)
            begun = asyncio.create_task(running(subscription, lambda: len(member.seen) >= 60 and subscription.at_rest))
            await write_to_the_log(store, *(f"s{n}" for n in range(30, 60)))
            await begun
            assert member.seen == [f"s{n}" for n in range(60)]
            assert await models.position(member.group) == subscription.position

        self.on_both(tmp_path, test)

    def test_es6_a_group_begins_behind_a_position_and_hears_its_types_only(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "s1", "s2")
            member = await self.member(store, models, "s")
            second = (await member.log.read_log(0, 1)).reached
            await store.append("s", [event("other", kind="city.Other"), event("s3")], ANY)
            subscription = await member.join(second)
            await running(subscription, lambda: len(member.seen) >= 2)
            assert member.seen == ["s2", "s3"]

        self.on_both(tmp_path, test)

    def test_es6_a_failing_batch_is_tried_again_and_nothing_behind_it_is_skipped(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "s1", "s2")
            member = await self.member(store, models, "s", {"s1"})
            subscription = await member.join(park_after=None)
            begun = asyncio.create_task(running(subscription, lambda: len(member.seen) >= 2))
            while member.tries < 2:
                await asyncio.sleep(0.001)
            assert subscription.failing
            assert await models.position(member.group) == 0
            member.poison.clear()
            await begun
            assert member.seen == ["s1", "s2"]
            assert not subscription.failing

        self.on_both(tmp_path, test)

    # -- ES-7 -------------------------------------------------------------------------------------------------------------

    def test_es7_however_often_a_member_is_cut_off_each_event_is_folded_in_once(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            names = [f"{'ab'[n % 2]}{n}" for n in range(40)]
            await write_to_the_log(store, *names)
            places = {(await self.member(store, models, stream)).group for stream in "ab"}
            for turn in range(40):
                for number, log in enumerate(store.partitions()):
                    if f"{GROUP}/{number}" not in places:
                        continue
                    member = Member(log, models, group=f"{GROUP}/{number}")
                    task = asyncio.create_task((await member.join(batch=3)).run())
                    # Cut off a little further each time: before it reads, while it folds, while it saves.
                    for _ in range(turn):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.wait([task])
            for number, log in enumerate(store.partitions()):
                member = Member(log, models, group=f"{GROUP}/{number}")
                subscription = await member.join()
                await running(subscription, lambda subscription=subscription: subscription.at_rest)  # type: ignore[misc]
            rows = dict(await models.scan("seen"))
            assert rows == {name: {"times": 1} for name in names}

        self.on_both(tmp_path, test)

    def test_es7_a_member_whose_group_was_taken_over_ends_and_writes_nothing_more(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "s1")
            member = await self.member(store, models, "s")
            subscription = await member.join()
            await running(subscription, lambda: member.seen == ["s1"])
            newer = Member(member.partition, models, group=member.group)
            await newer.join()
            await write_to_the_log(store, "s2")
            with pytest.raises(LostAssignment):
                await running(subscription, lambda: len(member.seen) > 1)
            assert await models.get("seen", "s2") is None
            assert not subscription.at_rest

        self.on_both(tmp_path, test)

    # -- ES-8 -------------------------------------------------------------------------------------------------------------

    def test_es8_a_poison_event_and_the_later_ones_of_its_stream_wait_while_other_streams_go_on(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "b1", "a2", "b2")
            for stream in "ab":
                member = await self.member(store, models, stream, {"a1"})
                subscription = await member.join()
                await running(subscription, lambda subscription=subscription: subscription.at_rest)  # type: ignore[misc]
                assert await models.position(member.group) == subscription.position
                assert [name for name in member.seen if name[0] == "a"] == []
            member = await self.member(store, models, "a")
            assert await member.waiting() == ["a1", "a2"]
            assert {name for name, _ in await models.scan("seen")} == {"b1", "b2"}

        self.on_both(tmp_path, test)

    def test_es8_the_one_that_failed_is_told_and_tried_as_often_as_was_said(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "a2")
            member = await self.member(store, models, "a", {"a1"})
            subscription = await member.join()
            await running(subscription, lambda: subscription.at_rest)
            assert [parked.event_id for parked in member.told] == ["a1"]
            assert member.tries == 3, "once in the whole batch, twice alone"
            assert subscription.blocked == 1

        self.on_both(tmp_path, test)

    def test_es8_what_is_parked_holds_no_payload_and_says_where_it_failed_but_not_with_what(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1")
            member = await self.member(store, models, "a", {"a1"})
            subscription = await member.join()
            await running(subscription, lambda: subscription.at_rest)
            (parked,) = await member.parked()
            assert "ValueError in handle (log.py:" in parked.reason
            assert "王芳" not in parked.reason

        self.on_both(tmp_path, test)

    def test_es8_after_a_restart_a_blocked_stream_is_still_blocked(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1")
            member = await self.member(store, models, "a", {"a1"})
            subscription = await member.join()
            await running(subscription, lambda: subscription.at_rest)
            await write_to_the_log(store, "a2")
            again = Member(member.partition, models, group=member.group)
            subscription = await again.join()
            await running(subscription, lambda: again.waits("a1", "a2"))
            assert again.seen == []

        self.on_both(tmp_path, test)

    def test_es8_replayed_events_are_handled_in_order_before_live_ones_of_their_stream(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "a2")
            member = await self.member(store, models, "a", {"a1"})
            subscription = await member.join()
            await running(subscription, lambda: subscription.at_rest)
            assert await models.ask_replay(member.group, "a") == 2
            await write_to_the_log(store, "a3")
            again = Member(member.partition, models, group=member.group)
            subscription = await again.join()
            await running(subscription, lambda: len(again.seen) == 3)
            assert again.seen == ["a1", "a2", "a3"]
            assert await again.waits()
            assert subscription.blocked == 0

        self.on_both(tmp_path, test)

    def test_es8_a_member_at_rest_is_woken_by_who_asks_for_a_replay(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1")
            member = await self.member(store, models, "a", {"a1"})
            subscription = await member.join()
            begun = asyncio.create_task(running(subscription, lambda: bool(member.seen) and not subscription.blocked))
            while not (subscription.at_rest and subscription.blocked):
                await asyncio.sleep(0.001)
            member.poison.clear()
            await models.ask_replay(member.group, "a")
            subscription.look_again()
            await begun
            assert member.seen == ["a1"]

        self.on_both(tmp_path, test)

    def test_es8_a_replay_that_fails_again_leaves_the_stream_parked_as_it_was(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "a2")
            member = await self.member(store, models, "a", {"a1", "a2"})
            subscription = await member.join()
            await running(subscription, lambda: subscription.at_rest)
            await models.ask_replay(member.group, "a")
            again = Member(member.partition, models, {"a2"}, member.group)
            subscription = await again.join()
            await running(subscription, lambda: again.waits("a2"))
            assert again.seen == ["a1"]

        self.on_both(tmp_path, test)

    def test_es8_what_is_given_up_is_never_handled_and_the_rest_of_its_stream_goes_on(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "a2")
            member = await self.member(store, models, "a", {"a1"})
            subscription = await member.join()
            await running(subscription, lambda: subscription.at_rest)
            first, _ = await member.parked()
            assert await models.drop(member.group, first.position, "sent twice by the old terminal", "sre", 7)
            again = Member(member.partition, models, group=member.group)
            subscription = await again.join()
            await running(subscription, lambda: again.seen == ["a2"] and subscription.blocked == 0)
            assert [dropped.event_id for dropped in await models.dropped(member.group)] == ["a1"]

        self.on_both(tmp_path, test)

    def test_es8_what_was_parked_ahead_of_the_checkpoint_is_replayed_once_and_never_if_it_was_given_up(
        self, tmp_path: Path
    ) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "a2", "a3", "a4")
            member = await self.member(store, models, "a")
            # As far as one came that was killed: three are parked, and the checkpoint stands before them.
            await member.join()
            for found in (await member.partition.read_log(0)).events[:3]:
                await member.park([Parked(found.position, "a", found.id, TYPE, "it failed", 7)])
            first, *_ = await member.parked()
            assert await models.drop(member.group, first.position, "sent twice by the old terminal", "sre", 7)
            assert await models.ask_replay(member.group, "a") == 2
            again = Member(member.partition, models, group=member.group)
            subscription = await again.join(batch=2)
            await running(subscription, lambda: subscription.at_rest and len(again.seen) >= 3)
            assert await again.waits()
            assert again.seen == ["a2", "a3", "a4"]
            assert dict(await models.scan("seen")) == {name: {"times": 1} for name in again.seen}

        self.on_both(tmp_path, test)

    def test_es8_what_is_not_the_events_fault_is_tried_again_for_ever(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "a2")
            member = await self.member(store, models, "a", {"a1"})
            member.error = StoreError("the disk is full")
            subscription = await member.join(park_after=1)
            begun = asyncio.create_task(running(subscription, lambda: subscription.at_rest))
            while member.tries < 4:
                await asyncio.sleep(0.001)
            assert subscription.failing
            assert await member.waiting() == []
            member.poison.clear()
            await begun
            assert member.seen == ["a1", "a2"]

        self.on_both(tmp_path, test)

    def test_es8_a_member_that_lost_its_group_parks_nothing(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1")
            member = await self.member(store, models, "a", {"a1"})
            subscription = await member.join()
            await Member(member.partition, models, group=member.group).join()
            with pytest.raises(LostAssignment):
                await running(subscription, lambda: bool(member.told))
            assert await member.waiting() == []

        self.on_both(tmp_path, test)

    def test_es8_a_healthy_event_does_not_wait_for_the_tries_of_poison_of_other_streams(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, *(f"{stream}1" for stream in "abcdefghijkl"))
            shared = 0
            for member in await self.members(store, models, "abcdefghijkl"):
                *poison, healthy = [heard.id for heard in (await member.log.read_log(0)).events]
                shared += len(poison)
                member.poison.update(poison)
                subscription = await member.join(park_after=9)
                await running(subscription, lambda member=member, healthy=healthy: healthy in member.seen)  # type: ignore[misc]
                assert (subscription.failing, member.told) == (bool(poison), [])
            assert shared > 0

        with pytest.MonkeyPatch.context() as patch:
            # Whoever waited for a second try would wait for this.
            patch.setattr(parking, "FIRST_PAUSE_S", 3600.0)
            self.on_both(tmp_path, test)

    def test_es8_what_is_being_tried_is_not_called_parked_and_nothing_is_at_rest_before_it_is(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "a2")
            member = await self.member(store, models, "a", {"a1"})
            subscription = await member.join(park_after=5)
            states: list[tuple[int, bool, bool]] = []

            def look() -> bool:
                states.append((subscription.parked, subscription.failing, subscription.at_rest))
                return subscription.at_rest

            await running(subscription, look)
            assert states[-1] == (2, False, True)
            assert (0, True, False) in states
            assert not any(at_rest for parked, _, at_rest in states if not parked)
            assert [one.event_id for one in member.told] == ["a1"]

        self.on_both(tmp_path, test)

    def test_es8_who_takes_over_goes_on_trying_what_was_being_tried(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "a2", "a3")
            member = await self.member(store, models, "a", {"a1"})
            subscription = await member.join(park_after=9)
            await running(subscription, lambda: subscription.blocked == 1)
            again = Member(member.partition, models, group=member.group)
            subscription = await again.join()
            await running(subscription, lambda: subscription.at_rest)
            assert again.seen == ["a1", "a2", "a3"]
            assert await again.waits()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parking, "FIRST_PAUSE_S", 3600.0)
            self.on_both(tmp_path, test)

    def test_es8_what_is_handled_at_a_later_try_is_in_rows_that_hold_later_events_already(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "b1", "a2", "b2")
            (member, *_) = await self.members(store, models, "ab")
            fails = {(await member.log.read_log(0)).events[0].id}
            there = [heard.id for heard in (await member.log.read_log(0)).events]

            async def into_one_row(batch: Batch) -> None:
                known = await models.load("all", ["row"])
                kept = known.get("row")
                ids = list(((kept and kept.row) or {"ids": []})["ids"])
                for heard in batch.events:
                    if heard.id in fails:
                        raise ValueError("not yet")
                    if kept is None or not kept.holds(member.group, heard.position, bool(batch.unparked)):
                        ids.append(heard.id)
                seen = member.log.seen(batch.reached)
                rows: dict[str, Row | None] = {"row": {"ids": ids}} if batch.events else {}
                await models.save(member.group, member.epoch, batch.reached, "all", rows, batch.unparked, kept=known, seen=seen)

            member.handle = into_one_row  # type: ignore[method-assign]
            subscription = await member.join(park_after=99)
            begun = asyncio.create_task(running(subscription, lambda: subscription.at_rest))
            while not (subscription.failing and subscription.position >= member.partition.head()):
                await asyncio.sleep(0.001)
            fails.clear()
            await begun
            row = await models.get("all", "row")
            assert row is not None
            assert sorted(row["ids"]) == sorted(there), "each is in the row once"

        self.on_both(tmp_path, test)

    def test_es8_a_neighbour_that_is_away_while_a_parked_event_is_tried_uses_up_no_tries(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "a2")
            member = await self.member(store, models, "a", {"a1"})
            subscription = await member.join()
            await running(subscription, lambda: subscription.at_rest)
            assert await models.ask_replay(member.group, "a") == 2
            again = Member(member.partition, models, {"a1"}, member.group)
            again.error = StoreError("the disk is full")
            subscription = await again.join()
            begun = asyncio.create_task(running(subscription, lambda: subscription.at_rest))
            while again.tries < 4:
                await asyncio.sleep(0.001)
            assert (again.told, subscription.failing, subscription.parked) == ([], True, 0)
            again.poison.clear()
            await begun
            assert again.seen == ["a1", "a2"]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parking, "FIRST_PAUSE_S", 0.001)
            self.on_both(tmp_path, test)

    def test_es8_what_is_parked_is_read_when_a_member_begins_and_when_somebody_asked_and_not_with_each_page(
        self, tmp_path: Path
    ) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", *(f"b{number}" for number in range(40)))
            member = await self.member(store, models, "b")
            await member.join()
            end = member.partition.head() + 10**9
            await member.park([Parked(end + number, f"z{number}", "z", TYPE, "it failed", 7) for number in range(self.many)])
            subscription = await member.join(batch=1)
            begun = asyncio.create_task(running(subscription, lambda: "b40" in member.seen and member.read > 1))
            while "b39" not in member.seen:
                await asyncio.sleep(0.001)
            assert (member.read, subscription.blocked) == (1, self.many)
            await models.ask_replay(member.group, "z7")
            subscription.look_again()
            await write_to_the_log(store, "b40")
            await begun
            assert member.read == 2

        self.on_both(tmp_path, test)

    def test_es8_a_parked_event_that_the_log_does_not_hold_any_more_holds_up_nobody_else(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "a2")
            member = await self.member(store, models, "a")
            await member.join()
            second = (await member.partition.read_log(0)).events[1].position
            await models.save(member.group, member.epoch, second)
            await member.park([Parked(second, "gone", "another", TYPE, "it failed", 7, replay=1)])
            await write_to_the_log(store, "a3")
            subscription = await member.join()
            await running(subscription, lambda: subscription.at_rest and bool(member.told))
            assert member.seen == ["a3"]
            assert await member.waits("another")
            assert "LookupError" in member.told[0].reason

        self.on_both(tmp_path, test)

    def test_what_a_handler_did_on_its_way_is_not_handed_out_again(self, tmp_path: Path) -> None:
        async def test(store: EventStore, models: ReadModels) -> None:
            await write_to_the_log(store, "a1", "a2", "a3")
            member = await self.member(store, models, "a", {"a2"})
            handed: list[str] = []
            handle = member.handle

            async def one_by_one(batch: Batch) -> None:
                for heard in batch.events:
                    handed.append(heard.id)
                    if member.tries == 2:
                        member.poison.clear()
                    await handle(Batch([heard], heard.position))
                    subscription.done(heard)
                await models.save(member.group, member.epoch, batch.reached)

            member.handle = one_by_one  # type: ignore[method-assign]
            failed: list[str] = []
            subscription = await member.join(park_after=None, on_failure=lambda one, *_: failed.append(one.event_id))
            await running(subscription, lambda: subscription.at_rest)
            assert handed == ["a1", "a2", "a2", "a2", "a3"]
            assert failed == ["a2", "a2"]
            assert member.seen == ["a1", "a2", "a3"]

        self.on_both(tmp_path, test)
