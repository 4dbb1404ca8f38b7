"""Rows, checkpoints and parked events in memory. Nothing here waits, so what one call changes is changed all at once."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from typing_extensions import override

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
    row_text,
)
from citybrain.event_store.store import LostAssignment
from tests.memory_engine.at_once import at_once


@dataclass
class _Group:
    """What is kept of a group."""

    position: int
    epoch: int = 0
    seen: dict[str, int] = field(default_factory=dict)


class MemoryReadModels(ReadModels):
    """ReadModels of one service."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        # As text: a row that somebody holds and changes is not the one that is kept.
        self._rows: defaultdict[str, dict[str, tuple[str, int]]] = defaultdict(dict)
        self._written = 0
        self._parked: defaultdict[str, dict[int, Parked]] = defaultdict(dict)
        self._dropped: defaultdict[str, dict[int, Dropped]] = defaultdict(dict)
        self._asked: Counter[str] = Counter()
        self._timers: dict[str, int] = {}
        self._windows: dict[str, WindowsSeen] = {}
        self._folded_by: dict[str, FoldedBy] = {}

    @override
    def close(self) -> None:
        """There is nothing to let go of."""

    # -- groups and rows ------------------------------------------------------------------------------------------------

    @at_once
    @override
    def join(self, group: str, start: int = 0) -> tuple[int, int]:
        joined = self._groups.setdefault(group, _Group(start))
        joined.epoch += 1
        return joined.epoch, joined.position

    @at_once
    @override
    def keep_folded_by(self, group: str, by: FoldedBy) -> FoldedBy:
        return self._folded_by.setdefault(group, by)

    @at_once
    @override
    def position(self, group: str) -> int | None:
        return self._groups[group].position if group in self._groups else None

    @at_once
    @override
    def save(
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
        """Everything is looked at before anything is changed."""
        rows = rows or {}
        texts = {key: None if (row := rows[key]) is None else row_text(row) for key in checked(rows)}
        member, there = self._member(group, epoch), self._rows[view]
        for key in texts:
            loaded = kept[key].revision if kept and key in kept else 0
            if kept is not None and loaded != (there[key][1] if key in there else 0):
                raise RowChanged(f"row {key} of {view} has changed since it was loaded")
        for key, text in texts.items():
            self._written += 1
            there.pop(key, None)
            if text is not None:
                there[key] = text, self._written
        member.position = position
        member.seen |= seen or {}
        for done in unparked:
            self._parked[group].pop(done, None)

    def _member(self, group: str, epoch: int) -> _Group:
        member = self._groups.get(group)
        if member is None or member.epoch != epoch:
            raise LostAssignment(f"{group} was taken over by another member")
        return member

    @at_once
    @override
    def seen(self, group: str, streams: Iterable[str]) -> dict[str, int]:
        known = self._groups[group].seen if group in self._groups else {}
        return {stream: known[stream] for stream in streams if stream in known}

    @at_once
    @override
    def changes(self) -> int:
        """No other process changes anything."""
        return 0

    @at_once
    @override
    def get(self, view: str, key: str) -> Row | None:
        (key,) = checked([key])
        found = self._rows[view].get(key)
        return None if found is None else json.loads(found[0])

    @at_once
    @override
    def scan(self, view: str, after: str = "", limit: int = -1) -> list[tuple[str, Row]]:
        # In the order of their bytes, which that of their letters is in UTF-8.
        behind = sorted((key, text) for key, (text, _) in self._rows[view].items() if key > after)
        return [(key, json.loads(text)) for key, text in islice(behind, None if limit < 0 else limit)]

    @at_once
    @override
    def load(self, view: str, keys: Iterable[str]) -> dict[str, Kept]:
        found = {key: self._rows[view].get(key) for key in checked(keys)}
        return {key: Kept(json.loads(row[0]), row[1]) for key, row in found.items() if row is not None}

    # -- parked events --------------------------------------------------------------------------------------------------

    @at_once
    @override
    def park(self, group: str, epoch: int, events: Sequence[Parked]) -> None:
        self._member(group, epoch)
        self._parked[group] |= {one.position: one for one in events if one.position not in self._dropped[group]}

    @at_once
    @override
    def parked(self, group: str) -> list[Parked]:
        return [one for _, one in sorted(self._parked[group].items())]

    @at_once
    @override
    def count_parked(self, group: str) -> int:
        return len(self._parked[group])

    @at_once
    @override
    def asked(self, group: str) -> int:
        return self._asked[group]

    @at_once
    @override
    def ask_replay(self, group: str, stream: str) -> int:
        self._asked[group] += 1
        again = {at: replace(one, replay=1) for at, one in self._parked[group].items() if one.stream == stream}
        self._parked[group] |= again
        return len(again)

    @at_once
    @override
    def drop(self, group: str, position: int, reason: str, who: str, now: int) -> bool:
        if (one := self._parked[group].pop(position, None)) is None:
            return False
        self._asked[group] += 1
        self._dropped[group][position] = Dropped(position, one.event_id, reason, who, now)
        return True

    @at_once
    @override
    def dropped(self, group: str, after: int = 0) -> list[Dropped]:
        return [one for at, one in sorted(self._dropped[group].items()) if at > after]

    # -- timers and windows ---------------------------------------------------------------------------------------------

    @at_once
    @override
    def last_run(self, timer: str) -> int | None:
        return self._timers.get(timer)

    @at_once
    @override
    def ran(self, timer: str, moment: int) -> None:
        self._timers[timer] = moment

    @at_once
    @override
    def windows_seen(self, name: str) -> WindowsSeen:
        return self._windows.get(name, WindowsSeen())

    @at_once
    @override
    def save_windows_seen(self, name: str, seen: WindowsSeen) -> None:
        self._windows[name] = seen
