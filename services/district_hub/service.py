"""District hubs (区县中枢): districts are told, answer, and listen."""

from __future__ import annotations

from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1 import events_pb2 as ev
from citybrain.personal.v1.personal_pb2 import PersonErased
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.ids import parted
from citybrain.mesh.service import Follow, Paging, Service, Streams, View, rpc
from citybrain.services.district_hub import domain, views


class DistrictHubService(Service):
    """The hub of all districts."""

    name = "district_hub"
    districts = Streams("district", domain.District, domain.evolve_district)
    notices = Streams("notices", domain.Notices, domain.evolve_notices)
    district_list = View(views.DISTRICT_EVENTS, views.district_key, views.district, row=views.DistrictRow)
    roads = View(views.ROAD_EVENTS, views.road_key, views.road, row=views.RoadRow)
    answers = View(views.ANSWER_EVENTS, views.answer_key, views.answer, row=views.AnswerRow)
    paging = Paging()

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
    def WithdrawNotices(self, request: pb.WithdrawNoticesRequest) -> pb.WithdrawNoticesResponse:
        """Tells the notified districts that it is over."""
        return self.notices.handle(
            request.incident_id,
            lambda state: domain.withdraw(state, request),
            lambda _after, events: pb.WithdrawNoticesResponse(
                notice_ids=[e.notice_id for e in events if isinstance(e, ev.NoticeWithdrawn)]
            ),
        )

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
    def GetNotice(self, request: pb.GetNoticeRequest) -> pb.GetNoticeResponse:
        """One notice."""
        told = domain.existing(self.notices.load(parted(request.notice_id)[0]), request.notice_id)
        return pb.GetNoticeResponse(notice=self._with_moment(told))

    @rpc
    def Subscribe(self, request: pb.SubscribeRequest) -> Follow:
        """Streams the events that concern one district."""
        if self.districts.load(request.district_id) == domain.District():
            raise NotFound(f"there is no district {request.district_id}: ListDistricts names them", "NO_SUCH_DISTRICT")
        district = request.district_id

        def concerns(event: Message) -> bool:
            # An erased person concerns every district: one that holds a copy must act.
            return isinstance(event, PersonErased) or bool(getattr(event, "district_id", "") == district)

        return Follow(
            purpose=district,
            types=(ev.DistrictNotified, ev.NoticeAcknowledged, ev.NoticeWithdrawn, PersonErased),
            concerns=concerns,
            recorded_from=microseconds(request.from_time),
        )

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
        edge_ids=n.edge_ids, withdrawn=told.withdrawn,
    )  # fmt: skip
