"""The forecast of a station: published, retracted when what it rests on holds no more. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound
from citybrain.mesh.events import microseconds
from citybrain.services.environment import air_quality_index, aqi_forecast, hours
from citybrain.services.environment.aqi_forecast import FIRST_HOUR

KEPT_DAYS = 120
"""So many days are learned from."""


@dataclass(frozen=True, slots=True)
class Told:
    """The forecast that stands. `retracted`: the day of which the last one was taken back."""

    forecast: pb.Forecast | None = None
    retracted: str = ""


def evolve(told: Told, event: Message) -> Told:
    """What stands after an event."""
    match event:
        case ev.ForecastPublished():
            return Told(event.forecast)
        case ev.ForecastRetracted():
            return Told(None, event.day)
    return told


def following(day: str) -> str:
    """The day after one."""
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def publish(told: Told, station: pb.Station, day: str, found: aqi_forecast.Forecast | None) -> list[Message]:
    """Publishes the forecast of a day, if it is one; takes back what was said of that day before, and holds no more."""
    known = told.forecast if told.forecast is not None and told.forecast.day == day else None
    forecast = None
    if found is not None:
        forecast = pb.Forecast(
            station_id=station.station_id, day=day, index=found.index, mase=found.mase, days_tried=found.tried,
            category=pb.AirCategory.Name(air_quality_index.category(found.index)), method=aqi_forecast.METHOD,
        )  # fmt: skip
    if known == forecast:
        return []
    events: list[Message] = []
    if known is not None:
        events += retract(told, station.station_id, station.district_id, day, "what it rests on was computed anew")
    if forecast is not None:
        events.append(ev.ForecastPublished(forecast=forecast, district_id=station.district_id))
    return events


def retract(told: Told, station_id: str, district_id: str, day: str, reason: str) -> list[Message]:
    """Takes the forecast of a day back, if it stands."""
    if told.forecast is None or told.forecast.day != day:
        return []
    return [ev.ForecastRetracted(station_id=station_id, day=day, reason=reason, district_id=district_id)]


def take_back(told: Told, event: ev.AirQualityRetracted) -> list[Message]:
    """What was published of an hour or of a day holds no more, nor does the forecast that rests on it.

    A forecast rests on the index of the two days before its day, and on the hours of the later half of the last one.
    """
    day, hour = hours.day_and_hour(microseconds(getattr(event, "from")))
    next_day = following(day)
    resting = (next_day, following(next_day)) if event.period == pb.PERIOD_DAY else (next_day,) if hour >= FIRST_HOUR else ()
    if told.forecast is None or told.forecast.day not in resting:
        return []
    reason = f"the air quality of {day} was computed anew"
    return retract(told, event.station_id, event.district_id, told.forecast.day, reason)


def standing(told: Told, station_id: str, today: str) -> pb.Forecast:
    """The forecast for today or later, or NotFound."""
    if told.forecast is None or told.forecast.day < today:
        why = "too little is known, or it would be no better than that tomorrow is as today"
        problem = f"nothing is forecast for {station_id}: {why}"
        raise NotFound(problem, "NO_FORECAST")
    return told.forecast
