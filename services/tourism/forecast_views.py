"""Read models of forecasts: those that stand, and what each place has, for the timer that makes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import forecasts_pb2 as pb

from citybrain.mesh.events import Heard, microseconds
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import packed
from citybrain.services.tourism.hours import HOUR

PEAK_EVENTS = (ev.PeakForecast, ev.PeakForecastRetracted)
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


@dataclass(frozen=True, slots=True)
class PeakRow:
    """The forecast that stands of a place and a horizon. `share`: of its capacity, in per cent."""

    place_id: str
    district_id: str
    horizon: int
    share: float
    forecast: str


def peak_key(event: Heard) -> str:
    """Place and horizon."""
    one = event.data.forecast if isinstance(event.data, ev.PeakForecast) else event.data
    assert isinstance(one, pb.Forecast | ev.PeakForecastRetracted)
    return joined(one.place_id, str(int(one.horizon)))


def peak(_row: PeakRow | None, event: Heard) -> PeakRow | None:
    """The newest forecast. None: it was taken back."""
    data = event.data
    if not isinstance(data, ev.PeakForecast):
        return None
    one = data.forecast
    return PeakRow(one.place_id, data.district_id, int(one.horizon), one.share, packed(one))


def order_of(row: PeakRow) -> tuple[float, str]:
    """What peaks are ordered by: the fullest first."""
    return -row.share, row.place_id


def fullest_first(rows: Iterable[PeakRow]) -> dict[int, list[PeakRow]]:
    """The peaks of each horizon, the fullest first."""
    found: dict[int, list[PeakRow]] = {}
    for row in sorted(rows, key=order_of):
        found.setdefault(row.horizon, []).append(row)
    return found
