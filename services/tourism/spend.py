"""What visitors spend, by kind and element, and its trend: from sums over people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import spend_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest
from citybrain.services.tourism import anonymous_sums, theil_sen
from citybrain.services.tourism.anonymous_sums import LEAST
from citybrain.services.tourism.visitors import check_room

FEWEST_WEEKS = 6
"""A trend is told of so many whole weeks. A proposal of this project."""

MOST_FEN = 10_000_000_000_000
"""No place takes more on a day, for each sum: an amount in another unit."""

_WEEK = 7
Cell = tuple[int, int]
"""Kind and element."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one source has told of one place and day. `told`: by revision, cell → people and amount."""

    told: tuple[Mapping[Cell, tuple[int, int]], ...] = ()
    newest: ev.SpendReported | None = None


def cell(one: pb.SpendSum) -> Cell:
    """Whose spend, on what."""
    return int(one.kind), int(one.element)


def evolve(report: Report, event: Message) -> Report:
    """What was told, after an event."""
    if not isinstance(event, ev.SpendReported):
        return report
    return Report((*report.told, {cell(one): (one.people, one.amount_fen) for one in event.sums}), event)


def report(known: Report, request: pb.ReportSpendRequest, district_id: str) -> list[Message]:
    """Takes the spend of a day in. The same again changes nothing."""
    _check(known, request.sums)
    sums = {cell(one): one for one in request.sums}
    told = ev.SpendReported(
        source_id=request.source_id, place_id=request.place_id, district_id=district_id, day=request.day,
        sums=[sums[key] for key in sorted(sums)], revision=len(known.told) + 1, least=LEAST,
    )  # fmt: skip
    same = known.newest is not None and list(known.newest.sums) == list(told.sums)
    if same:
        return []
    check_room(len(known.told))
    return [told]


def _check(known: Report, sums: Sequence[pb.SpendSum]) -> None:
    """BadRequest, with the field: a sum that tells of a few, that stands twice, or cannot be."""
    wrong: list[tuple[str, str]] = []
    cells = [cell(one) for one in sums]
    for number, one in enumerate(sums):
        key, field = cells[number], f"sums[{number}]"
        if key in cells[:number]:
            wrong.append((field, "stands in the list before"))
        people = [{str(each): many for each, (many, _) in told.items()} for told in known.told]
        if found := anonymous_sums.problem(str(key), one.people, people):
            wrong.append((f"{field}.people", found))
        amounts = [(told[key][1], told[key][0]) for told in known.told if key in told]
        if not 0 <= one.amount_fen <= MOST_FEN:
            wrong.append((f"{field}.amount_fen", "is below 0 or beyond all measure: amounts are in fen"))
        elif found := anonymous_sums.amount_problem(one.amount_fen, amounts):
            wrong.append((f"{field}.amount_fen", found))
    if wrong:
        raise BadRequest(wrong)


def shown(reports: Iterable[ev.SpendReported], days: Sequence[str]) -> list[pb.SourceSpend]:
    """Spend as callers see it, by source and kind. `days`: those that are asked for."""
    by_source: dict[str, list[ev.SpendReported]] = {}
    for one in reports:
        by_source.setdefault(one.source_id, []).append(one)
    return [
        pb.SourceSpend(
            source_id=source_id, days_reported=len(mine),
            kinds=[_kind(kind, mine, days) for kind in pb.VisitorKind.values() if _has(kind, mine)],
        )
        for source_id, mine in sorted(by_source.items())
    ]  # fmt: skip


def _has(kind: int, reports: Iterable[ev.SpendReported]) -> bool:
    return any(one.kind == kind for report in reports for one in report.sums)


def _kind(kind: int, reports: Sequence[ev.SpendReported], days: Sequence[str]) -> pb.KindSpend:
    amounts, people, by_day = Counter[int](), Counter[int](), Counter[str]()
    for report in reports:
        by_day[report.day] += 0
        for one in report.sums:
            if one.kind == kind:
                amounts[one.element] += one.amount_fen
                people[one.element] += one.people
                by_day[report.day] += one.amount_fen
    elements = [
        pb.ElementSpend(element=element, amount_fen=amount, each_fen=amount // people[element])  # type: ignore[arg-type]
        for element, amount in sorted(amounts.items(), key=lambda one: (-one[1], one[0]))
    ]
    found = trend(by_day, days)
    is_trend = isinstance(found, pb.Trend)
    return pb.KindSpend(
        kind=kind, amount_fen=amounts.total(), elements=elements,  # type: ignore[arg-type]
        trend=found if is_trend else None, no_trend=None if is_trend else found,  # type: ignore[arg-type]
    )  # fmt: skip


def trend(by_day: Mapping[str, int], days: Sequence[str]) -> pb.Trend | pb.NoTrend:
    """How spend goes up or down in weeks (of seven days from the first on) all of whose days were reported."""
    first = date.fromisoformat(days[0])
    weeks: dict[int, list[int]] = {}
    for day, amount in by_day.items():
        weeks.setdefault((date.fromisoformat(day) - first).days // _WEEK, []).append(amount)
    whole = {number: sum(amounts) for number, amounts in sorted(weeks.items()) if len(amounts) == _WEEK}
    told = {"weeks": len(whole), "weeks_needed": FEWEST_WEEKS}
    if len(whole) < FEWEST_WEEKS:
        return pb.NoTrend(reason=pb.NO_TREND_REASON_TOO_FEW_WEEKS, **told)
    usual = median(whole.values())
    if usual == 0:
        return pb.NoTrend(reason=pb.NO_TREND_REASON_NOTHING_SPENT, **told)
    each, lower, upper = theil_sen.slope([100 * amount / usual for amount in whole.values()], list(whole))
    return pb.Trend(per_week=round(each, 2), lower=round(lower, 2), upper=round(upper, 2), weeks=len(whole))
