"""Methods and timers of stations: what they measure hour by hour, and the air quality that follows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from citybrain.environment.v1 import environment_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.events import timestamp
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Caller, Clock, Paging, Service, Streams, View, Window, at, rpc, window
from citybrain.services.environment import hours, sources, stations, telemetry, views

Key = tuple[int | str, ...]
"""What a list is ordered by."""

NOW_US = 3 * hours.HOUR_US
"""An hour that began longer ago is not what the air is like now."""


T = TypeVar("T")

SCANNED = 100
"""So many rows of a read model are read at a time."""


def scanned(view: View[T], after: str, prefix: str = "") -> Iterator[tuple[str, T]]:
    """The rows of a read model after a key, in its order, as far as their keys begin with `prefix`; read some at a time."""
    last = after
    while rows := view.scan(last, SCANNED):
        for last, row in rows:
            if not last.startswith(prefix):
                return
            yield last, row


KEPT_DAYS = 7
"""So many days back a day is published that was not: as long as readings are taken."""


class StationCalls(Service):
    """Stations, their hours and days."""

    stations = Streams("station", stations.StationState, stations.evolve, district=stations.district_of)
    lives = Streams("source", sources.Life, sources.evolve, district=sources.district_of)
    days = Streams("day", hours.Day, hours.evolve)
    station_list = View(views.STATION_EVENTS, views.station_key, views.station, row=Kept)
    hour_list = View(views.HOUR_EVENTS, views.hour_key, views.hour, row=Kept)
    air_now = View(views.AIR_EVENTS, views.air_key, views.air, row=views.AirRow)
    paging = Paging()
    clock = Clock()
    caller = Caller()

    @rpc
    def RegisterStation(self, request: pb.RegisterStationRequest) -> pb.RegisterStationResponse:
        """Registers a station, or changes it."""
        source_id = request.station.source_id
        known = not source_id or self.lives.load(source_id).source is not None
        register = partial(stations.register, request=request, source_known=known)
        after = self.stations.handle(request.station.station_id, register, lambda after, _: after)
        return pb.RegisterStationResponse(station=after.station)

    @rpc
    def GetStation(self, request: pb.GetStationRequest) -> pb.GetStationResponse:
        """One station, with its last hour."""
        station = stations.existing(self.stations.load(request.station_id), request.station_id)
        last = self._hours_of(request.station_id, 1)
        return pb.GetStationResponse(station=station, last_hour=last[0] if last else None)

    @rpc
    def ListStations(self, request: pb.ListStationsRequest) -> pb.ListStationsResponse:
        """By id, in pages."""

        def asked_for(after: Key | None) -> Iterator[pb.Station]:
            for _, row in scanned(self.station_list, str(after[0]) if after else ""):
                if stations.is_asked_for(one := row.read(pb.Station), request):
                    yield one

        page, more = self.paging.ordered(request, asked_for, lambda one: (one.station_id,), default=100)
        return pb.ListStationsResponse(stations=page, next_page_token=more)

    @rpc
    def ListStationHours(self, request: pb.ListStationHoursRequest) -> pb.ListStationHoursResponse:
        """The hours of a station, newest first, in pages."""
        stations.existing(self.stations.load(request.station_id), request.station_id)
        prefix = views.hour_prefix(request.station_id)
        page, more = self.paging.scan(request, self.hour_list, default=24, prefix=prefix)
        return pb.ListStationHoursResponse(hours=[row.read(pb.StationHour) for _, row in page], next_page_token=more)

    @rpc
    def ListAirQuality(self, request: pb.ListAirQualityRequest) -> pb.ListAirQualityResponse:
        """The newest air quality of each station, the worst first, in pages."""
        known, since = self.station_list.derived(views.stations), self.clock.now() - NOW_US

        def asked_for(after: Key | None) -> Iterator[views.AirRow]:
            rows = self.air_now.derived(views.worst_first)
            for row in rows[bisect_right(rows, after, key=views.place_in_list) if after else 0 :]:
                station = known.get(row.station_id)
                if row.begins >= since and station is not None and request.in_district in ("", station.district_id):
                    yield row

        page, more = self.paging.ordered(request, asked_for, views.place_in_list)
        shown = [views.read_air(row, known[row.station_id]) for row in page]
        return pb.ListAirQualityResponse(stations=shown, next_page_token=more)

    @window(
        pb.ReportReadingsRequest,
        seconds=3600,
        readings=telemetry.readings,
        fold=telemetry.fold,
        late_s=telemetry.LATE_S,
    )
    def hour(self, measured: Window) -> None:
        """Computes an hour that is over."""
        known = self.station_list.derived(views.stations)
        for station_id in sorted(measured.states):
            station = known.get(station_id) or self.stations.load(station_id).station
            if station is not None:
                self._measure(station, measured.start, measured.states[station_id])

    @at("00:20")
    def close_days(self) -> None:
        """Publishes the air quality of the day that is over; of days before it, where no process was up at their end."""
        now = self.clock.now()
        days = [hours.day_and_hour(now - n * hours.DAY_US)[0] for n in range(1, KEPT_DAYS + 1)]
        for station_id, station in sorted(self.station_list.derived(views.stations).items()):
            for day in days if station.medium == pb.MEDIUM_AIR else ():
                key = f"{station_id}.{day}"
                if day == days[0] or hours.is_unpublished(self.days.load(key)):
                    close = partial(hours.close, station=station, start=hours.beginning(day))
                    self.days.handle(key, close, lambda after, _: after, label=day)

    def _stations_of(self, readings: Iterable[pb.Reading]) -> dict[str, pb.Station]:
        """The stations of readings, as far as they are known.

        The list may not have the newest yet: then their streams are asked.
        """
        listed, found = self.station_list.derived(views.stations), dict[str, pb.Station]()
        sensors: set[tuple[str, str]] = set()
        for station_id, sensor_id in sorted({(one.station_id, one.sensor_id) for one in readings}):
            if station_id not in found and station_id in listed:
                found[station_id] = listed[station_id]
                sensors |= {(station_id, sensor.sensor_id) for sensor in listed[station_id].sensors}
            if (station_id, sensor_id) not in sensors:
                newest = self.stations.load(station_id).station
                if newest is not None:
                    found[station_id] = newest
                    sensors |= {(station_id, sensor.sensor_id) for sensor in newest.sensors}
        return found

    def _compute_anew(self, readings: Sequence[pb.Reading], known: dict[str, pb.Station]) -> None:
        """Puts late readings into their hours."""
        found: dict[tuple[str, int], telemetry.Values] = {}
        for one in telemetry.readings(pb.ReportReadingsRequest(readings=readings)):
            key = one.key, one.at - one.at % hours.HOUR_US
            found[key] = telemetry.fold(found.get(key), one.value)
        for (station_id, start), values in sorted(found.items()):
            self._measure(known[station_id], start, values)

    def _measure(self, station: pb.Station, start: int, values: hours.Values) -> None:
        day, _ = hours.day_and_hour(start)
        over = self.clock.now() >= hours.beginning(day) + hours.DAY_US + hours.CLOSED_US
        self.days.handle(
            f"{station.station_id}.{day}",
            lambda state: hours.measure(state, station, start, values, over=over),
            lambda after, _: after,
            label=str(start),
        )

    def _hours_of(self, station_id: str, most: int) -> list[pb.StationHour]:
        prefix = views.hour_prefix(station_id)
        return [row.read(pb.StationHour) for key, row in self.hour_list.scan(prefix, most) if key.startswith(prefix)]

    def _now(self) -> Timestamp:
        return timestamp(self.clock.now())
