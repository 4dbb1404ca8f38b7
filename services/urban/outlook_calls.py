"""The indices, the forecasts, and what other sectors tell: stations that want maintenance, and the water of rivers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from citybrain.environment.v1 import events_pb2 as environment
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import field_pb2 as field
from citybrain.urban.v1 import indices_pb2 as pb
from citybrain.urban.v1.places_pb2 import Position

from citybrain.mesh.events import Heard, microseconds, timestamp
from citybrain.mesh.ids import joined, parted
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Streams, View, at, off_loop, rpc, subscribe
from citybrain.services.urban import hazards, rivers, urban_index
from citybrain.services.urban import outlook_views as views
from citybrain.services.urban import predictive_maintenance as maintenance
from citybrain.services.urban.classify import OTHER
from citybrain.services.urban.parking_calls import ParkingCalls
from citybrain.services.urban.views import CountedRow, by_district, going_on, overdue_prefix, silent_devices

NAMED = 500
"""So many devices or places a forecast names."""
LOOKED_AFTER = 20
"""So many of the places to which trouble comes again get a work order in 30 days."""
DAY = 86_400_000_000


class OutlookCalls(ParkingCalls):
    """Indices and forecasts."""

    published = Streams("published", int, lambda count, _event: count + 1)
    rivers = Streams("river", rivers.River, rivers.evolve)
    days = View(views.DAY_EVENTS, views.day_key, views.day, row=views.DayRow)
    histories = View(views.HISTORY_EVENTS, views.history_key, views.history, row=views.HistoryRow)
    hazard_list = View(views.HAZARD_EVENTS, views.hazard_key, views.hazard, row=views.HazardRow)
    polluted_rivers = View(views.RIVER_EVENTS, views.river_key, views.river, row=Kept)
    forecasts = View(views.FORECAST_EVENTS, views.forecast_key, views.forecast, row=Kept)

    @rpc
    def GetIndices(self, request: pb.GetIndicesRequest) -> pb.GetIndicesResponse:
        """The six indices of a district."""
        now = self.clock.now()
        return pb.GetIndicesResponse(
            indices=self._indices(request.district_id, now), version=urban_index.VERSION,
            to=timestamp(now), **{"from": timestamp(views.begin_of(views.first_day(now)))},
        )  # fmt: skip

    @at("01:00")
    def publish_indices(self) -> None:
        """Publishes the indices of each district of which something is known, each day."""
        now = self.clock.now()
        districts = set(self.device_list.derived(by_district)) | {row.district_id for _, row in self.lot_list.scan()}
        districts |= {parted(key)[0] for key, _ in self.component_counts.scan()} | {
            parted(key)[0] for key, _ in self.days.scan()
        }
        for district_id in sorted(districts):
            made = ev.IndicesPublished(
                district_id=district_id, indices=self._indices(district_id, now), version=urban_index.VERSION,
                to=timestamp(now), **{"from": timestamp(views.begin_of(views.first_day(now)))},
            )  # fmt: skip
            self._publish(f"indices-{district_id}-{views.day_of(now)}", made)

    def _publish(self, key: str, event: Any) -> None:
        """Publishes something, once."""
        self.published.handle(key, lambda count: [] if count else [event], lambda _after, _: None)

    def _indices(self, district_id: str, now: int) -> list[pb.UrbanIndex]:
        first = views.day_id(district_id, views.first_day(now) - 1)
        end = views.day_id(district_id, views.day_of(now) + 1)
        total = views.summed(row for key, row in self.days.scan(first, urban_index.DAYS + 1) if key < end)
        bays, taken = views.lots(self.lot_list.derived(views.all_lots), district_id, now)
        parts = self.component_counts.get(joined(district_id)) or CountedRow()
        wrong, silent = self.anomaly_list.derived(going_on), self.silent_list.derived(silent_devices)
        devices = self.device_list.derived(by_district).get(district_id, [])
        # What is not heard of does not work, and how full its bin is nobody knows: that is never taken for good.
        well = [name not in wrong and name not in silent for name, _ in devices]
        bins = [name not in wrong for name, of_bin in devices if of_bin and name not in silent]
        bills = total.bills_in_time + total.bills_late
        measured = {
            "public_parking": {
                "share of bays that are free": _share(max(0, bays - taken), bays),
                "share of later bills that are paid in time": _share(total.bills_in_time, bills),
            },
            "street_order": {
                "share of tickets answered in time": _share(total.street_in_time, total.street_answered),
                "share of tickets that are opened again": _share(total.street_reopened, total.street_answered),
            },
            "cleanliness": {
                "share of tickets answered in time": _share(total.clean_in_time, total.clean_answered),
                "share of bins that are not too full": _share(sum(bins), len(bins)),
            },
            "team_image": {
                "mean rating of answers": _share(total.stars, total.rated),
                "share of work orders done in time": _share(total.done_in_time, total.done),
            },
            "equipment": {
                "share of devices that report and show no anomaly": _share(sum(well), len(well)),
                "share of components that are intact": _share(parts.intact, parts.count),
            },
        }
        return [_index(one) for one in urban_index.indices(measured)]

    # -- forecasts --------------------------------------------------------------------------------------------------------

    @rpc
    def ForecastFailures(self, request: pb.ForecastFailuresRequest) -> pb.ForecastFailuresResponse:
        """As of this morning."""
        known = views.failures_of(self.forecasts.get("failures"))
        rows = list(enumerate(known.devices))
        page, more = self.paging.page(request, rows, lambda one: (one[0],))
        return pb.ForecastFailuresResponse(devices=[one for _, one in page], next_page_token=more, score=known.score)

    @at("05:00")
    def forecast_failures(self) -> None:
        """Forecasts which devices fail next, each morning."""
        now = self.clock.now()
        made = off_loop(forecast_failures, [row for _, row in self.histories.scan()], now)
        self._publish(f"failures-{views.day_of(now)}", made)

    @rpc
    def ListHazards(self, request: pb.ListHazardsRequest) -> pb.ListHazardsResponse:
        """As of this morning."""
        known = views.hazards_of(self.forecasts.get("hazards"))
        rows = [one for one in enumerate(known.hazards) if request.district_id in ("", one[1].district_id)]
        page, more = self.paging.page(request, rows, lambda one: (one[0],))
        return pb.ListHazardsResponse(
            hazards=[one for _, one in page], next_page_token=more, hit_rate=known.hit_rate, tried=known.tried,
            base_rate=known.base_rate,
        )  # fmt: skip

    @at("05:30")
    def forecast_hazards(self) -> None:
        """Forecasts to which places trouble comes again, each morning; the first of them are looked after."""
        now = self.clock.now()
        made = off_loop(forecast_hazards, [row for _, row in self.hazard_list.scan()], now)
        self._publish(f"hazards-{views.day_of(now)}", made)
        for one in made.hazards[:LOOKED_AFTER]:
            place = f"{one.kind} {one.latitude:.5f} {one.longitude:.5f}"
            task = f"{one.tickets} tickets about {one.kind} came from here: find out why it comes again"
            at_place = Position(latitude=one.latitude, longitude=one.longitude)
            self._open(_order(f"{place} {now // (30 * DAY)}"), "hazard", place, at_place, one.district_id, task)

    @rpc
    def ListPollutedRivers(self, request: field.ListPollutedRiversRequest) -> field.ListPollutedRiversResponse:
        """Those that are polluted, in pages."""
        prefix = overdue_prefix(request.district_id) if request.district_id else ""
        page, more = self.paging.scan(request, self.polluted_rivers, default=50, prefix=prefix)
        return field.ListPollutedRiversResponse(rivers=[views.river_of(row) for _, row in page], next_page_token=more)

    # -- other sectors ----------------------------------------------------------------------------------------------------

    @subscribe(environment.MaintenanceAsked)
    def maintain(self, event: Heard) -> None:
        """A station of environment wants maintenance."""
        data = event.data
        assert isinstance(data, environment.MaintenanceAsked)
        name = f"{data.station_id}/{data.sensor_id}" if data.sensor_id else data.station_id
        place = Position(latitude=data.place.latitude, longitude=data.place.longitude)
        self._open(
            _order(data.maintenance_id), "maintenance", name, place, data.district_id, f"look after {name}: {data.reason}",
            asked_by="environment",
        )  # fmt: skip

    @subscribe(environment.WaterQualityPublished, environment.WaterQualityRetracted)
    def river_quality(self, event: Heard) -> None:
        """The class of the water at a station in an hour, or that it holds no more."""
        data: Any = event.data
        hour = microseconds(getattr(data, "from"))
        published = isinstance(data, environment.WaterQualityPublished)
        water_class = data.water_quality.water_class if published else 0
        station, district = data.station_id, data.district_id
        # Of this event: where an hour was retracted and comes again, the order of the first time is void.
        order_id = _order(f"river {event.stored.id}")
        told: Sequence[Any] = self.rivers.handle(
            station,
            lambda state: rivers.see(state, station, district, hour, water_class, order_id),
            lambda _after, events: events,
        )
        for one in told:
            if isinstance(one, ev.RiverPolluted):
                task = f"the water at {station} is of class {'beyond V' if one.water_class > rivers.BAD else 'V'}"
                self._open(one.order_id, "river", station, None, district, task)
            elif isinstance(one, ev.RiverPollutionRetracted):
                self._void(one.order_id, "the classes of the water that it rested on hold no more")


def forecast_failures(rows: Iterable[views.HistoryRow], now: int) -> ev.FailuresForecast:
    """The forecast of this morning."""
    known = {
        row.id: (row, maintenance.History(row.kind, row.since / DAY, [at / DAY for at in row.failures.values()]))
        for row in rows
    }
    devices = {name: history for name, (_, history) in known.items()}
    score = maintenance.score(devices)
    made = ev.FailuresForecast(
        score=pb.ForecastScore(
            better=score.better, tried=score.tried, bits=score.bits, in_first_tenth=score.in_first_tenth
        ),
        made_at=timestamp(now), of_devices=len(devices),
    )  # fmt: skip
    if score.better:
        rates = maintenance.rates(devices, now / DAY)
        total = sum(rates.values())
        for name in sorted(rates, key=lambda name: (-rates[name], name))[:NAMED]:
            row = known[name][0]
            made.devices.add(
                device_id=name, kind=row.kind, district_id=row.district_id, next=rates[name] / total,
                in_30_days=30 * rates[name], failures=len(row.failures),
            )  # fmt: skip
    return made


def forecast_hazards(rows: Sequence[views.HazardRow], now: int) -> ev.HazardsForecast:
    """The forecast of this morning."""
    found: dict[tuple[str, float, float], list[float]] = {}
    districts = {(row.latitude, row.longitude): row.district_id for row in rows}
    for row in rows:
        for kind, opened in row.times.values():
            # What nobody has sorted has nothing in common.
            if kind != OTHER:
                found.setdefault((kind, row.latitude, row.longitude), []).append(opened / DAY)
    rate = hazards.rate({" ".join(map(str, place)): times for place, times in found.items()}, now / DAY)
    made = ev.HazardsForecast(hit_rate=rate.hit, tried=rate.tried, base_rate=rate.base, made_at=timestamp(now))
    weighted = [(hazards.weight(times, now / DAY), place) for place, times in found.items()]
    named = sorted((-weight, place) for weight, place in weighted if weight >= hazards.LEAST)
    for less, place in named[:NAMED]:
        kind, latitude, longitude = place
        made.hazards.add(
            kind=kind, latitude=latitude, longitude=longitude, district_id=districts[latitude, longitude],
            tickets=len(found[place]), last_at=timestamp(round(max(found[place]) * DAY)), weight=-less,
        )  # fmt: skip
    return made


def _share(part: float, whole: int) -> tuple[float, int]:
    return (part / whole if whole else 0.0), whole


def _order(name: str) -> str:
    """The work order for something with a name: the same whenever it is asked for."""
    return f"wo-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _index(one: urban_index.Index) -> pb.UrbanIndex:
    return pb.UrbanIndex(
        name=one.name, points=one.points or 0.0, missing=one.points is None, known=one.known,
        parts=[
            pb.IndexPart(
                name=part.name, weight=part.weight, missing=part.points is None, value=part.value, cases=part.cases,
                worst=part.worst, best=part.best, points=part.points or 0.0,
            )
            for part in one.parts
        ],
    )  # fmt: skip
