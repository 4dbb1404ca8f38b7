"""Alerts to districts: what they say by CAP 1.2, who is told, who has to acknowledge, and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1 import events_pb2 as ev
from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1.events_pb2 import RoadsPublished
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import Refused
from citybrain.mesh.testing import Running, running
from citybrain.services.district_hub import domain
from citybrain.services.district_hub.service import DistrictHubService
from tests.helpers.told import Told

# 07:40 on 5 January 2026 in Hangzhou.
NOW = Timestamp(seconds=1_767_570_000)
NONE = Told(domain.evolve_notices, domain.Notices())
ROADS = {"xihu": ["e1"], "gongshu": []}


def content(severity: Any = pb.ALERT_SEVERITY_MODERATE) -> pb.AlertContent:
    return pb.AlertContent(
        status=pb.ALERT_STATUS_ACTUAL, category=pb.ALERT_CATEGORY_FIRE, event="Fire 火灾", urgency=pb.ALERT_URGENCY_IMMEDIATE,
        severity=severity, certainty=pb.ALERT_CERTAINTY_OBSERVED, headline="Fire 火灾, larger 较大",
    )  # fmt: skip


def alert(round_id: str = "r1", severity: Any = pb.ALERT_SEVERITY_MODERATE, **more: Any) -> pb.AlertDistrictsRequest:
    return pb.AlertDistrictsRequest(incident_id="saf-1", round_id=round_id, content=content(severity), **more)


def withdraw(round_id: str = "") -> pb.WithdrawNoticesRequest:
    return pb.WithdrawNoticesRequest(incident_id="saf-1", round_id=round_id, reason="put out")


def alerts(events: Any) -> list[pb.Alert]:
    """The alerts of some events, each once."""
    return list({event.alert.identifier: event.alert for event in events if event.HasField("alert")}.values())


def test_the_first_round_is_an_alert_and_a_later_one_an_update_that_refers_to_all_before() -> None:
    first = NONE.decides(domain.alert, alert(), ROADS, NOW)
    (one,) = alerts(first.events)
    assert (one.type, one.identifier, list(one.references)) == (pb.ALERT_TYPE_ALERT, "saf-1.1", [])
    # What CAP 1.2 asks for.
    assert one.sender and one.HasField("sent") and one.restriction == domain.RESTRICTION and one.content == content()
    assert [event.district_id for event in first.events] == ["xihu", "gongshu"]
    assert {event.acknowledge_within_s for event in first.events} == {60}
    first.when(domain.alert, alert(), ROADS, NOW).then_nothing()
    second = first.decides(domain.alert, alert("r2", pb.ALERT_SEVERITY_SEVERE), ROADS, NOW)
    (two,) = alerts(second.events)
    # As CAP 1.2 writes it: sender, identifier and time, with the zone of the city.
    assert (two.type, list(two.references)) == (pb.ALERT_TYPE_UPDATE, ["city-brain.hangzhou,saf-1.1,2026-01-05T07:40:00+08:00"])
    (three,) = alerts(second.decides(domain.alert, alert("r3"), ROADS, NOW).events)
    assert [reference.split(",")[1] for reference in three.references] == ["saf-1.1", "saf-1.2"]


def test_all_of_an_incident_is_cancelled_at_once_and_nothing_comes_after_it() -> None:
    told = NONE.decides(domain.alert, alert(), ROADS, NOW).decides(domain.alert, alert("r2"), ROADS, NOW)
    over = told.decides(domain.withdraw, withdraw(), NOW)
    (cancel,) = alerts([event for event in over.events if isinstance(event, ev.NoticeWithdrawn)])
    assert (cancel.type, cancel.note, cancel.identifier) == (pb.ALERT_TYPE_CANCEL, "put out", "saf-1.2.cancel")
    assert cancel.restriction == domain.RESTRICTION and cancel.content.event == "Fire 火灾"
    assert [reference.split(",")[1] for reference in cancel.references] == ["saf-1.1", "saf-1.2"]
    assert sum(isinstance(event, ev.NoticeWithdrawn) for event in over.events) == 4
    over.when(domain.withdraw, withdraw(), NOW).then_nothing()
    over.when(domain.alert, alert("r3"), ROADS, NOW).then_refused(Refused, "NOTICES_WITHDRAWN")
    notify = pb.NotifyDistrictsRequest(incident_id="saf-1", round_id="r4", edge_ids=["e1"])
    over.when(domain.notify, notify, ROADS).then_refused(Refused, "NOTICES_WITHDRAWN")


def test_one_round_is_taken_back_for_itself_also_before_it_comes() -> None:
    told = NONE.decides(domain.alert, alert(), ROADS, NOW).decides(domain.alert, alert("r2"), ROADS, NOW)
    back = told.decides(domain.withdraw, withdraw("r2"), NOW)
    (cancel,) = alerts([event for event in back.events if isinstance(event, ev.NoticeWithdrawn)])
    assert [reference.split(",")[1] for reference in cancel.references] == ["saf-1.2"]
    # What was taken back is not referred to any more.
    (again,) = alerts(back.decides(domain.alert, alert("r3"), ROADS, NOW).events)
    assert [reference.split(",")[1] for reference in again.references] == ["saf-1.1"]
    barred = NONE.decides(domain.withdraw, withdraw("r1"), NOW)
    barred.when(domain.alert, alert(), ROADS, NOW).then_refused(Refused, "NOTICES_WITHDRAWN")


def test_who_acknowledges_an_update_has_acknowledged_what_it_replaces_and_no_other_district_has() -> None:
    told = NONE.decides(domain.alert, alert(), ROADS, NOW).decides(domain.alert, alert("r2"), ROADS, NOW)
    seen = pb.AcknowledgeNoticeRequest(notice_id="saf-1.xihu.2", district_id="xihu")
    after = told.decides(domain.acknowledge, seen)
    assert [event.notice_id for event in after.events] == ["saf-1.xihu.2", "saf-1.xihu.1"]
    assert {key for key, one in after.state.told.items() if one.waits} == {"saf-1.gongshu.1", "saf-1.gongshu.2"}
    again = pb.AcknowledgeNoticeRequest(notice_id="saf-1.xihu.3", district_id="xihu")
    third = after.decides(domain.alert, alert("r3"), ROADS, NOW).decides(domain.acknowledge, again)
    assert [event.notice_id for event in third.events] == ["saf-1.xihu.3"]
    # The alert alone says nothing of the update.
    first = pb.AcknowledgeNoticeRequest(notice_id="saf-1.xihu.1", district_id="xihu")
    assert [event.notice_id for event in told.decides(domain.acknowledge, first).events] == ["saf-1.xihu.1"]


def test_without_a_district_nobody_is_alerted_and_that_is_said() -> None:
    NONE.when(domain.alert, alert(), {}, NOW).then_refused(Refused, "NO_DISTRICTS")


@pytest.fixture
def hub() -> Iterator[Running]:
    with running(DistrictHubService) as service:
        for district in ("xihu", "gongshu", "binjiang"):
            service.fire("RegisterDistrict", pb.RegisterDistrictRequest(district_id=district, name=district))
        service.tell(RoadsPublished(edges=[RoadEdge(edge_id="e1", district_id="xihu")]), stream="traffic/roads-e1")
        service.rest()
        yield service


@pytest.mark.parametrize(
    ("concerns", "told"),
    [
        ({"edge_ids": ["e1"]}, ["xihu"]),
        ({"edge_ids": ["e1"], "district_ids": ["binjiang", "xihu"]}, ["binjiang", "xihu"]),
        ({"district_ids": ["gongshu", "nowhere"]}, ["gongshu"]),
        # Where nobody knows whom it concerns, it concerns all.
        ({"district_ids": ["nowhere"], "edge_ids": ["e9"]}, ["binjiang", "gongshu", "xihu"]),
        ({}, ["binjiang", "gongshu", "xihu"]),
    ],
)
def test_those_are_told_whom_it_concerns_too_many_rather_than_none(hub: Running, concerns: Any, told: list[str]) -> None:
    notices = hub.fire("AlertDistricts", alert(**concerns)).notices
    assert sorted(notice.district_id for notice in notices) == told
    assert {notice.alert.content.event for notice in notices} == {"Fire 火灾"}


def test_who_does_not_acknowledge_an_alert_within_a_minute_is_to_be_telephoned_until_they_do(hub: Running) -> None:
    hub.fire("AlertDistricts", alert(district_ids=["xihu", "gongshu"]))
    hub.fire("AcknowledgeNotice", pb.AcknowledgeNoticeRequest(notice_id="saf-1.gongshu.1", district_id="gongshu"))
    hub.advance(55)
    assert len(hub.events(ev.NoticeReminded)) == 1 and not hub.events(ev.NoticeEscalated)
    hub.advance(15)
    row = hub.wait_for_row("unanswered", "saf-1.xihu.1")
    assert [(task.kind, task.name, task.reason) for task in row.tasks] == [
        ("telephone", "xihu", "district xihu has not acknowledged the alert of saf-1: telephone")
    ]
    hub.fire("AcknowledgeNotice", pb.AcknowledgeNoticeRequest(notice_id="saf-1.xihu.1", district_id="xihu"))
    hub.rest()
    assert hub.row("unanswered", "saf-1.xihu.1") is None


def test_an_acknowledgement_in_a_drill_leaves_the_task_of_the_city(hub: Running) -> None:
    hub.fire("AlertDistricts", alert(district_ids=["xihu"]))
    hub.advance(70)
    row = hub.wait_for_row("unanswered", "saf-1.xihu.1")
    acknowledged = pb.AcknowledgeNoticeRequest(notice_id="saf-1.xihu.1", district_id="xihu")
    hub.fire("AcknowledgeNotice", acknowledged, exercise="fire-1")
    hub.rest()
    assert hub.row("unanswered", "saf-1.xihu.1") == row


def test_many_notices_are_acknowledged_and_withdrawn_by_one_call(hub: Running) -> None:
    for number in range(100):
        hub.fire("AlertDistricts", alert(f"r{number}", district_ids=["xihu", "gongshu"]))
    seen = pb.AcknowledgeNoticeRequest(notice_id="saf-1.xihu.100", district_id="xihu")
    hub.fire("AcknowledgeNotice", seen)
    assert len(hub.events(ev.NoticeAcknowledged)) == 1 + domain.MOST
    for _ in range(2):
        over = hub.fire("WithdrawNotices", withdraw(), request_id="w1").notice_ids
        assert len(set(over)) == 200 == len(hub.events(ev.NoticeWithdrawn))
    hub.rest()
    assert not hub.fire("ListNotices", pb.ListNoticesRequest(district_id="gongshu")).notices


def test_nobody_telephones_because_of_a_vehicle_that_has_long_gone_by(hub: Running) -> None:
    notify = pb.NotifyDistrictsRequest(incident_id="inc-1", round_id="r1", edge_ids=["e1"], vehicle_id="a1")
    hub.fire("NotifyDistricts", notify)
    hub.advance(600)
    (escalated,) = hub.events(ev.NoticeEscalated)
    assert not escalated.data.alert  # type: ignore[attr-defined]
    assert hub.row("unanswered", "inc-1.xihu") is None
