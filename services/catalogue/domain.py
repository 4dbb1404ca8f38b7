"""Counts of a type of events: pure, folded from one event after the other, and added up over the partitions of the log."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from citybrain.mesh.service import Recorded

_SECOND = 1_000_000
# A day of Hangzhou begins at 16:00 UTC.
_HANGZHOU = 8 * 3600 * _SECOND
_DAY = 24 * 3600 * _SECOND
DAYS = 8
"""So many days are kept, the newest one included."""
_LATE = 60 * _SECOND
_AHEAD = -_SECOND
# Steps of lateness: two to each doubling, from a millisecond on.
_FIRST = 1000


@dataclass(frozen=True, slots=True)
class Day:
    """The events of a type that were recorded on a day. `lateness`: how many in each step (`step_of`)."""

    count: int = 0
    lateness: dict[str, int] = field(default_factory=dict)
    late: int = 0
    ahead: int = 0
    out_of_order: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A type of events in a partition of the log. Moments are microseconds since 1970; days count from there, in Hangzhou."""

    type: str
    count: int
    first: int
    last: int
    # The latest moment at which one of them happened.
    happened: int
    days: dict[str, Day]


def counted(row: TypeRow | None, event: Recorded) -> TypeRow:
    """The row with one more event."""
    stored = event.stored
    at, happened = stored.recorded_at, stored.occurred_at
    if row is None:
        row = TypeRow(stored.type, 0, at, at, happened, {})
    name = str((at + _HANGZHOU) // _DAY)
    day, late = row.days.get(name, Day()), at - happened
    step = str(step_of(late))
    day = Day(
        day.count + 1,
        {**day.lateness, step: day.lateness.get(step, 0) + 1},
        day.late + (late > _LATE),
        day.ahead + (late < _AHEAD),
        day.out_of_order + (happened < row.happened),
        day.unreadable + event.unreadable,
    )
    return replace(
        row,
        count=row.count + 1,
        first=min(row.first, at),
        last=max(row.last, at),
        happened=max(row.happened, happened),
        days=_newest({**row.days, name: day}),
    )


def _newest(days: Mapping[str, Day]) -> dict[str, Day]:
    begin = max(map(int, days)) - DAYS
    return {name: day for name, day in days.items() if int(name) > begin}


def step_of(late: int) -> int:
    """The step of a lateness in microseconds: 0 up to a millisecond, then two steps to each doubling."""
    return max(0, math.ceil(2 * math.log2(late / _FIRST))) if late > _FIRST else 0


def end_of(step: int) -> int:
    """The highest lateness of a step, in microseconds."""
    return math.ceil(_FIRST * 2 ** (step / 2))


def added_up(rows: Iterable[TypeRow]) -> dict[str, TypeRow]:
    """Rows of all partitions as one for each type, by name."""
    found: dict[str, TypeRow] = {}
    for row in sorted(rows, key=lambda one: one.type):
        other = found.get(row.type)
        found[row.type] = row if other is None else _together(other, row)
    return found


def _together(one: TypeRow, two: TypeRow) -> TypeRow:
    days = {name: _of_both(one.days.get(name, Day()), two.days.get(name, Day())) for name in {*one.days, *two.days}}
    return TypeRow(
        one.type,
        one.count + two.count,
        min(one.first, two.first),
        max(one.last, two.last),
        max(one.happened, two.happened),
        _newest(days),
    )


def all_days(row: TypeRow) -> Day:
    """All its days as one."""
    found = Day()
    for day in row.days.values():
        found = _of_both(found, day)
    return found


def _of_both(one: Day, two: Day) -> Day:
    return Day(
        one.count + two.count,
        dict(Counter(one.lateness) + Counter(two.lateness)),
        one.late + two.late,
        one.ahead + two.ahead,
        one.out_of_order + two.out_of_order,
        one.unreadable + two.unreadable,
    )


def within(day: Day, part: float) -> int:
    """The lateness in microseconds within which a part of a day's events came: the end of a step."""
    left = math.ceil(part * day.count)
    for step in sorted(map(int, day.lateness)):
        left -= day.lateness[str(step)]
        if left <= 0:
            return end_of(step)
    return 0


def date_of(name: str) -> str:
    """A day, as 2026-05-01."""
    return (date(1970, 1, 1) + timedelta(days=int(name))).isoformat()
