"""Methods and timers of the comparison of stations and of the forecast."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import partial

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.service import Heard, Streams, View, at, every, off_loop, rpc, subscribe
from citybrain.services.environment import air_quality_index, aqi_forecast, comparing, forecasts, hours, quantities, views
from citybrain.services.environment.case_calls import CaseCalls
from citybrain.services.environment.station_calls import Key


class OutlookCalls(CaseCalls):
    """Stations beside their neighbours, and the next day."""

    day_list = View(views.DAY_EVENTS, views.day_key, views.day, row=views.DayRow)
    biases = Streams("bias", comparing.Compared, comparing.evolve)
    bias_list = View(views.BIAS_EVENTS, views.bias_key, views.bias, row=views.BiasRow)
    forecasts = Streams("forecast", forecasts.Told, forecasts.evolve)

    @rpc
    def ListBiases(self, request: pb.ListBiasesRequest) -> pb.ListBiasesResponse:
        """How far each station reads beside its neighbours, the farthest first, in pages."""

        def asked_for(after: Key | None) -> Iterator[views.BiasRow]:
            rows = self.bias_list.derived(views.farthest_first)
            begin = bisect_right(rows, after, key=views.place_of_bias) if after else 0
            return (row for row in rows[begin:] if row.flagged or not request.flagged)

        page, more = self.paging.ordered(request, asked_for, views.place_of_bias)
        return pb.ListBiasesResponse(biases=[views.read_bias(row) for row in page], next_page_token=more)

    @at("01:10")
    def compare_stations(self) -> None:
        """Estimates how far each station reads beside its neighbours, over the last week."""
        now, known = self.clock.now(), self.station_list.derived(views.stations)
        since = now - comparing.DAYS * hours.DAY_US
        of_air = {key: one for key, one in known.items() if one.medium == pb.MEDIUM_AIR}
        satellites = {key: one for key, one in known.items() if one.medium == pb.MEDIUM_COLUMN}
        seen: dict[pb.Quantity, dict[str, dict[int, float]]] = {one: {} for one in comparing.COLUMN_OF.values()}
        for key in sorted(satellites):
            rows = self._hours_of(key, comparing.DAYS * 24 + 2)
            for quantity, by_satellite in seen.items():
                by_satellite[key] = comparing.hours_of(rows, quantity, since, covered=0.0)
        hours_of: dict[str, dict[str, dict[int, float]]] = {name: {} for name in air_quality_index.POLLUTANTS}
        for key in sorted(of_air):
            rows = self._hours_of(key, comparing.DAYS * 24 + 2)
            for name, by_station in hours_of.items():
                by_station[key] = comparing.hours_of(rows, quantities.numbered(name), since)
        estimated: set[str] = set()
        for name, by_station in hours_of.items():
            columns = seen[comparing.COLUMN_OF[name]] if name in comparing.COLUMN_OF else {}
            for bias in off_loop(comparing.estimated, name, of_air, by_station, satellites, columns):
                compare = partial(comparing.compare, bias=bias, place=of_air[bias.station_id].place, now=now)
                self.biases.handle(comparing.key(bias), compare, lambda after, _: after)
                estimated.add(comparing.key(bias))
        for one in self.bias_list.derived(views.farthest_first):
            if (key := comparing.key(views.read_bias(one))) not in estimated:
                self.biases.handle(key, partial(comparing.retract, now=now), lambda after, _: after)

    @rpc
    def GetForecast(self, request: pb.GetForecastRequest) -> pb.GetForecastResponse:
        """What is forecast for the day after the last whole one."""
        today, _ = hours.day_and_hour(self.clock.now())
        told = self.forecasts.load(request.station_id)
        return pb.GetForecastResponse(forecast=forecasts.standing(told, request.station_id, today))

    @at("00:40")
    def forecast_day(self) -> None:
        """Forecasts the day that has begun, for each station where that is better than that tomorrow is as today."""
        self._forecast(self.station_list.derived(views.stations))

    @every(600)
    def forecast_anew(self) -> None:
        """Forecasts anew where a forecast of today was taken back."""
        today, _ = hours.day_and_hour(self.clock.now())
        known = self.station_list.derived(views.stations)
        self._forecast({key: one for key, one in known.items() if self.forecasts.load(key).retracted == today})

    @subscribe(ev.AirQualityRetracted)
    def take_forecast_back(self, event: Heard) -> None:
        """A forecast that rests on a day which was computed anew is taken back."""
        data = event.data
        assert isinstance(data, ev.AirQualityRetracted)
        self.forecasts.handle(data.station_id, partial(forecasts.take_back, event=data), lambda after, _: after)

    def _forecast(self, stations: Mapping[str, pb.Station]) -> None:
        today, _ = hours.day_and_hour(self.clock.now())
        for station_id, station in sorted(stations.items()):
            if station.medium != pb.MEDIUM_AIR:
                continue
            found = off_loop(aqi_forecast.forecast, self._days_until(station_id, today))
            publish = partial(forecasts.publish, station=station, day=today, found=found)
            self.forecasts.handle(station_id, publish, lambda after, _: after)

    def _days_until(self, station_id: str, today: str) -> list[aqi_forecast.Day]:
        """The days before one, oldest first, without gaps: of a day that was not measured nothing is known."""
        prefix = views.hour_prefix(station_id)
        rows = [row for key, row in self.day_list.scan(prefix, forecasts.KEPT_DAYS) if key.startswith(prefix)]
        by_day = {row.day: row for row in rows if row.day < today}
        days, day = list[aqi_forecast.Day](), min(by_day, default=today)
        while day < today:
            row = by_day.get(day)
            told = {int(hour): index for hour, index in row.hours.items()} if row is not None else {}
            days.append(aqi_forecast.Day(row.index if row is not None else None, told))
            day = forecasts.following(day)
        return days
