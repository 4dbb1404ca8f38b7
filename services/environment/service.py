"""Environment (环境): what stations measure, what follows from it, where pollution comes from, and what is done about it.

It is long because every method of the contract stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, NotFound
from citybrain.mesh.events import timestamp
from citybrain.mesh.identifiers import uscc, uscc_problem
from citybrain.mesh.service import (
    Caller,
    Clock,
    Heard,
    Paging,
    People,
    Readings,
    Service,
    Source,
    Streams,
    View,
    Window,
    at,
    correlate,
    every,
    new_id,
    off_loop,
    rpc,
    subscribe,
    window,
)
from citybrain.services.environment import (
    air_quality_index,
    aqi_forecast,
    capacity,
    comparing,
    exceedance,
    firm_views,
    forecasts,
    greenhouse,
    hours,
    limits,
    proofs,
    quantities,
    source_views,
    sources,
    stations,
    surroundings,
    telemetry,
    traced,
    tracing,
    views,
)
from citybrain.services.environment import cases as case_file
from citybrain.services.environment import firm_entries as firm_entries_
from citybrain.services.environment import firms as firm
from citybrain.services.environment import inspections as inspecting
from citybrain.services.environment.recent import Recent


def board_key(medium: pb.Medium, quantity: pb.Quantity) -> str:
    """The key of the board on which exceedances of a quantity are."""
    return f"{pb.Medium.Name(medium).removeprefix('MEDIUM_').lower()}.{quantities.name(quantity).lower()}"


def account_key(firm_id: str, year: int) -> str:
    """The key of a firm's account of a year."""
    return f"{firm_id}.{year}"


def area_key(district_id: str, quantity: pb.Quantity) -> str:
    """The key of what an area can bear of a pollutant."""
    return f"{district_id}.{quantities.name(quantity).lower()}"


BOARDS = tuple(board_key(medium, quantity) for medium, sizes in quantities.MEASURED.items() for quantity in sizes)
"""The keys of all boards."""

SERVICE = "service:"
"""Begins the subjects of services."""

MOST_SOURCES = 100
"""So many sources of a firm are shown with its record."""

SCANNED = 500
"""So many rows of a read model are read at a time."""

NOT_AT_WORK = (pb.SOURCE_STATE_ADMITTED, pb.SOURCE_STATE_CLOSED)
"""Sources in these states emit nothing."""

NOW_US = 3 * hours.HOUR_US
"""An hour that began longer ago is not what the air is like now."""


class EnvironmentService(Service):
    """Stations, readings and what follows from them."""

    name = "environment"
    stations = Streams("station", stations.StationState, stations.evolve, district=stations.district_of)
    days = Streams("day", hours.Day, hours.evolve)
    station_list = View(views.STATION_EVENTS, views.station_key, views.station, row=views.StationRow)
    hour_list = View(views.HOUR_EVENTS, views.hour_key, views.hour, row=views.HourRow)
    air_now = View(views.AIR_EVENTS, views.air_key, views.air, row=views.AirRow)
    exceedance_list = View(views.EXCEEDANCE_EVENTS, views.exceedance_key, views.exceedance, row=views.ExceedanceRow)
    day_list = View(views.DAY_EVENTS, views.day_key, views.day, row=views.DayRow)
    biases = Streams("bias", comparing.Compared, comparing.evolve)
    bias_list = View(views.BIAS_EVENTS, views.bias_key, views.bias, row=views.BiasRow)
    forecasts = Streams("forecast", forecasts.Told, forecasts.evolve)
    factors = Streams("factor", greenhouse.Factor, greenhouse.evolve_factor)
    accounts = Streams("greenhouse", greenhouse.Account, greenhouse.evolve)
    areas = Streams("capacity", capacity.Area, capacity.evolve)
    firms = Streams("firm", firm.Firm, firm.evolve, district=firm.district_of)
    firm_entries = View(firm_views.NOTED_EVENTS, firm_views.entry_key, firm_views.entry, row=firm_views.EntryRow)
    firm_sources = View(firm_views.ADMITTED_EVENTS, firm_views.own_key, firm_views.own, row=firm_views.OwnRow)
    due_list = View(firm_views.DUE_EVENTS, firm_views.due_key, firm_views.due, row=firm_views.DueRow)
    due_in_district = View(firm_views.DUE_EVENTS, firm_views.due_in_district_key, firm_views.due, row=firm_views.DueRow)
    inspections = Streams("inspection", inspecting.Work, inspecting.evolve, district=inspecting.district_of)
    cases = Streams("case", case_file.File, case_file.evolve, district=case_file.district_of)
    lives = Streams("source", sources.Life, sources.evolve, district=sources.district_of)
    source_list = View(source_views.SOURCE_EVENTS, source_views.source_key, source_views.source, row=source_views.SourceRow)
    source_cells = View(source_views.PLACE_EVENTS, source_views.cell_key, source_views.in_cell, row=source_views.CellRow)
    boards = Streams("board", exceedance.Board, exceedance.evolve, snapshot_every=500)
    exceedances = Streams("exceedance", surroundings.Followed, surroundings.evolve)
    recent = Recent()
    batches = Readings()
    # What a sensor could not send for a week still counts.
    sensors = Source(ahead_s=60, behind_s=7 * 86_400, measured=True)
    people = People()
    paging = Paging()
    clock = Clock()
    caller = Caller()

    # -- stations ---------------------------------------------------------------------------------------------------------

    @rpc
    def RegisterStation(self, request: pb.RegisterStationRequest) -> pb.RegisterStationResponse:
        """Registers a station, or changes it."""
        after = self.stations.handle(
            request.station.station_id, lambda state: stations.register(state, request), lambda after, _: after
        )
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
        known = self.station_list.derived(views.stations).values()
        rows = [one for one in known if stations.is_asked_for(one, request)]
        page, more = self.paging.page(request, rows, lambda one: (one.station_id,), default=100)
        return pb.ListStationsResponse(stations=page, next_page_token=more)

    @rpc
    def ListStationHours(self, request: pb.ListStationHoursRequest) -> pb.ListStationHoursResponse:
        """The hours of a station, newest first, in pages."""
        stations.existing(self.stations.load(request.station_id), request.station_id)
        prefix = views.hour_prefix(request.station_id)
        page, more = self.paging.scan(request, self.hour_list, default=24, prefix=prefix)
        return pb.ListStationHoursResponse(hours=[views.read_hour(row) for _, row in page], next_page_token=more)

    @rpc
    def ListAirQuality(self, request: pb.ListAirQualityRequest) -> pb.ListAirQualityResponse:
        """The newest air quality of each station, the worst first, in pages."""
        known, since = self.station_list.derived(views.stations), self.clock.now() - NOW_US
        rows = [
            row
            for row in self.air_now.derived(views.worst_first)
            if row.begins >= since
            and row.station_id in known
            and (not request.in_district or known[row.station_id].district_id == request.in_district)
        ]
        page, more = self.paging.page(request, rows, views.place_in_list)
        shown = [views.read_air(row, known[row.station_id]) for row in page]
        return pb.ListAirQualityResponse(stations=shown, next_page_token=more)

    # -- readings ---------------------------------------------------------------------------------------------------------

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
        """Publishes the air quality of the day that is over."""
        day, _ = hours.day_and_hour(self.clock.now() - hours.DAY_US)
        for station_id, station in sorted(self.station_list.derived(views.stations).items()):
            if station.medium == pb.MEDIUM_AIR:
                close = partial(hours.close, station=station, start=hours.beginning(day))
                self.days.handle(f"{station_id}.{day}", close, lambda after, _: after)

    # -- exceedances ------------------------------------------------------------------------------------------------------

    @rpc
    def GetExceedance(self, request: pb.GetExceedanceRequest) -> pb.GetExceedanceResponse:
        """One exceedance, with the trace that was made last."""
        found = self._exceedance(request.exceedance_id)
        return pb.GetExceedanceResponse(exceedance=found, trace=self.exceedances.load(request.exceedance_id).trace)

    @rpc
    def ListExceedances(self, request: pb.ListExceedancesRequest) -> pb.ListExceedancesResponse:
        """Newest first, in pages."""
        rows = [row for _, row in self.exceedance_list.scan() if views.exceedance_is_asked_for(row, request)]
        page, more = self.paging.page(request, rows, views.exceedance_age, newest_first=True)
        return pb.ListExceedancesResponse(exceedances=[views.read_exceedance(row) for row in page], next_page_token=more)

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
                touched |= {one.exceedance_id: None for one in decided}  # type: ignore[attr-defined]
        return list(touched)[:100]

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

    # -- sources ----------------------------------------------------------------------------------------------------------

    @rpc
    def AdmitSource(self, request: pb.AdmitSourceRequest) -> pb.AdmitSourceResponse:
        """Admits a source with its permit, or changes the permit."""
        sources.check(request)
        firm_id = self.people.of("uscc", uscc(request.uscc))
        after = self._change_source(request.source_id, lambda life: sources.admit(life, request, firm_id))
        return pb.AdmitSourceResponse(source=sources.show(after))

    @rpc
    def StartSource(self, request: pb.StartSourceRequest) -> pb.StartSourceResponse:
        """An admitted source begins to work."""
        after = self._change_source(request.source_id, lambda life: sources.start(life, request))
        return pb.StartSourceResponse(source=sources.show(after))

    @rpc
    def CloseSource(self, request: pb.CloseSourceRequest) -> pb.CloseSourceResponse:
        """A source works no more."""
        after = self._change_source(request.source_id, lambda life: sources.close(life, request))
        return pb.CloseSourceResponse(source=sources.show(after))

    @rpc
    def GetSource(self, request: pb.GetSourceRequest) -> pb.GetSourceResponse:
        """One source, with the number of its firm for those who may see it."""
        life = self.lives.load(request.source_id)
        sources.existing(life, request.source_id)
        return pb.GetSourceResponse(source=sources.show(life))

    @rpc
    def ListSources(self, request: pb.ListSourcesRequest) -> pb.ListSourcesResponse:
        """By id, in pages, without the numbers of firms."""

        def asked_for(after: tuple[int | str, ...] | None) -> Iterator[source_views.SourceRow]:
            last = str(after[0]) if after else ""
            while rows := self.source_list.scan(last, SCANNED):
                yield from (row for _, row in rows if source_views.source_is_asked_for(row, request))
                last = rows[-1][0]

        page, more = self.paging.ordered(request, asked_for, lambda row: (row.id,), default=100)
        return pb.ListSourcesResponse(sources=[source_views.read_source(row) for row in page], next_page_token=more)

    @rpc
    def OrderMeasures(self, request: pb.OrderMeasuresRequest) -> pb.OrderMeasuresResponse:
        """Orders a source to stop a line."""
        if request.exceedance_id:
            correlate(request.exceedance_id)
        after = self._change_source(request.source_id, lambda life: sources.order_measures(life, request))
        return pb.OrderMeasuresResponse(measures=after.measures.get(request.measures_id))

    @rpc
    def LiftMeasures(self, request: pb.LiftMeasuresRequest) -> pb.LiftMeasuresResponse:
        """Ends measures, or bars those that may still come."""
        after = self._change_source(request.source_id, lambda life: sources.lift_measures(life, request))
        return pb.LiftMeasuresResponse(measures=sources.show_lifted(after, request.measures_id))

    def _change_source(self, source_id: str, decide: Callable[[sources.Life], list[Message]]) -> sources.Life:
        return self.lives.handle(source_id, decide, lambda after, _: after)

    def _sources_around(self, place: pb.Place) -> list[pb.Source]:
        """The sources that are at work around a place: by the index of cells, the nearest first, as many as are traced."""
        near: list[tuple[float, str]] = []
        for prefix in source_views.cells_around(place, 3):
            last = prefix
            while rows := [one for one in self.source_cells.scan(last, SCANNED) if one[0].startswith(prefix)]:
                near += [(source_views.apart_m(row, place), row.source_id) for _, row in rows]
                last = rows[-1][0]
        found: dict[str, pb.Source] = {}
        for _, source_id in sorted(near):
            row = self.source_list.get(source_id)
            if row is not None and row.at_work not in NOT_AT_WORK:
                found[source_id] = source_views.read_source(row)
            if len(found) == traced.MOST_CANDIDATES:
                break
        return list(found.values())

    def _permits(self, known: Iterable[pb.Station]) -> dict[str, pb.Permit]:
        """The permits of the sources whose stacks are measured."""
        ids = sorted({one.source_id for one in known if one.medium == pb.MEDIUM_STACK and one.source_id})
        lives = {source_id: self.lives.load(source_id) for source_id in ids}
        return {source_id: life.source.permit for source_id, life in lives.items() if life.source is not None}

    # -- inspections and cases --------------------------------------------------------------------------------------------

    @rpc
    def OrderInspection(self, request: pb.OrderInspectionRequest) -> pb.OrderInspectionResponse:
        """Orders an inspection of a source or of a place."""
        source = self._source(request.source_id) if request.source_id else None
        inspection = inspecting.asked(request, source)
        if request.exceedance_id:
            correlate(request.exceedance_id)
        firm_id = source.firm.firm_id if source is not None else ""
        after = self.inspections.handle(
            request.inspection_id, lambda work: inspecting.order(work, inspection, firm_id), lambda after, _: after
        )
        return pb.OrderInspectionResponse(inspection=inspecting.show(after))

    @rpc
    def WithdrawInspection(self, request: pb.WithdrawInspectionRequest) -> pb.WithdrawInspectionResponse:
        """Undoes the order, or bars the one that may still come."""
        return self.inspections.handle(
            request.inspection_id, lambda work: inspecting.withdraw(work, request),
            lambda _after, _: pb.WithdrawInspectionResponse(), continues=True,
        )  # fmt: skip

    @rpc
    def ReportInspection(self, request: pb.ReportInspectionRequest) -> pb.ReportInspectionResponse:
        """Keeps what inspectors have found."""
        by, now = self.caller.name, self._now()
        if by.startswith(SERVICE):
            by = request.reported_by
        elif request.reported_by:
            raise BadRequest([("reported_by", "is only for services: leave it out, who calls is who reports")])
        after = self.inspections.handle(
            request.inspection_id, lambda work: inspecting.report(work, request, by, now), lambda after, _: after,
            continues=True,
        )  # fmt: skip
        return pb.ReportInspectionResponse(inspection=inspecting.show(after))

    @rpc
    def GetInspection(self, request: pb.GetInspectionRequest) -> pb.GetInspectionResponse:
        """One inspection."""
        work = self.inspections.load(request.inspection_id)
        inspecting.existing(work, request.inspection_id)
        return pb.GetInspectionResponse(inspection=inspecting.show(work))

    @rpc
    def OpenCase(self, request: pb.OpenCaseRequest) -> pb.OpenCaseResponse:
        """Opens a case with what was measured, and the trace, as its first evidence."""
        source, now = self._source(request.source_id), self._now()
        proven: list[case_file.Proof] = []
        if request.exceedance_id:
            correlate(request.exceedance_id)
            followed = self.exceedances.load(request.exceedance_id)
            proven = proofs.of_exceedance(self._exceedance(request.exceedance_id), followed.steps, followed.trace)
        after = self._change_case(request.case_id, lambda file: case_file.open_case(file, request, source, proven, now))
        return pb.OpenCaseResponse(case=case_file.show(after))

    @rpc
    def WithdrawCase(self, request: pb.WithdrawCaseRequest) -> pb.WithdrawCaseResponse:
        """Undoes the opening, or bars the one that may still come."""
        now = self._now()
        self._change_case(request.case_id, lambda file: case_file.withdraw(file, request, now))
        return pb.WithdrawCaseResponse()

    @rpc
    def AddEvidence(self, request: pb.AddEvidenceRequest) -> pb.AddEvidenceResponse:
        """Adds a record to the evidence."""
        now = self._now()
        after = self._change_case(request.case_id, lambda file: case_file.add_evidence(file, request, now))
        record = next(one for one in after.records if one.record_id == request.record_id)
        return pb.AddEvidenceResponse(n=record.n, seal=record.seal)

    @rpc
    def RecordDecision(self, request: pb.RecordDecisionRequest) -> pb.RecordDecisionResponse:
        """Keeps what was decided after the hearing."""
        now = self._now()
        after = self._change_case(request.case_id, lambda file: case_file.decide(file, request, now))
        return pb.RecordDecisionResponse(case=case_file.show(after))

    @rpc
    def RevokeDecision(self, request: pb.RevokeDecisionRequest) -> pb.RevokeDecisionResponse:
        """A decision holds no more, nor does what rests on it."""
        now = self._now()
        after = self._change_case(request.case_id, lambda file: case_file.revoke(file, request, now))
        return pb.RevokeDecisionResponse(case=case_file.show(after))

    @rpc
    def OrderCorrection(self, request: pb.OrderCorrectionRequest) -> pb.OrderCorrectionResponse:
        """Orders the firm to put right what was found."""
        now = self._now()
        after = self._change_case(request.case_id, lambda file: case_file.order_correction(file, request, now))
        return pb.OrderCorrectionResponse(case=case_file.show(after))

    @rpc
    def WithdrawCorrection(self, request: pb.WithdrawCorrectionRequest) -> pb.WithdrawCorrectionResponse:
        """Undoes the order, or bars the one that may still come."""
        now = self._now()
        after = self._change_case(request.case_id, lambda file: case_file.withdraw_correction(file, request, now))
        return pb.WithdrawCorrectionResponse(case=case_file.show(after))

    @rpc
    def ReportCorrection(self, request: pb.ReportCorrectionRequest) -> pb.ReportCorrectionResponse:
        """The firm says that it has put it right."""
        now = self._now()
        after = self._change_case(request.case_id, lambda file: case_file.report_correction(file, request, now))
        return pb.ReportCorrectionResponse(case=case_file.show(after))

    @rpc
    def AcceptCorrection(self, request: pb.AcceptCorrectionRequest) -> pb.AcceptCorrectionResponse:
        """The bureau has looked: it is right, or not yet. A source that is right works on as corrected."""
        now = self._now()
        after = self._change_case(request.case_id, lambda file: case_file.accept_correction(file, request, now))
        opened = case_file.existing(after, request.case_id)
        if after.state == pb.CASE_STATE_CORRECTED:
            correct = partial(sources.correct, source_id=opened.source_id, case_id=request.case_id)
            self.lives.handle(opened.source_id, correct, lambda life, _: life)
        return pb.AcceptCorrectionResponse(case=case_file.show(after))

    @rpc
    def CloseCase(self, request: pb.CloseCaseRequest) -> pb.CloseCaseResponse:
        """Closes a case."""
        after = self._change_case(request.case_id, lambda file: case_file.close(file, request))
        return pb.CloseCaseResponse(case=case_file.show(after))

    @rpc
    def GetCase(self, request: pb.GetCaseRequest) -> pb.GetCaseResponse:
        """One case, without its evidence."""
        file = self.cases.load(request.case_id)
        case_file.existing(file, request.case_id)
        return pb.GetCaseResponse(case=case_file.show(file))

    @rpc
    def GetCaseEvidence(self, request: pb.GetCaseEvidenceRequest) -> pb.GetCaseEvidenceResponse:
        """The evidence of a case as lines of JSON, oldest first, in pages."""
        file = self.cases.load(request.case_id)
        case_file.existing(file, request.case_id)
        page, more = self.paging.page(request, case_file.lines(file), lambda line: (line[0],), default=100)
        lines = [line for _, line in page]
        return pb.GetCaseEvidenceResponse(lines=lines, next_page_token=more, head=case_file.show(file).head)

    def _change_case(self, case_id: str, decide: Callable[[case_file.File], list[Message]]) -> case_file.File:
        return self.cases.handle(case_id, decide, lambda after, _: after, continues=True)

    def _source(self, source_id: str) -> pb.Source:
        return sources.existing(self.lives.load(source_id), source_id)

    # -- comparison and forecast ------------------------------------------------------------------------------------------

    @rpc
    def ListBiases(self, request: pb.ListBiasesRequest) -> pb.ListBiasesResponse:
        """How far each station reads beside its neighbours, the farthest first, in pages."""
        rows = [row for row in self.bias_list.derived(views.farthest_first) if not request.flagged or row.bias.get("flagged")]
        page, more = self.paging.page(request, rows, views.place_of_bias)
        return pb.ListBiasesResponse(biases=[views.read_bias(row) for row in page], next_page_token=more)

    @at("01:10")
    def compare_stations(self) -> None:
        """Estimates how far each station reads beside its neighbours, over the last week."""
        now, known = self.clock.now(), self.station_list.derived(views.stations)
        since = now - comparing.DAYS * hours.DAY_US
        of_air = {key: one for key, one in known.items() if one.medium == pb.MEDIUM_AIR}
        rows = {key: self._hours_of(key, comparing.DAYS * 24 + 2) for key in sorted(of_air)}
        estimated: set[str] = set()
        for name in air_quality_index.POLLUTANTS:
            by_station = {key: comparing.hours_of(one, quantities.numbered(name), since) for key, one in rows.items()}
            for bias in off_loop(comparing.estimated, name, of_air, by_station):
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

    def _hours_of(self, station_id: str, most: int) -> list[pb.StationHour]:
        prefix = views.hour_prefix(station_id)
        return [views.read_hour(row) for key, row in self.hour_list.scan(prefix, most) if key.startswith(prefix)]

    # -- greenhouse gases and carrying capacity ---------------------------------------------------------------------------

    @rpc
    def RegisterFactor(self, request: pb.RegisterFactorRequest) -> pb.RegisterFactorResponse:
        """Makes a factor known, with its source and year."""
        return self.factors.handle(
            request.factor_id,
            lambda factor: greenhouse.register(factor, request),
            lambda _after, _: pb.RegisterFactorResponse(),
        )

    @rpc
    def ReportActivity(self, request: pb.ReportActivityRequest) -> pb.ReportActivityResponse:
        """Counts an activity of a firm."""
        firm.existing(self.firms.load(request.firm_id), request.firm_id)
        factor = greenhouse.existing(self.factors.load(request.factor_id), request.factor_id)
        greenhouse.check(request, factor)
        after = self.accounts.handle(
            account_key(request.firm_id, request.year), lambda account: greenhouse.count(account, request, factor),
            lambda after, _: after,
        )  # fmt: skip
        return pb.ReportActivityResponse(tonnes=greenhouse.tonnes(after))

    @rpc
    def GetGreenhouseAccount(self, request: pb.GetGreenhouseAccountRequest) -> pb.GetGreenhouseAccountResponse:
        """The account of a firm and a year, by activity, in pages."""
        firm.existing(self.firms.load(request.firm_id), request.firm_id)
        account = self.accounts.load(account_key(request.firm_id, request.year))
        page, more = self.paging.page(request, account.items.values(), lambda item: (item.activity_id,), default=100)
        return pb.GetGreenhouseAccountResponse(tonnes=greenhouse.tonnes(account), items=page, next_page_token=more)

    @rpc
    def SetCapacity(self, request: pb.SetCapacityRequest) -> pb.SetCapacityResponse:
        """Says what an area can bear."""
        return self.areas.handle(
            area_key(request.district_id, request.quantity), lambda area: capacity.put(area, request),
            lambda _after, _: pb.SetCapacityResponse(),
        )  # fmt: skip

    @rpc
    def GetCapacity(self, request: pb.GetCapacityRequest) -> pb.GetCapacityResponse:
        """What is permitted in an area beside what it can bear."""
        area = self.areas.load(area_key(request.district_id, request.quantity))
        load = self.source_list.derived(capacity.permitted).get((request.district_id, request.quantity), (0.0, 0))
        return capacity.show(area, load)

    # -- firms ------------------------------------------------------------------------------------------------------------

    @rpc
    def FindFirm(self, request: pb.FindFirmRequest) -> pb.FindFirmResponse:
        """The id of a firm by its number. One that nobody has brought before gets none by this."""
        if problem := uscc_problem(request.uscc):
            raise BadRequest([("uscc", problem)])
        firm_id = self.people.known("uscc", uscc(request.uscc))
        if not firm_id:
            raise NotFound("no firm with this number is known here: AdmitSource makes one known", "NO_SUCH_FIRM")
        return pb.FindFirmResponse(firm_id=firm_id)

    @rpc
    def GetFirmRecord(self, request: pb.GetFirmRecordRequest) -> pb.GetFirmRecordResponse:
        """Everything of a firm, newest first, in pages; its sources on the first page."""
        known = firm.existing(self.firms.load(request.firm_id), request.firm_id)
        prefix = firm_views.prefix(request.firm_id)
        page, more = self.paging.scan(request, self.firm_entries, prefix=prefix)
        answer = pb.GetFirmRecordResponse(
            standing=firm.show(known), next_page_token=more, entries=[firm_views.read_entry(row) for _, row in page],
            firm=pb.Firm(firm_id=request.firm_id, name=known.name),
        )  # fmt: skip
        if not request.page_token:
            ids = [row.source_id for key, row in self.firm_sources.scan(prefix, MOST_SOURCES) if key.startswith(prefix)]
            found = [sources.show(self.lives.load(source_id)) for source_id in ids]
            answer.sources.extend(found)
            for one in found[:1]:
                answer.firm.CopyFrom(one.firm)
        return answer

    @rpc
    def ListInspectionsDue(self, request: pb.ListInspectionsDueRequest) -> pb.ListInspectionsDueResponse:
        """Which firms to inspect next, those that are due first, in pages."""
        district = request.district_id or self.caller.district
        if district:
            page, more = self.paging.scan(request, self.due_in_district, default=50, prefix=firm_views.prefix(district))
        else:
            page, more = self.paging.scan(request, self.due_list, default=50)
        return pb.ListInspectionsDueResponse(firms=[firm_views.read_due(row) for _, row in page], next_page_token=more)

    @subscribe(*firm_entries_.EVENTS)
    def note_of_firm(self, event: Heard) -> None:
        """Writes into the record of a firm what happened to it."""
        data: Any = event.data
        barred = isinstance(data, ev.DecisionRevoked) and not data.recorded
        if data.firm_id and not barred:
            name = data.source.firm.name if isinstance(data, ev.SourceAdmitted) else ""
            self._note(data.firm_id, firm_entries_.entry_of(data, timestamp(event.stored.occurred_at)), data.district_id, name)

    @subscribe(ev.ExceedanceVerified, ev.ExceedanceRetracted)
    def note_of_stack(self, event: Heard) -> None:
        """Writes into the record of a firm that a stack of it was beyond its permit; or that it was not, after all."""
        data: Any = event.data
        spot = self._spot(data.exceedance_id)
        if spot is None or spot.suspected.medium != pb.MEDIUM_STACK:
            return
        station = self.stations.load(spot.suspected.reading.station_id).station
        life = self.lives.load(station.source_id) if station is not None and station.source_id else sources.Life()
        if life.source is not None:
            retracted = isinstance(data, ev.ExceedanceRetracted)
            entry = firm_entries_.exceeded(exceedance.show(spot), timestamp(event.stored.occurred_at), retracted=retracted)
            self._note(sources.firm_of(life), entry, life.source.district_id, life.source.firm.name)

    def _note(self, firm_id: str, entry: pb.FirmEntry, district_id: str, name: str) -> None:
        note = partial(firm.note, firm_id=firm_id, entry=entry, district_id=district_id, name=name)
        self.firms.handle(firm_id, note, lambda after, _: after)

    def _spot(self, exceedance_id: str) -> exceedance.Spot | None:
        """An exceedance of the last days, on whichever board it stands."""
        boards = (self.boards.load(key).spots for key in BOARDS)
        return next((spots[exceedance_id] for spots in boards if exceedance_id in spots), None)

    # -- what they share --------------------------------------------------------------------------------------------------

    def _now(self) -> Timestamp:
        return timestamp(self.clock.now())

    def _exceedance(self, exceedance_id: str) -> pb.Exceedance:
        row = self.exceedance_list.get(exceedance_id)
        if row is None:
            raise NotFound(f"there is no exceedance {exceedance_id}: ListExceedances has them", "NO_SUCH_EXCEEDANCE")
        return views.read_exceedance(row)

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
