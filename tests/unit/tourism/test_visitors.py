"""Sums over visitors: which are taken, what they show, and that none of them, and no two, tell of a few."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import tourism_service_pb2 as places_pb
from citybrain.tourism.v1 import visitors_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running
from citybrain.services.tourism import hours, littles_law, visitors
from citybrain.services.tourism.anonymous_sums import LEAST
from citybrain.services.tourism.hours import HOUR
from tests.unit.tourism.conftest import count, now, send, small, told

EIGHT = 8
FIRST = hours.first_hour(date(2026, 6, 1))


def reported(hour: int, *flows: tuple[str, str, int], source: str = "gates", everybody: bool = True) -> ev.FlowsReported:
    """What was told of an hour."""
    return ev.FlowsReported(
        source_id=source, hour=timestamp(hour * HOUR), everybody=everybody,
        flows=[pb.Flow(from_place_id=begin, to_place_id=end, people=people) for begin, end, people in flows],
    )  # fmt: skip


def request(*flows: tuple[str, str, int], hour: int = FIRST, source: str = "gates") -> pb.ReportFlowsRequest:
    """A report of an hour."""
    event = reported(hour, *flows)
    return pb.ReportFlowsRequest(source_id=source, hour=event.hour, everybody=True, flows=event.flows)


def reports(*each: tuple[tuple[str, str, int], ...]) -> list[Message]:
    """What is told when reports of an hour come one after the other."""
    state, events = visitors.Report(), list[Message]()
    for flows in each:
        for event in visitors.report_flows(state, request(*flows)):
            state = visitors.evolve(state, event)
            events.append(event)
    return events


def refusal(*each: tuple[tuple[str, str, int], ...]) -> str:
    with pytest.raises(BadRequest) as raised:
        reports(*each)
    return str(raised.value)


def test_a_sum_of_fewer_than_twenty_is_refused_with_its_field() -> None:
    assert len(reports((("", "p1", LEAST),))) == 1
    assert "flows[1].people: is of fewer than 20 people" in refusal((("", "p1", 50), ("p2", "p1", LEAST - 1)))
    assert "flows[0].people" in refusal((("", "p1", 0),))
    assert "flows[0].people" in refusal((("", "p1", -30),))


def test_a_correction_that_would_tell_of_a_few_is_refused() -> None:
    told_twice = reports((("", "p1", 100),), (("", "p1", 120),))
    assert [event.revision for event in told_twice if isinstance(event, ev.FlowsReported)] == [1, 2]
    assert "differs by fewer than 20" in refusal((("", "p1", 100),), (("", "p1", 119),))
    # Also from a number that was told before the last one.
    assert "differs by fewer than 20" in refusal((("", "p1", 100),), (("", "p1", 130),), (("", "p1", 101),))
    assert len(reports((("", "p1", 100),), (("", "p1", 130),), (("", "p1", 100),))) == 3


def test_what_was_corrected_a_hundred_times_stays_as_it_is() -> None:
    each = [(("", "p1", 100 + 20 * (number % 2)),) for number in range(101)]
    assert len(reports(*each, each[-1])) == 101
    with pytest.raises(Refused, match="was corrected 100 times, and stays as it is"):
        reports(*each, (("", "p1", 160),))


def test_the_same_again_changes_nothing_in_whichever_order() -> None:
    one, other = ("", "p1", 100), ("p2", "p1", 40)
    assert len(reports((one, other), (other, one))) == 1


def test_a_report_that_does_not_fit_is_refused_with_its_field() -> None:
    known = {"p1", "p2"}
    visitors.check_flows(request(("", "p1", 50), ("p1", "", 50), ("p1", "p2", 50)).flows, known)
    for flows, field in (
        ([("p9", "p1", 50)], "flows[0].from_place_id: is not known"),
        ([("p1", "p9", 50)], "flows[0].to_place_id: is not known"),
        ([("p1", "p1", 50)], "flows[0].to_place_id: is where they came from"),
        ([("", "", 50)], "flows[0].to_place_id: is where they came from"),
        ([("", "p1", 50), ("", "p1", 60)], "flows[1]: stands in the list before"),
    ):
        with pytest.raises(BadRequest) as raised:
            visitors.check_flows(request(*flows).flows, known)
        assert field in str(raised.value)


def test_hours_and_days_are_over_and_not_long_ago() -> None:
    at = (FIRST + 12) * HOUR
    visitors.check_hour(at - HOUR, at)
    visitors.check_hour(at - 31 * 24 * HOUR, at)
    for hour in (at - HOUR + 1, at - 2 * HOUR + 1, at, at - 31 * 24 * HOUR - HOUR):
        with pytest.raises(BadRequest):
            visitors.check_hour(hour, at)
    visitors.check_day("2026-05-31", at)
    visitors.check_day("2026-05-01", at)
    for day in ("2026-06-01", "2026-04-30", "2026-02-30"):
        with pytest.raises(BadRequest):
            visitors.check_day(day, at)


def test_flows_of_a_place_are_summed_up_by_source_and_not_over_sources() -> None:
    found = visitors.shown_flows("p1", [
        reported(FIRST, ("", "p1", 100), ("p2", "p1", 40), ("p1", "p3", 30), ("p2", "p3", 99)),
        reported(FIRST, ("", "p1", 60), source="phones", everybody=False),
        reported(FIRST + 1, ("p2", "p1", 80)),
    ])  # fmt: skip
    gates, phones = found
    assert [(one.from_place_id, one.people) for one in gates.arrivals] == [("p2", 120), ("", 100)]
    assert [(one.to_place_id, one.people) for one in gates.departures] == [("p3", 30)]
    assert (gates.source_id, gates.everybody, gates.hours_reported) == ("gates", True, 2)
    assert (phones.source_id, phones.everybody, phones.hours_reported) == ("phones", False, 1)
    assert [(one.from_place_id, one.people) for one in phones.arrivals] == [("", 60)]


def test_origins_are_summed_up_by_province_with_its_cities() -> None:
    told_twice = [
        ev.OriginsReported(source_id="phones", day=day, origins=[
            pb.Origin(region="330100", people=100), pb.Origin(region="330000", people=50),
            pb.Origin(region="310000", people=130), pb.Origin(region="", people=20),
        ])
        for day in ("2026-06-01", "2026-06-02")
    ]  # fmt: skip
    (phones,) = visitors.shown_origins(told_twice)
    assert phones.days_reported == 2
    assert [(one.province, one.name_zh, one.people) for one in phones.provinces] == [
        ("330000", "浙江", 300), ("310000", "上海", 260), ("", "其他", 40),
    ]  # fmt: skip
    assert [(one.region, one.people) for one in phones.provinces[0].cities] == [("330100", 200)]
    assert [len(one.cities) for one in phones.provinces if not one.province] == [0]


def test_a_region_that_is_none_or_stands_twice_is_refused() -> None:
    visitors.check_origins([pb.Origin(region="330100"), pb.Origin(region="330000"), pb.Origin()])
    for origins, field in (
        ([pb.Origin(region="160000")], "origins[0].region: begins with 16, which is no province"),
        ([pb.Origin(), pb.Origin()], "origins[1].region: stands in the list before"),
    ):
        with pytest.raises(BadRequest) as raised:
            visitors.check_origins(origins)
        assert field in str(raised.value)


def test_origins_of_fewer_than_twenty_are_refused_and_so_are_small_corrections() -> None:
    def report(state: visitors.Report, people: int) -> list[Message]:
        asked = pb.ReportOriginsRequest(
            source_id="phones", place_id="p1", day="2026-06-01", origins=[pb.Origin(region="330100", people=people)]
        )
        return visitors.report_origins(state, asked, "xihu")

    (event,) = report(visitors.Report(), 100)
    state = visitors.evolve(visitors.Report(), event)
    assert report(state, 100) == [] and len(report(state, 80)) == 1
    for people in (19, 99):
        with pytest.raises(BadRequest):
            report(state, people)


def test_the_mean_stay_is_people_there_by_arrivals() -> None:
    # 300 there on average, 120 come in an hour: two hours and a half.
    assert littles_law.stay_minutes(300, 120) == 150
    # Ten people who stay an hour each, one after the other: one is always there.
    assert littles_law.stay_minutes(1, 1) == 60


def day_of_stays(arrivals: int, number: int = EIGHT, **more: object) -> list[ev.FlowsReported]:
    return [reported(FIRST + hour, ("", "p1", arrivals), **more) for hour in range(number)]  # type: ignore[arg-type]


def test_the_stay_of_a_day_is_told_with_its_basis() -> None:
    present = {FIRST + hour: 300.0 for hour in range(24)}
    # In one hour fewer than 20 came: the sum is left out, and the hour is reported.
    found = visitors.stay("p1", present, [*day_of_stays(120), reported(FIRST + EIGHT, ("", "p2", 50))], 210)
    assert isinstance(found, pb.Stay)
    assert (found.hours, found.arrivals, found.mean_people) == (EIGHT + 1, EIGHT * 120, 300)
    assert found.minutes == pytest.approx(60 * 300 / (EIGHT * 120 / (EIGHT + 1)), abs=0.1)
    assert (found.source_id, found.registered_minutes) == ("gates", 210)


def test_of_two_sources_of_everybody_the_one_that_reports_more_hours_counts() -> None:
    present = {FIRST + hour: 300.0 for hour in range(24)}
    found = visitors.stay("p1", present, [*day_of_stays(120), *day_of_stays(60, 10, source="phones")], 0)
    assert isinstance(found, pb.Stay) and (found.source_id, found.minutes) == ("phones", 300)


def test_a_stay_is_not_told_of_too_few_hours_nor_where_nobody_is_known_to_come() -> None:
    present = {FIRST + hour: 300.0 for hour in range(24)}
    for hours_there, flows in (
        (present, day_of_stays(120, EIGHT - 1)),
        (dict(list(present.items())[: EIGHT - 1]), day_of_stays(120)),
        (present, day_of_stays(120, everybody=False)),
        (present, []),
    ):
        none = visitors.stay("p1", hours_there, flows, 0)
        assert isinstance(none, pb.NoStay) and none.reason == pb.NO_STAY_REASON_TOO_FEW_HOURS
    none = visitors.stay("p9", present, day_of_stays(120), 0)
    assert isinstance(none, pb.NoStay) and none.reason == pb.NO_STAY_REASON_NO_ARRIVALS


def test_spans_are_whole_hours_and_days_and_not_too_long() -> None:
    visitors.check_span(0, 168 * HOUR)
    for begin, end in ((0, 0), (HOUR, 0), (0, 169 * HOUR), (1, HOUR), (0, HOUR + 1)):
        with pytest.raises(BadRequest):
            visitors.check_span(begin, end)
    assert visitors.days_between("2026-06-30", "2026-07-01") == ["2026-06-30", "2026-07-01"]
    assert len(visitors.days_between("2026-01-01", "2026-04-02")) == 92
    for first, last in (("2026-06-02", "2026-06-01"), ("2026-01-01", "2026-04-03"), ("2026-13-01", "2026-04-03")):
        with pytest.raises(BadRequest):
            visitors.days_between(first, last)


def test_flows_and_origins_are_read_as_they_were_told_last(tourism: Running) -> None:
    tourism.fire("RegisterPlace", places_pb.RegisterPlaceRequest(place=small("q1", "gongshu")))
    tourism.rest()
    hour = now(tourism) // HOUR - 30
    for people in (100, 150):
        answer = tourism.fire("ReportFlows", request(("q1", "p1", people), ("", "p1", 40), hour=hour))
    assert answer.revision == 2
    tourism.fire("ReportFlows", request(("", "p1", 40), hour=hour + 1))
    day = hours.day_and_hour(now(tourism) // HOUR)[0] - timedelta(days=1)
    tourism.fire("ReportOrigins", pb.ReportOriginsRequest(
        source_id="phones", place_id="p1", day=day.isoformat(), origins=[pb.Origin(region="330100", people=70)],
    ))  # fmt: skip
    tourism.rest()
    assert [(one.least, one.revision) for one in told(tourism, ev.FlowsReported)] == [(20, 1), (20, 2), (20, 1)]

    def flows(begin: int, end: int) -> list[list[tuple[str, int]]]:
        asked = pb.GetFlowsRequest(place_id="p1", to=timestamp(end * HOUR), **{"from": timestamp(begin * HOUR)})
        answer = tourism.fire("GetFlows", asked)
        assert (answer.hours_asked, answer.least) == (end - begin, 20)
        return [[(one.from_place_id, one.people) for one in source.arrivals] for source in answer.sources]

    assert flows(hour, hour + 2) == [[("q1", 150), ("", 80)]]
    assert flows(hour + 1, hour + 2) == [[("", 40)]]
    assert flows(hour + 2, hour + 9) == flows(hour - 3, hour) == []
    both = pb.GetOriginsRequest(place_id="p1", from_day=(day - timedelta(days=1)).isoformat(), to_day=day.isoformat())
    answer = tourism.fire("GetOrigins", both)
    assert [one.people for one in answer.sources[0].provinces] == [70] and answer.days_asked == 2
    before = pb.GetOriginsRequest(place_id="p1", from_day="2025-06-01", to_day="2025-06-02")
    assert list(tourism.fire("GetOrigins", before).sources) == []


def origins(day: str, region: str) -> pb.ReportOriginsRequest:
    """Twenty people of a region."""
    return pb.ReportOriginsRequest(source_id="s", place_id="p1", day=day, origins=[pb.Origin(region=region, people=20)])


def test_what_cannot_be_is_refused_before_anything_is_told(tourism: Running) -> None:
    hour = now(tourism) // HOUR - 3
    yesterday = (hours.day_and_hour(hour)[0] - timedelta(days=1)).isoformat()
    for method, message, field in (
        ("ReportFlows", request(("", "p1", 40), hour=hour + 9), "hour"),
        ("ReportFlows", request(("", "p9", 40), hour=hour), "flows[0].to_place_id"),
        ("ReportOrigins", origins("2036-01-01", ""), "day"),
        ("ReportOrigins", origins(yesterday, "160000"), "origins[0].region"),
        ("GetFlows", pb.GetFlowsRequest(place_id="p1", to=timestamp(169 * HOUR), **{"from": timestamp(0)}), "to"),
    ):  # fmt: skip
        with pytest.raises(BadRequest) as raised:
            tourism.fire(method, message)
        assert [name for name, _ in raised.value.violations] == [field]
    assert told(tourism, ev.FlowsReported, ev.OriginsReported) == []


def test_who_is_bound_to_a_district_reports_and_reads_flows_of_its_places(tourism: Running) -> None:
    hour = now(tourism) // HOUR - 3
    flows = request(("", "p1", 40), hour=hour)
    asked = pb.GetFlowsRequest(place_id="p1", to=timestamp((hour + 1) * HOUR), **{"from": timestamp(hour * HOUR)})
    origins = pb.ReportOriginsRequest(source_id="s", place_id="p1", day="2026-01-01", origins=[pb.Origin(people=20)])
    stay = pb.GetStayRequest(place_id="p1", day="2026-01-01")
    lived = pb.GetOriginsRequest(place_id="p1", from_day="2026-01-01", to_day="2026-01-01")
    for method, message in (
        ("ReportFlows", flows), ("GetFlows", asked), ("ReportOrigins", origins), ("GetStay", stay), ("GetOrigins", lived),
    ):  # fmt: skip
        with pytest.raises(Forbidden):
            tourism.fire(method, message, district="gongshu")
    tourism.fire("ReportFlows", flows, district="xihu")
    with pytest.raises(NotFound):
        tourism.fire("GetStay", pb.GetStayRequest(place_id="p9", day="2026-01-01"))


def test_a_stay_is_told_from_counters_and_gates_on_the_day_and_after_it_was_kept(tourism: Running) -> None:
    tourism.advance((-now(tourism) % (24 * HOUR)) / 1e6 + 8 * 3600)
    first = now(tourism) // HOUR
    for quarter in range(EIGHT * 4):
        tourism.advance(((first * HOUR + quarter * HOUR // 4) - now(tourism)) / 1e6)
        send(tourism, *(count("p1", key, 100, now(tourism)) for key in "abc"))
    tourism.advance(3600)
    for hour in range(EIGHT):
        tourism.fire("ReportFlows", request(("", "p1", 120), hour=first + hour))
    tourism.rest()
    asked = pb.GetStayRequest(place_id="p1", day=hours.day_and_hour(first)[0].isoformat())
    # While a day goes on some have come who have not left: that would be no stay.
    with pytest.raises(BadRequest, match="day: is a day that is not over"):
        tourism.fire("GetStay", pb.GetStayRequest(place_id="p1", day=hours.day_and_hour(now(tourism) // HOUR)[0].isoformat()))
    found = tourism.fire("GetStay", asked).stay
    assert (found.minutes, found.hours, found.arrivals) == (150, EIGHT, EIGHT * 120)
    for _ in range(2):
        tourism.advance(24 * 3600)
        tourism.rest()
    # An hour of today takes the place of one of that day among those that are kept by their minutes.
    tourism.advance(((first + 72) * HOUR - now(tourism)) / 1e6)
    send(tourism, count("p1", "a", 1, now(tourism)))
    tourism.advance(120)
    tourism.rest()
    assert tourism.fire("GetStay", asked).stay.minutes == 150
