"""The forecast of the next day: tried on real days, and published only where it is better than that tomorrow is as today."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.errors import NotFound
from citybrain.mesh.testing import Running
from citybrain.services.environment import forecasts, hours
from citybrain.services.environment.aqi_forecast import FEWEST_DAYS, FEWEST_TRIED, Day, Forecast, forecast
from tests.unit.environment.conftest import moment, now

with Path(__file__).with_name("aotizhongxin_days.csv").open(encoding="utf-8") as _file:
    REAL = [
        Day(int(row["index"]) if row["index"] else None, {h: int(row[f"h{h}"]) for h in range(24) if row[f"h{h}"]})
        for row in csv.DictReader(_file)
    ]


def drifting(days: int, seed: int = 1) -> list[Day]:
    """Days whose last hours already are like the next day."""
    by, level, found = random.Random(seed), 100.0, []
    for _ in range(days):
        following = max(30.0, level + by.gauss(0, 25))
        found.append(Day(round(level), {hour: round(level + (following - level) * hour / 23) for hour in range(24)}))
        level = following
    return found


def test_on_real_days_it_is_better_than_that_tomorrow_is_as_today() -> None:
    found = forecast(REAL)
    assert found is not None and found.mase < 0.9 and found.tried == 30
    assert 0 <= found.index <= 500


def test_what_the_evening_tells_of_the_next_day_is_used() -> None:
    days = drifting(61)
    found = forecast(days[:60])
    assert found is not None and found.mase < 0.5
    assert abs(found.index - (days[60].index or 0)) < 15


def test_each_past_day_is_forecast_from_those_before_it_alone() -> None:
    # Whatever comes later changes no earlier try: the score of the first 50 days is in that of 51 but for the last.
    days = drifting(52)
    other = [*days[:-1], Day(499, {hour: 499 for hour in range(24)})]
    one, two = forecast(days[:-1]), forecast(other[:-1])
    assert one == two


def test_days_that_nobody_can_tell_from_the_days_before_are_not_forecast() -> None:
    by = random.Random(3)
    # As today, so tomorrow, for ever: nothing is better than that.
    still = [Day(100 + by.randint(-1, 1) * (n % 2), {hour: by.randint(0, 300) for hour in range(24)}) for n in range(60)]
    assert forecast([Day(100, one.hours) for one in still]) is None
    walk = [100]
    for _ in range(59):
        walk.append(walk[-1] + by.choice((-5, 5)))
    noise = [Day(index, {hour: by.randint(0, 300) for hour in range(24)}) for index in walk]
    assert forecast(noise) is None


def test_too_few_days_and_a_day_that_is_missing_give_no_forecast() -> None:
    days = drifting(80)
    fewest = FEWEST_DAYS + FEWEST_TRIED + 2
    assert forecast(days[:fewest]) is not None
    assert forecast(days[: fewest - 1]) is None
    assert forecast([]) is None
    for broken in (Day(None, days[-1].hours), Day(days[-1].index, {}), Day(100, {hour: 100 for hour in range(9)})):
        assert forecast([*days[:-1], broken]) is None
    # A gap in between leaves its days out, and no more.
    assert forecast([*days[:30], Day(None, {}), *days[31:]]) is not None


# -- while the service runs ---------------------------------------------------------------------------------------------------


def published(period: pb.Period, begins: int, index: int, incomplete: bool = False) -> ev.AirQualityPublished:
    quality = pb.AirQuality(index=index, incomplete=incomplete)
    told: dict[str, Any] = {"from": moment(begins / 1e6)}
    return ev.AirQualityPublished(station_id="a1", period=period, air_quality=quality, revision=1, district_id="xihu", **told)


def play(environment: Running, days: list[Day]) -> str:
    """Publishes days up to yesterday; gives yesterday."""
    today, _ = hours.day_and_hour(now(environment) * 1_000_000)
    begins = hours.beginning(today) - len(days) * hours.DAY_US
    events: list[Any] = []
    for day in days:
        events += [
            published(pb.PERIOD_HOUR, begins + hour * hours.HOUR_US, index) for hour, index in day.hours.items() if hour >= 12
        ]
        events.append(published(pb.PERIOD_DAY, begins, day.index or 0, incomplete=day.index is None))
        begins += hours.DAY_US
    for first in range(0, len(events), 90):
        environment.tell(*events[first : first + 90])
    environment.rest()
    return hours.day_and_hour(begins - hours.DAY_US)[0]


def get(environment: Running) -> pb.Forecast:
    found: pb.Forecast = environment.fire("GetForecast", pb.GetForecastRequest(station_id="a1"), district="gongshu").forecast
    return found


def test_a_forecast_is_published_with_its_score_and_taken_back_when_yesterday_is_computed_anew(environment: Running) -> None:
    days = drifting(45)
    yesterday = play(environment, days)
    environment.fire("forecast_day")
    expected = forecast(days)
    assert expected is not None
    told = get(environment)
    assert (told.index, told.mase, told.days_tried) == (expected.index, expected.mase, expected.tried)
    assert told.day == hours.day_and_hour(now(environment) * 1_000_000)[0] and "least squares" in told.method
    environment.fire("forecast_day")
    assert len(environment.events(ev.ForecastPublished)) == 1
    begins = hours.beginning(yesterday)
    retracted: dict[str, Any] = {"from": moment(begins / 1e6)}
    environment.tell(
        ev.AirQualityRetracted(station_id="a1", period=pb.PERIOD_DAY, revision=1, district_id="xihu", **retracted),
        published(pb.PERIOD_DAY, begins, 300),
    )
    environment.rest()
    (event,) = environment.events(ev.ForecastRetracted)
    assert event.data.reason == f"the air quality of {yesterday} was computed anew"  # type: ignore[attr-defined]
    with pytest.raises(NotFound, match="nothing is forecast for a1"):
        get(environment)
    environment.advance(600)
    environment.rest()
    assert get(environment).day == told.day
    assert len(environment.events(ev.ForecastPublished)) == 2


@pytest.mark.parametrize(
    ("days_before", "hour", "holds"),
    # The index of the last two days and the hours of the last half day are what it rests on.
    [(1, None, False), (2, None, False), (3, None, True), (1, 12, False), (1, 11, True), (2, 20, True)],
)
def test_a_forecast_is_taken_back_when_anything_that_it_rests_on_is_computed_anew(
    days_before: int, hour: int | None, holds: bool
) -> None:
    today = "2026-01-05"
    begins = hours.beginning(today) - days_before * hours.DAY_US + (hour or 0) * hours.HOUR_US
    told = forecasts.Told(pb.Forecast(station_id="a1", day=today))
    from_: dict[str, Any] = {"from": moment(begins / 1e6)}
    event = ev.AirQualityRetracted(
        station_id="a1", period=pb.PERIOD_DAY if hour is None else pb.PERIOD_HOUR, district_id="xihu", **from_
    )
    assert (forecasts.take_back(told, event) == []) is holds
    # Of another day than today's nothing was said.
    assert forecasts.take_back(forecasts.Told(pb.Forecast(station_id="a1", day="2026-01-09")), event) == []
    assert forecasts.take_back(forecasts.Told(), event) == []


def test_the_forecast_of_a_day_is_told_while_it_is_that_day(environment: Running) -> None:
    play(environment, drifting(45))
    environment.fire("forecast_day")
    told = get(environment)
    standing = forecasts.Told(told)
    assert forecasts.standing(standing, "a1", told.day) == told
    with pytest.raises(NotFound):
        forecasts.standing(standing, "a1", forecasts.following(told.day))


def test_another_forecast_of_the_same_day_takes_the_first_one_back() -> None:
    a1 = pb.Station(station_id="a1", district_id="xihu")
    (first,) = forecasts.publish(forecasts.Told(), a1, "2026-01-05", Forecast(90, 0.5, 20))
    told = forecasts.evolve(forecasts.Told(), first)
    kinds = [type(one).__name__ for one in forecasts.publish(told, a1, "2026-01-05", Forecast(91, 0.5, 20))]
    assert kinds == ["ForecastRetracted", "ForecastPublished"]
    assert [type(one).__name__ for one in forecasts.publish(told, a1, "2026-01-05", None)] == ["ForecastRetracted"]
    assert forecasts.publish(told, a1, "2026-01-05", Forecast(90, 0.5, 20)) == []
    # One of another day stays as it was said.
    assert [type(one).__name__ for one in forecasts.publish(told, a1, "2026-01-06", Forecast(91, 0.5, 20))] == [
        "ForecastPublished"
    ]


def test_where_it_would_be_no_better_nothing_is_published(environment: Running) -> None:
    days = [Day(index, {hour: 100 for hour in range(24)}) for index in (90, 95) * 22]
    play(environment, [Day(100, day.hours) for day in days])
    environment.fire("forecast_day")
    assert not environment.events(ev.ForecastPublished)
    with pytest.raises(NotFound):
        get(environment)


def test_an_incomplete_day_is_no_day_to_learn_from(environment: Running) -> None:
    days = drifting(45)
    play(environment, [*days[:-1], Day(None, days[-1].hours)])
    environment.fire("forecast_day")
    assert not environment.events(ev.ForecastPublished)
