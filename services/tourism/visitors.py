"""Flows between places, where visitors live, how long they stay: from sums over people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import visitors_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, Refused
from citybrain.mesh.events import microseconds
from citybrain.mesh.ids import joined
from citybrain.services.tourism import anonymous_sums, hours, littles_law
from citybrain.services.tourism.anonymous_sums import LEAST, Sums
from citybrain.services.tourism.hours import HOUR
from citybrain.services.tourism.provinces import ELSEWHERE, PROVINCES

MOST_DAYS_AGO = 31
"""A source may report, or correct, for so long."""

MOST_CORRECTIONS = 100
"""So often what was told of an hour, or of a place and day, is corrected: all of it is kept, since the difference from each
would tell of people."""

MOST_HOURS = 168
MOST_DAYS = 92
FEWEST_HOURS = 8
"""Of so many hours of a day it is known how many were there and came. A proposal of this project."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one source has told of one hour, or of one place and day. `told`: each revision, `newest`: the last as a message."""

    told: tuple[Sums, ...] = ()
    newest: Message | None = None


def pair(flow: pb.Flow) -> str:
    """From where to where."""
    return joined(flow.from_place_id, flow.to_place_id)


def evolve(report: Report, event: Message) -> Report:
    """What was told, after an event."""
    match event:
        case ev.FlowsReported():
            return Report((*report.told, {pair(one): one.people for one in event.flows}), event)
        case ev.OriginsReported():
            return Report((*report.told, {one.region: one.people for one in event.origins}), event)
    return report


def check_hour(hour_us: int, now: int) -> None:
    """BadRequest: it is no whole hour, is not over, or was too long ago."""
    if problem := _hour_problem(hour_us, now):
        raise BadRequest([("hour", problem)])


def _hour_problem(hour_us: int, now: int) -> str | None:
    if hour_us % HOUR:
        return "is not the beginning of an hour"
    if hour_us + HOUR > now:
        return "is an hour that is not over"
    if now - hour_us > MOST_DAYS_AGO * 24 * HOUR:
        return f"is more than {MOST_DAYS_AGO} days ago"
    return None


def day_of(text: str, field_name: str) -> date:
    """A day, or BadRequest."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadRequest([(field_name, "is no day of the calendar: 2026-10-01 is one")]) from None


def over(text: str, now: int) -> date:
    """A day, or BadRequest: it is none, or is not over."""
    day, (today, _) = day_of(text, "day"), hours.day_and_hour(now // HOUR)
    if day >= today:
        raise BadRequest([("day", "is a day that is not over")])
    return day


def check_day(text: str, now: int) -> None:
    """BadRequest: it is no day, is not over, or was too long ago."""
    day, (today, _) = over(text, now), hours.day_and_hour(now // HOUR)
    if (today - day).days > MOST_DAYS_AGO:
        raise BadRequest([("day", f"is more than {MOST_DAYS_AGO} days ago")])


def places_of(flows: Iterable[pb.Flow]) -> set[str]:
    """The places that flows name."""
    return {place_id for one in flows for place_id in (one.from_place_id, one.to_place_id) if place_id}


def check_flows(flows: Sequence[pb.Flow], known: Collection[str]) -> None:
    """BadRequest, with the field: a place that is not known, somebody who went nowhere, a pair that stands twice."""
    wrong: list[tuple[str, str]] = []
    seen: set[str] = set()
    for number, one in enumerate(flows):
        for name in ("from_place_id", "to_place_id"):
            place_id = getattr(one, name)
            if place_id and place_id not in known:
                wrong.append((f"flows[{number}].{name}", "is not known here: RegisterPlace makes a place known"))
        if one.from_place_id == one.to_place_id:
            wrong.append((f"flows[{number}].to_place_id", "is where they came from: who stays is in no flow"))
        if pair(one) in seen:
            wrong.append((f"flows[{number}]", "stands in the list before"))
        seen.add(pair(one))
    if wrong:
        raise BadRequest(wrong)


def check_origins(origins: Sequence[pb.Origin]) -> None:
    """BadRequest, with the field: a region that is none, or that stands twice."""
    wrong: list[tuple[str, str]] = []
    regions = [one.region for one in origins]
    for number, region in enumerate(regions):
        if region and region[:2] not in PROVINCES:
            wrong.append((f"origins[{number}].region", f"begins with {region[:2]}, which is no province of GB/T 2260"))
        if region in regions[:number]:
            wrong.append((f"origins[{number}].region", "stands in the list before"))
    if wrong:
        raise BadRequest(wrong)


def report_flows(report: Report, request: pb.ReportFlowsRequest) -> list[Message]:
    """Takes the flows of an hour in. The same again changes nothing."""
    by_pair = {pair(one): one for one in request.flows}
    told = ev.FlowsReported(
        source_id=request.source_id, hour=request.hour, everybody=request.everybody,
        flows=[by_pair[name] for name in sorted(by_pair)], revision=len(report.told) + 1, least=LEAST,
    )  # fmt: skip
    _check([(f"flows[{number}].people", pair(one), one.people) for number, one in enumerate(request.flows)], report)
    if _is_told(report, told):
        return []
    check_room(len(report.told))
    return [told]


def report_origins(report: Report, request: pb.ReportOriginsRequest, district_id: str) -> list[Message]:
    """Takes in where visitors live. The same again changes nothing."""
    by_region = {one.region: one for one in request.origins}
    told = ev.OriginsReported(
        source_id=request.source_id, place_id=request.place_id, district_id=district_id, day=request.day,
        origins=[by_region[region] for region in sorted(by_region)], revision=len(report.told) + 1, least=LEAST,
    )  # fmt: skip
    _check([(f"origins[{number}].people", one.region, one.people) for number, one in enumerate(request.origins)], report)
    if _is_told(report, told):
        return []
    check_room(len(report.told))
    return [told]


def check_room(told: int) -> None:
    """Refused: it was corrected too often. `told`: so many times it was told."""
    if told > MOST_CORRECTIONS:
        problem = f"this was corrected {MOST_CORRECTIONS} times, and stays as it is: report it when it is complete"
        raise Refused(problem, "TOO_MANY_CORRECTIONS")


def _check(sums: Iterable[tuple[str, str, int]], report: Report) -> None:
    wrong = [(name, found) for name, told, people in sums if (found := anonymous_sums.problem(told, people, report.told))]
    if wrong:
        raise BadRequest(wrong)


def _is_told(report: Report, event: Message) -> bool:
    """Whether this is what was told last, but for the number of the revision."""
    if report.newest is None:
        return False
    known, now = type(event)(), type(event)()
    known.CopyFrom(report.newest)
    now.CopyFrom(event)
    for one in (known, now):
        one.ClearField("revision")
    return known == now


@dataclass(slots=True)
class Flows:
    """Flows of a place from one source, summed up. `hours`: those of which it has reported."""

    arrivals: Counter[str] = field(default_factory=Counter)
    departures: Counter[str] = field(default_factory=Counter)
    hours: set[int] = field(default_factory=set)
    everybody: bool = True


def flows_of(place_id: str, reports: Iterable[ev.FlowsReported]) -> dict[str, Flows]:
    """By source, the flows of a place: where people came from and went to."""
    found: dict[str, Flows] = {}
    for one in reports:
        mine = found.setdefault(one.source_id, Flows())
        mine.hours.add(microseconds(one.hour) // HOUR)
        mine.everybody &= one.everybody
        for flow in one.flows:
            if flow.to_place_id == place_id:
                mine.arrivals[flow.from_place_id] += flow.people
            elif flow.from_place_id == place_id:
                mine.departures[flow.to_place_id] += flow.people
    return found


def shown_flows(place_id: str, reports: Iterable[ev.FlowsReported]) -> list[pb.SourceFlows]:
    """The flows of a place as callers see them, by source."""

    def flow(begin: str, end: str, many: int) -> pb.Flow:
        return pb.Flow(from_place_id=begin, to_place_id=end, people=many)

    return [
        pb.SourceFlows(
            source_id=source_id, everybody=mine.everybody, hours_reported=len(mine.hours),
            arrivals=[flow(where, place_id, many) for where, many in most_first(mine.arrivals)],
            departures=[flow(place_id, where, many) for where, many in most_first(mine.departures)],
        )
        for source_id, mine in sorted(flows_of(place_id, reports).items())
    ]  # fmt: skip


def most_first(people: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most first, of equal ones by name."""
    return sorted(people.items(), key=lambda one: (-one[1], one[0]))


def shown_origins(reports: Iterable[ev.OriginsReported]) -> list[pb.SourceOrigins]:
    """Where visitors live as callers see it, by source."""
    by_source: dict[str, list[ev.OriginsReported]] = {}
    for one in reports:
        by_source.setdefault(one.source_id, []).append(one)
    return [
        pb.SourceOrigins(source_id=source_id, days_reported=len({one.day for one in mine}), provinces=provinces(mine))
        for source_id, mine in sorted(by_source.items())
    ]


def provinces(reports: Iterable[ev.OriginsReported]) -> list[pb.ProvinceOrigins]:
    """Where visitors live, summed up: by province, and by city within it."""
    whole, cities = Counter[str](), dict[str, Counter[str]]()
    for report in reports:
        for one in report.origins:
            whole[one.region[:2]] += one.people
            if one.region and not one.region.endswith("0000"):
                cities.setdefault(one.region[:2], Counter())[one.region] += one.people
    found = []
    for province, people in most_first(whole):
        name, chinese = PROVINCES.get(province, ELSEWHERE)
        listed = [pb.RegionPeople(region=region, people=many) for region, many in most_first(cities.get(province, {}))]
        code = f"{province}0000" if province else ""
        found.append(pb.ProvinceOrigins(province=code, name=name, name_zh=chinese, people=people, cities=listed))
    return found


def stay(
    place_id: str, present: Mapping[int, float], reports: Iterable[ev.FlowsReported], registered_minutes: int
) -> pb.Stay | pb.NoStay:
    """How long people stayed in hours (their number since 1970 → people there on average), from reports of everybody."""
    of_present = [one for one in reports if one.everybody and microseconds(one.hour) // HOUR in present]
    # A source in whose reports nobody comes to the place does not count there, as far as is known.
    sources = {name: mine for name, mine in flows_of(place_id, of_present).items() if mine.arrivals}
    most = max((len(mine.hours) for mine in sources.values()), default=0)
    if most < FEWEST_HOURS:
        if not sources and of_present:
            detail = "nobody is known to have come: in each hour they were fewer than 20, or no source counts there"
            return pb.NoStay(reason=pb.NO_STAY_REASON_NO_ARRIVALS, detail=detail)
        detail = (
            f"of {most} hours of the day it is known how many were there and how many came, and {FEWEST_HOURS} are needed: "
            "counters say who is there, and reports of everybody who came"
        )
        return pb.NoStay(reason=pb.NO_STAY_REASON_TOO_FEW_HOURS, detail=detail, hours=most)
    source_id = min(name for name, mine in sources.items() if len(mine.hours) == most)
    mean, arrivals = sum(present[hour] for hour in sources[source_id].hours) / most, sources[source_id].arrivals.total()
    return pb.Stay(
        minutes=round(littles_law.stay_minutes(mean, arrivals / most), 1), mean_people=round(mean, 1), arrivals=arrivals,
        hours=most, source_id=source_id, registered_minutes=registered_minutes,
    )  # fmt: skip


def check_span(begin: int, end: int) -> None:
    """BadRequest: these are no whole hours, or too many. In microseconds since 1970."""
    for name, moment in (("from", begin), ("to", end)):
        if moment % HOUR:
            raise BadRequest([(name, "is not the beginning of an hour")])
    if not 0 < end - begin <= MOST_HOURS * HOUR:
        raise BadRequest([("to", f"is to be after the beginning, and no more than {MOST_HOURS} hours")])


def days_between(first: str, last: str) -> list[str]:
    """All days from one to another, or BadRequest."""
    begin, end = day_of(first, "from_day"), day_of(last, "to_day")
    if not 0 <= (end - begin).days < MOST_DAYS:
        raise BadRequest([("to_day", f"is to be the first day or later, and no more than {MOST_DAYS} days together")])
    return [(begin + timedelta(days=number)).isoformat() for number in range((end - begin).days + 1)]
