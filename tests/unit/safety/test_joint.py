"""Joint command: when it is called, how it ends, and what is kept of it."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.district_hub.v1 import events_pb2 as hub
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.roads import build
from citybrain.mesh.testing import Running
from citybrain.services.safety import cordon as cordons
from citybrain.services.safety import domain, grading, joint
from tests.helpers.told import Told
from tests.unit.safety.conftest import close, get, report
from tests.unit.safety.test_domain import CLOSED, LATER, MERGED, A, B, assess, assessed, confirm, confirmed, of

FIRE = pb.EVENT_KIND_FIRE
GENERAL, LARGER, MAJOR, EXTRA = pb.GRADE_GENERAL, pb.GRADE_LARGER, pb.GRADE_MAJOR, pb.GRADE_EXTRA_MAJOR
PLACE = RoadPlace(edge_id="e1", position_m=5)
PUT_OUT = "put out"


def opened(kind: pb.EventKind = FIRE, incident: str = A) -> list[Message]:
    signal = pb.Signal(signal_id=f"s-{incident}", kind=kind, place=PLACE)
    return [
        ev.SafetyIncidentOpened(
            incident_id=incident, kind=kind, district_id="xihu", opened_at=Timestamp(seconds=ord(incident[-1]))
        ),
        ev.SignalReceived(incident_id=incident, signal=signal),
    ]


def called(grade: pb.Grade = LARGER, why: str = "a chemical plant", **more: Any) -> ev.JointCommandCalled:
    asked: dict[str, Any] = {"incident_id": A, "kind": FIRE, "place": PLACE, "district_id": "xihu", **more}
    return ev.JointCommandCalled(grade=grade, why=why, **asked)


OPEN = Told(domain.evolve, of(*opened()))
CALLED = Told(domain.evolve, of(*opened(), called()))


# -- when it is called ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(grading.TOGETHER))
def test_a_grade_of_larger_calls_it_for_fire_gas_leak_flood_and_crowd_once(kind: pb.EventKind) -> None:
    begun = Told(domain.evolve, of(*opened(kind)))
    general = begun.decides(domain.assess, assess(2))
    assert not any(isinstance(event, ev.JointCommandCalled) for event in general.events)
    larger = general.decides(domain.assess, assess(3))
    why = "larger (较大): a person counts 3 dead, 0 badly hurt, 0 yuan"
    assert larger.events[-1] == called(LARGER, why, kind=kind)
    major = larger.decides(domain.assess, assess(10))
    assert [type(event) for event in major.events] == [ev.SafetyIncidentAssessed, ev.SafetyIncidentGraded]


def test_a_grade_that_a_person_confirms_calls_it_too() -> None:
    events = OPEN.decides(domain.confirm, confirm(MAJOR), "li").events
    assert events[-1] == called(MAJOR, "major (重大): a chemical plant")


@pytest.mark.parametrize("kind", sorted(set(pb.EventKind.values()) - grading.TOGETHER - {0}))
def test_other_kinds_call_it_only_when_a_commander_asks(kind: pb.EventKind) -> None:
    begun = Told(domain.evolve, of(*opened(kind)))
    grave = begun.decides(domain.assess, assess(30))
    assert not any(isinstance(event, ev.JointCommandCalled) for event in grave.events)
    asked = grave.decides(joint.call, A, "two of three shifts are away", None, "li")
    asked.told(called(EXTRA, "two of three shifts are away", kind=kind, called_by="li"))
    asked.when(joint.call, A, "again", None, "wang").then_nothing()


def test_a_commander_may_say_where_departments_go() -> None:
    elsewhere = RoadPlace(edge_id="e7")
    OPEN.when(joint.call, A, "smoke", elsewhere, "li").then(
        called(pb.GRADE_UNSPECIFIED, "smoke", place=elsewhere, called_by="li")
    )


@pytest.mark.parametrize(("end", "reason"), [(CLOSED, "INCIDENT_CLOSED"), (MERGED, "INCIDENT_MERGED")])
def test_for_an_incident_that_has_ended_nobody_calls_it(end: Message, reason: str) -> None:
    ended = Told(domain.evolve, of(*opened(), end))
    ended.when(joint.call, A, "smoke", None, "li").then_refused(Refused, reason)


def test_counts_after_the_end_call_nobody() -> None:
    counted = Told(domain.evolve, of(*opened(), CLOSED)).decides(domain.assess, assess(30))
    assert [type(event) for event in counted.events] == [ev.SafetyIncidentAssessed, ev.SafetyIncidentGraded]


def test_where_departments_act_together_on_the_younger_of_two_they_do_so_on_the_older() -> None:
    why = f"it is one with {B}, on which departments act together"
    younger = of(*opened(incident=B), called(incident_id=B))
    joined = OPEN.decides(domain.absorb, younger)
    assert joined.events[1:] == (called(pb.GRADE_UNSPECIFIED, why),)
    joined.when(domain.absorb, younger).then_nothing()
    # Without a road of its own it takes that of the younger.
    nowhere = Told(domain.evolve, of(opened()[0]))
    assert nowhere.decides(domain.absorb, younger).events[-1] == called(pb.GRADE_UNSPECIFIED, why)
    # Once is enough: by its grade, before, or never where nobody was called.
    graver = of(*opened(incident=B), assessed(3), called(incident_id=B))
    assert [type(event) for event in OPEN.decides(domain.absorb, graver).events[1:]] == [
        ev.SafetyIncidentGraded, ev.JointCommandCalled,
    ]  # fmt: skip
    assert len(CALLED.decides(domain.absorb, younger).events) == 1
    assert len(OPEN.decides(domain.absorb, of(*opened(incident=B))).events) == 1
    assert len(Told(domain.evolve, of(*opened(), CLOSED)).decides(domain.absorb, younger).events) == 1


# -- who has decided the grade ----------------------------------------------------------------------------------------------


def test_a_grade_that_nobody_decided_binds_nobody() -> None:
    counted = [assessed(3), ev.SafetyIncidentGraded(new_grade=LARGER), called()]
    nobody = Told(domain.evolve, of(*opened(), *counted)).decides(domain.confirm, confirm(MAJOR), "")
    assert nobody.events[0] == confirmed(MAJOR, "")
    # Numbers do not lower it, and any person may.
    nobody.when(domain.assess, assess(4)).then(assessed(4))
    lower = nobody.decides(domain.confirm, confirm(LARGER), "wang")
    assert lower.state.grade == LARGER and dict(lower.state.confirmed) == {"wang": LARGER}
    # What a person has confirmed is not lowered by nobody's word.
    raised = Told(domain.evolve, of(*opened(), *counted, confirmed(EXTRA, "li"), ev.SafetyIncidentGraded(new_grade=EXTRA)))
    raised.when(domain.confirm, confirm(MAJOR), "").then_refused(Refused, "BELOW_CONFIRMED")


# -- how it ends ------------------------------------------------------------------------------------------------------------


def test_a_commander_ends_it_once_and_only_where_it_was_called() -> None:
    ended = CALLED.decides(joint.stand_down, A, PUT_OUT, "li")
    ended.told(ev.StandDownOrdered(incident_id=A, outcome=PUT_OUT, ordered_by="li", district_id="xihu"))
    ended.when(joint.stand_down, A, "twice", "li").then_nothing()
    OPEN.when(joint.stand_down, A, PUT_OUT, "li").then_refused(Refused, "NO_JOINT_COMMAND")
    closed = Told(domain.evolve, of(*opened(), called(), CLOSED))
    closed.when(joint.stand_down, A, PUT_OUT, "li").then_refused(Refused, "INCIDENT_CLOSED")


def test_a_false_alarm_is_told_before_the_incident_closes() -> None:
    request = pb.CloseIncidentRequest(incident_id=A, outcome="burnt milk", false_alarm=True)
    closed = CALLED.decides(domain.close, request, LATER)
    closed.told(
        ev.FalseAlarmFound(incident_id=A, reason="burnt milk", district_id="xihu", joint_command=True),
        ev.SafetyIncidentClosed(incident_id=A, outcome="burnt milk", district_id="xihu", ended_at=LATER, joint_command=True),
    )
    closed.when(domain.close, request, LATER).then_nothing()
    assert domain.show(closed.state).false_alarm and domain.show(closed.state).joint_command


def test_what_is_said_after_the_call_says_that_it_is_and_what_was_said_before_does_not() -> None:
    larger = OPEN.decides(domain.assess, assess(3))
    assert [event.joint_command for event in larger.events if isinstance(event, ev.SafetyIncidentGraded)] == [False]
    major = larger.decides(domain.assess, assess(10))
    assert [event.joint_command for event in major.events if isinstance(event, ev.SafetyIncidentGraded)] == [True]
    request = pb.MergeIncidentsRequest(incident_id=A, other_incident_id=B, reason="one fire")
    for state, expected in ((OPEN.state, False), (major.state, True)):
        (merged,) = domain.merge(state, of(*opened(incident=B)), request, LATER)
        assert isinstance(merged, ev.SafetyIncidentMerged) and merged.joint_command is expected


def test_the_first_report_of_what_was_done_stands_and_is_read_back() -> None:
    done = pb.ActionTaken(step="assign_units", attempt=1, ended_at=LATER)
    request = pb.RecordAfterActionRequest(incident_id=A, actions=[done], flags=["too few"])
    with pytest.raises(NotFound, match="joint command writes it when it ends"):
        joint.report(CALLED.state, A)
    recorded = CALLED.decides(joint.record, request, LATER)
    kept = pb.AfterAction(actions=[done], flags=["too few"], recorded_at=LATER)
    recorded.told(ev.AfterActionRecorded(incident_id=A, report=kept, district_id="xihu"))
    recorded.when(joint.record, pb.RecordAfterActionRequest(incident_id=A), LATER).then_nothing()
    assert joint.report(recorded.state, A) == kept
    OPEN.when(joint.record, request, LATER).then_refused(Refused, "NO_JOINT_COMMAND")


# -- while the service runs -------------------------------------------------------------------------------------------------


def test_the_service_shows_who_was_called_who_has_not_answered_and_what_was_done(safety: Running) -> None:
    incident_id = report(safety, "e5", 100)
    asked = pb.CallJointCommandRequest(incident_id=incident_id, reason="smoke", place=RoadPlace(edge_id="e6"))
    assert safety.fire("CallJointCommand", asked, caller="li").incident.joint_command
    (event,) = safety.events(ev.JointCommandCalled)
    assert (event.data.called_by, event.data.place.edge_id) == ("li", "e6")  # type: ignore[attr-defined]
    which = {"notice_id": f"{incident_id}.west.1", "incident_id": incident_id, "district_id": "west"}
    safety.tell(hub.NoticeEscalated(notice_id="of a vehicle", incident_id=incident_id, district_id="east"))
    safety.tell(hub.NoticeEscalated(alert=True, **which))
    safety.rest()
    (listed,) = safety.fire("ListIncidents", pb.ListIncidentsRequest()).incidents
    assert list(get(safety, incident_id).incident.unanswered_district_ids) == ["west"] == list(listed.unanswered_district_ids)
    assert listed.joint_command
    safety.tell(hub.NoticeAcknowledged(**which))
    safety.rest()
    assert not get(safety, incident_id).incident.unanswered_district_ids
    safety.fire("OrderStandDown", pb.OrderStandDownRequest(incident_id=incident_id, outcome=PUT_OUT), caller="wang")
    assert [event.data.ordered_by for event in safety.events(ev.StandDownOrdered)] == ["wang"]  # type: ignore[attr-defined]
    safety.fire("RecordAfterAction", pb.RecordAfterActionRequest(incident_id=incident_id, flags=["too few"]))
    with pytest.raises(Refused, match="stands down: nobody is sent there any more"):
        safety.fire("AssignUnits", pb.AssignUnitsRequest(incident_id=incident_id, assignment_id="k1", police_cars=1))
    told = safety.fire("GetAfterAction", pb.GetAfterActionRequest(incident_id=incident_id)).report
    assert list(told.flags) == ["too few"] and told.HasField("recorded_at")
    closed = safety.fire("CloseIncident", pb.CloseIncidentRequest(incident_id=incident_id, outcome="x", false_alarm=True))
    safety.rest()
    (listed,) = safety.fire("ListIncidents", pb.ListIncidentsRequest()).incidents
    assert closed.incident.false_alarm and listed.false_alarm


def test_where_departments_go_is_a_road_that_there_is(safety: Running) -> None:
    asked = pb.CallJointCommandRequest(incident_id=report(safety), reason="smoke", place=RoadPlace(edge_id="nowhere"))
    with pytest.raises(Refused, match="the place of joint command lies on road 'nowhere'"):
        safety.fire("CallJointCommand", asked)


def test_only_a_service_says_that_somebody_else_has_decided(safety: Running) -> None:
    incident_id = report(safety)
    asked = pb.ConfirmGradeRequest(incident_id=incident_id, grade=MAJOR, reason="x", decided_by="wang")
    with pytest.raises(BadRequest, match="decided_by"):
        safety.fire("ConfirmGrade", asked, caller="li")
    safety.fire("ConfirmGrade", asked, caller="zhang", actor="sagas")
    (event,) = safety.events(ev.SafetyGradeConfirmed)
    assert event.data.confirmation.confirmed_by == "wang"  # type: ignore[attr-defined]
    nobody = pb.ConfirmGradeRequest(incident_id=incident_id, grade=EXTRA, reason="nobody decided in time")
    safety.fire("ConfirmGrade", nobody, caller="zhang", actor="sagas")
    safety.fire("ConfirmGrade", pb.ConfirmGradeRequest(incident_id=incident_id, grade=MAJOR, reason="x"), caller="wang")
    safety.rest()
    (listed,) = safety.fire("ListIncidents", pb.ListIncidentsRequest()).incidents
    assert (
        (listed.confirmed_grade, listed.grade) == (MAJOR, MAJOR) == (get(safety, incident_id).incident.confirmed_grade, MAJOR)
    )


# -- the cordon -------------------------------------------------------------------------------------------------------------


def cordon(safety: Running, incident_id: str, **more: Any) -> pb.PlanCordonResponse:
    answer: pb.PlanCordonResponse = safety.fire("PlanCordon", pb.PlanCordonRequest(incident_id=incident_id, **more))
    return answer


def test_the_cordon_is_every_road_of_which_a_part_is_near_the_nearest_first(safety: Running) -> None:
    # 100 m behind the start of e5, and 400 m before its end; a fire is kept clear for 150 m.
    assert (list(cordon(safety, report(safety, "e5", 100)).edge_ids), cordon(safety, report(safety, "e5", 100)).metres) == (
        ["e5", "e4"], 150,
    )  # fmt: skip
    assert list(cordon(safety, report(safety, "e8", 400)).edge_ids) == ["e8", "e9"]
    # The middle of a long road is far from both ends.
    assert list(cordon(safety, report(safety, "e2", 250)).edge_ids) == ["e2"]
    leak = report(safety, "e5", 250, kind=pb.EVENT_KIND_GAS_LEAK)
    assert (list(cordon(safety, leak).edge_ids), cordon(safety, leak).metres) == (["e5", "e4", "e6"], 300)
    assert list(cordon(safety, leak, place=RoadPlace(edge_id="e1", position_m=490)).edge_ids) == ["e1", "e2"]


def test_a_cordon_takes_no_more_roads_than_one_closure_the_nearest_of_them() -> None:
    names = [f"r{n:02}" for n in range(80)]
    roads = build((name, 2.0, 10.0, [after]) for name, after in zip(names, [*names[1:], "end"], strict=True))
    found = cordons.around(roads, RoadPlace(edge_id="r40", position_m=1), 150)
    assert len(found) == cordons.MOST == 50 and found[0] == "r40" and {"r39", "r41", "r16"} <= set(found) <= set(names[15:66])


def test_around_nowhere_there_is_no_cordon(safety: Running) -> None:
    incident_id = str(
        safety.fire(
            "ReportSignal",
            pb.ReportSignalRequest(source=pb.SIGNAL_SOURCE_119, kind=FIRE, position=pb.Position(latitude=30, longitude=120)),
        ).incident.incident_id
    )
    with pytest.raises(BadRequest, match="say around what"):
        cordon(safety, incident_id)
    with pytest.raises(Refused, match="lies on road 'nowhere'"):
        cordon(safety, incident_id, place=RoadPlace(edge_id="nowhere"))


def test_an_incident_that_is_closed_still_shows_what_it_was(safety: Running) -> None:
    incident_id = report(safety)
    close(safety, incident_id)
    shown = get(safety, incident_id).incident
    assert not shown.joint_command and not shown.false_alarm
