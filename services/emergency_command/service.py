"""Emergency command (应急指挥调度): reports in, incidents out, and one stream to follow each."""

from __future__ import annotations

from collections.abc import Callable

from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.service import Follow, Paging, People, Service, Streams, View, correlate, new_id, rpc
from citybrain.services.emergency_command import domain, views

Decide = Callable[[domain.Incident], list[Message]]


class EmergencyCommandService(Service):
    """The first super-app."""

    name = "emergency_command"
    incidents = Streams("incident", domain.Incident, domain.evolve, district=domain.district_of)
    listed = View(views.EVENTS, views.key, views.apply, row=views.IncidentRow, personal={"reporter": "reporter_id"})
    roads = View(views.ROAD_EVENTS, views.road_key, views.road, row=views.RoadRow)
    unanswered = View(views.ANSWER_EVENTS, views.key, views.answer, row=views.UnansweredRow)
    people = People()
    paging = Paging()

    @rpc
    def ReportEmergency(self, request: pb.ReportEmergencyRequest) -> pb.ReportEmergencyResponse:
        """Opens an incident; the workflow that carries it starts from the event."""
        incident_id = new_id("inc")
        correlate(incident_id)
        reporter_id = self.people.of("phone", request.reporter.phone) if request.HasField("reporter") else ""
        lengths_m = self.roads.derived(views.lengths)
        district_id = self.roads.derived(views.keepers).get(request.place.edge_id, "")
        incident = self.incidents.handle(
            incident_id,
            lambda state: domain.open_incident(state, incident_id, request, lengths_m, reporter_id, district_id),
            lambda after, _: after,
        )
        return pb.ReportEmergencyResponse(incident=_show(incident))

    @rpc
    def GetIncident(self, request: pb.GetIncidentRequest) -> pb.GetIncidentResponse:
        """One incident, with whom to call back. Its moments are there as soon as the list has it."""
        incident = domain.existing(self.incidents.load(request.incident_id), request.incident_id)
        row = self.listed.get(request.incident_id)
        shown = _show(incident) if row is None else views.read(row, self.unanswered.get(request.incident_id))
        if incident.opened is not None and incident.opened.HasField("reporter"):
            shown.reporter.CopyFrom(incident.opened.reporter)
        return pb.GetIncidentResponse(incident=shown)

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

    def _change(self, incident_id: str, decide: Decide) -> pb.Incident:
        correlate(incident_id)
        return _show(self.incidents.handle(incident_id, decide, lambda after, _: after))


def _show(incident: domain.Incident) -> pb.Incident:
    opened = incident.opened
    assert opened is not None
    return pb.Incident(
        incident_id=opened.incident_id, state=incident.state, channel=opened.channel, severity=opened.severity,
        place=opened.place, outcome=incident.outcome, reporter_id=opened.reporter_id, district_id=opened.district_id,
    )  # fmt: skip
