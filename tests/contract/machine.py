"""Whatever callers and members of groups do, one after the other: the store and what its subscribers did agree with a model.

Hypothesis makes up the order: appends of every kind, reads, groups that begin, are cut off, are taken over and go on, events
that fail for good, replays, what is given up, restarts. The model is lists in memory. A sequence that fails is printed, and
where that costs little it is made as short as it can be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from typing_extensions import override

from citybrain.event_store import parking
from citybrain.event_store.read_models import ReadModels, Row, RowChanged
from citybrain.event_store.store import (
    ANY,
    NO_STREAM,
    Committed,
    Conflict,
    EventStore,
    LostAssignment,
    Partition,
    StoredEvent,
    StoreError,
    Undecided,
)  # fmt: skip
from citybrain.event_store.subscription import Batch
from tests.contract.log import Member
from tests.contract.read_models import ReadModelsEngine
from tests.contract.store import StoreEngine, event

T = TypeVar("T")
STREAMS, GROUPS = st.sampled_from("abc"), st.sampled_from(["g", "h"])
# An event that is new, or the one that is so many before the last of its stream.
NEW = -1
EVENTS = st.lists(st.integers(NEW, 3), min_size=1, max_size=3)
# Into this row everything is folded, whatever its stream and its partition.
ALL = "all"


class Folding(Member):
    """A member that folds as a view does: into a row for each stream, and into one that all share."""

    def __init__(self, partition: Partition, models: ReadModels, poison: set[str], group: str, view: str) -> None:
        super().__init__(partition, models, (), group)
        self.poison = poison
        self.view = view

    @override
    async def handle(self, batch: Batch) -> None:
        for heard in batch.events:
            if heard.id in self.poison:
                raise ValueError("it fails, whoever tries")
        while True:
            kept = await self.models.load(self.view, {ALL, *(heard.stream for heard in batch.events)})
            rows: dict[str, Row | None] = {}
            for heard in batch.events:
                for key in (heard.stream, ALL):
                    before = kept.get(key)
                    if before is not None and before.holds(self.group, heard.position, bool(batch.unparked)):
                        continue
                    row = rows.get(key, before and before.row) or {"ids": []}
                    rows[key] = {"ids": [*row["ids"], heard.id]}
            with suppress(RowChanged):
                seen = self.log.seen(batch.reached)
                await self.models.save(
                    self.group, self.epoch, batch.reached, self.view, rows, batch.unparked, kept=kept, seen=seen
                )
                return


@dataclass
class Group:
    """What is known of a group outside of the system."""

    name: str
    # How many events of each stream were there when it began behind them.
    begun_behind: dict[str, int]
    # Ids that fail, for every member.
    poison: set[str] = field(default_factory=set)
    dropped: list[str] = field(default_factory=list)
    # The newest members, by partition; those that lost their place to them run on until they notice.
    members: dict[str, Folding] = field(default_factory=dict)
    running: list[asyncio.Task[None]] = field(default_factory=list)

    def part(self, partition: Partition) -> str:
        return f"{self.name}@{partition.name}"


@dataclass
class Account:
    """Where a group stands with the events of its streams."""

    handled: dict[str, list[str]]
    shared: list[str]
    parked: dict[str, list[str]]
    # Somebody asked for a stream, and nobody has tried yet.
    asked: bool


class Machine(RuleBasedStateMachine):
    """One sequence."""

    def __init__(self, engine: MachineContract, folder: Path) -> None:
        super().__init__()
        self.engine = engine
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.opened = AsyncExitStack()
        self.streams: dict[str, list[str]] = {"a": [], "b": [], "c": []}
        self.groups: dict[str, Group] = {}
        self.store: EventStore
        self.models: ReadModels
        self.is_sound = True

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Everything else goes on meanwhile."""
        self.is_sound = False
        done = self.loop.run_until_complete(asyncio.wait_for(work, self.engine.limit_s))
        self.is_sound = True
        return done

    @initialize(since=st.sampled_from(["beginning", "now", ""]))
    def open(self, since: str) -> None:
        self.do(self._open())
        if since:
            self.begin("g", since)

    async def _open(self) -> None:
        self.store = await self.opened.enter_async_context(self.engine.store(self.folder))
        self.models = await self.opened.enter_async_context(self.engine.models(self.folder))

    # -- callers ----------------------------------------------------------------------------------------------------------

    @rule(stream=STREAMS, events=EVENTS, expects=st.sampled_from(["any", "none", "right", "wrong"]), hurries=st.booleans())
    def append(self, stream: str, events: list[int], expects: str, hurries: bool) -> None:
        ids = [self._new(stream, n) if one == NEW else self._there(stream, one) for n, one in enumerate(events)]
        self.do(self._append(stream, ids, expects, hurries))

    @rule(stream=STREAMS, count=st.integers(1, 6))
    def append_more(self, stream: str, count: int) -> None:
        self.do(self._append(stream, [self._new(stream, n) for n in range(count)], "right", False))

    @rule(stream=STREAMS, which=st.integers(0, 3), hurries=st.booleans())
    def append_a_new_one_and_one_that_is_there(self, stream: str, which: int, hurries: bool) -> None:
        self.do(self._append(stream, [self._new(stream, 0), self._there(stream, which)], "any", hurries))

    def _new(self, stream: str, number: int) -> str:
        return f"{stream}{len(self.streams[stream]) + number}"

    def _there(self, stream: str, before_the_last: int) -> str:
        there = self.streams[stream]
        return there[-1 - before_the_last] if before_the_last < len(there) else self._new(stream, before_the_last)

    async def _append(self, stream: str, ids: list[str], expects: str, hurries: bool) -> None:
        there = self.streams[stream]
        expected = {"any": ANY, "none": NO_STREAM, "right": len(there), "wrong": len(there) + 1}[expects]
        outcome: Committed | Conflict | None = None
        if hurries:
            with suppress(Undecided):
                outcome = await self.store.append(stream, [event(one) for one in ids], expected, 0)
        # Who does not know asks again with the same ids, and is told what became of them.
        outcome = outcome or await self.store.append(stream, [event(one) for one in ids], expected)
        first = there.index(ids[0]) if ids[0] in there else len(there)
        if any(one in there for one in ids):
            is_same = there[first : first + len(ids)] == ids
            assert isinstance(outcome, Committed) == is_same, outcome
        elif len(set(ids)) == len(ids) and expected in (ANY, len(there)):
            there += ids
        else:
            assert outcome == Conflict(len(there))
        if isinstance(outcome, Committed):
            assert (outcome.first, outcome.last) == (first + 1, first + len(ids))

    @rule(stream=STREAMS, start=st.integers(0, 8), limit=st.integers(1, 6), backward=st.booleans())
    def read(self, stream: str, start: int, limit: int, backward: bool) -> None:
        there = list(enumerate(self.streams[stream], 1))
        if backward:
            wanted = [one for one in reversed(there) if not start or one[0] <= start]
        else:
            wanted = [one for one in there if one[0] >= start]
        found = self.do(self.store.read(stream, start, limit, backward))
        assert [(one.version, one.id) for one in found] == wanted[:limit]

    @rule(stream=STREAMS, which=st.integers(0, 9))
    def ask_for_a_version(self, stream: str, which: int) -> None:
        name, there = self._there(stream, which), self.streams[stream]
        assert self.do(self.store.version_of(stream, name)) == (there.index(name) + 1 if name in there else 0)

    @precondition(lambda self: self.engine.features.durable)
    @rule()
    def restart(self) -> None:
        async def again() -> None:
            running = [group for group in self.groups.values() if group.members]
            for group in running:
                await self._cut_off(group)
            await self.opened.aclose()
            await self._open()
            for group in running:
                await self._join(group)

        self.do(again())

    # -- groups -----------------------------------------------------------------------------------------------------------

    @rule(name=GROUPS, since=st.sampled_from(["beginning", "now"]))
    def begin(self, name: str, since: str) -> None:
        if name not in self.groups:
            self.do(self._begin(name, since))

    async def _begin(self, name: str, since: str) -> None:
        starts = {partition.name: 0 for partition in self.store.partitions()}
        behind = dict.fromkeys(self.streams, 0)
        if since == "now":
            await self.engine.settled(self.store)
            starts = {partition.name: partition.head() for partition in self.store.partitions()}
            behind = {stream: len(ids) for stream, ids in self.streams.items()}
        group = self.groups[name] = Group(name, behind)
        for partition in self.store.partitions():
            await self.models.join(group.part(partition), starts[partition.name])
        await self._join(group)

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def another_member_takes_over(self, data: st.DataObject) -> None:
        self.do(self._join(self._one(data)))

    async def _join(self, group: Group) -> None:
        for partition in self.store.partitions():
            member = Folding(partition, self.models, group.poison, group.part(partition), f"folded-{group.name}")
            following = await member.join(batch=3, park_after=2)
            group.members[partition.name] = member
            group.running.append(asyncio.ensure_future(following.run()))

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def cut_off(self, data: st.DataObject) -> None:
        self.do(self._cut_off(self._one(data)))

    async def _cut_off(self, group: Group) -> None:
        for task in group.running:
            task.cancel()
        for task in group.running:
            with suppress(asyncio.CancelledError, LostAssignment):
                await task
        group.running.clear()
        group.members.clear()

    @precondition(lambda self: self.groups)
    @rule(turns=st.integers(1, 40))
    def time_passes(self, turns: int) -> None:
        async def wait() -> None:
            for _ in range(turns):
                await asyncio.sleep(self.engine.turn_s)
            for group in self.groups.values():
                await self._nothing_is_missing_below_the_checkpoint(group)

        self.do(wait())

    @precondition(lambda self: self.groups)
    @rule(data=st.data(), stream=STREAMS, which=st.integers(0, 9))
    def an_event_fails_from_now_on(self, data: st.DataObject, stream: str, which: int) -> None:
        self._one(data).poison.add(self._there(stream, which))

    @precondition(lambda self: self.groups)
    @rule(data=st.data(), stream=STREAMS, which=st.integers(0, 2), count=st.integers(1, 4))
    def one_of_the_next_fails(self, data: st.DataObject, stream: str, which: int, count: int) -> None:
        self._one(data).poison.add(self._new(stream, which))
        self.append_more(stream, count)

    @precondition(lambda self: self.groups)
    @rule(data=st.data(), stream=STREAMS, mended=st.booleans())
    def replay(self, data: st.DataObject, stream: str, mended: bool) -> None:
        group = self._one(data)
        if mended:
            group.poison.clear()
        self.do(self._replay(group, stream))

    async def _replay(self, group: Group, stream: str) -> None:
        for partition in self.store.partitions():
            await self.models.ask_replay(group.part(partition), stream)
        for member in group.members.values():
            member.subscription.look_again()

    @precondition(lambda self: self.groups)
    @rule(data=st.data(), which=st.integers(0, 3))
    def give_one_up(self, data: st.DataObject, which: int) -> None:
        group = self._one(data)

        async def drop() -> None:
            # Who gives up what is being tried just now may come too late: that is nobody's promise.
            while group.members and (await self._account(group)).asked:
                await asyncio.sleep(0.002)
            for partition in self.store.partitions():
                for one in (await self.models.parked(group.part(partition)))[which:][:1]:
                    if await self.models.drop(group.part(partition), one.position, "why", "who", 7):
                        group.dropped.append(one.event_id)

        self.do(drop())

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def catch_up(self, data: st.DataObject) -> None:
        self.do(self._catch_up(self._one(data)))

    async def _catch_up(self, group: Group) -> Account:
        """Every event is done, or parked, or given up: once, and each stream's in order."""
        if not group.members:
            await self._join(group)
        wanted = {stream: ids[group.begun_behind[stream] :] for stream, ids in self.streams.items()}
        try:
            while True:
                found = await self._account(group)
                handled = sum(map(len, found.handled.values()))
                done = handled + sum(map(len, [*found.parked.values(), group.dropped]))
                # Where rows are not written all at once, one may show a moment later what another one shows.
                if done >= sum(map(len, wanted.values())) and len(found.shared) >= handled and not found.asked:
                    break
                for task in group.running:
                    if task.done() and not isinstance(task.exception(), LostAssignment):
                        task.result()
                await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            raise AssertionError(f"wanted {wanted}, and {group.dropped} are given up; found {found}") from None
        for stream, ids in wanted.items():
            ours, parked = found.handled.get(stream, []), found.parked.get(stream, [])
            left = [one for one in ids if one not in group.dropped]
            assert ours + parked == left, f"{stream}: {ours} are handled and {parked} parked, of {ids}"
            assert [one for one in found.shared if one in ours] == ours
        assert len(found.shared) == handled
        return found

    async def _account(self, group: Group) -> Account:
        # In this order: what leaves the parked ones meanwhile is in the rows by then.
        parked: dict[str, list[str]] = {}
        asked = False
        for partition in self.store.partitions():
            for one in await self.models.parked(group.part(partition)):
                # Those behind one that failed again stay asked for.
                asked = asked or (bool(one.replay) and one.stream not in parked)
                parked.setdefault(one.stream, []).append(one.event_id)
        rows = dict(await self.models.scan(f"folded-{group.name}"))
        handled = {stream: row["ids"] for stream, row in rows.items() if stream != ALL}
        for stream, ids in parked.items():
            # Between the two looks it may have been done.
            parked[stream] = [one for one in ids if one not in handled.get(stream, [])]
        return Account(handled, rows.get(ALL, {"ids": []})["ids"], parked, asked)

    async def _nothing_is_missing_below_the_checkpoint(self, group: Group) -> None:
        below: list[StoredEvent] = []
        for partition in self.store.partitions():
            position = await self.models.position(group.part(partition)) or 0
            if position:
                below += [one for one in (await partition.read_log(0)).events if one.position <= position]
        found = await self._account(group)
        for one in below:
            is_ours = one.version > group.begun_behind[one.stream]
            there = [*found.handled.get(one.stream, []), *found.parked.get(one.stream, []), *group.dropped]
            assert not is_ours or one.id in there, f"{one.id} is below the checkpoint of {group.name}, and nowhere"

    def _one(self, data: st.DataObject) -> Group:
        return self.groups[data.draw(st.sampled_from(sorted(self.groups)))]

    # -- the end ----------------------------------------------------------------------------------------------------------

    @override
    def teardown(self) -> None:
        try:
            if self.is_sound and hasattr(self, "models"):
                self.do(self._judge())
        finally:
            self.loop.run_until_complete(self._close())
            self.loop.close()

    async def _judge(self) -> None:
        for group in self.groups.values():
            group.poison.clear()
            found = await self._catch_up(group)
            # Asked for while it is being tried, it may just have failed once more.
            while any(found.parked.values()):
                for stream in found.parked:
                    await self._replay(group, stream)
                found = await self._catch_up(group)
        for stream, ids in self.streams.items():
            assert [one.id for one in await self.store.read(stream)] == ids
        logged = await self.engine.everything(self.store)
        for stream, ids in self.streams.items():
            # What a reader drops: what came before.
            assert list(dict.fromkeys(one.id for one in logged if one.stream == stream)) == ids

    async def _close(self) -> None:
        for group in self.groups.values():
            for task in group.running:
                task.cancel()
            await asyncio.gather(*group.running, return_exceptions=True)
        with suppress(StoreError):
            await self.opened.aclose()


class MachineContract(StoreEngine, ReadModelsEngine):
    """ES-1 … ES-8, all at once."""

    # One of the turns in which others go on, when time passes.
    turn_s = 0.0
    limit_s = 15.0
    examples, steps = 25, 30
    # Whether the same sequences are tried each time.
    same = True
    # Whether what fails is made shorter: it is tried again and again for that.
    shortens = True

    def test_whatever_callers_and_members_do_the_store_and_what_was_done_agree_with_a_model(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(parking, "FIRST_PAUSE_S", 0.001)
        tried = iter(range(1_000_000))
        run_state_machine_as_test(
            lambda: Machine(self, tmp_path / str(next(tried))),  # type: ignore[arg-type]
            settings=settings(
                max_examples=self.examples,
                stateful_step_count=self.steps,
                derandomize=self.same,
                database=None,
                phases=(Phase.generate, Phase.shrink) if self.shortens else (Phase.generate,),
                print_blob=True,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
