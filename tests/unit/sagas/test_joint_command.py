"""The workflow of joint command: which commands it makes, about what, and how each way ends; without anything around it."""

from __future__ import annotations

from typing import Any, Self

import pytest
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.events_pb2 import NoticeEscalated
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.safety.v1.events_pb2 import (
    FalseAlarmFound,
    JointCommandCalled,
    SafetyIncidentClosed,
    SafetyIncidentGraded,
    SafetyIncidentMerged,
    StandDownOrdered,
)
from google.protobuf.message import Message

from citybrain.mesh.errors import Forbidden, Refused
from citybrain.sagas.testing import Story
from citybrain.sagas.workflows.joint_command import JOINT_COMMAND, OTHER_UNITS, TIMES, UNITS

INCIDENT, OLDER = "saf-0123456789ab", "saf-00000000000a"
PLACE = RoadPlace(edge_id="e3", position_m=20)
FIRE, GAS_LEAK = safety.EVENT_KIND_FIRE, safety.EVENT_KIND_GAS_LEAK
GENERAL, LARGER, MAJOR, EXTRA = safety.GRADE_GENERAL, safety.GRADE_LARGER, safety.GRADE_MAJOR, safety.GRADE_EXTRA_MAJOR
CAR, ENGINE = safety.UNIT_KIND_POLICE_CAR, safety.UNIT_KIND_FIRE_ENGINE
FIRST = ["assign_units", "plan_cordon", "reserve_ambulance", "warn_hospitals", "alert_districts"]
# A road that is named twice is closed once: traffic refuses a closure that names one twice.
PLAN = safety.PlanCordonResponse(edge_ids=["e3", "e2", "e3"])


def units(cars: int, engines: int) -> safety.AssignUnitsResponse:
    """So many were sent."""
    kinds = [CAR] * cars + [ENGINE] * engines
    return safety.AssignUnitsResponse(units=[safety.AssignedUnit(unit_id=f"u{n}", kind=kind) for n, kind in enumerate(kinds)])


class Joint(Story):
    """The story of one joint command, in its own words."""

    def __init__(
        self, grade: Any = LARGER, kind: Any = FIRE, place: RoadPlace | None = PLACE, exercise: str = ""
    ) -> None:  # fmt: skip
        super().__init__(JOINT_COMMAND)
        self.starts_with(
            JointCommandCalled(incident_id=INCIDENT, kind=kind, grade=grade, place=place, district_id="xihu", why="smoke"),
            exercise,
        )

    def under_way(self, sent: Message | None = None) -> Self:
        """All departments do what they are asked. `sent`: the units that go; without it as many as a larger fire asks for."""
        self.answers("assign_units", units(2, 4) if sent is None else sent)
        self.answers("plan_cordon", PLAN).answers("close_roads")
        return self.answers("reserve_ambulance").answers("warn_hospitals").answers("alert_districts")

    def is_graded(self, new: Any, old: Any = LARGER) -> Self:
        return self.hears(
            SafetyIncidentGraded(incident_id=INCIDENT, joint_command=True, old_grade=old, new_grade=new, why="119 counts")
        )

    def is_closed(self) -> Self:
        return self.hears(SafetyIncidentClosed(incident_id=INCIDENT, joint_command=True, outcome="put out"))

    def stands_down(self) -> Self:
        """Departments take back what they are asked to, up to the report."""
        for step in ("cancel_alert", "stand_down_hospitals", "release_ambulance", "reopen_roads", "release_units"):
            self.answers(step)
        return self

    def flags(self) -> list[str]:
        return list(self.requests["record_after_action"].flags)

    def asked(self, step: str) -> tuple[int, int]:
        """How many police cars and fire engines a step asked for."""
        return self.requests[step].police_cars, self.requests[step].fire_engines


# -- the usual way ----------------------------------------------------------------------------------------------------------


def test_at_a_fire_all_departments_are_asked_at_once_and_each_for_what_is_its_own() -> None:
    story = Joint().must_send(*FIRST)
    made = story.requests
    assert story.asked("assign_units") == (2, 4) and made["assign_units"].or_fewer
    assert made["assign_units"].place == PLACE == made["reserve_ambulance"].place == made["warn_hospitals"].place
    assert made["warn_hospitals"].hospitals == 2
    content = made["alert_districts"].content
    assert (content.status, content.category, content.severity, content.headline) == (
        hub.ALERT_STATUS_ACTUAL, hub.ALERT_CATEGORY_FIRE, hub.ALERT_SEVERITY_MODERATE, "Fire 火灾, larger 较大",
    )  # fmt: skip
    assert (list(made["alert_districts"].edge_ids), list(made["alert_districts"].district_ids)) == (["e3"], ["xihu"])
    story.answers("plan_cordon", PLAN).must_send("close_roads")
    assert (list(made["close_roads"].edge_ids), made["close_roads"].emergency_vehicles_pass) == (["e3", "e2"], True)
    assert made["close_roads"].incident_id == INCIDENT


def test_when_safety_closes_the_incident_what_was_taken_is_given_back_and_what_was_done_is_kept() -> None:
    story = Joint().under_way().time_passes(3600).is_closed()
    story.must_send("cancel_alert", "stand_down_hospitals", "release_ambulance", "reopen_roads")
    made, keys = story.requests, story.keys
    assert (made["cancel_alert"].round_id, made["cancel_alert"].reason) == ("", "over: put out")
    assert made["stand_down_hospitals"].warning_id == keys["warn_hospitals"]
    assert made["release_ambulance"].reservation_id == keys["reserve_ambulance"]
    assert made["reopen_roads"].closure_id == keys["close_roads"]
    # The units guard the closed roads: they leave last.
    story.answers("reopen_roads").must_send("release_units")
    assert made["release_units"].assignment_id == ""
    for step in ("cancel_alert", "stand_down_hospitals", "release_ambulance"):
        story.answers(step)
    story.answers("release_units").must_send("record_after_action")
    done = made["record_after_action"].actions
    assert {one.step for one in done} == {
        *FIRST,
        "close_roads",
        *(name for name in made if name not in ("record_after_action",)),
    }
    assert [one.ended_at.seconds - done[0].ended_at.seconds for one in done][-1] == 3600
    assert not any(one.left_out for one in done) and story.flags() == []
    story.answers("record_after_action").must_be("completed")


def test_a_commander_who_orders_to_stand_down_has_the_incident_closed_when_all_is_given_back() -> None:
    story = Joint().under_way().hears(StandDownOrdered(incident_id=INCIDENT, outcome="all out", ordered_by="li"))
    story.stands_down().must_send("close_incident")
    assert story.requests["close_incident"].outcome == "all out"
    story.answers("close_incident").must_send("record_after_action").answers("record_after_action").must_be("completed")


def test_without_a_road_nothing_is_asked_that_needs_one_and_all_else_is() -> None:
    story = Joint(place=None).must_send("assign_units", "alert_districts")
    assert not story.requests["assign_units"].HasField("place") and not story.requests["alert_districts"].edge_ids
    story.answers("assign_units", units(2, 4)).answers("alert_districts").is_closed().must_send("cancel_alert", "release_units")


def test_what_districts_are_told_in_a_drill_says_that_it_is_one() -> None:
    drill = Joint(exercise="fire-2026").under_way().is_graded(GENERAL).requests
    told = [drill[step].content.status for step in ("alert_districts", "update_districts")]
    assert told == [hub.ALERT_STATUS_EXERCISE] * 2


def test_every_number_of_units_is_one_that_safety_takes() -> None:
    for cars, engines in (*UNITS.values(), OTHER_UNITS):
        assert (cars + engines) > 0 and max(cars, engines) * max(TIMES.values()) <= 20
    assert Joint(grade=safety.GRADE_UNSPECIFIED).asked("assign_units") == (1, 2)
    assert Joint(kind=safety.EVENT_KIND_OTHER, grade=MAJOR).asked("assign_units") == (4, 4)


def test_what_was_said_before_the_call_and_what_concerns_others_is_not_heard() -> None:
    story = Joint().under_way().hears(SafetyIncidentGraded(incident_id=INCIDENT, new_grade=EXTRA)).must_send()
    assert len(story.state.heard) == 0
    hears = JOINT_COMMAND.hears[NoticeEscalated]
    assert (hears(NoticeEscalated(incident_id="i")), hears(NoticeEscalated(incident_id="i", alert=True))) == ("", "i")


# -- the grade --------------------------------------------------------------------------------------------------------------


def test_a_grave_gas_leak_is_confirmed_by_a_person_while_all_others_work() -> None:
    story = Joint(EXTRA, GAS_LEAK).must_send(*FIRST)
    assert (story.asked("assign_units"), story.requests["warn_hospitals"].hospitals) == ((12, 12), 8)
    question = story.state.steps["confirm_grade"]
    assert (question.who, question.question) == (
        "incident_command", f"incident {INCIDENT}, Gas leak 燃气泄漏: is it extra-major 特别重大, or graver?",
    )  # fmt: skip
    with pytest.raises(Refused, match="no grade is graver"):
        story.human_decides("confirm_grade", "raise")
    with pytest.raises(Forbidden):
        story.human_decides("confirm_grade", "confirm", may=lambda who: who == "leading_group")
    story.human_decides("confirm_grade", "confirm", by="li").must_send("record_grade")
    made = story.requests["record_grade"]
    assert (made.grade, made.decided_by, made.reason) == (EXTRA, "li", "so it is")


def test_a_person_may_raise_it_by_one() -> None:
    story = Joint(MAJOR).human_decides("confirm_grade", "raise", by="li").must_send("record_grade")
    assert story.requests["record_grade"].grade == EXTRA


def test_after_five_minutes_the_leading_group_is_asked_and_after_five_more_the_grade_counts_as_it_is() -> None:
    story = Joint(MAJOR).under_way(units(4, 8)).time_passes(299)
    assert story.state.steps["confirm_grade"].who == "incident_command"
    story.time_passes(1)
    assert story.state.steps["confirm_grade"].who == "leading_group"
    story.time_passes(300).must_send("record_grade")
    assert (story.requests["record_grade"].grade, story.requests["record_grade"].decided_by) == (MAJOR, "")
    story.answers("record_grade").is_closed().stands_down()
    assert story.flags() == ["nobody confirmed in time that it is major 重大"]


def test_a_grade_that_becomes_grave_later_is_confirmed_then_and_only_the_first_time() -> None:
    story = Joint().under_way()
    assert "confirm_grade" not in story.state.steps
    story.is_graded(MAJOR).must_send("reinforce", "update_districts")
    assert "major 重大" in story.state.steps["confirm_grade"].question
    story.human_decides("confirm_grade", "confirm", by="li").must_send("record_grade")
    assert story.requests["record_grade"].grade == MAJOR
    story.answers("record_grade").answers("reinforce", units(2, 4)).answers("update_districts")
    story.is_graded(EXTRA, MAJOR).must_send("reinforce", "update_districts")
    assert story.state.steps["confirm_grade"].status == "done"


def test_each_change_of_grade_is_told_to_the_districts_and_more_units_go_where_it_is_graver_than_ever() -> None:
    story = Joint().under_way().is_graded(MAJOR).must_send("reinforce", "update_districts")
    assert story.asked("reinforce") == (2, 4)
    assert story.requests["update_districts"].content.severity == hub.ALERT_SEVERITY_SEVERE
    assert story.requests["update_districts"].round_id == story.keys["update_districts"] != story.keys["alert_districts"]
    story.answers("reinforce", units(2, 4)).answers("update_districts").human_decides("confirm_grade", "confirm")
    # It falls, and rises to where it was: no more are needed than were asked for.
    story.is_graded(GENERAL, MAJOR).must_send("update_districts").answers("update_districts")
    story.is_graded(MAJOR, GENERAL).must_send("update_districts").answers("update_districts")
    story.is_graded(EXTRA, MAJOR).must_send("reinforce", "update_districts")
    assert story.asked("reinforce") == (2, 4)
    assert story.keys["reinforce"].endswith("/2")


def test_what_is_said_while_districts_are_told_is_not_lost_nor_what_was_said_before_it_began() -> None:
    story = Joint().under_way().is_graded(GENERAL)
    story.is_graded(LARGER, GENERAL).is_closed().must_send()
    story.answers("update_districts").must_send("update_districts").answers("update_districts")
    assert "cancel_alert" in story.sent()
    # It happened before anybody carried the saga on.
    early = Joint().hears(SafetyIncidentClosed(incident_id=INCIDENT, joint_command=True, outcome="put out"), at=-600)
    assert "cancel_alert" in early.under_way().sent()


def test_without_a_word_for_a_day_a_person_is_asked_and_a_word_that_comes_then_is_enough() -> None:
    story = Joint().under_way().time_passes(86_400).must_be("needs human", "word: not heard of in time")
    story.is_graded(GENERAL).must_be("running").must_send("update_districts")


# -- what does not go as it should ------------------------------------------------------------------------------------------


def test_where_too_few_units_are_free_those_go_and_the_others_follow_when_they_can() -> None:
    story = Joint().answers("assign_units", units(2, 1)).must_send("assign_missing")
    assert story.asked("assign_missing") == (0, 3) and not story.requests["assign_missing"].or_fewer
    story.fails("assign_missing", "RESOURCE_EXHAUSTED").time_passes(5).must_send("assign_missing")
    story.answers("assign_missing", units(0, 3))
    story.answers("plan_cordon", PLAN).answers("close_roads").answers("reserve_ambulance").answers("warn_hospitals")
    story.answers("alert_districts").is_closed().stands_down()
    assert story.flags() == ["0 police cars and 3 fire engines too few were free at the beginning; they came later"]


def test_where_they_do_not_follow_it_is_said_what_was_missing() -> None:
    story = Joint().answers("assign_units", units(2, 1))
    story.answers("plan_cordon", PLAN).answers("close_roads").answers("reserve_ambulance").answers("warn_hospitals")
    story.answers("alert_districts").fails("assign_missing", "FAILED_PRECONDITION", "saf is closed").is_closed().stands_down()
    assert story.flags() == [
        "assign_missing was left out: FAILED_PRECONDITION: saf is closed",
        "0 police cars and 3 fire engines too few were free at the beginning; they did not come",
    ]
    (left_out,) = [one for one in story.requests["record_after_action"].actions if one.left_out]
    assert (left_out.step, left_out.reason) == ("assign_missing", "FAILED_PRECONDITION: saf is closed")


def test_where_no_unit_can_be_sent_a_person_is_told_why_and_the_others_go_on() -> None:
    story = Joint().fails("assign_units", "INVALID_ARGUMENT", "place is missing")
    asked = story.state.steps["send_by_hand"]
    assert asked.who == "incident_command" and "INVALID_ARGUMENT: place is missing. See to it by hand" in asked.question
    story.answers("plan_cordon", PLAN).must_send("close_roads").answers("close_roads").answers("reserve_ambulance")
    story.answers("warn_hospitals").answers("alert_districts").human_decides("send_by_hand", "units_were_sent")
    story.is_closed().must_send("cancel_alert", "stand_down_hospitals", "release_ambulance", "reopen_roads")
    # Those that were sent by hand are released too.
    story.answers("reopen_roads").must_send("release_units")


@pytest.mark.parametrize("step", ["plan_cordon", "reserve_ambulance", "warn_hospitals", "alert_districts"])
def test_a_department_that_cannot_do_its_part_holds_up_nobody_and_is_named_in_the_end(step: str) -> None:
    story = Joint().answers("assign_units", units(2, 4))
    for one in FIRST[1:]:
        story.fails(one, "FAILED_PRECONDITION", "no") if one == step else story.answers(
            one, PLAN if one == "plan_cordon" else None
        )
    if step != "plan_cordon":
        story.answers("close_roads")
    story.is_closed()
    while out := story.out():
        story.answers(out[0])
    story.must_be("completed")
    assert story.flags() == [f"{step} was left out: FAILED_PRECONDITION: no"]


def test_a_district_that_does_not_acknowledge_is_named_in_the_end_and_holds_up_nobody() -> None:
    story = Joint().under_way()
    story.hears(
        NoticeEscalated(notice_id=f"{INCIDENT}.xihu.1", incident_id=INCIDENT, district_id="xihu", alert=True)
    ).must_send()
    story.is_graded(GENERAL).must_send("update_districts").answers("update_districts").is_closed().stands_down()
    assert story.flags() == [f"district xihu had not acknowledged in time what it was told (notice {INCIDENT}.xihu.1)"]


def test_what_may_have_taken_effect_is_taken_back_too() -> None:
    story = Joint().answers("assign_units", units(2, 4)).answers("plan_cordon", PLAN).answers("alert_districts")
    story.fails("close_roads", "UNAVAILABLE").time_passes(900)
    story.is_closed().must_send("cancel_alert", "stand_down_hospitals", "release_ambulance", "reopen_roads")


def test_that_it_never_became_grave_is_nothing_that_went_wrong() -> None:
    story = Joint().under_way()
    for _ in range(8):
        story.time_passes(80_000).is_graded(GENERAL).answers("update_districts").is_graded(LARGER, GENERAL)
        story.answers("update_districts")
    assert story.state.steps["grave"].status == "skipped"
    story.is_closed().stands_down()
    assert story.flags() == []


# -- other ends -------------------------------------------------------------------------------------------------------------


def false_alarm(story: Joint) -> Joint:
    return story.hears(FalseAlarmFound(incident_id=INCIDENT, joint_command=True, reason="burnt milk"))


def test_a_false_alarm_takes_all_back_in_reverse_and_what_protects_life_only_when_it_is_cleared() -> None:
    story = Joint().under_way().is_graded(MAJOR).answers("reinforce", units(2, 4)).answers("update_districts")
    keys = dict(story.keys)
    false_alarm(story).must_send("undo update_districts")
    assert story.requests["undo update_districts"].round_id == keys["update_districts"]
    story.undone("update_districts").must_be("needs human", "reinforce protects life")
    with pytest.raises(Forbidden):
        story.human_clears("reinforce", may=lambda who: who == "incident_command")
    story.human_clears("reinforce", may=lambda who: who == "fire_command").must_send("undo reinforce")
    assert story.requests["undo reinforce"].assignment_id == keys["reinforce"]
    story.undone("reinforce").must_be("needs human", "close_roads protects life")
    story.human_clears("close_roads").must_send("undo close_roads").undone("close_roads")
    for step in ("alert_districts", "warn_hospitals", "reserve_ambulance"):
        story.must_send(f"undo {step}").undone(step)
    story.must_be("needs human", "assign_units protects life")
    story.human_clears("assign_units").undone("assign_units").must_be("undone")
    reasons = {request.reason for name, request in story.requests.items() if name.startswith("undo ")}
    assert reasons == {"false alarm: burnt milk"}


def merged(story: Joint) -> Joint:
    return story.hears(
        SafetyIncidentMerged(incident_id=INCIDENT, joint_command=True, into_incident_id=OLDER, reason="one fire")
    )


def test_what_is_one_with_another_keeps_its_units_and_roads_until_a_person_lets_them_go() -> None:
    story = merged(Joint().under_way()).must_send("cancel_alert", "stand_down_hospitals", "release_ambulance")
    assert story.requests["cancel_alert"].reason == f"it is one with {OLDER}, which goes on"
    for step in story.sent():
        story.answers(step)
    question = story.state.steps["hand_over"]
    assert (question.who, question.question) == (
        "fire_command", f"incident {INCIDENT} is one with {OLDER}: may its units leave now, and its roads open?",
    )  # fmt: skip
    # Nobody is in a hurry, and nobody forgets it.
    story.time_passes(43_200).must_be("running")
    assert story.state.steps["hand_over"].who == "incident_command"
    story.time_passes(43_200).must_be("needs human", "hand_over: nobody decided in time")
    story.human_decides("hand_over", "let_go").must_send("reopen_roads").answers("reopen_roads").must_send("release_units")
    story.answers("release_units").must_send("record_after_action")
    assert story.flags() == []


def test_what_a_person_leaves_to_the_other_incident_is_said_in_the_report() -> None:
    story = merged(Joint().under_way()).human_decides("hand_over", "keep")
    for step in ("cancel_alert", "stand_down_hospitals", "release_ambulance"):
        story.answers(step)
    assert "reopen_roads" not in story.requests and "release_units" not in story.requests
    assert story.flags() == [f"units and closed roads were left to incident {OLDER}: whoever ends that opens the roads"]
    story.answers("record_after_action").must_be("completed")
