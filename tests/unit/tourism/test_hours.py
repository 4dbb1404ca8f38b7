"""The hours of a place: by their minutes, and those that are brought in."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest
from citybrain.tourism.v1 import forecasts_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import timestamp
from citybrain.services.tourism import hours
from citybrain.services.tourism.hours import DAY, HOUR, UNKNOWN, Counted
from tests.unit.tourism.conftest import place, small

NOW = int(datetime(2026, 6, 1, 12, 30, tzinfo=UTC).timestamp()) * 1_000_000
SQUARE = small("p1")
"""1,000 people fit on its 100 m²."""


def counts(*people: int, end: int = NOW // HOUR) -> list[pb.HourlyCount]:
    """Hours in a row until one."""
    return [
        pb.HourlyCount(hour=timestamp((end - len(people) + number) * HOUR), people=one) for number, one in enumerate(people)
    ]


def refused(*brought: pb.HourlyCount, days: dict[str, hours.Day] | None = None) -> dict[str, str]:
    """The fields that are at fault, and why."""
    with pytest.raises(BadRequest) as raised:
        hours.check(brought, SQUARE, NOW)
        hours.check_counted(brought, days or {})
    return dict(raised.value.violations)


def day_with(people: dict[int, Counted], imported: bool) -> hours.Month:
    """A month whose first day has these hours."""
    month = hours.Month()
    for event in hours.keep(month, SQUARE, "2026-06-01", people, imported=imported):
        month = hours.evolve(month, event)
    return month


def test_an_hour_is_as_full_as_its_fullest_minute_if_each_quarter_of_it_was_counted() -> None:
    minutes = [UNKNOWN] * 60
    for minute, people in ((0, 5), (14, 7), (15, 3), (44, 90), (59, 4)):
        minutes[minute] = people
    assert hours.of_minutes(minutes) == hours.Counted(90, 21.8)
    minutes[15] = UNKNOWN
    assert hours.of_minutes(minutes) is None
    assert hours.of_minutes([0] * 60) == hours.Counted(0, 0)


def test_days_begin_at_midnight_in_hangzhou() -> None:
    sixteen_utc = int(datetime(2026, 5, 31, 16, tzinfo=UTC).timestamp()) // 3600
    assert hours.day_and_hour(sixteen_utc) == (date(2026, 6, 1), 0)
    assert hours.day_and_hour(sixteen_utc - 1) == (date(2026, 5, 31), 23)
    assert hours.first_hour(date(2026, 6, 1)) == sixteen_utc


def test_hours_in_a_row_have_gaps_where_nothing_is_known() -> None:
    first = hours.first_hour(date(2026, 6, 1)) + 22
    known = [(date(2026, 6, 1), [UNKNOWN] * 22 + [7, UNKNOWN]), (date(2026, 6, 3), [9] * DAY)]
    found = hours.in_a_row(first, 28, known)
    assert found[0] == 7 and found[26] == found[27] == 9
    assert np.isnan(found[1:26]).all()


def test_hours_are_taken_up_to_the_last_one_that_is_over() -> None:
    hours.check(counts(0, 1000), SQUARE, NOW)
    assert refused(*counts(1, end=NOW // HOUR + 1)) == {"counts[0].hour": "is an hour that is not over"}
    # One that ends just now is over.
    hours.check(counts(5, end=NOW // HOUR), SQUARE, NOW // HOUR * HOUR)


def test_what_cannot_be_is_refused_with_its_field() -> None:
    assert "never fewer than 0" in refused(*counts(3, -1))["counts[1].people"]
    assert "no more than 1000 people fit" in refused(*counts(1001))["counts[0].people"]
    assert refused(*counts(3), *counts(3)) == {"counts[1].hour": "stands in the list before"}
    half = pb.HourlyCount(hour=timestamp((NOW // HOUR - 2) * HOUR + 1), people=1)
    assert refused(half) == {"counts[0].hour": "is not the beginning of an hour"}
    assert "look at the year" in refused(*counts(1, end=hours.first_hour(date(1999, 6, 1))))["counts[0].hour"]


def test_a_batch_is_of_150_days_at_most() -> None:
    end = NOW // HOUR
    hours.check([*counts(1, end=end - 150 * DAY + 1), *counts(1, end=end)], SQUARE, NOW)
    assert "more than 150 days" in refused(*counts(1, end=end - 150 * DAY), *counts(1, end=end))["counts"]


def test_what_was_brought_in_can_be_corrected_and_what_was_counted_here_stays() -> None:
    first = hours.first_hour(date(2026, 6, 1))
    one = counts(8, end=first + 4)
    assert hours.check_counted(one, {}) == (1, 0)
    brought = day_with({3: Counted(7)}, imported=True)
    assert hours.check_counted(one, brought.days) == (0, 1)
    assert hours.check_counted(counts(7, end=first + 4), brought.days) == (0, 0)
    counted = day_with({3: Counted(7)}, imported=False)
    assert "was counted here already (7 people)" in refused(*one, days=dict(counted.days))["counts[0].hour"]
    # Also where it was counted since it was looked at.
    assert hours.keep(counted, SQUARE, "2026-06-01", {3: Counted(8)}, imported=True) == []
    (event,) = hours.keep(brought, SQUARE, "2026-06-01", {3: Counted(8)}, imported=False)
    assert (event.people[3], list(event.imported), event.revision) == (8, [], 2)  # type: ignore[attr-defined]
    for known, imported in ((brought, True), (counted, False)):
        (event,) = hours.keep(known, SQUARE, "2026-06-01", {3: Counted(9)}, imported=imported)
        assert event.people[3] == 9, "from where it came it is corrected"  # type: ignore[attr-defined]


def test_what_is_known_already_is_not_told_again() -> None:
    month = day_with({3: Counted(7), 4: Counted(0)}, imported=True)
    assert hours.keep(month, SQUARE, "2026-06-01", {3: Counted(7)}, imported=True) == []
    assert month.days["2026-06-01"].people[:6] == (UNKNOWN, UNKNOWN, UNKNOWN, 7, 0, UNKNOWN)


@settings(max_examples=25)
@given(st.dictionaries(st.integers(0, 23), st.integers(0, 900)), st.dictionaries(st.integers(0, 23), st.integers(0, 900)))
def test_in_whichever_order_they_come_counted_hours_stand_and_brought_ones_fill_gaps(
    counted: dict[int, int], brought: dict[int, int]
) -> None:
    for order in ((False, True), (True, False)):
        month = hours.Month()
        for imported in order:
            found = {hour: Counted(people) for hour, people in (brought if imported else counted).items()}
            for event in hours.keep(month, place(), "2026-06-01", found, imported=imported):
                month = hours.evolve(month, event)
        day = month.days.get("2026-06-01", hours.Day())
        assert day.people == tuple({**brought, **counted}.get(hour, UNKNOWN) for hour in range(DAY))
        assert day.imported == brought.keys() - counted.keys()
