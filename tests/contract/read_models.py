"""What keeps read models promises: rows and their checkpoint together, its member alone writes, what is parked (ES-7, ES-8).

An engine joins by one subclass that opens it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from citybrain.event_store.read_models import (
    MAX_KEY_BYTES,
    MAX_ROW_BYTES,
    Dropped,
    FoldedBy,
    Parked,
    ReadModels,
    Row,
    RowChanged,
    WindowsSeen,
)
from citybrain.event_store.store import Features, LimitExceeded, LostAssignment
from citybrain.mesh.subscriptions.generations import Generations, Switch

Test = Callable[[ReadModels], Awaitable[None]]
GROUP, VIEW = "group", "view"


def parked(position: int, stream: str = "s", reason: str = "it failed", replay: int = 0) -> Parked:
    """An event that waits."""
    return Parked(position, stream, f"e{position}", "city.Tested", reason, 7, replay)


class ReadModelsEngine:
    """What a subclass says of its engine."""

    features: ClassVar[Features]
    # After this long a test has failed.
    limit_s = 60.0
    # So many events are parked at a time where it is many.
    many = 300

    def models(self, folder: Path) -> AbstractAsyncContextManager[ReadModels]:
        """Opens the place in a folder; a second time, as another process would."""
        raise NotImplementedError

    def on_models(self, folder: Path, test: Test) -> None:
        """Runs a test on a fresh place."""

        async def run() -> None:
            async with self.models(folder / str(uuid.uuid4())) as models:
                await asyncio.wait_for(test(models), self.limit_s)

        asyncio.run(run())

    def on_two(self, folder: Path, test: Callable[[ReadModels, ReadModels], Awaitable[None]]) -> None:
        """Runs a test on a place that two processes have open."""
        if not self.features.several_processes:
            pytest.skip("this engine is for one process")

        async def run() -> None:
            async with self.models(folder) as one, self.models(folder) as two:
                await asyncio.wait_for(test(one, two), self.limit_s)

        asyncio.run(run())


class ReadModelsContract(ReadModelsEngine):
    """Rows, checkpoints, parked events, timers."""

    # -- groups and rows --------------------------------------------------------------------------------------------------

    def test_a_group_that_is_new_begins_where_it_is_told_and_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            assert await models.position(GROUP) is None
            epoch, position = await models.join(GROUP, 5)
            assert position == await models.position(GROUP) == 5
            await models.save(GROUP, epoch, 9)
            again, position = await models.join(GROUP, 5)
            assert again > epoch
            assert position == await models.position(GROUP) == 9
            assert await models.position("other") is None

        self.on_models(tmp_path, test)

    def test_rows_come_back_as_they_were_written_each_view_for_itself(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            row: Row = {"区": "西湖", "n": 2**53, "f": 0.1, "none": None, "list": [1, {"deep": [True, "x"]}], "empty": {}}
            await models.save(GROUP, epoch, 1, VIEW, {"k": row, "中文": {"n": 1}})
            await models.save(GROUP, epoch, 2, "other", {"k": {"n": 2}})
            assert await models.get(VIEW, "k") == row
            assert await models.get("other", "k") == {"n": 2}
            assert await models.get("other", "中文") is None
            loaded = await models.load(VIEW, ["k", "中文", "missing"])
            assert {key: kept.row for key, kept in loaded.items()} == {"k": row, "中文": {"n": 1}}

        self.on_models(tmp_path, test)

    def test_a_row_is_written_over_and_none_takes_it_out(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            await models.save(GROUP, epoch, 1, VIEW, {"a": {"n": 1}, "b": {"n": 1}})
            await models.save(GROUP, epoch, 2, VIEW, {"a": {"n": 2}, "b": None, "c": None})
            assert await models.scan(VIEW) == [("a", {"n": 2})]

        self.on_models(tmp_path, test)

    def test_rows_are_listed_in_the_order_of_their_keys_in_pages(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            keys = ["b", "a", "区", "a1", "Z", "é"]
            await models.save(GROUP, epoch, 1, VIEW, {key: {"n": key} for key in keys})
            ordered = sorted(keys, key=lambda key: key.encode())
            assert [key for key, _ in await models.scan(VIEW)] == ordered
            assert [key for key, _ in await models.scan(VIEW, ordered[1], 2)] == ordered[2:4]
            assert await models.scan(VIEW, ordered[-1]) == await models.scan("nowhere") == []

        self.on_models(tmp_path, test)

    def test_es7_versions_seen_are_kept_with_the_checkpoint_each_group_for_itself(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            await models.save(GROUP, epoch, 4, seen={"a": 1, "区": 2})
            await models.save(GROUP, epoch, 6, seen={"a": 3})
            assert await models.seen(GROUP, ["a", "区", "new"]) == {"a": 3, "区": 2}
            assert await models.seen("other", ["a"]) == {}
            await models.join(GROUP)
            with pytest.raises(LostAssignment):
                await models.save(GROUP, epoch, 9, seen={"a": 9})
            assert await models.seen(GROUP, ["a"]) == {"a": 3}

        self.on_models(tmp_path, test)

    def test_es7_what_two_groups_fold_into_one_row_is_in_it_once_whoever_comes_second(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            members = {group: (await models.join(group))[0] for group in ("one", "two")}

            async def fold(group: str, position: int) -> None:
                while True:
                    kept = await models.load(VIEW, ["k"])
                    old = kept["k"].row if "k" in kept else None
                    if "k" in kept and kept["k"].holds(group, position):
                        rows: dict[str, Row | None] = {}
                    else:
                        rows = {"k": {"heard": [*(old or {"heard": []})["heard"], f"{group} {position}"]}}
                    await asyncio.sleep(0)
                    try:
                        await models.save(group, members[group], position, VIEW, rows, kept=kept)
                        return
                    except RowChanged:
                        continue

            async def follow(group: str) -> None:
                for position in range(1, 11):
                    await fold(group, position)

            await asyncio.gather(*map(follow, members))
            row = await models.get(VIEW, "k")
            assert row is not None
            assert sorted(row["heard"]) == sorted(f"{group} {n}" for group in members for n in range(1, 11))

        self.on_models(tmp_path, test)

    def test_es8_what_is_replayed_is_folded_into_rows_that_hold_later_events_already(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            await models.park(GROUP, epoch, [parked(3), parked(4)])
            await models.save(GROUP, epoch, 9, VIEW, {"k": {"heard": [9]}})
            for position in (3, 4):
                kept = await models.load(VIEW, ["k"])
                assert not kept["k"].holds(GROUP, position, replayed=True)
                heard = [*(kept["k"].row or {})["heard"], position]
                await models.save(GROUP, epoch, 9, VIEW, {"k": {"heard": heard}}, [position], kept=kept)
            assert await models.get(VIEW, "k") == {"heard": [9, 3, 4]}
            assert await models.parked(GROUP) == []

        self.on_models(tmp_path, test)

    def test_es7_rows_and_checkpoint_are_written_or_neither_is(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            await models.park(GROUP, epoch, [parked(3)])
            await models.save(GROUP, epoch, 4, VIEW, {"a": {"n": 1}, "b": {"n": 1}})
            with pytest.raises(TypeError):
                await models.save(GROUP, epoch, 9, VIEW, {"a": {"n": 2}, "b": {"cannot": object()}}, [3])
            assert await models.position(GROUP) == 4
            assert await models.scan(VIEW) == [("a", {"n": 1}), ("b", {"n": 1})]
            assert [event.position for event in await models.parked(GROUP)] == [3]

        self.on_models(tmp_path, test)

    def test_es7_a_member_that_lost_its_group_is_refused_and_changes_nothing(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            old, _ = await models.join(GROUP)
            await models.park(GROUP, old, [parked(2)])
            await models.save(GROUP, old, 5, VIEW, {"k": {"n": 1}})
            new, _ = await models.join(GROUP)
            with pytest.raises(LostAssignment):
                await models.save(GROUP, old, 9, VIEW, {"k": {"n": 2}}, [2])
            with pytest.raises(LostAssignment):
                await models.park(GROUP, old, [parked(8)])
            assert await models.get(VIEW, "k") == {"n": 1}
            assert await models.position(GROUP) == 5
            assert [event.position for event in await models.parked(GROUP)] == [2]
            await models.save(GROUP, new, 7, VIEW, {"k": {"n": 3}}, [2])
            assert await models.position(GROUP) == 7

        self.on_models(tmp_path, test)

    def test_es7_of_many_that_join_at_once_one_is_the_member(self, tmp_path: Path) -> None:
        async def test(one: ReadModels, two: ReadModels) -> None:
            joined = await asyncio.gather(*(models.join(GROUP) for models in (one, two) * 20))
            epochs = [epoch for epoch, _ in joined]
            assert len(set(epochs)) == len(epochs)
            for epoch in sorted(epochs)[:-1]:
                with pytest.raises(LostAssignment):
                    await one.save(GROUP, epoch, 1)
            await two.save(GROUP, max(epochs), 1)

        self.on_two(tmp_path, test)

    def test_another_process_sees_what_was_written_and_that_something_was(self, tmp_path: Path) -> None:
        async def test(one: ReadModels, two: ReadModels) -> None:
            epoch, _ = await one.join(GROUP)
            before = await two.changes()
            assert await two.changes() == before
            await one.save(GROUP, epoch, 1, VIEW, {"k": {"n": 1}})
            assert await two.get(VIEW, "k") == {"n": 1}
            assert await two.changes() != before

        self.on_two(tmp_path, test)

    def test_what_was_written_is_there_when_the_place_is_opened_again(self, tmp_path: Path) -> None:
        if not self.features.durable:
            pytest.skip("this engine keeps nothing")

        async def run() -> None:
            async with self.models(tmp_path) as models:
                epoch, _ = await models.join(GROUP)
                await models.park(GROUP, epoch, [parked(2)])
                await models.save(GROUP, epoch, 3, VIEW, {"k": {"n": 1}})
                await models.ran("nightly", 11)
                await models.keep_folded_by(GROUP, FoldedBy("shape", "code"))
            async with self.models(tmp_path) as models:
                assert await models.keep_folded_by(GROUP, FoldedBy("other", "other")) == FoldedBy("shape", "code")
                assert await models.get(VIEW, "k") == {"n": 1}
                assert await models.parked(GROUP) == [parked(2)]
                assert await models.last_run("nightly") == 11
                again, position = await models.join(GROUP)
                assert (again > epoch, position) == (True, 3)

        asyncio.run(asyncio.wait_for(run(), self.limit_s))

    # -- parked events ----------------------------------------------------------------------------------------------------

    def test_es8_parked_events_wait_in_the_order_of_the_log_each_group_for_itself(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            other, _ = await models.join("other")
            await models.park(GROUP, epoch, [parked(10, "b"), parked(9, "a")])
            await models.park(GROUP, epoch, [parked(2, "a")])
            await models.park("other", other, [parked(10)])
            assert await models.parked(GROUP) == [parked(2, "a"), parked(9, "a"), parked(10, "b")]
            assert (await models.count_parked(GROUP), await models.count_parked("nobody")) == (3, 0)
            await models.save(GROUP, epoch, 12, unparked=[2, 10])
            assert await models.parked(GROUP) == [parked(9, "a")]
            assert await models.parked("other") == [parked(10)]
            assert await models.position(GROUP) == 12

        self.on_models(tmp_path, test)

    def test_es8_parking_moves_no_checkpoint_and_parking_again_says_why_anew(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP, 4)
            await models.park(GROUP, epoch, [parked(5)])
            assert await models.ask_replay(GROUP, "s") == 1
            await models.park(GROUP, epoch, [parked(5, reason="it failed again")])
            assert await models.parked(GROUP) == [parked(5, reason="it failed again")]
            assert await models.position(GROUP) == 4

        self.on_models(tmp_path, test)

    def test_es8_a_replay_is_asked_for_a_stream_and_concerns_no_other(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            await models.park(GROUP, epoch, [parked(1, "a"), parked(2, "b"), parked(3, "a")])
            assert await models.ask_replay(GROUP, "a") == 2
            assert await models.ask_replay(GROUP, "nowhere") == 0
            assert [(event.position, bool(event.replay)) for event in await models.parked(GROUP)] == [
                (1, True),
                (2, False),
                (3, True),
            ]

        self.on_models(tmp_path, test)

    def test_es8_what_is_given_up_is_kept_with_its_reason_and_what_stood_behind_it_is_tried_again(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            await models.park(GROUP, epoch, [parked(1, "a"), parked(2, "b"), parked(3, "a", replay=1)])
            assert await models.drop(GROUP, 1, "sent twice by the old terminal", "sre", 99)
            assert not await models.drop(GROUP, 1, "once more", "sre", 100)
            assert await models.dropped(GROUP) == [Dropped(1, "e1", "sent twice by the old terminal", "sre", 99)]
            assert [(event.position, bool(event.replay)) for event in await models.parked(GROUP)] == [(2, False), (3, True)]
            assert await models.dropped("other") == await models.dropped(GROUP, after=1) == []

        self.on_models(tmp_path, test)

    def test_es8_what_was_given_up_is_not_parked_again_by_who_did_not_know_yet(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            await models.park(GROUP, epoch, [parked(1, "a", replay=1), parked(2, "b", replay=1)])
            assert await models.drop(GROUP, 1, "sent twice by the old terminal", "sre", 99)
            await models.park(GROUP, epoch, [parked(1, "a"), parked(2, "b"), parked(3, "b", replay=1)])
            assert await models.parked(GROUP) == [parked(2, "b"), parked(3, "b", replay=1)]
            assert await models.count_parked(GROUP) == 2

        self.on_models(tmp_path, test)

    def test_es8_a_number_says_that_somebody_asked_or_gave_up_and_no_more_than_that(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            seen = [await models.asked(GROUP)]
            await models.park(GROUP, epoch, [parked(1, "a"), parked(2, "a"), parked(3, "b")])
            await models.save(GROUP, epoch, 4, unparked=[3])
            assert await models.asked(GROUP) == seen[-1]
            await models.ask_replay(GROUP, "a")
            seen.append(await models.asked(GROUP))
            await models.drop(GROUP, 1, "why", "sre", 99)
            seen.append(await models.asked(GROUP))
            await models.park("other", (await models.join("other"))[0], [parked(1)])
            await models.ask_replay("other", "s")
            assert await models.asked(GROUP) == seen[-1]
            assert len(set(seen)) == 3

        self.on_models(tmp_path, test)

    def test_es8_many_are_parked_asked_for_and_done_and_the_place_is_as_it_was(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            for turn in range(4):
                first = turn * self.many
                events = [parked(first + number, "a" if number % 2 else "b") for number in range(1, self.many + 1)]
                await models.park(GROUP, epoch, events)
                assert await models.ask_replay(GROUP, "a") == self.many // 2
                found = await models.parked(GROUP)
                assert found == [replace(event, replay=int(event.stream == "a")) for event in events]
                assert await models.count_parked(GROUP) == self.many
                await models.save(GROUP, epoch, first + self.many, unparked=[event.position for event in events])
                assert (await models.parked(GROUP), await models.count_parked(GROUP)) == ([], 0)
                epoch, _ = await models.join(GROUP)

        self.on_models(tmp_path, test)

    # -- limits ---------------------------------------------------------------------------------------------------------

    def test_a_row_or_a_key_that_is_too_large_is_refused_and_nothing_is_written(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            epoch, _ = await models.join(GROUP)
            most = {"text": "x" * (MAX_ROW_BYTES - len('{"text":""}'))}
            await models.save(GROUP, epoch, 1, VIEW, {"k" * MAX_KEY_BYTES: most, "beside": most})
            too_large: dict[str, Row] = {"b": {"text": most["text"] + "x"}, "区" * 400: {"n": 1}}
            for key, row in too_large.items():
                with pytest.raises(LimitExceeded):
                    await models.save(GROUP, epoch, 2, VIEW, {"a": {"n": 1}, key: row})
            with pytest.raises(LimitExceeded):
                await models.load(VIEW, too_large)
            assert (await models.position(GROUP), await models.get(VIEW, "a")) == (1, None)
            assert await models.get(VIEW, "k" * MAX_KEY_BYTES) == most

        self.on_models(tmp_path, test)

    # -- timers and windows -----------------------------------------------------------------------------------------------

    def test_the_last_run_of_a_timer_and_how_far_windows_were_told_are_kept_by_name(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            assert await models.last_run("nightly") is None
            assert await models.windows_seen("minute") == WindowsSeen()
            await models.ran("nightly", 5)
            await models.ran("nightly", 9)
            await models.save_windows_seen("minute", WindowsSeen(60, 3, 4))
            await models.save_windows_seen("minute", WindowsSeen(120, 5, 6))
            assert (await models.last_run("nightly"), await models.last_run("hourly")) == (9, None)
            assert await models.windows_seen("minute") == WindowsSeen(120, 5, 6)

        self.on_models(tmp_path, test)

    # -- ES-11 ------------------------------------------------------------------------------------------------------------

    def test_es11_which_generation_is_live_is_one_row_that_two_change_one_after_the_other(self, tmp_path: Path) -> None:
        async def test(one: ReadModels, two: ReadModels) -> None:
            switches = [Switch(models, "view", "service.view.view") for models in (one, two) * 5]
            assert await switches[0].read() == Generations(1, 0, "", 1)
            taken = await asyncio.gather(
                *(switch.change(lambda now: Generations(now.live, now.last + 1, "", now.last + 1)) for switch in switches)
            )
            assert sorted(now.building for now in taken) == list(range(2, 12)), "no number is given twice"
            assert await switches[1].change(lambda now: Generations(11, 0, "", now.last)) == await switches[0].read()

        self.on_two(tmp_path, test)

    def test_es11_by_what_a_group_folds_its_rows_is_said_once_and_each_group_says_it_for_itself(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            first, later = FoldedBy("形", "code"), FoldedBy("another shape", "other code")
            assert await models.keep_folded_by(GROUP, first) == first
            assert await models.keep_folded_by(GROUP, later) == first
            assert await models.keep_folded_by(f"{GROUP}~2", later) == later
            epoch, _ = await models.join(GROUP)
            await models.save(GROUP, epoch, 1, VIEW, {"k": {"n": 1}})
            assert await models.keep_folded_by(GROUP, later) == first, "folding changes nothing of it"

        self.on_models(tmp_path, test)

    def test_es11_of_many_that_say_at_once_by_what_a_group_folds_all_are_told_the_same(self, tmp_path: Path) -> None:
        async def test(one: ReadModels, two: ReadModels) -> None:
            said = [FoldedBy(f"shape {number}", f"code {number}") for number in range(10)]
            told = await asyncio.gather(*(models.keep_folded_by(GROUP, by) for by in said for models in (one, two)))
            assert len(set(told)) == 1 and told[0] in said

        self.on_two(tmp_path, test)

    def test_es11_rows_of_a_generation_are_forgotten_with_who_folds_into_it_and_no_others(self, tmp_path: Path) -> None:
        async def test(models: ReadModels) -> None:
            switch = Switch(models, "view", "g")
            old, _ = await models.join("g")
            new, _ = await models.join("g~2")
            rows: dict[str, Row | None] = {f"{number:04}": {"n": number} for number in range(1200)}
            await models.save("g", old, 7, "view", rows)
            await models.save("g~2", new, 9, "view~2", {"a": {"n": 1}})
            await switch.forget(1, ["g"])
            assert (await models.scan("view"), await models.scan("view~2")) == ([], [("a", {"n": 1})])
            with pytest.raises(LostAssignment):
                await models.save("g", old, 8, "view", {"a": {"n": 2}})
            await models.save("g~2", new, 10, "view~2", {"b": {"n": 2}})

        self.on_models(tmp_path, test)
