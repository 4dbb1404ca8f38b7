"""Firms: credit and risk by the scorecard, their record, and who is to be inspected next."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound
from citybrain.mesh.testing import Running
from citybrain.services.environment import firms
from citybrain.services.environment.scorecard import VERSION, Facts, Standing, standing
from tests.unit.environment.conftest import DAY, now, reading, send, station
from tests.unit.environment.test_cases import LATER, act, decide, open_case, order, report
from tests.unit.environment.test_sources import OTHER, USCC, admit, close, start

SO2 = pb.QUANTITY_SO2

# -- the scorecard ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "score", "credit", "risk"),
    [
        (Facts(), 100, "GOOD", "LOW"),
        (Facts(clean=1), 100, "TRUSTED", "LOW"),
        # Bounds belong to the better grade: 80 is good, 60 is warned.
        (Facts(exceeded=5), 80, "GOOD", "LOW"),
        (Facts(exceeded=5, kg_a_year=10_000), 80, "GOOD", "MIDDLE"),
        (Facts(findings=1, exceeded=4), 78, "WARNED", "MIDDLE"),
        (Facts(exceeded=10, kg_a_year=100_000), 60, "WARNED", "HIGH"),
        (Facts(exceeded=10, kg_a_year=99_999), 60, "WARNED", "MIDDLE"),
        (Facts(exceeded=11), 56, "BAD", "MIDDLE"),
        (Facts(exceeded=11, kg_a_year=9_999), 56, "BAD", "MIDDLE"),
        (Facts(exceeded=11, kg_a_year=10_000), 56, "BAD", "HIGH"),
        (Facts(uncorrected=1), 75, "WARNED", "HIGH"),
        (Facts(corrected=1, clean=2), 92, "GOOD", "LOW"),
        (Facts(rejected=1, clean=1), 95, "TRUSTED", "LOW"),
        (Facts(uncorrected=9), 0, "BAD", "HIGH"),
    ],
)
def test_points_give_score_credit_and_risk(facts: Facts, score: int, credit: str, risk: str) -> None:
    found = standing(facts)
    assert (found.score, found.credit, found.risk) == (score, credit, risk)
    assert round(100 + sum(one.points for one in found.factors)) == score or score == 0


@given(st.lists(st.integers(0, 6), min_size=5, max_size=5), st.integers(0, 4))
@settings(max_examples=40)
def test_nothing_bad_makes_a_score_better(counts: list[int], which: int) -> None:
    names = ("uncorrected", "corrected", "findings", "rejected", "exceeded")
    facts = dict(zip(names, counts, strict=True))
    worse = {**facts, names[which]: facts[names[which]] + 1}
    assert standing(Facts(**worse)).score <= standing(Facts(**facts)).score


# -- firms --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def firm(environment: Running) -> str:
    """A firm with one source at work."""
    firm_id = admit(environment).firm.firm_id
    start(environment)
    environment.rest()
    return firm_id


def record(environment: Running, firm_id: str, **more: Any) -> Any:
    environment.rest()
    return environment.fire("GetFirmRecord", pb.GetFirmRecordRequest(firm_id=firm_id), **more)


def changes(environment: Running) -> list[tuple[str, str, str]]:
    environment.rest()
    found: list[Any] = [event.data for event in environment.events(ev.EnvironmentalCreditChanged)]
    return [
        (pb.EnvironmentalCredit.Name(one.new_credit)[21:], pb.RiskGrade.Name(one.risk)[11:], one.because) for one in found
    ]  # fmt: skip


def due(environment: Running, **question: Any) -> list[pb.InspectionDue]:
    environment.rest()
    return list(environment.fire("ListInspectionsDue", pb.ListInspectionsDueRequest(**question)).firms)


def test_credit_falls_with_a_decision_rises_with_its_correction_and_comes_back_when_it_is_revoked(
    environment: Running, firm: str
) -> None:
    open_case(environment)
    decide(environment)
    expected = [("GOOD", "LOW", "source_admitted s1"), ("WARNED", "HIGH", "decided c1")]
    assert changes(environment) == expected
    act(environment, "OrderCorrection", correction_id="k1", what="x", until=LATER)
    act(environment, "ReportCorrection", correction_id="k1", report="done")
    act(environment, "AcceptCorrection", correction_id="k1", finding="right")
    expected.append(("GOOD", "LOW", "corrected c1"))
    assert changes(environment) == expected
    assert record(environment, firm).standing.score == 92
    act(environment, "RevokeDecision", decision_id="d1", reason="overturned")
    assert changes(environment) == expected
    assert record(environment, firm).standing.score == 100
    (first, *_) = environment.events(ev.EnvironmentalCreditChanged)
    data: Any = first.data
    assert (data.firm_id, data.old_credit, data.scorecard, data.score) == (firm, 0, VERSION, 100)
    assert data.factors[0].name == "decisions not put right"


def test_what_was_not_put_right_counts_no_more_when_the_decision_is_revoked(environment: Running, firm: str) -> None:
    open_case(environment)
    decide(environment)
    act(environment, "OrderCorrection", correction_id="k1", what="x", until=LATER)
    for _ in range(2):
        act(environment, "ReportCorrection", correction_id="k1", report="done")
        act(environment, "AcceptCorrection", correction_id="k1", finding="it leaks", rejected=True)
    assert record(environment, firm).standing.score == 65
    environment.fire("WithdrawCase", pb.WithdrawCaseRequest(case_id="c1", reason="the wrong firm"))
    assert record(environment, firm).standing.score == 100


def test_a_decision_that_is_barred_takes_none_away_that_stands(environment: Running, firm: str) -> None:
    open_case(environment)
    act(environment, "RevokeDecision", decision_id="d8", reason="undone")
    decide(environment)
    act(environment, "RevokeDecision", decision_id="d9", reason="undone")
    whole = record(environment, firm)
    assert whole.standing.score == 75
    assert pb.FIRM_ENTRY_KIND_REVOKED not in {one.kind for one in whole.entries}


def test_the_record_of_a_firm_has_all_that_happened_newest_first_in_pages_and_its_sources(
    environment: Running, firm: str
) -> None:
    order(environment)
    report(environment)
    order(environment, "i2")
    report(environment, "i2", found=False, finding="nothing")
    open_case(environment)
    decide(environment)
    environment.rest()
    whole = record(environment, firm)
    kinds = [pb.FirmEntryKind.Name(one.kind)[16:] for one in whole.entries]
    assert sorted(kinds) == ["CLEAN", "DECIDED", "FOUND", "SOURCE_ADMITTED"]
    assert kinds[-1] == "SOURCE_ADMITTED" and {one.about for one in whole.entries} == {"c1", "i2", "i1", "s1"}
    assert [one.source_id for one in whole.sources] == ["s1"]
    assert (whole.firm.uscc, whole.firm.name, whole.standing.score) == (USCC, "某某化工", 69)
    first = environment.fire("GetFirmRecord", pb.GetFirmRecordRequest(firm_id=firm, page_size=3))
    again = pb.GetFirmRecordRequest(firm_id=firm, page_size=3, page_token=first.next_page_token)
    rest = environment.fire("GetFirmRecord", again)
    assert [*first.entries, *rest.entries] == list(whole.entries) and not rest.sources
    shown = record(environment, firm, scopes=["environment.read"], clearance="RESTRICTED")
    assert shown.firm.uscc == ""


def test_a_firm_is_found_by_its_number_and_asking_makes_none_known(environment: Running, firm: str) -> None:
    def find(number: str) -> str:
        return str(environment.fire("FindFirm", pb.FindFirmRequest(uscc=number)).firm_id)

    assert find(USCC) == find(USCC.lower()) == firm
    for _ in range(2):
        with pytest.raises(NotFound):
            find(OTHER)
    with pytest.raises(BadRequest, match="check digit"):
        find(USCC[:17] + "C")
    with pytest.raises(NotFound, match="nothing is known"):
        record(environment, "per-unknown")


def test_an_exceedance_of_the_permit_stands_in_the_record_until_it_is_retracted(environment: Running, firm: str) -> None:
    stack = station("k1", medium=pb.MEDIUM_STACK, quantities=[SO2], source_id="s1")
    stack.sensors.append(pb.Sensor(sensor_id="so2-b", quantity=SO2, interval_s=60))
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=stack))
    at = now(environment)
    told: dict[str, Any] = {"station_id": "k1", "unit": pb.UNIT_MG_M3}
    send(environment, reading(SO2, 70, at, **told), reading(SO2, 80, at, sensor_id="so2-b", **told))
    environment.advance(5)
    whole = record(environment, firm)
    assert (whole.standing.score, whole.entries[0].kind) == (96, pb.FIRM_ENTRY_KIND_EXCEEDED)
    assert "over a limit of 35 (permit P-s1)" in whole.entries[0].text
    send(environment, reading(SO2, 7, at, **told))
    environment.advance(5)
    whole = record(environment, firm)
    assert (whole.standing.score, whole.entries[0].kind) == (100, pb.FIRM_ENTRY_KIND_EXCEEDANCE_RETRACTED)


def test_an_exceedance_that_was_never_the_firms_own_is_not_taken_back() -> None:
    entry = pb.FirmEntry(kind=pb.FIRM_ENTRY_KIND_EXCEEDANCE_RETRACTED, about="exc-1")
    assert firms.note(firms.Firm("f1", "x", "xihu"), "f1", entry, "xihu") == []


# -- who is next --------------------------------------------------------------------------------------------------------------


def test_those_come_first_that_are_due_first_each_with_its_reasons(environment: Running, firm: str) -> None:
    other = admit(environment, "s2", uscc=OTHER, district_id="gongshu", firm_name="另一厂").firm.firm_id
    (one, two) = due(environment)
    assert {one.firm_id, two.firm_id} == {firm, other}
    began = now(environment)
    assert {one.due_at.seconds for one in (one, two)} == {began + 365 * DAY}
    assert "never inspected since 2026-01-05" in one.reasons[0] and "low risk" in one.reasons[0]
    open_case(environment)
    decide(environment)
    (one, two) = due(environment)
    assert (one.firm_id, one.due_at.seconds, one.risk) == (firm, began + 90 * DAY, pb.RISK_GRADE_HIGH)
    assert one.reasons[1] == "1 decisions not put right" and one.name == "某某化工"
    environment.advance(10 * DAY)
    order(environment)
    report(environment, found=False, finding="nothing")
    (one, two) = due(environment)
    assert one.due_at.seconds == began + 100 * DAY and "last inspected on 2026-01-15" in one.reasons[0]
    # A district sees its own alone; pages go on where they ended.
    assert [one.firm_id for one in due(environment, district_id="gongshu")] == [other]
    listed = environment.fire("ListInspectionsDue", pb.ListInspectionsDueRequest(), district="gongshu").firms
    assert [one.firm_id for one in listed] == [other]
    with pytest.raises(Forbidden):
        environment.fire("ListInspectionsDue", pb.ListInspectionsDueRequest(district_id="xihu"), district="gongshu")
    assert due(environment, district_id="gong") == []
    first = environment.fire("ListInspectionsDue", pb.ListInspectionsDueRequest(page_size=1))
    rest = environment.fire("ListInspectionsDue", pb.ListInspectionsDueRequest(page_size=1, page_token=first.next_page_token))
    assert [page.firms[0].firm_id for page in (first, rest)] == [firm, other]


@pytest.mark.parametrize(("risk", "days"), [("HIGH", 90), ("MIDDLE", 180), ("LOW", 365)])
def test_the_riskier_a_firm_the_sooner_it_is_due(risk: str, days: int) -> None:
    firm = firms.Firm("f1", "x", "xihu", since=86_400_000_000, sources={"s1": 900})
    due = firms.next_inspection(firm, Standing(100, "GOOD", risk, ()))
    assert due is not None and due.due_at.seconds == (1 + days) * DAY


def test_a_district_whose_name_begins_as_another_one_sees_none_of_it(environment: Running) -> None:
    admit(environment, district_id="west/inner")
    assert len(due(environment, district_id="west/inner")) == 1
    assert due(environment, district_id="west") == []


def test_a_firm_whose_last_source_is_closed_is_listed_no_more(environment: Running, firm: str) -> None:
    admit(environment, "s2")
    assert "2 sources with permits for 1800 kg a year" in due(environment)[0].reasons
    close(environment, "s2")
    assert "1 sources with permits for 900 kg a year" in due(environment)[0].reasons
    close(environment)
    assert due(environment) == []
    assert record(environment, firm).standing.score == 100
