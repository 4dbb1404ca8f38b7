"""Districts and sectors: the index, early warning, and what the map leaves out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import running
from citybrain.services.credit import area_index, areas, credit_map, p_chart, service, views
from citybrain.services.credit.service import CreditService
from citybrain.services.credit.views import DAY, SanctionRow, StandingRow
from tests.unit.credit.conftest import added, citizen, firm, register

FIRM, DISTRICT = pb.SUBJECT_KIND_FIRM, pb.AREA_KIND_DISTRICT
NOW = 20_000 * DAY
KEY = (FIRM, DISTRICT, "west")


# -- the methods --------------------------------------------------------------------------------------------------------------


def test_the_limits_are_those_of_the_published_chart() -> None:
    """NIST/SEMATECH e-Handbook, 6.3.3.2: chips on wafers, n = 50, p̄ = 0.2313."""
    lower, upper = p_chart.limits(0.2313, 50)
    assert (round(lower, 4), round(upper, 4)) == (0.0524, 0.4102)
    assert p_chart.limits(0.01, 10)[0] == 0 and p_chart.limits(0.99, 10)[1] == 1


def test_a_share_on_the_limit_is_not_above_it_and_too_little_says_nothing() -> None:
    before = [(20, 100)] * 8
    upper = p_chart.limits(0.2, 100)[1]
    assert round(upper, 4) == 0.32
    on, above = p_chart.judge(before, 32, 100), p_chart.judge(before, 33, 100)
    assert on is not None and above is not None
    assert (on.above, above.above) == (False, True) and (above.usual, above.samples) == (0.2, 8)
    assert p_chart.judge(before[:7], 99, 100) is None, "too few weeks"
    assert p_chart.judge(before, 20, 24) is None, "too few are expected"
    assert p_chart.judge([(0, 0)] * 8, 1, 1) is None and p_chart.judge(before, 0, 0) is None


def test_the_index_is_a_hundred_where_nobody_has_anything_bad_and_zero_where_all_are_under_sanction() -> None:
    nobody = {"sanctioned": 0, "serious": 0, "common": 0, "minor": 0}
    assert area_index.index(30, nobody) == 100
    assert area_index.index(30, {**nobody, "sanctioned": 30}) == 0
    mixed = {"sanctioned": 5, "serious": 10, "common": 20, "minor": 15}
    assert area_index.index(100, mixed) == pytest.approx(100 * (1 - (5 + 7 + 8 + 1.5) / 100))
    assert area_index.index(29, nobody) is None


@pytest.mark.parametrize(("count", "shown"), [(10, 10), (12, 10), (13, 15), (17, 15), (18, 20), (1002, 1000)])
def test_numbers_on_the_map_are_rounded_to_five(count: int, shown: int) -> None:
    assert credit_map.subjects(count) == shown


def test_no_share_is_told_where_a_group_is_small_on_either_side() -> None:
    assert credit_map.clean_percent(100, 10) == 90
    assert credit_map.clean_percent(100, 9) is None
    assert credit_map.clean_percent(100, 91) is None
    assert credit_map.clean_percent(200, 11) == 95


# -- counting -----------------------------------------------------------------------------------------------------------------


def row(**more: Any) -> StandingRow:
    content: dict[str, Any] = {"registered": True, "district_id": "west", "sector": "C", **more}
    return StandingRow(FIRM, **content)


def test_each_subject_is_counted_once_where_it_stands_worst() -> None:
    over, counts_now = str(NOW), str(NOW + 1)
    sanction = SanctionRow([1], "law", "case", NOW + 1, "rec-1")
    rows = [
        row(),
        row(bad={"5/1": {counts_now: 1}}),
        row(bad={"5/2": {counts_now: 9}, "5/1": {"0": 1}}),
        row(bad={"5/3": {counts_now: 1}, "5/1": {counts_now: 1}}),
        row(sanctions={"s": sanction}, bad={"5/3": {counts_now: 1}}),
        row(sanctions={"s": SanctionRow([1], "law", "case", NOW, "rec-1")}, bad={"5/3": {over: 1}}),
        row(district_id="east", sector="D"),
        StandingRow(FIRM, bad={"5/3": {counts_now: 1}}),
    ]
    found: dict[areas.AreaKey, pb.AreaCounts] = {}
    areas.count(rows, NOW, found)
    assert found[KEY] == pb.AreaCounts(subjects=6, sanctioned=1, serious=1, common=1, minor=1)
    assert set(found) == {KEY, (FIRM, DISTRICT, "east"), (FIRM, pb.AREA_KIND_SECTOR, "C"), (FIRM, pb.AREA_KIND_SECTOR, "D")}


@pytest.mark.parametrize(("day", "new"), [(20_000, 0), (19_999, 1), (19_993, 1), (19_992, 0), (20_001, 0)])
def test_new_is_what_came_on_the_seven_days_before(day: int, new: int) -> None:
    found: dict[areas.AreaKey, pb.AreaCounts] = {}
    areas.count([row(new_bad={str(day): 1})], NOW, found)
    assert found[KEY].new_bad == new


# -- early warning ------------------------------------------------------------------------------------------------------------


def nights(*new: int, subjects: int = 200) -> tuple[areas.Area, list[Message]]:
    """An area after a week each with so many new ones, and what the last night brought."""
    area, last = areas.Area(), list[Message]()
    for week, count in enumerate(new):
        counts = pb.AreaCounts(subjects=subjects, new_bad=count)
        last = areas.publish(area, KEY, counts, timestamp(NOW + week * areas.WEEK_DAYS * DAY))
        for event in last:
            area = areas.evolve(area, event)
    return area, last


def named(events: list[Message]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_more_than_usual_is_warned_of_with_what_is_usual_and_over_how_many_weeks() -> None:
    area, last = nights(*[10] * 8, 30)
    assert named(last) == ["CreditWarningRaised", "CreditIndexPublished"]
    assert area.warning is not None
    assert (area.warning.share, area.warning.usual_share, area.warning.weeks) == (0.15, 0.05, 8)
    assert area.warning.limit == pytest.approx(0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5)


def test_what_is_usual_is_never_warned_of() -> None:
    for usual in (0, 1, 5, 10, 199):
        assert nights(*[usual] * 30)[0].warning is None


def test_a_warning_stays_while_its_numbers_do_and_a_week_with_one_is_no_part_of_what_is_usual() -> None:
    _, last = nights(*[10] * 8, 30, 30, 30)
    (published,) = last
    assert isinstance(published, ev.CreditIndexPublished)
    warning = published.index.warning
    assert (warning.usual_share, warning.weeks) == (0.05, 8)
    assert warning.raised_at == timestamp(NOW + 8 * areas.WEEK_DAYS * DAY)


def test_what_the_records_support_no_more_is_retracted() -> None:
    area, last = nights(*[10] * 8, 30, 12)
    assert named(last) == ["CreditWarningRetracted", "CreditIndexPublished"] and area.warning is None
    retracted = last[0]
    assert isinstance(retracted, ev.CreditWarningRetracted)
    assert retracted.reason == "12 of 200 got a bad record within a week: that is not above the limit"
    # Also where so few are left that nothing can be said.
    warned, _ = nights(*[10] * 8, 30)
    gone = areas.publish(warned, KEY, pb.AreaCounts(subjects=3), timestamp(NOW + 100 * DAY))
    assert named(gone) == ["CreditWarningRetracted", "CreditIndexRetracted"]


@pytest.mark.parametrize("hour", [0, 2, 15.99, 16, 23.99])
def test_whatever_the_hour_a_bad_record_is_new_in_exactly_one_of_the_weeks_that_are_counted(hour: float) -> None:
    came = NOW + round(hour * 3_600_000_000)
    new_bad = {str(views.day_of(came)): 1}
    found = []
    # At 02:00 in Hangzhou, week after week.
    for week in range(3):
        counts: dict[areas.AreaKey, pb.AreaCounts] = {}
        areas.count([row(new_bad=new_bad)], NOW + 18 * 3_600_000_000 + week * 7 * DAY, counts)
        found.append(counts[KEY].new_bad)
    assert sum(found) == 1


def test_a_night_that_is_counted_some_seconds_early_is_a_week_later_all_the_same() -> None:
    area, counts = areas.Area(), pb.AreaCounts(subjects=200, new_bad=10)
    for at in (NOW, NOW + 7 * DAY - 5_000_000):
        for event in areas.publish(area, KEY, counts, timestamp(at)):
            area = areas.evolve(area, event)
    assert len(area.weeks) == 2


def test_what_is_usual_is_made_of_26_weeks() -> None:
    area, _ = nights(*[10] * 30)
    assert len(area.weeks) == 26


def test_weeks_that_overlap_are_counted_once() -> None:
    area = areas.Area()
    for day in range(15):
        for event in areas.publish(area, KEY, pb.AreaCounts(subjects=200, new_bad=10), timestamp(NOW + day * DAY)):
            area = areas.evolve(area, event)
    assert [(at - NOW) // DAY for at, _, _ in area.weeks] == [0, 7, 14]


def test_a_week_that_is_not_over_is_no_part_of_what_is_usual() -> None:
    area, _ = nights(*[10] * 8)
    crowded = pb.AreaCounts(subjects=200, new_bad=30)
    eighth = 7 * areas.WEEK_DAYS
    assert named(areas.publish(area, KEY, crowded, timestamp(NOW + (eighth + 6) * DAY))) == ["CreditIndexPublished"]
    later = areas.publish(area, KEY, crowded, timestamp(NOW + (eighth + 7) * DAY))
    assert named(later) == ["CreditWarningRaised", "CreditIndexPublished"]


# -- at night -----------------------------------------------------------------------------------------------------------------

EVENING = datetime(2026, 3, 2, 12, tzinfo=UTC)
CODES = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def numbered(number: int) -> str:
    """A good unified social credit code."""
    body = f"91330100{number:09d}"
    weights = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
    total = sum(int(sign) * weight for sign, weight in zip(body, weights, strict=True))
    return body + CODES[-total % 31]


def test_each_night_the_areas_are_computed_from_what_counts_then_and_the_map_is_coarse() -> None:
    with running(CreditService, city_time=EVENING) as credit:
        for number in range(33):
            register(credit, firm(numbered(number)), "west" if number < 31 else "east")
            if number < 12:
                added(credit, f"hb-{number}", ref=firm(numbered(number)))
        register(credit, citizen())
        credit.rest()
        credit.advance(to=EVENING + timedelta(hours=8))
        credit.rest()
        listed = credit.fire("ListCreditIndexes", pb.ListCreditIndexesRequest()).indexes
        assert [(one.area, one.counts.subjects, one.counts.common, one.counts.new_bad) for one in listed] == [
            ("west", 31, 12, 12), ("C", 33, 12, 12),
        ]  # fmt: skip
        assert listed[0].index == pytest.approx(100 * (1 - 0.4 * 12 / 31)) and listed[0].version == area_index.VERSION
        assert not credit.fire("ListCreditIndexes", pb.ListCreditIndexesRequest(warned=True)).indexes
        (shown,) = credit.fire("GetCreditMap", pb.GetCreditMapRequest()).districts
        assert (shown.district_id, shown.subjects, shown.clean_percent) == ("west", 30, 61)
        # East has two firms, and there is one citizen: neither is told.
        assert not credit.fire("GetCreditMap", pb.GetCreditMapRequest(subjects=pb.SUBJECT_KIND_CITIZEN)).districts
        # A district sees its own.
        bound = credit.fire("ListCreditIndexes", pb.ListCreditIndexesRequest(), district="east").indexes
        assert [one.area for one in bound] == ["C"]


def test_a_warning_is_told_with_the_area_until_it_is_retracted_also_where_nobody_is_left() -> None:
    with running(CreditService) as credit:
        stream = "credit/area-subject_kind_firm.area_kind_district.west"
        index = pb.CreditIndex(kind=DISTRICT, area="west", subjects=FIRM, district_id="west", index=90)
        credit.tell(ev.CreditIndexPublished(index=index, district_id="west"), stream=stream)
        warning = pb.CreditWarning(share=0.2, usual_share=0.1, limit=0.15, weeks=9)
        raised = ev.CreditWarningRaised(kind=DISTRICT, area="west", subjects=FIRM, warning=warning)
        credit.tell(raised, stream=stream)
        credit.rest()
        (shown,) = credit.fire("ListCreditIndexes", pb.ListCreditIndexesRequest(warned=True)).indexes
        assert shown.warning == warning
        credit.fire("publish_indexes")
        credit.rest()
        (retracted,) = credit.events(ev.CreditWarningRetracted)
        assert retracted.data.reason == "there are too few subjects to say anything"  # type: ignore[attr-defined]
        assert not credit.fire("ListCreditIndexes", pb.ListCreditIndexesRequest(warned=True)).indexes


def test_where_too_few_are_left_the_index_is_retracted_and_shown_nowhere() -> None:
    with running(CreditService, city_time=EVENING) as credit:
        for number in range(30):
            register(credit, firm(numbered(number)), "west")
        credit.rest()
        credit.fire("publish_indexes")
        credit.rest()
        assert [one.area for one in credit.fire("ListCreditIndexes", pb.ListCreditIndexesRequest()).indexes] == ["west", "C"]
        # One firm moves away, and one into another sector.
        register(credit, firm(numbered(0)), "east", sector="D")
        for _ in range(2):
            credit.rest()
            credit.advance(60)
            credit.fire("publish_indexes")
        credit.rest()
        gone = [event.data for event in credit.events(ev.CreditIndexRetracted)]
        assert {(one.area, one.reason) for one in gone if isinstance(one, ev.CreditIndexRetracted)} == {
            ("west", "there are too few subjects to say anything"), ("C", "there are too few subjects to say anything"),
        }  # fmt: skip
        assert len(gone) == 2
        assert not credit.fire("ListCreditIndexes", pb.ListCreditIndexesRequest()).indexes
        assert not credit.fire("GetCreditMap", pb.GetCreditMapRequest()).districts


def test_at_night_all_subjects_are_counted_however_few_rows_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_ROWS_AT_ONCE", 7)
    with running(CreditService, city_time=EVENING) as credit:
        for number in range(31):
            register(credit, firm(numbered(number)), "west")
        credit.rest()
        credit.fire("publish_indexes")
        credit.rest()
        shown = credit.fire("ListCreditIndexes", pb.ListCreditIndexesRequest(page_size=1)).indexes
        assert [one.counts.subjects for one in shown] == [31]
