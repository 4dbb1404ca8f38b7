"""Read models on a real Cassandra: what every engine's read models promise, and what is promised of these."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from citybrain.event_store.cassandra.migrations import STREAMS, migrate
from citybrain.event_store.cassandra.read_models import CassandraReadModels
from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.event_store.distributed.interfaces import TimedOut
from citybrain.event_store.read_models import FoldedBy, ReadModels, Row, RowChanged, replayed_as
from citybrain.event_store.store import Features, LostAssignment
from citybrain.local.engine_processes import EngineProcesses
from tests.contract.read_models import GROUP, VIEW, ReadModelsContract, parked
from tests.engines.strict import TOMBSTONES

LIMIT_S = 60.0


@asynccontextmanager
async def opened(place: Place, service: str) -> AsyncIterator[CassandraReadModels]:
    asked = await Asked.open(place)
    try:
        yield await CassandraReadModels.on(asked, place.keyspace, service)
    finally:
        asked.close()


class TestReadModels(ReadModelsContract):
    features: ClassVar[Features] = Features(one_order=False, several_processes=True, durable=True)
    # In four turns twice as many as a read may meet of what was deleted.
    many = TOMBSTONES // 2

    @pytest.fixture(autouse=True)
    def _on(self, place: Place) -> None:
        self.place = place

    @asynccontextmanager
    @override
    async def models(self, folder: Path) -> AsyncIterator[ReadModels]:
        async with opened(self.place, str(folder)) as models:
            yield models


class Forgetful(Asked):
    """A session that loses the answer to every batch the first time: it was done, and nobody is told."""

    lost = 0

    @override
    def ask(self, statement: Any, values: Any = None, **options: Any) -> asyncio.Future[Any]:
        asked = super().ask(statement, values, **options)
        if values is not None or self.lost % 2:
            self.lost += values is None
            return asked
        self.lost += 1

        async def lose() -> Any:
            await asked
            raise TimedOut("the answer was lost")

        return asyncio.ensure_future(lose())


def test_what_was_done_when_its_answer_was_lost_is_done_once(place: Place) -> None:
    async def test() -> None:
        asked = await Forgetful.open(place)
        try:
            models = await CassandraReadModels.on(asked, place.keyspace, str(uuid.uuid4()))
            epoch, _ = await models.join(GROUP, 2)
            await models.save(GROUP, epoch, 3, VIEW, {"k": {"n": 1}})
            kept = await models.load(VIEW, ["k"])
            await models.save(GROUP, epoch, 4, VIEW, {"k": {"n": 2}}, kept=kept, seen={"s": 4})
            await models.park(GROUP, epoch, [parked(5), parked(6)])
            assert await models.drop(GROUP, 5, "why", "sre", 1)
            assert [one.position for one in await models.dropped(GROUP)] == [5]
            assert await models.ask_replay(GROUP, "s") == 1
            assert [(one.position, one.replay) for one in await models.parked(GROUP)] == [(6, 1)]
            assert await models.count_parked(GROUP) == 1
            assert await models.position(GROUP) == 4
            await models.save(GROUP, epoch, 7, unparked=[6])
            assert (await models.parked(GROUP), await models.count_parked(GROUP)) == ([], 0)
            assert await models.get(VIEW, "k") == {"n": 2}
            assert asked.lost > 10
        finally:
            asked.close()

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_a_member_that_dies_between_rows_and_checkpoint_leaves_word_of_what_is_in_them(place: Place) -> None:
    async def test() -> None:
        async with opened(place, str(uuid.uuid4())) as models:
            epoch, _ = await models.join(GROUP)
            await models.save(GROUP, epoch, 1, VIEW, {"k": {"n": 1}})
            # As far as it came: its rows are written, the checkpoint is not.
            kept = await models.load(VIEW, ["k"])
            await models._write(VIEW, {"k": '{"n": 2}'}, kept, {GROUP: 2})
            _, position = await models.join(GROUP)
            after = await models.load(VIEW, ["k"])
            assert (position, after["k"].row, after["k"].applied) == (1, {"n": 2}, {GROUP: 2})
            with pytest.raises(LostAssignment):
                await models.save(GROUP, epoch, 2)

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_a_member_that_dies_between_a_replayed_row_and_its_word_for_it_folds_nothing_twice(place: Place) -> None:
    async def test() -> None:
        async with opened(place, str(uuid.uuid4())) as models:
            epoch, _ = await models.join(GROUP)
            await models.park(GROUP, epoch, [parked(3), parked(4)])
            await models.save(GROUP, epoch, 9, VIEW, {"k": {"n": 1}})
            # As far as it came: the row is written, the event is parked still.
            await models._write(VIEW, {"k": '{"n": 2}'}, await models.load(VIEW, ["k"]), {replayed_as(GROUP, 3): 3})
            await models.join(GROUP)
            found = (await models.load(VIEW, ["k"]))["k"]
            assert [found.holds(GROUP, position, replayed=True) for position in (3, 4)] == [True, False]
            assert found.holds(GROUP, 9) and not found.holds(GROUP, 10)

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_a_row_does_not_tell_for_ever_of_what_was_replayed_into_it(place: Place) -> None:
    async def test() -> None:
        async with opened(place, str(uuid.uuid4())) as models:
            epoch, _ = await models.join(GROUP)
            await models.park(GROUP, epoch, [parked(position) for position in range(1, 60)])
            for position in range(1, 50):
                kept = await models.load(VIEW, ["k"])
                await models.save(GROUP, epoch, 90, VIEW, {"k": {"n": position}}, [position], kept=kept)
            # One that is parked still is told of as long as it is.
            says = {replayed_as(GROUP, 55): 55}
            await models._write(VIEW, {"k": '{"n": 50}'}, await models.load(VIEW, ["k"]), says)
            for position in range(90, 93):
                await models.save(GROUP, epoch, position, VIEW, {"k": {"n": position}}, kept=await models.load(VIEW, ["k"]))
            found = (await models.load(VIEW, ["k"]))["k"]
            assert len(found.applied) < 20 and found.holds(GROUP, 55, replayed=True) and found.holds(GROUP, 92)

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_of_two_that_fold_into_rows_they_loaded_one_is_told_to_load_them_again(place: Place) -> None:
    async def test() -> None:
        async with opened(place, str(uuid.uuid4())) as models:
            members = {group: (await models.join(group))[0] for group in ("one", "two")}
            rows: dict[str, Row | None] = {"new": {"n": 1}, "old": None}
            await models.save("one", members["one"], 1, VIEW, {"old": {"n": 0}})
            kept = await models.load(VIEW, rows)
            await models.save("one", members["one"], 2, VIEW, rows, kept=kept)
            for stale in (kept, {}):
                with pytest.raises(RowChanged):
                    await models.save("two", members["two"], 9, VIEW, rows, kept=stale)
            assert (await models.scan(VIEW), await models.position("two")) == ([("new", {"n": 1})], 0)
            # One that was deleted is known still, so that nothing is folded into it twice.
            assert (await models.load(VIEW, ["old"]))["old"].applied == {"one": 2}

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_services_keep_what_is_theirs_apart(place: Place) -> None:
    async def test() -> None:
        async with opened(place, str(uuid.uuid4())) as one, opened(place, str(uuid.uuid4())) as other:
            epoch, _ = await one.join(GROUP)
            await one.save(GROUP, epoch, 3, VIEW, {"k": {"n": 1}})
            await one.ran("nightly", 5)
            assert await other.position(GROUP) is None
            assert (await other.scan(VIEW), await other.last_run("nightly")) == ([], None)

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_a_keyspace_of_the_release_before_gets_a_place_for_what_a_group_folds_by(engines: EngineProcesses, prefix: str) -> None:
    place = Place(engines.cassandra.address, prefix)

    async def test() -> None:
        # All but the steps that came with it and later.
        (first,) = [number for number, step in enumerate(STREAMS) if "view_folded_by" in step]
        await migrate(place, STREAMS[:first])
        await migrate(place)
        async with opened(place, "s") as models:
            assert await models.keep_folded_by(GROUP, FoldedBy("shape", "code")) == FoldedBy("shape", "code")

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


class Counting(Asked):
    """A session that counts what it is asked."""

    asked = 0

    @override
    def ask(self, statement: Any, values: Any = None, **options: Any) -> asyncio.Future[Any]:
        self.asked += 1
        return super().ask(statement, values, **options)


def test_a_page_and_an_event_that_is_parked_or_done_cost_the_same_however_many_are_parked(place: Place) -> None:
    async def test() -> None:
        asked = await Counting.open(place)
        try:
            models = await CassandraReadModels.on(asked, place.keyspace, str(uuid.uuid4()))
            epoch, _ = await models.join(GROUP)

            async def costs(position: int) -> list[int]:
                found = []
                for what in (
                    models.park(GROUP, epoch, [parked(position)]),
                    models.save(GROUP, epoch, position + 1, VIEW, {"k": {"n": position}}, kept=await models.load(VIEW, ["k"])),
                    models.asked(GROUP),
                    models.count_parked(GROUP),
                    models.save(GROUP, epoch, position + 1, unparked=[position]),
                ):
                    before = asked.asked
                    await what
                    found.append(asked.asked - before)
                return found

            # The first one that is parked has the slots read once.
            await models.park(GROUP, epoch, [parked(1)])
            with_one = await costs(10)
            await models.park(GROUP, epoch, [parked(position) for position in range(20, 20 + TOMBSTONES)])
            assert await costs(20_000) == with_one
            assert await models.count_parked(GROUP) == TOMBSTONES + 1
        finally:
            asked.close()

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_slots_that_are_free_are_taken_again_and_there_are_never_more_than_were_parked_at_once(place: Place) -> None:
    async def test() -> None:
        service = str(uuid.uuid4())
        async with opened(place, service) as models:
            epoch, _ = await models.join(GROUP)
            for turn in range(5):
                first = turn * 10 + 1
                await models.park(GROUP, epoch, [parked(first + number) for number in range(3)])
                await models.save(GROUP, epoch, first + 9, unparked=[first, first + 1])
                await models.drop(GROUP, first + 2, "why", "sre", 1)
                # Another member knows which are free.
                epoch, _ = await models.join(GROUP)
            assert len(await models._all_slots(GROUP)) == 3
            await models.park(GROUP, epoch, [parked(90 + number) for number in range(4)])
            assert [one.position for one in await models.parked(GROUP)] == [90, 91, 92, 93]
            assert len(await models._all_slots(GROUP)) == 4

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_what_others_ask_for_while_a_member_parks_and_unparks_is_lost_on_neither_side(place: Place) -> None:
    async def test() -> None:
        async with opened(place, service := str(uuid.uuid4())) as models, opened(place, service) as other:
            epoch, _ = await models.join(GROUP)
            await models.park(GROUP, epoch, [parked(position, f"s{position}") for position in range(1, 41)])

            async def work() -> None:
                for position in range(1, 21):
                    await models.park(GROUP, epoch, [parked(100 + position, f"s{100 + position}")])
                    await models.save(GROUP, epoch, 200 + position, unparked=[position])

            async def ask() -> None:
                for position in range(21, 41, 2):
                    assert await other.drop(GROUP, position, "why", "sre", 1)
                    assert await other.ask_replay(GROUP, f"s{position + 1}") == 1

            await asyncio.gather(work(), ask())
            found = await other.parked(GROUP)
            asked_for = list(range(22, 42, 2))
            assert [one.position for one in found] == [*asked_for, *range(101, 121)]
            assert [one.position for one in found if one.replay] == asked_for
            assert await other.count_parked(GROUP) == len(found)
            assert [one.position for one in await other.dropped(GROUP)] == list(range(21, 41, 2))

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))
