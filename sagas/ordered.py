"""The rows of sagas in order: newest first, by what lists are filtered by. Pure.

Sagas of one state, district, workflow and exercise stand on one shelf, in the order of their age. A page is taken from the
ends of the shelves that are asked for, so it costs what is in it, however many sagas there are.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from citybrain.sagas.engine.exercises import parted
from citybrain.sagas.listing import Age, SagaRow, age

_Shelf = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sagas are asked for; None or an empty text: whatever it is. Moments in microseconds of city time."""

    states: Collection[str] | None = None
    # An empty name: those of which no district is known.
    districts: Collection[str] | None = None
    workflow: str = ""
    incident: str = ""
    # Began at or after the first, and before the second.
    began_from: int = 0
    began_before: int | None = None
    # Empty: the city's own.
    exercise: str = ""


class Ordered:
    """Rows of sagas."""

    def __init__(self, rows: Iterable[SagaRow] = ()) -> None:
        self._rows: dict[str, SagaRow] = {}
        self._shelves: dict[_Shelf, list[Age]] = {}
        # Of incidents whose sagas have other names.
        self._incidents: dict[str, set[str]] = {}
        for row in sorted(rows, key=age):
            self.put(row)

    def get(self, saga_id: str) -> SagaRow | None:
        """One row, or None."""
        return self._rows.get(saga_id)

    def put(self, row: SagaRow) -> None:
        """A new row, or one that takes the place of that of the same saga."""
        old = self._rows.get(row.saga_id)
        self._rows[row.saga_id] = row
        if old is not None:
            if (_shelf(old), age(old)) == (_shelf(row), age(row)):
                return
            ages = self._shelves[_shelf(old)]
            del ages[bisect_left(ages, age(old))]
        insort(self._shelves.setdefault(_shelf(row), []), age(row))
        if row.incident != row.saga_id:
            self._incidents.setdefault(row.incident, set()).add(row.saga_id)

    def drop(self, saga_id: str) -> None:
        """Has no row of a saga any more."""
        row = self._rows.pop(saga_id, None)
        if row is None:
            return
        ages = self._shelves[_shelf(row)]
        del ages[bisect_left(ages, age(row))]
        of_incident = self._incidents.get(row.incident, set())
        of_incident.discard(saga_id)
        if not of_incident:
            self._incidents.pop(row.incident, None)

    def ended(self, state: str, before: int) -> list[str]:
        """The sagas that came into a state before a moment, those that began first first."""
        found: list[Age] = []
        for shelf, ages in self._shelves.items():
            if shelf[0] == state:
                # None has ended before it began.
                old = ages[: bisect_left(ages, (before, ""))]
                found += [one for one in old if self._rows[one[1]].since < before]
        return [saga_id for _, saga_id in sorted(found)]

    def counted(self) -> dict[tuple[str, str], int]:
        """How many there are of each workflow in each state, exercises left out. May be asked from any thread."""
        found: dict[tuple[str, str], int] = {}
        for (state, _, workflow, exercise), ages in list(self._shelves.items()):
            if not exercise:
                found[workflow, state] = found.get((workflow, state), 0) + len(ages)
        return found

    def find(self, wanted: Wanted, after: Age | None = None) -> Iterator[SagaRow]:
        """Those that are wanted, newest first; `after`: only those older than this. To be used before anything is put."""
        if wanted.incident:
            yield from self._of_incident(wanted, after)
            return
        shelves = (ages for shelf, ages in self._shelves.items() if _is_wanted(shelf, wanted))
        walks = [_newest_first(ages, wanted, after) for ages in shelves]
        for _, saga_id in heapq.merge(*walks, reverse=True):
            yield self._rows[saga_id]

    def _of_incident(self, wanted: Wanted, after: Age | None) -> Iterator[SagaRow]:
        names = {wanted.incident, *self._incidents.get(wanted.incident, ())}
        rows = [row for name in names if (row := self._rows.get(name)) is not None and row.incident == wanted.incident]
        ages = sorted(age(row) for row in rows if _is_wanted(_shelf(row), wanted))
        for _, saga_id in _newest_first(ages, wanted, after):
            yield self._rows[saga_id]


def _shelf(row: SagaRow) -> _Shelf:
    return (row.state, row.district, row.workflow, parted(row.saga_id)[0])


def _is_wanted(shelf: _Shelf, wanted: Wanted) -> bool:
    state, district, workflow, exercise = shelf
    return (
        exercise == wanted.exercise
        and (wanted.states is None or state in wanted.states)
        and (wanted.districts is None or district in wanted.districts)
        and (not wanted.workflow or workflow == wanted.workflow)
    )


def _newest_first(ages: list[Age], wanted: Wanted, after: Age | None) -> Iterator[Age]:
    end = len(ages) if wanted.began_before is None else bisect_left(ages, (wanted.began_before, ""))
    if after is not None:
        end = min(end, bisect_left(ages, after))
    for index in range(end - 1, -1, -1):
        if ages[index][0] < wanted.began_from:
            return
        yield ages[index]
