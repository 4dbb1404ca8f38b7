"""Read models: where each subject stands, its records, who has asked about it, and the credit of areas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev

from citybrain.mesh.events import Heard, microseconds, timestamp
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept, packed, unpacked

STANDING_EVENTS = (
    ev.SubjectRegistered,
    ev.RecordAdded,
    ev.RecordWithdrawn,
    ev.RecordRepaired,
    ev.RecordReplaced,
    ev.SanctionImposed,
    ev.SanctionRevoked,
    ev.SanctionLifted,
    ev.AppealFiled,
    ev.AppealDecided,
)
RECORD_EVENTS = (ev.RecordAdded, ev.RecordWithdrawn, ev.RecordRepaired, ev.RecordReplaced)
CHECK_EVENTS = (ev.CreditChecked,)
INDEX_EVENTS = (ev.CreditIndexPublished, ev.CreditIndexRetracted, ev.CreditWarningRaised, ev.CreditWarningRetracted)
DAY = 86_400_000_000
_HANGZHOU = 8 * 3_600_000_000
_FOR_EVER = "0"
# So many days it is kept on which days bad records came.
_KEPT_DAYS = 60


@dataclass(frozen=True, slots=True)
class SanctionRow:
    """A sanction that is not ended. `until`: microseconds."""

    measures: list[int]
    law: str
    case_id: str
    until: int
    record_id: str


@dataclass(frozen=True, slots=True)
class StandingRow:
    """Where a subject stands: all that a decision needs, in one row.

    `bad`, `good`: of the records that are not ended, dimension and weight → when they end → how many. One that has no end
    ends at "0". So the row stays small, however many records there are, and what is over is seen without another event.
    `new_bad`: the day (`day_of`) on which bad records came → how many of them stand.
    """

    kind: int
    registered: bool = False
    district_id: str = ""
    sector: str = ""
    sanctions: dict[str, SanctionRow] = field(default_factory=dict)
    bad: dict[str, dict[str, int]] = field(default_factory=dict)
    good: dict[str, dict[str, int]] = field(default_factory=dict)
    new_bad: dict[str, int] = field(default_factory=dict)
    # Appeals that are not decided → the record or sanction that they are against.
    appealed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckRow:
    """Somebody has asked. `at`: when (microseconds)."""

    check_id: str
    at: int
    asked_by: str
    purpose: int
    basis: str
    matter: str
    authorisation_id: str
    decision: int


@dataclass(frozen=True, slots=True)
class IndexRow:
    """The credit of an area: a packed message."""

    index: str
    warned: bool = False


def day_of(moment: int) -> int:
    """The day of a moment in Hangzhou, since 1970."""
    return (moment + _HANGZHOU) // DAY


def subject_key(event: Heard) -> str:
    """The subject, by its random id."""
    return str(event.data.subject_id)  # type: ignore[attr-defined]


def standing(row: StandingRow | None, event: Heard) -> StandingRow | None:
    """Where the subject stands after an event."""
    data = event.data
    if isinstance(data, ev.SubjectRegistered):
        known = row or StandingRow(data.kind)
        return replace(known, registered=True, kind=data.kind, district_id=data.district_id, sector=data.sector)
    if isinstance(data, ev.RecordAdded):
        return _counted(row or StandingRow(data.kind), data.record, 1)
    if row is None:
        return None
    match data:
        case ev.RecordWithdrawn() | ev.RecordRepaired() | ev.RecordReplaced():
            # One that was repaired or replaced may be withdrawn later: it is not taken away twice.
            again = isinstance(data, ev.RecordWithdrawn) and data.was_over
            return row if again else _counted(row, data.record, -1)
        case ev.SanctionImposed():
            one = data.sanction
            made = SanctionRow(list(one.measures), one.law, one.case_id, microseconds(one.until), one.record_id)
            # What is over is seen by its end, and need not stay.
            others = {key: each for key, each in row.sanctions.items() if each.until > microseconds(one.since)}
            return replace(row, sanctions={**others, one.sanction_id: made})
        case ev.SanctionRevoked() | ev.SanctionLifted():
            others = {key: one for key, one in row.sanctions.items() if key != data.sanction.sanction_id}
            return replace(row, sanctions=others)
        case ev.AppealFiled():
            against = data.appeal.sanction_id or data.appeal.record_id
            return replace(row, appealed={**row.appealed, data.appeal.appeal_id: against})
        case ev.AppealDecided():
            return replace(row, appealed={key: one for key, one in row.appealed.items() if key != data.appeal.appeal_id})
    return row


def without_ended(row: StandingRow, sanctions: Mapping[str, pb.Sanction]) -> StandingRow:
    """The row without sanctions that have been revoked or lifted since. `sanctions`: as their stream has them now."""
    ended = {name for name, one in sanctions.items() if one.state != pb.SANCTION_STATE_IN_FORCE}
    return replace(row, sanctions={name: one for name, one in row.sanctions.items() if name not in ended})


def _counted(row: StandingRow, record: pb.Record, change: int) -> StandingRow:
    """The row with one record more or less."""
    name = f"{record.dimension}/{record.weight}"
    ends = str(microseconds(record.until)) if record.HasField("until") else _FOR_EVER
    bad = record.kind == pb.RECORD_KIND_BAD
    recorded_at = microseconds(record.recorded_at)
    kept = {key: _not_over(counts, recorded_at) for key, counts in (row.bad if bad else row.good).items()}
    kept[name] = _changed(kept.get(name, {}), ends, change)
    kept = {key: counts for key, counts in kept.items() if counts}
    if not bad:
        return replace(row, good=kept)
    day = day_of(recorded_at)
    new_bad = {key: count for key, count in row.new_bad.items() if int(key) > day - _KEPT_DAYS}
    return replace(row, bad=kept, new_bad=_changed(new_bad, str(day), change))


def _not_over(counts: Mapping[str, int], moment: int) -> dict[str, int]:
    return {end: count for end, count in counts.items() if end == _FOR_EVER or int(end) > moment}


def _changed(counts: Mapping[str, int], key: str, change: int) -> dict[str, int]:
    changed = {**counts, key: counts.get(key, 0) + change}
    return {one: count for one, count in changed.items() if count > 0}


def standing_counts(counts: Mapping[str, Mapping[str, int]], now: int) -> Iterator[tuple[int, int, int, int]]:
    """Of records that count at a moment: dimension, weight, how many, and when the last of them ends (0: never)."""
    for name, ends in sorted(counts.items()):
        standing = {int(end): count for end, count in ends.items() if end == _FOR_EVER or int(end) > now}
        if standing:
            dimension, _, weight = name.partition("/")
            last = 0 if 0 in standing else max(standing)
            yield int(dimension), int(weight), sum(standing.values()), last


# -- records and checks -------------------------------------------------------------------------------------------------------


def record_key(event: Heard) -> str:
    """Subject, then when it was recorded, so that the records of one are in order."""
    data: Any = event.data
    return joined(data.subject_id, _in_order(microseconds(data.record.recorded_at)), data.record.record_id)


def record(row: Kept | None, event: Heard) -> Kept:
    """The newest word on a record."""
    data: Any = event.data
    return Kept.of(data.record)


def shown_record(row: Kept, now: int) -> pb.Record:
    """A record as callers see it: its term may be over."""
    shown = row.read(pb.Record)
    if shown.state == pb.RECORD_STATE_STANDING and shown.HasField("until") and microseconds(shown.until) <= now:
        shown.state = pb.RECORD_STATE_EXPIRED
    return shown


def shown_sanction(sanction: pb.Sanction, now: int) -> pb.Sanction:
    """A sanction as callers see it: its term may be over."""
    shown = pb.Sanction()
    shown.CopyFrom(sanction)
    if shown.state == pb.SANCTION_STATE_IN_FORCE and microseconds(shown.until) <= now:
        shown.state = pb.SANCTION_STATE_OVER
    return shown


def check_key(event: Heard) -> str | None:
    """Subject, then when it was asked. What nobody here knows is in no list."""
    data: Any = event.data
    if not data.subject_id:
        return None
    return joined(data.subject_id, _in_order(microseconds(data.check.checked_at)), data.check.check_id)


def check(row: CheckRow | None, event: Heard) -> CheckRow:
    """Somebody has asked."""
    data: Any = event.data
    one: pb.Check = data.check
    return CheckRow(
        one.check_id, microseconds(one.checked_at), one.asked_by, one.purpose, one.basis, one.matter, one.authorisation_id,
        one.decision,
    )  # fmt: skip


def shown_check(row: CheckRow) -> pb.Check:
    """A question as callers see it."""
    return pb.Check(
        check_id=row.check_id, checked_at=timestamp(row.at), asked_by=row.asked_by, basis=row.basis, matter=row.matter,
        purpose=pb.CheckPurpose.Name(row.purpose), decision=pb.CreditDecision.Name(row.decision),
        authorisation_id=row.authorisation_id,
    )  # fmt: skip


def prefix_of(subject_id: str) -> str:
    """How the keys of records and checks of a subject begin."""
    return joined(subject_id, "")


def _in_order(moment: int) -> str:
    return f"{moment:017d}"


# -- areas --------------------------------------------------------------------------------------------------------------------


def area_key(event: Heard) -> str:
    """The area, and which subjects."""
    data: Any = event.data
    one = data.index if isinstance(data, ev.CreditIndexPublished) else data
    return joined(pb.SubjectKind.Name(one.subjects), pb.AreaKind.Name(one.kind), one.area)


def area(row: IndexRow | None, event: Heard) -> IndexRow | None:
    """The newest word on an area."""
    data = event.data
    if isinstance(data, ev.CreditIndexPublished):
        return IndexRow(packed(data.index), data.index.HasField("warning"))
    if row is None or isinstance(data, ev.CreditIndexRetracted):
        return None
    index = unpacked(row.index, pb.CreditIndex)
    if isinstance(data, ev.CreditWarningRaised):
        index.warning.CopyFrom(data.warning)
    else:
        index.ClearField("warning")
    return IndexRow(packed(index), index.HasField("warning"))
