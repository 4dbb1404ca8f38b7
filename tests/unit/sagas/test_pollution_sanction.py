"""The workflow from a source of pollution to its sanction: what is asked of whom, what people decide, what an appeal undoes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Self

import pytest
from citybrain.credit.v1 import credit_service_pb2 as credit
from citybrain.credit.v1.events_pb2 import AppealDecided, AppealFiled
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.events_pb2 import NoticeAcknowledged, NoticeEscalated
from citybrain.environment.v1 import environment_service_pb2 as environment
from citybrain.environment.v1.events_pb2 import (
    CorrectionAccepted,
    ExceedanceEnded,
    ExceedanceRetracted,
    ExceedanceVerified,
    InspectionReported,
)
from google.protobuf.message import Message

from citybrain.mesh.errors import Forbidden, Refused
from citybrain.sagas.engine.decider import tries_out
from citybrain.sagas.testing import Story
from citybrain.sagas.workflows.pollution_sanction import (
    APPEAL_WITHIN_S,
    DAY_S,
    HOUR_S,
    LAWS,
    NOTICE_S,
    POLLUTION_SANCTION,
    SANCTION_S,
)

EXCEEDANCE, FIRM, RECORD = "exc-0123456789ab", "per-0123456789abcdef", "rec-0123456789ab"
CASE = f"{EXCEEDANCE}/open_case/1"
PLACE = environment.Place(longitude=120.1, latitude=30.2)
TRACED = environment.Place(longitude=120.11, latitude=30.21)


def trace(*found: str, determination: Any = environment.DETERMINATION_WELL) -> environment.TraceSourceResponse:
    """A trace that these sources explain; the first that is looked at is none of them."""
    sources = [environment.TracedSource(source_id="other"), *(environment.TracedSource(source_id=n, found=True) for n in found)]
    made = environment.Trace(
        exceedance_id=EXCEEDANCE, sources=sources, place=TRACED, determination=determination, statement="dye-7 explains it"
    )
    return environment.TraceSourceResponse(trace=made)


ANSWERS: dict[str, Message] = {
    "trace": trace("dye-7"),
    "open_case": environment.OpenCaseResponse(case=environment.Case(case_id=CASE, firm_id=FIRM)),
    "look_up_roads": environment.GetSourceResponse(source=environment.Source(source_id="dye-7", road_ids=["e7", "e8"])),
    "impose_sanction": credit.ImposeSanctionResponse(sanction=credit.Sanction(record_id=RECORD)),
}


class Pollution(Story):
    """The story of one exceedance, in its own words."""

    def __init__(self, value: float = 612, medium: Any = environment.MEDIUM_AIR, exercise: str = "") -> None:
        super().__init__(POLLUTION_SANCTION)
        self.starts_with(
            ExceedanceVerified(
                exceedance_id=EXCEEDANCE, medium=medium, quantity=environment.QUANTITY_SO2, value=value, limit=500,
                district_id="xihu", place=PLACE, station_ids=["s1", "s2"],
            ),
            exercise,
        )  # fmt: skip

    def done(self, *steps: str) -> Self:
        """These departments did what they were asked."""
        for step in steps:
            self.answers(step, ANSWERS.get(step))
        return self

    def acknowledged(self) -> Self:
        return self.hears(NoticeAcknowledged(notice_id="n", incident_id=EXCEEDANCE, district_id="xihu"))

    def reported(self, *, found: bool = True, source: str = "dye-7", inspection: str = "") -> Self:
        key = inspection or self.state.key("order_inspection")
        event = InspectionReported(
            inspection_id=key, exceedance_id=EXCEEDANCE, found=found, finding="the filter is torn", source_id=source
        )
        return self.hears(event)

    def to_the_case(self) -> Self:
        """It is inspected, and something was wrong."""
        self.done("trace", "order_inspection", "tell_district").acknowledged().reported()
        return self.done("end_notice", "open_case")

    def to_the_decision(self) -> Self:
        """It is over, all is sealed, and the firm was heard."""
        self.to_the_case().done("advise_public", "look_up_roads", "divert_lorries", "seal_inspection", "order_measures")
        self.hears(ExceedanceEnded(exceedance_id=EXCEEDANCE)).done("end_advice", "let_lorries_in")
        return self.human_decides("hear_firm", "heard", by="wu").done("seal_hearing")

    def sanctioned(self) -> Self:
        return self.to_the_decision().human_decides("decide", "sanction", by="li").done("record_decision", "impose_sanction")

    def accepted(self, *, rejected: bool = False) -> Self:
        key = self.state.key("order_correction")
        return self.hears(CorrectionAccepted(case_id=CASE, correction_id=key, rejected=rejected))

    def appealed(self) -> Self:
        return self.hears(AppealFiled(case_id=CASE, appeal=credit.Appeal(appeal_id="app-0123456789ab")))

    def appeal_decided(self, *, won: bool) -> Self:
        state = credit.APPEAL_STATE_WON if won else credit.APPEAL_STATE_LOST
        decided = AppealDecided(case_id=CASE, appeal=credit.Appeal(appeal_id="app-0123456789ab", state=state))
        return self.time_passes(1).hears(decided)

    def is_undone(self) -> list[str]:
        """All that is to be taken back is taken back; in which order."""
        order = []
        while self.phase == "undoing":
            (one,) = [name for name in self.out() if name.startswith("undo ")]
            order.append(one.removeprefix("undo "))
            self.undone(order[-1])
        self.must_be("undone")
        return order


# -- the usual way ------------------------------------------------------------------------------------------------------------


def test_the_source_is_traced_inspected_by_its_district_and_becomes_a_case() -> None:
    story = Pollution().must_send("trace")
    made = story.requests
    assert made["trace"].exceedance_id == EXCEEDANCE
    story.done("trace").must_send("order_inspection")
    ordered = made["order_inspection"]
    assert (ordered.source_id, ordered.HasField("place"), ordered.district_id) == ("dye-7", False, "xihu")
    assert ordered.reason == "Air pollution 大气污染: SO2 612 at a limit of 500. dye-7 explains it"
    assert ordered.due_at.seconds == 1_767_225_600 + 5 * DAY_S
    story.done("order_inspection").must_send("tell_district")
    told = made["tell_district"]
    assert (list(told.district_ids), told.acknowledge_within.seconds) == (["xihu"], NOTICE_S)
    assert (told.content.category, told.content.headline) == (hub.ALERT_CATEGORY_ENV, "Inspect 现场检查: source dye-7")
    story.done("tell_district").acknowledged().must_send().reported().must_send("end_notice")
    assert made["end_notice"].round_id == story.keys["tell_district"]
    story.done("end_notice").must_send("open_case")
    assert (made["open_case"].case_id, made["open_case"].source_id) == (CASE, "dye-7")
    story.done("open_case").must_send("advise_public", "look_up_roads", "seal_inspection", "order_measures")
    assert made["order_measures"].source_id == "dye-7"
    assert made["advise_public"].round_id != made["tell_district"].round_id


def test_what_is_sealed_names_the_finding_and_no_person() -> None:
    story = Pollution().to_the_decision()
    inspection, hearing = (json.loads(story.requests[name].body_json) for name in ("seal_inspection", "seal_hearing"))
    assert inspection == {
        "finding": "the filter is torn", "found": True, "inspection": story.keys["order_inspection"],
        "trace": "dye-7 explains it",
    }  # fmt: skip
    assert hearing == {"hearing": "heard", "law": LAWS[environment.MEDIUM_AIR]}


def test_a_sanction_names_case_law_measures_term_and_who_decided() -> None:
    story = Pollution().to_the_decision().human_decides("decide", "sanction", by="li").must_send("record_decision")
    decision = story.requests["record_decision"].decision
    assert (decision.law, list(decision.decided_by)) == (LAWS[environment.MEDIUM_AIR], ["li"])
    story.done("record_decision").must_send("impose_sanction")
    made = story.requests["impose_sanction"]
    assert (made.subject.subject_id, made.subject.kind) == (FIRM, credit.SUBJECT_KIND_FIRM)
    assert (made.case_id, made.law, made.decided_by) == (CASE, LAWS[environment.MEDIUM_AIR], "li")
    assert made.until.seconds == 1_767_225_600 + round(story.now) + SANCTION_S
    assert made.weight == credit.RECORD_WEIGHT_COMMON
    assert set(made.measures) == {
        credit.SANCTION_MEASURE_NO_SUBSIDY, credit.SANCTION_MEASURE_NO_AWARD, credit.SANCTION_MEASURE_INSPECTED_MORE,
    }  # fmt: skip


@pytest.mark.parametrize(("value", "serious"), [(999.9, False), (1000, True)])
def test_from_twice_the_limit_on_it_is_serious(value: float, serious: bool) -> None:
    made = Pollution(value).sanctioned().requests["impose_sanction"]
    assert (made.weight == credit.RECORD_WEIGHT_SERIOUS) == serious
    assert (credit.SANCTION_MEASURE_NO_APPROVAL in made.measures) == serious


@pytest.mark.parametrize("medium", [*LAWS, environment.MEDIUM_SOIL, environment.MEDIUM_UNSPECIFIED])
def test_each_medium_has_its_law(medium: Any) -> None:
    made = Pollution(medium=medium).sanctioned().requests["impose_sanction"]
    assert made.law == LAWS.get(medium, "Environmental Protection Law (环境保护法), article 60")


def test_what_is_corrected_is_repaired_and_the_case_closed_when_nobody_appeals() -> None:
    story = Pollution().sanctioned().must_send("order_correction")
    made = story.requests["order_correction"]
    assert made.what.endswith("has found: the filter is torn") and made.case_id == CASE
    story.done("order_correction").accepted(rejected=True).must_send().accepted()
    story.must_send("lift_measures", "repair_record")
    repair = story.requests["repair_record"]
    assert (repair.subject.subject_id, repair.record_id) == (FIRM, RECORD)
    assert story.requests["lift_measures"].measures_id == story.keys["order_measures"]
    story.done("lift_measures", "repair_record").time_passes(APPEAL_WITHIN_S).must_send("close_case")
    assert story.requests["close_case"].outcome == "sanctioned, corrected"
    story.done("close_case").must_be("completed")


def test_who_is_warned_has_to_correct_and_is_not_recorded() -> None:
    story = Pollution().to_the_decision().human_decides("decide", "warn").done("record_decision").must_send("order_correction")
    story.done("order_correction").accepted().must_send("lift_measures").done("lift_measures").must_send("close_case")
    assert story.requests["close_case"].outcome == "warned, corrected"
    assert "impose_sanction" not in story.requests


def test_a_case_that_is_dismissed_lets_the_line_run_again() -> None:
    story = Pollution().to_the_decision().human_decides("decide", "dismiss").must_send("lift_dismissed")
    story.done("lift_dismissed").must_send("close_case")
    assert story.requests["close_case"].outcome == "dismissed"
    story.done("close_case").must_be("completed")


# -- what does not go as it should --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [trace("dye-7", determination=environment.DETERMINATION_NOT), trace()], ids=["not determined", "no source"]
)
def test_where_no_registered_source_explains_it_the_place_is_inspected_and_a_person_opens_the_case(answer: Message) -> None:
    story = Pollution().answers("trace", answer).must_send("order_inspection")
    ordered = story.requests["order_inspection"]
    assert (ordered.source_id, ordered.place) == ("", TRACED)
    story.done("order_inspection", "tell_district").acknowledged().reported(source="").done("end_notice")
    assert "admit it, and open its case by hand" in story.state.steps["case_by_hand"].question
    story.human_decides("case_by_hand", "opened").must_be("completed")


def test_what_is_traced_weakly_is_inspected_too() -> None:
    weak = trace("dye-7", determination=environment.DETERMINATION_WEAK)
    story = Pollution().answers("trace", weak).must_send("order_inspection")
    assert story.requests["order_inspection"].source_id == "dye-7"


def test_in_calm_air_nobody_can_trace_it_and_the_place_of_the_station_is_inspected() -> None:
    story = Pollution().fails("trace", "FAILED_PRECONDITION", "CALM").must_send("order_inspection")
    ordered = story.requests["order_inspection"]
    assert ordered.place == PLACE and ordered.reason.endswith("it could not be traced")


def test_where_nothing_was_wrong_nothing_follows() -> None:
    story = Pollution().done("trace", "order_inspection", "tell_district").acknowledged()
    story.reported(found=False).done("end_notice").must_be("completed")
    assert "open_case" not in story.requests


def test_a_report_of_another_inspection_is_not_taken_for_this_one() -> None:
    story = Pollution().done("trace", "order_inspection", "tell_district").acknowledged()
    story.reported(inspection="another").must_send().reported().must_send("end_notice")


@pytest.mark.parametrize("escalated", [True, False])
def test_where_the_district_does_not_acknowledge_within_a_day_the_team_of_the_city_is_asked(escalated: bool) -> None:
    story = Pollution().done("trace", "order_inspection", "tell_district")
    if escalated:
        over = NoticeEscalated(notice_id="n", incident_id=EXCEEDANCE, district_id="xihu", alert=True)
        story.time_passes(NOTICE_S).hears(over)
    else:
        story.time_passes(NOTICE_S + HOUR_S)
    question = story.state.steps["send_city_team"]
    assert question.who == "environment_city_team" and "district xihu has not acknowledged" in question.question
    story.human_decides("send_city_team", "goes").reported().must_send("end_notice")


def test_who_has_inspected_has_seen_the_notice() -> None:
    story = Pollution().done("trace", "order_inspection", "tell_district").reported().must_send("end_notice")
    assert "send_city_team" not in story.state.steps


def test_nobody_inspects_and_a_person_is_asked() -> None:
    story = Pollution().done("trace", "order_inspection", "tell_district").acknowledged().time_passes(5 * DAY_S)
    story.must_be("needs human", "inspected: not heard of in time").reported().must_send("end_notice").must_be("running")


def test_a_firm_is_heard_on_what_is_sealed_and_nothing_is_decided_against_one_that_was_not_heard() -> None:
    story = Pollution().to_the_case().done("advise_public", "order_measures")
    assert "hear_firm" not in story.state.steps
    story.time_passes(HOUR_S).must_be("needs human", "seal_inspection").human_skips("seal_inspection")
    with pytest.raises(Refused, match="is not sealed"):
        story.human_decides("hear_firm", "heard")
    story.human_skips("hear_firm").done("seal_hearing")
    for option in ("sanction", "warn"):
        with pytest.raises(Refused, match="the firm was not heard"):
            story.human_decides("decide", option)
    story.human_decides("decide", "dismiss").must_send("lift_dismissed")


def test_nothing_is_decided_against_a_firm_whose_hearing_is_not_sealed() -> None:
    story = Pollution().to_the_case().done("advise_public", "seal_inspection", "order_measures")
    story.human_decides("hear_firm", "heard").fails("seal_hearing").must_be("needs human", "seal_hearing")
    story.human_skips("seal_hearing")
    with pytest.raises(Refused, match="the hearing is not sealed"):
        story.human_decides("decide", "warn")
    story.human_decides("decide", "dismiss").must_send("lift_dismissed")


def test_only_the_bureau_decides() -> None:
    story = Pollution().to_the_decision()
    with pytest.raises(Forbidden):
        story.human_decides("decide", "sanction", may=lambda who: who == "incident_command")
    story.human_decides("decide", "sanction", may=lambda who: who == "environment").must_send("record_decision")


def test_where_measures_cannot_be_ordered_the_case_goes_on() -> None:
    story = Pollution().to_the_case().fails("order_measures", "FAILED_PRECONDITION").fails("advise_public", "NOT_FOUND")
    story.done("seal_inspection").human_decides("hear_firm", "waived").must_send("seal_hearing")


def test_in_a_drill_districts_are_told_that_it_is_one() -> None:
    story = Pollution(exercise="smog-2026").to_the_case()
    told = [story.requests[step].content.status for step in ("tell_district", "advise_public")]
    assert told == [hub.ALERT_STATUS_EXERCISE] * 2


def test_lorries_are_led_around_the_roads_of_the_source_until_the_limit_is_not_exceeded_any_more() -> None:
    story = Pollution().to_the_case().done("look_up_roads").must_send("divert_lorries")
    closure = story.requests["divert_lorries"]
    assert (list(closure.edge_ids), closure.lorries_only, closure.incident_id) == (["e7", "e8"], True, EXCEEDANCE)
    assert story.requests["look_up_roads"].source_id == "dye-7"
    story.done("divert_lorries", "advise_public").hears(ExceedanceEnded(exceedance_id=EXCEEDANCE))
    story.must_send("end_advice", "let_lorries_in")
    assert story.requests["let_lorries_in"].closure_id == closure.closure_id


def test_a_road_that_stands_twice_is_closed_once() -> None:
    twice = environment.GetSourceResponse(source=environment.Source(source_id="dye-7", road_ids=["e7", "e7"]))
    story = Pollution().to_the_case().answers("look_up_roads", twice)
    assert list(story.requests["divert_lorries"].edge_ids) == ["e7"]


@pytest.mark.parametrize("known", [True, False])
def test_where_no_road_of_the_source_is_known_no_lorry_is_led_around_and_the_case_goes_on(known: bool) -> None:
    story = Pollution().to_the_case().done("advise_public")
    if known:
        story.done("look_up_roads").fails("divert_lorries", "FAILED_PRECONDITION", "UNKNOWN_ROAD")
    else:
        story.answers("look_up_roads", environment.GetSourceResponse(source=environment.Source(source_id="dye-7")))
        assert "divert_lorries" not in story.requests
    story.hears(ExceedanceEnded(exceedance_id=EXCEEDANCE)).done("end_advice")
    assert ("let_lorries_in" in story.requests) == known


# -- appeals ------------------------------------------------------------------------------------------------------------------

# What was sent before the correction was ordered, the newest first.
ALL = [
    "impose_sanction", "record_decision", "divert_lorries", "order_measures", "advise_public", "open_case", "tell_district",
    "order_inspection",
]  # fmt: skip


@pytest.mark.parametrize("corrected", [False, True])
def test_an_appeal_that_is_won_takes_all_back_in_reverse_also_what_was_repaired(corrected: bool) -> None:
    story = Pollution().sanctioned().done("order_correction")
    keys = dict(story.keys)
    if corrected:
        story.accepted().done("lift_measures", "repair_record")
    story.appealed().must_send().appeal_decided(won=True).must_send("undo order_correction")
    assert story.is_undone() == ["order_correction", *ALL]
    made = story.requests
    revoked = made["undo impose_sanction"]
    assert (revoked.subject.subject_id, revoked.sanction_id) == (FIRM, keys["impose_sanction"])
    assert made["undo record_decision"].decision_id == keys["record_decision"]
    reasons = {request.reason for name, request in made.items() if name.startswith("undo ")}
    assert reasons == {"appeal app-0123456789ab was won"}


def test_an_appeal_that_is_won_before_anybody_heard_that_it_was_filed_undoes_too() -> None:
    story = Pollution().sanctioned().appeal_decided(won=True)
    # What may have been carried out is taken back as well.
    assert story.is_undone() == ["order_correction", *ALL]


def test_an_appeal_that_is_lost_leaves_all_as_it_is() -> None:
    story = Pollution().sanctioned().done("order_correction").accepted().done("lift_measures", "repair_record")
    story.appealed().must_send().appeal_decided(won=False).must_send("close_case")


def test_until_an_appeal_is_decided_the_case_stays_open_and_after_a_year_a_person_is_asked() -> None:
    story = Pollution().sanctioned().done("order_correction").accepted().done("lift_measures", "repair_record")
    story.appealed().time_passes(APPEAL_WITHIN_S + DAY_S).must_be("running")
    story.time_passes(365 * DAY_S).must_be("needs human", "appeal_decided").appeal_decided(won=True)
    assert story.is_undone() == ["order_correction", *ALL]


def test_appeals_of_other_cases_are_not_heard() -> None:
    other = AppealDecided(case_id="exc-00000000000a/open_case/1", appeal=credit.Appeal(state=credit.APPEAL_STATE_WON))
    Pollution().sanctioned().hears(other).must_be("running")


# -- readings that are corrected ----------------------------------------------------------------------------------------------


def retracted(story: Pollution, *, verified: bool = True) -> Pollution:
    return story.time_passes(1).hears(
        ExceedanceRetracted(exceedance_id=EXCEEDANCE, verified=verified, reason="s2 read mg for µg")
    )


def test_corrected_readings_call_the_inspection_off_until_something_was_found() -> None:
    story = retracted(Pollution().done("trace", "order_inspection", "tell_district"))
    assert story.is_undone() == ["tell_district", "order_inspection"]
    assert story.requests["undo order_inspection"].reason == "no limit was exceeded: s2 read mg for µg"
    retracted(Pollution().done("trace", "order_inspection"), verified=False).must_be("running")
    # What inspectors have found holds by itself: only the advice to the public ends, and lorries drive in again.
    later = Pollution().to_the_case().done("advise_public", "look_up_roads", "divert_lorries")
    retracted(later).must_send("end_advice", "let_lorries_in").must_be("running")
    assert later.requests["end_advice"].round_id == later.keys["advise_public"]


def test_readings_that_were_corrected_before_anybody_acted_lead_to_nothing() -> None:
    early = ExceedanceRetracted(exceedance_id=EXCEEDANCE, verified=True, reason="s2 read mg for µg")
    Pollution().hears(early, at=-600).done("trace").must_send().must_be("completed")


# -- killed and undone at every step ------------------------------------------------------------------------------------------

WHOLE: list[Callable[[Pollution], Any]] = [
    lambda s: s.done("trace"),
    lambda s: s.done("order_inspection"),
    lambda s: s.done("tell_district"),
    lambda s: s.acknowledged(),
    lambda s: s.reported(),
    lambda s: s.done("end_notice"),
    lambda s: s.done("open_case"),
    lambda s: s.done("advise_public"),
    lambda s: s.done("look_up_roads"),
    lambda s: s.done("divert_lorries"),
    lambda s: s.done("seal_inspection"),
    lambda s: s.done("order_measures"),
    lambda s: s.hears(ExceedanceEnded(exceedance_id=EXCEEDANCE)),
    lambda s: s.done("end_advice"),
    lambda s: s.done("let_lorries_in"),
    lambda s: s.human_decides("hear_firm", "heard", by="wu"),
    lambda s: s.done("seal_hearing"),
    lambda s: s.human_decides("decide", "sanction", by="li"),
    lambda s: s.done("record_decision"),
    lambda s: s.done("impose_sanction"),
    lambda s: s.done("order_correction"),
    lambda s: s.accepted(),
    lambda s: s.done("lift_measures"),
    lambda s: s.done("repair_record"),
    lambda s: s.appealed(),
    lambda s: s.appeal_decided(won=False),
    lambda s: s.done("close_case"),
]


def test_killed_before_each_of_its_steps_it_sends_the_same_again_and_comes_to_the_same_end() -> None:
    story = Pollution()
    for happens in WHOLE:
        out = story.out()
        story.crashes()
        assert story.out() == out
        happens(story)
    story.must_be("completed")


@pytest.mark.parametrize("after", range(len(WHOLE)))
def test_undone_after_each_of_its_steps_nothing_stays(after: int) -> None:
    story = Pollution()
    for happens in WHOLE[:after]:
        happens(story)
    undoable = {leaf.name for leaf in POLLUTION_SANCTION.leaves() if getattr(leaf, "undo", None) is not None}
    sent = [one.name for one in sorted(story.state.steps.values(), key=lambda one: one.number) if one.name in undoable]
    stuck = next((one.step for one in tries_out(story.state)), "") or next(
        (name for name, step in story.state.steps.items() if step.status in ("waiting", "asked")), ""
    )
    story.human_gives_up(stuck)
    assert sorted(story.is_undone()) == sorted(sent)
