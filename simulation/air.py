"""The air over an industrial park: hours that stations of a real city measured, and one source that the city does not know of.

Places are metres east and north of the middle of the park. A second is one of the day. Concentrations are µg/m³. The hours and
where they are from are in `air_hours`. What the source adds is a Gaussian plume in unstable air (Pasquill's class B, with the
formulas of the US EPA's model ISC3 for open country), written here anew: what checks a city shares no code with it.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HOURS = Path(__file__).with_name("air_hours") / "hours.csv"
STEP_S = 300
"""How often a sensor of the park measures; its value is a mean over as long."""
POLLUTANTS = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3")
_COMPASS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")
# Of one five minutes to the next the wind turns by about so much, in degrees, and a vane shows it so wrongly.
_TURNS_DEG = 12.0
_VANE_DEG = 3.0
_GUSTS = 0.1
_SENSOR_NOISE = 0.05
_SENSOR_FLOOR = 2.0
# Where its range ends.
_SENSOR_TOP = 10_000.0
# A sensor of the park stands in air that differs so much from what the stations measured.
_NEIGHBOURHOOD = 0.1


@dataclass(frozen=True, slots=True)
class Place:
    """A place in metres east and north of the middle of the park."""

    east_m: float
    north_m: float

    def to(self, other: Place) -> float:
        """The distance in metres."""
        return math.hypot(other.east_m - self.east_m, other.north_m - self.north_m)


@dataclass(frozen=True, slots=True)
class Release:
    """What somebody lets out, at a place and a height (m), as g/s of SO2, from a second to another."""

    place: Place
    height_m: float
    rate_g_s: float
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Hour:
    """What a station measured in an hour; None: nothing. `from_deg`: where the wind came from, clockwise from north."""

    values: dict[str, float | None]
    from_deg: float | None
    speed_m_s: float | None


@dataclass(frozen=True, slots=True)
class Wind:
    """The wind of five minutes."""

    from_deg: float
    speed_m_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What a sensor showed at the end of five minutes (SO2), and the wind of its vane; `end_s`: their last second."""

    sensor: str
    end_s: int
    so2: float
    wind: Wind


@dataclass(slots=True)
class Park:
    """A day over the park. `day`: of the hours, as 2017-02-17. `release`: None on a day on which nothing is wrong."""

    day: str
    sensors: dict[str, Place]
    seed: int
    release: Release | None = None
    hours: dict[str, list[Hour]] = field(default_factory=dict)
    """By station, hour 0 to 23."""

    def __post_init__(self) -> None:
        self.hours = read_hours(self.day)

    def steps(self, begin_s: int, end_s: int) -> Iterator[list[Measured]]:
        """What all sensors measured, five minutes after five minutes, from one second of the day to another."""
        by = random.Random(f"air-{self.seed}")
        local = {name: by.gauss(1, _NEIGHBOURHOOD) for name in self.sensors}
        for end in range(begin_s + STEP_S, end_s + 1, STEP_S):
            steady = self.wind(end - STEP_S / 2)
            speed = max(0.5, steady.speed_m_s * by.gauss(1, _GUSTS))
            wind = Wind((steady.from_deg + by.gauss(0, _TURNS_DEG)) % 360, speed)
            found = []
            for name, place in self.sensors.items():
                there = self.background(end - STEP_S / 2) * local[name] + self.added(place, end - STEP_S / 2, wind)
                shown = min(_SENSOR_TOP, max(0.0, there * by.gauss(1, _SENSOR_NOISE) + by.gauss(0, _SENSOR_FLOOR)))
                vane = Wind((wind.from_deg + by.gauss(0, _VANE_DEG)) % 360, wind.speed_m_s * by.gauss(1, _SENSOR_NOISE))
                found.append(Measured(name, end, float(round(shown)), Wind(round(vane.from_deg, 1), round(vane.speed_m_s, 2))))
            yield found

    def background(self, second: float) -> float:
        """SO2 without the source: the mean of the stations, between two hours in a straight line."""
        return _between(second, [_mean(hour.values["SO2"] for hour in row) for row in zip(*self.hours.values(), strict=True)])

    def added(self, place: Place, second: float, wind: Wind) -> float:
        """What the source adds at a place on the ground."""
        release = self.release
        if release is None or not release.begin_s <= second < release.end_s:
            return 0.0
        return 1e6 * release.rate_g_s * spread(release.place, place, release.height_m, wind)

    def wind(self, second: float) -> Wind:
        """The wind as the stations measured it, without its turning from one five minutes to the next."""
        rows = list(zip(*self.hours.values(), strict=True))
        to_east = _between(second, [_mean(_east(hour) for hour in row) for row in rows])
        to_north = _between(second, [_mean(_north(hour) for hour in row) for row in rows])
        return Wind(math.degrees(math.atan2(to_east, to_north)) % 360, max(0.5, math.hypot(to_east, to_north)))


def spread(source: Place, place: Place, height_m: float, wind: Wind) -> float:
    """Seconds per cubic metre: what one g/s at `source` gives on the ground at `place`, in g/m³, in a steady wind."""
    towards = math.radians(wind.from_deg + 180)
    east, north = place.east_m - source.east_m, place.north_m - source.north_m
    along = (east * math.sin(towards) + north * math.cos(towards)) / 1000
    across_m = east * math.cos(towards) - north * math.sin(towards)
    if along <= 0.01:
        return 0.0
    wide = 465.11628 * along * math.tan(math.radians(18.3330 - 1.8096 * math.log(along)))
    factor, power = next((a, b) for up_to, a, b in _HIGH if along <= up_to)
    high: float = factor * along**power
    ground = math.exp(-0.5 * (across_m / wide) ** 2 - 0.5 * (height_m / high) ** 2)
    return ground / (math.pi * wind.speed_m_s * wide * high)


_HIGH = ((0.2, 90.673, 0.93198), (0.4, 98.483, 0.98332), (math.inf, 109.300, 1.09710))


def read_hours(day: str) -> dict[str, list[Hour]]:
    """The hours of a day by station. KeyError: there is no such day."""
    found: dict[str, list[Hour]] = {}
    with HOURS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}" == day:
                values = {name: _number(row[name]) for name in POLLUTANTS}
                found.setdefault(row["station"], []).append(Hour(values, _direction(row["wd"]), _number(row["WSPM"])))
    if not found:
        raise KeyError(day)
    return found


def days() -> list[str]:
    """The days of which there are hours."""
    with HOURS.open(encoding="utf-8", newline="") as file:
        return sorted({f"{r['year']}-{int(r['month']):02}-{int(r['day']):02}" for r in csv.DictReader(file)})


def _number(text: str) -> float | None:
    return None if text == "NA" else float(text)


def _direction(text: str) -> float | None:
    return None if text == "NA" else _COMPASS.index(text) * 22.5


def _east(hour: Hour) -> float | None:
    """The part of the wind that comes from the east, in m/s."""
    if hour.from_deg is None or hour.speed_m_s is None:
        return None
    return hour.speed_m_s * math.sin(math.radians(hour.from_deg))


def _north(hour: Hour) -> float | None:
    if hour.from_deg is None or hour.speed_m_s is None:
        return None
    return hour.speed_m_s * math.cos(math.radians(hour.from_deg))


def _mean(values: Iterable[float | None]) -> float:
    there = [value for value in values if value is not None]
    return sum(there) / len(there)


def _between(second: float, hourly: list[float]) -> float:
    """The value at a second of a day of which each hour's mean stands at its middle."""
    at = min(max(second / 3600 - 0.5, 0.0), len(hourly) - 1.0)
    low = int(at)
    high = min(low + 1, len(hourly) - 1)
    return hourly[low] + (hourly[high] - hourly[low]) * (at - low)
