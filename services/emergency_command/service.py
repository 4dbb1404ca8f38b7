"""Emergency command (应急指挥调度): reports in, incidents out, and one stream to follow each."""

from __future__ import annotations

from collections.abc import Callable

from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.events_pb2 import ReportMerged, ReportSorted
from google.protobuf.message import Message

from citybrain.mesh.errors import Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.long_streams import done
from citybrain.mesh.merging import Board
from citybrain.mesh.service import Clock, Follow, Paging, People, Service, Streams, View, correlate, new_id, rpc
from citybrain.services.emergency_command import domain, merging, views

Decide = Callable[[domain.Incident], list[Message]]

CITY = "city"
"""The key of the one board on which reports are sorted."""


class EmergencyCommandService(Service):
    """The first super-app."""

    name = "emergency_command"
    incidents = Streams("incident", domain.Incident, domain.evolve, district=domain.district_of)
    boards = Streams("board", Board, merging.evolve, snapshot_every=500)
    listed = View(views.EVENTS, views.key, views.apply, row=views.IncidentRow, personal={"reporter": "reporter_id"})
    roads = View(views.ROAD_EVENTS, views.road_key, views.road, row=views.RoadRow)
    ways = View(views.ROAD_EVENTS, views.road_key, views.way, row=views.WayRow)
    on_board = View(views.MISSION_EVENTS, views.key, views.on_board, row=views.OnBoardRow)
    unanswered = View(views.ANSWER_EVENTS, views.key, views.answer, row=views.UnansweredRow)
    people = People()
    paging = Paging()
    clock = Clock()

    @rpc
    def ReportEmergency(self, request: pb.ReportEmergencyRequest) -> pb.ReportEmergencyResponse:
        """Takes a report in: it joins the open incident that it fits, or opens one, from which the workflow starts."""
        domain.check_place(self.roads.derived(views.lengths), request.place)
        report = self._report(request)
        district_id = self.roads.derived(views.keepers).get(request.place.edge_id, "")
        to_sort = ReportSorted(
            report_id=report.report_id, incident_id=new_id("inc"), place=report.place, reported_at=report.reported_at,
            district_id=district_id,
        )  # fmt: skip
        roads = self.ways.derived(views.network)
        incident_id = self.boards.known(CITY).sorted_to.get(report.report_id, "")
        attempt = 0
        while True:
            if not incident_id:
                incident_id = self.boards.handle(
                    CITY,
                    lambda board: merging.sort(board, to_sort, roads, another_patient=request.another_patient),
                    lambda _after, events: str(events[0].incident_id),
                    label=f"sort-{attempt}",
                )
            correlate(incident_id)
            # Nobody is on board for one that this report opens.
            on_board = incident_id != to_sort.incident_id and self.on_board.get(incident_id) is not None
            try:
                after, merged = self.incidents.handle(
                    incident_id,
                    lambda state, key=incident_id, on_board=on_board: domain.receive(  # type: ignore[misc]
                        state, key, report, district_id, on_board=on_board
                    ),
                    lambda after, events: (after, isinstance(events[0], ReportMerged)),
                )
                return pb.ReportEmergencyResponse(incident=_show(after), report_id=report.report_id, merged=merged)
            except Refused as refusal:
                # It takes no more reports, and the board did not know yet.
                if refusal.reason not in domain.ENDED:
                    raise
            ended = incident_id
            done(self.boards, CITY, lambda board, ended=ended: merging.end(board, ended), f"end-{attempt}")  # type: ignore[misc]
            incident_id = ""
            attempt += 1

    @rpc
    def SplitReport(self, request: pb.SplitReportRequest) -> pb.SplitReportResponse:
        """Gives a report an incident of its own. A call that was cut off goes on where it stopped."""
        new = new_id("inc")
        correlate(request.incident_id)
        before = self.incidents.handle(
            request.incident_id, lambda state: domain.split_off(state, new, request), lambda after, _: after
        )
        report, to_id = before.merged[request.report_id], before.split[request.report_id]
        district_id = self.roads.derived(views.keepers).get(report.place.edge_id, "")
        correlate(to_id)
        after = self.incidents.handle(
            to_id,
            lambda state: domain.receive(state, to_id, report, district_id, split_from=request.incident_id),
            lambda after, _: after,
        )
        to_sort = ReportSorted(
            report_id=report.report_id, incident_id=to_id, place=report.place, reported_at=report.reported_at,
            district_id=district_id, split_off=True,
        )  # fmt: skip
        done(self.boards, CITY, lambda board: merging.put(board, to_sort))
        return pb.SplitReportResponse(incident=_show(after))

    @rpc
    def GetIncident(self, request: pb.GetIncidentRequest) -> pb.GetIncidentResponse:
        """One incident, with whom to call back. Its moments are there as soon as the list has it."""
        incident = domain.existing(self.incidents.load(request.incident_id), request.incident_id)
        row = self.listed.get(request.incident_id)
        shown = _show(incident)
        if row is not None:
            listed = views.read(row, self.unanswered.get(request.incident_id))
            shown.reported_at.CopyFrom(listed.reported_at)
            if listed.HasField("ended_at"):
                shown.ended_at.CopyFrom(listed.ended_at)
            shown.unanswered_district_ids.extend(listed.unanswered_district_ids)
        if incident.opened is not None and incident.opened.HasField("reporter"):
            shown.reporter.CopyFrom(incident.opened.reporter)
        page, more = self.paging.page(request, domain.reports(incident), domain.age, default=100)
        return pb.GetIncidentResponse(incident=shown, reports=page, next_page_token=more)

    @rpc
    def ListIncidents(self, request: pb.ListIncidentsRequest) -> pb.ListIncidentsResponse:
        """The incidents that match the request, newest first, in pages, with whom to call back."""
        rows = [row for _, row in self.listed.scan() if views.is_asked_for(row, request)]
        page, more = self.paging.page(request, rows, views.age, newest_first=True)
        shown = [views.read(row, self.unanswered.get(row.id)) for row in page]
        return pb.ListIncidentsResponse(incidents=shown, next_page_token=more)

    @rpc
    def FollowIncident(self, request: pb.FollowIncidentRequest) -> Follow:
        """Streams everything that happens for an incident, in every department."""
        domain.existing(self.incidents.load(request.incident_id), request.incident_id)
        return Follow(purpose=request.incident_id, correlation_id=request.incident_id)

    @rpc
    def CancelIncident(self, request: pb.CancelIncidentRequest) -> pb.CancelIncidentResponse:
        """Cancels a false call."""
        return pb.CancelIncidentResponse(incident=self._change(request.incident_id, lambda i: domain.cancel(i, request)))

    @rpc
    def CloseIncident(self, request: pb.CloseIncidentRequest) -> pb.CloseIncidentResponse:
        """Closes an incident when the work on it has ended."""
        return pb.CloseIncidentResponse(incident=self._change(request.incident_id, lambda i: domain.close(i, request)))

    def _report(self, request: pb.ReportEmergencyRequest) -> pb.Report:
        """The report as it is kept."""
        report = pb.Report(
            report_id=new_id("rep"), channel=request.channel, severity=request.severity, place=request.place,
            reported_at=timestamp(self.clock.now()),
        )  # fmt: skip
        if request.HasField("reporter"):
            report.reporter_id = self.people.of("phone", request.reporter.phone)
            report.reporter.CopyFrom(request.reporter)
        return report

    def _change(self, incident_id: str, decide: Decide) -> pb.Incident:
        correlate(incident_id)
        return _show(self.incidents.handle(incident_id, decide, lambda after, _: after))


def _show(incident: domain.Incident) -> pb.Incident:
    opened = incident.opened
    assert opened is not None
    return pb.Incident(
        incident_id=opened.incident_id, state=incident.state, channel=opened.channel, severity=domain.severity(incident),
        place=opened.place, outcome=incident.outcome, reporter_id=opened.reporter_id, district_id=opened.district_id,
        reports=len(domain.reports(incident)), split_from_id=opened.split_from_id,
    )  # fmt: skip
