"""The district hub on the three levels above its domain: a method by itself, the service while it runs, a process over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1 import events_pb2 as ev
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import DistrictHubServiceStub
from citybrain.personal.v1.personal_pb2 import PersonErased
from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1.events_pb2 import PriorityGranted, RoadsPublished

from citybrain.local.child import MeshChild
from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import microseconds, timestamp, type_name
from citybrain.mesh.testing import Running, running, service_factory
from citybrain.services.district_hub import subscribing
from citybrain.services.district_hub.service import DistrictHubService
from citybrain.services.district_hub.views import DistrictRow
from tests.helpers.callers import calling

KEEPERS = {"part": {"e1": "xihu", "e2": "gongshu", "e3": "xihu"}}
ROADS = RoadsPublished(edges=[RoadEdge(edge_id=edge, district_id=keeper) for edge, keeper in KEEPERS["part"].items()])
NOTIFIED, ERASED = type_name(ev.DistrictNotified), type_name(PersonErased)
NOTIFY = pb.NotifyDistrictsRequest(incident_id="i1", round_id="r1", edge_ids=["e1", "e2", "e3"], vehicle_id="a1")


def register(district_id: str, name: str) -> pb.RegisterDistrictRequest:
    return pb.RegisterDistrictRequest(district_id=district_id, name=name)


def acknowledge(district_id: str) -> pb.AcknowledgeNoticeRequest:
    return pb.AcknowledgeNoticeRequest(notice_id=f"i1.{district_id}", district_id=district_id)


# -- a method by itself -----------------------------------------------------------------------------------------------------


def test_the_districts_on_a_way_are_those_that_keep_its_roads() -> None:
    with service_factory(DistrictHubService, roads=KEEPERS) as hub:
        told = hub.NotifyDistricts(NOTIFY).notices
        assert [(notice.district_id, list(notice.edge_ids)) for notice in told] == [("xihu", ["e1", "e3"]), ("gongshu", ["e2"])]
        assert hub.NotifyDistricts(NOTIFY).notices == told
        assert set(hub.notices.load("i1").told) == {"i1.xihu", "i1.gongshu"}


def test_a_notice_of_any_incident_and_round_can_be_looked_at_and_acknowledged() -> None:
    with service_factory(DistrictHubService, roads=KEEPERS) as hub:
        for round_id in ("r1", "r2"):
            request = pb.NotifyDistrictsRequest(incident_id="case.7/西", round_id=round_id, edge_ids=["e1"])
            (notice,) = hub.NotifyDistricts(request).notices
            assert hub.GetNotice(pb.GetNoticeRequest(notice_id=notice.notice_id)).notice == notice
            seen = pb.AcknowledgeNoticeRequest(notice_id=notice.notice_id, district_id="xihu")
            assert hub.AcknowledgeNotice(seen).notice.incident_id == "case.7/西"


def test_districts_are_listed_by_their_ids_in_pages() -> None:
    known = {f"d{number}": DistrictRow(f"District {number}") for number in (3, 1, 5, 2, 4)}
    with service_factory(DistrictHubService, district_list=known) as hub:
        first = hub.ListDistricts(pb.ListDistrictsRequest(page_size=3))
        second = hub.ListDistricts(pb.ListDistrictsRequest(page_size=3, page_token=first.next_page_token))
        assert [[one.name for one in page.districts] for page in (first, second)] == [
            ["District 1", "District 2", "District 3"], ["District 4", "District 5"],
        ]  # fmt: skip
        assert second.next_page_token == ""


def test_a_notice_shows_when_it_was_seen() -> None:
    told = ev.DistrictNotified(notice_id="i1.xihu", incident_id="i1", district_id="xihu")
    with service_factory(DistrictHubService, notices={"i1": [told]}) as hub:
        assert not hub.GetNotice(pb.GetNoticeRequest(notice_id="i1.xihu")).notice.HasField("acknowledged_at")
        hub.AcknowledgeNotice(acknowledge("xihu"))
        seen = hub.answers.get("i1.xihu")
        shown = hub.GetNotice(pb.GetNoticeRequest(notice_id="i1.xihu")).notice.acknowledged_at
        assert seen is not None and microseconds(shown) == seen.at > 0


@pytest.mark.parametrize("letter", [chr(code) for code in (*range(0x20, 0x100), 0x4E2D) if chr(code).isprintable()])
def test_a_notice_is_found_again_whatever_letters_the_id_of_its_incident_has(letter: str) -> None:
    notify = pb.NotifyDistrictsRequest(incident_id=f"i{letter}1", round_id="r1", edge_ids=["e1"], vehicle_id="a1")
    with service_factory(DistrictHubService, roads=KEEPERS) as hub:
        (notice,) = hub.NotifyDistricts(notify).notices
        hub.AcknowledgeNotice(pb.AcknowledgeNoticeRequest(notice_id=notice.notice_id, district_id="xihu"))
        shown = hub.GetNotice(pb.GetNoticeRequest(notice_id=notice.notice_id)).notice
        assert shown.incident_id == f"i{letter}1" and shown.HasField("acknowledged_at")


def test_districts_are_listed_by_id() -> None:
    with service_factory(DistrictHubService) as hub:
        for district_id, name in (("xihu", "西湖区"), ("gongshu", "拱墅区")):
            hub.RegisterDistrict(register(district_id, name))
        listed = hub.ListDistricts(pb.ListDistrictsRequest()).districts
        assert [(district.district_id, district.name) for district in listed] == [("gongshu", "拱墅区"), ("xihu", "西湖区")]


def test_a_stream_concerns_one_district_that_must_exist() -> None:
    with service_factory(DistrictHubService) as hub:
        with pytest.raises(NotFound, match="ListDistricts names them"):
            hub.Subscribe(pb.SubscribeRequest(district_id="xihu"))
        hub.RegisterDistrict(register("xihu", "西湖区"))
        follow = hub.Subscribe(pb.SubscribeRequest(district_id="xihu"))
        assert follow.district == "xihu"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"speed": 2.0}, "speed"),
        ({"until_time": timestamp(2_000_000), "from_now": True}, "from_now"),
        ({"until_time": timestamp(2_000_000), "from_time": timestamp(2_000_000)}, "until_time"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(asked: dict[str, Any], field: str) -> None:
    with service_factory(DistrictHubService) as hub:
        hub.RegisterDistrict(register("xihu", "西湖区"))
        with pytest.raises(BadRequest, match=f"^{field}: "):
            hub.Subscribe(pb.SubscribeRequest(district_id="xihu", **asked))


def test_a_token_is_a_place_among_the_types_it_was_given_for_in_whatever_order_they_stand() -> None:
    def purpose(*types: str) -> str:
        return subscribing.subject(pb.SubscribeRequest(district_id="xihu", event_types=types)).purpose

    names = [NOTIFIED, "citybrain.traffic.v1.PriorityGranted"]
    assert purpose(*names) == purpose(*reversed(names))
    assert len({purpose(), purpose(*names), purpose(names[0]), purpose(names[1])}) == 4


def test_a_district_hears_of_erased_persons_whatever_it_asks_for() -> None:
    for types in ([], [NOTIFIED]):
        assert ERASED in subscribing.subject(pb.SubscribeRequest(district_id="xihu", event_types=types)).names


# -- the service while it runs ----------------------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[Running]:
    with running(DistrictHubService) as service:
        for district_id, name in (("xihu", "西湖区"), ("gongshu", "拱墅区")):
            service.fire("RegisterDistrict", register(district_id, name))
        service.tell(ROADS, stream="traffic/roads-e1")
        service.wait_for_row("roads", "e1")
        yield service


def test_a_district_may_choose_types_of_any_sector(hub: Running) -> None:
    granted = PriorityGranted(grant_id="g1", incident_id="i1", vehicle_id="a1")
    types = [type_name(granted)]
    with hub.fire("Subscribe", pb.SubscribeRequest(district_id="gongshu", event_types=types)) as stream:
        hub.fire("NotifyDistricts", NOTIFY)
        hub.tell(granted, stream="traffic/grant-g1")
        (heard,) = next(stream).events
        assert heard.type == types[0] and PriorityGranted.FromString(heard.data.value) == granted


def test_a_notice_that_nobody_acknowledges_is_reminded_of_and_then_told_to_the_city(hub: Running) -> None:
    hub.fire("NotifyDistricts", NOTIFY, correlation_id="i1")
    hub.wait_for_row("waiting", "i1.xihu")
    hub.fire("AcknowledgeNotice", acknowledge("gongshu"))
    hub.advance(140)
    assert not hub.events(ev.NoticeReminded)
    hub.advance(20)
    (reminded,) = hub.events(ev.NoticeReminded)
    assert (reminded.data, reminded.stored.correlation_id) == (
        ev.NoticeReminded(notice_id="i1.xihu", incident_id="i1", district_id="xihu"), "i1",
    )  # fmt: skip
    (waits,) = hub.fire("ListNotices", pb.ListNoticesRequest(district_id="xihu")).notices
    assert (waits.notice_id, waits.reminded, waits.escalated) == ("i1.xihu", True, False)
    assert microseconds(waits.acknowledge_by) - microseconds(waits.told_at) == 300_000_000
    hub.advance(160)
    (escalated,) = hub.events(ev.NoticeEscalated)
    assert escalated.data == ev.NoticeEscalated(notice_id="i1.xihu", incident_id="i1", district_id="xihu")
    hub.advance(600)
    assert len(hub.events(ev.NoticeReminded, ev.NoticeEscalated)) == 2
    hub.fire("AcknowledgeNotice", acknowledge("xihu"))
    hub.rest()
    assert not hub.fire("ListNotices", pb.ListNoticesRequest(district_id="xihu")).notices
    shown = hub.fire("GetNotice", pb.GetNoticeRequest(notice_id="i1.xihu")).notice
    assert shown.reminded and shown.escalated and shown.HasField("acknowledged_at")


def test_what_a_district_sends_back_belongs_to_its_incident_and_is_listed_the_newest_first(hub: Running) -> None:
    def send(batch: str, *levels: float) -> pb.SendReportsResponse:
        told = [
            pb.Report(
                kind="water.level",
                seen_at=timestamp(1_000_000),
                subject="泵站 3",
                measures=[pb.Measure(name="level", value=level, unit="m")],
            )
            for level in levels
        ]
        request = pb.SendReportsRequest(district_id="xihu", batch_id=batch, incident_id="i7", reports=told)
        answer: pb.SendReportsResponse = hub.fire("SendReports", request)
        return answer

    assert send("b1", 1.0, 1.1) == pb.SendReportsResponse(kept=2)
    assert send("b1", 1.0, 1.1) == pb.SendReportsResponse(kept=2, known=True)
    hub.advance(1)
    assert send("b2", 1.2) == pb.SendReportsResponse(kept=1)
    hub.rest()
    assert [event.stored.correlation_id for event in hub.events(ev.DistrictReported)] == ["i7"] * 3

    def listed(district: str, **page: Any) -> pb.ListReportsResponse:
        answer: pb.ListReportsResponse = hub.fire("ListReports", pb.ListReportsRequest(district_id=district, **page))
        return answer

    first = listed("xihu", page_size=2)
    second = listed("xihu", page_size=2, page_token=first.next_page_token)
    assert [one.measures[0].value for page in (first, second) for one in page.reports] == [1.2, 1.0, 1.1]
    assert first.reports[0].subject == "泵站 3" and not second.next_page_token
    assert not listed("gongshu").reports and not listed("xi").reports


def test_reports_of_a_district_that_nobody_knows_are_refused() -> None:
    with service_factory(DistrictHubService) as hub, pytest.raises(NotFound, match="ListDistricts names them"):
        hub.SendReports(pb.SendReportsRequest(district_id="nowhere", batch_id="b", reports=[pb.Report(kind="k")]))


def test_a_district_hears_what_concerns_it_and_nothing_else(hub: Running) -> None:
    with hub.fire("Subscribe", pb.SubscribeRequest(district_id="gongshu")) as stream:
        hub.fire("NotifyDistricts", NOTIFY, correlation_id="i1")
        hub.fire("AcknowledgeNotice", acknowledge("xihu"))
        hub.fire("AcknowledgeNotice", acknowledge("gongshu"))
        heard: list[str] = []
        while len(heard) < 2:
            heard += [event.type.rpartition(".")[2] for event in next(stream).events]
        assert heard == ["DistrictNotified", "NoticeAcknowledged"]


def test_a_district_may_listen_from_a_moment_on(hub: Running) -> None:
    hub.fire("NotifyDistricts", NOTIFY)
    (last,) = [event for event in hub.events(ev.DistrictNotified) if event.data.district_id == "xihu"]  # type: ignore[attr-defined]
    later = timestamp(last.stored.recorded_at)
    later.FromDatetime(later.ToDatetime() + timedelta(microseconds=1))
    hub.fire("AcknowledgeNotice", acknowledge("xihu"))
    with hub.fire("Subscribe", pb.SubscribeRequest(district_id="xihu", from_time=later)) as stream:
        assert [event.type.rpartition(".")[2] for event in next(stream).events] == ["NoticeAcknowledged"]


def test_an_answer_belongs_to_the_story_of_its_notice_though_the_terminal_does_not_know_it(hub: Running) -> None:
    hub.fire("NotifyDistricts", NOTIFY, correlation_id="inc-7")
    hub.fire("AcknowledgeNotice", acknowledge("xihu"), caller="terminal")
    answer = hub.wait_for_event(ev.NoticeAcknowledged)
    assert (answer.stored.correlation_id, answer.stored.actor) == ("inc-7", "terminal")


def test_the_same_call_again_tells_nobody_twice_and_a_wrong_one_is_told_which_field(hub: Running) -> None:
    for _ in range(2):
        hub.fire("NotifyDistricts", NOTIFY, request_id="r1")
    assert len(hub.events(ev.DistrictNotified)) == 2
    with pytest.raises(BadRequest, match="round_id"):
        hub.fire("NotifyDistricts", pb.NotifyDistrictsRequest(incident_id="i1", edge_ids=["e1"]))
    with pytest.raises(Refused, match="is for district xihu"):
        hub.fire("AcknowledgeNotice", pb.AcknowledgeNoticeRequest(notice_id="i1.xihu", district_id="gongshu"))


# -- a process over gRPC ----------------------------------------------------------------------------------------------------


def test_alone_in_a_process_it_answers_over_grpc_and_remembers_after_a_kill(tmp_path: Path) -> None:
    with MeshChild(tmp_path, ["district_hub", "--driven"]) as process:
        with calling(process) as channel:
            stub = DistrictHubServiceStub(channel)
            stub.RegisterDistrict(register("xihu", "西湖区"), timeout=30)
            with pytest.raises(grpc.RpcError) as caught:
                stub.RegisterDistrict(register("xihu", "another"), timeout=30)
            assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        process.kill()
        process.start()
        with calling(process) as channel:
            stub = DistrictHubServiceStub(channel)
            again = stub.RegisterDistrict(register("xihu", "西湖区"), timeout=30, wait_for_ready=True)
            assert again.district.name == "西湖区"


def test_every_district_is_told_who_was_erased() -> None:
    with running(DistrictHubService) as hub:
        for district in ("xihu", "gongshu"):
            hub.fire("RegisterDistrict", register(district, district))
        hub.tell(PersonErased(person_id="per-1"), stream="personal/per-1")
        for district in ("xihu", "gongshu"):
            (event,) = next(hub.fire("Subscribe", pb.SubscribeRequest(district_id=district))).events
            assert PersonErased.FromString(event.data.value).person_id == "per-1"
