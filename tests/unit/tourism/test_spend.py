"""Spend of visitors as sums: which are taken, what they show, and whether it goes up."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import offers_pb2 as offers
from citybrain.tourism.v1 import spend_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, Forbidden, Refused
from citybrain.mesh.testing import Running
from citybrain.services.tourism import hours, spend, theil_sen
from citybrain.services.tourism.hours import HOUR
from tests.unit.tourism.conftest import now, told

LOCAL, ABROAD = pb.VISITOR_KIND_LOCAL, pb.VISITOR_KIND_ABROAD
FOOD, LODGING = offers.ELEMENT_FOOD, offers.ELEMENT_LODGING


def one(people: int, amount: int, kind: pb.VisitorKind = LOCAL, element: offers.Element = FOOD) -> pb.SpendSum:
    return pb.SpendSum(kind=kind, element=element, people=people, amount_fen=amount)


def reports(*each: list[pb.SpendSum]) -> list[Message]:
    """What is told when reports of a day come one after the other."""
    state, events = spend.Report(), list[Message]()
    for sums in each:
        request = pb.ReportSpendRequest(source_id="cards", place_id="p1", day="2026-06-01", sums=sums)
        for event in spend.report(state, request, "xihu"):
            state = spend.evolve(state, event)
            events.append(event)
    return events


def refused(*each: list[pb.SpendSum]) -> dict[str, str]:
    with pytest.raises(BadRequest) as raised:
        reports(*each)
    return dict(raised.value.violations)


def reported(day: date, *sums: pb.SpendSum, source: str = "cards") -> ev.SpendReported:
    return ev.SpendReported(source_id=source, day=day.isoformat(), sums=sums)


def weeks(*amounts: int, missing: tuple[int, ...] = ()) -> tuple[dict[str, int], list[str]]:
    """Days of weeks in which so much was spent on each, but for days that were not reported; and all of the days."""
    days = [date(2026, 6, 1) + timedelta(days=number) for number in range(7 * len(amounts))]
    by_day = {day.isoformat(): amounts[number // 7] for number, day in enumerate(days) if number not in missing}
    return by_day, [day.isoformat() for day in days]


def test_spend_of_fewer_than_twenty_is_refused_with_its_field() -> None:
    assert len(reports([one(20, 0), one(20, 5, ABROAD)])) == 1
    assert len(reports([one(20, 0)], [one(20, 0), one(20, 5, ABROAD)])) == 2, "another sum comes later"
    assert "fewer than 20 people" in refused([one(50, 5), one(19, 5, ABROAD)])["sums[1].people"]


def test_spend_that_was_corrected_a_hundred_times_stays_as_it_is() -> None:
    each = [[one(100, 100_000 + 50_000 * (number % 2))] for number in range(101)]
    assert len(reports(*each, each[-1])) == 101
    with pytest.raises(Refused, match="was corrected 100 times, and stays as it is"):
        reports(*each, [one(100, 200_000)])


def test_what_cannot_be_is_refused_with_its_field() -> None:
    assert "stands in the list before" in refused([one(50, 5), one(60, 5)])["sums[1]"]
    for amount in (-1, spend.MOST_FEN + 1):
        assert "amounts are in fen" in refused([one(50, amount)])["sums[0].amount_fen"]


def test_a_correction_that_would_tell_of_a_few_people_or_payments_is_refused() -> None:
    # 100 people spend 1,000 each: 20 of them 20,000.
    first = [one(100, 100_000)]
    assert len(reports(first, [one(100, 120_000)], [one(120, 150_000)])) == 3
    assert "differs by less than 20 of these people spend" in refused(first, [one(100, 119_999)])["sums[0].amount_fen"]
    assert "differs by fewer than 20 people" in refused(first, [one(119, 140_000)])["sums[0].people"]
    # Also from an amount that was told before the last one.
    assert "sums[0].amount_fen" in refused(first, [one(100, 130_000)], [one(100, 100_001)])


def test_the_same_again_changes_nothing_in_whichever_order() -> None:
    food, lodging = one(50, 5), one(60, 9, LOCAL, LODGING)
    assert len(reports([food, lodging], [lodging, food])) == 1


def test_spend_is_shown_by_source_kind_and_element_with_what_each_has_spent() -> None:
    first, second = date(2026, 6, 1), date(2026, 6, 2)
    cards, phones = spend.shown([
        reported(first, one(50, 5_000), one(20, 90_000, LOCAL, LODGING), one(30, 60_000, ABROAD)),
        reported(second, one(100, 25_000)),
        reported(second, one(40, 8_000), source="phones"),
    ], ["2026-06-01", "2026-06-02"])  # fmt: skip
    assert (cards.source_id, cards.days_reported, phones.source_id, phones.days_reported) == ("cards", 2, "phones", 1)
    local, abroad = cards.kinds
    assert (local.kind, local.amount_fen, abroad.kind, abroad.amount_fen) == (LOCAL, 120_000, ABROAD, 60_000)
    assert [(each.element, each.amount_fen, each.each_fen) for each in local.elements] == [
        (LODGING, 90_000, 4_500), (FOOD, 30_000, 200),
    ]  # fmt: skip
    assert local.no_trend.reason == pb.NO_TREND_REASON_TOO_FEW_WEEKS
    assert phones.kinds[0].amount_fen == 8_000


def test_the_median_slope_is_that_of_most_pairs() -> None:
    # Slopes of pairs: 1, 1, 1, 9, 13, 33: their median is 5.
    assert theil_sen.slope([0, 1, 2, 35], [0, 1, 2, 3])[0] == pytest.approx((1 + 35 / 3) / 2)
    each, lower, upper = theil_sen.slope([0, 2, 4, 6, 8, 10], [0, 1, 2, 3, 4, 5])
    assert (each, lower, upper) == (2, 2, 2)
    # With 95 % confidence; with 90 % it would be from 8 to 12.
    assert theil_sen.slope([100, 112, 118, 900, 141, 149, 163], list(range(7))) == (10.25, 6, 14)


def test_a_trend_is_per_cent_of_a_usual_week_each_week_and_a_holiday_moves_it_little() -> None:
    found = spend.trend(*weeks(100, 110, 120, 130, 140, 150, 160))
    assert isinstance(found, pb.Trend)
    assert found.per_week == pytest.approx(100 * 10 / 130, abs=0.01) and found.weeks == 7
    with_holiday = spend.trend(*weeks(100, 112, 118, 900, 141, 149, 163))
    assert isinstance(with_holiday, pb.Trend)
    assert with_holiday.per_week == pytest.approx(found.per_week, abs=1.5)
    assert with_holiday.lower < with_holiday.per_week < with_holiday.upper


def test_a_week_with_a_day_that_was_not_reported_is_in_no_trend() -> None:
    whole = spend.trend(*weeks(100, 100, 100, 100, 100, 100, 100, missing=(8,)))
    assert isinstance(whole, pb.Trend) and (whole.weeks, whole.per_week) == (6, 0)
    short = spend.trend(*weeks(100, 100, 100, 100, 100, 100, missing=(8,)))
    assert isinstance(short, pb.NoTrend)
    assert (short.reason, short.weeks, short.weeks_needed) == (pb.NO_TREND_REASON_TOO_FEW_WEEKS, 5, 6)


def test_where_nothing_is_spent_in_most_weeks_there_is_no_trend() -> None:
    found = spend.trend(*weeks(0, 0, 0, 0, 9, 9))
    assert isinstance(found, pb.NoTrend) and found.reason == pb.NO_TREND_REASON_NOTHING_SPENT


def test_a_day_on_which_a_kind_has_spent_nothing_is_a_day_of_nothing() -> None:
    days = [date(2026, 6, 1) + timedelta(days=number) for number in range(42)]
    abroad = [[one(50, 100, ABROAD)] if number >= 7 else [] for number in range(42)]
    told_days = [reported(day, one(50, 700), *more) for day, more in zip(days, abroad, strict=True)]
    (cards,) = spend.shown(told_days, [day.isoformat() for day in days])
    assert [kind.trend.weeks for kind in cards.kinds] == [6, 6]


def test_spend_is_reported_and_read_in_the_own_district(tourism: Running) -> None:
    yesterday = (hours.day_and_hour(now(tourism) // HOUR)[0] - timedelta(days=1)).isoformat()
    request = pb.ReportSpendRequest(source_id="cards", place_id="p1", day=yesterday, sums=[one(50, 5_000)])
    asked = pb.GetSpendRequest(place_id="p1", from_day=yesterday, to_day=yesterday)
    for method, message in (("ReportSpend", request), ("GetSpend", asked)):
        with pytest.raises(Forbidden):
            tourism.fire(method, message, district="gongshu")
    assert tourism.fire("ReportSpend", request, district="xihu").revision == 1
    assert tourism.fire("ReportSpend", request).revision == 1
    tourism.rest()
    answer = tourism.fire("GetSpend", asked)
    assert [source.kinds[0].amount_fen for source in answer.sources] == [5_000]
    assert (answer.days_asked, answer.least) == (1, 20)
    for wrong in ("2036-01-01", "2026-02-31"):
        with pytest.raises(BadRequest):
            tourism.fire(
                "ReportSpend", pb.ReportSpendRequest(source_id="cards", place_id="p1", day=wrong, sums=[one(50, 5_000)])
            )
    assert [event.least for event in told(tourism, ev.SpendReported)] == [20]
