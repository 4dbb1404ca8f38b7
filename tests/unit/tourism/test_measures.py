"""Measures at a place: what is ordered, acknowledged and lifted, in any order, and what everybody is told."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import forecasts_pb2 as fc
from citybrain.tourism.v1 import peaks_pb2 as pk
from citybrain.tourism.v1 import tourism_service_pb2 as pb

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.storage.state_packing import pack_state, unpack_state
from citybrain.mesh.testing import Running
from citybrain.services.tourism import measures
from citybrain.services.tourism.hours import HOUR
from tests.unit.tourism.conftest import HALL, minute, now, over, place, small, told

SUGGEST, PAUSE = pk.MEASURE_KIND_SUGGEST_ELSEWHERE, pk.MEASURE_KIND_PAUSE_BOOKING
STOP, DISPERSE = pk.MEASURE_KIND_STOP_ENTRY, pk.MEASURE_KIND_DISPERSE


def order(tourism: Running, key: str, kind: Any = STOP, part_id: str = "", place_id: str = "p1", **how: Any) -> pk.Measure:
    request = pk.OrderMeasureRequest(place_id=place_id, measure_id=key, kind=kind, part_id=part_id, reason="it is full")
    answer: pk.OrderMeasureResponse = tourism.fire("OrderMeasure", request, **how)
    tourism.rest()
    return answer.measure


def lift(tourism: Running, key: str) -> list[str]:
    answer = tourism.fire("LiftMeasure", pk.LiftMeasureRequest(place_id="p1", measure_id=key, reason="it is over"))
    tourism.rest()
    return [one.measure_id for one in answer.measures]


def seen(tourism: Running, key: str) -> pk.Measure:
    request = pk.AcknowledgeMeasureRequest(place_id="p1", measure_id=key)
    answer: pk.AcknowledgeMeasureResponse = tourism.fire("AcknowledgeMeasure", request)
    return answer.measure


def comfort(tourism: Running) -> pb.PlaceComfort:
    citizen: dict[str, Any] = {"scopes": ["tourism.public"], "clearance": "PUBLIC", "district": "gongshu"}
    (one,) = [one for one in tourism.fire("ListComfort", pb.ListComfortRequest(), **citizen).places if one.place_id == "p1"]
    assert isinstance(one, pb.PlaceComfort)
    return one


def test_what_is_in_force_is_shown_to_everybody_until_the_last_measure_of_its_kind_is_lifted(tourism: Running) -> None:
    order(tourism, "m1")
    order(tourism, "m2")
    order(tourism, "m3", PAUSE)
    assert (comfort(tourism).entry_stopped, comfort(tourism).booking_paused) == (True, True)
    assert lift(tourism, "m1") == ["m2", "m3"]
    assert comfort(tourism).entry_stopped
    assert lift(tourism, "m2") == ["m3"]
    assert (comfort(tourism).entry_stopped, comfort(tourism).booking_paused) == (False, True)
    assert [one.kind for one in told(tourism, ev.MeasureLifted)] == [STOP, STOP]
    answer = tourism.fire("GetPlace", pb.GetPlaceRequest(place_id="p1"))
    assert [(one.measure_id, one.kind, one.reason) for one in answer.measures] == [("m3", PAUSE, "it is full")]


def test_the_same_order_twice_is_one_and_another_under_its_id_is_refused(tourism: Running) -> None:
    assert order(tourism, "m1") == order(tourism, "m1")
    assert len(told(tourism, ev.MeasureOrdered)) == 1
    with pytest.raises(AlreadyDifferent):
        order(tourism, "m1", PAUSE)


def test_a_measure_that_was_lifted_before_it_came_is_refused_when_it_comes(tourism: Running) -> None:
    assert lift(tourism, "m1") == lift(tourism, "m1") == []
    with pytest.raises(Refused, match="was lifted before it came"):
        order(tourism, "m1")
    (lifted,) = told(tourism, ev.MeasureLifted)
    assert (lifted.measure_id, lifted.kind) == ("m1", pk.MEASURE_KIND_UNSPECIFIED)


def test_somebody_at_the_place_acknowledges_once(tourism: Running) -> None:
    order(tourism, "m1")
    assert seen(tourism, "m1") == seen(tourism, "m1")
    (acknowledged,) = told(tourism, ev.MeasureAcknowledged)
    assert (acknowledged.measure_id, acknowledged.kind, acknowledged.district_id) == ("m1", STOP, "xihu")
    with pytest.raises(NotFound, match="there is no measure m2 at p1"):
        seen(tourism, "m2")
    lift(tourism, "m1")
    with pytest.raises(Refused, match="is over"):
        seen(tourism, "m1")


def test_people_are_led_apart_in_a_part_of_the_place_and_everything_else_is_of_the_whole(tourism: Running) -> None:
    assert order(tourism, "m1", DISPERSE, HALL).part_id == HALL
    for kind, part_id in ((DISPERSE, ""), (DISPERSE, "cellar"), (STOP, HALL)):
        with pytest.raises(BadRequest, match="part_id"):
            order(tourism, "m2", kind, part_id)
    with pytest.raises(NotFound, match="there is no place p9"):
        order(tourism, "m2", place_id="p9")


def test_visitors_are_sent_only_where_there_is_room(tourism: Running) -> None:
    others = ["q1", "q2", "q3", "q4"]
    for name in others:
        tourism.fire("RegisterPlace", pb.RegisterPlaceRequest(place=small(name)))
    tourism.fire("RegisterPlace", pb.RegisterPlaceRequest(place=place(elsewhere_ids=[*others, "q9"])))
    tourism.rest()
    minute(tourism, "q1", a=20)
    minute(tourism, "q2", a=85)
    minute(tourism, "q4", a=10)
    over(tourism)
    # q2 is busy, q3 was never counted, nobody knows a q9.
    assert list(order(tourism, "m1", SUGGEST).elsewhere_ids) == ["q1", "q4"]
    assert list(comfort(tourism).elsewhere_ids) == ["q1", "q4"]
    assert list(order(tourism, "m2", PAUSE).elsewhere_ids) == []
    # Nor where there is no room any more.
    minute(tourism, "q4", a=85)
    over(tourism)
    assert list(comfort(tourism).elsewhere_ids) == ["q1"]
    lift(tourism, "m1")
    assert list(comfort(tourism).elsewhere_ids) == []


def test_at_most_so_many_measures_are_in_force_at_a_place() -> None:
    request = pk.OrderMeasureRequest(place_id="p1", measure_id="m", kind=STOP, reason="full")
    force = {f"m{number}": pk.Measure(measure_id=f"m{number}", kind=STOP) for number in range(measures.MOST)}
    with pytest.raises(Refused, match="100 measures are in force at p1"):
        measures.order(measures.State("xihu", force), place(), request, [], 1)
    force.popitem()
    assert measures.order(measures.State("xihu", force), place(), request, [], 1)


def test_who_is_bound_to_a_district_orders_nothing_elsewhere(tourism: Running) -> None:
    with pytest.raises(Forbidden):
        order(tourism, "m1", district="gongshu")


def test_a_peak_is_shown_with_the_place_ended_by_a_person_and_reviewed(tourism: Running) -> None:
    begun = minute(tourism, a=400, b=450)
    over(tourism)
    (peak,) = tourism.fire("GetPlace", pb.GetPlaceRequest(place_id="p1")).peaks
    assert (peak.state, peak.level, peak.most_people) == (pk.PEAK_STATE_OPEN, 80, 850)
    assert peak.most_at.ToMicroseconds() == begun
    request = pk.EndPeakRequest(place_id="p1", peak_id=peak.peak_id, reason="the show is cancelled")
    ended = tourism.fire("EndPeak", request).peak
    assert (ended.state, ended.most_people) == (pk.PEAK_STATE_ENDED, 850)
    recorded = pk.RecordPeakReviewRequest(place_id="p1", peak_id=peak.peak_id, flags=["no bus came"])
    review = tourism.fire("RecordPeakReview", recorded).review
    assert (list(review.flags), review.most_people, list(review.errors)) == (["no bus came"], 850, [])
    (peak,) = tourism.fire("GetPlace", pb.GetPlaceRequest(place_id="p1")).peaks
    assert peak.review == review


def forecast(tourism: Running, people: int, level: int, horizon: Any = fc.HORIZON_DAY, hours: int = 3) -> Any:
    """A forecast of so many people in the third hour from now; the hours before it are empty."""
    begin = now(tourism) // HOUR
    told_hours = [
        fc.ForecastHour(hour=timestamp((begin + number) * HOUR), people=people if number == hours else 10)
        for number in (1, 2, 3)
    ]
    made = fc.Forecast(
        place_id="p1", horizon=horizon, people=people, peak_hour=timestamp((begin + hours) * HOUR), lower=people - 50,
        upper=people + 50, capacity=1000, level=level, hours=told_hours,
    )  # fmt: skip
    tourism.fire("expect_crowds", ev.PeakForecast(forecast=made, district_id="xihu"))
    return made


def test_a_forecast_of_the_city_begins_a_peak_and_takes_it_back(tourism: Running) -> None:
    forecast(tourism, 700, 0)
    assert told(tourism, ev.PeakBegan) == []
    made = forecast(tourism, 920, 90)
    (began,) = told(tourism, ev.PeakBegan)
    assert (began.expected.people, began.expected.horizon_hours, began.capacity) == (920, 24, 1000)
    assert (began.expected.low, began.expected.high, began.expected.hour) == (870, 970, made.peak_hour)
    forecast(tourism, 1010, 100, fc.HORIZON_HOUR)
    (changed,) = told(tourism, ev.PeakChanged)
    assert [one.horizon_hours for one in changed.expected] == [1, 24]
    # Nobody expects a level in that hour any more.
    forecast(tourism, 700, 0, fc.HORIZON_HOUR)
    assert len(told(tourism, ev.PeakRetracted)) == 1


def test_a_forecast_that_was_retracted_takes_back_what_it_began(tourism: Running) -> None:
    made = forecast(tourism, 920, 90)
    gone = ev.PeakForecastRetracted(place_id="p1", district_id="xihu", horizon=fc.HORIZON_DAY, peak_hour=made.peak_hour)
    tourism.fire("expect_crowds", gone)
    assert len(told(tourism, ev.PeakRetracted)) == 1


def test_what_is_in_force_is_known_after_the_place_is_taken_up_again(tourism: Running) -> None:
    order(tourism, "m1")
    seen(tourism, "m1")
    state = measures.State()
    for event in tourism.events(ev.MeasureOrdered, ev.MeasureAcknowledged):
        state = measures.evolve(state, event.data)
    assert unpack_state(measures.State, pack_state(state)) == state and state.force["m1"].HasField("acknowledged_at")
