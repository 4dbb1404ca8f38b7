"""Read models of a service on Cassandra: a row is written on condition of what it was, a checkpoint on condition of its member.

Rows first, then the checkpoint: a member that dies between the two leaves rows that say in `applied` what is in them, so who
comes next folds nothing into them twice. All that is a group's is in one partition and is changed by conditional writes only,
each of which counts its member's turn on: one that arrives late, when nobody waits for it any more, changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any, TypeVar

from cassandra.query import BatchStatement, BatchType
from citybrain.event_store.cassandra.session import Asked, surely
from citybrain.event_store.contract import LostAssignment
from citybrain.event_store.read_models import Dropped, Kept, Parked, Row, RowChanged, WindowsSeen, replayed_as

T = TypeVar("T")
# Rows of a view by a hash of their keys: conditional writes to one partition wait for each other.
_SHARDS = 16
_SEEN, _PARKED, _DROPPED = 0, 1, 2
_AT_ONCE = 100
_PAGE = 1000
# So many replayed events a row may tell of before it is asked which of them are parked still.
_REPLAYED_MAX = 16

_GROUP = "service = ? AND grp = ?"
_ITEM = f"{_GROUP} AND kind = ? AND position = ? AND name = ?"
_ROW = "service = ? AND name = ? AND shard = ? AND key = ?"
# $ is the keyspace.
_STATEMENTS = {
    "begin": f"UPDATE $.view_groups SET epoch = ?, member = ?, turn = 0, done = ? WHERE {_GROUP} IF epoch = ?",
    "join": f"UPDATE $.view_groups SET epoch = ?, member = ?, turn = 0 WHERE {_GROUP} IF epoch = ?",
    "turn": f"UPDATE $.view_groups SET turn = ? WHERE {_GROUP} IF epoch = ? AND turn = ?",
    "reach": f"UPDATE $.view_groups SET turn = ?, done = ? WHERE {_GROUP} IF epoch = ? AND turn = ?",
    "see": "INSERT INTO $.view_groups (service, grp, kind, position, name, version) VALUES (?, ?, ?, ?, ?, ?)",
    "seen": f"SELECT name, version FROM $.view_groups WHERE {_GROUP} AND kind = {_SEEN} AND position = 0 AND name IN ?",
    "park": "INSERT INTO $.view_groups (service, grp, kind, position, name, stream, event_id, type, reason, moment, replay)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "unpark": f"DELETE FROM $.view_groups WHERE {_ITEM}",
    "parked": "SELECT position, stream, event_id, type, reason, moment, replay FROM $.view_groups"
    f" WHERE {_GROUP} AND kind = {_PARKED}",
    "count_parked": f"SELECT count(*) FROM $.view_groups WHERE {_GROUP} AND kind = {_PARKED}",
    "replay": f"UPDATE $.view_groups SET replay = 1 WHERE {_ITEM} IF event_id = ?",
    "give_up": f"DELETE FROM $.view_groups WHERE {_ITEM} IF event_id = ?",
    "drop": "INSERT INTO $.view_groups (service, grp, kind, position, name, event_id, reason, who, moment)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "dropped": f"SELECT position, event_id, reason, who, moment FROM $.view_groups WHERE {_GROUP} AND kind = {_DROPPED}",
    "write": f"UPDATE $.view_rows SET row = ?, revision = ?, applied = ? WHERE {_ROW} IF revision = ?",
    "get": f"SELECT row FROM $.view_rows WHERE {_ROW}",
    "scan": "SELECT key, row FROM $.view_rows WHERE service = ? AND name = ? AND shard = ? AND key > ? LIMIT ?",
    "change": "INSERT INTO $.view_changes (service, process, number) VALUES (?, ?, ?)",
    "changes": "SELECT process, number FROM $.view_changes WHERE service = ?",
    "last_run": "SELECT last FROM $.timers WHERE service = ? AND name = ?",
    # Of two, the later moment stays, whichever was written last.
    "ran": "INSERT INTO $.timers (service, name, last) VALUES (?, ?, ?) USING TIMESTAMP ?",
    "windows": "SELECT closed_until, resume, position FROM $.windows WHERE service = ? AND name = ?",
    "save_windows": "INSERT INTO $.windows (service, name, closed_until, resume, position) VALUES (?, ?, ?, ?, ?)"
    " USING TIMESTAMP ?",
}
_SERIAL = {
    "group": f"SELECT DISTINCT service, grp, epoch, turn, done, member FROM $.view_groups WHERE {_GROUP}",
    "load": "SELECT key, row, revision, applied FROM $.view_rows WHERE service = ? AND name = ? AND shard = ? AND key IN ?",
}


class CassandraReadModels:
    """ReadModels of one service in a keyspace that was migrated; what its methods promise is said there."""

    def __init__(self, asked: Asked, prepared: dict[str, Any], service: str) -> None:
        self._asked = asked
        self._prepared = prepared
        self._service = service
        self._process = str(uuid.uuid4())
        self._written = 0
        # One conditional write to a group at a time: more would only make each other wait.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @classmethod
    async def on(cls, asked: Asked, keyspace: str, service: str) -> CassandraReadModels:
        """Prepares what will be asked; the session stays its opener's."""
        prepared = {name: await asked.prepare(cql.replace("$", keyspace)) for name, cql in _STATEMENTS.items()}
        for name, cql in _SERIAL.items():
            prepared[name] = await asked.prepare(cql.replace("$", keyspace), serial=True)
        return cls(asked, prepared, service)

    def close(self) -> None:
        """See ReadModels.close. Nothing waits here: what was begun is with Cassandra."""

    async def _ask(self, name: str, *values: object) -> list[tuple[Any, ...]]:
        return await surely(lambda: self._asked.ask(self._prepared[name], values))

    async def _send(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> bool:
        """One conditional batch in one partition, until it is answered: False where it did not apply, or had applied before."""
        batch = BatchStatement(batch_type=BatchType.UNLOGGED)
        for name, values in statements:
            batch.add(self._prepared[name], values)
        (answer, *_) = await surely(lambda: self._asked.ask(batch))
        return bool(answer[0])

    # -- groups -----------------------------------------------------------------------------------------------------------

    async def join(self, group: str, start: int = 0) -> tuple[int, int]:
        """See ReadModels.join."""
        member = str(uuid.uuid4())
        async with self._turns[group]:
            while True:
                epoch, _, done, now = await self._group(group)
                if epoch is not None and now == member:
                    return epoch, done
                # Where nobody says that it applied, the next look does.
                if epoch is None:
                    await self._send([("begin", (1, member, start, self._service, group, None))])
                else:
                    await self._send([("join", (epoch + 1, member, self._service, group, epoch))])

    async def position(self, group: str) -> int | None:
        """See ReadModels.position."""
        epoch, _, done, _ = await self._group(group)
        return None if epoch is None else done

    async def _group(self, group: str) -> tuple[int | None, int, int, str]:
        """Epoch of a group's member, its turn, the checkpoint, and who the member is."""
        found = await self._ask("group", self._service, group)
        return found[0][2:] if found else (None, 0, 0, "")

    async def _as_member(
        self, group: str, epoch: int, changes: Iterable[tuple[str, tuple[object, ...]]], position: int | None = None
    ) -> None:
        """Changes what is the group's, and its checkpoint with it, as its member; LostAssignment where another one is."""
        async with self._turns[group]:
            turn = await self._turn(group, epoch)
            moves: tuple[str, tuple[object, ...]] = ("turn", (turn + 1, self._service, group, epoch, turn))
            if position is not None:
                moves = ("reach", (turn + 1, position, self._service, group, epoch, turn))
            # Not applied, and the turn is the next one: it had applied when its answer was lost.
            if not await self._send([moves, *changes]) and await self._turn(group, epoch) != turn + 1:
                raise _lost(group)

    async def _turn(self, group: str, epoch: int) -> int:
        now, turn, _, _ = await self._group(group)
        if now != epoch:
            raise _lost(group)
        return turn

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
        """See ReadModels.save. A row is known by the revision it was folded from, and by that of the one who wrote it."""
        texts = {key: None if row is None else json.dumps(row, ensure_ascii=False) for key, row in (rows or {}).items()}
        now, _, done, _ = await self._group(group)
        if now != epoch:
            raise _lost(group)
        unparked = list(unparked)
        if texts:
            # Who loses its place just now writes what `applied` tells of.
            kept = await self.load(view, texts) if kept is None else kept
            says = {replayed_as(group, one): one for one in unparked} or {group: position}
            await self._write(view, texts, kept, says, await self._said_enough(group, kept))
        changes: list[tuple[str, tuple[object, ...]]]
        changes = [("see", (self._service, group, _SEEN, 0, stream, version)) for stream, version in (seen or {}).items()]
        changes += [("unpark", (self._service, group, _PARKED, one, "")) for one in unparked]
        # Where all there is are rows, they were written or refused: whoever takes over now comes after them.
        if changes or position != done:
            await self._as_member(group, epoch, changes, position)

    async def seen(self, group: str, streams: Iterable[str]) -> dict[str, int]:
        """See ReadModels.seen."""
        found = [await self._ask("seen", self._service, group, part) for part in _parts(streams)]
        return {stream: version for rows in found for stream, version in rows}

    # -- rows -------------------------------------------------------------------------------------------------------------

    async def get(self, view: str, key: str) -> Row | None:
        """See ReadModels.get."""
        found = await self._ask("get", self._service, view, _shard(key), key)
        return json.loads(found[0][0]) if found and found[0][0] is not None else None

    async def load(self, view: str, keys: Iterable[str]) -> dict[str, Kept]:
        """See ReadModels.load."""
        asked = [
            self._ask("load", self._service, view, shard, part)
            for shard, of_shard in _by_shard(keys).items()
            for part in _parts(of_shard)
        ]
        return {
            key: Kept(None if text is None else json.loads(text), revision, dict(applied))
            for rows in await asyncio.gather(*asked)
            for key, text, revision, applied in rows
        }

    async def scan(self, view: str, after: str = "", limit: int = -1) -> list[tuple[str, Row]]:
        """See ReadModels.scan."""
        found = await asyncio.gather(*(self._scan(view, shard, after, limit) for shard in range(_SHARDS)))
        rows = sorted((one for of_shard in found for one in of_shard), key=lambda one: one[0])
        return [(key, json.loads(text)) for key, text in (rows if limit < 0 else rows[:limit])]

    async def _scan(self, view: str, shard: int, after: str, limit: int) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        while limit < 0 or len(found) < limit:
            size = _PAGE if limit < 0 else min(limit, _PAGE)
            page = await self._ask("scan", self._service, view, shard, after, size)
            # A row that was deleted is there still, for what it says of who deleted it.
            found += [(key, text) for key, text in page if text is not None]
            if len(page) < size:
                break
            after = page[-1][0]
        return found

    async def _said_enough(self, group: str, kept: Mapping[str, Kept]) -> set[str]:
        """Replayed events that rows need not tell of any more: they are parked no longer, so nobody will replay them again."""
        told = [[name for name in one.applied if name.startswith(replayed_as(group, 0)[:-1])] for one in kept.values()]
        if not any(len(names) > _REPLAYED_MAX for names in told):
            return set()
        waiting = {replayed_as(group, one.position) for one in await self.parked(group)}
        return {name for names in told for name in names} - waiting

    async def _write(
        self,
        view: str,
        texts: Mapping[str, str | None],
        kept: Mapping[str, Kept],
        says: Mapping[str, int],
        forgets: Collection[str] = (),
    ) -> None:
        revision = random.getrandbits(62) + 1
        written = await asyncio.gather(
            *(
                self._write_some(view, shard, part, texts, kept, says, forgets, revision)
                for shard, of_shard in _by_shard(texts).items()
                for part in _parts(of_shard)
            )
        )
        self._written += 1
        await self._ask("change", self._service, self._process, self._written)
        if not all(written):
            raise RowChanged(f"rows of {view} were written by another member meanwhile: load them, and fold again")

    async def _write_some(
        self, view: str, shard: int, keys: Sequence[str], texts: Mapping[str, str | None], kept: Mapping[str, Kept],
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

    async def changes(self) -> int:
        """See ReadModels.changes."""
        return hash(frozenset(await self._ask("changes", self._service)))

    # -- parked events ----------------------------------------------------------------------------------------------------

    async def park(self, group: str, epoch: int, events: Sequence[Parked]) -> None:
        """See ReadModels.park."""
        place = (self._service, group, _PARKED)
        changes = [
            ("park", (*place, e.position, "", e.stream, e.event_id, e.type, e.reason, e.parked_at, e.replay)) for e in events
        ]
        await self._as_member(group, epoch, changes)

    async def parked(self, group: str) -> list[Parked]:
        """See ReadModels.parked."""
        return [Parked(*row) for row in await self._ask("parked", self._service, group)]

    async def count_parked(self, group: str) -> int:
        """See ReadModels.count_parked."""
        return int((await self._ask("count_parked", self._service, group))[0][0])

    async def ask_replay(self, group: str, stream: str) -> int:
        """See ReadModels.ask_replay."""
        while True:
            asked = [one for one in await self.parked(group) if one.stream == stream]
            waiting = [self._replay(group, one) for one in asked if not one.replay]
            # Where one was done meanwhile, the others are still there to be asked for.
            if all([await self._send(part) for part in _parts(waiting)]):
                return len(asked)

    async def drop(self, group: str, position: int, reason: str, who: str, now: int) -> bool:
        """See ReadModels.drop."""
        ours = False
        while True:
            parked = await self.parked(group)
            one = next((event for event in parked if event.position == position), None)
            if one is None:
                # Gone since we asked for it: by us, or by the member, or by another who gave it up.
                asked = (position, reason, who, now)
                return ours and asked in [(e.position, e.reason, e.who, e.dropped_at) for e in await self.dropped(group)]
            ours = True
            place = (self._service, group, _DROPPED, position, "")
            await self._send(
                [
                    ("give_up", (self._service, group, _PARKED, position, "", one.event_id)),
                    ("drop", (*place, one.event_id, reason, who, now)),
                    *(self._replay(group, other) for other in parked if other.stream == one.stream and other is not one),
                ]
            )

    def _replay(self, group: str, event: Parked) -> tuple[str, tuple[object, ...]]:
        return ("replay", (self._service, group, _PARKED, event.position, "", event.event_id))

    async def dropped(self, group: str) -> list[Dropped]:
        """See ReadModels.dropped."""
        return [Dropped(*row) for row in await self._ask("dropped", self._service, group)]

    # -- timers and windows -----------------------------------------------------------------------------------------------

    async def last_run(self, timer: str) -> int | None:
        """See ReadModels.last_run."""
        found = await self._ask("last_run", self._service, timer)
        return found[0][0] if found else None

    async def ran(self, timer: str, moment: int) -> None:
        """See ReadModels.ran."""
        await self._ask("ran", self._service, timer, moment, moment)

    async def windows_seen(self, name: str) -> WindowsSeen:
        """See ReadModels.windows_seen."""
        found = await self._ask("windows", self._service, name)
        return WindowsSeen(*found[0]) if found else WindowsSeen()

    async def save_windows_seen(self, name: str, seen: WindowsSeen) -> None:
        """See ReadModels.save_windows_seen."""
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


def _parts(of: Iterable[T]) -> list[list[T]]:
    """In parts that one question or one batch may hold."""
    all_of = list(of)
    return [all_of[first : first + _AT_ONCE] for first in range(0, len(all_of), _AT_ONCE)]
