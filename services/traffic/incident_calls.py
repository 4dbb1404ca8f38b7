"""Methods of incidents, what follows from what detectors show, and the closures of roads that incidents block."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import incidents_pb2 as pb
from citybrain.traffic.v1 import street_pb2 as street
from citybrain.traffic.v1 import traffic_service_pb2 as service_pb

from citybrain.mesh.errors import BadRequest, Refused
from citybrain.mesh.kept import Kept
from citybrain.mesh.roads import beyond_the_end
from citybrain.mesh.service import Caller, Heard, Source, Streams, View, Window, at, every, off_loop, rpc, subscribe, window
from citybrain.services.traffic import (
    closures,
    incident_pairs,
    incident_thresholds,
    incident_views,
    incidents,
    street_network,
    street_views,
    views,
)
from citybrain.services.traffic.detectors import MICROSECONDS
from citybrain.services.traffic.free_speeds import prefix
from citybrain.services.traffic.recent_readings import KEPT_S, LATE_S, MINUTE_S, RecentReadings
from citybrain.services.traffic.street_calls import DETECTOR, SCANNED, StreetCalls, fold, readings
from citybrain.services.traffic.verdicts import interval


class IncidentCalls(StreetCalls):
    """Incidents: suspected, confirmed, rejected, closed."""

    boards = Streams("incidents", incidents.Board, incidents.evolve, snapshot_every=200)
    calibrated = Streams("incident-thresholds", incident_thresholds.Calibrated, incident_thresholds.evolve)
    closures = Streams("closure", closures.Closure, closures.evolve, district=closures.district_of)
    keepers = View(views.ROAD_EVENTS, views.road_key, views.keeper, row=views.KeeperRow)
    incident_list = View(incident_views.INCIDENT_EVENTS, incident_views.incident_key, incident_views.incident, row=Kept)
    open_incidents = View(incident_views.INCIDENT_EVENTS, incident_views.incident_key, incident_views.open_incident, row=Kept)
    thresholds_now = View(
        incident_views.THRESHOLD_EVENTS, incident_views.thresholds_key, incident_views.thresholds, row=Kept
    )  # fmt: skip
    pair_hours = View(
        incident_views.PAIR_EVENTS, incident_thresholds.hour_key, incident_thresholds.hour, row=incident_thresholds.PairHoursRow
    )  # fmt: skip
    recent = RecentReadings()
    seen = Source(ahead_s=60, behind_s=3600)
    caller = Caller()

    @rpc
    def ReportIncident(self, request: pb.ReportIncidentRequest) -> pb.ReportIncidentResponse:
        """Takes what somebody has seen."""
        road = self.network_parts.derived(street_views.roads).get(request.edge_id)
        if road is None:
            what = f"{request.edge_id!r} is not in the published network: name a road that is, or publish it"
            raise BadRequest([("edge_id", what)])
        lengths = self.road_list.derived(views.lengths)
        if request.HasField("position_m") and (wrong := beyond_the_end(lengths, request.edge_id, request.position_m)):
            raise BadRequest([("position_m", wrong)])
        self.caller.require_district(road.district_id)
        self.seen.moment(request.seen_at, "seen_at")
        after: incidents.Board = self.boards.handle(
            road.part_id, lambda board: incidents.report(board, request, road.district_id), lambda board, _: board
        )
        incident_id, state = incidents.reported(after, request) or ("", pb.TRAFFIC_INCIDENT_STATE_UNSPECIFIED)
        if state == pb.TRAFFIC_INCIDENT_STATE_CLOSED and (row := self.incident_list.get(incident_id)) is not None:
            # It may have been rejected or retracted.
            state = row.read(pb.TrafficIncident).state
        return pb.ReportIncidentResponse(incident_id=incident_id, state=state)

    @rpc
    def ConfirmIncident(self, request: pb.ConfirmIncidentRequest) -> pb.ConfirmIncidentResponse:
        """A person says that it is there."""
        edge_id, part_id = self._place_of(request.incident_id)
        return self.boards.handle(
            part_id,
            lambda board: incidents.confirm(board, request),
            lambda board, _: pb.ConfirmIncidentResponse(closure_id=board.open[edge_id].closure_id),
        )

    @rpc
    def RejectIncident(self, request: pb.RejectIncidentRequest) -> pb.RejectIncidentResponse:
        """A person says that there is none."""
        _, part_id = self._place_of(request.incident_id)
        now = self.clock.now()
        return self.boards.handle(
            part_id, lambda board: incidents.reject(board, request, now), lambda _after, _: pb.RejectIncidentResponse()
        )

    @rpc
    def CloseIncident(self, request: pb.CloseIncidentRequest) -> pb.CloseIncidentResponse:
        """A person says that it is over."""
        _, part_id = self._place_of(request.incident_id)
        now = self.clock.now()
        return self.boards.handle(
            part_id, lambda board: incidents.close(board, request, now), lambda _after, _: pb.CloseIncidentResponse()
        )

    @rpc
    def GetIncident(self, request: pb.GetIncidentRequest) -> pb.GetIncidentResponse:
        """An incident with its history."""
        row = self.incident_list.get(request.incident_id)
        if row is None:
            raise incidents.missing(request.incident_id)
        return pb.GetIncidentResponse(incident=row.read(pb.TrafficIncident))

    @rpc
    def ListIncidents(self, request: pb.ListIncidentsRequest) -> pb.ListIncidentsResponse:
        """Those that are open, in pages."""
        known = self.open_incidents.derived(incident_views.oldest_first)
        asked_for = [one for one in known if request.district_id in ("", one.district_id)]
        page, more = self.paging.page(request, asked_for, incident_views.place_in_list, default=50)
        return pb.ListIncidentsResponse(incidents=page, next_page_token=more)

    @rpc
    def CalibrateIncidents(self, request: pb.CalibrateIncidentsRequest) -> pb.CalibrateIncidentsResponse:
        """Learns thresholds now."""
        roads = self.network_parts.derived(street_views.roads)
        if request.edge_id and request.edge_id not in roads:
            what = f"{request.edge_id!r} is not in the published network: name a road that is, or none"
            raise BadRequest([("edge_id", what)])
        parts = {road.part_id for road in roads.values()}
        told = [
            self._calibrate(part_id) for part_id in ([roads[request.edge_id].part_id] if request.edge_id else sorted(parts))
        ]
        return pb.CalibrateIncidentsResponse(
            calibrated=sum(len(one.pairs) for one in told), too_little=sum(one.too_little for one in told)
        )

    @at("03:45")
    def calibrate(self) -> None:
        """Learns the thresholds from the days before."""
        for part_id in sorted({road.part_id for road in self.network_parts.derived(street_views.roads).values()}):
            self._calibrate(part_id)

    @every(60)
    def forget_incidents(self) -> None:
        """Ends what is only suspected, and of which nothing was said for an hour."""
        now = self.clock.now()
        roads = self.network_parts.derived(street_views.roads)
        known = self.open_incidents.derived(incident_views.oldest_first)
        for part_id in sorted({roads[one.edge_id].part_id for one in known if one.edge_id in roads}):
            self.boards.handle(part_id, lambda board: incidents.forget(board, now), lambda _after, _: None)

    @window(street.StreetReadings, seconds=MINUTE_S, readings=readings, fold=fold, late_s=LATE_S)
    def look_each_minute(self, window: Window) -> None:
        """Looks for incidents before the five minutes are over. When they are, they are judged with all that came."""
        start = window.start // MICROSECONDS
        if not self.recent.begun:
            for batches in self.batches.kept(street.StreetReadings, window.start - KEPT_S * MICROSECONDS):
                off_loop(self.recent.recall, batches)
            self.recent.begun = True
        for name, state in window.states.items():
            if name.startswith(DETECTOR):
                for (begun, second), one in state.items():
                    self.recent.take(name.removeprefix(DETECTOR), begun // MICROSECONDS + second, interval(one))
        self.recent.forget(start - KEPT_S)
        limits = self.thresholds_now.derived(incident_views.by_pair)
        if not limits:
            return
        roads, cycles = self.network_parts.derived(street_views.roads), self.cycle_list.derived(incident_views.cycles)
        known = off_loop(street_network.known, roads, self.detector_list.derived(street_views.detectors).values(), cycles)
        failed = {one.detector_id for one in self.street_now.derived(street_views.failed)}
        pairs = {part_id: incident_pairs.of_part(known, part_id) for part_id in sorted(known.in_part)}
        # What no block needs any more is not kept: of all detectors of a city an hour is much.
        longest = max((pair.block_s for some in pairs.values() for pair in some), default=0)
        self.recent.forget(start - incident_pairs.LOOKED_AT * longest)
        for part_id, mine in pairs.items():
            shown = off_loop(self.recent.figures, mine, known, failed, start)
            if any(incident_thresholds.sources(one, limits) for one in shown):
                districts = {edge_id: road.district_id for edge_id, road in roads.items() if road.part_id == part_id}
                decide = partial(incidents.notice, pairs=shown, known=limits, districts=districts, end=window.end)
                self.boards.handle(part_id, decide, lambda _after, _: None, label=part_id)

    @subscribe(ev.PairsMeasured)
    def look_for_incidents(self, event: Heard) -> None:
        """What pairs of detectors show in five minutes, also in those that are judged anew."""
        data = event.data
        assert isinstance(data, ev.PairsMeasured)
        roads, limits = self.network_parts.derived(street_views.roads), self.thresholds_now.derived(incident_views.by_pair)
        districts = {edge_id: road.district_id for edge_id, road in roads.items() if road.part_id == data.part_id}
        now = event.stored.occurred_at
        self.boards.handle(
            data.part_id, lambda board: incidents.watch(board, data, limits, districts, now), lambda _after, _: None
        )

    @subscribe(ev.IncidentConfirmed, ev.IncidentEvidenceRetracted, ev.IncidentRejected, ev.IncidentClosed)
    def close_or_reopen(self, event: Heard) -> None:
        """Closes the road that an incident blocks, and reopens it. Ambulances under way hear of it as of any closure."""
        data, keepers, now = event.data, self.keepers.derived(views.keepers), self.clock.now()
        assert isinstance(data, ev.IncidentConfirmed | ev.IncidentEvidenceRetracted | ev.IncidentRejected | ev.IncidentClosed)
        if data.ended_closure_id:
            ended = service_pb.ReopenRoadsRequest(closure_id=data.ended_closure_id, reason=f"incident {data.incident_id}")
            self.closures.handle(
                ended.closure_id, lambda state: closures.reopen(state, ended), lambda _after, _: None, label="reopen"
            )
        if isinstance(data, ev.IncidentConfirmed) and data.closure_id and data.edge_id in keepers:
            closed = service_pb.CloseRoadsRequest(
                closure_id=data.closure_id, edge_ids=[data.edge_id], reason=f"incident {data.incident_id} 交通事件"
            )
            try:
                self.closures.handle(
                    closed.closure_id, lambda state: closures.close(state, closed, keepers, now), lambda _after, _: None
                )
            except Refused:
                # A person has reopened the road meanwhile: what they say counts.
                return

    # -- below ------------------------------------------------------------------------------------------------------------

    def _place_of(self, incident_id: str) -> tuple[str, str]:
        """The road of an incident, and its part of the network."""
        roads = self.network_parts.derived(street_views.roads)
        row = self.incident_list.get(incident_id)
        if row is not None:
            one = row.read(pb.TrafficIncident)
            edge_id, district_id = one.edge_id, one.district_id
        else:
            # Who has reported it a moment ago may be ahead of the read model.
            boards = (self.boards.load(part_id) for part_id in sorted({road.part_id for road in roads.values()}))
            found = next((one for board in boards for one in board.open.values() if one.incident_id == incident_id), None)
            if found is None:
                raise incidents.missing(incident_id)
            edge_id, district_id = found.edge_id, found.district_id
        self.caller.require_district(district_id)
        if edge_id not in roads:
            what = f"road {edge_id!r} of incident {incident_id} is not in the published network any more: publish it"
            raise Refused(what, "UNKNOWN_ROAD")
        return edge_id, roads[edge_id].part_id

    def _calibrate(self, part_id: str) -> ev.IncidentThresholdsCalibrated:
        now = self.clock.now()
        usual: dict[incident_thresholds.Named, incident_thresholds.Usual] = {}
        disturbed = incidents.disturbed(self.boards.load(part_id), now)
        for rows in self._pair_hours_of(part_id):
            off_loop(incident_thresholds.collect, usual, rows, now, disturbed)
        told = off_loop(incident_thresholds.learn, part_id, usual, now)
        self.calibrated.handle(part_id, partial(incident_thresholds.tell, told=told), lambda _after, _: None, label=part_id)
        return told

    def _pair_hours_of(self, part_id: str) -> Iterator[list[incident_thresholds.PairHoursRow]]:
        """The hours of a part, some at a time."""
        last = begin = prefix(part_id)
        while rows := [(key, row) for key, row in self.pair_hours.scan(last, SCANNED) if key.startswith(begin)]:
            last = rows[-1][0]
            yield [row for _, row in rows]
