"""Days off: those of China, of another country, and what is said of days after the table ends."""

from __future__ import annotations

from datetime import date, timedelta
from importlib.metadata import version

import holidays
from holidays.countries.china import ChinaStaticHolidays

from citybrain.services.tourism.holiday_table import Kind, Table

CHINA = Table("CN")


def kinds(first: str, last: str, table: Table = CHINA) -> list[Kind]:
    day, found = date.fromisoformat(first), []
    while day <= date.fromisoformat(last):
        found.append(table.kind(day))
        day += timedelta(days=1)
    return found


def test_the_national_days_of_2026_are_seven_days_off_with_the_sunday_between_them() -> None:
    # Before and after: a Sunday and a Saturday on which people work for the sixth and the seventh.
    assert kinds("2026-10-01", "2026-10-07") == [Kind.DAY_OFF] * 7
    assert kinds("2026-09-20", "2026-09-20") == kinds("2026-10-10", "2026-10-10") == [Kind.MADE_UP]
    assert kinds("2026-10-08", "2026-10-09") == [Kind.ORDINARY] * 2


def test_a_weekend_beside_a_holiday_is_an_ordinary_one() -> None:
    # 2026-06-19 (dragon boats) is a Friday.
    assert kinds("2026-06-19", "2026-06-21") == [Kind.DAY_OFF, Kind.ORDINARY, Kind.ORDINARY]


def test_after_the_last_year_that_was_arranged_nothing_is_said_and_nothing_is_raised() -> None:
    last = CHINA.until
    assert (last.month, last.day) == (12, 31)
    assert CHINA.kind(last) is not Kind.UNKNOWN
    for year in (1, 2, 50):
        assert CHINA.kind(date(last.year + year, 10, 1)) is Kind.UNKNOWN


def test_the_table_ends_where_the_package_has_no_arrangement_any_more() -> None:
    # What of the package is used to find that: the days that were moved, by year.
    moved = ChinaStaticHolidays.special_public_holidays
    assert CHINA.until.year == max(moved) >= 2026
    beyond = holidays.country_holidays("CN", years=[CHINA.until.year + 1])
    assert not [day for day in beyond.weekend_workdays if day.year > CHINA.until.year]


def test_other_countries_have_tables_too() -> None:
    auckland = Table("NZ", "AUK")
    # Matariki, a Friday; the anniversary of Auckland, a Monday, which Wellington does not have.
    assert kinds("2025-06-20", "2025-06-20", auckland) == [Kind.DAY_OFF]
    assert kinds("2025-01-27", "2025-01-27", auckland) == [Kind.DAY_OFF]
    assert kinds("2025-01-27", "2025-01-27", Table("NZ", "WGN")) == [Kind.ORDINARY]


def test_a_table_is_named_with_its_version() -> None:
    assert Table("NZ", "AUK").name == f"holidays {version('holidays')}, NZ-AUK"
