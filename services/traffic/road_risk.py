"""The risk of roads by empirical Bayes, graded, with warnings; recomputed each night and when records are corrected. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import road_safety_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import Heard
from citybrain.mesh.kept import Kept
from citybrain.services.traffic import accidents, empirical_bayes, road_days
from citybrain.services.traffic.detectors import MICROSECONDS
from citybrain.services.traffic.empirical_bayes import Model, Segment
from citybrain.services.traffic.road_days import Days
from citybrain.services.traffic.street_network import Road

VERSION = "road-risk-1"
YEAR_US = round(365.25 * 86_400) * MICROSECONDS
YEARS = 3
"""Accidents of the last so many years count, or since the first one was recorded."""
LEAST_YEARS = 1.0
"""Before accidents were recorded for so long, nothing is graded."""
VOLUME_DAYS, LEAST_DAYS = 28, 7
"""The volume is the mean of the last 28 days, of those that were measured; 7 are enough."""
SHOWN_CAUSES = 3
RISK_EVENTS = (ev.RiskGraded,)

Known = Mapping[str, Sequence[pb.Accident]]


def recorded_years(known: Mapping[str, list[pb.Accident]], now: int) -> float:
    """For how many years accidents are known, at most `YEARS`. `now`: in microseconds."""
    return min(float(YEARS), (now - accidents.first(known, now)) / YEAR_US)


def segments(roads: Mapping[str, Road], days: Days, known: Known, years: float, now: int) -> dict[str, tuple[Segment, int]]:
    """The roads whose volume is known, each with the days of which it is."""
    since, found = now - round(years * YEAR_US), {}
    for edge_id, road in roads.items():
        daily, measured = road_days.volume(days.get(edge_id, {}))
        if measured >= LEAST_DAYS and daily > 0:
            record = accidents.between(known.get(edge_id, ()), since, now)
            found[edge_id] = Segment(road.length_m / 1000, daily, years, record), measured
    return found


def model_of(some: Iterable[Segment]) -> Model:
    """What is learnt from the roads of the city, or what was published."""
    return empirical_bayes.fit(list(some)) or empirical_bayes.PUBLISHED


def grade(
    part_id: str, roads: Mapping[str, Road], some: Mapping[str, tuple[Segment, int]], model: Model, known: Known, now: int
) -> ev.RiskGraded:
    """The risk of the roads of a part."""
    source = "the roads of this city" if model.fitted else "Hauer and others, TRR 1784 (2002), two-lane roads in North America"
    told = ev.RiskGraded(part_id=part_id, day=road_days.day_of(now).isoformat(), version=VERSION)
    told.model.CopyFrom(
        pb.SafetyModel(
            a=model.a, b=model.b, overdispersion=model.overdispersion, fitted=model.fitted, source=source, roads=model.roads,
            accidents=model.accidents,
        )
    )  # fmt: skip
    for edge_id, road in sorted(roads.items()):
        if road.part_id != part_id:
            continue
        if edge_id not in some:
            told.without_volume += 1
            continue
        segment, measured = some[edge_id]
        one = empirical_bayes.estimate(segment, model)
        since = now - round(segment.years * YEAR_US)
        counted = Counter(
            cause for each in known.get(edge_id, ()) if accidents.between([each], since, now) for cause in each.causes
        )
        causes = [cause for cause, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))][:SHOWN_CAUSES]
        told.roads.add(
            edge_id=edge_id, district_id=road.district_id, grade=empirical_bayes.grade(one), expected=round(one.expected, 3),
            deviation=round(one.deviation, 3), like_it=round(one.like_it, 3), weight=round(one.weight, 3),
            recorded=segment.record, years=round(segment.years, 2), vehicles_per_day=round(segment.daily, 1), days=measured,
            causes=causes,
        )  # fmt: skip
    return told


@dataclass(frozen=True, slots=True)
class Graded:
    """What was told last of a part; and the roads that were warned of."""

    told: ev.RiskGraded | None = None
    warned: frozenset[str] = field(default_factory=frozenset)


def evolve(state: Graded, event: Message) -> Graded:
    """What was told last, after an event."""
    match event:
        case ev.RiskGraded():
            return Graded(event, state.warned)
        case ev.RiskWarned():
            return Graded(state.told, state.warned | {event.risk.edge_id})
        case ev.RiskWarningRetracted():
            return Graded(state.told, state.warned - {event.edge_id})
    return state


def tell(state: Graded, told: ev.RiskGraded) -> list[Message]:
    """Tells the grades where they are others, warns of roads that have become high, and takes warnings back."""
    if state.told is not None and _same(state.told, told):
        return []
    events: list[Message] = [told]
    now = {one.edge_id: one for one in told.roads}
    for edge_id, one in now.items():
        if one.grade == pb.RISK_GRADE_HIGH and edge_id not in state.warned:
            causes = ", ".join(pb.AccidentCause.Name(each).removeprefix("ACCIDENT_CAUSE_").lower() for each in one.causes)
            warning = (
                f"{one.expected:.1f} accidents a year are expected on road {edge_id}, {one.like_it:.1f} on roads like it;"
                f" most often: {causes or 'no cause recorded'}"
            )
            events.append(ev.RiskWarned(risk=one, day=told.day, warning=warning))
    before = {one.edge_id: one.district_id for one in state.told.roads} if state.told is not None else {}
    for edge_id in sorted(state.warned):
        one = now.get(edge_id, pb.RoadRisk(edge_id=edge_id, district_id=before.get(edge_id, "")))
        if one.grade != pb.RISK_GRADE_HIGH:
            events.append(
                ev.RiskWarningRetracted(edge_id=edge_id, district_id=one.district_id, grade=one.grade, day=told.day)
            )  # fmt: skip
    return events


def _same(before: ev.RiskGraded, now: ev.RiskGraded) -> bool:
    """Whether only the day, and the years that have gone on, are others."""
    if (before.model, before.without_volume, len(before.roads)) != (now.model, now.without_volume, len(now.roads)):
        return False
    return all(
        (a.edge_id, a.grade, a.recorded, list(a.causes)) == (b.edge_id, b.grade, b.recorded, list(b.causes))
        and abs(a.expected - b.expected) < 0.01
        for a, b in zip(before.roads, now.roads, strict=True)
    )


def risk_key(event: Heard) -> str:
    """The part of the network."""
    assert isinstance(event.data, ev.RiskGraded)
    return event.data.part_id


def risk(row: Kept | None, event: Heard) -> Kept | None:
    """The risk as it was told last."""
    return Kept.of(event.data)


def riskiest_first(rows: Iterable[Kept]) -> list[pb.RoadRisk]:
    """High and raised, where most accidents a year are above those of roads like it first."""
    found = [one for row in rows for one in row.read(ev.RiskGraded).roads if one.grade > pb.RISK_GRADE_LOW]
    return sorted(found, key=place_in_list)


def place_in_list(one: pb.RoadRisk) -> tuple[int | str, ...]:
    """What roads are ordered by."""
    return -one.grade, -round(1000 * (one.expected - one.like_it)), one.edge_id
