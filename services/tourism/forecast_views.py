"""Read model of forecasts: what each place has, for the timer that makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from citybrain.tourism.v1 import events_pb2 as ev

from citybrain.mesh.events import Heard, microseconds
from citybrain.services.tourism.hours import HOUR

FORECAST_EVENTS = (ev.ForecastLearnt, ev.PeakForecast)


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """A place. `told`: how many days it was learnt from. `used`: whether anything is forecast.

    `made_from`: the number since 1970 of the hour after those that the newest forecast was made from.
    """

    place_id: str
    told: int = 0
    used: bool = False
    made_from: int = 0


def forecast_key(event: Heard) -> str:
    """The place."""
    data = event.data
    if isinstance(data, ev.ForecastLearnt):
        return data.place_id
    assert isinstance(data, ev.PeakForecast)
    return data.forecast.place_id


def forecast(row: ForecastRow | None, event: Heard) -> ForecastRow | None:
    """The place after an event."""
    data, row = event.data, row or ForecastRow(forecast_key(event))
    if isinstance(data, ev.ForecastLearnt):
        return replace(row, told=data.days_told, used=any(one.used for one in data.horizons))
    assert isinstance(data, ev.PeakForecast)
    return replace(row, made_from=microseconds(data.forecast.made_from) // HOUR)
