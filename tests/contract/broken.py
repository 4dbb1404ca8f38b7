"""Engines that are sound but for one thing each, and two that are sound though no other is like them."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from citybrain.event_store.feed import PartitionsFeed
from citybrain.event_store.quotas import Key, Used
from citybrain.event_store.read_models import MAX_ROW_BYTES, FoldedBy, Kept, Parked, Row
from citybrain.event_store.requests import Bound
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.sqlite.quotas import SqliteQuotas
from citybrain.event_store.sqlite.read_models import SqliteReadModels
from citybrain.event_store.sqlite.requests import SqliteRequests
from citybrain.event_store.sqlite.store import CorrelatedLog
from citybrain.event_store.store import (
    ANY,
    Committed,
    Conflict,
    Features,
    LogPage,
    NewEvent,
    StoredEvent,
    Undecided,
)
from citybrain.mesh.runtime.clock import DrivenClock, Fire, Timer

# -- stores -----------------------------------------------------------------------------------------------------------------


class Sound(SqliteEventStore):
    """Nothing is wrong with it; the others differ from it in one thing."""

    @override
    async def append(  # type: ignore[override]
        self, stream: str, events: Sequence[NewEvent], expected: int, timeout_s: float | None = None
    ) -> Committed | Conflict:
        return await super().append(stream, events, expected, timeout_s)


class IgnoresTheVersion(Sound):
    """Appends whatever is expected."""

    @override
    async def append(self, stream: str, events: Any, expected: int, timeout_s: float | None = None) -> Any:  # type: ignore[override]
        return await super().append(stream, events, ANY, timeout_s)


class ForgetsTheSecondId(Sound):
    """Looks whether the first of the ids is there already, and not at the others."""

    @override
    async def append(self, stream: str, events: Any, expected: int, timeout_s: float | None = None) -> Any:  # type: ignore[override]
        if not await self.version_of(stream, events[0].id):
            known = [event.id for event in events[1:] if await self.version_of(stream, event.id)]
            events = [replace(event, id=event.id + " again") if event.id in known else event for event in events]
        return await super().append(stream, events, expected, timeout_s)


class WritesInParts(Sound):
    """Writes what it can of an append that it must refuse."""

    @override
    async def append(self, stream: str, events: Any, expected: int, timeout_s: float | None = None) -> Any:  # type: ignore[override]
        outcome = await super().append(stream, events, expected, timeout_s)
        if isinstance(outcome, Conflict) and len(events) > 1:
            await super().append(stream, events[1:], ANY)
        return outcome


class GivesUpWithItsCaller(Sound):
    """Forgets an append whose caller's time ran out."""

    @override
    async def append(self, stream: str, events: Any, expected: int, timeout_s: float | None = None) -> Any:  # type: ignore[override]
        if timeout_s == 0:
            raise Undecided("no time: retry with the same ids")
        return await super().append(stream, events, expected, timeout_s)


class ReadsBackwardFromTheStart(Sound):
    """Turns the oldest events round in the place of the newest."""

    @override
    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        page = await super().read(stream, 1 if backward else from_version, limit)
        return page[::-1] if backward else page


class SkipsInTheLog(Sound):
    """Says it has looked at everything when a page was full."""

    @override
    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        page = await super().read_log(after, limit, types)
        return LogPage(page.events, max(self.head(), after))


class LosesTheDistrict(Sound):
    """Forgets a field."""

    @override
    async def append(self, stream: str, events: Any, expected: int, timeout_s: float | None = None) -> Any:  # type: ignore[override]
        return await super().append(stream, [replace(event, district="") for event in events], expected, timeout_s)


class KnowsNoLimit(Sound):
    """Takes a stream's name of any length."""

    @override
    async def append(self, stream: str, events: Any, expected: int, timeout_s: float | None = None) -> Any:  # type: ignore[override]
        return await super().append(stream[:60] or "nameless", events, expected, timeout_s)


class PublishesNoOddMoments(Sound):
    """Its log leaves out what happened before 1970 or very late, and says nothing of it."""

    @override
    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        page = await super().read_log(after, limit, types)
        return LogPage([one for one in page.events if 0 <= one.occurred_at < 2**50], page.reached)


class Sparse(Sound):
    """Sound: there are gaps between its positions."""

    _GAP = 1000
    # It would tell positions without gaps.
    next_of: Any = None

    @override
    async def append(self, stream: str, events: Any, expected: int, timeout_s: float | None = None) -> Any:  # type: ignore[override]
        outcome = await super().append(stream, events, expected, timeout_s)
        return replace(outcome, position=outcome.position * self._GAP) if isinstance(outcome, Committed) else outcome

    @override
    async def read(self, stream: str, from_version: int = 1, limit: int = 1000, backward: bool = False) -> list[StoredEvent]:
        return self._spread(await super().read(stream, from_version, limit, backward))

    @override
    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        page = await super().read_log(after // self._GAP, limit, types)
        return LogPage(self._spread(page.events), page.reached * self._GAP)

    @override
    async def read_correlated(self, correlation_id: str, after: int, limit: int, types: Collection[str] | None) -> LogPage:
        page = await super().read_correlated(correlation_id, after // self._GAP, limit, types)
        return LogPage(self._spread(page.events), page.reached * self._GAP)

    @override
    def head(self) -> int:
        return super().head() * self._GAP

    @override
    async def grown(self, after: int) -> int:
        return await super().grown(after // self._GAP) * self._GAP

    def _spread(self, events: list[StoredEvent]) -> list[StoredEvent]:
        return [event._replace(position=event.position * self._GAP) for event in events]


class Split:
    """Sound, and no order over all: two partitions, each stream in one of them."""

    features = Features(one_order=False, several_processes=True, durable=True)

    def __init__(self, folder: Path) -> None:
        self._parts = [Sparse(folder / f"{number}.db") for number in range(2)]
        for number, part in enumerate(self._parts):
            part.name = str(number)

    def close(self) -> None:
        for partition in self._parts:
            partition.close()

    def _of(self, stream: str) -> Sparse:
        return self._parts[sum(stream.encode(errors="replace")) % 2]

    def append(self, stream: str, events: Any, expected: int, timeout_s: float | None = None) -> Any:
        return self._of(stream).append(stream, events, expected, timeout_s)

    async def read(self, stream: str, *arguments: Any, **named: Any) -> list[StoredEvent]:
        return await self._of(stream).read(stream, *arguments, **named)

    async def version_of(self, stream: str, event_id: str) -> int:
        return await self._of(stream).version_of(stream, event_id)

    async def writable(self) -> None:
        for partition in self._parts:
            await partition.writable()

    def partitions(self, types: Collection[str] | None = None) -> list[Sparse]:
        return self._parts

    def feed(self, types: Collection[str] | None = None, correlation_id: str = "") -> PartitionsFeed:
        return PartitionsFeed(
            {part.name: CorrelatedLog(part, correlation_id) if correlation_id else part for part in self._parts}, types
        )


# -- read models ------------------------------------------------------------------------------------------------------------


class Through:
    """Read models that are sound; the others differ in one thing."""

    def __init__(self, models: SqliteReadModels) -> None:
        self.models = models

    def __getattr__(self, name: str) -> Any:
        return getattr(self.models, name)


class MovesTheCheckpointFirst(Through):
    """Writes the checkpoint, then the rows."""

    async def save(
        self, group: str, epoch: int, position: int, view: str = "", rows: Any = None, unparked: Iterable[int] = (),
        **named: Any,
    ) -> None:  # fmt: skip
        await self.models.save(group, epoch, position)
        await self.models.save(group, epoch, position, view, rows, unparked, **named)


class WritesRowsFirst(Through):
    """Writes the rows, asks whether it still may, then writes the checkpoint."""

    async def save(
        self, group: str, epoch: int, position: int, view: str = "", rows: Any = None, unparked: Iterable[int] = (),
        **named: Any,
    ) -> None:  # fmt: skip
        before = await self.models.position(group)
        current = self.models._db.execute("SELECT epoch FROM groups WHERE name = ?", (group,)).fetchone()[0]
        await self.models.save(group, current, before or 0, view, rows, **named)
        await self.models.save(group, epoch, position, unparked=unparked)


class ForgetsWhoIsTheMember(Through):
    """Lets everybody park."""

    async def park(self, group: str, epoch: int, events: Sequence[Parked]) -> None:
        current = self.models._db.execute("SELECT epoch FROM groups WHERE name = ?", (group,)).fetchone()[0]
        await self.models.park(group, current, events)


class GivesTheSameEpochTwice(Through):
    """Two members of one epoch."""

    async def join(self, group: str, start: int = 0) -> tuple[int, int]:
        epoch, position = await self.models.join(group, start)
        return (epoch + 1) // 2, position


class LeavesWhatIsDoneParked(Through):
    """Does not take out what was done at last."""

    async def save(
        self, group: str, epoch: int, position: int, view: str = "", rows: Any = None, unparked: Iterable[int] = (),
        **named: Any,
    ) -> None:  # fmt: skip
        await self.models.save(group, epoch, position, view, rows, **named)


class TellsNobody(Through):
    """Keeps to itself that somebody asked."""

    async def asked(self, group: str) -> int:
        return 0


class ForgetsWhatIsTried(Through):
    """Parks everything for good at once."""

    async def park(self, group: str, epoch: int, events: Sequence[Parked]) -> None:
        await self.models.park(group, epoch, [replace(event, replay=0) for event in events])


class ParksWhatWasGivenUp(Through):
    """Does not look whether somebody gave it up."""

    async def park(self, group: str, epoch: int, events: Sequence[Parked]) -> None:
        for event in events:
            self.models._db.execute("DELETE FROM dropped WHERE grp = ? AND position = ?", (group, event.position))
        await self.models.park(group, epoch, events)


class TakesReplayedForDone(Through):
    """Says of each row that it holds whatever stands before the checkpoint, events that were parked too."""

    async def load(self, view: str, keys: Iterable[str]) -> dict[str, Kept]:
        return {key: replace(kept, applied=_Everything()) for key, kept in (await self.models.load(view, keys)).items()}


class _Everything(dict[str, int]):
    @override
    def __contains__(self, name: object) -> bool:
        return True


class TakesRowsOfAnySize(Through):
    """Cuts keys short, and takes whatever comes."""

    async def save(
        self, group: str, epoch: int, position: int, view: str = "", rows: Any = None, unparked: Iterable[int] = (),
        **named: Any,
    ) -> None:  # fmt: skip
        fitting = {key[:300]: row if len(str(row)) < MAX_ROW_BYTES else {} for key, row in (rows or {}).items()}
        await self.models.save(group, epoch, position, view, fitting, unparked, **named)


class OrdersByLength(Through):
    """Lists rows in an order of its own."""

    async def scan(self, view: str, after: str = "", limit: int = -1) -> list[tuple[str, Row]]:
        rows = sorted(await self.models.scan(view), key=lambda item: (len(item[0]), item[0]))
        return [row for row in rows if row[0] > after][: limit if limit >= 0 else None]


class KeepsWhatIsDeleted(Through):
    """A row that is taken out stays."""

    async def save(
        self, group: str, epoch: int, position: int, view: str = "", rows: Any = None, unparked: Iterable[int] = (),
        **named: Any,
    ) -> None:  # fmt: skip
        rows = {key: row for key, row in (rows or {}).items() if row is not None}
        await self.models.save(group, epoch, position, view, rows, unparked, **named)


class SaysAnewByWhatItFolds(Through):
    """What is said last stands."""

    async def keep_folded_by(self, group: str, by: FoldedBy) -> FoldedBy:
        self.models._db.execute("DELETE FROM folded_by WHERE grp = ?", (group,))
        return await self.models.keep_folded_by(group, by)


# -- request ids ------------------------------------------------------------------------------------------------------------


class RemembersTheLastUse(SqliteRequests):
    """Binds an id anew each time."""

    @override
    async def bind(self, request_id: str, caller: str, method: str, content: bytes) -> Bound | None:
        bound = await super().bind(request_id, caller, method, content)
        self._patient.execute("DELETE FROM requests")
        await super().bind(request_id, caller, method, content)
        return bound


class KnowsNoCallers(SqliteRequests):
    """Takes all callers for one."""

    @override
    async def bind(self, request_id: str, caller: str, method: str, content: bytes) -> Bound | None:
        return await super().bind(request_id, "", method, content)


# -- quotas -----------------------------------------------------------------------------------------------------------------


class AddsUpWhatIsRepeated(SqliteQuotas):
    """Takes what a process has counted for what has come since."""

    @override
    async def write(self, day: int, process: bytes, own: Mapping[Key, int]) -> None:
        before = await self.read(day, [consumer for consumer, _ in own], process)
        await super().write(day, process, {key: used + before.get(key, Used(0, 0)).own for key, used in own.items()})


class KnowsOneProcess(SqliteQuotas):
    """Takes all processes for one."""

    @override
    async def write(self, day: int, process: bytes, own: Mapping[Key, int]) -> None:
        await super().write(day, b"", own)


# -- clocks -----------------------------------------------------------------------------------------------------------------


class FiresAtOnce(DrivenClock):
    """Does not wait for the last tenth of a second."""

    @override
    def at(self, due: int, fire: Fire) -> Timer:
        return super().at(due - 100_000, fire)


class FiresBackward(DrivenClock):
    """Fires the latest first."""

    @override
    async def _fire_until(self, moment: int) -> None:
        due = [entry for entry in self._due if entry[0] <= moment]
        self._due = [entry for entry in self._due if entry[0] > moment]
        heapq.heapify(self._due)
        for _, _, timer in sorted(due, key=lambda entry: entry[:2], reverse=True):
            if not timer.cancelled:
                await timer.fire()
        self._reach(moment)


class FiresWhatWasTakenBack(DrivenClock):
    """Forgets who was taken back."""

    @override
    def at(self, due: int, fire: Fire) -> Timer:
        super().at(due, fire)
        return Timer(fire)


class GoesBack(DrivenClock):
    """Goes where it is told."""

    @override
    def now(self) -> int:
        return super().now() - 50_000 * (super().now() // 10_000 % 2)
