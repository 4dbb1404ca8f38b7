"""The service while it runs: counts that are refused, minutes, what comes late, lists, and who may see what."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import forecasts_pb2 as forecasts
from citybrain.tourism.v1 import offers_pb2 as offers
from citybrain.tourism.v1 import opinion_pb2 as opinion
from citybrain.tourism.v1 import peaks_pb2 as pk
from citybrain.tourism.v1 import spend_pb2 as spend
from citybrain.tourism.v1 import tourism_service_pb2 as pb
from citybrain.tourism.v1 import visitors_pb2 as visitors

from citybrain.mesh.errors import BadRequest, Forbidden
from citybrain.mesh.events import timestamp
from citybrain.mesh.service import View
from citybrain.mesh.testing import Running, running
from citybrain.services.tourism import counting
from citybrain.services.tourism.service import TourismService
from citybrain.services.tourism.telemetry import MINUTE
from tests.unit.tourism.conftest import count, levels, minute, now, over, place, send, small, told


def shown(tourism: Running, place_id: str = "p1") -> pb.PlaceNow:
    found: pb.PlaceNow = tourism.fire("GetPlace", pb.GetPlaceRequest(place_id=place_id)).now
    return found


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"place_id": "p9"}, r"counts\[1\].place_id: is not known here: RegisterPlace"),
        ({"counter_id": "z"}, r"counts\[1\].counter_id: is no counter of place p1: it has a, b, c"),
        ({"people": -1}, r"counts\[1\].people: is -1, and there are never fewer than 0"),
        ({"people": 10_001}, r"counts\[1\].people: is 10001 on 1000 m², more than 10 on each"),
        ({"at": 61}, r"counts\[1\].counted_at: is .*nothing was taken in"),
        ({"at": -1801}, r"counts\[1\].counted_at: is .*nothing was taken in"),
    ],
)
def test_a_count_that_cannot_be_right_refuses_the_batch_and_names_the_field(
    tourism: Running, wrong: dict[str, Any], told: str
) -> None:
    at = now(tourism)
    bad = {"place_id": "p1", "counter_id": "a", "people": 5, "at": 0, **wrong}
    with pytest.raises(BadRequest, match=told):
        send(tourism, count("p1", "b", 5, at), count(bad["place_id"], bad["counter_id"], bad["people"], at + bad["at"] * 10**6))
    tourism.advance(120)
    tourism.rest()
    assert not tourism.events(ev.PlaceCounted)


def test_a_square_metre_has_ten_people_and_no_more(tourism: Running) -> None:
    assert send(tourism, count("p1", "a", 10_000, now(tourism))).late == 0


def test_counts_of_a_place_that_was_registered_just_now_are_taken(tourism: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    # The list is behind: it has p1 as it was, and p2 not yet.
    rows = {"p1": tourism.row("place_list", "p1")}
    monkeypatch.setattr(View, "get", lambda _view, key: rows.get(key))
    tourism.fire("RegisterPlace", pb.RegisterPlaceRequest(place=small("p2")))
    assert send(tourism, count("p2", "a", 3, now(tourism))).late == 0
    more = [*place().counters, pb.Counter(counter_id="d", part_id="lawn")]
    tourism.fire("RegisterPlace", pb.RegisterPlaceRequest(place=place(counters=more)))
    assert send(tourism, count("p1", "d", 3, now(tourism))).late == 0


def test_a_minute_that_is_over_says_who_is_there_and_a_level_is_told(tourism: Running) -> None:
    begun = minute(tourism, a=300, b=250, c=250)
    over(tourism)
    (counted,) = told(tourism, ev.PlaceCounted)
    assert (counted.people, counted.minute.ToMicroseconds(), counted.district_id) == (800, begun, "xihu")
    assert levels(tourism) == [("told", 0, 80)]
    one = shown(tourism)
    assert (one.people, one.capacity, one.share, one.level, one.name) == (800, 1000, 80, 80, "景点 p1")
    assert (one.state, one.kind, [part.density for part in one.parts]) == (
        pb.COUNT_STATE_COMPLETE, pb.PLACE_KIND_SITE, [0.3, 500 / 3000],
    )  # fmt: skip


def test_of_several_counts_in_a_minute_the_last_one_stands_and_twice_the_same_counts_once(tourism: Running) -> None:
    begun = minute(tourism, a=100, b=1, c=1)
    for _ in range(2):
        send(tourism, count("p1", "a", 7, begun + 20_000_000), count("p1", "a", 9, begun + 10_000_000))
    over(tourism)
    assert [one.people for one in told(tourism, ev.PlaceCounted)] == [9]


def test_a_late_count_completes_its_minute_at_once_and_a_corrected_one_retracts_the_level(tourism: Running) -> None:
    begun = minute(tourism, a=300, b=550)
    over(tourism)
    assert (shown(tourism).state, list(shown(tourism).missing)) == (pb.COUNT_STATE_INCOMPLETE, ["c"])
    assert send(tourism, count("p1", "c", 60, begun)).late == 1
    assert levels(tourism) == [("told", 0, 80), ("retracted", 0, 80), ("told", 0, 90)]
    assert send(tourism, count("p1", "b", 50, begun)).late == 1
    assert levels(tourism)[3:] == [("retracted", 0, 90)]
    tourism.rest()
    assert (shown(tourism).people, shown(tourism).level, shown(tourism).state) == (410, 0, pb.COUNT_STATE_COMPLETE)
    assert [one.revision for one in told(tourism, ev.PlaceCounted)] == [1, 2, 3]


def test_a_correction_of_a_minute_before_does_not_stand_in_the_place_of_the_newest(tourism: Running) -> None:
    begun = minute(tourism, a=300, b=1, c=1)
    minute(tourism, a=200, b=1, c=1)
    over(tourism)
    send(tourism, count("p1", "a", 5, begun))
    tourism.rest()
    assert shown(tourism).people == 202


def test_a_place_from_which_nothing_comes_is_silent_keeps_its_level_and_says_so_once(tourism: Running) -> None:
    minute(tourism, a=300, b=300, c=300)
    tourism.advance(240)
    tourism.rest()
    assert shown(tourism).state == pb.COUNT_STATE_COMPLETE
    tourism.advance(180)
    tourism.rest()
    tourism.fire("find_silent_places")
    assert len(told(tourism, ev.CountingStopped)) == 1
    one = shown(tourism)
    assert (one.state, one.people, one.level) == (pb.COUNT_STATE_SILENT, 900, 90)
    minute(tourism, a=3, b=3, c=3)
    over(tourism)
    assert (shown(tourism).state, levels(tourism)[-1]) == (pb.COUNT_STATE_COMPLETE, ("told", 90, 0))
    tourism.advance(600)
    tourism.rest()
    assert len(told(tourism, ev.CountingStopped)) == 2


def test_a_late_count_changes_the_levels_of_all_minutes_after_it(tourism: Running) -> None:
    begun = minute(tourism, a=300, b=200, c=200)
    for _ in range(4):
        minute(tourism, a=300, b=220, c=220)
    over(tourism)
    assert levels(tourism) == []
    send(tourism, count("p1", "b", 300, begun))
    tourism.rest()
    assert levels(tourism) == [("told", 0, 80)]
    assert [(one.revision, one.level) for one in told(tourism, ev.PlaceCounted)[5:]] == [(2, 80)] * 5
    assert shown(tourism).level == 80


def test_late_counts_of_several_minutes_in_one_batch_all_count(tourism: Running) -> None:
    moments = [minute(tourism, a=1, b=1, c=1) for _ in range(3)]
    over(tourism)
    assert send(tourism, *(count("p1", "a", 101 + n, moment) for n, moment in enumerate(moments))).late == 3
    assert [one.people for one in told(tourism, ev.PlaceCounted)[3:]] == [103, 104, 105]


def test_only_places_that_are_silent_and_of_which_it_was_not_told_are_asked(
    tourism: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    tourism.fire("RegisterPlace", pb.RegisterPlaceRequest(place=small("p2")))
    tourism.rest()
    minute(tourism, a=1, b=1, c=1)
    tourism.advance(300)
    minute(tourism, "p2", a=1)
    over(tourism)
    assert [one.place_id for one in told(tourism, ev.CountingStopped)] == ["p1"]
    asked: list[str] = []

    def stop(state: counting.State, now: int) -> list[Any]:
        asked.append(state.place.place_id if state.place is not None else "")
        return []

    monkeypatch.setattr(counting, "stop", stop)
    tourism.fire("find_silent_places")
    assert asked == []


def fill(tourism: Running, people: dict[str, tuple[str, int]]) -> None:
    """Places with their district, and how many are there."""
    for place_id, (district_id, _) in people.items():
        tourism.fire("RegisterPlace", pb.RegisterPlaceRequest(place=small(place_id, district_id)))
    tourism.rest()
    begun = now(tourism)
    send(tourism, *(count(place_id, "a", number, begun) for place_id, (_, number) in people.items()))
    tourism.advance(80)
    tourism.rest()


PEOPLE = {"q1": ("xihu", 50), "q2": ("gongshu", 90), "q3": ("xihu", 80), "q4": ("xihu", 80), "q5": ("gongshu", 10)}


def pages(tourism: Running, method: str, request: Any, **how: Any) -> list[str]:
    """All ids of a list, two a page."""
    found: list[str] = []
    request.page_size = 2
    for _ in range(9):
        answer = tourism.fire(method, request, **how)
        assert len(answer.places) == 2 or not answer.next_page_token
        found += [one.place_id for one in answer.places]
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    return found


def test_the_fullest_places_come_first_in_pages_of_the_city_and_of_a_district(tourism: Running) -> None:
    fill(tourism, PEOPLE)
    assert pages(tourism, "ListFullestPlaces", pb.ListFullestPlacesRequest()) == ["q2", "q3", "q4", "q1", "q5"]
    assert pages(tourism, "ListFullestPlaces", pb.ListFullestPlacesRequest(district_id="xihu")) == ["q3", "q4", "q1"]
    assert pages(tourism, "ListFullestPlaces", pb.ListFullestPlacesRequest(), district="gongshu") == ["q2", "q5"]
    first = tourism.fire("ListFullestPlaces", pb.ListFullestPlacesRequest()).places[0]
    assert (first.name, first.people, first.level) == ("景点 q2", 90, 90)


def test_places_are_listed_by_id_in_pages_of_the_city_and_of_a_district(tourism: Running) -> None:
    fill(tourism, PEOPLE)
    assert pages(tourism, "ListPlaces", pb.ListPlacesRequest()) == ["p1", "q1", "q2", "q3", "q4", "q5"]
    assert pages(tourism, "ListPlaces", pb.ListPlacesRequest(district_id="gongshu")) == ["q2", "q5"]
    assert pages(tourism, "ListPlaces", pb.ListPlacesRequest(), district="xihu") == ["p1", "q1", "q3", "q4"]
    with pytest.raises(Forbidden):
        tourism.fire("ListPlaces", pb.ListPlacesRequest(district_id="gongshu"), district="xihu")


def test_citizens_of_every_district_see_how_comfortable_places_are_and_nothing_else(tourism: Running) -> None:
    fill(tourism, PEOPLE)
    citizen: dict[str, Any] = {"scopes": ["tourism.public"], "clearance": "PUBLIC", "district": "gongshu"}
    answer = tourism.fire("ListComfort", pb.ListComfortRequest(), **citizen)
    assert {one.place_id: one.comfort for one in answer.places} == {
        "p1": pb.COMFORT_UNKNOWN, "q1": pb.COMFORT_COMFORTABLE, "q2": pb.COMFORT_CROWDED, "q3": pb.COMFORT_BUSY,
        "q4": pb.COMFORT_BUSY, "q5": pb.COMFORT_COMFORTABLE,
    }  # fmt: skip
    assert {field.name for field in pb.PlaceComfort.DESCRIPTOR.fields} == {
        "place_id", "name", "in_district", "kind", "comfort", "booking_paused", "entry_stopped", "elsewhere_ids",
    }  # fmt: skip
    assert pages(tourism, "ListComfort", pb.ListComfortRequest(in_district="xihu"), **citizen) == ["p1", "q1", "q3", "q4"]
    with pytest.raises(Forbidden):
        tourism.fire("ListFullestPlaces", pb.ListFullestPlacesRequest(), **citizen)
    tourism.advance(600)
    later = tourism.fire("ListComfort", pb.ListComfortRequest(), **citizen).places
    assert [one.comfort for one in later if one.place_id in ("q1", "q2")] == [pb.COMFORT_UNKNOWN, pb.COMFORT_CROWDED]


SCOPES: dict[str, dict[str, Any]] = {
    "tourism.public": {
        "ListComfort": pb.ListComfortRequest(),
        "GetOffer": offers.GetOfferRequest(offer_id="o1"),
        "ListOffers": offers.ListOffersRequest(),
    },
    "tourism.read": {
        "GetPlace": pb.GetPlaceRequest(place_id="p1"),
        "ListPlaces": pb.ListPlacesRequest(),
        "ListFullestPlaces": pb.ListFullestPlacesRequest(),
        "ListPeakForecasts": forecasts.ListPeakForecastsRequest(horizon=forecasts.HORIZON_DAY),
        "GetForecasts": forecasts.GetForecastsRequest(place_id="p1"),
        "GetFlows": visitors.GetFlowsRequest(place_id="p1", to=timestamp(36 * 10**8), **{"from": timestamp(0)}),
        "GetOrigins": visitors.GetOriginsRequest(place_id="p1", from_day="2026-01-01", to_day="2026-01-01"),
        "GetOpinion": opinion.GetOpinionRequest(place_id="p1", from_day="2026-01-01", to_day="2026-01-01"),
        "ListPosts": opinion.ListPostsRequest(place_id="p1", day="2026-01-01"),
        "GetSpend": spend.GetSpendRequest(place_id="p1", from_day="2026-01-01", to_day="2026-01-01"),
        "GetStay": visitors.GetStayRequest(place_id="p1", day="2026-01-01"),
    },
    "tourism.report": {
        "ReportCounts": pb.ReportCountsRequest(counts=[count("p1", "a", 1, 18 * 10**14)]),
        "ReportOffer": offers.ReportOfferRequest(
            offer_id="o1", state=offers.OFFER_STATE_OPEN, observed_at=timestamp(18 * 10**14)
        ),
        "AcknowledgeMeasure": pk.AcknowledgeMeasureRequest(place_id="p1", measure_id="m1"),
    },
    "tourism.measures": {
        "OrderMeasure": pk.OrderMeasureRequest(place_id="p1", measure_id="m1", kind=pk.MEASURE_KIND_STOP_ENTRY, reason="full"),
        "LiftMeasure": pk.LiftMeasureRequest(place_id="p1", measure_id="m1"),
        "EndPeak": pk.EndPeakRequest(place_id="p1", peak_id="peak-1", reason="over"),
        "RecordPeakReview": pk.RecordPeakReviewRequest(place_id="p1", peak_id="peak-1"),
    },
    "tourism.opinion": {
        "ReportPosts": opinion.ReportPostsRequest(
            place_id="p1",
            posts=[opinion.Post(post_id="x", channel=opinion.CHANNEL_NEWS, text="x", published_at=timestamp(18 * 10**14))],
        ),
        "DecidePost": opinion.DecidePostRequest(place_id="p1", day="2026-01-01", post_id="x", void=True),
    },
    "tourism.sums": {
        "ReportFlows": visitors.ReportFlowsRequest(
            source_id="s1", hour=timestamp(18 * 10**14), flows=[visitors.Flow(to_place_id="p1", people=20)]
        ),
        "ReportOrigins": visitors.ReportOriginsRequest(
            source_id="s1", place_id="p1", day="2026-01-01", origins=[visitors.Origin(people=20)]
        ),
        "ReportSpend": spend.ReportSpendRequest(
            source_id="s1", place_id="p1", day="2026-01-01", sums=[spend.SpendSum(kind=spend.VISITOR_KIND_LOCAL, people=20)]
        ),
    },
    "tourism.manage": {
        "RegisterPlace": pb.RegisterPlaceRequest(place=place("p2")),
        "RegisterOffer": offers.RegisterOfferRequest(
            offer=offers.Offer(offer_id="o1", name="x", element=offers.ELEMENT_FOOD, district_id="xihu")
        ),
        "ImportHourlyCounts": forecasts.ImportHourlyCountsRequest(
            place_id="p1", counts=[forecasts.HourlyCount(hour=timestamp(18 * 10**14))]
        ),
    },
}


def test_each_method_needs_its_scope(tourism: Running) -> None:
    answered = set(pb.DESCRIPTOR.services_by_name["TourismService"].methods_by_name)
    assert {method for calls in SCOPES.values() for method in calls} == answered
    for scope, calls in SCOPES.items():
        others = sorted(SCOPES.keys() - {scope})
        for method, request in calls.items():
            with pytest.raises(Forbidden, match=f"needs the scope {scope}"):
                tourism.fire(method, request, scopes=others)


def test_who_is_bound_to_a_district_counts_and_registers_no_place_of_another(tourism: Running) -> None:
    with pytest.raises(Forbidden):
        send(tourism, count("p1", "a", 1, now(tourism)), district="gongshu")
    with pytest.raises(Forbidden):
        tourism.fire("RegisterPlace", pb.RegisterPlaceRequest(place=place("p2")), district="gongshu")
    with pytest.raises(Forbidden):
        # It is not told in which district the place is that has this id.
        taken = pb.RegisterPlaceRequest(place=place("p1", district_id="gongshu"))
        tourism.fire("RegisterPlace", taken, district="gongshu")
    with pytest.raises(Forbidden):
        tourism.fire("GetPlace", pb.GetPlaceRequest(place_id="p1"), district="gongshu")


def test_a_minute_of_many_places_is_counted_for_each_and_those_without_counts_are_left_alone() -> None:
    with running(TourismService) as tourism:
        for number in range(4):
            tourism.fire("RegisterPlace", pb.RegisterPlaceRequest(place=small(f"p{number}")))
        tourism.rest()
        begun = now(tourism) // MINUTE * MINUTE
        send(tourism, *(count(f"p{number}", "a", number, now(tourism)) for number in (1, 2, 3)))
        tourism.advance(100)
        tourism.rest()
        counted = told(tourism, ev.PlaceCounted)
        assert [(one.place_id, one.people, one.minute.ToMicroseconds()) for one in counted] == [
            ("p1", 1, begun), ("p2", 2, begun), ("p3", 3, begun),
        ]  # fmt: skip
