"""Subjects and their records: what is refused, what ends a record, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.testing import Running, running
from citybrain.services.credit.service import CreditService
from tests.unit.credit.conftest import (
    CITIZEN,
    USCC,
    added,
    check,
    citizen,
    days,
    firm,
    get,
    good,
    imposed,
    register,
    repaired,
    withdrawn,
)

STANDING, REPAIRED = pb.RECORD_STATE_STANDING, pb.RECORD_STATE_REPAIRED
WITHDRAWN, EXPIRED = pb.RECORD_STATE_WITHDRAWN, pb.RECORD_STATE_EXPIRED


# -- who it is ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ref", "problem"),
    [
        (firm("91330100799655058C"), r"subject\.uscc: has a wrong check digit"),
        (firm("9133010079965505"), r"subject\.uscc: has 16 signs"),
        (firm("9133010079965505IB"), r"subject\.uscc: has a sign that"),
        (citizen("330106199002300014"), r"subject\.citizen_id: has a day of birth that there is not"),
        (citizen("330106199003070015"), r"subject\.citizen_id: has a wrong check digit"),
        (pb.SubjectRef(subject_id="91330100799655058B"), "subject_id"),
        (pb.SubjectRef(), "who"),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_what_is_wrong_and_without_the_number(
    credit: Running, ref: pb.SubjectRef, problem: str
) -> None:
    for call in (lambda: check(credit, ref=ref), lambda: added(credit, ref=ref)):
        with pytest.raises(BadRequest, match=problem) as found:
            call()
        assert not any(len(text) > 5 and text in str(found.value) for text in (ref.uscc, ref.citizen_id, ref.subject_id))


def test_a_number_in_small_letters_or_with_blanks_leads_to_the_same_subject(credit: Running) -> None:
    first = register(credit)
    assert register(credit, firm(f" {USCC.lower()} ")) == first
    assert first != register(credit, citizen())


def test_a_citizen_id_with_a_small_x_is_that_with_a_large_one(credit: Running) -> None:
    """The published example of GB 11643-1999."""
    assert register(credit, citizen("11010519491231002x")) == register(credit, citizen("11010519491231002X"))


def test_numbers_and_names_stand_in_no_file(tmp_path: Path) -> None:
    with running(CreditService, folder=tmp_path) as credit:
        subject_id = register(credit, name="王氏染整有限公司")
        register(credit, citizen(), name="王建国")
        added(credit)
        imposed(credit)
        check(credit)
        check(credit, ref=citizen())
        assert get(credit).name == "王氏染整有限公司"
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert subject_id.encode() in kept
        secrets = (USCC, CITIZEN, "王氏染整有限公司", "王建国")
        for secret in (*secrets, *(one.encode("unicode_escape").decode() for one in secrets)):
            assert secret.encode() not in kept


def test_a_firm_has_a_sector_and_a_citizen_has_none(credit: Running) -> None:
    with pytest.raises(BadRequest, match="sector: is missing"):
        register(credit, sector="")
    with pytest.raises(BadRequest, match="sector: is of firms only"):
        register(credit, citizen(), sector="C")


def test_who_registers_again_changes_what_is_new_and_only_that(credit: Running) -> None:
    subject_id = register(credit)
    register(credit)
    assert len(credit.events(ev.SubjectRegistered)) == 1
    assert register(credit, district="east") == subject_id
    assert (get(credit).district_id, len(credit.events(ev.SubjectRegistered))) == ("east", 2)


def test_by_its_id_alone_nobody_is_made_known(credit: Running) -> None:
    stranger = pb.SubjectRef(subject_id="per-0123456789abcdef")
    for call in (lambda: added(credit, ref=stranger), lambda: imposed(credit, ref=stranger)):
        with pytest.raises(NotFound, match="name it by its number the first time"):
            call()
    with pytest.raises(NotFound, match="nothing is known"):
        get(credit)
    # A service has made the id from a number, and says what it is.
    told = pb.SubjectRef(subject_id="per-fedcba9876543210", kind=pb.SUBJECT_KIND_FIRM)
    added(credit, ref=told)
    assert get(credit, told).kind == pb.SUBJECT_KIND_FIRM
    known = pb.SubjectRef(subject_id=register(credit))
    assert added(credit, ref=known).state == STANDING


# -- records ------------------------------------------------------------------------------------------------------------------


def test_a_record_has_its_source_law_and_term_and_counts_until_it_is_over(credit: Running) -> None:
    register(credit)
    record = added(credit, until=days(credit, 10))
    assert (record.source, record.law[:13], record.case_id, record.state) == (
        "environment bureau", "Air Pollution", "hb-1", STANDING
    )  # fmt: skip
    lower = get(credit).score
    credit.advance(10 * 86_400 - 1)
    assert get(credit).score == lower
    credit.advance(1)
    after = get(credit)
    assert [one.state for one in after.records] == [EXPIRED]
    assert after.score.score == after.score.base > lower.score


def test_the_same_case_of_the_same_source_is_one_record_and_another_content_is_refused(credit: Running) -> None:
    until = days(credit, 365)
    first = added(credit, until=until)
    credit.advance(60)
    assert added(credit, until=until).record_id == first.record_id
    assert len(credit.events(ev.RecordAdded)) == 1
    with pytest.raises(AlreadyDifferent, match="has recorded case hb-1 otherwise"):
        added(credit, until=until, weight=pb.RECORD_WEIGHT_SERIOUS)
    # Another source may have a case of the same number.
    assert added(credit, until=until, source="fire brigade").record_id != first.record_id


def test_a_case_of_a_sanction_may_be_recorded_by_itself_too(credit: Running) -> None:
    sanction = imposed(credit)
    alone = added(credit, sanction.case_id, source=sanction.source)
    assert alone.record_id != sanction.record_id and not alone.sanction_id


def test_what_a_subject_is_stays_as_it_is_known_whatever_a_caller_says_of_its_id(credit: Running) -> None:
    subject_id = register(credit)
    added(credit, ref=pb.SubjectRef(subject_id=subject_id, kind=pb.SUBJECT_KIND_CITIZEN))
    assert get(credit).kind == pb.SUBJECT_KIND_FIRM
    (event,) = credit.events(ev.RecordAdded)
    assert isinstance(event.data, ev.RecordAdded) and event.data.kind == pb.SUBJECT_KIND_FIRM


@pytest.mark.parametrize(
    ("term", "problem"),
    [
        ({"until": None}, "until: is missing: a bad record has an end"),
        ({"until": 5 * 365 + 2 + 1 / 86_400}, "until: is more than five years"),
        ({"since": 1}, "since: is in the future"),
        ({"since": -2, "until": -2}, "until: is not after `since`"),
    ],
)
def test_a_bad_record_has_a_term_of_at_most_five_years(credit: Running, term: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadRequest, match=problem):
        more: dict[str, Any] = {name: value if value is None else days(credit, value) for name, value in term.items()}
        added(credit, **more)
    assert added(credit, until=days(credit, 5 * 365 + 2)).state == STANDING
    assert not good(credit).HasField("until")


def test_a_record_that_was_wrong_counts_no_more_and_stays_in_the_history(credit: Running) -> None:
    register(credit)
    record = added(credit)
    before = get(credit).score.score
    gone = withdrawn(credit, record.record_id)
    assert (gone.state, gone.end_reason, gone.HasField("ended_at")) == (WITHDRAWN, "another firm", True)
    after = get(credit)
    assert after.score.score == after.score.base > before
    assert [one.record_id for one in after.records] == [record.record_id]
    assert withdrawn(credit, record.record_id) == gone
    assert len(credit.events(ev.RecordWithdrawn)) == 1
    with pytest.raises(NotFound, match="no record rec-000000000000"):
        withdrawn(credit, "rec-000000000000")


def test_only_the_department_that_brought_a_record_withdraws_it_or_who_may_impose_sanctions(credit: Running) -> None:
    department: dict[str, Any] = {"scopes": ["credit.report"], "team": "tax-office"}
    record = added(credit, caller="desk-1", **department)
    assert record.recorded_by == "tax-office"
    with pytest.raises(Forbidden, match="was brought by another department"):
        withdrawn(credit, record.record_id, caller="desk-1", scopes=["credit.report"], team="environment")
    assert withdrawn(credit, record.record_id, caller="desk-2", **department).state == WITHDRAWN
    # A token that names no team is one by itself.
    alone = added(credit, "hb-2", caller="desk-3", scopes=["credit.report"])
    with pytest.raises(Forbidden):
        withdrawn(credit, alone.record_id, caller="desk-4", scopes=["credit.report"])
    office = ["credit.report", "credit.sanction"]
    assert withdrawn(credit, alone.record_id, caller="office", scopes=office).state == WITHDRAWN


def test_what_was_corrected_counts_no_more_and_that_it_was_right_stays_true(credit: Running) -> None:
    record = added(credit)
    mended = repaired(credit, record.record_id)
    assert (mended.state, mended.end_reason) == (REPAIRED, "filter replaced; seen by inspector 7")
    assert repaired(credit, record.record_id) == mended
    assert len(credit.events(ev.RecordRepaired)) == 1
    assert get(credit).score.score == get(credit).score.base
    with pytest.raises(Refused, match="is a good one"):
        repaired(credit, good(credit).record_id)
    other = added(credit, "hb-2")
    withdrawn(credit, other.record_id)
    with pytest.raises(Refused, match="nothing to repair"):
        repaired(credit, other.record_id)


def test_one_that_was_repaired_and_then_withdrawn_is_not_taken_away_twice(credit: Running) -> None:
    until = days(credit, 365)
    first, _ = added(credit, "hb-1", until=until), added(credit, "hb-2", until=until)
    repaired(credit, first.record_id)
    withdrawn(credit, first.record_id)
    (factor,) = get(credit).score.factors
    assert factor.bad_records == 1


def test_a_whole_record_comes_in_pages_the_oldest_first(credit: Running) -> None:
    names = []
    for number in range(7):
        names.append(added(credit, f"hb-{number}").record_id)
        credit.advance(60)
    added(credit, ref=citizen())
    seen, token = [], ""
    while True:
        page = get(credit, page_size=3, page_token=token)
        seen += [one.record_id for one in page.records]
        token = page.next_page_token
        if not token:
            break
    assert seen == names


def test_a_retry_is_one_record(credit: Running) -> None:
    first = added(credit, request_id="r-1")
    assert added(credit, request_id="r-1") == first
    assert len(credit.events(ev.RecordAdded)) == 1
