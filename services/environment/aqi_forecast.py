"""The air quality index of the day after the last whole one, and whether such a forecast is worth anything. Pure.

Least squares on four numbers: the index of the last day, that of the day before, the mean of the hourly index over the last
six hours and over the last twelve. It is tried on past days: each is forecast from those before it alone, and the error is
divided by that of "tomorrow is as today" on the same days (MASE, Hyndman and Koehler, 2006). Only a forecast that was better
than that is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METHOD = "least squares on the last two days and the last 6 and 12 hours, since 2026.1"

FEWEST_DAYS = 20
"""So many days are learned from at least."""

FEWEST_TRIED = 14
"""A forecast is tried on so many past days at least."""

MOST_TRIED = 30

GOOD_ENOUGH = 0.9
"""A forecast errs less than so much of what "tomorrow is as today" errs.

On days of chance four numbers were up to 6 % better by luck.
"""

FIRST_HOUR = 12
"""What was measured from this hour of the last day on is used."""

_LEAST = 4
"""Of the last 6 hours so many must be there; of the last 12 twice as many."""


@dataclass(frozen=True, slots=True)
class Day:
    """A day: its index, and that of its hours by their number. None: it was not computed, or is incomplete."""

    index: int | None
    hours: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Forecast:
    """The index that is to come, its error beside that of "tomorrow is as today", and on how many days it was tried."""

    index: int
    mase: float
    tried: int


def forecast(days: Sequence[Day]) -> Forecast | None:
    """The index of the day after the last one (oldest first). None: too little is known, or it would be no better."""
    known = [(_features(days, n), days[n + 1].index) for n in range(1, len(days) - 1)]
    pairs = [(features, float(index)) for features, index in known if features is not None and index is not None]
    now = _features(days, len(days) - 1) if len(days) > 1 else None
    if now is None or len(pairs) < FEWEST_DAYS + FEWEST_TRIED:
        return None
    tried = range(max(FEWEST_DAYS, len(pairs) - MOST_TRIED), len(pairs))
    errors = [abs(_predicted(pairs[:n], pairs[n][0]) - pairs[n][1]) for n in tried]
    # The first number is the index of the day before: as today, so tomorrow.
    as_today = [abs(pairs[n][0][0] - pairs[n][1]) for n in tried]
    if sum(as_today) == 0:
        return None
    mase = sum(errors) / sum(as_today)
    if mase >= GOOD_ENOUGH:
        return None
    return Forecast(round(min(500.0, max(0.0, _predicted(pairs, now)))), round(mase, 4), len(errors))


def _features(days: Sequence[Day], n: int) -> tuple[float, ...] | None:
    """What a forecast of day n + 1 is made of."""
    last, before = days[n], days[n - 1]
    evening = [last.hours[hour] for hour in range(18, 24) if hour in last.hours]
    half = [last.hours[hour] for hour in range(FIRST_HOUR, 24) if hour in last.hours]
    if last.index is None or before.index is None or len(evening) < _LEAST or len(half) < 2 * _LEAST:
        return None
    return float(last.index), float(before.index), float(np.mean(evening)), float(np.mean(half))


def _predicted(pairs: Sequence[tuple[tuple[float, ...], float]], features: tuple[float, ...]) -> float:
    matrix: NDArray[np.float64] = np.array([(1.0, *one) for one, _ in pairs])
    answers, *_ = np.linalg.lstsq(matrix, np.array([index for _, index in pairs]), rcond=None)
    return float(np.array((1.0, *features)) @ answers)
