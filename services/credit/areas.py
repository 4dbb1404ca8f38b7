"""Districts and sectors: how many subjects stand where, the index, and early warning. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.events import microseconds
from citybrain.services.credit import area_index, p_chart
from citybrain.services.credit.views import StandingRow, day_of, standing_counts

WEEK_DAYS = 7
MOST_WEEKS = 26
"""The usual share is that of so many weeks before."""

AreaKey = tuple[pb.SubjectKind, pb.AreaKind, str]
"""Which subjects, kind of the area, its name."""


@dataclass(frozen=True, slots=True)
class Area:
    """An area as its events tell it. `weeks`: those without a warning: when it was counted, how many were new, of how many."""

    weeks: tuple[tuple[int, int, int], ...] = ()
    # Whether its index is shown.
    published: bool = False
    warning: pb.CreditWarning | None = None


def evolve(area: Area, event: Message) -> Area:
    """The area after an event."""
    match event:
        case ev.CreditIndexPublished():
            at, counts = microseconds(event.index.computed_at), event.index.counts
            area = replace(area, published=True)
            # Weeks do not overlap; what was found to be unusual is no part of what is usual.
            if event.index.HasField("warning") or (area.weeks and not _a_week_later(area.weeks[-1][0], at)):
                return area
            return replace(area, weeks=(*area.weeks, (at, counts.new_bad, counts.subjects))[-MOST_WEEKS:])
        case ev.CreditWarningRaised():
            return replace(area, warning=event.warning)
        case ev.CreditWarningRetracted():
            return replace(area, warning=None)
        case ev.CreditIndexRetracted():
            return replace(area, published=False)
    return area


def _a_week_later(before: int, at: int) -> bool:
    return day_of(at) - day_of(before) >= WEEK_DAYS


def count(rows: Iterable[StandingRow], now: int, into: dict[AreaKey, pb.AreaCounts]) -> None:
    """Counts subjects into their areas. Those that nobody has registered are in none."""
    for row in rows:
        worst, new = _stands(row, now), _is_new(row, now)
        subjects = pb.SUBJECT_KIND_FIRM if row.kind == pb.SUBJECT_KIND_FIRM else pb.SUBJECT_KIND_CITIZEN
        for kind, name in ((pb.AREA_KIND_DISTRICT, row.district_id), (pb.AREA_KIND_SECTOR, row.sector)):
            if name:
                counts = into.setdefault((subjects, kind, name), pb.AreaCounts())
                counts.subjects += 1
                counts.new_bad += new
                if worst:
                    setattr(counts, worst, getattr(counts, worst) + 1)


def _stands(row: StandingRow, now: int) -> str:
    """Where a subject stands worst; empty: nothing bad counts now."""
    if any(one.until > now for one in row.sanctions.values()):
        return "sanctioned"
    weights = {weight for _, weight, _, _ in standing_counts(row.bad, now)}
    names = {pb.RECORD_WEIGHT_SERIOUS: "serious", pb.RECORD_WEIGHT_COMMON: "common", pb.RECORD_WEIGHT_MINOR: "minor"}
    return next((name for weight, name in names.items() if weight in weights), "")


def _is_new(row: StandingRow, now: int) -> bool:
    # Whole days before this one. So a week ends where the next begins, whatever the hour at which they are counted.
    today = day_of(now)
    return any(today - WEEK_DAYS <= int(day) < today for day in row.new_bad)


def publish(area: Area, key: AreaKey, counts: pb.AreaCounts, now: Timestamp) -> list[Message]:
    """The index of an area, and what its warning comes to: raised, kept, or retracted. Where there are too few now, both go."""
    subjects, kind, name = key
    value = area_index.index(counts.subjects, worst_of(counts))
    district_id = name if kind == pb.AREA_KIND_DISTRICT else ""
    of_area = {"kind": kind, "area": name, "subjects": subjects, "district_id": district_id}
    if value is None:
        too_few = "there are too few subjects to say anything"
        gone: list[Message] = []
        if area.warning is not None:
            gone.append(ev.CreditWarningRetracted(**of_area, reason=too_few))  # type: ignore[arg-type]
        if area.published:
            gone.append(ev.CreditIndexRetracted(**of_area, reason=too_few))  # type: ignore[arg-type]
        return gone
    before = [(new, size) for at, new, size in area.weeks if _a_week_later(at, microseconds(now))]
    verdict = p_chart.judge(before, counts.new_bad, counts.subjects)
    warning: pb.CreditWarning | None = None
    events: list[Message] = []
    if verdict is not None and verdict.above:
        warning = pb.CreditWarning(
            share=verdict.share, usual_share=verdict.usual, limit=verdict.upper, weeks=verdict.samples,
            raised_at=area.warning.raised_at if area.warning else now,
        )  # fmt: skip
        if area.warning is None:
            events.append(ev.CreditWarningRaised(**of_area, warning=warning))  # type: ignore[arg-type]
    elif area.warning is not None:
        reason = (
            "too little is known to say what is usual"
            if verdict is None
            else f"{counts.new_bad} of {counts.subjects} got a bad record within a week: that is not above the limit"
        )
        events.append(ev.CreditWarningRetracted(**of_area, reason=reason))  # type: ignore[arg-type]
    published = pb.CreditIndex(
        **of_area, index=value, counts=counts, computed_at=now, version=area_index.VERSION, warning=warning  # type: ignore[arg-type]
    )  # fmt: skip
    return [*events, ev.CreditIndexPublished(index=published, district_id=district_id)]


def worst_of(counts: pb.AreaCounts) -> Mapping[str, int]:
    """How many stand where, as the index counts them."""
    return {name: getattr(counts, name) for name in area_index.WEIGHTS}
