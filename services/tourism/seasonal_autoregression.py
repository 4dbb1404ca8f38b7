"""How many people are at a place in the next 24 hours, by a weekly profile, an autoregression of the rest, and days off. Pure.

- *Profile*: the mean of the roots of people in the same hour of the week, over the six weeks before, without days off.
- *Autoregression* (`AutoReg` of statsmodels: least squares, G. E. P. Box and G. M. Jenkins, *Time Series Analysis*, 1970): the
  difference from the profile follows from those 1, 2, 3, 24, 25, 48 and 168 hours before, and from flags: parts of days off and
  of made-up days of work. Roots, because the counts of a busy hour vary more than those of a quiet one. An hour that was not
  counted is taken to be as the profile has it. Hours ahead follow from hours ahead, one after the other.
- *Score*: the newest hours are kept back, a quarter of all and 28 days at most. They are forecast from each hour with what was
  learnt before. The mean absolute error is divided by that of the seasonal naive forecast ("as in this hour a week ago", 168
  hours) on the hours that were learnt from: MASE (R. J. Hyndman and A. B. Koehler, *Another look at measures of forecast
  accuracy*, 2006). That of the naive one on the same kept-back hours stands beside it. What is used is then learnt from all.
- *Interval*: between the tenth and the ninetieth percentile of the errors on the kept-back hours, for each hour ahead. How many
  lay in theirs is found on the later half of them, with the percentiles of the earlier.
- *Where the table of holidays says nothing*: no flag is set. The interval is then the wider one of that and the one without any
  flags, and half as wide again (`WIDER`, a proposal of this project).

statsmodels is imported where it is used: that takes a second and 50 MB.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from citybrain.services.tourism.holiday_table import SATURDAY, Kind

METHOD = "profile of 6 weeks and autoregression of 7 hours with days off, since 2026.1"

DAY, WEEK = 24, 168
AHEAD = 24
"""So many hours are forecast."""

PROFILE_WEEKS = 6
LAGS = (1, 2, 3, 24, 25, 48, 168)
PARTS = (0, 6, 10, 16, 20, 24)
"""The parts of a day begin and end at these hours."""

FLAGS = 3 * (len(PARTS) - 1)
"""For each part: a day off from Monday to Friday, one on a weekend, a made-up day of work."""

FEWEST_HOURS = 8 * WEEK
"""From so long a history on a place is learnt. A proposal of this project."""

FEWEST_KNOWN = 0.8
"""So much of the history was counted at least, and of the kept-back hours. A proposal of this project."""

MOST_HOURS = 365 * DAY
"""So long a history is learnt from: what is older is from other times."""

MOST_KEPT_BACK = 28 * DAY
GOOD_ENOUGH = 0.95
"""A forecast errs less than so much of what the naive one does.

Where each hour of the week went its own way by chance, which makes the naive one the best, luck made it up to 3.4 % better.
"""

WIDER = 1.5
_FITTED_FROM = 15 * DAY
"""So many hours are the past of a forecast: the longest lag twice, since statsmodels looks for it in what is left."""

WINDOW = PROFILE_WEEKS * WEEK + _FITTED_FROM
"""A forecast is made from so many hours."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of the forecast and of the naive one, on how many hours, and how much of them lay in the interval."""

    mase: float
    naive: float
    tried: int
    covered: float

    @property
    def good(self) -> bool:
        """Whether the forecast is one."""
        return self.mase < GOOD_ENOUGH * self.naive


@dataclass(frozen=True, slots=True)
class Learnt:
    """A place. `steps`: from one hour ahead on, the errors of the interval, and those without holidays, in roots of people.

    `scores`: hours ahead → how good. `kept_back`: so many of the newest hours.
    """

    coefficients: tuple[float, ...]
    steps: tuple[tuple[float, float, float, float], ...]
    scores: Mapping[int, Score]
    kept_back: int


def flags(first: date, kinds: Sequence[Kind]) -> Numbers:
    """The flags of the hours of days, from a first one on: a row an hour."""
    rows = np.zeros((len(kinds) * DAY, FLAGS))
    for number, kind in enumerate(kinds):
        weekend = (first + timedelta(days=number)).weekday() >= SATURDAY
        which = {Kind.DAY_OFF: 1 if weekend else 0, Kind.MADE_UP: 2}.get(kind)
        if which is not None:
            for part, (begin, end) in enumerate(pairwise(PARTS)):
                rows[number * DAY + begin : number * DAY + end, 3 * part + which] = 1
    return rows


def learn(people: Numbers, flags: Numbers, ahead: Sequence[int] = (1, AHEAD)) -> Learnt | None:
    """What is learnt of hours in a row, NaN where none was counted. None: they are too few. `ahead`: what is scored."""
    if len(people) < FEWEST_HOURS or np.mean(~np.isnan(people)) < FEWEST_KNOWN:
        return None
    people, flags = people[-MOST_HOURS:], flags[-MOST_HOURS:]
    kept_back = min(MOST_KEPT_BACK, len(people) // 4 // DAY * DAY)
    if np.mean(~np.isnan(people[-kept_back:])) < FEWEST_KNOWN:
        return None
    profile, until = _profile(people, flags), len(people) - kept_back
    # Of the first week there is no profile.
    differs = _differs(people, profile)[WEEK:]
    tried = _fit(differs[:-kept_back], flags[WEEK:until])
    roots = _tried(differs, profile[WEEK:], flags[WEEK:], tried, kept_back)
    blind = flags[WEEK:].copy()
    blind[-kept_back:] = 0
    without = _tried(differs, profile[WEEK:], blind, tried, kept_back) if flags[until:].any() else roots
    counted = _following(np.sqrt(people), until)
    errors, unflagged = counted - roots, counted - without
    naive = np.abs(people[WEEK:] - people[:-WEEK])
    scale = float(np.nanmean(naive[:-kept_back]))
    scores = {
        hours: _score(roots[:, hours - 1], people[until:], naive[-kept_back:], errors[:, hours - 1], hours, scale or 1.0)
        for hours in ahead
    }
    steps = []
    for step in range(AHEAD):
        lower, upper = _interval(errors[:, step])
        low, high = _interval(unflagged[:, step])
        steps.append((lower, upper, WIDER * min(lower, low, 0.0), WIDER * max(upper, high, 0.0)))
    return Learnt(tuple(map(float, _fit(differs, flags[WEEK:]))), tuple(steps), scores, kept_back)


def forecast(
    coefficients: Sequence[float],
    steps: Sequence[tuple[float, float, float, float]],
    people: Numbers,
    flags: Numbers,
    unknown: Sequence[bool],
) -> list[tuple[int, int, int]] | None:
    """The people of the next 24 hours, and how few and how many there may be. None: an hour of the week was never counted.

    `people`: the newest `WINDOW` hours. `flags`: theirs, and those of the 24. `unknown`: of which of these nobody knows them.
    """
    profile = _profile(np.concatenate([people, np.full(AHEAD, np.nan)]), flags)
    if np.isnan(profile[-AHEAD:]).any():
        return None
    past = slice(len(people) - _FITTED_FROM, len(people))
    model = _model(_differs(people, profile[: len(people)])[past], flags[past])
    ahead = model.predict(
        np.array(coefficients), start=_FITTED_FROM, end=_FITTED_FROM + AHEAD - 1, exog_oos=flags[len(people) :]
    )
    roots = np.asarray(ahead) + profile[-AHEAD:]
    found = []
    for root, (lower, upper, low, high), blind in zip(roots, steps, unknown, strict=True):
        here = _people(root)
        # The errors of the kept-back hours may all be on one side.
        at_least, at_most = _people(root + (low if blind else lower)), _people(root + (high if blind else upper))
        found.append((round(here), round(min(here, at_least)), round(max(here, at_most))))
    return found


def _profile(people: Numbers, flags: Numbers) -> Numbers:
    """The mean root of the same hour in the weeks before, without days off and made-up days; NaN where there is none."""
    roots = np.where(flags.any(axis=1), np.nan, np.sqrt(people))
    weeks = np.full((PROFILE_WEEKS, len(people)), np.nan)
    for week in range(1, PROFILE_WEEKS + 1):
        weeks[week - 1, WEEK * week :] = roots[: -WEEK * week]
    known = ~np.isnan(weeks)
    counts = known.sum(axis=0)
    sums = np.where(known, weeks, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _differs(people: Numbers, profile: Numbers) -> Numbers:
    """How far the roots are from the profile; 0 where one of them is not known."""
    found: Numbers = np.nan_to_num(np.sqrt(people) - profile, nan=0.0)
    return found


def _model(differs: Numbers, flags: Numbers) -> Any:
    from statsmodels.tsa.ar_model import AutoReg

    return AutoReg(differs, lags=list(LAGS), trend="c", exog=flags)


def _fit(differs: Numbers, flags: Numbers) -> Numbers:
    """Constant, lags, flags. A flag that never was has no effect."""
    used = flags.any(axis=0)
    with warnings.catch_warnings():
        # Where the same people come every hour, nothing differs, and any coefficients do.
        warnings.simplefilter("ignore")
        fitted = _model(differs, flags[:, used]).fit() if used.any() else _fit_plain(differs)
    found = np.zeros(1 + len(LAGS) + FLAGS)
    found[: 1 + len(LAGS)] = fitted.params[: 1 + len(LAGS)]
    found[1 + len(LAGS) :][used] = fitted.params[1 + len(LAGS) :]
    return found


def _fit_plain(differs: Numbers) -> Any:
    from statsmodels.tsa.ar_model import AutoReg

    return AutoReg(differs, lags=list(LAGS), trend="c").fit()


def _tried(differs: Numbers, profile: Numbers, flags: Numbers, coefficients: Numbers, kept_back: int) -> Numbers:
    """The roots of people that are forecast of kept-back hours: a row the hour from which on, a column an hour ahead."""
    model, first = _model(differs, flags), len(differs) - kept_back
    ahead = np.full((kept_back, AHEAD), np.nan)
    for origin in range(kept_back):
        begin, end = first + origin, min(first + origin + AHEAD, len(differs)) - 1
        ahead[origin, : end - begin + 1] = model.predict(coefficients, start=begin, end=end, dynamic=0)
    found: Numbers = ahead + _following(profile, first)
    return found


def _following(values: Numbers, first: int) -> Numbers:
    """For each hour from a first one on: it, and those that follow it; NaN after the last."""
    padded = np.concatenate([values[first:], np.full(AHEAD - 1, np.nan)])
    found: Numbers = np.lib.stride_tricks.sliding_window_view(padded, AHEAD)
    return found


def _score(roots: Numbers, people: Numbers, naive: Numbers, errors: Numbers, hours: int, scale: float) -> Score:
    """How good the forecast of hours so far ahead was, beside the naive one on the same hours."""
    last = len(people) - hours + 1
    wrong = np.abs(np.square(np.maximum(roots[:last], 0.0)) - people[hours - 1 :])
    known = ~np.isnan(wrong) & ~np.isnan(naive[hours - 1 :])
    lower, upper = _interval(errors[: last // 2])
    later = errors[last // 2 : last]
    later = later[~np.isnan(later)]
    covered = float(np.mean((lower <= later) & (later <= upper))) if len(later) else 0.0
    mase, missed = (float(one[known].mean()) / scale if known.any() else 0.0 for one in (wrong, naive[hours - 1 :]))
    return Score(mase, missed, int(known.sum()), covered)


def _interval(errors: Numbers) -> tuple[float, float]:
    """Between which eight of ten errors lie."""
    known = errors[~np.isnan(errors)]
    if not len(known):
        return 0.0, 0.0
    lower, upper = np.quantile(known, (0.1, 0.9))
    return float(lower), float(upper)


def _people(root: float) -> float:
    """People are the square of their root, and never fewer than 0."""
    return float(max(root, 0.0) ** 2)
