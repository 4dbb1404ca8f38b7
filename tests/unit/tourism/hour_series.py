"""Hours of a place as the tests of forecasts have them: a week's shape, and luck that lasts some hours."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from citybrain.services.tourism.hours import DAY, Numbers

FIRST = date(2026, 3, 2)
"""A Monday."""


def people(days: int, *, seed: int = 1, off: tuple[int, ...] = ()) -> Numbers:
    """So many days. Of an hour's luck 0.9 is there an hour later. On days `off` (their numbers) twice as many come."""
    by = np.random.default_rng(seed)
    hour = np.arange(days * DAY)
    week = 14 + 8 * np.sin((hour % DAY - 8) / DAY * 2 * np.pi) + 3 * (hour // DAY % 7 >= 5)
    luck, steps = np.zeros(len(hour)), by.normal(0, 0.7, len(hour))
    for number in range(1, len(hour)):
        luck[number] = 0.9 * luck[number - 1] + steps[number]
    found = np.square(np.maximum(week + luck, 1.0))
    for day in off:
        found[day * DAY : (day + 1) * DAY] *= 2
    rounded: Numbers = np.round(found)
    return rounded


def days(number: int, first: date = FIRST) -> list[date]:
    """So many days in a row."""
    return [first + timedelta(days=one) for one in range(number)]
