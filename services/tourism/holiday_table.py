"""Which days people have off: the calendar of the package `holidays` (MIT), and where it ends. Pure.

In China the State Council (国务院办公厅) arranges the holidays of each year anew, and moves days off and days of work (调休).
The package has those arrangements up to a year. Of later years it computes the feasts alone, and people have others off. Of
these nothing is said: `kind` gives `UNKNOWN`, and never an error.

A weekend day between two days of holiday belongs to the holiday.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from functools import cache
from importlib.metadata import version
from typing import Any

SATURDAY = 5


class Kind(Enum):
    """What a day is."""

    ORDINARY = "ordinary"
    DAY_OFF = "day off"
    """A holiday, or a weekend day between two of them."""
    MADE_UP = "made-up day of work"
    """A weekend day on which people work for a day that they have off (调休上班)."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Table:
    """The days off of a country, or of a part of it."""

    country: str = "CN"
    part: str = ""

    @property
    def name(self) -> str:
        """Which table it is, with its version."""
        return f"holidays {version('holidays')}, {'-'.join(filter(None, (self.country, self.part)))}"

    @property
    def until(self) -> date:
        """The last day of which it says something."""
        return _until(self.country)

    def kind(self, day: date) -> Kind:
        """What a day is."""
        # A day before the first of January may be a day of work for one after it: it is known with that year's arrangement.
        if day > self.until:
            return Kind.UNKNOWN
        table = _year(self.country, self.part, day.year)
        if day in table or _is_between(day, self.country, self.part):
            return Kind.DAY_OFF
        return Kind.MADE_UP if day in table.weekend_workdays else Kind.ORDINARY


def _is_between(day: date, country: str, part: str) -> bool:
    """Whether it is a weekend day that lies between two holidays."""
    if day.weekday() < SATURDAY:
        return False
    saturday = day - timedelta(days=day.weekday() - SATURDAY)
    around = (saturday - timedelta(days=1), saturday + timedelta(days=2))
    return all(one in _year(country, part, one.year) for one in around)


@cache
def _year(country: str, part: str, year: int) -> Any:
    """The table of a year. Importing the package costs 10 MB, so it is done here."""
    import holidays

    return holidays.country_holidays(country, subdiv=part or None, years=[year])


@cache
def _until(country: str) -> date:
    """The end of the last year of which the days off are known."""
    import holidays

    if country != "CN":
        return date(holidays.country_holidays(country).end_year, 12, 31)
    from holidays.countries.china import ChinaStaticHolidays

    return date(max(ChinaStaticHolidays.special_public_holidays), 12, 31)
