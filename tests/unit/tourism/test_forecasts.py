"""The service: hours are brought in and counted, places are learnt, peaks are told and retracted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import forecasts_pb2 as pb
from citybrain.tourism.v1 import tourism_service_pb2 as places_pb

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.tourism import forecast_calls, hours
from citybrain.services.tourism.hours import DAY, HOUR
from citybrain.services.tourism.service import TourismService
from tests.unit.tourism.conftest import count, now, place, send, told
from tests.unit.tourism.hour_series import people

WEEKS = 10
PEAKS = (ev.PeakForecast, ev.PeakForecastRetracted)


@pytest.fixture(scope="module")
def learnt() -> Iterator[Running]:
    """A place of which ten weeks are known, until the hour that is over just now."""
    with running(TourismService) as service:
        service.fire("RegisterPlace", places_pb.RegisterPlaceRequest(place=place()))
        service.advance((-now(service) % HOUR) / 1e6)
        assert bring(service, [int(one) for one in people(WEEKS * 7)]) == (WEEKS * 7 * DAY, 0)
        service.rest()
        service.advance(60)
        service.rest()
        service.advance(60)
        service.rest()
        yield service


def bring(tourism: Running, series: list[int], *, ago: int = 0, place_id: str = "p1") -> tuple[int, int]:
    """Brings hours in that end so many hours ago."""
    end = now(tourism) // HOUR - ago
    counts = [
        pb.HourlyCount(hour=timestamp((end - len(series) + number) * HOUR), people=one) for number, one in enumerate(series)
    ]
    answer = tourism.fire("ImportHourlyCounts", pb.ImportHourlyCountsRequest(place_id=place_id, counts=counts))
    return answer.new, answer.corrected


def ask(tourism: Running, place_id: str = "p1") -> list[pb.HorizonForecast]:
    return list(tourism.fire("GetForecasts", pb.GetForecastsRequest(place_id=place_id)).forecasts)


def reasons(tourism: Running, place_id: str = "p1") -> list[pb.NoForecastReason]:
    return [one.none.reason for one in ask(tourism, place_id)]


def test_a_place_with_history_is_learnt_and_its_peaks_are_told(learnt: Running) -> None:
    (event,) = told(learnt, ev.ForecastLearnt)
    assert (event.days_told, event.basis.imported_hours) in {(WEEKS * 7, WEEKS * 7 * DAY), (WEEKS * 7 + 1, WEEKS * 7 * DAY)}
    peaks = [one.forecast for one in told(learnt, *PEAKS)]
    assert [one.horizon for one in peaks] == [pb.HORIZON_HOUR, pb.HORIZON_DAY]
    assert [one.forecast for one in ask(learnt)] == peaks
    end = now(learnt) // HOUR
    assert all(microseconds(one.made_from) == end * HOUR for one in peaks)
    # Ten weeks of a series whose days are alike: tomorrow's fullest hour is about as full as that of a week ago.
    week_ago = people(WEEKS * 7)[-168:-144]
    assert peaks[1].people == pytest.approx(week_ago.max(), rel=0.35)


def test_a_number_that_is_corrected_has_what_was_told_retracted_and_told_anew(learnt: Running) -> None:
    before = len(told(learnt, *PEAKS))
    last = int(people(WEEKS * 7)[-1])
    assert bring(learnt, [2 * last]) == (0, 1)
    learnt.rest()
    for _ in range(11):
        learnt.advance(60)
        learnt.rest()
    kinds = [type(one) for one in told(learnt, *PEAKS)[before:]]
    assert kinds == [ev.PeakForecastRetracted, ev.PeakForecast] * 2
    hour = told(learnt, *PEAKS)[before + 1].forecast
    assert hour.people > told(learnt, *PEAKS)[0].forecast.people * 1.2
    assert ask(learnt)[0].forecast == hour


def test_counts_of_an_hour_make_the_forecast_of_the_next_and_no_counts_stop_it(learnt: Running) -> None:
    begun = now(learnt)
    learnt.advance((-begun % HOUR) / 1e6)
    # The hour before was not counted: of that one nothing is forecast, and what stands is not shown for ever.
    before = len(told(learnt, *PEAKS))
    hour = now(learnt)
    for quarter in range(4):
        at = hour + quarter * HOUR // 4
        learnt.advance((at - now(learnt)) / 1e6)
        send(learnt, *(count("p1", key, 100 + quarter, at) for key in "abc"))
    # Of a minute in which two counters say nothing nobody knows how many there were.
    learnt.advance(300)
    send(learnt, count("p1", "a", 900, now(learnt)))
    learnt.advance((hour + HOUR - now(learnt)) / 1e6 + 120)
    learnt.rest()
    learnt.advance(60)
    learnt.rest()
    made = [one.forecast for one in told(learnt, *PEAKS)[before:]]
    assert [microseconds(one.made_from) for one in made] == [hour + HOUR] * 2
    learnt.advance(2 * 3600)
    learnt.rest()
    assert reasons(learnt) == [pb.NO_FORECAST_REASON_HISTORY_STOPPED] * 2
    assert len(told(learnt, *PEAKS)) == before + 2


def test_each_night_the_hours_of_the_day_before_are_kept(learnt: Running) -> None:
    at_three, _ = hours.day_and_hour(now(learnt) // HOUR)
    night = (hours.first_hour(at_three + timedelta(days=1)) + 3) * HOUR
    before = len(told(learnt, ev.DayOfHoursKnown))
    learnt.advance((night - now(learnt)) / 1e6 + 1)
    learnt.rest()
    kept = [one for one in told(learnt, ev.DayOfHoursKnown)[before:] if 309 in one.people]
    assert len(kept) == 1
    assert list(kept[0].people).index(309) not in kept[0].imported


def test_what_the_city_has_counted_itself_is_not_brought_in(learnt: Running) -> None:
    kept = next(one for one in reversed(told(learnt, ev.DayOfHoursKnown)) if 309 in one.people)
    with pytest.raises(BadRequest, match=r"counts\[0\].hour: was counted here already \(309 people\)"):
        at = hours.first_hour(date.fromisoformat(kept.day)) + list(kept.people).index(309)
        hour = pb.HourlyCount(hour=timestamp(at * HOUR), people=5)
        learnt.fire("ImportHourlyCounts", pb.ImportHourlyCountsRequest(place_id="p1", counts=[hour]))


def test_an_hour_of_three_days_ago_is_not_taken_for_one_of_today(learnt: Running) -> None:
    learnt.advance((-now(learnt) % HOUR) / 1e6)
    for quarters in (4, 3, 4):
        hour = now(learnt)
        for quarter in range(quarters):
            learnt.advance((hour + quarter * HOUR // 4 - now(learnt)) / 1e6)
            send(learnt, *(count("p1", key, 2000 + quarter, now(learnt)) for key in "abc"))
        learnt.advance((hour + 72 * HOUR - now(learnt)) / 1e6)
        learnt.rest()
    learnt.advance(48 * 3600)
    learnt.rest()
    kept = [one for one in told(learnt, ev.DayOfHoursKnown) if {6009, 6006, 6003} & set(one.people)]
    assert [[people for people in one.people if people in (6009, 6006, 6003)] for one in kept] == [[6009]] * 2


def test_in_a_minute_so_many_places_are_learnt_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_calls, "MOST_LEARNT", 1)
    with running(TourismService) as service:
        for place_id in ("p1", "p2"):
            service.fire("RegisterPlace", places_pb.RegisterPlaceRequest(place=place(place_id)))
            bring(service, [int(one) for one in people(WEEKS * 7)], place_id=place_id)
        for number in (1, 2):
            service.rest()
            service.advance(60)
            service.rest()
            assert len(told(service, ev.ForecastLearnt)) == number


def test_peaks_are_listed_the_fullest_first_until_they_are_outdated(tourism: Running) -> None:
    first = hours.first_hour(date(2026, 6, 1))
    tourism.advance((first * HOUR - now(tourism)) / 1e6)
    told_shares = {"a": 50.0, "b": 95.0, "c": 120.0, "d": 85.0}
    for place_id, share in told_shares.items():
        for horizon in (pb.HORIZON_HOUR, pb.HORIZON_DAY):
            level = 100 if share >= 100 else 90 if share >= 90 else 80 if share >= 80 else 0
            one = pb.Forecast(place_id=place_id, horizon=horizon, made_from=timestamp(first * HOUR), share=share, level=level)
            one.made_from.seconds -= 3600 * (place_id == "d")
            tourism.tell(ev.PeakForecast(forecast=one, district_id="xihu" if place_id < "c" else "gongshu"))
    tourism.tell(ev.PeakForecastRetracted(place_id="c", horizon=pb.HORIZON_HOUR, district_id="gongshu"))
    tourism.rest()

    def listed(token: str = "", horizon: pb.Horizon = pb.HORIZON_DAY, **more: Any) -> tuple[list[str], str]:
        request = pb.ListPeakForecastsRequest(horizon=horizon, page_token=token, level=more.pop("level", 0), page_size=2)
        answer = tourism.fire("ListPeakForecasts", request, **more)
        return [one.place_id for one in answer.forecasts], answer.next_page_token

    begin, token = listed()
    assert begin == ["c", "b"] and listed(token) == (["d", "a"], "")
    assert listed(level=90)[0] == ["c", "b"] and listed(level=100)[0] == ["c"]
    assert listed(horizon=pb.HORIZON_HOUR)[0] == ["b", "d"]
    assert listed(district="xihu")[0] == ["b", "a"]
    tourism.advance(3600)
    assert listed(listed()[1])[0] == ["a"]


def test_three_days_are_too_little_and_an_unknown_place_is_said_to_be(tourism: Running) -> None:
    assert reasons(tourism) == [pb.NO_FORECAST_REASON_TOO_LITTLE_HISTORY] * 2
    bring(tourism, [100] * 72)
    tourism.rest()
    tourism.advance(120)
    tourism.rest()
    assert [(one.none.reason, one.none.hours) for one in ask(tourism)] == [(pb.NO_FORECAST_REASON_TOO_LITTLE_HISTORY, 72)] * 2
    assert told(tourism, ev.ForecastLearnt) == []
    with pytest.raises(NotFound):
        ask(tourism, "p9")


def test_a_batch_with_one_bad_hour_brings_nothing_in(tourism: Running) -> None:
    with pytest.raises(BadRequest, match=r"counts\[1\].people"):
        bring(tourism, [100, -1])
    assert told(tourism, ev.DayOfHoursKnown) == []


def test_hours_are_brought_in_and_forecasts_are_read_in_the_own_district_only(tourism: Running) -> None:
    hour = pb.HourlyCount(hour=timestamp(now(tourism) // HOUR * HOUR - HOUR), people=1)
    brought = pb.ImportHourlyCountsRequest(place_id="p1", counts=[hour])
    for method, request in (("ImportHourlyCounts", brought), ("GetForecasts", pb.GetForecastsRequest(place_id="p1"))):
        with pytest.raises(Forbidden):
            tourism.fire(method, request, district="gongshu")
    tourism.fire("ImportHourlyCounts", brought, district="xihu")


def test_where_luck_alone_moves_the_weeks_nothing_is_told_and_the_figures_are(tourism: Running) -> None:
    by = np.random.default_rng(4)
    roots = np.cumsum(by.normal(0, 1, (WEEKS, 168)), axis=0) + 20
    bring(tourism, [int(one) for one in np.square(np.maximum(roots.ravel(), 0))])
    tourism.rest()
    tourism.advance(180)
    tourism.rest()
    hour, day = (one.none for one in ask(tourism))
    assert hour.reason == day.reason == pb.NO_FORECAST_REASON_NOT_BETTER_THAN_NAIVE
    assert hour.score.mase > 0.9 * hour.score.naive_mase > 0
    assert told(tourism, *PEAKS) == []
