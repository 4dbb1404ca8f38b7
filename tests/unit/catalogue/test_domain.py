"""What is counted of a type of events, event after event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from citybrain.event_store.store import StoredEvent
from citybrain.mesh.service import Recorded
from citybrain.services.catalogue.domain import DAYS, TypeRow, added_up, all_days, counted, date_of, end_of, step_of, within

SECOND = 1_000_000
# In Hangzhou it is noon.
NOON = datetime(2026, 5, 1, 4, tzinfo=UTC)


def moment(after: timedelta = timedelta()) -> int:
    return int((NOON + after).timestamp() * SECOND)


def event(recorded: int, late_s: float = 0.0, *, of: str = "a.v1.Happened", unreadable: bool = False) -> Recorded:
    happened = recorded - int(late_s * SECOND)
    return Recorded(StoredEvent("e", of, b"", happened, "", "", "", "", "", 2, "a/1", 1, recorded, 1), unreadable)


def folded(*events: Recorded) -> TypeRow:
    row = None
    for one in events:
        row = counted(row, one)
    assert row is not None
    return row


def test_how_many_there_are_and_since_when_is_counted_for_ever_and_days_only_as_long_as_they_are_recent() -> None:
    row = folded(event(moment()), event(moment(timedelta(hours=1))), *(event(moment(timedelta(days=n))) for n in range(1, 12)))
    assert (row.count, row.first, row.last) == (13, moment(), moment(timedelta(days=11)))
    assert len(row.days) == DAYS and max(map(date_of, row.days)) == "2026-05-12"
    assert folded(event(moment()), event(moment(timedelta(hours=1)))).days[str(20574)].count == 2


def test_a_day_begins_at_midnight_in_hangzhou() -> None:
    before, after = event(moment(timedelta(hours=12)) - 1), event(moment(timedelta(hours=12)))
    assert {date_of(name): day.count for name, day in folded(before, after).days.items()} == {"2026-05-01": 1, "2026-05-02": 1}


@pytest.mark.parametrize("late", [0, 1, 999, 1000, 1001, 1414, 1415, 2_000, 250_000, 59 * SECOND, 3 * 86_400 * SECOND])
def test_a_step_is_never_below_the_lateness_and_at_most_half_above_it(late: int) -> None:
    end = end_of(step_of(late))
    assert late <= end <= max(1000, late * 1.5)


def test_the_lateness_of_half_and_of_nearly_all_is_that_of_the_event_in_that_place() -> None:
    row = folded(*(event(moment(), 0.01) for _ in range(98)), event(moment(), 5), event(moment(), 500))
    day = all_days(row)
    assert 0.01 <= within(day, 0.5) / SECOND <= 0.015
    assert 5 <= within(day, 0.99) / SECOND <= 7.5
    assert 500 <= within(day, 1) / SECOND <= 750
    assert within(all_days(folded(event(moment(), -3))), 0.99) == 1000


@pytest.mark.parametrize(("late_s", "late", "ahead"), [(60, 0, 0), (60.1, 1, 0), (0, 0, 0), (-1, 0, 0), (-1.1, 0, 1)])
def test_what_comes_after_a_minute_is_late_and_what_comes_a_second_early_is_ahead(late_s: float, late: int, ahead: int) -> None:
    day = all_days(folded(event(moment(), late_s)))
    assert (day.late, day.ahead) == (late, ahead)


def test_what_happened_before_an_event_that_stood_there_already_is_out_of_order() -> None:
    row = folded(
        event(moment(), 0), event(moment() + 5 * SECOND, 0), event(moment() + 6 * SECOND, 2), event(moment() + 7 * SECOND, 0)
    )
    assert all_days(row).out_of_order == 1
    assert all_days(counted(row, event(moment() + 8 * SECOND, 1.5))).out_of_order == 2


def test_bytes_that_are_no_message_are_counted() -> None:
    assert all_days(folded(event(moment()), event(moment(), unreadable=True))).unreadable == 1


def test_rows_of_several_partitions_are_added_up_by_type_and_old_days_go() -> None:
    one = folded(event(moment(), 1), event(moment(timedelta(days=1))))
    two = folded(event(moment(timedelta(days=8)), 100, unreadable=True))
    other = folded(event(moment(), of="a.v1.Other"))
    found = added_up([two, other, one])
    assert list(found) == ["a.v1.Happened", "a.v1.Other"]
    whole = found["a.v1.Happened"]
    assert (whole.count, whole.first, whole.last) == (3, moment(), moment(timedelta(days=8)))
    assert [date_of(name) for name in sorted(whole.days)] == ["2026-05-02", "2026-05-09"]
    day = all_days(whole)
    assert (day.count, day.late, day.unreadable) == (2, 1, 1) and sum(day.lateness.values()) == 2
