"""What a rebuilt road or a new facility has changed: one question, answered once. Too little data is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import road_safety_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused
from citybrain.mesh.events import microseconds
from citybrain.services.traffic import before_after, difference_in_differences, empirical_bayes, road_days
from citybrain.services.traffic.empirical_bayes import Model, Segment
from citybrain.services.traffic.road_days import Days
from citybrain.services.traffic.road_risk import LEAST_DAYS
from citybrain.services.traffic.street_network import Road

Known = Mapping[str, Sequence[pb.Accident]]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The question, and what was found."""

    question: pb.EvaluateEffectRequest | None = None
    effect: pb.Effect | None = None


def evolve(state: Evaluated, event: Message) -> Evaluated:
    """What was found, after an event."""
    return Evaluated(event.question, event.effect) if isinstance(event, ev.EffectEvaluated) else state


@dataclass(frozen=True, slots=True)
class Span:
    """The days before the works and after them, each from one to another, both among them."""

    before: tuple[date, date]
    after: tuple[date, date]


def span(request: pb.EvaluateEffectRequest, today: date) -> Span:
    """The days that are compared. Refused where those after are not over."""
    dates = {}
    for name in ("works_from", "works_to"):
        try:
            dates[name] = date.fromisoformat(getattr(request, name))
        except ValueError:
            raise BadRequest([(name, "is no day of the calendar: give one as 2026-05-01")]) from None
    begun, ended = dates["works_from"], dates["works_to"]
    if ended < begun:
        raise BadRequest([("works_to", "is before works_from: give the last day of the works")])
    length = timedelta(days=request.days)
    found = Span((begun - length, begun - timedelta(days=1)), (ended + timedelta(days=1), ended + length))
    if found.after[1] >= today:
        what = f"the {request.days} days after the works end on {found.after[1]}: ask then, or of fewer days"
        raise Refused(what, "NOT_OVER")
    return found


def check(request: pb.EvaluateEffectRequest, roads: Mapping[str, Road]) -> None:
    """BadRequest where a road is not known, or is compared with itself."""
    for name in ("changed_edge_ids", "comparison_edge_ids"):
        for index, edge_id in enumerate(getattr(request, name)):
            if edge_id not in roads:
                what = f"{edge_id!r} is not in the published network: name a road that is, or publish it"
                raise BadRequest([(f"{name}[{index}]", what)])
    both = sorted(set(request.changed_edge_ids) & set(request.comparison_edge_ids))
    if both:
        raise BadRequest([("comparison_edge_ids", f"{both[0]!r} was changed itself: compare with roads that were not")])


def tell(state: Evaluated, request: pb.EvaluateEffectRequest, effect: pb.Effect) -> list[Message]:
    """Publishes what was found, once."""
    if state.question is not None:
        if state.question != request:
            what = f"evaluation {request.evaluation_id} has another question: use a new id"
            raise AlreadyDifferent(what, "OTHER_EVALUATION")
        return []
    return [ev.EffectEvaluated(question=request, effect=effect)]


def existing(state: Evaluated, evaluation_id: str) -> pb.GetEffectResponse:
    """The question and what was found, or NotFound."""
    if state.question is None:
        raise NotFound(f"there is no evaluation {evaluation_id}: make one (EvaluateEffect)", "NO_SUCH_EVALUATION")
    return pb.GetEffectResponse(question=state.question, effect=state.effect)


def of_accidents(
    request: pb.EvaluateEffectRequest,
    when: Span,
    roads: Mapping[str, Road],
    days: Days,
    known: Known,
    since: date,
    model: Model,
) -> pb.Effect:
    """The ratio of accidents. `since`: from when on accidents are recorded; `model`: what roads like these have."""
    if since > when.before[0]:
        what = f"accidents are recorded since {since}: ask of fewer days before, or later"
        raise Refused(what, "NOT_RECORDED")

    def counted(edges: Sequence[str], part: tuple[date, date]) -> int:
        each = (one for edge_id in edges for one in known.get(edge_id, ()))
        return sum(part[0] <= road_days.day_of(microseconds(one.happened_at)) <= part[1] for one in each)

    changed, compared = list(request.changed_edge_ids), list(request.comparison_edge_ids)
    effect = pb.Effect(
        measure=request.measure, changed_before=counted(changed, when.before), changed_after=counted(changed, when.after),
        comparison_before=counted(compared, when.before), comparison_after=counted(compared, when.after),
    )  # fmt: skip
    fewest = min(effect.comparison_before, effect.comparison_after)
    if fewest < before_after.LEAST_COMPARED:
        what = f"the comparison group has {fewest} accidents before or after, {before_after.LEAST_COMPARED} are the least"
        raise Refused(f"{what}: name more roads, or more days", "TOO_FEW_COMPARED")
    estimates, missing = [], []
    for edge_id in changed:
        daily, measured = road_days.volume(_within(days.get(edge_id, {}), when.before))
        if measured < LEAST_DAYS or daily <= 0:
            missing.append(edge_id)
            continue
        years = request.days / 365.25
        segment = Segment(roads[edge_id].length_m / 1000, daily, years, counted([edge_id], when.before))
        one = empirical_bayes.estimate(segment, model)
        estimates.append((one.expected * years, (one.deviation * years) ** 2))
    plain = _ratio(effect, float(effect.changed_before), None)
    if missing:
        effect.regression_to_the_mean = (
            f"not corrected for: the volume of road {missing[0]} before the works is not known. If the roads were chosen for a"
            " bad record, the effect is smaller than it looks"
        )
        found, effect.method = plain, "Hauer 1997, comparison group"
    else:
        expected, variance = (sum(one[index] for one in estimates) for index in (0, 1))
        found = _ratio(effect, expected, variance)
        effect.regression_to_the_mean = (
            f"corrected for by empirical Bayes: {expected:.1f} accidents expected before, {effect.changed_before} recorded"
        )
        effect.method = "Hauer 1997, comparison group, with empirical Bayes (Hauer 2002)"
        effect.uncorrected = round(plain.theta, 4)
    if found.without < before_after.LEAST_EXPECTED:
        least = f"{before_after.LEAST_EXPECTED:.0f} are the least"
        what = f"{found.without:.1f} accidents would be expected without the change, {least}"
        raise Refused(f"{what}: ask of more days or roads", "TOO_FEW_EXPECTED")
    effect.effect, effect.low, effect.high = round(found.theta, 4), round(found.low, 4), round(found.high, 4)
    effect.may_be_nothing = found.low <= 1 <= found.high
    effect.without_change = round(found.without, 2)
    return effect


def _ratio(effect: pb.Effect, before: float, variance: float | None) -> before_after.Changed:
    if before <= 0:
        raise Refused("no accident before the works, and none expected: there is nothing to compare", "TOO_FEW_EXPECTED")
    return before_after.ratio(before, effect.changed_after, effect.comparison_before, effect.comparison_after, variance)


def of_travel_times(request: pb.EvaluateEffectRequest, when: Span, roads: Mapping[str, Road], days: Days) -> pb.Effect:
    """The difference of the time to drive along the roads that were changed, all of them one after the other."""

    def times(edges: Sequence[str], part: tuple[date, date]) -> dict[str, float]:
        """Day → the time along all of these roads; only days on which each was measured."""
        found: dict[str, float] | None = None
        for edge_id in edges:
            measured = _within(days.get(edge_id, {}), part)
            mine = {name: 100 * roads[edge_id].length_m / speed for name, (_, speed) in measured.items() if speed > 0}
            found = mine if found is None else {name: found[name] + mine[name] for name in found.keys() & mine.keys()}
        return found or {}

    spans = {}
    for name, part in (("before", when.before), ("after", when.after)):
        changed, compared = times(list(request.changed_edge_ids), part), times(list(request.comparison_edge_ids), part)
        spans[name] = [(changed[at], compared[at]) for at in sorted(changed.keys() & compared.keys())]
        if len(spans[name]) < difference_in_differences.LEAST_DAYS:
            what = f"{len(spans[name])} days {name} the works were measured on all roads"
            least = difference_in_differences.LEAST_DAYS
            raise Refused(f"{what}, {least} are the least: name fewer roads, or more days", "TOO_FEW_DAYS")
    # The comparison group counts as one road of the length of those that were changed.
    scale = sum(roads[one].length_m for one in request.changed_edge_ids) / sum(
        roads[one].length_m for one in request.comparison_edge_ids
    )
    scaled = {name: [(own, other * scale) for own, other in each] for name, each in spans.items()}
    found = difference_in_differences.shifted(scaled["before"], scaled["after"])
    return pb.Effect(
        measure=request.measure, effect=round(found.effect, 2), low=round(found.low, 2), high=round(found.high, 2),
        may_be_nothing=found.low <= 0 <= found.high, changed_before=len(spans["before"]), changed_after=len(spans["after"]),
        comparison_before=len(spans["before"]), comparison_after=len(spans["after"]), without_change=round(found.without, 2),
        regression_to_the_mean="not corrected for: roads that were chosen after slow weeks get faster by themselves",
        method="difference in differences, bootstrap over days",
    )  # fmt: skip


def _within(known: Mapping[str, tuple[int, int]], part: tuple[date, date]) -> dict[str, tuple[int, int]]:
    return {name: one for name, one in known.items() if part[0].isoformat() <= name <= part[1].isoformat()}
