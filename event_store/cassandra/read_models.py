"""Read models of a service on Cassandra: a row is written on condition of what it was, a checkpoint on condition of its member.

Rows first, then the checkpoint. If a member dies between the two, the rows say in `applied` which events are in them, so the
next member folds none twice. All data of a group is in one partition, and only conditional writes change it. Each of them adds
one to the member's `turn`, so a write that arrives late, when nobody waits for it any more, changes nothing.
(It is long because a port is implemented in one place.)
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any, NamedTuple, TypeVar

from typing_extensions import override

from cassandra.query import BatchStatement, BatchType
from citybrain.event_store.cassandra.session import Asked, surely
from citybrain.event_store.cassandra.slots import FREE, Slots
from citybrain.event_store.read_models import (
    Dropped,
    FoldedBy,
    Kept,
    Parked,
    ReadModels,
    Row,
    RowChanged,
    WindowsSeen,
    checked,
    replayed_as,
    row_text,
)
from citybrain.event_store.store import LostAssignment

T = TypeVar("T")
# Rows of a view by a hash of their keys: conditional writes to one partition wait for each other.
_SHARDS = 16
_SEEN, _DROPPED, _SLOT = 0, 2, 3
_AT_ONCE = 100
# Rows of one batch, in characters: Cassandra takes no write of more than half a segment of its commit log.
_BATCH_BYTES = 1024 * 1024
# A deleted row stays, because its `applied` is needed. Its text is empty, and not null, which would be a tombstone.
_DELETED = ""
_PAGE = 1000
# How many replayed events a row may list before those that are no longer parked are taken off the list.
_REPLAYED_MAX = 16

_GROUP = "service = ? AND grp = ?"
_ROW = "service = ? AND name = ? AND shard = ? AND key = ?"
# $ is the keyspace.
_STATEMENTS = {
    "begin": f"UPDATE $.view_groups SET epoch = ?, member = ?, turn = 0, done = ? WHERE {_GROUP} IF epoch = ?",
    "join": f"UPDATE $.view_groups SET epoch = ?, member = ?, turn = 0 WHERE {_GROUP} IF epoch = ?",
    "reach": f"UPDATE $.view_groups SET turn = ?, done = ? WHERE {_GROUP} IF epoch = ? AND turn = ?",
    "keep": f"UPDATE $.view_groups SET turn = ?, done = ?, waiting = ? WHERE {_GROUP} IF epoch = ? AND turn = ? AND asked = ?",
    "see": "INSERT INTO $.view_groups (service, grp, kind, position, name, version) VALUES (?, ?, ?, ?, ?, ?)",
    "seen": f"SELECT name, version FROM $.view_groups WHERE {_GROUP} AND kind = {_SEEN} AND position = 0 AND name IN ?",
    "slot": "INSERT INTO $.view_groups (service, grp, kind, position, name, at, stream, event_id, type, reason, moment, replay)"
    f" VALUES (?, ?, {_SLOT}, ?, '', ?, ?, ?, ?, ?, ?, ?)",
    "slots": "SELECT position, at, stream, event_id, type, reason, moment, replay FROM $.view_groups"
    f" WHERE {_GROUP} AND kind = {_SLOT} AND position > ? LIMIT ?",
    "number": f"SELECT DISTINCT service, grp, asked, waiting FROM $.view_groups WHERE {_GROUP}",
    "ask": f"UPDATE $.view_groups SET asked = ? WHERE {_GROUP} IF asked = ?",
    "replay": f"UPDATE $.view_groups SET replay = 1 WHERE {_GROUP} AND kind = {_SLOT} AND position = ? AND name = '' IF at = ?",
    "fewer": f"UPDATE $.view_groups SET asked = ?, waiting = ? WHERE {_GROUP} IF asked = ? AND waiting = ?",
    "give_up": "UPDATE $.view_groups SET at = ?, stream = ?, event_id = ?, type = ?, reason = ?, moment = ?, replay = ?"
    f" WHERE {_GROUP} AND kind = {_SLOT} AND position = ? AND name = '' IF at = ?",
    "drop": "INSERT INTO $.view_groups (service, grp, kind, position, name, event_id, reason, who, moment)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "dropped": "SELECT position, event_id, reason, who, moment FROM $.view_groups"
    f" WHERE {_GROUP} AND kind = {_DROPPED} AND position > ? LIMIT ?",
    "write": f"UPDATE $.view_rows SET row = ?, revision = ?, applied = ? WHERE {_ROW} IF revision = ?",
    "get": f"SELECT row FROM $.view_rows WHERE {_ROW}",
    "scan": "SELECT key, row FROM $.view_rows WHERE service = ? AND name = ? AND shard = ? AND key > ? LIMIT ?",
    "fold_by": "INSERT INTO $.view_folded_by (service, grp, shape, code) VALUES (?, ?, ?, ?) IF NOT EXISTS",
    "change": "INSERT INTO $.view_changes (service, process, number) VALUES (?, ?, ?)",
    "changes": "SELECT process, number FROM $.view_changes WHERE service = ?",
    "last_run": "SELECT last FROM $.timers WHERE service = ? AND name = ?",
    # The later of two moments wins, whichever was written last.
    "ran": "INSERT INTO $.timers (service, name, last) VALUES (?, ?, ?) USING TIMESTAMP ?",
    "windows": "SELECT closed_until, resume, position FROM $.windows WHERE service = ? AND name = ?",
    "save_windows": "INSERT INTO $.windows (service, name, closed_until, resume, position) VALUES (?, ?, ?, ?, ?)"
    " USING TIMESTAMP ?",
}
_SERIAL = {
    "folded_by": f"SELECT shape, code FROM $.view_folded_by WHERE {_GROUP}",
    "group": f"SELECT DISTINCT service, grp, epoch, turn, done, member, asked FROM $.view_groups WHERE {_GROUP}",
    "load": "SELECT key, row, revision, applied FROM $.view_rows WHERE service = ? AND name = ? AND shard = ? AND key IN ?",
}


class _Group(NamedTuple):
    """The static columns of a group: its member's epoch and turn, the checkpoint, the member's id, how often others asked."""

    epoch: int
    turn: int
    done: int
    member: str
    asked: int | None


class CassandraReadModels(ReadModels):
    """ReadModels of one service in a migrated keyspace. The port says what the methods promise."""

    def __init__(self, asked: Asked, prepared: dict[str, Any], service: str) -> None:
        self._asked = asked
        self._prepared = prepared
        self._service = service
        self._process = str(uuid.uuid4())
        self._written = 0
        # One conditional write to a group at a time: more would only make each other wait.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._slots: dict[str, Slots] = {}

    @classmethod
    async def on(cls, asked: Asked, keyspace: str, service: str) -> CassandraReadModels:
        """Prepares the statements. The caller still has to close the session."""
        prepared = {name: await asked.prepare(cql.replace("$", keyspace)) for name, cql in _STATEMENTS.items()}
        for name, cql in _SERIAL.items():
            prepared[name] = await asked.prepare(cql.replace("$", keyspace), serial=True)
        return cls(asked, prepared, service)

    @override
    def close(self) -> None:
        """Nothing to do: requests that were begun are with Cassandra already."""

    async def _ask(self, name: str, *values: object) -> list[tuple[Any, ...]]:
        return await surely(lambda: self._asked.ask(self._prepared[name], values))

    async def _send(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> bool:
        """Sends a conditional batch to one partition until it is answered. False: it did not apply, or had applied before."""
        batch = BatchStatement(batch_type=BatchType.UNLOGGED)
        for name, values in statements:
            batch.add(self._prepared[name], values)
        (answer, *_) = await surely(lambda: self._asked.ask(batch))
        return bool(answer[0])

    # -- groups -----------------------------------------------------------------------------------------------------------

    @override
    async def join(self, group: str, start: int = 0) -> tuple[int, int]:
        member = str(uuid.uuid4())
        async with self._turns[group]:
            while True:
                there = await self._group(group)
                if there is not None and there.member == member:
                    return there.epoch, there.done
                # The next look at the group shows whether it was applied.
                if there is None:
                    await self._send([("begin", (1, member, start, self._service, group, None))])
                else:
                    await self._send([("join", (there.epoch + 1, member, self._service, group, there.epoch))])

    @override
    async def position(self, group: str) -> int | None:
        there = await self._group(group)
        return None if there is None else there.done

    async def _group(self, group: str) -> _Group | None:
        found = await self._ask("group", self._service, group)
        return _Group(*found[0][2:]) if found and found[0][2] is not None else None

    async def _group_of(self, group: str, epoch: int) -> _Group:
        there = await self._group(group)
        if there is None or there.epoch != epoch:
            raise _lost(group)
        return there

    async def _as_member(
        self,
        group: str,
        epoch: int,
        changes: Sequence[tuple[str, tuple[object, ...]]] = (),
        *,
        position: int | None = None,
        park: Sequence[Parked] = (),
        unpark: Sequence[int] = (),
    ) -> None:
        """Changes a group's data and its checkpoint together, as its member. LostAssignment: another member took over."""
        async with self._turns[group]:
            while True:
                there = await self._group_of(group, epoch)
                turn, done = there.turn + 1, there.done if position is None else position
                of_group = (self._service, group, epoch, there.turn)
                moves: tuple[str, tuple[object, ...]] = ("reach", (turn, done, *of_group))
                slots: Slots | None = None
                written: list[tuple[str, tuple[object, ...]]] = []
                if park or unpark:
                    # `_slots` lacks them until the outcome is known.
                    slots = await self._slots_now(group, there)
                    changed = slots.change(park, unpark)
                    written = [("slot", (self._service, group, number, *what)) for number, what in changed.items()]
                    moves = ("keep", (turn, done, len(slots), *of_group, there.asked))
                if not await self._send([moves, *written, *changes]):
                    now = await self._group_of(group, epoch)
                    # Our turn: the batch had applied, and its answer was lost. The turn before: a request came, so again.
                    if now.turn == there.turn and now.asked != there.asked:
                        continue
                    if now.turn != turn:
                        raise _lost(group)
                if slots is not None:
                    self._slots[group] = slots
                return

    @override
    async def save(
        self,
        group: str,
        epoch: int,
        position: int,
        view: str = "",
        rows: Mapping[str, Row | None] | None = None,
        unparked: Iterable[int] = (),
        *,
        kept: Mapping[str, Kept] | None = None,
        seen: Mapping[str, int] | None = None,
    ) -> None:
        """A row is written only over the revision it was folded from, and gets a new revision that tells who wrote it."""
        rows = rows or {}
        texts = {key: _DELETED if (row := rows[key]) is None else row_text(row) for key in checked(rows)}
        there = await self._group_of(group, epoch)
        unparked = list(unparked)
        if texts:
            # A member that loses the group at this moment still writes rows: `applied` says which events are in them.
            kept = await self.load(view, texts) if kept is None else kept
            says = {replayed_as(group, one): one for one in unparked} or {group: position}
            await self._write(view, texts, kept, says, await self._said_enough(group, kept))
        changes = [("see", (self._service, group, _SEEN, 0, stream, version)) for stream, version in (seen or {}).items()]
        # If there are only rows, all is done: a member that takes over now comes after them.
        if changes or unparked or position != there.done:
            await self._as_member(group, epoch, changes, position=position, unpark=unparked)

    @override
    async def seen(self, group: str, streams: Iterable[str]) -> dict[str, int]:
        found = [await self._ask("seen", self._service, group, part) for part in _parts(streams)]
        return {stream: version for rows in found for stream, version in rows}

    @override
    async def keep_folded_by(self, group: str, by: FoldedBy) -> FoldedBy:
        while not (found := await self._ask("folded_by", self._service, group)):
            # If another process was first, the next read returns what it wrote.
            await self._ask("fold_by", self._service, group, *astuple(by))
        return FoldedBy(*found[0])

    # -- rows -------------------------------------------------------------------------------------------------------------

    @override
    async def get(self, view: str, key: str) -> Row | None:
        (key,) = checked([key])
        found = await self._ask("get", self._service, view, _shard(key), key)
        return json.loads(found[0][0]) if found and found[0][0] else None

    @override
    async def load(self, view: str, keys: Iterable[str]) -> dict[str, Kept]:
        asked = [
            self._ask("load", self._service, view, shard, part)
            for shard, of_shard in _by_shard(checked(keys)).items()
            for part in _parts(of_shard)
        ]
        return {
            key: Kept(json.loads(text) if text else None, revision, dict(applied))
            for rows in await asyncio.gather(*asked)
            for key, text, revision, applied in rows
        }

    @override
    async def scan(self, view: str, after: str = "", limit: int = -1) -> list[tuple[str, Row]]:
        found = await asyncio.gather(*(self._scan(view, shard, after, limit) for shard in range(_SHARDS)))
        rows = sorted((one for of_shard in found for one in of_shard), key=lambda one: one[0])
        return [(key, json.loads(text)) for key, text in (rows if limit < 0 else rows[:limit])]

    async def _scan(self, view: str, shard: int, after: str, limit: int) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        while limit < 0 or len(found) < limit:
            size = _PAGE if limit < 0 else min(limit, _PAGE)
            page = await self._ask("scan", self._service, view, shard, after, size)
            # A deleted row is still there, for its `applied`; its text is empty.
            found += [(key, text) for key, text in page if text]
            if len(page) < size:
                break
            after = page[-1][0]
        return found

    async def _said_enough(self, group: str, kept: Mapping[str, Kept]) -> set[str]:
        """Replayed events that rows need not list any more: they are no longer parked, so nobody will replay them again."""
        told = [[name for name in one.applied if name.startswith(replayed_as(group, 0)[:-1])] for one in kept.values()]
        if not any(len(names) > _REPLAYED_MAX for names in told):
            return set()
        slots = self._slots.get(group)
        waiting = [one.position for one in await self.parked(group)] if slots is None else slots.positions
        return {name for names in told for name in names} - {replayed_as(group, position) for position in waiting}

    async def _write(
        self,
        view: str,
        texts: Mapping[str, str],
        kept: Mapping[str, Kept],
        says: Mapping[str, int],
        forgets: Collection[str] = (),
    ) -> None:
        revision = random.getrandbits(62) + 1
        written = await asyncio.gather(
            *(
                self._write_some(view, shard, part, texts, kept, says, forgets, revision)
                for shard, of_shard in _by_shard(texts).items()
                for part in _parts(of_shard, lambda key: len(texts[key]))
            )
        )
        self._written += 1
        await self._ask("change", self._service, self._process, self._written)
        if not all(written):
            raise RowChanged(f"rows of {view} were written by another member meanwhile: load them, and fold again")

    async def _write_some(
        self, view: str, shard: int, keys: Sequence[str], texts: Mapping[str, str], kept: Mapping[str, Kept],
        says: Mapping[str, int], forgets: Collection[str], revision: int,
    ) -> bool:  # fmt: skip
        statements: list[tuple[str, tuple[object, ...]]] = []
        for key in keys:
            old = kept.get(key)
            said = {name: at for name, at in old.applied.items() if name not in forgets} if old else {}
            applied = {**said, **says}
            place = (self._service, view, shard, key)
            statements.append(("write", (texts[key], revision, applied, *place, old.revision if old else None)))
        if await self._send(statements):
            return True
        now = await self._ask("load", self._service, view, shard, list(keys))
        return len(now) == len(keys) and all(row[2] == revision for row in now)

    @override
    async def changes(self) -> int:
        return hash(frozenset(await self._ask("changes", self._service)))

    # -- parked events ----------------------------------------------------------------------------------------------------

    @override
    async def park(self, group: str, epoch: int, events: Sequence[Parked]) -> None:
        await self._as_member(group, epoch, park=events)

    async def _slots_now(self, group: str, there: _Group) -> Slots:
        """A group's slots, for its member. They are read again if somebody else has changed them, or it has just begun."""
        slots = self._slots.pop(group, None)
        if slots is None or (slots.epoch, slots.asked) != (there.epoch, there.asked):
            slots = Slots(there.epoch, there.asked, await self._all_slots(group))
            slots.given_up = {one.position for one in await self.dropped(group)}
        return slots

    async def _all_slots(self, group: str) -> list[tuple[int, Parked]]:
        """Every slot and its content; a free slot has position 0."""
        found: list[tuple[int, Parked]] = []
        while page := await self._ask("slots", self._service, group, found[-1][0] if found else -1, _PAGE):
            found += [(number, Parked(*what)) for number, *what in page]
            if len(page) < _PAGE:
                break
        return found

    @override
    async def parked(self, group: str) -> list[Parked]:
        return sorted((one for _, one in await self._all_slots(group) if one.position), key=lambda one: one.position)

    @override
    async def count_parked(self, group: str) -> int:
        _, waiting = await self._number(group)
        return waiting or 0

    @override
    async def asked(self, group: str) -> int:
        asked, _ = await self._number(group)
        return asked or 0

    async def _number(self, group: str) -> tuple[int | None, int | None]:
        """How often somebody asked for a replay or gave an event up, and how many are parked; None: none ever was."""
        found = await self._ask("number", self._service, group)
        return (found[0][2], found[0][3]) if found else (None, None)

    @override
    async def ask_replay(self, group: str, stream: str) -> int:
        found = 0
        while True:
            asked, _ = await self._number(group)
            of_stream = [(number, one) for number, one in await self._all_slots(group) if one.position and one.stream == stream]
            wait = [("replay", (self._service, group, number, one.position)) for number, one in of_stream if not one.replay]
            if not of_stream or (found and not wait):
                return found
            found = found or len(of_stream)
            # If it was not applied, it had applied before, or somebody else changed something: the next round looks again.
            await self._send([("ask", ((asked or 0) + 1, self._service, group, asked)), *wait[:_AT_ONCE]])

    @override
    async def drop(self, group: str, position: int, reason: str, who: str, now: int) -> bool:
        ours = False
        while True:
            asked, waiting = await self._number(group)
            found = next(((number, one) for number, one in await self._all_slots(group) if one.position == position), None)
            if found is None:
                # It is not parked any more: we have given it up, or somebody else has, or the member is done with it.
                mine = (position, reason, who, now)
                gone = await self.dropped(group, position - 1) if ours else []
                return mine in [(one.position, one.reason, one.who, one.dropped_at) for one in gone]
            ours = True
            number, one = found
            fewer = ((asked or 0) + 1, (waiting or 0) - 1, self._service, group, asked, waiting)
            await self._send(
                [
                    ("fewer", fewer),
                    ("give_up", (*FREE, self._service, group, number, position)),
                    ("drop", (self._service, group, _DROPPED, position, "", one.event_id, reason, who, now)),
                ]
            )

    @override
    async def dropped(self, group: str, after: int = 0) -> list[Dropped]:
        found: list[Dropped] = []
        while page := await self._ask("dropped", self._service, group, found[-1].position if found else after, _PAGE):
            found += [Dropped(*row) for row in page]
            if len(page) < _PAGE:
                break
        return found

    # -- timers and windows -----------------------------------------------------------------------------------------------

    @override
    async def last_run(self, timer: str) -> int | None:
        found = await self._ask("last_run", self._service, timer)
        return found[0][0] if found else None

    @override
    async def ran(self, timer: str, moment: int) -> None:
        await self._ask("ran", self._service, timer, moment, moment)

    @override
    async def windows_seen(self, name: str) -> WindowsSeen:
        found = await self._ask("windows", self._service, name)
        return WindowsSeen(*found[0]) if found else WindowsSeen()

    @override
    async def save_windows_seen(self, name: str, seen: WindowsSeen) -> None:
        await self._ask("save_windows", self._service, name, *astuple(seen), seen.position)


def _lost(group: str) -> LostAssignment:
    return LostAssignment(f"{group} was taken over by another member")


def _shard(key: str) -> int:
    return zlib.crc32(key.encode()) % _SHARDS


def _by_shard(keys: Iterable[str]) -> dict[int, list[str]]:
    found: defaultdict[int, list[str]] = defaultdict(list)
    for key in keys:
        found[_shard(key)].append(key)
    return found


def _parts(of: Iterable[T], size: Callable[[T], int] = lambda one: 0) -> list[list[T]]:
    """Splits into parts that fit into one request or one batch."""
    parts: list[list[T]] = []
    room = 0
    for one in of:
        if not parts or len(parts[-1]) >= _AT_ONCE or room < size(one):
            parts.append([])
            room = _BATCH_BYTES
        parts[-1].append(one)
        room -= size(one)
    return parts
