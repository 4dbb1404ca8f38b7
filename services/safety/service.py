"""Public safety (平安): reports in, incidents out, how grave they are, and which units go there.

It is long because every method of the contract stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh import closed_roads
from citybrain.mesh.errors import BadRequest, Forbidden, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.long_streams import done
from citybrain.mesh.merging import Board
from citybrain.mesh.roads import routes_to
from citybrain.mesh.service import (
    Caller,
    Clock,
    Paging,
    People,
    Service,
    Source,
    Streams,
    View,
    correlate,
    new_id,
    off_loop,
    rpc,
)
from citybrain.services.safety import cordon, domain, fleet, joint, merging, views

CITY = "city"
"""The key of the one stream of units."""

SERVICE = "service:"
"""Begins the subjects of services."""

ENDED = frozenset({"INCIDENT_CLOSED", "INCIDENT_MERGED"})


class SafetyService(Service):
    """Reports, incidents and units of public safety."""

    name = "safety"
    incidents = Streams("incident", domain.Incident, domain.evolve, district=domain.district_of)
    boards = Streams("board", Board, merging.evolve, snapshot_every=500)
    fleet = Streams("fleet", fleet.Fleet, fleet.evolve, snapshot_every=500)
    incident_list = View(views.INCIDENT_EVENTS, views.incident_key, views.incident, row=views.IncidentRow)
    unanswered = View(views.ANSWER_EVENTS, views.incident_key, views.answer, row=views.UnansweredRow)
    roads = View(views.ROAD_EVENTS, views.road_key, views.road, row=views.RoadRow)
    closed_roads = View(closed_roads.EVENTS, closed_roads.key, closed_roads.apply, row=closed_roads.Row)
    reports = Source(ahead_s=60, behind_s=86_400)
    people = People()
    paging = Paging()
    clock = Clock()
    caller = Caller()

    # -- reports ----------------------------------------------------------------------------------------------------------

    @rpc
    def ReportSignal(self, request: pb.ReportSignalRequest) -> pb.ReportSignalResponse:
        """Takes a report in: it joins the open incident that it fits, or opens one."""
        roads = self.roads.derived(views.network)
        domain.check_somewhere(request, roads.length_m)
        signal = self._signal(request)
        keeper = self.roads.derived(views.keepers).get(request.place.edge_id, "")
        report = merging.to_sort(new_id("saf"), signal, keeper or request.district_id)
        board = _board_of(signal.kind)
        incident_id = self.boards.load(board).sorted_to.get(signal.signal_id, "")
        attempt = 0
        while True:
            if not incident_id:
                incident_id = self.boards.handle(
                    board,
                    lambda state: merging.sort(state, report, roads),
                    lambda _after, events: str(events[0].incident_id),
                    label=f"sort-{attempt}",
                )
            correlate(incident_id)
            try:
                after, opened = self.incidents.handle(
                    incident_id,
                    lambda state, key=incident_id: domain.receive(  # type: ignore[misc]
                        state, key, signal, report.district_id, signal.received_at
                    ),
                    lambda after, events: (after, isinstance(events[0], ev.SafetyIncidentOpened)),
                )
                return pb.ReportSignalResponse(signal_id=signal.signal_id, incident=domain.show(after), opened=opened)
            except Refused as refusal:
                # It has ended, and the board did not know yet.
                if refusal.reason not in ENDED:
                    raise
            into = self.incidents.load(incident_id).merged_into
            self._end_sorting(signal.kind, incident_id, into, f"end-{attempt}")
            incident_id = ""
            attempt += 1

    @rpc
    def SplitSignal(self, request: pb.SplitSignalRequest) -> pb.SplitSignalResponse:
        """Gives a report an incident of its own. A call that was cut off goes on where it stopped."""
        domain.existing(self.incidents.load(request.incident_id), request.incident_id)
        name, new = request.signal_id, new_id("saf")
        holding = {key: one.split.get(name, "") for key, one in self._all_of(request.incident_id) if name in one.signals}
        # Where this call has split it off before; else where it is now; else where it was until somebody split it off.
        from_id = min(holding, key=lambda key: (holding[key] != new, holding[key] != ""), default=request.incident_id)
        correlate(from_id)
        before = self.incidents.handle(
            from_id, lambda state: domain.split_off(state, name, new, request), lambda after, _: after
        )
        signal, to_id, district_id = before.signals[name], before.split[name], domain.district_of(before)
        now = self._now()
        correlate(to_id)
        after = self.incidents.handle(
            to_id, lambda state: domain.receive(state, to_id, signal, district_id, now, from_id), lambda after, _: after
        )
        if after.state == pb.INCIDENT_STATE_OPEN:
            report = merging.to_sort(to_id, signal, district_id)
            report.split_off = True
            done(self.boards, _board_of(signal.kind), lambda board: merging.put(board, report))
        return pb.SplitSignalResponse(incident=domain.show(after))

    @rpc
    def MergeIncidents(self, request: pb.MergeIncidentsRequest) -> pb.MergeIncidentsResponse:
        """Makes one of two incidents: the older stays. A call that was cut off goes on where it stopped."""
        ids = request.incident_id, request.other_incident_id
        if ids[0] == ids[1]:
            raise BadRequest([("other_incident_id", "is the same incident: name another one")])
        two = {key: domain.existing(self.incidents.load(key), key) for key in ids}
        younger, older = ids if domain.is_older(two[ids[1]], two[ids[0]]) else ids[::-1]
        now = self._now()
        correlate(older)
        if two[younger].merged_into != older:
            domain.still_open(two[older], older)
        ended = self.incidents.handle(
            younger, lambda state: domain.merge(state, two[older], request, now), lambda after, _: after
        )
        after = self.incidents.handle(older, lambda state: domain.absorb(state, ended), lambda after, _: after)
        self._end_sorting(_opened(ended).kind, younger, older)
        return pb.MergeIncidentsResponse(incident=domain.show(after))

    # -- incidents --------------------------------------------------------------------------------------------------------

    @rpc
    def GetIncident(self, request: pb.GetIncidentRequest) -> pb.GetIncidentResponse:
        """One incident, with its reports and its units, and those of incidents that were merged into it."""
        found = domain.existing(self.incidents.load(request.incident_id), request.incident_id)
        all_of_it = dict(self._all_of(request.incident_id))
        signals = [signal for one in all_of_it.values() for signal in domain.own_signals(one)]
        page, more = self.paging.page(request, signals, _received, default=100)
        return pb.GetIncidentResponse(
            incident=views.with_unanswered(domain.show(found), self.unanswered.get(request.incident_id)),
            signals=page,
            next_page_token=more,
            units=fleet.units_of(self.fleet.load(CITY), frozenset(all_of_it)),
            assessments=[found.assessments[source] for source in sorted(found.assessments)],
        )

    @rpc
    def ListIncidents(self, request: pb.ListIncidentsRequest) -> pb.ListIncidentsResponse:
        """The incidents that match the request, newest first, in pages."""
        rows = [row for _, row in self.incident_list.scan() if views.is_asked_for(row, request)]
        page, more = self.paging.page(request, rows, views.age, newest_first=True)
        shown = [views.read(row, self.unanswered.get(row.id)) for row in page]
        return pb.ListIncidentsResponse(incidents=shown, next_page_token=more)

    @rpc
    def AssessIncident(self, request: pb.AssessIncidentRequest) -> pb.AssessIncidentResponse:
        """Records what somebody has counted; the grade follows."""
        after = self._change(request.incident_id, lambda state: domain.assess(state, request))
        return pb.AssessIncidentResponse(incident=domain.show(after))

    @rpc
    def ConfirmGrade(self, request: pb.ConfirmGradeRequest) -> pb.ConfirmGradeResponse:
        """Records the grade that the caller confirms, or raises; or, where a service calls, what somebody decided there."""
        by = self.caller.name
        if by.startswith(SERVICE):
            by = request.decided_by
        elif request.decided_by:
            raise BadRequest([("decided_by", "is only for services: leave it out, who calls is who confirms")])
        after = self._change(request.incident_id, lambda state: domain.confirm(state, request, by))
        return pb.ConfirmGradeResponse(incident=domain.show(after))

    @rpc
    def CloseIncident(self, request: pb.CloseIncidentRequest) -> pb.CloseIncidentResponse:
        """Closes an incident when the work on it has ended."""
        now = self._now()
        after = self._change(request.incident_id, lambda state: domain.close(state, request, now))
        self._end_sorting(_opened(after).kind, request.incident_id)
        return pb.CloseIncidentResponse(incident=domain.show(after))

    # -- joint command ----------------------------------------------------------------------------------------------------

    @rpc
    def CallJointCommand(self, request: pb.CallJointCommandRequest) -> pb.CallJointCommandResponse:
        """Has departments act together; the workflow that carries it starts from the event."""
        by, place = self.caller.name, request.place if request.HasField("place") else None
        if place is not None:
            self.roads.derived(views.network).require(place, "the place of joint command")
        after = self._change(
            request.incident_id, lambda state: joint.call(state, request.incident_id, request.reason, place, by)
        )
        return pb.CallJointCommandResponse(incident=domain.show(after))

    @rpc
    def OrderStandDown(self, request: pb.OrderStandDownRequest) -> pb.OrderStandDownResponse:
        """A commander ends joint command."""
        by = self.caller.name
        after = self._change(
            request.incident_id, lambda state: joint.stand_down(state, request.incident_id, request.outcome, by)
        )
        return pb.OrderStandDownResponse(incident=domain.show(after))

    @rpc
    def PlanCordon(self, request: pb.PlanCordonRequest) -> pb.PlanCordonResponse:
        """The roads around an incident."""
        found = domain.existing(self.incidents.load(request.incident_id), request.incident_id)
        place = request.place if request.HasField("place") else found.place
        if place is None:
            problem = f"is missing, and no report of {request.incident_id} named a road: say around what"
            raise BadRequest([("place", problem)])
        roads = self.roads.derived(views.network)
        roads.require(place, "the place of the incident")
        reach_m = cordon.metres(_opened(found).kind)
        return pb.PlanCordonResponse(edge_ids=off_loop(cordon.around, roads, place, reach_m), metres=reach_m)

    @rpc
    def RecordAfterAction(self, request: pb.RecordAfterActionRequest) -> pb.RecordAfterActionResponse:
        """Keeps what joint command did."""
        now = self._now()
        self._change(request.incident_id, lambda state: joint.record(state, request, now))
        return pb.RecordAfterActionResponse()

    @rpc
    def GetAfterAction(self, request: pb.GetAfterActionRequest) -> pb.GetAfterActionResponse:
        """What joint command did."""
        return pb.GetAfterActionResponse(report=joint.report(self.incidents.load(request.incident_id), request.incident_id))

    # -- units ------------------------------------------------------------------------------------------------------------

    @rpc
    def RegisterUnit(self, request: pb.RegisterUnitRequest) -> pb.RegisterUnitResponse:
        """Registers a police car or a fire engine."""
        roads = self.roads.derived(views.network)
        if roads.length_m:
            roads.require(request.station, f"the station of unit {request.unit_id}")
        after = done(self.fleet, CITY, lambda state: fleet.register(state, request))
        return pb.RegisterUnitResponse(unit=fleet.show(after, request.unit_id))

    @rpc
    def ListUnits(self, request: pb.ListUnitsRequest) -> pb.ListUnitsResponse:
        """By id, in pages."""
        state = self.fleet.load(CITY)
        rows = [key for key, unit in state.units.items() if fleet.is_asked_for(unit, request)]
        page, more = self.paging.page(request, rows, lambda key: (key,), default=500)
        return pb.ListUnitsResponse(units=[fleet.show(state, key) for key in page], next_page_token=more)

    @rpc
    def AssignUnits(self, request: pb.AssignUnitsRequest) -> pb.AssignUnitsResponse:
        """Sends the free units of each kind that are there first: all that were asked for, or none."""
        asked = fleet.asked_for(request)
        found = domain.existing(self.incidents.load(request.incident_id), request.incident_id)
        place = request.place if request.HasField("place") else found.place
        correlate(request.incident_id)
        routes = {} if place is None else self._routes(place, asked)

        def decide(state: fleet.Fleet) -> list[Message]:
            domain.still_open(found, request.incident_id)
            joint.still_sends(found, request.incident_id)
            return fleet.assign(state, request, place, domain.district_of(found), routes)

        after = done(self.fleet, CITY, decide)
        return pb.AssignUnitsResponse(units=after.assignments[request.assignment_id].units)

    @rpc
    def PostUnits(self, request: pb.PostUnitsRequest) -> pb.PostUnitsResponse:
        """Posts police cars where something is expected."""
        correlate(request.occasion_id)
        routes = self._routes(request.place, (pb.UNIT_KIND_POLICE_CAR,))
        after = done(self.fleet, CITY, lambda state: fleet.post(state, request, routes))
        return pb.PostUnitsResponse(units=after.assignments[request.post_id].units)

    @rpc
    def RecallUnits(self, request: pb.RecallUnitsRequest) -> pb.RecallUnitsResponse:
        """Ends a post, or bars the one that may still come."""
        correlate(request.occasion_id)
        after = done(self.fleet, CITY, lambda state: fleet.recall(state, request))
        return pb.RecallUnitsResponse(unit_ids=after.ended[request.post_id])

    @rpc
    def ReleaseUnits(self, request: pb.ReleaseUnitsRequest) -> pb.ReleaseUnitsResponse:
        """Lets units go, or bars the assignment that may still come."""
        if not request.assignment_id:
            return self._release_all(request)
        district_id = domain.district_of(self.incidents.load(request.incident_id))
        correlate(request.incident_id)
        after = done(self.fleet, CITY, lambda state: fleet.release(state, request, district_id))
        return pb.ReleaseUnitsResponse(unit_ids=after.ended[request.assignment_id])

    def _release_all(self, request: pb.ReleaseUnitsRequest) -> pb.ReleaseUnitsResponse:
        districts = {key: domain.district_of(one) for key, one in self._all_of(request.incident_id)}
        correlate(request.incident_id)
        held = fleet.units_of(self.fleet.load(CITY), frozenset(districts))
        after = done(self.fleet, CITY, lambda state: fleet.release_all(state, request, districts))
        return pb.ReleaseUnitsResponse(unit_ids=[one.unit_id for one in held if one.assignment_id in after.ended])

    # -- what they share --------------------------------------------------------------------------------------------------

    def _now(self) -> Timestamp:
        return timestamp(self.clock.now())

    def _signal(self, request: pb.ReportSignalRequest) -> pb.Signal:
        """The report as it is kept."""
        now = self.clock.now()
        observed = self.reports.moment(request.observed_at, "observed_at") if request.HasField("observed_at") else now
        signal = pb.Signal(
            signal_id=new_id("sig"), source=request.source, kind=request.kind, observed_at=timestamp(observed),
            received_at=timestamp(now), text=request.text,
        )  # fmt: skip
        if request.HasField("place"):
            signal.place.CopyFrom(request.place)
        if request.HasField("position"):
            signal.position.CopyFrom(request.position)
        if request.HasField("reporter"):
            signal.reporter_id = self.people.of("phone", request.reporter.phone)
            signal.reporter.CopyFrom(request.reporter)
        return signal

    def _change(self, incident_id: str, decide: Callable[[domain.Incident], list[Message]]) -> domain.Incident:
        correlate(incident_id)
        return self.incidents.handle(incident_id, decide, lambda after, _: after)

    def _end_sorting(self, kind: pb.EventKind, incident_id: str, into: str = "", label: str = "") -> None:
        done(self.boards, _board_of(kind), lambda board: merging.end(board, incident_id, into), label)

    def _all_of(self, incident_id: str) -> Iterator[tuple[str, domain.Incident]]:
        """The incident and those that were merged into it, as far as the caller may see their districts."""
        waiting = [incident_id]
        while waiting:
            key = waiting.pop()
            try:
                found = self.incidents.load(key)
            except Forbidden:
                continue
            yield key, found
            waiting += found.absorbed

    def _routes(self, place: RoadPlace, kinds: Iterable[int]) -> dict[str, Route]:
        """The way of every unit of these kinds that can reach a place, free or not."""
        roads = self.roads.derived(views.network)
        roads.require(place, "the place of the incident")
        units, closed = self.fleet.load(CITY).units, self.closed_roads.derived(closed_roads.roads)
        found: dict[str, Route] = {}
        for kind in kinds:
            stations = {key: unit.station for key, unit in units.items() if unit.kind == kind}
            found |= off_loop(routes_to, roads, place, stations, fleet.DRIVING[kind], closed)
        return found


def _board_of(kind: pb.EventKind) -> str:
    """The key of the board on which reports of a kind are sorted."""
    return pb.EventKind.Name(kind).removeprefix("EVENT_KIND_").lower()


def _opened(incident: domain.Incident) -> ev.SafetyIncidentOpened:
    assert incident.opened is not None
    return incident.opened


def _received(signal: pb.Signal) -> tuple[int | str, ...]:
    """What reports are ordered by."""
    return signal.received_at.ToMicroseconds(), signal.signal_id
