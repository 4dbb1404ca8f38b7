"""Read models: two pure functions, `key(event)` and `apply(row, event)`, folded from the log into the service's own file.

It is long because folding and rebuilding change the same generation.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args

from google.protobuf.message import Message

from citybrain.event_store.read_models import FoldedBy, Parked, Row, RowChanged, given_over
from citybrain.event_store.store import StoredEvent
from citybrain.event_store.subscription import Batch
from citybrain.mesh.events import Heard, hear, type_name
from citybrain.mesh.personal.sealed_rows import SealedRows
from citybrain.mesh.providers.rows import NotOfShape, RowShape, RowUnreadable
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.greenlets import off_loop, wait
from citybrain.mesh.runtime.nameko import DependencyProvider
from citybrain.mesh.storage.code_digests import digest_of
from citybrain.mesh.subscriptions.generations import Generations, Switch, table
from citybrain.mesh.subscriptions.groups import GroupMember, Part, ServiceReadModels, part_name
from citybrain.observability.logs import logger

D = TypeVar("D")
R = TypeVar("R")
# How often a view looks whether somebody asked for a rebuild, if nothing else wakes it.
_LOOK_S = 1.0
# How often it looks whether the generation being built has caught up.
_BUILDING_LOOK_S = 0.05
# How long the rows of an earlier live generation stay.
_OLD_S = 10.0
# A page of the log with so many events is followed by the next at once.
_FULL = 500
# So many rows of the live generation are read to see whether they fit.
_TRIED = 10
Key = Callable[[Heard], str | None]


@dataclass(frozen=True, slots=True)
class Outdated:
    """Why the live rows should be rebuilt, and how. `unreadable`: they cannot even be read."""

    reason: str
    unreadable: bool


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """How far the generation is that is built beside the live one (0: none is), in positions of the log; what holds it up."""

    live: int
    building: int
    position: int
    head: int
    parked: int
    problem: str


class View(DependencyProvider, Generic[R]):  # type: ignore[misc]
    """A read model of this service; inside a method: `self.<name>.get(key)`, `.scan()`, `.derived(build)`.

    `row`: the class of its rows, a frozen dataclass. If a field is added with a default, rows without it are still read. If the
    names in a row are data, the row is a dict: `dict[str, float]`.

    `personal`: fields of its rows that are about a person, each with the field that holds the person's id. They are stored
    sealed, and read as None if the person was erased. A view that names no such field gets events without personal data.
    `exercises`: events of exercises are folded too: then `key` must tell them apart from those of the city.
    `pause_s`: as below, for this view alone.
    """

    container: Container
    rests = True
    """Whether rest waits until its events are folded."""
    pause_s = 0.0
    """How long it waits after a page of the log that is not full: many events are then folded at once, which costs less."""

    def __init__(
        self,
        events: Sequence[type[Message]],
        key: Key,
        apply: Callable[[R | None, Heard], R | None],
        *,
        row: type[R],
        personal: Mapping[str, str] | None = None,
        exercises: bool = False,
        pause_s: float | None = None,
    ) -> None:
        self._exercises = exercises
        if pause_s is not None:
            self.pause_s = pause_s
        self.types = [type_name(message) for message in events]
        self._key = key
        self._apply = apply
        self._personal = personal or {}
        self.shape = RowShape(row)
        for field, person in self._personal.items():
            for name in (field, person):
                if name not in self.shape.fields:
                    raise TypeError(f"personal names a field {name}, and {self.shape.named} has none of that name")
            hint = self.shape.fields[field]
            if hint is not Any and type(None) not in get_args(hint):
                raise TypeError(f"{field} of {self.shape.named} is None when its person was erased: let its type say so")

    def setup(self) -> None:
        """Opens the file, so that methods can read before the first event."""
        process = self.container.process
        service = self.container.manifest.name
        self._process = process
        self._service = service
        self._name = self.attr_name
        self._group = f"{service}.view.{self._name}"
        models = ServiceReadModels.of(process, service).models
        self._switch = Switch(models, self._name, self._group)
        self._by = self._folded_by()
        self._live = wait(self._switch.read()).live
        # If nothing is kept, the rows are of an earlier release. They count as folded by this code.
        self._live_by = self._building_by = wait(models.keep_folded_by(table(self._group, self._live), self._by))
        self._unreadable = ""
        self._tried = False
        self.member = self._member_of(self._live)
        self._building = 0
        self.builder: GroupMember | None = None
        """The group member that folds the generation being built, in this process."""
        self._heads: dict[str, int] = {}
        self._asked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.revision = 0
        """Grows whenever rows may have changed."""
        self._news = asyncio.Event()
        self._vault = process.vault
        self._rows = SealedRows(self._vault, self._name, self._personal)
        if self._personal:
            self._vault.when_erased(self._forget_derived)
        self._derived: dict[Callable[..., Any], tuple[int, Any]] = {}

    def start(self) -> None:
        """Folds past events, then new ones; rebuilds when somebody asks for it."""
        self._follow()
        self._begin(self._tend())

    def stop(self) -> None:
        """Stops folding."""
        for task in self._tasks:
            task.cancel()
        self.member.leave()
        if self.builder is not None:
            self.builder.leave()

    kill = stop

    @property
    def functions(self) -> tuple[Key, Callable[[R | None, Heard], R | None]]:
        """What makes its rows: `key` and `apply`."""
        return self._key, self._apply

    def _folded_by(self) -> FoldedBy:
        """What this process folds by. The shape includes which fields are sealed; the code includes which events are heard."""
        shape = repr((self.shape.digest, sorted(self._personal.items())))
        code = digest_of(self._key, self._apply)
        code = repr((code, sorted(self.types))) if code else ""
        return FoldedBy(*(text and hashlib.sha256(text.encode()).hexdigest() for text in (shape, code)))

    async def _keep_folded_by(self, generation: int) -> FoldedBy:
        return await self.member.service_models.models.keep_folded_by(table(self._group, generation), self._by)

    @property
    def _code(self) -> str:
        """The same as one text, for the row of generations."""
        return f"{self._by.shape} {self._by.code}"

    async def _fold(self, generation: int, part: Part, batch: Batch) -> None:
        name = table(self._name, generation)
        keyed = await self._keyed(part, batch.events)
        while True:
            kept = await part.models.load(name, {key for key, _ in keyed}) if keyed else {}
            standing = await self._opened(generation, {key: one.row for key, one in kept.items() if one.row is not None})
            rows: dict[str, R | None] = {}
            for key, event in keyed:
                before = kept.get(key)
                if before is not None and before.holds(part.name, event.stored.position, bool(batch.unparked)):
                    continue
                row = rows.get(key, standing.get(key))
                rows[key] = self._apply(row, event)
            closed = await self._rows.seal(self._encoded(rows))
            try:
                await part.save(batch, name, closed, kept)
                break
            except RowChanged:
                # A member on another partition has changed a row: fold again, onto its work.
                continue
        self._changed()
        self.container.process.activity.changed()
        if self.pause_s:
            await self._pause(part, batch)

    async def _pause(self, part: Part, batch: Batch) -> None:
        subscription = part.subscription
        if len(batch.events) >= _FULL or subscription is None or batch.unparked or not batch.whole:
            return
        # All of it is kept: nobody who looks how far the group is has to wait for the end of the pause, or finds it stalled.
        subscription.position = batch.reached
        subscription.pauses = True
        try:
            await asyncio.sleep(self.pause_s)
        finally:
            subscription.pauses = False

    async def _keyed(self, part: Part, events: Sequence[StoredEvent]) -> list[tuple[str, Any]]:
        """The events as `apply` gets them, each with the key of its row; those without one are left out."""
        heard = await self._vault.hear(events) if self._personal else [hear(event) for event in events]
        return [(key, event) for event in heard if (key := self._key(event)) is not None]

    def _encoded(self, rows: Mapping[str, R | None]) -> dict[str, Row | None]:
        try:
            return self.shape.encode_all(rows)
        except NotOfShape as problem:
            raise TypeError(f"`apply` of {self._service} {self._name} gives no {self.shape.named}: {problem}") from None

    async def _opened(self, generation: int, kept: Mapping[str, Row]) -> dict[str, R]:
        """Unseals and reads kept rows of a generation. RowUnreadable: one does not fit the class."""
        return self._fitting(generation, await self._rows.open(kept))

    def _fitting(self, generation: int, opened: Mapping[str, Row]) -> dict[str, R]:
        """Reads opened rows; RowUnreadable as above."""
        known = self.shape.known(opened)
        if len(known) == len(opened):
            return known
        found: dict[str, R] = {}
        for key, row in opened.items():
            try:
                found[key] = known[key] if key in known else self.shape.decode(row)
            except NotOfShape as problem:
                told = f"row {key!r} of {self._service} {self._name} cannot be read: {problem}; {self._rebuilt}"
                if generation == self._live:
                    self._unreadable = told
                raise RowUnreadable(told) from None
        return found

    @property
    def _rebuilt(self) -> str:
        return f"`city rebuild {self._service} {self._name}` folds all of them anew"

    async def outdated(self) -> Outdated | None:
        """Whether the live rows were folded by other code than runs here, or cannot be read by it; None: all is well."""
        if not self._tried:
            with contextlib.suppress(RowUnreadable):
                await self.rows(limit=_TRIED)
            self._tried = True
        if self._unreadable:
            return Outdated(self._unreadable, True)
        if self._live_by.shape != self._by.shape:
            return Outdated(f"its rows have another shape than the code that runs here: {self._rebuilt}", False)
        if self._by.code and self._live_by.code and self._live_by.code != self._by.code:
            return Outdated(f"its rows were folded by other code than runs here: {self._rebuilt}", False)
        return None

    # -- rebuilding -------------------------------------------------------------------------------------------------------

    async def rebuild(self) -> None:
        """Begins a new generation, folded by the code that runs here. One that is being built is given up."""

        def begin(now: Generations) -> Generations:
            return Generations(now.live, now.last + 1, self._code, now.last + 1)

        await self._switch.change(begin)
        self._asked.set()

    async def give_up(self) -> None:
        """Gives up the generation that is being built."""
        await self._switch.change(lambda now: Generations(now.live, last=now.last))
        self._asked.set()

    async def rebuilding(self) -> Rebuilding:
        """How far a rebuild is."""
        now = await self._switch.read()
        if not now.building:
            return Rebuilding(now.live, 0, 0, 0, 0, "")
        position = head = parked = 0
        for partition in self._process.store.partitions(self.member.types):
            name = part_name(table(self._group, now.building), partition)
            position += await self.member.service_models.models.position(name) or 0
            head += partition.head()
            parked += len(given_over(await self._waiting(name)))
        problem = ""
        if now.code != self._code:
            problem = "it was begun by other code than runs now: ask for it again"
        elif parked:
            problem = f"parked events: {parked}; `city events parked` lists them. Mend the view and ask for it again"
        return Rebuilding(now.live, now.building, position, head, parked, problem)

    async def _tend(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:
                logger(self._service).error("view cannot be rebuilt now", view=self._name, exc_info=error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), _LOOK_S if self.builder is None else _BUILDING_LOOK_S)
            self._asked.clear()

    async def _look(self) -> None:
        """Does what the row of generations says: folds the one to be built, and changes over to the live one."""
        now = await self._switch.read()
        if now.live != self._live:
            self._change_over(now.live, await self._keep_folded_by(now.live))
        if self.builder is not None and self._building != now.building:
            self.builder.leave()
            self.builder = None
        if not now.building or now.code != self._code:
            return
        if self.builder is None:
            for old in range(1, now.building):
                if old != now.live:
                    await self._forget(old)
            self._building_by = await self._keep_folded_by(now.building)
            self._building, self._heads = now.building, {}
            self.builder = self._member_of(now.building)
            # Other processes see how far it is only by its stored checkpoint.
            self.builder.keeps_place = True
            self.builder.follow(functools.partial(self._fold, now.building), rests=self.rests)
        if await self._caught_up():
            built = self._building
            done = await self._switch.change(
                lambda found: Generations(built, last=found.last) if found.building == built else found
            )
            if done.live == built:
                before = self._live
                self._change_over(built, self._building_by)
                self._begin(self._forget_later(before))

    async def _caught_up(self) -> bool:
        """Whether the generation being built has reached the end that the log had at the last look, with no event parked."""
        assert self.builder is not None
        heads, self._heads = self._heads, {}
        there = bool(heads)
        for partition in self._process.store.partitions(self.builder.types):
            name = part_name(self.builder.group, partition)
            at = await self.builder.service_models.models.position(name)
            there = there and at is not None and at >= heads.get(partition.name, 0)
            there = there and not await self._waiting(name)
            self._heads[partition.name] = partition.head()
        return there

    async def _waiting(self, part: str) -> list[Parked]:
        """Parked events of a part. Records that are no events are left out: no generation waits for them."""
        models = self.member.service_models.models
        return [one for one in await models.parked(part) if not one.unreadable] if await models.count_parked(part) else []

    def _change_over(self, live: int, by: FoldedBy) -> None:
        """From now on reads and folds the rows of another generation; `by`: what it is folded by."""
        self.member.leave()
        if self.builder is not None and self._building == live:
            self.member, self.builder = self.builder, None
            self.member.keeps_place = False
            self.member.tell_changes(self._changed_elsewhere)
        else:
            self.member = self._member_of(live)
            self._live = live
            self._follow()
        self._live, self._live_by = live, by
        self._unreadable, self._tried = "", False
        self._changed()
        self._process.activity.changed()

    async def _forget_later(self, generation: int) -> None:
        # Until they look at the row again, other processes still read this generation.
        await asyncio.sleep(_OLD_S)
        await self._forget(generation)

    async def _forget(self, generation: int) -> None:
        group = table(self._group, generation)
        parts = [part_name(group, partition) for partition in self._process.store.partitions(self.member.types)]
        await self._switch.forget(generation, parts)

    def _member_of(self, generation: int) -> GroupMember:
        return GroupMember(self._process, self._service, table(self._group, generation), self.types, exercises=self._exercises)

    def _follow(self) -> None:
        """Begins to fold what is new into the live generation."""
        fold = functools.partial(self._fold, self._live)
        self.member.follow(fold, when_changed_elsewhere=self._changed_elsewhere, rests=self.rests)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._process.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _forget_derived(self, person: str | None) -> None:
        """Drops what was derived from rows: it may hold data of the erased person."""
        self._derived.clear()
        self._changed()

    def _changed_elsewhere(self) -> None:
        self._changed()
        self._asked.set()

    def _changed(self) -> None:
        self.revision += 1
        self._news.set()
        self._news = asyncio.Event()

    async def changed(self, revision: int) -> None:
        """Returns as soon as rows may have changed since a revision."""
        while self.revision == revision:
            await self._news.wait()

    def get_dependency(self, worker_ctx: Any) -> View[R]:
        """The view itself."""
        return self

    def get(self, key: str) -> R | None:
        """One row, or None."""
        if self._personal:
            return wait(self.row(key))
        # Without a task: an engine may have the row at hand.
        live = self._live
        kept = wait(self._one(live, key))
        return None if kept is None else self._fitting(live, {key: kept})[key]

    async def row(self, key: str) -> R | None:
        """As `get`, for callers on the loop."""
        live = self._live
        kept = await self._one(live, key)
        return None if kept is None else (await self._opened(live, {key: kept}))[key]

    def _one(self, generation: int, key: str) -> Awaitable[Row | None]:
        return self.member.service_models.models.get(table(self._name, generation), key)

    def scan(self, after: str = "", limit: int = -1) -> list[tuple[str, R]]:
        """Rows in the order of their keys."""
        return wait(self.rows(after, limit))

    async def rows(self, after: str = "", limit: int = -1) -> list[tuple[str, R]]:
        """As `scan`, for callers on the loop."""
        live = self._live
        rows = await self.member.service_models.models.scan(table(self._name, live), after, limit)
        return list((await self._opened(live, dict(rows))).items())

    def derived(self, build: Callable[[list[R]], D]) -> D:
        """What `build` makes of all rows. It runs off the loop, and its result is kept until a row changes."""
        revision, made = self._derived.get(build, (-1, None))
        if revision != self.revision:
            revision = self.revision
            made = off_loop(build, [row for _, row in self.scan()])
            # Not kept if rows have changed meanwhile, or a person may have been erased.
            if revision == self.revision and not (self._personal and self._vault.blind):
                self._derived[build] = (revision, made)
        result: D = made
        return result
