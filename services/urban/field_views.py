"""Read models of facilities and dogs by when something is due, and of the cases of teams."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from citybrain.urban.v1 import events_pb2 as ev

from citybrain.mesh.events import Heard, microseconds
from citybrain.mesh.ids import joined

FACILITY_EVENTS = (ev.FacilityRegistered, ev.FacilityChecked, ev.FacilityCheckMissed)
DOG_EVENTS = (ev.DogRegistered, ev.DogVaccinationDue)
CASE_EVENTS = (ev.CaseOpened, ev.CaseDecided, ev.CaseWithdrawn)
DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class DueRow:
    """Something that is due at a moment (microseconds); `told`: it is late, and that was told."""

    id: str
    due: int
    told: bool = False
    every: int = 0


@dataclass(frozen=True, slots=True)
class TeamRow:
    """The cases of a team. `days`: from opened to decided, in sum."""

    team: str
    opened: int = 0
    decided: int = 0
    in_time: int = 0
    withdrawn: int = 0
    days: float = 0.0


def facility_key(event: Heard) -> str:
    """The facility."""
    return str(event.data.facility_id)  # type: ignore[attr-defined]


def facility(row: DueRow | None, event: Heard) -> DueRow | None:
    """When its next check is due."""
    match event.data:
        case ev.FacilityRegistered() as data:
            every = data.facility.check_days * DAY
            begin = row.due - row.every if row is not None else microseconds(data.facility.checked_at)
            return DueRow(data.facility_id, begin + every, row is not None and row.told, every)
        case ev.FacilityChecked() as data:
            return row and replace(row, due=microseconds(data.checked_at) + row.every, told=False)
        case ev.FacilityCheckMissed():
            return row and replace(row, told=True)
    return row


def dog_key(event: Heard) -> str:
    """The dog."""
    return str(event.data.tag_id)  # type: ignore[attr-defined]


def dog(row: DueRow | None, event: Heard) -> DueRow | None:
    """When its vaccination ends."""
    if isinstance(event.data, ev.DogRegistered):
        return DueRow(event.data.tag_id, microseconds(event.data.vaccinated_until))
    return row and replace(row, told=True)


def late(rows: Iterable[DueRow]) -> list[tuple[int, str]]:
    """What is not told yet, by when it is due."""
    return sorted((row.due, row.id) for row in rows if not row.told)


def team_key(event: Heard) -> str:
    """District and team."""
    data: Any = event.data
    return joined(data.district_id, data.team)


def team(row: TeamRow | None, event: Heard) -> TeamRow | None:
    """The cases of the team after an event. What was decided and is overturned counts as decided no more."""
    data: Any = event.data
    one = row or TeamRow(data.team)
    match data:
        case ev.CaseOpened():
            return replace(one, opened=one.opened + 1)
        case ev.CaseDecided():
            return _decided(one, data, 1)
        case ev.CaseWithdrawn():
            after = replace(one, withdrawn=one.withdrawn + 1)
            return _decided(after, data, -1) if data.was_decided else after
    return one


def _decided(row: TeamRow, data: Any, more: int) -> TeamRow:
    took = microseconds(data.decided_at) - microseconds(data.opened_at)
    in_time = microseconds(data.decided_at) <= microseconds(data.deadline)
    return replace(row, decided=row.decided + more, in_time=row.in_time + more * in_time, days=row.days + more * took / DAY)
