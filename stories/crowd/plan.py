"""What is played: a day at a lake, and a surge that nobody has told the city of. All follows from the seed.

Of four seeds one has a show that took place in each of the weeks before, too: then the city can know of it from its history.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from citybrain.simulation import crowd
from citybrain.simulation.crowd import SITES, Hour, Lake, Site, Surge

FIRST, LAST = date(2024, 4, 15), date(2024, 5, 26)
"""The days that may be played: each has ten weeks before it."""
EARLIEST, LATEST = 11 * 60, 16 * 60
"""A surge begins between these minutes of the day."""
BEFORE, AFTER = 25, 150
"""So many minutes are played before the surge, and after it."""
LEARNT = 6
"""So many minutes the city has to learn from the hours before."""
_SMALLEST, _LARGEST = 1.12, 1.5
_VERY_CLOSE = 3
_SHOWS, _SHOW = 4, 2
# In the weeks before so much of today's surge came to the show.
_BEFORE = (0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """A day. `day`: that of the data. `begin`, `end`: the minutes that are played. `would_be`: of what the site holds, how
    much it would be at most if nobody was told anything; 0: nothing is hidden. `shows`: the surge is a show of every week.

    `history`: site → hour → how many people were there at once.
    """

    seed: int
    day: date
    history: Mapping[str, Mapping[Hour, int]]
    capacities: Mapping[str, int]
    lake: Lake
    begin: int
    end: int
    would_be: float
    shows: bool = False

    @property
    def site(self) -> Site:
        """Where the surge is."""
        assert self.lake.surge is not None
        return next(one for one in SITES if one.site_id == self.lake.surge.site_id)


def made(seed: int, *, quiet: bool = False) -> Plan:
    """The day of a seed; with `quiet` the same day without the surge."""
    by = random.Random(f"crowd-{seed}")
    hours = crowd.counted()
    capacities = crowd.capacities(hours)
    day = FIRST + timedelta(days=by.randrange((LAST - FIRST).days + 1))
    passed = {sensor: tuple(known[Hour(day, hour)] for hour in range(24)) for sensor, known in hours.items()}
    site = by.choice(SITES)
    begin = by.randrange(EARLIEST, LATEST)
    lasts = by.randrange(50, 100)
    would_be = by.uniform(_SMALLEST, _LARGEST)
    close = crowd.VERY_CLOSE if seed % _VERY_CLOSE == 0 else crowd.CLOSE
    # Soon after a whole hour, so that all hours before are known.
    first, last = (begin - BEFORE) // 60 * 60 + LEARNT, begin + lasts + AFTER
    lake = Lake(seed, passed)
    history = {
        one.site_id: {when: round(crowd.usually(one, people)) for when, people in hours[one.sensor].items()} for one in SITES
    }
    if quiet:
        return Plan(seed, day, history, capacities, lake, first, last, 0.0)
    low, high = 0.0, capacities[site.site_id] * would_be
    # So large that without anybody's doing the site would be as full as that.
    for _ in range(40):
        lake.surge = Surge(site.site_id, begin, begin + lasts, (low + high) / 2, close)
        if max(crowd.without_anybody(lake, site.site_id, first, last)) < would_be * capacities[site.site_id]:
            low = lake.surge.most
        else:
            high = lake.surge.most
    shows = seed % _SHOWS == _SHOW
    if shows:
        more = _more(lake, site.site_id)
        for week in range(1, (day - min(when.day for when in history[site.site_id])).days // 7 + 1):
            came = by.uniform(*_BEFORE)
            for hour, people in more.items():
                history[site.site_id][Hour(day - timedelta(weeks=week), hour)] += round(came * people)
    return Plan(seed, day, history, capacities, lake, first, last, would_be, shows)


def _more(lake: Lake, site_id: str) -> dict[int, float]:
    """Hour of the day → how many more people the surge brings at once."""
    usual = replace(lake, surge=None)
    with_it, without = (crowd.without_anybody(one, site_id, 0, 24 * 60) for one in (lake, usual))
    more = [there - usually for there, usually in zip(with_it, without, strict=True)]
    return {hour: max(more[60 * hour : 60 * hour + 60]) for hour in range(24)}
