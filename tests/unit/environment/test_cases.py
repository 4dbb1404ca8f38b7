"""Inspections and cases: each step once, each undo also before its step, and evidence that shows every change."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import reduce
from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.client import evidence
from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused
from citybrain.mesh.testing import Running, given
from citybrain.services.environment import cases, sealed_chain
from tests.unit.environment.conftest import moment, now, reading, send, station
from tests.unit.environment.test_sources import admit, kinds, start

SO2 = pb.QUANTITY_SO2
LATER = moment(1_800_000_000)
DECISION = pb.Decision(decision_id="d1", law="大气污染防治法 99", text="a fine", fine_yuan=100_000, decided_by=["lead"])


@pytest.fixture
def bureau(environment: Running) -> Running:
    """A source at work, and an exceedance beside it that two sensors have verified."""
    admit(environment)
    start(environment)
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=station("b1", 120.151)))
    at = now(environment)
    send(environment, reading(SO2, 700, at), reading(SO2, 800, at, "b1"))
    environment.advance(5)
    environment.rest()
    return environment


def exceedance_id(bureau: Running) -> str:
    return str(bureau.events(ev.ExceedanceVerified)[0].data.exceedance_id)  # type: ignore[attr-defined]


def order(bureau: Running, key: str = "i1", **more: Any) -> pb.Inspection:
    told: dict[str, Any] = {"source_id": "s1", "reason": "too much SO2", "due_at": LATER, **more}
    inspection: pb.Inspection = bureau.fire("OrderInspection", pb.OrderInspectionRequest(inspection_id=key, **told)).inspection
    return inspection


def report(bureau: Running, key: str = "i1", found: bool = True, finding: str = "a bypass", **how: Any) -> pb.Inspection:
    asked = pb.ReportInspectionRequest(inspection_id=key, found=found, finding=finding, reported_by=how.pop("reported_by", ""))
    inspection: pb.Inspection = bureau.fire("ReportInspection", asked, **how).inspection
    return inspection


def open_case(bureau: Running, key: str = "c1", **more: Any) -> pb.Case:
    asked = pb.OpenCaseRequest(case_id=key, source_id="s1", reason="a bypass", **more)
    case: pb.Case = bureau.fire("OpenCase", asked).case
    return case


def act(bureau: Running, method: str, **fields: Any) -> pb.Case:
    """A step of case c1."""
    case: pb.Case = bureau.fire(method, getattr(pb, f"{method}Request")(case_id="c1", **fields)).case
    return case


def decide(bureau: Running) -> pb.Case:
    return act(bureau, "RecordDecision", decision=DECISION)


def correct(bureau: Running, key: str = "k1") -> pb.Case:
    return act(bureau, "OrderCorrection", correction_id=key, what="close the bypass", until=LATER)


def exported(bureau: Running, key: str = "c1") -> list[str]:
    lines: list[str] = []
    token = ""
    while True:
        asked = pb.GetCaseEvidenceRequest(case_id=key, page_size=2, page_token=token)
        answer = bureau.fire("GetCaseEvidence", asked)
        lines += answer.lines
        if not (token := answer.next_page_token):
            return lines


# -- inspections --------------------------------------------------------------------------------------------------------------


def test_an_inspection_is_ordered_once_and_reported_once(bureau: Running) -> None:
    ordered = order(bureau, exceedance_id=exceedance_id(bureau))
    assert order(bureau, exceedance_id=exceedance_id(bureau)) == ordered
    assert (ordered.state, ordered.district_id, ordered.place.longitude) == (pb.INSPECTION_STATE_ORDERED, "xihu", 120.15)
    with pytest.raises(AlreadyDifferent):
        order(bureau, reason="another one")
    told = report(bureau, caller="li")
    assert report(bureau, caller="wang") == told
    assert (told.state, told.found, told.finding, told.reported_by) == (pb.INSPECTION_STATE_REPORTED, True, "a bypass", "li")
    with pytest.raises(AlreadyDifferent):
        report(bureau, found=False)
    assert bureau.fire("GetInspection", pb.GetInspectionRequest(inspection_id="i1")).inspection == told
    (event,) = bureau.events(ev.InspectionReported)
    assert (event.data.source_id, event.stored.correlation_id) == ("s1", exceedance_id(bureau))  # type: ignore[attr-defined]


def test_a_service_tells_who_reported_and_nobody_else_may_say_so_of_another(bureau: Running) -> None:
    order(bureau)
    with pytest.raises(BadRequest, match="who calls is who reports"):
        report(bureau, caller="li", reported_by="wang")
    assert report(bureau, caller="zhang", actor="sagas", reported_by="wang").reported_by == "wang"


def test_a_withdrawal_that_overtakes_its_order_bars_it_and_a_reported_inspection_stays(bureau: Running) -> None:
    def withdraw(key: str) -> None:
        bureau.fire("WithdrawInspection", pb.WithdrawInspectionRequest(inspection_id=key, reason="undone"))

    withdraw("i1")
    withdraw("i1")
    with pytest.raises(Refused, match="i1 was withdrawn"):
        order(bureau)
    order(bureau, "i2")
    withdraw("i2")
    with pytest.raises(Refused, match="i2 was withdrawn: nobody asks for it"):
        report(bureau, "i2")
    order(bureau, "i3")
    report(bureau, "i3")
    withdraw("i3")
    shown = bureau.fire("GetInspection", pb.GetInspectionRequest(inspection_id="i3")).inspection
    assert shown.state == pb.INSPECTION_STATE_REPORTED
    assert kinds(bureau, ev.InspectionWithdrawn) == ["InspectionWithdrawn"] * 2
    with pytest.raises(NotFound):
        report(bureau, "i9")


def test_an_inspection_needs_a_source_or_a_place_in_the_city_with_its_district(bureau: Running) -> None:
    with pytest.raises(BadRequest, match=r"place: is missing.*district_id: is missing"):
        order(bureau, source_id="")
    with pytest.raises(BadRequest, match="outside the city"):
        order(bureau, source_id="", place=pb.Place(longitude=100, latitude=30), district_id="xihu")
    with pytest.raises(NotFound, match="no source s9"):
        order(bureau, source_id="s9")
    place = pb.Place(longitude=120.2, latitude=30.2)
    assert order(bureau, source_id="", place=place, district_id="gongshu").place == place


# -- cases --------------------------------------------------------------------------------------------------------------------


def test_a_case_goes_from_opening_to_its_end_and_each_step_again_changes_nothing(bureau: Running) -> None:
    steps: list[tuple[Callable[[], pb.Case], pb.CaseState]] = [
        (lambda: open_case(bureau, exceedance_id=exceedance_id(bureau)), pb.CASE_STATE_OPEN),
        (lambda: decide(bureau), pb.CASE_STATE_DECIDED),
        (lambda: correct(bureau), pb.CASE_STATE_CORRECTION_ORDERED),
        (lambda: act(bureau, "ReportCorrection", correction_id="k1", report="closed"), pb.CASE_STATE_CORRECTION_REPORTED),
        (lambda: act(bureau, "AcceptCorrection", correction_id="k1", finding="it is closed"), pb.CASE_STATE_CORRECTED),
        (lambda: act(bureau, "CloseCase", outcome="paid"), pb.CASE_STATE_CLOSED),
    ]
    for step, state in steps:
        first = step()
        assert (first.state, step()) == (state, first)
    assert bureau.fire("GetCase", pb.GetCaseRequest(case_id="c1")).case == first
    source = bureau.fire("GetSource", pb.GetSourceRequest(source_id="s1")).source
    assert (source.state, first.firm_id) == (pb.SOURCE_STATE_CORRECTED, source.firm.firm_id)
    assert len(bureau.events(ev.SourceCorrected)) == 1
    told = [json.loads(line)["kind"] for line in exported(bureau)]
    assert told == ["readings", "decision", "correction", "correction", "correction"]
    assert {event.stored.correlation_id for event in bureau.events(ev.DecisionRecorded, ev.CaseClosed)} == {
        exceedance_id(bureau)
    }
    with pytest.raises(Refused, match="is closed: paid"):
        act(bureau, "RecordDecision", decision=pb.Decision(decision_id="d2", law="x", text="y"))


def test_a_correction_that_is_not_right_is_reported_again(bureau: Running) -> None:
    open_case(bureau)
    decide(bureau)
    correct(bureau)
    with pytest.raises(Refused, match="has not reported"):
        act(bureau, "AcceptCorrection", correction_id="k1", finding="x")
    act(bureau, "ReportCorrection", correction_id="k1", report="closed")
    again = act(bureau, "AcceptCorrection", correction_id="k1", finding="it leaks", rejected=True)
    assert again.state == pb.CASE_STATE_CORRECTION_ORDERED
    with pytest.raises(Refused, match="accept or withdraw it first"):
        act(bureau, "CloseCase", outcome="paid")
    assert act(bureau, "ReportCorrection", correction_id="k1", report="closed now").state == pb.CASE_STATE_CORRECTION_REPORTED
    with pytest.raises(Refused, match="k9 is not ordered"):
        act(bureau, "ReportCorrection", correction_id="k9", report="closed")
    assert not bureau.events(ev.SourceCorrected)


def test_a_decision_that_is_revoked_takes_the_correction_with_it_and_stays_in_the_evidence(bureau: Running) -> None:
    open_case(bureau)
    with pytest.raises(Refused, match="no decision stands"):
        correct(bureau)
    decide(bureau)
    with pytest.raises(Refused, match="d1 stands: revoke it first"):
        act(bureau, "RecordDecision", decision=pb.Decision(decision_id="d2", law="x", text="y"))
    correct(bureau)
    for _ in range(2):
        after = act(bureau, "RevokeDecision", decision_id="d1", reason="overturned in court")
        assert (after.state, after.decision.revoked, after.decision.revoked_because) == (
            pb.CASE_STATE_OPEN, True, "overturned in court"
        )  # fmt: skip
        assert after.correction_id == ""
    assert kinds(bureau, ev.DecisionRevoked, ev.CorrectionWithdrawn) == ["DecisionRevoked", "CorrectionWithdrawn"]
    assert len(exported(bureau)) == 4
    with pytest.raises(Refused, match="d1 was revoked"):
        decide(bureau)
    assert (
        act(bureau, "RecordDecision", decision=pb.Decision(decision_id="d2", law="x", text="y")).state == pb.CASE_STATE_DECIDED
    )
    with pytest.raises(Refused, match="k1 was withdrawn"):
        correct(bureau)


@pytest.mark.parametrize(
    ("undo", "fields", "step", "reason"),
    [
        ("WithdrawCase", {}, open_case, "CASE_WITHDRAWN"),
        ("RevokeDecision", {"decision_id": "d1", "reason": "undone"}, decide, "DECISION_REVOKED"),
        ("WithdrawCorrection", {"correction_id": "k1"}, correct, "CORRECTION_WITHDRAWN"),
    ],
    ids=["case", "decision", "correction"],
)
def test_an_undo_that_overtakes_its_step_bars_it(
    bureau: Running, undo: str, fields: dict[str, Any], step: Callable[[Running], pb.Case], reason: str
) -> None:
    if step is not open_case:
        # Also where the case is not there yet.
        bureau.fire(undo, getattr(pb, f"{undo}Request")(case_id="c1", **fields))
        open_case(bureau)
    else:
        for _ in range(2):
            bureau.fire(undo, pb.WithdrawCaseRequest(case_id="c1"))
    with pytest.raises(Refused) as caught:
        step(bureau)
    assert caught.value.reason == reason


def test_each_undo_undoes_its_step(bureau: Running) -> None:
    open_case(bureau)
    decide(bureau)
    correct(bureau)
    after = act(bureau, "WithdrawCorrection", correction_id="k1", reason="undone")
    assert (after.state, after.correction_id) == (pb.CASE_STATE_DECIDED, "")
    bureau.fire("WithdrawCase", pb.WithdrawCaseRequest(case_id="c1", reason="undone"))
    shown = bureau.fire("GetCase", pb.GetCaseRequest(case_id="c1")).case
    # The decision goes with its case.
    assert (shown.state, shown.records, shown.decision.revoked_because) == (pb.CASE_STATE_WITHDRAWN, 4, "undone")
    assert kinds(bureau, ev.DecisionRevoked, ev.CaseWithdrawn) == ["DecisionRevoked", "CaseWithdrawn"]
    with pytest.raises(Refused, match="c1 was withdrawn"):
        act(bureau, "OrderCorrection", correction_id="k2", what="x", until=LATER)


def test_a_case_is_about_one_thing_and_needs_its_source_and_exceedance(bureau: Running) -> None:
    open_case(bureau)
    with pytest.raises(AlreadyDifferent):
        open_case(bureau, exceedance_id=exceedance_id(bureau))
    with pytest.raises(NotFound, match="no exceedance"):
        open_case(bureau, "c2", exceedance_id="exc-000000000000")
    with pytest.raises(NotFound, match="no case c9"):
        bureau.fire("GetCase", pb.GetCaseRequest(case_id="c9"))


def test_a_closed_case_is_not_withdrawn_and_one_correction_is_ordered_at_a_time(bureau: Running) -> None:
    open_case(bureau)
    with pytest.raises(BadRequest, match="RevokeDecision revokes one"):
        act(bureau, "RecordDecision", decision=pb.Decision(decision_id="d1", law="x", text="y", revoked=True))
    decide(bureau)
    correct(bureau)
    with pytest.raises(Refused, match="k1 is ordered: withdraw it first"):
        correct(bureau, "k2")
    with pytest.raises(AlreadyDifferent):
        act(bureau, "OrderCorrection", correction_id="k1", what="something else", until=LATER)
    act(bureau, "WithdrawCorrection", correction_id="k1")
    act(bureau, "CloseCase", outcome="paid")
    bureau.fire("WithdrawCase", pb.WithdrawCaseRequest(case_id="c1"))
    assert bureau.fire("GetCase", pb.GetCaseRequest(case_id="c1")).case.state == pb.CASE_STATE_CLOSED
    assert not bureau.events(ev.CaseWithdrawn)


# -- evidence -----------------------------------------------------------------------------------------------------------------


def add(bureau: Running, key: str, body: str, kind: pb.EvidenceKind = pb.EVIDENCE_KIND_HEARING) -> Any:
    return bureau.fire("AddEvidence", pb.AddEvidenceRequest(case_id="c1", record_id=key, kind=kind, body_json=body))


def test_evidence_begins_with_what_was_measured_and_an_outsider_verifies_it_with_the_lines_alone(bureau: Running) -> None:
    bureau.advance(400)
    bureau.rest()
    opened = open_case(bureau, exceedance_id=exceedance_id(bureau))
    added = add(bureau, "h1", '{"b": [1.5, "听证"], "a": null}')
    assert (opened.records, added.n) == (2, 3)
    assert add(bureau, "h1", '{"a":null,"b":[1.5,"听证"]}').n == 3
    lines = exported(bureau)
    told = [json.loads(line) for line in lines]
    assert [(one["n"], one["kind"]) for one in told] == [(1, "readings"), (2, "readings"), (3, "hearing")]
    assert told[0]["body"]["exceedanceId"] == exceedance_id(bureau)
    assert sorted(told[1]["body"]["surroundings"][0]["means"]) == [["a1", "SO2", 700.0, 1], ["b1", "SO2", 800.0, 1]]
    assert told[2]["body"] == {"a": None, "b": [1.5, "听证"]}
    sound = evidence.verify([f"{line}\n".encode() for line in lines], added.seal)
    assert sound.sound and sound.head == added.seal and sound.records == 3
    (*_, event) = bureau.events(ev.EvidenceSealed)
    assert event.data.seal == added.seal  # type: ignore[attr-defined]


@pytest.mark.parametrize("damage", ["changed", "removed", "moved", "cut off"])
def test_every_change_of_the_evidence_shows(bureau: Running, damage: str) -> None:
    open_case(bureau)
    seal = [add(bureau, f"h{n}", f'{{"value": {n}}}').seal for n in range(3)][-1]
    lines = exported(bureau)
    match damage:
        case "changed":
            lines[1] = lines[1].replace('"value":1', '"value":9')
        case "removed":
            del lines[1]
        case "moved":
            lines[1], lines[2] = lines[2], lines[1]
        case "cut off":
            del lines[2]
    assert not evidence.verify([f"{line}\n".encode() for line in lines], seal).sound


def test_evidence_is_an_object_of_json_and_one_id_says_one_thing(bureau: Running) -> None:
    open_case(bureau)
    wrong = {
        "{": "is no JSON",
        "[1]": "is no object",
        '{"a": NaN}': "NaN is no number of JSON",
        # More than a float holds, half a letter, deeper than anybody reads.
        '{"a": 1e400}': "is no JSON",
        '{"a": "\\ud800"}': "is no JSON",
        '{"a": ' + "[" * 7000 + "]" * 7000 + "}": "is too deep",
    }
    for body, told in wrong.items():
        with pytest.raises(BadRequest, match=told):
            add(bureau, "h1", body)
    add(bureau, "h1", '{"a": 1}')
    with pytest.raises(AlreadyDifferent):
        add(bureau, "h1", '{"a": 2}')


def test_the_words_of_evidence_are_shown_from_restricted_on(bureau: Running) -> None:
    open_case(bureau)
    add(bureau, "h1", '{"a": 1}')
    asked = pb.GetCaseEvidenceRequest(case_id="c1")
    scopes = ["environment.read"]
    assert len(bureau.fire("GetCaseEvidence", asked, scopes=scopes, clearance="RESTRICTED").lines) == 1
    shown = bureau.fire("GetCaseEvidence", asked, scopes=scopes, clearance="INTERNAL")
    assert (list(shown.lines), len(shown.head)) == ([], 64)


def test_evidence_has_so_many_records_and_no_more() -> None:
    opened = ev.CaseOpened(case_id="c1")
    body: dict[str, Any] = {"body": "{}", "previous": sealed_chain.BEGINNING, "seal": sealed_chain.BEGINNING}
    full = [ev.EvidenceSealed(record_id=f"r{n}", n=n, kind=pb.EVIDENCE_KIND_NOTE, **body) for n in range(1, cases.MOST_RECORDS)]
    more = pb.AddEvidenceRequest(case_id="c1", record_id="last", kind=pb.EVIDENCE_KIND_NOTE, body_json="{}")
    again = pb.AddEvidenceRequest(case_id="c1", record_id="too-many", kind=pb.EVIDENCE_KIND_NOTE, body_json="{}")
    last = cases.add_evidence(reduce(cases.evolve, [opened, *full], cases.File()), more, moment(0))
    assert len(last) == 1
    given(cases.evolve, cases.File(), opened, *full, *last).when(cases.add_evidence, again, moment(0)).then_refused(
        Refused, "EVIDENCE_FULL"
    )
    # Whoever has to decide or to undo is not held up by it.
    file = reduce(cases.evolve, [opened, *full, *last], cases.File())
    decided = cases.decide(file, pb.RecordDecisionRequest(case_id="c1", decision=DECISION), moment(0))
    file = reduce(cases.evolve, decided, file)
    undone = cases.revoke(file, pb.RevokeDecisionRequest(case_id="c1", decision_id="d1", reason="undone"), moment(0))
    assert [type(one).__name__ for one in undone] == ["DecisionRevoked", "EvidenceSealed"]


def test_what_was_put_right_stays_put_right_when_another_decision_follows(bureau: Running) -> None:
    open_case(bureau)
    decide(bureau)
    correct(bureau)
    act(bureau, "ReportCorrection", correction_id="k1", report="closed")
    act(bureau, "AcceptCorrection", correction_id="k1", finding="it is closed")
    act(bureau, "RevokeDecision", decision_id="d1", reason="overturned in court")
    act(bureau, "RecordDecision", decision=pb.Decision(decision_id="d2", law="x", text="y"))
    # It has happened: neither its firm nor an undo changes that.
    assert act(bureau, "ReportCorrection", correction_id="k1", report="closed again").state == pb.CASE_STATE_DECIDED
    assert act(bureau, "AcceptCorrection", correction_id="k1", finding="x").state == pb.CASE_STATE_DECIDED
    assert act(bureau, "WithdrawCorrection", correction_id="k1", reason="undone").correction_id == "k1"
    assert correct(bureau, "k2").correction_id == "k2"
    assert kinds(bureau, ev.CorrectionReported, ev.CorrectionWithdrawn) == ["CorrectionReported"]


def test_sm3_is_that_of_the_standard() -> None:
    # GB/T 32905-2016, annex A.1.
    assert sealed_chain.sm3(b"abc") == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    assert sealed_chain.canonical({"b": "é", "a": [1, 2.5]}) == '{"a":[1,2.5],"b":"é"}'
