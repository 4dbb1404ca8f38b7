"""District hubs (区县中枢): districts are told, answer, and listen."""

from __future__ import annotations

import itertools

from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1 import events_pb2 as ev
from google.protobuf.duration_pb2 import Duration

from citybrain.mesh.errors import NotFound
from citybrain.mesh.events import timestamp
from citybrain.mesh.ids import joined, parted
from citybrain.mesh.service import (
    Caller,
    Clock,
    Follow,
    Paging,
    Service,
    Streams,
    View,
    WaitsForPeople,
    correlate,
    every,
    rpc,
)
from citybrain.services.district_hub import domain, subscribing, views

LOOK_S = 10
"""How often it looks which notices wait: no notice is given less than twice this time."""


class DistrictHubService(Service):
    """The hub of all districts."""

    name = "district_hub"
    districts = Streams("district", domain.District, domain.evolve_district)
    notices = Streams("notices", domain.Notices, domain.evolve_notices)
    district_list = View(views.DISTRICT_EVENTS, views.district_key, views.district, row=views.DistrictRow)
    roads = View(views.ROAD_EVENTS, views.road_key, views.road, row=views.RoadRow)
    answers = View(views.ANSWER_EVENTS, views.answer_key, views.answer, row=views.AnswerRow)
    waiting = View(views.WAITING_EVENTS, views.answer_key, views.waiting, row=views.WaitingRow)
    unanswered = WaitsForPeople(views.WAITING_EVENTS, views.answer_key, views.unanswered)
    batches = Streams("batch", domain.Batch, domain.evolve_batch)
    reports = View(views.REPORT_EVENTS, views.report_key, views.report, row=views.ReportRow)
    paging = Paging()
    clock = Clock()
    caller = Caller()

    @rpc
    def RegisterDistrict(self, request: pb.RegisterDistrictRequest) -> pb.RegisterDistrictResponse:
        """Registers a district."""
        district = self.districts.handle(
            request.district_id, lambda state: domain.register(state, request), lambda after, _: after
        )
        return pb.RegisterDistrictResponse(district=pb.District(district_id=request.district_id, name=district.name))

    @rpc
    def ListDistricts(self, request: pb.ListDistrictsRequest) -> pb.ListDistrictsResponse:
        """By id, in pages."""
        rows, more = self.paging.scan(request, self.district_list)
        shown = [pb.District(district_id=key, name=row.name) for key, row in rows]
        return pb.ListDistrictsResponse(districts=shown, next_page_token=more)

    @rpc
    def NotifyDistricts(self, request: pb.NotifyDistrictsRequest) -> pb.NotifyDistrictsResponse:
        """Notifies every district whose roads lie on the route."""
        roads = domain.by_district(request.edge_ids, self.roads.derived(views.keepers))
        notices = self.notices.handle(
            request.incident_id, lambda state: domain.notify(state, request, roads), lambda after, _: after
        )
        told = [t for t in notices.told.values() if t.notified.round_id == request.round_id]
        return pb.NotifyDistrictsResponse(notices=[_show(t) for t in told])

    @rpc
    def AlertDistricts(self, request: pb.AlertDistrictsRequest) -> pb.AlertDistrictsResponse:
        """Alerts the districts that an incident concerns."""
        correlate(request.incident_id)
        roads = self._concerned(request)
        sent = timestamp(self.clock.now())
        notices = self.notices.handle(
            request.incident_id, lambda state: domain.alert(state, request, roads, sent), lambda after, _: after
        )
        told = [t for t in notices.told.values() if t.notified.round_id == request.round_id]
        return pb.AlertDistrictsResponse(notices=[_show(t) for t in told])

    @rpc
    def WithdrawNotices(self, request: pb.WithdrawNoticesRequest) -> pb.WithdrawNoticesResponse:
        """Tells the notified districts that it is over."""
        sent = timestamp(self.clock.now())
        over: list[str] = []
        for number in itertools.count():
            withdrawn = self.notices.handle(
                request.incident_id,
                lambda state: domain.withdraw(state, request, sent),
                lambda _after, events: [e.notice_id for e in events if isinstance(e, ev.NoticeWithdrawn)],
                label=f"{number}" if number else "",
            )
            over += withdrawn
            if len(withdrawn) < domain.MOST:
                break
        return pb.WithdrawNoticesResponse(notice_ids=over)

    @rpc
    def AcknowledgeNotice(self, request: pb.AcknowledgeNoticeRequest) -> pb.AcknowledgeNoticeResponse:
        """Records that a district has seen a notice."""
        notices = self.notices.handle(
            parted(request.notice_id)[0],
            lambda state: domain.acknowledge(state, request),
            lambda after, _: after,
            continues=True,
        )
        return pb.AcknowledgeNoticeResponse(notice=self._with_moment(notices.told[request.notice_id]))

    @rpc
    def ListNotices(self, request: pb.ListNoticesRequest) -> pb.ListNoticesResponse:
        """The notices that wait for a district's word."""
        rows = [(key, row) for key, row in self.waiting.scan() if row.district_id == request.district_id]
        page, more = self.paging.page(request, rows, lambda one: (one[1].told_at, one[0]))
        return pb.ListNoticesResponse(notices=[views.read_waiting(key, row) for key, row in page], next_page_token=more)

    @every(LOOK_S)
    def urge_districts(self) -> None:
        """Reminds districts of notices that wait; where the time is over, the city is told."""
        now = self.clock.now()
        for notice_id, row in self.waiting.scan():
            if (over := views.is_over(row, now)) is None:
                continue
            self.notices.handle(
                parted(notice_id)[0],
                lambda state, notice=notice_id, over=over: domain.urge(state, notice, over=over),  # type: ignore[misc]
                lambda after, _: after,
                label=notice_id,
                continues=True,
            )

    @rpc
    def SendReports(self, request: pb.SendReportsRequest) -> pb.SendReportsResponse:
        """Keeps the reports of a district."""
        self._known(request.district_id)
        if request.incident_id:
            correlate(request.incident_id)
        return self.batches.handle(
            joined(request.district_id, request.batch_id),
            lambda batch: domain.keep(batch, request),
            lambda after, events: pb.SendReportsResponse(kept=len(after.reports), known=not events),
        )

    @rpc
    def ListReports(self, request: pb.ListReportsRequest) -> pb.ListReportsResponse:
        """The reports of a district, the newest first."""
        rows, more = self.paging.scan(request, self.reports, default=50, prefix=views.reports_of(request.district_id))
        return pb.ListReportsResponse(reports=[views.read_report(row) for _, row in rows], next_page_token=more)

    @rpc
    def GetNotice(self, request: pb.GetNoticeRequest) -> pb.GetNoticeResponse:
        """One notice."""
        told = domain.existing(self.notices.load(parted(request.notice_id)[0]), request.notice_id)
        return pb.GetNoticeResponse(notice=self._with_moment(told))

    @rpc
    def Subscribe(self, request: pb.SubscribeRequest) -> Follow:
        """Streams the events that concern one district, or replays them."""
        self._known(request.district_id)
        follow = subscribing.subject(request)
        self.caller.require_events(request.event_types, told=subscribing.NAMES)
        return follow

    def _concerned(self, request: pb.AlertDistrictsRequest) -> dict[str, list[str]]:
        """The districts that an alert concerns, each with its roads: too many rather than none."""
        registered = [key for key, _ in self.district_list.scan()]
        roads = domain.by_district(request.edge_ids, self.roads.derived(views.keepers))
        named = [one for one in request.district_ids if one in registered]
        return roads | {one: roads.get(one, []) for one in named} or {one: [] for one in registered}

    def _known(self, district_id: str) -> None:
        if self.districts.load(district_id) == domain.District():
            raise NotFound(f"there is no district {district_id}: ListDistricts names them", "NO_SUCH_DISTRICT")

    def _with_moment(self, told: domain.Told) -> pb.Notice:
        notice = _show(told)
        row = self.answers.get(notice.notice_id)
        if row is not None:
            notice.acknowledged_at.CopyFrom(timestamp(row.at))
        return notice


def _show(told: domain.Told) -> pb.Notice:
    n = told.notified
    return pb.Notice(
        notice_id=n.notice_id, incident_id=n.incident_id, district_id=n.district_id, vehicle_id=n.vehicle_id,
        edge_ids=n.edge_ids, withdrawn=told.withdrawn, reminded=told.reminded, escalated=told.escalated,
        acknowledge_within=Duration(seconds=n.acknowledge_within_s), alert=n.alert if n.HasField("alert") else None,
    )  # fmt: skip
