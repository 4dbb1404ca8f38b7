"""What districts are told and what they answer, decided without anything around it."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import AlreadyDifferent, NotFound, Refused
from citybrain.mesh.testing import given
from citybrain.services.district_hub import domain

ROADS = {"xihu": ["e1", "e3"], "gongshu": ["e2"]}
# 07:40 on 5 January 2026 in Hangzhou.
NOW = Timestamp(seconds=1_767_570_000)


def told(district: str, round_id: str = "r1", number: str = "") -> ev.DistrictNotified:
    return ev.DistrictNotified(
        notice_id=f"i1.{district}{number}", incident_id="i1", round_id=round_id, district_id=district, vehicle_id="a1",
        edge_ids=ROADS[district], acknowledge_within_s=domain.WITHIN_S,
    )  # fmt: skip


def notify(round_id: str = "r1") -> pb.NotifyDistrictsRequest:
    return pb.NotifyDistrictsRequest(incident_id="i1", round_id=round_id, edge_ids=["e1", "e2", "e3"], vehicle_id="a1")


def withdraw(round_id: str = "r1") -> pb.WithdrawNoticesRequest:
    return pb.WithdrawNoticesRequest(incident_id="i1", round_id=round_id, reason="false call")


def withdrawn(district: str, number: str = "") -> ev.NoticeWithdrawn:
    return ev.NoticeWithdrawn(notice_id=f"i1.{district}{number}", incident_id="i1", district_id=district, reason="false call")


def barred(round_id: str = "r1") -> ev.NoticesBarred:
    return ev.NoticesBarred(incident_id="i1", round_id=round_id, reason="false call")


def notices(*events: Message) -> domain.Notices:
    return given(domain.evolve_notices, domain.Notices(), *events).state


def test_every_district_on_the_way_is_told_once_in_the_order_of_the_way() -> None:
    (
        given(domain.evolve_notices, domain.Notices())
        .when(domain.notify, notify(), ROADS)
        .then(told("xihu"), told("gongshu"))
        .when(domain.notify, notify(), ROADS)
        .then_nothing()
    )


def test_a_second_round_is_announced_to_those_it_concerns_though_they_were_told_of_the_first() -> None:
    both = (
        given(domain.evolve_notices, domain.Notices(), told("xihu"))
        .when(domain.notify, notify("r2"), ROADS)
        .then(told("xihu", "r2", ".2"), told("gongshu", "r2", ".2"))
    )
    both.when(domain.notify, notify("r2"), ROADS).then_nothing()
    # What the first round could not tell when it came, it tells under its own number.
    both.when(domain.notify, notify("r1"), ROADS).then(told("gongshu"))
    over = both.when(domain.withdraw, withdraw("r2"), NOW).then(
        withdrawn("xihu", ".2"), withdrawn("gongshu", ".2"), barred("r2")
    )
    assert not over.state.told["i1.xihu"].withdrawn


def test_a_round_that_was_withdrawn_is_over_and_one_that_comes_late_is_refused() -> None:
    (
        given(domain.evolve_notices, domain.Notices(), told("xihu"), told("gongshu", "r2"))
        .when(domain.withdraw, withdraw(), NOW)
        .then(withdrawn("xihu"), barred())
        .when(domain.withdraw, withdraw(), NOW)
        .then_nothing()
        .when(domain.notify, notify(), ROADS)
        .then_refused(Refused, "NOTICES_WITHDRAWN")
    )
    given(domain.evolve_notices, domain.Notices()).when(domain.withdraw, withdraw("r9"), NOW).then(barred("r9"))


def test_only_the_district_that_was_told_can_say_that_it_has_seen_it_and_once_is_enough() -> None:
    seen = pb.AcknowledgeNoticeRequest(notice_id="i1.xihu", district_id="xihu")
    other = pb.AcknowledgeNoticeRequest(notice_id="i1.xihu", district_id="gongshu")
    there = given(domain.evolve_notices, domain.Notices(), told("xihu"))
    there.when(domain.acknowledge, other).then_refused(Refused, "OTHER_DISTRICT")
    acknowledged = ev.NoticeAcknowledged(notice_id="i1.xihu", incident_id="i1", district_id="xihu")
    there.when(domain.acknowledge, seen).then(acknowledged).when(domain.acknowledge, seen).then_nothing()
    given(domain.evolve_notices, domain.Notices()).when(domain.acknowledge, seen).then_refused(NotFound, "NO_SUCH_NOTICE")


def test_a_district_keeps_its_name() -> None:
    request = pb.RegisterDistrictRequest(district_id="xihu", name="西湖区")
    (
        given(domain.evolve_district, domain.District())
        .when(domain.register, request)
        .then(ev.DistrictRegistered(district_id="xihu", name="西湖区"))
        .when(domain.register, request)
        .then_nothing()
        .when(domain.register, pb.RegisterDistrictRequest(district_id="xihu", name="another"))
        .then_refused(AlreadyDifferent, "OTHER_NAME")
    )


def test_roads_that_no_district_keeps_and_roads_driven_twice_add_nothing() -> None:
    keeper = {"e1": "xihu", "e2": "gongshu", "e3": "xihu", "e4": ""}
    assert domain.by_district(["e4", "e1", "e2", "e1", "unknown", "e3"], keeper) == ROADS


def test_what_was_seen_and_what_is_over_stays_so() -> None:
    state = notices(told("xihu"), ev.NoticeAcknowledged(notice_id="i1.xihu"), withdrawn("xihu"))
    assert (state.told["i1.xihu"].acknowledged, state.told["i1.xihu"].withdrawn) == (True, True)


def test_a_notice_that_waits_is_reminded_of_once_and_then_told_to_the_city_once() -> None:
    which: dict[str, Any] = {"notice_id": "i1.xihu", "incident_id": "i1", "district_id": "xihu"}
    (
        given(domain.evolve_notices, domain.Notices(), told("xihu"), told("gongshu"))
        .when(domain.urge, "i1.xihu", over=False)
        .then(ev.NoticeReminded(**which))
        .when(domain.urge, "i1.xihu", over=False)
        .then_nothing()
        .when(domain.urge, "i1.xihu", over=True)
        .then(ev.NoticeEscalated(**which))
        .when(domain.urge, "i1.xihu", over=True)
        .then_nothing()
        .when(domain.urge, "i1.xihu", over=False)
        .then_nothing()
    )


@pytest.mark.parametrize("answer", [ev.NoticeAcknowledged(notice_id="i1.xihu"), withdrawn("xihu")])
def test_nobody_is_urged_to_answer_what_was_answered_or_is_over(answer: Message) -> None:
    there = given(domain.evolve_notices, domain.Notices(), told("xihu"), answer)
    there.when(domain.urge, "i1.xihu", over=False).then_nothing().when(domain.urge, "i1.xihu", over=True).then_nothing()


def test_whoever_sends_a_notice_may_say_how_soon_it_must_be_acknowledged() -> None:
    request = notify()
    request.acknowledge_within.FromSeconds(60)
    first, second = told("xihu"), told("gongshu")
    first.acknowledge_within_s = second.acknowledge_within_s = 60
    given(domain.evolve_notices, domain.Notices()).when(domain.notify, request, ROADS).then(first, second)


def reports(*levels: float) -> pb.SendReportsRequest:
    return pb.SendReportsRequest(
        district_id="xihu", batch_id="b1", incident_id="i1",
        reports=[pb.Report(kind="water.level", measures=[pb.Measure(name="level", value=level, unit="m")]) for level in levels],
    )  # fmt: skip


def test_a_batch_is_kept_once_and_another_one_under_its_name_is_refused() -> None:
    kept = [
        ev.DistrictReported(district_id="xihu", batch_id="b1", number=number, report=report, incident_id="i1")
        for number, report in enumerate(reports(1.2, 1.3).reports)
    ]
    there = given(domain.evolve_batch, domain.Batch()).when(domain.keep, reports(1.2, 1.3)).then(*kept)
    there.when(domain.keep, reports(1.2, 1.3)).then_nothing()
    there.when(domain.keep, reports(1.2, 1.4)).then_refused(AlreadyDifferent, "OTHER_BATCH")
    there.when(domain.keep, reports(1.2)).then_refused(AlreadyDifferent, "OTHER_BATCH")
