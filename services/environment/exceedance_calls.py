"""Methods and timers of readings and of what is beyond a limit: suspected, verified, traced back to its source."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.errors import NotFound
from citybrain.mesh.events import timestamp
from citybrain.mesh.service import Readings, Source, Streams, View, Window, correlate, every, new_id, off_loop, rpc, window
from citybrain.services.environment import (
    exceedance,
    forecasts,
    hours,
    limits,
    quantities,
    stations,
    surroundings,
    telemetry,
    traced,
    tracing,
    views,
)
from citybrain.services.environment.recent import Recent
from citybrain.services.environment.source_calls import SourceCalls
from citybrain.services.environment.station_calls import Key, scanned


def board_key(medium: pb.Medium, quantity: pb.Quantity) -> str:
    """The key of the board on which exceedances of a quantity are."""
    return f"{pb.Medium.Name(medium).removeprefix('MEDIUM_').lower()}.{quantities.name(quantity).lower()}"


BOARDS = tuple(
    board_key(medium, quantity)
    for medium, sizes in quantities.MEASURED.items()
    if medium in exceedance.REACH_M
    for quantity in sizes
)
"""The keys of all boards."""


class ExceedanceCalls(SourceCalls):
    """Readings, exceedances and traces."""

    exceedance_list = View(views.EXCEEDANCE_EVENTS, views.exceedance_key, views.exceedance, row=views.ExceedanceRow)
    exceedance_order = View(views.SUSPECTED_EVENTS, views.order_key, views.in_order, row=views.OrderRow)
    exceedances_in_district = View(views.SUSPECTED_EVENTS, views.order_in_district_key, views.in_order, row=views.OrderRow)
    open_exceedances = View(views.EXCEEDANCE_EVENTS, views.exceedance_key, views.still_open, row=views.OrderRow)
    boards = Streams("board", exceedance.Board, exceedance.evolve, snapshot_every=500)
    exceedances = Streams("exceedance", surroundings.Followed, surroundings.evolve)
    recent = Recent()
    batches = Readings()
    # What a sensor could not send for a week still counts.
    sensors = Source(ahead_s=60, behind_s=7 * 86_400, measured=True)

    @rpc
    def ReportReadings(self, request: pb.ReportReadingsRequest) -> pb.ReportReadingsResponse:
        """Takes a batch in, all of it or nothing; what is of an hour that is over has that computed anew."""
        known = self._stations_of(request.readings)
        for station in known.values():
            self.caller.require_district(station.district_id)
        sensors = stations.check(request.readings, known)
        moments = [
            self.sensors.moment(reading.measured_at, f"readings[{number}].measured_at")
            for number, reading in enumerate(request.readings)
        ]
        now = self.clock.now()
        late = [telemetry.is_late(moment, now) for moment in moments]
        self.batches.put(request)
        self._compute_anew([one for one, is_late in zip(request.readings, late, strict=True) if is_late], known)
        found = self._look_for_exceedances(request.readings, sensors, known)
        return pb.ReportReadingsResponse(late=sum(late), exceedance_ids=found)

    @rpc
    def GetExceedance(self, request: pb.GetExceedanceRequest) -> pb.GetExceedanceResponse:
        """One exceedance, with the trace that was made last."""
        found = self._exceedance(request.exceedance_id)
        return pb.GetExceedanceResponse(exceedance=found, trace=self.exceedances.load(request.exceedance_id).trace)

    @rpc
    def ListExceedances(self, request: pb.ListExceedancesRequest) -> pb.ListExceedancesResponse:
        """Newest first, in pages. Reads the rows of its page; where those are asked for that are over, as far as it must."""
        district = request.district_id or self.caller.district

        def newest(after: Key | None) -> Iterator[tuple[str, str]]:
            """Keys after one, and the ids of their exceedances."""
            last = str(after[0]) if after else ""
            if request.states and views.OPEN.issuperset(request.states):
                rows = self.open_exceedances.derived(views.newest_first)
                found = rows[bisect_right(rows, last, key=views.order_of) :]
                return ((views.order_of(row), row.id) for row in found if district in ("", row.district_id))
            if not district:
                return ((key, row.id) for key, row in scanned(self.exceedance_order, last))
            prefix = views.in_district(district)
            return ((key, row.id) for key, row in scanned(self.exceedances_in_district, last or prefix, prefix))

        def asked_for(after: Key | None) -> Iterator[tuple[str, views.ExceedanceRow]]:
            for key, exceedance_id in newest(after):
                row = self.exceedance_list.get(exceedance_id)
                if row is not None and (not request.states or row.state in request.states):
                    yield key, row

        page, more = self.paging.ordered(request, asked_for, lambda found: (found[0],))
        return pb.ListExceedancesResponse(exceedances=[views.read_exceedance(row) for _, row in page], next_page_token=more)

    @every(5)
    def judge_exceedances(self) -> None:
        """Says which exceedances are verified now, or not, or hold no more, or have ended."""
        now = self.clock.now()
        for key in BOARDS:
            for exceedance_id in exceedance.waiting(self.boards.load(key)):
                last_above = self.exceedances.load(exceedance_id).last_above
                correlate(exceedance_id)
                judge = partial(exceedance.judge, exceedance_id=exceedance_id, now=now, last_above=last_above)
                self.boards.handle(key, judge, lambda after, _: after, label=exceedance_id)

    @window(
        pb.ReportReadingsRequest,
        seconds=telemetry.SURROUNDINGS_S,
        readings=telemetry.readings,
        fold=telemetry.fold,
        late_s=telemetry.SURROUNDINGS_LATE_S,
    )
    def follow_exceedances(self, measured: Window) -> None:
        """Keeps what stations around open exceedances have measured in five minutes."""
        means = surroundings.means(measured.states, self.station_list.derived(views.stations))
        steps = self.recent.before((measured.start, means))
        for key in BOARDS:
            for exceedance_id, spot in self.boards.load(key).spots.items():
                if spot.open:
                    correlate(exceedance_id)
                    follow = partial(surroundings.follow, spot=spot, steps=steps)
                    self.exceedances.handle(exceedance_id, follow, lambda after, _: after)

    def _look_for_exceedances(
        self, readings: Sequence[pb.Reading], sensors: Sequence[pb.Sensor], known: Mapping[str, pb.Station]
    ) -> list[str]:
        """Puts readings above a limit, and corrected ones, on the boards.

        Gives the exceedances that they belong to, at most 100.
        """
        boards: dict[str, exceedance.Board] = {}
        touched: dict[str, None] = {}
        now = timestamp(self.clock.now())
        permits = self._permits(known.values())
        for number, (reading, sensor) in enumerate(zip(readings, sensors, strict=True)):
            station = known[reading.station_id]
            limit = limits.limit_of(station, sensor.quantity, permits)
            if limit is None:
                continue
            key = board_key(station.medium, sensor.quantity)
            if key not in boards:
                boards[key] = self.boards.load(key)
            new = f"exc-{new_id(f'exc{number}').rpartition('-')[2]}"
            take = partial(exceedance.take, station=station, sensor=sensor, reading=reading, limit=limit, new_id=new, now=now)
            if decided := take(boards[key]):
                correlate(decided[0].exceedance_id)  # type: ignore[attr-defined]
                boards[key] = self.boards.handle(key, take, lambda after, _: after, label=str(number))
                for event in decided:
                    if isinstance(event, ev.ExceedanceReadingCorrected) and not event.above:
                        boards[key] = self._support_anew(key, boards[key], event, sensor.quantity, f"anew {number}")
                touched |= {one.exceedance_id: None for one in decided}  # type: ignore[attr-defined]
        return list(touched)[:100]

    def _support_anew(
        self, key: str, board: exceedance.Board, event: ev.ExceedanceReadingCorrected, quantity: pb.Quantity, label: str
    ) -> exceedance.Board:
        """Looks for what else supports an exceedance: in the computed hours of its sensors, on its first day and the next."""
        spot = board.spots[event.exceedance_id]
        first, _ = hours.day_and_hour(spot.first)
        measured: dict[exceedance.Key, list[tuple[int, float]]] = {}
        for station_id, sensor_id in {*spot.readings, (event.reading.station_id, event.reading.sensor_id)}:
            measured[station_id, sensor_id] = [
                one
                for day in (first, forecasts.following(first))
                for one in hours.measured_by(self.days.load(f"{station_id}.{day}"), day, sensor_id, quantity)
            ]
        anew = partial(
            exceedance.support_anew, exceedance_id=event.exceedance_id, measured=measured, district_id=event.district_id
        )
        return self.boards.handle(key, anew, lambda after, _: after, label=f"{label} {event.exceedance_id}")

    @rpc
    def TraceSource(self, request: pb.TraceSourceRequest) -> pb.TraceSourceResponse:
        """Finds where the pollution of an exceedance comes from, from all that was measured around it so far."""
        found, stability = self._exceedance(request.exceedance_id), request.stability or "B"
        self.caller.require_district(found.district_id)
        followed = self.exceedances.load(request.exceedance_id)
        steps = traced.steps_of(found, followed.steps)
        measured = traced.observations(found, followed.steps, steps)
        near = self._sources_around(found.place)
        answer = off_loop(tracing.trace, measured, traced.candidates(found, near), stability)
        trace = traced.shown(found, steps, measured, answer, near, stability)
        correlate(request.exceedance_id)
        after = self.exceedances.handle(
            request.exceedance_id, lambda state: surroundings.traced(state, found.district_id, trace), lambda after, _: after
        )
        return pb.TraceSourceResponse(trace=after.trace)

    def _spot(self, exceedance_id: str) -> exceedance.Spot | None:
        """An exceedance of the last days, on whichever board it stands."""
        boards = (self.boards.load(key).spots for key in BOARDS)
        return next((spots[exceedance_id] for spots in boards if exceedance_id in spots), None)

    def _exceedance(self, exceedance_id: str) -> pb.Exceedance:
        row = self.exceedance_list.get(exceedance_id)
        if row is None:
            raise NotFound(f"there is no exceedance {exceedance_id}: ListExceedances has them", "NO_SUCH_EXCEEDANCE")
        return views.read_exceedance(row)
