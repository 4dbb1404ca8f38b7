"""The air quality index (AQI) by HJ 633-2012, of an hour and of a day. Pure.

Concentrations are in µg/m³, carbon monoxide in mg/m³. The index of a pollutant is linear between the breakpoints of its table
and rounded up to a whole number; a value at a breakpoint belongs to both sides, which give the same. The AQI is the highest of
them. Primary are the pollutants with that index, if it is above 50. A level includes its upper bound: 50 is excellent, 51 is
good.

What the standard leaves to whoever applies it, and how it is done here:

- The hour's index is of the means of that hour alone. PM2.5 and PM10 have no table of their own for an hour: that of 24 hours
  is taken, as the published hourly index of the country does.
- Of sulphur dioxide the table of an hour ends at 800 µg/m³. Above it the standard takes the mean of 24 hours. Its table has
  the same index, 200, at the same 800 µg/m³; from there on that table is applied to the mean of the hour, so that a cloud does
  not lower the index.
- Of ozone the table of 8 hours ends at 800 µg/m³. Above it the highest mean of an hour counts, by the table of an hour, as the
  standard says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

STANDARD = "HJ 633-2012"

POLLUTANTS = ("PM2_5", "PM10", "SO2", "NO2", "CO", "O3")

LEVELS = (0, 50, 100, 150, 200, 300, 400, 500)
"""The indices at the breakpoints."""

DAY: Mapping[str, tuple[int, ...]] = {
    "PM2_5": (0, 35, 75, 115, 150, 250, 350, 500),
    "PM10": (0, 50, 150, 250, 350, 420, 500, 600),
    "SO2": (0, 50, 150, 475, 800, 1600, 2100, 2620),
    "NO2": (0, 40, 80, 180, 280, 565, 750, 940),
    "CO": (0, 2, 4, 14, 24, 36, 48, 60),
    "O3": (0, 100, 160, 215, 265, 800),
}
"""Table 1 of the standard: means of 24 hours; of ozone the highest mean of 8 hours."""

HOUR: Mapping[str, tuple[int, ...]] = {
    "PM2_5": DAY["PM2_5"],
    "PM10": DAY["PM10"],
    "SO2": (0, 150, 500, 650, 800),
    "NO2": (0, 100, 200, 700, 1200, 2340, 3090, 3840),
    "CO": (0, 5, 10, 35, 60, 90, 120, 150),
    "O3": (0, 160, 200, 300, 400, 800, 1000, 1200),
}
"""Table 1 of the standard: means of an hour."""

_CATEGORIES = (50, 100, 150, 200, 300)


@dataclass(frozen=True, slots=True)
class PartIndex:
    """The index of one pollutant. `beyond`: the value is above the last breakpoint, and the index is 500."""

    value: float
    index: int
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """The AQI. `missing`: pollutants without a value; then it may be too low. `category`: 1 (excellent) to 6 (severe)."""

    index: int
    category: int
    primary: tuple[str, ...]
    missing: tuple[str, ...]
    beyond: bool


def of_hour(pollutant: str, mean: float) -> PartIndex:
    """The index of a pollutant's mean of an hour."""
    if pollutant == "SO2" and mean > HOUR["SO2"][-1]:
        return _interpolated(DAY["SO2"], mean)
    return _interpolated(HOUR[pollutant], mean)


def of_day(pollutant: str, mean: float, highest_hour: float | None = None) -> PartIndex:
    """The index of a mean of 24 hours; of ozone that of its highest mean of 8 hours.

    `highest_hour`: of ozone, its highest hour.
    """
    if pollutant == "O3" and mean > DAY["O3"][-1]:
        return _interpolated(HOUR["O3"], mean if highest_hour is None else highest_hour)
    return _interpolated(DAY[pollutant], mean)


def combined(parts: Mapping[str, PartIndex]) -> Index | None:
    """The AQI of what was measured; None: nothing was."""
    if not parts:
        return None
    highest = max(part.index for part in parts.values())
    primary = tuple(name for name in POLLUTANTS if highest > 50 and name in parts and parts[name].index == highest)
    missing = tuple(name for name in POLLUTANTS if name not in parts)
    return Index(highest, category(highest), primary, missing, any(part.beyond for part in parts.values()))


def category(index: int) -> int:
    """The level of an index, 1 (excellent) to 6 (severe). The upper bound belongs to the level."""
    return 1 + sum(index > bound for bound in _CATEGORIES)


def highest_of_8_hours(hours: Sequence[float | None]) -> tuple[float, int] | None:
    """The highest mean of 8 hours of a day, and how many of its hours were measured. `hours`: the 24 means, None where missing.

    GB 3095-2012, table 4, and HJ 663-2013: means of 8 hours end at 8 to 24 o'clock; each needs 6 of its 8 hours, the day 14
    such means. With fewer the highest one counts only where it is above the limit of 160 µg/m³: it can only be higher.
    """
    means = []
    for end in range(8, 25):
        known = [one for one in hours[end - 8 : end] if one is not None]
        if len(known) >= 6:
            means.append((round(math.fsum(known) / len(known), 4), len(known)))
    highest = max(means, default=None)
    return highest if highest is not None and (len(means) >= 14 or highest[0] > 160) else None


def mean_of_24_hours(hours: Sequence[float | None]) -> tuple[float, int] | None:
    """The mean of a day, and how many hours it is of. GB 3095-2012, table 4: at least 20 hours; with fewer there is none."""
    known = [one for one in hours if one is not None]
    return (round(math.fsum(known) / len(known), 4), len(known)) if len(known) >= 20 else None


def _interpolated(table: tuple[int, ...], value: float) -> PartIndex:
    if value > table[-1]:
        # Tables that end early go on in another one before this is asked.
        return PartIndex(value, LEVELS[-1], beyond=True)
    # In fractions of the decimal number that was measured: a float a hair above a whole number would be rounded up by one.
    exact = Fraction(repr(float(value)))
    upper = next(n for n in range(1, len(table)) if value <= table[n])
    low, high = table[upper - 1], table[upper]
    between = Fraction(LEVELS[upper] - LEVELS[upper - 1], high - low) * (exact - low) + LEVELS[upper - 1]
    return PartIndex(value, math.ceil(between))
