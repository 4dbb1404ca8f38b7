"""Read models of facilities and dogs by when something is due, of cases by their state, and of the cases of teams.

It is long because each list of the field has an index of its own here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import field_pb2 as pb

from citybrain.mesh.events import Heard, microseconds, timestamp
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept
from citybrain.services.urban.views import moment_key, overdue_prefix

CHECK_EVENTS = (ev.FacilityCheckPlanned, ev.FacilityCheckUnplanned)
MISSED_EVENTS = (*CHECK_EVENTS, ev.FacilityCheckMissed)
DOG_EVENTS = (ev.DogRegistered, ev.DogRegistrationReplaced, ev.DogVaccinationDue)
CASE_EVENTS = (ev.CaseOpened, ev.CaseDecided, ev.CaseWithdrawn, ev.CaseReopened)
ENDED_EVENTS = (ev.CaseDecided, ev.CaseWithdrawn, ev.CaseReopened)
WITHDRAWN_EVENTS = (ev.CaseWithdrawn,)
DAY = 86_400_000_000
HANGZHOU = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class DueRow:
    """Something that is due at a moment (microseconds)."""

    id: str
    due: int


@dataclass(frozen=True, slots=True)
class DogRow:
    """A dog. `until`: the end of its vaccination (microseconds); `told`: it has passed, and that was told."""

    id: str
    district_id: str
    until: int
    told: bool = False


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case, without its evidence and whom it is about. Times in microseconds; `ended` 0: it is open."""

    id: str
    matter: str
    team: str
    latitude: float
    longitude: float
    district_id: str
    state: int
    opened: int
    deadline: int
    ended: int = 0
    fine_fen: int = 0
    reopened: int = 0


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A case in one of the lists."""

    id: str
    team: str


@dataclass(frozen=True, slots=True)
class TeamRow:
    """A team that has had a case."""

    team: str


@dataclass(frozen=True, slots=True)
class MonthRow:
    """The cases of a team that were opened in a month. `days`: from opened to decided, in sum."""

    opened: int = 0
    decided: int = 0
    in_time: int = 0
    withdrawn: int = 0
    overturned: int = 0
    reopened: int = 0
    days: float = 0.0


# -- facilities -------------------------------------------------------------------------------------------------------------


def check_key(event: Heard) -> str:
    """District and when it is due: what is overdue in a district stands together, the longest first."""
    data: Any = event.data
    return overdue_prefix(data.district_id) + moment_key(microseconds(data.due_at)) + str(data.facility_id)


def check(_row: Kept | None, event: Heard) -> Kept | None:
    """The facility while that is when it is due."""
    return Kept.of(event.data.facility) if isinstance(event.data, ev.FacilityCheckPlanned) else None


def facility_of(row: Kept) -> pb.Facility:
    """The facility of a row."""
    return row.read(pb.Facility)


def missed_key(event: Heard) -> str:
    """When it is due, in the whole city."""
    data: Any = event.data
    return moment_key(microseconds(data.due_at)) + str(data.facility_id)


def missed(_row: DueRow | None, event: Heard) -> DueRow | None:
    """The facility until its check was missed and that was told, or it is due at another time."""
    data = event.data
    return DueRow(data.facility_id, microseconds(data.due_at)) if isinstance(data, ev.FacilityCheckPlanned) else None


# -- dogs -------------------------------------------------------------------------------------------------------------------


def dog_key(event: Heard) -> str:
    """District and the end of the vaccination."""
    data: Any = event.data
    return overdue_prefix(data.district_id) + moment_key(microseconds(data.vaccinated_until)) + str(data.tag_id)


def dog(row: DogRow | None, event: Heard) -> DogRow | None:
    """The dog while this registration counts."""
    match event.data:
        case ev.DogRegistered() as data:
            return DogRow(data.tag_id, data.district_id, microseconds(data.vaccinated_until))
        case ev.DogVaccinationDue():
            return row and replace(row, told=True)
    return None


def vaccination_key(event: Heard) -> str:
    """The end of the vaccination, in the whole city."""
    data: Any = event.data
    return moment_key(microseconds(data.vaccinated_until)) + str(data.tag_id)


def vaccination(_row: DueRow | None, event: Heard) -> DueRow | None:
    """The dog until it was told that its vaccination has ended, or that was renewed."""
    data = event.data
    return DueRow(data.tag_id, microseconds(data.vaccinated_until)) if isinstance(data, ev.DogRegistered) else None


def listed_dog(row: DogRow) -> pb.ListedDog:
    """The dog as callers see it."""
    until = timestamp(row.until)
    return pb.ListedDog(tag_id=row.id, district_id=row.district_id, vaccinated_until=until, due=row.told)


# -- cases ------------------------------------------------------------------------------------------------------------------


def case_key(event: Heard) -> str:
    """The case."""
    return str(event.data.case_id)  # type: ignore[attr-defined]


def case(row: CaseRow | None, event: Heard) -> CaseRow | None:
    """The case after an event."""
    match event.data:
        case ev.CaseOpened() as data:
            return CaseRow(
                data.case_id, data.matter, data.team, data.position.latitude, data.position.longitude, data.district_id,
                pb.CASE_STATE_OPEN, microseconds(data.opened_at), microseconds(data.deadline),
            )  # fmt: skip
        case ev.CaseDecided() as data:
            ended = microseconds(data.decided_at)
            return row and replace(row, state=pb.CASE_STATE_DECIDED, ended=ended, fine_fen=data.fine_fen)
        case ev.CaseWithdrawn() as data:
            return row and replace(row, state=pb.CASE_STATE_WITHDRAWN, ended=microseconds(data.withdrawn_at), fine_fen=0)
        case ev.CaseReopened() as data:
            deadline = microseconds(data.new_deadline)
            return row and replace(
                row, state=pb.CASE_STATE_OPEN, ended=0, fine_fen=0, deadline=deadline, reopened=row.reopened + 1
            )
    return row


def listed_case(row: CaseRow) -> pb.ListedCase:
    """The case as callers see it."""
    made = pb.ListedCase(
        case_id=row.id, matter=row.matter, team=row.team, district_id=row.district_id, fine_fen=row.fine_fen,
        opened_at=timestamp(row.opened), deadline=timestamp(row.deadline), reopened=row.reopened,
    )  # fmt: skip
    made.state = row.state  # type: ignore[assignment]
    made.position.latitude, made.position.longitude = row.latitude, row.longitude
    if row.ended:
        made.ended_at.CopyFrom(timestamp(row.ended))
    return made


def open_key(event: Heard) -> str:
    """District and deadline: what is overdue in a district stands together, the longest first."""
    data: Any = event.data
    deadline = data.new_deadline if isinstance(data, ev.CaseReopened) else data.deadline
    return overdue_prefix(data.district_id) + moment_key(microseconds(deadline)) + str(data.case_id)


def open_case(_row: OpenRow | None, event: Heard) -> OpenRow | None:
    """The case while it is open."""
    data: Any = event.data
    return OpenRow(data.case_id, data.team) if isinstance(data, ev.CaseOpened | ev.CaseReopened) else None


def ended_key(event: Heard) -> str:
    """District and when it was opened."""
    data: Any = event.data
    return overdue_prefix(data.district_id) + moment_key(microseconds(data.opened_at)) + str(data.case_id)


def decided(_row: OpenRow | None, event: Heard) -> OpenRow | None:
    """The case while a decision stands."""
    data = event.data
    return OpenRow(data.case_id, data.team) if isinstance(data, ev.CaseDecided) else None


def withdrawn(_row: OpenRow | None, event: Heard) -> OpenRow | None:
    """The case when it is withdrawn."""
    data = event.data
    return OpenRow(data.case_id, data.team) if isinstance(data, ev.CaseWithdrawn) else None


# -- teams ------------------------------------------------------------------------------------------------------------------


def team_key(event: Heard) -> str:
    """District and team."""
    data: Any = event.data
    return joined(data.district_id, data.team)


def team(_row: TeamRow | None, event: Heard) -> TeamRow | None:
    """The team."""
    data: Any = event.data
    return TeamRow(data.team)


def month_of(moment: int) -> int:
    """The month of Hangzhou, since the year 0."""
    here = datetime.fromtimestamp(moment // 1_000_000, UTC).astimezone(HANGZHOU)
    return here.year * 12 + here.month - 1


def begin_of_month(month: int) -> int:
    """Its first moment in Hangzhou (microseconds)."""
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=HANGZHOU).timestamp()) * 1_000_000


def month_id(district_id: str, team: str, month: int) -> str:
    """The key of a month: those of a team stand together, in the order of time."""
    return f"{joined(district_id, team)}.{month:06d}"


def month_key(event: Heard) -> str:
    """District, team, and the month in which the case was opened."""
    data: Any = event.data
    return month_id(data.district_id, data.team, month_of(microseconds(data.opened_at)))


def month(row: MonthRow | None, event: Heard) -> MonthRow | None:
    """The cases after an event. What was decided and is overturned, or sent back, counts as decided no more."""
    data: Any = event.data
    one = row or MonthRow()
    match data:
        case ev.CaseOpened():
            return replace(one, opened=one.opened + 1)
        case ev.CaseDecided():
            return _decided(one, data, 1)
        case ev.CaseReopened():
            return _decided(replace(one, reopened=one.reopened + 1), data, -1)
        case ev.CaseWithdrawn() if data.was_decided:
            return _decided(replace(one, withdrawn=one.withdrawn + 1, overturned=one.overturned + 1), data, -1)
        case ev.CaseWithdrawn():
            return replace(one, withdrawn=one.withdrawn + 1)
    return one


def _decided(row: MonthRow, data: Any, more: int) -> MonthRow:
    took = microseconds(data.decided_at) - microseconds(data.opened_at)
    in_time = microseconds(data.decided_at) <= microseconds(data.deadline)
    return replace(row, decided=row.decided + more, in_time=row.in_time + more * in_time, days=row.days + more * took / DAY)


def performance(team: str, months: Iterable[MonthRow], overdue: int) -> pb.TeamPerformance:
    """The months of a team together."""
    total = MonthRow()
    for row in months:
        total = MonthRow(*(getattr(total, name) + getattr(row, name) for name in MonthRow.__slots__))
    return pb.TeamPerformance(
        team=team, opened=total.opened, decided=total.decided, in_time=total.in_time, withdrawn=total.withdrawn,
        mean_days=total.days / total.decided if total.decided else 0.0,
        open=total.opened - total.decided - total.withdrawn, overdue=overdue, overturned=total.overturned,
        reopened=total.reopened,
    )  # fmt: skip
