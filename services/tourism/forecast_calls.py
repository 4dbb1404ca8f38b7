"""Methods and timers of forecasts: hours are kept each night, learnt from then, and forecast from when each is over."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from functools import partial

from citybrain.tourism.v1 import forecasts_pb2 as pb
from citybrain.tourism.v1 import tourism_service_pb2 as places_pb

from citybrain.mesh.kept import unpacked
from citybrain.mesh.long_streams import done
from citybrain.mesh.service import Streams, View, at, every, off_loop, rpc
from citybrain.services.tourism import forecast_views, hour_views, hours, peaks, places, views
from citybrain.services.tourism import seasonal_autoregression as method
from citybrain.services.tourism.holiday_table import Table
from citybrain.services.tourism.hours import DAY, HOUR
from citybrain.services.tourism.offer_calls import SCANNED, OfferCalls
from citybrain.services.tourism.place_calls import Key
from citybrain.services.tourism.telemetry import MINUTE

HOLIDAYS = Table("CN")

CLOSED_AFTER = MINUTE
"""So long after its end an hour is forecast from: its last minute is counted by then."""

AGAIN_EVERY = 10
"""Every so many minutes what stands is compared with what counts say now."""

MOST_LEARNT = 5
"""So many places are learnt in a minute: each takes half a second of a processor."""

KEPT_AGAIN = 2
"""So many days before today are kept each night: the night before may have been missed."""


class ForecastCalls(OfferCalls):
    """Hours of places, and what is forecast from them."""

    months = Streams("hours", hours.Month, hours.evolve)
    forecasts = Streams("forecast", peaks.Told, peaks.evolve, snapshot_every=200)
    newest_hours = View(hour_views.MINUTE_EVENTS, hour_views.hour_key, hour_views.hour, row=hour_views.HourRow)
    days_of_hours = View(hour_views.DAY_EVENTS, hour_views.day_key, hour_views.day, row=hour_views.DayRow)
    histories = View(hour_views.DAY_EVENTS, hour_views.history_key, hour_views.history, row=hour_views.HistoryRow)
    forecast_list = View(
        forecast_views.FORECAST_EVENTS, forecast_views.forecast_key, forecast_views.forecast, row=forecast_views.ForecastRow
    )

    peak_list = View(forecast_views.PEAK_EVENTS, forecast_views.peak_key, forecast_views.peak, row=forecast_views.PeakRow)

    @rpc
    def GetForecasts(self, request: pb.GetForecastsRequest) -> pb.GetForecastsResponse:
        """The peaks that are forecast of a place, or why none is."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        told, known = self.forecasts.load(request.place_id), 0
        if told.learnt is None:
            known = sum(people != hours.UNKNOWN for row in self._days(request.place_id) for people in row.people)
        now = self.clock.now()
        return pb.GetForecastsResponse(
            place_id=place.place_id, district_id=place.district_id,
            forecasts=[peaks.shown(told, horizon, now, known) for horizon in peaks.AHEAD],
        )  # fmt: skip

    @rpc
    def ListPeakForecasts(self, request: pb.ListPeakForecastsRequest) -> pb.ListPeakForecastsResponse:
        """The fullest first, in pages."""
        district, now = request.district_id or self.caller.district, self.clock.now()

        def asked_for(after: Key | None) -> Iterator[tuple[forecast_views.PeakRow, pb.Forecast]]:
            rows = self.peak_list.derived(forecast_views.fullest_first).get(int(request.horizon), [])
            begin = bisect_right(rows, (-float(after[0]), str(after[1])), key=forecast_views.order_of) if after else 0
            for row in rows[begin:]:
                one = unpacked(row.forecast, pb.Forecast)
                if district in ("", row.district_id) and one.level >= request.level and peaks.is_shown(one, now):
                    yield row, one

        page, more = self.paging.ordered(
            request, asked_for, lambda found: (repr(found[0].share), found[0].place_id), default=50
        )
        return pb.ListPeakForecastsResponse(forecasts=[one for _, one in page], next_page_token=more)

    @rpc
    def ImportHourlyCounts(self, request: pb.ImportHourlyCountsRequest) -> pb.ImportHourlyCountsResponse:
        """Brings hours in, all of a batch or none."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        hours.check(request.counts, place, self.clock.now())
        days = hours.sorted_in(request.counts)
        months = sorted({hours.month_of(day) for day in days})
        known = {month: self.months.load(_month_id(request.place_id, month)) for month in months}
        new, corrected = hours.check_counted(
            request.counts, {day: one for each in known.values() for day, one in each.days.items()}
        )
        for day, brought in sorted(days.items()):
            self._keep(place, day, brought, imported=True)
        return pb.ImportHourlyCountsResponse(new=new, corrected=corrected)

    @at("03:00")
    def keep_hours(self) -> None:
        """Keeps the hours of the last days that were counted."""
        today, _ = hours.day_and_hour(self.clock.now() // HOUR)
        for place_id in self.now_list.derived(_known):
            place = self._place(place_id)
            for ago in range(KEPT_AGAIN, 0, -1):
                day = today - timedelta(days=ago)
                if counted := self._counted(place_id, day):
                    self._keep(place, day.isoformat(), counted, imported=False)

    @every(60)
    def forecast_peaks(self) -> None:
        """Learns places of which more is known, and forecasts from hours that are over."""
        now = self.clock.now()
        end, learnt = (now - CLOSED_AFTER) // HOUR, 0
        again = now // MINUTE % AGAIN_EVERY == 0
        for place_id, told in sorted(self.histories.derived(_told).items()):
            row = self.forecast_list.get(place_id) or forecast_views.ForecastRow(place_id)
            if told != row.told and told * DAY >= method.FEWEST_HOURS * method.FEWEST_KNOWN and learnt < MOST_LEARNT:
                learnt += 1
                self._learn(place_id, told)
            elif row.used and (again or row.made_from < end):
                self._forecast(place_id, end)

    def _learn(self, place_id: str, told: int) -> None:
        rows = [(date.fromisoformat(row.day), row.people, row.imported) for row in self._days(place_id)]
        learnt = off_loop(peaks.learn, self._place(place_id), peaks.history(rows, told), HOLIDAYS)
        done(self.forecasts, place_id, partial(peaks.take_in, learnt=learnt), label=f"learnt {told}")

    def _forecast(self, place_id: str, end: int) -> None:
        """Forecasts from the hours before one."""
        people, learnt = self._newest(place_id, end), self.forecasts.load(place_id).learnt
        if learnt is None:
            return
        place = self._place(place_id)
        found = off_loop(peaks.forecasts, place, learnt, end, people, HOLIDAYS)
        done(self.forecasts, place_id, partial(peaks.tell, district_id=place.district_id, found=found), label=str(end))

    def _newest(self, place_id: str, end: int) -> hours.Numbers:
        """The hours before one, as many as a forecast is made from: those of days that are kept, and what was counted since."""
        begin = end - method.WINDOW
        first, _ = hours.day_and_hour(begin)
        today, _ = hours.day_and_hour(end - 1)
        kept = ((date.fromisoformat(row.day), row.people) for row in self._days(place_id, first))
        people = hours.in_a_row(begin, method.WINDOW, kept)
        for ago in range(KEPT_AGAIN + 1):
            day = today - timedelta(days=ago)
            for hour, counted in self._counted(place_id, day).items():
                number = hours.first_hour(day) + hour - begin
                if 0 <= number < len(people):
                    people[number] = counted.people
        return people

    def _counted(self, place_id: str, day: date) -> dict[int, hours.Counted]:
        """The hours of a day that were counted, as far as they are kept by their minutes."""
        first, found = hours.first_hour(day), {}
        for hour in range(DAY):
            row = self.newest_hours.get(hour_views.hour_id(place_id, first + hour))
            if row is not None and row.hour == first + hour and (counted := hours.of_minutes(row.minutes)) is not None:
                found[hour] = counted
        return found

    def _days(self, place_id: str, first: date | None = None) -> Iterator[hour_views.DayRow]:
        """The days of a place that are kept, from a first one on."""
        prefix = hour_views.prefix(place_id)
        last = prefix if first is None else prefix + (first - timedelta(days=1)).isoformat()
        while rows := [(key, row) for key, row in self.days_of_hours.scan(last, SCANNED) if key.startswith(prefix)]:
            last = rows[-1][0]
            yield from (row for _, row in rows)

    def _keep(self, place: places_pb.Place, day: str, found: dict[int, hours.Counted], *, imported: bool) -> None:
        keep = partial(hours.keep, place=place, day=day, hours=found, imported=imported)
        done(self.months, _month_id(place.place_id, hours.month_of(day)), keep, label=day)


def _month_id(place_id: str, month: str) -> str:
    return f"{place_id}.{month}"


def _told(rows: Iterable[hour_views.HistoryRow]) -> dict[str, int]:
    """Place → how often days of its hours were told."""
    return {row.place_id: row.told for row in rows}


def _known(rows: Iterable[views.NowRow]) -> list[str]:
    """The places that were ever counted."""
    return sorted(row.place_id for row in rows)
