"""What is learnt of a place, and its peaks that are forecast: told each hour, retracted where they do not follow. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import forecasts_pb2 as pb
from citybrain.tourism.v1 import tourism_service_pb2 as places_pb
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.tourism import hours, levels, places
from citybrain.services.tourism import seasonal_autoregression as method
from citybrain.services.tourism.holiday_table import Kind, Table
from citybrain.services.tourism.hours import DAY, HOUR, Numbers

AHEAD: Mapping[pb.Horizon, int] = {pb.HORIZON_HOUR: 1, pb.HORIZON_DAY: 24}
"""How many hours belong to a horizon."""

RECENT = 24
FEWEST_RECENT = 18
"""Of the newest 24 hours so many were counted, and the newest itself. A proposal of this project."""

STANDS = 2 * HOUR
"""So long after the last hour that it was made from a forecast is shown: then the newer one is missing."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was learnt of a place last, and by horizon the forecast that stands."""

    learnt: ev.ForecastLearnt | None = None
    standing: Mapping[pb.Horizon, pb.Forecast] = field(default_factory=dict)


def evolve(told: Told, event: Message) -> Told:
    """What is told after an event."""
    match event:
        case ev.ForecastLearnt():
            return replace(told, learnt=event)
        case ev.PeakForecast():
            return replace(told, standing={**told.standing, event.forecast.horizon: event.forecast})
        case ev.PeakForecastRetracted():
            return replace(told, standing={key: one for key, one in told.standing.items() if key != event.horizon})
    return told


@dataclass(frozen=True, slots=True)
class History:
    """Days of a place: the first, hours in a row from its midnight on, and how many were brought in. `told`: see the event."""

    first: date
    people: Numbers
    imported: int
    told: int


def history(days: Sequence[tuple[date, Sequence[int], int]], told: int) -> History:
    """The newest year of days (hours, and how many were brought in), in order."""
    last = days[-1][0]
    first = max(days[0][0], last - timedelta(days=method.MOST_HOURS // DAY - 1))
    here = [(day, people) for day, people, _ in days if day >= first]
    row = hours.in_a_row(hours.first_hour(first), ((last - first).days + 1) * DAY, here)
    return History(first, row, sum(imported for day, _, imported in days if day >= first), told)


def learn(place: places_pb.Place, history: History, table: Table) -> ev.ForecastLearnt:
    """What is learnt of a place. Without coefficients: its hours are too few."""
    days = [history.first + timedelta(days=number) for number in range(len(history.people) // DAY)]
    found = method.learn(history.people, method.flags(history.first, [table.kind(day) for day in days]))
    counted = np.flatnonzero(~np.isnan(history.people))
    begin = hours.first_hour(history.first)
    told = ev.ForecastLearnt(
        place_id=place.place_id, district_id=place.district_id, method=method.METHOD, days_told=history.told
    )
    basis = told.basis
    basis.hours, basis.imported_hours = len(counted), history.imported
    basis.missing_hours = len(history.people) - len(counted)
    if len(counted):
        basis.first_hour.CopyFrom(timestamp((begin + int(counted[0])) * HOUR))
        basis.last_hour.CopyFrom(timestamp((begin + int(counted[-1])) * HOUR))
    basis.holidays, basis.holidays_until = table.name, table.until.isoformat()
    if found is None:
        return told
    told.coefficients.extend(found.coefficients)
    for lower, upper, low, high in found.steps:
        told.steps.add(lower=lower, upper=upper, lower_unknown=low, upper_unknown=high)
    end = begin + len(history.people)
    for horizon, ahead in AHEAD.items():
        one = found.scores[ahead]
        score = pb.ForecastScore(
            mase=round(one.mase, 4), naive_mase=round(one.naive, 4), hours_tried=one.tried, covered=round(one.covered, 4),
            to=timestamp(end * HOUR), **{"from": timestamp((end - found.kept_back) * HOUR)},
        )  # fmt: skip
        told.horizons.add(horizon=horizon, used=one.good, score=score)
    return told


def take_in(told: Told, learnt: ev.ForecastLearnt) -> list[Message]:
    """Tells what was learnt. A forecast that is not better than the naive one now is taken back."""
    if told.learnt is not None and told.learnt.days_told >= learnt.days_told:
        return []
    used = {one.horizon for one in learnt.horizons if one.used}
    gone = [one for horizon, one in sorted(told.standing.items()) if horizon not in used]
    reason = "its place was learnt anew, and such forecasts are not better than the naive one now"
    return [learnt, *(_retracted(one, learnt.district_id, reason) for one in gone)]


def is_recent(people: Numbers) -> bool:
    """Whether enough of the newest hours was counted."""
    known = ~np.isnan(people[-RECENT:])
    return bool(known[-1]) and int(known.sum()) >= FEWEST_RECENT


def forecasts(place: places_pb.Place, learnt: ev.ForecastLearnt, end: int, people: Numbers, table: Table) -> list[pb.Forecast]:
    """What is forecast from the newest hours. `end`: the number since 1970 of the hour after them."""
    used = [one for one in learnt.horizons if one.used]
    if not used or not is_recent(people):
        return []
    first, hour = hours.day_and_hour(end - len(people))
    last, _ = hours.day_and_hour(end + method.AHEAD - 1)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    kinds = [table.kind(day) for day in days]
    flags = method.flags(first, kinds)[hour : hour + len(people) + method.AHEAD]
    unknown = [kind is Kind.UNKNOWN for kind in kinds for _ in range(DAY)][hour + len(people) :][: method.AHEAD]
    steps = [(one.lower, one.upper, one.lower_unknown, one.upper_unknown) for one in learnt.steps]
    found = method.forecast(learnt.coefficients, steps, people, flags, unknown)
    if found is None:
        return []
    told = [
        pb.ForecastHour(
            hour=timestamp((end + number) * HOUR), people=here, lower=lower, upper=upper, holidays_known=not unknown[number]
        )
        for number, (here, lower, upper) in enumerate(found)
    ]
    return [_forecast(place, learnt, one, end, told[: AHEAD[one.horizon]]) for one in used]


def _forecast(
    place: places_pb.Place, learnt: ev.ForecastLearnt, horizon: pb.LearntHorizon, end: int, ahead: Sequence[pb.ForecastHour]
) -> pb.Forecast:
    """The peak of hours. Of equal ones it is the first."""
    peak, capacity = max(ahead, key=lambda one: one.people), places.capacity(place)
    return pb.Forecast(
        place_id=place.place_id, horizon=horizon.horizon, made_from=timestamp(end * HOUR), people=peak.people,
        peak_hour=peak.hour, lower=peak.lower, upper=peak.upper, capacity=capacity.at_once, bound_by=capacity.bound_by,
        share=100 * peak.people / capacity.at_once, level=_level(peak.people, capacity.at_once),
        level_at_most=max(_level(one.upper, capacity.at_once) for one in ahead), hours=ahead,
        holidays_known=all(one.holidays_known for one in ahead), score=horizon.score, basis=learnt.basis, method=learnt.method,
    )  # fmt: skip


def _level(people: int, capacity: int) -> int:
    return levels.fullness(0, people, capacity, complete=True)


def tell(told: Told, district_id: str, found: Sequence[pb.Forecast]) -> list[Message]:
    """Tells forecasts. One from the same hour that is another now is taken back first."""
    events: list[Message] = []
    for one in found:
        known = told.standing.get(one.horizon)
        if known is not None and microseconds(known.made_from) > microseconds(one.made_from):
            continue
        if known is not None and known.made_from == one.made_from:
            # What was learnt since is for the forecasts from the next hour on.
            if known == one or known.basis != one.basis:
                continue
            changed = (known.capacity, known.bound_by) != (one.capacity, one.bound_by)
            reason = "the place was changed" if changed else "the counts that it rested on were corrected, or others came late"
            events.append(_retracted(known, district_id, reason))
        events.append(ev.PeakForecast(forecast=one, district_id=district_id))
    return events


def _retracted(known: pb.Forecast, district_id: str, reason: str) -> Message:
    return ev.PeakForecastRetracted(
        place_id=known.place_id, district_id=district_id, horizon=known.horizon, made_from=known.made_from,
        peak_hour=known.peak_hour, people=known.people, level=known.level, reason=reason,
    )  # fmt: skip


def is_shown(forecast: pb.Forecast, now: int) -> bool:
    """Whether a forecast is shown at a moment (microseconds): later the newer one is missing."""
    return now < microseconds(forecast.made_from) + STANDS


def shown(told: Told, horizon: pb.Horizon, now: int, hours_known: int) -> pb.HorizonForecast:
    """What callers see of a horizon at a moment (microseconds). `hours_known`: so many where nothing was learnt yet."""
    learnt, standing = told.learnt, told.standing.get(horizon)
    if standing is not None and is_shown(standing, now):
        return pb.HorizonForecast(horizon=horizon, forecast=standing)
    if learnt is None or not learnt.horizons:
        known = hours_known if learnt is None else learnt.basis.hours
        span = 0 if learnt is None else known + learnt.basis.missing_hours
        reason, detail = _too_little(known, span)
        none = pb.NoForecast(reason=reason, detail=detail, hours=known, hours_needed=method.FEWEST_HOURS)
        return pb.HorizonForecast(horizon=horizon, none=none)
    mine = next(one for one in learnt.horizons if one.horizon == horizon)
    none = pb.NoForecast(score=mine.score, hours=learnt.basis.hours, hours_needed=method.FEWEST_HOURS)
    if mine.used:
        none.reason = pb.NO_FORECAST_REASON_HISTORY_STOPPED
        none.detail = (
            f"of the last {RECENT} hours {FEWEST_RECENT} are to be counted, the newest too, and each hour of the week once in "
            f"{method.PROFILE_WEEKS} weeks: look at the counters"
        )
    else:
        none.reason = pb.NO_FORECAST_REASON_NOT_BETTER_THAN_NAIVE
        none.detail = (
            f"it errs {mine.score.mase:.2f}, and as in this hour a week ago errs {mine.score.naive_mase:.2f}: "
            f"it is told where it errs less than {method.GOOD_ENOUGH:g} of that"
        )
    return pb.HorizonForecast(horizon=horizon, none=none)


def _too_little(known: int, span: int) -> tuple[pb.NoForecastReason, str]:
    """Why nothing was learnt. `span`: hours from the first to the last; 0: it was not tried."""
    if span == 0 and known >= method.FEWEST_HOURS:
        return pb.NO_FORECAST_REASON_NOT_LEARNT, "its hours are learnt from within the next minutes: ask again then"
    share = f"{method.FEWEST_KNOWN:.0%}"
    detail = f"{known} hours are known, and {method.FEWEST_HOURS} in a row are needed, of which {share} were counted"
    return pb.NO_FORECAST_REASON_TOO_LITTLE_HISTORY, f"{detail}, and {share} of the newest quarter: bring in older ones"
