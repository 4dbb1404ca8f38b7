"""The workflow of a peak crowd: what is asked of whom at which level, what is lifted, and what is never lifted by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pytest
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.events_pb2 import NoticeEscalated
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.tourism.v1 import peaks_pb2 as peaks
from citybrain.tourism.v1 import tourism_service_pb2 as tourism
from citybrain.tourism.v1.events_pb2 import MeasureAcknowledged, PeakBegan, PeakChanged, PeakEnded, PeakRetracted
from citybrain.traffic.v1.events_pb2 import TransportAnswered
from google.protobuf.message import Message

from citybrain.mesh.errors import Forbidden, Refused
from citybrain.mesh.events import timestamp
from citybrain.sagas.testing import Story
from citybrain.sagas.workflows.peak_crowd import (
    ACKNOWLEDGED_WITHIN_S,
    DAY_S,
    HOUR_S,
    MINUTE_S,
    OPERATOR_MINUTES,
    PEAK_CROWD,
)

PEAK = "peak-0123456789ab"
CONTACT, DANGEROUS = tourism.DENSITY_LEVEL_CONTACT, tourism.DENSITY_LEVEL_DANGEROUS
INCIDENT = safety.ReportSignalResponse(incident=safety.Incident(incident_id="saf-0123456789ab"))
ANSWERS: dict[str, Message] = {"report_crowd": INCIDENT}
PREPARED = ["post_police", "reserve_ambulance", "request_buses", "request_frequency", "request_signal_plan"]
ASKED = PREPARED[2:]
RESTORED = ["end_signal_plan", "end_frequency", "release_buses", "release_ambulance", "recall_police", "end_notices", "review"]
ENTRANCE = RoadPlace(edge_id="e5", position_m=100)


def expected(horizon: int, people: float = 950, level: int = 90) -> peaks.ExpectedPeak:
    hour = timestamp(1_767_225_600_000_000 + horizon * 3_600_000_000)
    return peaks.ExpectedPeak(hour=hour, horizon_hours=horizon, people=people, low=people - 50, high=people + 50, level=level)


class Crowd(Story):
    """The story of one peak, in its own words."""

    def __init__(self, level: int = 80, ahead: int = 0, exercise: str = "", **place: Any) -> None:
        """`ahead`: a forecast so many hours ahead begins it."""
        super().__init__(PEAK_CROWD)
        self.number = 0
        told: dict[str, Any] = {"entrance": ENTRANCE, "parking_lot_ids": ["lot-1", "lot-2"], **place}
        self.starts_with(
            PeakBegan(
                peak_id=PEAK, place_id="p1", district_id="xihu", name="断桥", capacity=12_000, people=0 if ahead else 9_700,
                position=tourism.Position(longitude=120.15, latitude=30.25), level=0 if ahead else level,
                expected=expected(ahead) if ahead else None, began_at=timestamp(1), **told,
            ),
            exercise,
        )  # fmt: skip

    def done(self, *steps: str) -> Self:
        """These departments did what they were asked."""
        for step in steps:
            self.answers(step, ANSWERS.get(step))
        return self

    def word(self, level: int, closest: Any = 0, number: int = 0, **more: Any) -> Self:
        """Tourism says how it stands now."""
        self.number = number or self.number + 1
        told = PeakChanged(
            peak_id=PEAK, place_id="p1", number=self.number, level=level, closest=closest,
            people=level * 120, **{"part_id": "bridge" if closest else "", **more},
        )  # fmt: skip
        return self.hears(told)

    def over(self) -> Self:
        return self.hears(PeakEnded(peak_id=PEAK, place_id="p1", reason="calm"))

    def retracted(self) -> Self:
        return self.hears(PeakRetracted(peak_id=PEAK, place_id="p1", reason="counter b read double"))

    def seen(self, step: str) -> Self:
        """Somebody at the place says that a measure is carried out."""
        return self.hears(MeasureAcknowledged(place_id="p1", measure_id=self.state.key(step)))

    def operator(self, step: str, *, accepted: bool = True) -> Self:
        return self.hears(TransportAnswered(request_id=self.state.key(step), accepted=accepted))

    def prepared(self) -> Self:
        """Police, an ambulance, buses, metro and signals are ready."""
        self.done(*PREPARED)
        for step in ASKED:
            self.operator(step)
        return self

    def busy(self) -> Self:
        """It is at 80 %, all are ready, and others are suggested."""
        return self.prepared().done("suggest_elsewhere", "tell_80")

    def full(self) -> Self:
        """It is full, and all is done for that."""
        self.prepared().done("suggest_elsewhere", "pause_booking", "close_parking", "stop_entry", "tell_full")
        return self.seen("stop_entry")

    def in_danger(self) -> Self:
        """It was busy, people stand dangerously close, and all is done for that."""
        self.busy().word(80, DANGEROUS).done("report_crowd", "call_joint_command", "disperse", "stop_entry", "tell_full")
        return self.done("pause_booking", "close_parking").seen("stop_entry").seen("disperse")

    def is_restored(self) -> list[str]:
        """All that is given back at the end is given back; in which order."""
        order = []
        while self.phase == "running" and (self.out() or self.time_passes(1).out()):
            (one,) = self.out()
            order.append(one)
            self.done(one)
        self.must_be("completed")
        return order

    def is_undone(self) -> list[str]:
        """All that is to be taken back is taken back, and cleared where that is asked; in which order."""
        order = []
        while self.phase in ("undoing", "needs human"):
            if self.phase == "needs human":
                for one in [one for one in self.state.attempts() if one.clearance_asked and not one.cleared]:
                    self.human_clears(one.name)
                continue
            (out,) = [name for name in self.out() if name.startswith("undo ")]
            order.append(out.removeprefix("undo "))
            self.undone(order[-1])
        self.must_be("undone")
        return order

    def sends(self, *steps: str) -> Self:
        """These went out now, in whatever order, and no others."""
        assert sorted(self.sent()) == sorted(steps), self
        return self

    def flags(self) -> list[str]:
        """What the review says."""
        return list(self.requests["review"].flags)


# -- levels -------------------------------------------------------------------------------------------------------------------


def test_at_80_others_are_suggested_and_departments_get_ready() -> None:
    story = Crowd().sends("suggest_elsewhere", "tell_80", *PREPARED)
    made = story.requests
    suggested = made["suggest_elsewhere"]
    assert (suggested.kind, suggested.place_id) == (peaks.MEASURE_KIND_SUGGEST_ELSEWHERE, "p1")
    assert (made["post_police"].police_cars, made["post_police"].place, made["post_police"].or_fewer) == (4, ENTRANCE, True)
    assert made["reserve_ambulance"].place == ENTRANCE
    assert len({made[step].kind for step in ASKED}) == 3
    buses = made["request_buses"]
    assert buses.place == ENTRANCE
    assert (buses.where, buses.reason) == ("断桥", "断桥: 9,700 of 12,000 people, and nobody has seen it coming")
    alert = made["tell_80"]
    assert (list(alert.district_ids), alert.content.severity) == (["xihu"], hub.ALERT_SEVERITY_MINOR)
    assert alert.content.certainty == hub.ALERT_CERTAINTY_OBSERVED
    assert alert.content.headline == "断桥: 80 % 较满"


def test_each_level_adds_its_measures_and_each_that_is_left_lifts_them_the_last_one_first() -> None:
    story = Crowd().busy().word(90).sends("pause_booking", "close_parking", "tell_90")
    assert list(story.requests["close_parking"].lot_ids) == ["lot-1", "lot-2"]
    story.done("pause_booking", "close_parking", "tell_90").word(100).must_send("stop_entry")
    story.done("stop_entry").must_send("tell_full").done("tell_full").seen("stop_entry")
    assert story.requests["tell_full"].content.headline == "断桥: full 已满，停止入园"
    story.word(90).must_send("reopen_entry")
    assert story.requests["reopen_entry"].measure_id == story.keys["stop_entry"]
    story.done("reopen_entry").must_send()
    story.word(80).must_send("open_parking").done("open_parking").must_send("resume_booking").done("resume_booking")
    assert story.requests["open_parking"].closure_id == story.keys["close_parking"]
    story.must_send().word(0).must_send("end_suggestion").done("end_suggestion").must_send()
    story.must_be("running").over()
    assert story.is_restored() == RESTORED


def test_what_everybody_may_read_does_not_say_how_many_people_there_are() -> None:
    story = Crowd(100)
    for step in ("suggest_elsewhere", "pause_booking", "close_parking", "stop_entry"):
        assert "9,700" not in story.requests[step].reason and "断桥" in story.requests[step].reason


def test_a_place_that_is_full_at_once_has_all_measures_at_once_and_nobody_waits_for_anybody() -> None:
    story = Crowd(100).sends("suggest_elsewhere", "pause_booking", "close_parking", "stop_entry", *PREPARED)
    story.done("stop_entry").must_send("tell_full")


def test_what_falls_from_full_to_nothing_is_lifted_in_reverse() -> None:
    story = Crowd(100).full().word(0)
    order = []
    while story.out():
        (one,) = story.out()
        order.append(one)
        story.done(one)
    assert order == ["reopen_entry", "open_parking", "resume_booking", "end_suggestion"]


def test_a_level_that_is_reached_again_has_measures_of_its_own() -> None:
    story = Crowd(90).prepared().done("suggest_elsewhere", "pause_booking", "close_parking", "tell_90")
    first = story.keys["pause_booking"]
    story.word(80).done("open_parking", "resume_booking").must_send()
    story.word(90).sends("pause_booking", "close_parking", "tell_90")
    assert story.keys["pause_booking"] != first
    story.done("pause_booking", "close_parking", "tell_90").word(80).done("open_parking")
    assert story.requests["resume_booking"].measure_id == story.keys["pause_booking"]


def test_of_two_words_the_newer_counts_whenever_it_is_heard() -> None:
    story = Crowd().busy().word(0, number=3).must_send("end_suggestion")
    story.word(100, number=2).must_send()
    story.done("end_suggestion").must_send()
    story.word(90, number=4).sends("suggest_elsewhere", "pause_booking", "close_parking", "tell_90")


def test_the_same_word_twice_changes_nothing() -> None:
    Crowd().busy().word(90).word(90, number=1).must_send()


def test_without_parking_lots_none_are_closed_and_without_an_entrance_nobody_drives_there() -> None:
    story = Crowd(90, parking_lot_ids=[], entrance=None).sends("suggest_elsewhere", "pause_booking", "tell_90", *ASKED)
    story.done(*ASKED, "suggest_elsewhere", "pause_booking", "tell_90")
    for step in ASKED:
        story.operator(step)
    story.word(80).must_send("resume_booking").done("resume_booking").over().done("end_suggestion")
    assert story.is_restored() == ["end_signal_plan", "end_frequency", "release_buses", "end_notices", "review"]
    assert any("where emergency vehicles come in" in flag for flag in story.flags())


@pytest.mark.parametrize(("capacity", "cars"), [(800, 2), (4_999, 2), (5_000, 3), (40_000, 10), (90_000, 10)])
def test_a_larger_place_has_more_police(capacity: int, cars: int) -> None:
    story = Story(PEAK_CROWD).starts_with(
        PeakBegan(peak_id=PEAK, place_id="p1", district_id="xihu", name="x", capacity=capacity, level=80, entrance=ENTRANCE)
    )
    assert story.requests["post_police"].police_cars == cars


# -- a day ahead --------------------------------------------------------------------------------------------------------------


def test_a_day_ahead_the_district_is_told_and_a_person_decides_whether_departments_get_ready() -> None:
    story = Crowd(ahead=24).must_send("tell_ahead")
    alert = story.requests["tell_ahead"]
    assert (alert.content.urgency, alert.acknowledge_within.seconds) == (hub.ALERT_URGENCY_FUTURE, HOUR_S)
    assert alert.content.certainty == hub.ALERT_CERTAINTY_LIKELY
    assert story.state.steps["plan"].question == (
        "断桥: 950 expected of 12,000 people, between 900 and 1,000: do departments prepare?"
    )
    story.done("tell_ahead").human_decides("plan", "prepare").must_send()
    story.time_passes(23 * HOUR_S).must_send().word(0, expected=[expected(1), expected(24)]).sends(*PREPARED)


def test_what_nobody_decides_is_done_when_it_is_near() -> None:
    story = Crowd(ahead=24).done("tell_ahead").time_passes(2 * HOUR_S)
    story.word(0, expected=[expected(1)]).sends(*PREPARED)
    assert story.state.steps["plan"].status == "skipped", "nobody is asked any more"
    later = Crowd(ahead=24).done("tell_ahead").time_passes(12 * HOUR_S)
    assert later.state.decision("plan") == "prepare"


def test_departments_that_only_watch_act_when_people_come_after_all() -> None:
    story = Crowd(ahead=24).done("tell_ahead").human_decides("plan", "only_watch")
    story.word(0, expected=[expected(1)]).must_send()
    story.word(80, expected=[expected(1)]).sends("suggest_elsewhere", "tell_80", *PREPARED)


def test_departments_that_only_watch_have_nothing_to_give_back() -> None:
    story = Crowd(ahead=24).done("tell_ahead").human_decides("plan", "only_watch").word(0, expected=[expected(1)]).over()
    assert story.is_restored() == ["end_notices", "review"]


def test_a_peak_that_is_called_off_a_day_ahead_asks_nobody_to_get_ready() -> None:
    story = Crowd(ahead=24).done("tell_ahead").time_passes(60).over()
    assert story.is_restored() == ["end_notices", "review"]


def test_a_decision_that_comes_when_it_is_over_is_not_waited_for_long_where_words_came_late() -> None:
    story = Crowd(ahead=24).done("tell_ahead").time_passes(3 * HOUR_S)
    # They are of moments before the question: the process was away.
    story.hears(PeakEnded(peak_id=PEAK, place_id="p1"), at=-60).must_send()
    story.time_passes(9 * HOUR_S).must_send("end_notices")


def test_an_hour_ahead_departments_get_ready_at_once() -> None:
    story = Crowd(ahead=1).sends(*PREPARED)
    assert story.requests["request_buses"].reason == "断桥: 950 expected of 12,000 people"


def test_who_comes_before_anybody_has_decided_is_seen_to() -> None:
    story = Crowd(ahead=24).done("tell_ahead").word(100, expected=[expected(24)])
    story.sends("suggest_elsewhere", "pause_booking", "close_parking", "stop_entry", *PREPARED)
    story.done("stop_entry").time_passes(ACKNOWLEDGED_WITHIN_S)
    question = story.state.steps["call_about_entry"].question
    assert question.startswith("断桥: 12,000 of 12,000 people"), "who is there, and not what was expected"


def test_a_forecast_that_is_taken_back_takes_back_all_that_it_began_in_reverse() -> None:
    story = Crowd(ahead=1).prepared().word(0).must_send().retracted()
    assert story.is_undone() == PREPARED[::-1]
    assert story.requests["undo post_police"].reason == "there is no peak: counter b read double"
    early = Crowd(ahead=24).done("tell_ahead").word(0).must_send().retracted()
    assert early.is_undone() == ["tell_ahead"], "that nothing is expected any more is no reason to get ready"


# -- corrected counts ---------------------------------------------------------------------------------------------------------


def test_a_level_that_was_corrected_is_lifted_like_one_that_was_left() -> None:
    story = Crowd().busy().word(100).done("stop_entry", "tell_full", "pause_booking", "close_parking").seen("stop_entry")
    story.word(80, corrected=True).must_send("reopen_entry")
    story.done("reopen_entry", "open_parking", "resume_booking").must_send()


def test_a_peak_that_was_none_is_undone_in_reverse_and_entry_opens_only_when_somebody_has_looked() -> None:
    story = Crowd(100).full()
    sent = [one.name for one in sorted(story.state.steps.values(), key=lambda one: one.number) if one.key]
    story.retracted()
    assert [one.name for one in story.state.attempts() if one.clearance_asked] == ["stop_entry"]
    assert story.is_undone() == sent[::-1]


# -- how closely people stand -------------------------------------------------------------------------------------------------


def test_people_who_touch_are_led_apart_until_they_do_not() -> None:
    story = Crowd().busy().word(80, CONTACT).must_send("disperse")
    assert (story.requests["disperse"].part_id, story.requests["disperse"].kind) == ("bridge", peaks.MEASURE_KIND_DISPERSE)
    story.done("disperse").seen("disperse").must_send()
    story.word(80).must_send("end_dispersal").done("end_dispersal").must_send()
    story.word(80, CONTACT).must_send("disperse").done("disperse").seen("disperse")
    # They stand most closely elsewhere now.
    story.word(80, CONTACT, part_id="bank").must_send("end_dispersal").done("end_dispersal").must_send("disperse")
    assert story.requests["disperse"].part_id == "bank"


def test_where_a_person_ends_the_peak_while_people_touch_that_they_are_led_apart_ends_too() -> None:
    story = Crowd().busy().word(80, CONTACT).done("disperse").seen("disperse").over()
    story.sends("end_dispersal", "end_suggestion")


def test_people_who_touch_already_when_it_begins_are_led_apart() -> None:
    story = Crowd(closest=CONTACT, part_id="bank")
    assert story.requests["disperse"].part_id == "bank"
    # Also where the place is not full: departments are asked to be there.
    Crowd(level=0, closest=CONTACT, part_id="bank").sends("disperse", *PREPARED)
    story = Crowd(closest=DANGEROUS, part_id="bank")
    assert story.requests["report_crowd"].text == "断桥: people stand dangerously close in bank"


def test_where_it_is_dangerous_nobody_is_let_in_and_joint_command_is_called_once() -> None:
    story = Crowd().busy().word(80, DANGEROUS)
    story.sends("disperse", "pause_booking", "close_parking", "stop_entry", "report_crowd")
    report = story.requests["report_crowd"]
    assert (report.kind, report.source, report.place) == (safety.EVENT_KIND_CROWD, safety.SIGNAL_SOURCE_SENSOR, ENTRANCE)
    assert report.position.longitude == 120.15 and report.text.endswith("dangerously close in bridge")
    story.done("report_crowd").must_send("call_joint_command")
    called = story.requests["call_joint_command"]
    assert (called.incident_id, called.place) == ("saf-0123456789ab", ENTRANCE)
    again = Crowd().in_danger().word(80).must_send("end_dispersal").done("end_dispersal")
    again.word(80, DANGEROUS).must_send("disperse")


def test_where_it_was_dangerous_entry_opens_only_when_a_person_has_cleared_it() -> None:
    story = Crowd().in_danger().word(0).must_send("end_dispersal").done("end_dispersal").must_send()
    assert "people stood dangerously close" in story.state.steps["clear_entry"].question
    with pytest.raises(Forbidden):
        story.human_decides("clear_entry", "clear", may=lambda authority: authority == "environment")
    story.human_decides("clear_entry", "keep_closed").must_send()
    story.human_decides("clear_entry", "clear").must_send("reopen_entry")


def test_where_it_gets_full_again_before_anybody_has_cleared_it_entry_stays_closed() -> None:
    story = Crowd().in_danger().word(0).done("end_dispersal").word(100)
    story.human_decides("clear_entry", "clear").must_send()
    assert story.state.steps["left_full"].status == "waiting"
    story.word(80).human_decides("clear_entry", "clear").must_send("reopen_entry")


def test_entry_stays_closed_over_the_end_of_the_peak_until_somebody_has_cleared_it() -> None:
    story = Crowd().in_danger().word(0).done("end_dispersal").over().must_send()
    story.human_decides("clear_entry", "clear").must_send("reopen_entry")


def test_a_danger_that_was_corrected_still_asks_a_person_and_its_joint_command_goes_on() -> None:
    story = Crowd().in_danger().word(80, corrected=True).done("end_dispersal")
    assert story.state.steps["clear_entry"].status == "asked"
    story.human_decides("clear_entry", "clear").done("reopen_entry", "open_parking", "resume_booking")
    story.over().done("end_suggestion").is_restored()
    assert any("joint command was called (saf-0123456789ab)" in flag for flag in story.flags())


@pytest.mark.parametrize("step", ["report_crowd", "call_joint_command"])
def test_joint_command_that_cannot_be_called_is_called_by_telephone(step: str) -> None:
    story = Crowd().busy().word(80, DANGEROUS)
    if step != "report_crowd":
        story.done("report_crowd")
    story.fails(step, "NOT_FOUND")
    assert story.state.steps["call_by_hand"].who == "crowd_command"
    story.must_be("running").human_decides("call_by_hand", "it_is_called")


# -- nobody answers -----------------------------------------------------------------------------------------------------------


def test_where_nobody_at_the_place_answers_command_telephones_and_entry_reopens_all_the_same() -> None:
    story = Crowd(100).prepared().done("suggest_elsewhere", "pause_booking", "close_parking", "stop_entry", "tell_full")
    story.time_passes(ACKNOWLEDGED_WITHIN_S)
    question = story.state.steps["call_about_entry"]
    assert question.question.startswith("断桥: 9,700 of 12,000 people")
    assert question.who == "crowd_command" and "nobody at the place has said that nobody is let in" in question.question
    story.time_passes(5 * MINUTE_S)
    assert story.state.steps["call_about_entry"].who == "leading_group"
    story.human_decides("call_about_entry", "it_is_done").word(0).must_send("reopen_entry")


def test_when_it_is_over_nobody_telephones_about_what_nobody_has_answered_yet() -> None:
    story = Crowd(100).done(*PREPARED, "suggest_elsewhere", "pause_booking", "close_parking", "stop_entry", "tell_full").over()
    assert story.is_restored()[-len(RESTORED) :] == RESTORED
    assert not [name for name in story.state.steps if name.startswith("call_")]
    assert story.flags() == []
    late = Crowd().done(*PREPARED, "suggest_elsewhere", "tell_80").time_passes(OPERATOR_MINUTES * MINUTE_S)
    late.time_passes(HOUR_S).over()
    late.is_restored()
    named = [f"call_for_{name}: nobody had answered in time, and people had to telephone" for name in ("buses", "frequency")]
    assert sorted(late.flags())[:2] == named and len(late.flags()) == 3, "each once, and no wait by itself"


def test_where_operators_do_not_answer_the_command_of_traffic_telephones() -> None:
    story = Crowd().done(*PREPARED).operator("request_buses").operator("request_frequency", accepted=False)
    story.done("suggest_elsewhere", "tell_80").time_passes(OPERATOR_MINUTES * MINUTE_S)
    assert story.state.steps["call_for_signal_plan"].who == "traffic_command"
    assert "call_for_buses" not in story.state.steps
    story.human_decides("call_for_signal_plan", "it_is_done").over().done("end_suggestion").is_restored()
    assert "request_frequency was declined: no reason was given" in story.flags()
    assert any(flag.startswith("call_for_signal_plan") for flag in story.flags())


def test_an_answer_to_something_else_is_not_taken_for_this_one() -> None:
    story = Crowd(100).done(*PREPARED, "stop_entry", "tell_full")
    story.hears(TransportAnswered(request_id=f"{PEAK}/other/1", accepted=True))
    story.hears(MeasureAcknowledged(place_id="p1", measure_id=f"{PEAK}/pause_booking/1"))
    waiting = {name for name, step in story.state.steps.items() if step.status == "waiting"}
    assert {"buses_answered", "frequency_answered", "signal_plan_answered", "entry_seen"} <= waiting


def test_a_district_that_did_not_answer_stands_in_the_review() -> None:
    story = Crowd().busy()
    story.hears(NoticeEscalated(notice_id="n1", incident_id=PEAK, district_id="xihu", alert=True))
    story.hears(NoticeEscalated(notice_id="n2", incident_id=PEAK, district_id="gongshu"))
    story.over().done("end_suggestion").is_restored()
    assert story.flags() == ["district xihu had not acknowledged in time what it was told"]


def test_whatever_fails_while_people_are_there_stops_nothing_and_stands_in_the_review() -> None:
    story = Crowd(100)
    for step in ("suggest_elsewhere", "pause_booking", "close_parking", *PREPARED):
        story.fails(step, "NOT_FOUND", "broken")
    story.must_be("running").done("stop_entry", "tell_full").seen("stop_entry").word(0).must_send("reopen_entry")
    story.done("reopen_entry", "open_parking", "resume_booking", "end_suggestion")
    story.time_passes(OPERATOR_MINUTES * MINUTE_S + 40 * MINUTE_S).over().is_restored()
    assert "pause_booking was left out: NOT_FOUND: broken" in story.flags()


def test_what_cannot_be_lifted_is_lifted_by_hand_before_the_rest() -> None:
    story = Crowd(100).full().word(0).fails("reopen_entry", "NOT_FOUND", "broken").must_be("running").must_send()
    assert story.state.steps["reopen_entry_by_hand"].question == (
        "断桥: reopen_entry could not be done: NOT_FOUND: broken. Do it by hand"
    )
    story.human_decides("reopen_entry_by_hand", "it_is_done").must_send("open_parking")


def test_what_cannot_be_given_back_at_the_end_needs_a_person() -> None:
    story = Crowd().busy().over().done("end_suggestion", "end_signal_plan", "end_frequency", "release_buses")
    story.fails("release_ambulance", "NOT_FOUND").must_be("needs human", "release_ambulance")
    story.human_skips("release_ambulance").must_send("recall_police")


def test_a_measure_whose_answer_is_lost_is_barred_when_its_level_is_left() -> None:
    story = Crowd(90).prepared().done("suggest_elsewhere", "close_parking", "tell_90").word(80).must_send()
    story.time_passes(5 * MINUTE_S)
    assert "open_parking" in story.sent(), "it is not waited for any longer"
    story.done("open_parking").must_send("resume_booking")
    assert story.requests["resume_booking"].measure_id == story.keys["pause_booking"]


def test_a_peak_of_which_nothing_is_heard_for_a_week_needs_a_person_and_a_late_word_goes_its_way() -> None:
    story = Crowd().busy().time_passes(7 * DAY_S).must_be("needs human")
    story.word(0).must_be("running").must_send("end_suggestion")


def test_in_an_exercise_districts_are_told_so() -> None:
    story = Crowd(exercise="drill-1")
    assert story.requests["tell_80"].content.status == hub.ALERT_STATUS_EXERCISE


def test_a_step_that_protects_life_is_never_undone_by_giving_up_another() -> None:
    story = Crowd(100).prepared().done("suggest_elsewhere", "pause_booking", "close_parking", "stop_entry", "tell_full")
    story.human_gives_up("entry_seen")
    while story.phase == "undoing":
        story.undone(story.out()[0].removeprefix("undo "))
    story.must_be("needs human", "stop_entry protects life, and is undone only when crowd_command clears it")
    with pytest.raises(Refused):
        story.human_clears("pause_booking")
    story.human_clears("stop_entry").must_send("undo stop_entry")


# -- killed and undone at every step ------------------------------------------------------------------------------------------


def _answer(step: str) -> Callable[[Crowd], Any]:
    return lambda s: s.done(step)


def _operator(step: str) -> Callable[[Crowd], Any]:
    return lambda s: s.operator(step)


WHOLE: list[Callable[[Crowd], Any]] = [
    _answer("tell_ahead"),
    lambda s: s.human_decides("plan", "prepare", by="wu"),
    lambda s: s.word(0, expected=[expected(1), expected(24)]),
    *map(_answer, PREPARED),
    *map(_operator, ASKED),
    lambda s: s.word(80),
    *map(_answer, ("suggest_elsewhere", "tell_80")),
    lambda s: s.word(90, CONTACT),
    *map(_answer, ("pause_booking", "close_parking", "tell_90", "disperse")),
    lambda s: s.seen("disperse"),
    lambda s: s.word(100, DANGEROUS),
    *map(_answer, ("stop_entry", "tell_full", "report_crowd", "call_joint_command")),
    lambda s: s.seen("stop_entry"),
    lambda s: s.word(80),
    _answer("end_dispersal"),
    lambda s: s.human_decides("clear_entry", "clear", by="li"),
    *map(_answer, ("reopen_entry", "open_parking", "resume_booking")),
    lambda s: s.word(0),
    _answer("end_suggestion"),
    lambda s: s.over(),
    *map(_answer, RESTORED[:-1]),
    lambda s: s.time_passes(1),
    _answer(RESTORED[-1]),
]


def test_killed_before_each_of_its_steps_it_sends_the_same_again_and_comes_to_the_same_end() -> None:
    story = Crowd(ahead=24)
    for happens in WHOLE:
        out = story.out()
        story.crashes()
        assert story.out() == out
        happens(story)
    story.must_be("completed")


@pytest.mark.parametrize("after", range(len(WHOLE)))
def test_retracted_after_each_of_its_steps_all_is_undone_in_reverse(after: int) -> None:
    story = Crowd(ahead=24)
    for happens in WHOLE[:after]:
        happens(story)
    undoable = {leaf.name for leaf in PEAK_CROWD.leaves() if getattr(leaf, "undo", None) is not None}
    sent = [one for one in sorted(story.state.attempts(), key=lambda one: one.number) if one.name in undoable and one.key]
    story.retracted()
    assert story.is_undone() == [one.name for one in sent[::-1]]
