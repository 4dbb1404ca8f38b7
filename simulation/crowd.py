"""People at six sites of a lake: hours that a real city centre counted, and a surge that the city does not know of.

The hours and where they are from are in `crowd_hours`: of each place they say how many people passed in an hour. Here a sensor
stands for a site, and each of them for `VISITORS` visitors who come in that hour and stay as long as visitors stay there on
average. A minute is one of the day. What checks a city shares no code with it.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

HOURS = Path(__file__).with_name("crowd_hours") / "hours.csv"
VISITORS = 6.0
"""Each person who passed in Auckland stands for so many visitors. A site of the lake is larger than a pavement."""
FULLEST = 0.62
"""The fullest of all ordinary hours takes so much of what a site holds."""
NARROW, NARROW_M2 = 0.25, 0.096
"""So many of those at a site are in its narrow part, which has so many square metres for each person that the site holds."""
LAWN_M2 = 5.0
CLOSE, VERY_CLOSE = 0.38, 0.95
"""So many of those at a site a surge draws into its narrow part: slowly, or all at once in the middle of it."""
# How people take what they are told. Nobody has measured it: assumptions of this story.
GO_ELSEWHERE, DO_NOT_BOOK = 0.2, 0.25
DISPERSED, LOOSENED = 0.2, 0.28
"""Where people are led apart so many of them are in the narrow part, and so many afterwards."""
_SLOWLY, _AT_ONCE = 0.15, 0.35


@dataclass(frozen=True, slots=True)
class Site:
    """A site of the lake. `sensor`: whose counts are played here; `stay`: minutes of a visit; `at`: longitude and latitude."""

    site_id: str
    name: str
    english: str
    sensor: str
    stay: float
    at: tuple[float, float]


SITES = (
    Site("duanqiao", "断桥残雪", "Broken Bridge", "30 Queen Street", 45, (120.1513, 30.2602)),
    Site("suti", "苏堤春晓", "Su Causeway", "210 Queen Street", 60, (120.1369, 30.2437)),
    Site("leifeng", "雷峰夕照", "Leifeng Pagoda", "107 Quay Street", 75, (120.1486, 30.2313)),
    Site("huagang", "花港观鱼", "Huagang", "183 K Road", 60, (120.1409, 30.2319)),
    Site("quyuan", "曲院风荷", "Quyuan", "7 Custom Street East", 50, (120.1336, 30.2520)),
    Site("lingyin", "灵隐禅踪", "Lingyin", "Te Ara Tahuhu Walkway", 90, (120.1014, 30.2408)),
)
"""West Lake, with positions that are about right. The counts are Auckland's."""


class Hour(NamedTuple):
    """An hour of a day."""

    day: date
    hour: int


def counted() -> dict[str, dict[Hour, int]]:
    """Sensor → hour → how many people passed."""
    found: dict[str, dict[Hour, int]] = {site.sensor: {} for site in SITES}
    with HOURS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            when = Hour(date.fromisoformat(row["day"]), int(row["hour"]))
            for sensor, hours in found.items():
                hours[when] = int(row[sensor])
    return found


def usually(site: Site, passed: float) -> float:
    """How many visitors are at a site at once in an hour in which so many people passed its sensor."""
    return passed * VISITORS * site.stay / 60


def capacities(hours: Mapping[str, Mapping[Hour, int]]) -> dict[str, int]:
    """Site → how many people it holds: so many that its fullest ordinary hour takes `FULLEST` of it, in hundreds."""
    return {
        site.site_id: round(usually(site, max(hours[site.sensor].values())) / FULLEST / 100) * 100 for site in SITES
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Surge:
    """More people come than ever: from a minute of the day to another, at most so many a minute, in the middle of it.

    `close`: which part of those at the site the surge draws into its narrow part.
    """

    site_id: str
    begin: int
    end: int
    most: float
    close: float

    def at(self, minute: int) -> float:
        """How many more come in a minute."""
        if not self.begin <= minute < self.end:
            return 0.0
        middle = (self.begin + self.end) / 2
        return self.most * (1 - abs(minute + 0.5 - middle) / (middle - self.begin))

    def draws(self, minute: int) -> bool:
        """Whether it draws people into the narrow part: from its beginning on, or from its middle where that is all at once."""
        begin = (self.begin + self.end) // 2 if self.close == VERY_CLOSE else self.begin
        return begin <= minute < self.end + 20


@dataclass(slots=True)
class Told:
    """What visitors of a site are told, and what its gate does."""

    elsewhere: tuple[str, ...] = ()
    booking_paused: bool = False
    entry_stopped: bool = False
    disperses: bool = False


@dataclass(slots=True)
class There:
    """Who is at a site. `narrow`: how many of them in its narrow part."""

    people: float = 0.0
    narrow: float = 0.0
    came: float = 0.0
    let_in: float = 0.0
    turned_away: float = 0.0


@dataclass(slots=True)
class Lake:
    """A day. `hours`: sensor → people who passed in each of its hours; `surge`: what is hidden; None: nothing is."""

    seed: int
    hours: Mapping[str, tuple[int, ...]]
    surge: Surge | None = None
    there: dict[str, There] = field(default_factory=dict)
    loosened: set[str] = field(default_factory=set)
    """Where people were led apart before."""

    def begin(self, minute: int) -> None:
        """The day begins in a minute, with those at each site who usually are then."""
        for site in SITES:
            people = usually(site, self._passing(site, minute))
            self.there[site.site_id] = There(people, people * NARROW)

    def pass_minute(self, minute: int, told: Mapping[str, Told]) -> None:
        """A minute of the day passes. `told`: of each site."""
        # The same in each run of a seed, whatever was told: the same people set out.
        by = random.Random(f"lake-{self.seed}-{minute}")
        sets_out = {site.site_id: self._sets_out(site, minute, by.uniform(0.92, 1.08)) for site in SITES}
        moved = {site.site_id: 0.0 for site in SITES}
        for key, said in told.items():
            if said.elsewhere:
                go = GO_ELSEWHERE * sets_out[key]
                sets_out[key] -= go
                for other in said.elsewhere:
                    moved[other] += go / len(said.elsewhere)
        for site in SITES:
            key, said, now = site.site_id, told.get(site.site_id, Told()), self.there[site.site_id]
            came = (sets_out[key] + moved[key]) * (1 - DO_NOT_BOOK * said.booking_paused)
            let_in = 0.0 if said.entry_stopped else came
            now.came, now.let_in, now.turned_away = came, let_in, came - let_in
            now.people += let_in - now.people / site.stay
            drawn = self._drawn(key, minute, said)
            fast = _AT_ONCE if drawn == VERY_CLOSE or said.disperses else _SLOWLY
            now.narrow += (drawn * now.people - now.narrow) * fast
            if said.disperses:
                self.loosened.add(key)

    def _sets_out(self, site: Site, minute: int, noise: float) -> float:
        extra = self.surge.at(minute) if self.surge is not None and self.surge.site_id == site.site_id else 0.0
        return self._passing(site, minute) * VISITORS / 60 * noise + extra

    def _passing(self, site: Site, minute: int) -> float:
        """People who pass an hour, between the middles of two hours as a straight line between them."""
        hours = self.hours[site.sensor]
        before, part = divmod(minute - 30, 60)
        first, second = hours[max(0, before)], hours[min(23, before + 1)]
        return first + (second - first) * part / 60

    def _drawn(self, site_id: str, minute: int, told: Told) -> float:
        """Which part of those at a site is drawn into its narrow part."""
        if told.disperses:
            return DISPERSED
        surge = self.surge
        if surge is None or surge.site_id != site_id or not surge.draws(minute):
            return NARROW
        return LOOSENED if site_id in self.loosened else surge.close


def without_anybody(lake: Lake, site_id: str, begin: int, end: int) -> list[float]:
    """How many people would be at a site in each minute if nobody was told anything."""
    alone = replace(lake, there={}, loosened=set())
    alone.begin(begin)
    found = []
    for minute in range(begin, end):
        found.append(alone.there[site_id].people)
        alone.pass_minute(minute, {})
    return found


def counts(there: There) -> tuple[int, int]:
    """What the counters of the narrow part and of the rest see."""
    narrow = round(there.narrow)
    return narrow, max(0, round(there.people) - narrow)
