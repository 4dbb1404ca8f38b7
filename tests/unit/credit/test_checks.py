"""Credit before approval: what is told, why, and what is kept of who asked."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.testing import Running, service_factory
from citybrain.services.credit import decision, domain
from citybrain.services.credit.service import CreditService
from citybrain.services.credit.views import SanctionRow, StandingRow
from tests.unit.credit.conftest import (
    DAY_S,
    LAW,
    added,
    appealed,
    check,
    citizen,
    days,
    firm,
    good,
    imposed,
    register,
    repaired,
    revoke,
)
from tests.unit.credit.conftest import told as written

CLEAR, RESTRICTED = pb.CREDIT_DECISION_CLEAR, pb.CREDIT_DECISION_RESTRICTED
UNKNOWN = pb.CREDIT_DECISION_UNKNOWN


def kinds(told: Any) -> list[str]:
    return [pb.ReasonKind.Name(one.kind).removeprefix("REASON_KIND_") for one in told.reasons]


def test_of_whom_nothing_is_known_unknown_is_told_and_nothing_is_made(credit: Running) -> None:
    told = check(credit)
    assert (told.decision, kinds(told)) == (UNKNOWN, ["NOT_KNOWN"])
    assert "neither good nor bad" in told.reasons[0].text
    (kept,) = written(credit)
    assert kept.subject_id == ""
    with pytest.raises(NotFound):
        credit.fire("ListChecks", pb.ListChecksRequest(subject=firm()))
    stranger = pb.SubjectRef(subject_id="per-0123456789abcdef")
    assert check(credit, ref=stranger).decision == UNKNOWN


def test_who_is_registered_and_has_nothing_bad_is_clear(credit: Running) -> None:
    register(credit)
    assert (check(credit).decision, kinds(check(credit))) == (CLEAR, ["NOTHING_BAD"])
    good(credit)
    assert kinds(check(credit)) == ["NOTHING_BAD", "GOOD_RECORDS"]


def test_a_sanction_restricts_from_then_on_what_it_is_about_and_nothing_else(credit: Running) -> None:
    register(credit)
    imposed(credit)
    told = check(credit)
    assert (told.decision, kinds(told)) == (RESTRICTED, ["SANCTION", "BAD_RECORDS"])
    first = told.reasons[0]
    assert (first.sanction_id, first.law, first.until) == ("s4/impose/1", LAW, days(credit, 730))
    assert first.text == "a sanction is in force: no approvals (case case-1)"
    other = check(credit, pb.CHECK_PURPOSE_SUBSIDY)
    assert (other.decision, kinds(other)) == (CLEAR, ["OTHER_SANCTION", "BAD_RECORDS"])


@pytest.mark.parametrize("measure", decision.MEASURES)
def test_each_measure_keeps_from_one_thing_and_more_inspections_keep_from_none(credit: Running, measure: int) -> None:
    register(credit)
    imposed(credit, measures=[measure])
    refused = {purpose for purpose in pb.CheckPurpose.values()[1:] if check(credit, purpose).decision == RESTRICTED}
    assert refused == {decision.KEEPS_FROM[measure]} - {None} if measure in decision.KEEPS_FROM else not refused


def test_bad_records_are_told_and_restrict_nothing(credit: Running) -> None:
    added(credit, weight=pb.RECORD_WEIGHT_SERIOUS, until=days(credit, 30))
    added(credit, "hb-2", weight=pb.RECORD_WEIGHT_SERIOUS, until=days(credit, 60))
    told = check(credit)
    assert (told.decision, kinds(told)) == (CLEAR, ["BAD_RECORDS"])
    assert (told.reasons[0].text, told.reasons[0].records) == ("2 serious bad records (law-abiding)", 2)
    assert told.reasons[0].until == days(credit, 60)


def test_a_sanction_is_over_at_its_end_without_anybody_saying_so(credit: Running) -> None:
    register(credit)
    imposed(credit, until=days(credit, 30))
    credit.advance(30 * DAY_S - 1)
    assert check(credit).decision == RESTRICTED
    credit.advance(1)
    assert (check(credit).decision, kinds(check(credit))) == (CLEAR, ["NOTHING_BAD"])


def test_a_sanction_that_is_appealed_stands_and_that_is_told(credit: Running) -> None:
    register(credit)
    imposed(credit)
    appealed(credit, sanction_id="s4/impose/1")
    told = check(credit)
    assert (told.decision, told.reasons[0].appealed) == (RESTRICTED, True)


def test_revoked_or_repaired_it_restricts_no_more(credit: Running) -> None:
    register(credit)
    imposed(credit)
    revoke(credit)
    assert (check(credit).decision, kinds(check(credit))) == (CLEAR, ["NOTHING_BAD"])
    again = imposed(credit, "s4/impose/2")
    assert check(credit).decision == RESTRICTED
    repaired(credit, again.record_id)
    assert check(credit).decision == CLEAR


@pytest.mark.parametrize("state", [pb.SANCTION_STATE_REVOKED, pb.SANCTION_STATE_LIFTED, pb.SANCTION_STATE_IN_FORCE])
def test_nobody_is_kept_from_anything_by_a_row_that_is_behind(state: Any) -> None:
    subject_id, later = "per-0123456789abcdef", 4_000_000_000_000_000
    sanction = pb.Sanction(sanction_id="s", case_id="c", measures=[pb.SANCTION_MEASURE_NO_APPROVAL], until=timestamp(later))
    row = StandingRow(
        pb.SUBJECT_KIND_FIRM, sanctions={"s": SanctionRow([pb.SANCTION_MEASURE_NO_APPROVAL], "law", "c", later, "rec-1")}
    )
    after = pb.Sanction()
    after.CopyFrom(sanction)
    after.state = state
    earlier: list[Any] = [ev.SanctionImposed(subject_id=subject_id, sanction=sanction)]
    if state == pb.SANCTION_STATE_REVOKED:
        earlier.append(ev.SanctionRevoked(subject_id=subject_id, sanction=after))
    elif state == pb.SANCTION_STATE_LIFTED:
        earlier.append(ev.SanctionLifted(subject_id=subject_id, sanction=after))
    else:
        earlier[0].sanction.state = state
    with service_factory(CreditService, standing={subject_id: row}, subjects={subject_id: earlier}) as credit:
        told = credit.CheckCredit(
            pb.CheckCreditRequest(
                subject=pb.SubjectRef(subject_id=subject_id),
                purpose=pb.CHECK_PURPOSE_APPROVAL,
                basis="Licensing Law, article 12",
            )
        )
    in_force = state == pb.SANCTION_STATE_IN_FORCE
    assert (told.decision, kinds(told)) == ((RESTRICTED, ["SANCTION"]) if in_force else (CLEAR, ["NOTHING_BAD"]))


def test_at_most_twenty_reasons_are_told_those_that_it_rests_on_first(credit: Running) -> None:
    for number in range(30):
        measure = pb.SANCTION_MEASURE_NO_APPROVAL if number > 25 else pb.SANCTION_MEASURE_NO_AWARD
        imposed(credit, f"s-{number}", measures=[measure], case_id=f"case-{number}")
    told = check(credit)
    assert kinds(told) == ["SANCTION"] * 4 + ["OTHER_SANCTION"] * 16


def test_a_decision_is_made_of_a_row_alone() -> None:
    made, reasons = decision.decide(StandingRow(pb.SUBJECT_KIND_FIRM), pb.CHECK_PURPOSE_APPROVAL, 0)
    assert (made, [one.kind for one in reasons]) == (CLEAR, [pb.REASON_KIND_NOTHING_BAD])


# -- who asked ----------------------------------------------------------------------------------------------------------------


def test_who_asked_why_and_by_which_law_is_kept_before_it_is_told(credit: Running) -> None:
    register(credit)
    imposed(credit)
    told = check(credit, caller="desk-7", request_id="r-1")
    (event,), (kept,) = credit.events(ev.CreditChecked), written(credit)
    assert (event.stored.actor, kept.check.asked_by) == ("desk-7", "desk-7")
    assert (kept.check.basis, kept.check.matter, kept.check.purpose) == (
        "Licensing Law, article 12", "app-1", pb.CHECK_PURPOSE_APPROVAL,
    )  # fmt: skip
    assert (kept.check.decision, len(kept.reasons)) == (RESTRICTED, 2)
    credit.rest()
    (shown,) = credit.fire("ListChecks", pb.ListChecksRequest(subject=firm())).checks
    assert (shown.check_id, shown.asked_by) == (told.check_id, "desk-7")


def test_who_asks_again_is_told_how_it_is_now_and_both_are_kept(credit: Running) -> None:
    register(credit)
    first = check(credit, request_id="r-1")
    imposed(credit)
    again = check(credit, request_id="r-1")
    assert (first.decision, again.decision) == (CLEAR, RESTRICTED)
    assert len(credit.events(ev.CreditChecked)) == 2


def test_checks_come_in_pages_the_oldest_first(credit: Running) -> None:
    register(credit)
    made = []
    for _ in range(5):
        made.append(check(credit).check_id)
        credit.advance(1)
    check(credit, ref=citizen())
    credit.rest()
    page = credit.fire("ListChecks", pb.ListChecksRequest(subject=firm(), page_size=3))
    more = pb.ListChecksRequest(subject=firm(), page_size=3, page_token=page.next_page_token)
    rest = credit.fire("ListChecks", more)
    assert [one.check_id for one in (*page.checks, *rest.checks)] == made and not rest.next_page_token


def test_nobody_asks_without_saying_by_which_law(credit: Running) -> None:
    asked = pb.CheckCreditRequest(subject=firm(), purpose=pb.CHECK_PURPOSE_APPROVAL)
    with pytest.raises(BadRequest, match="basis"):
        credit.fire("CheckCredit", asked)


# -- third parties ------------------------------------------------------------------------------------------------------------

BANK, LENDING = "bank-of-the-lake", pb.CHECK_PURPOSE_LENDING


def authorised(credit: Running, until: float = 30, **more: Any) -> str:
    content: dict[str, Any] = {"third_party": BANK, "purposes": [LENDING], **more}
    asked = pb.GrantAuthorisationRequest(subject=firm(), until=days(credit, until), **content)
    return str(credit.fire("GrantAuthorisation", asked).authorisation.authorisation_id)


def asks(credit: Running, name: str, purpose: int = LENDING, caller: str = BANK, ref: pb.SubjectRef | None = None) -> Any:
    credit.rest()
    asked = pb.CheckAuthorisedRequest(subject=ref or firm(), purpose=purpose, authorisation_id=name)  # type: ignore[arg-type]
    return credit.fire("CheckAuthorised", asked, caller=caller)


def end(credit: Running, name: str) -> Any:
    asked = pb.WithdrawAuthorisationRequest(subject=firm(), authorisation_id=name)
    return credit.fire("WithdrawAuthorisation", asked)


def test_a_third_party_asks_with_an_authorisation_for_its_purpose_until_it_ends(credit: Running) -> None:
    register(credit)
    imposed(credit, measures=[pb.SANCTION_MEASURE_LENDERS_TOLD])
    name = authorised(credit)
    assert asks(credit, name).decision == RESTRICTED
    kept = written(credit)[-1].check
    assert (kept.authorisation_id, kept.asked_by) == (name, BANK)
    for wrong in (
        {"purpose": pb.CHECK_PURPOSE_APPROVAL},
        {"caller": "another-bank"},
        {"name": "aut-000000000000"},
        {"ref": citizen()},
    ):
        with pytest.raises(Forbidden, match="no authorisation of this subject"):
            asks(credit, **{"name": name, **wrong})  # type: ignore[arg-type]
    assert len(credit.events(ev.CreditChecked)) == 1
    credit.advance(30 * DAY_S - 1)
    assert asks(credit, name).decision == RESTRICTED
    credit.advance(1)
    with pytest.raises(Forbidden):
        asks(credit, name)


def test_withdrawn_it_ends_at_once_and_a_second_withdrawal_changes_nothing(credit: Running) -> None:
    register(credit)
    name = authorised(credit)
    ended = end(credit, name)
    assert ended.authorisation.HasField("withdrawn_at")
    with pytest.raises(Forbidden):
        asks(credit, name)
    credit.advance(60)
    assert end(credit, name) == ended
    assert len(credit.events(ev.AuthorisationWithdrawn)) == 1
    with pytest.raises(NotFound, match="no authorisation aut-000000000000"):
        end(credit, "aut-000000000000")


def test_an_authorisation_lasts_a_year_at_most_and_not_too_many_are_in_force(credit: Running) -> None:
    for until, problem in ((-1, "until: is over"), (0, "until: is over"), (366 + 1 / DAY_S, "until: is more than a year")):
        with pytest.raises(BadRequest, match=problem):
            authorised(credit, until)
    authorised(credit, 366)
    for _ in range(199):
        authorised(credit, 1)
    with pytest.raises(Refused, match="200 authorisations"):
        authorised(credit)
    credit.advance(DAY_S)
    assert authorised(credit).startswith("aut-")


def test_of_authorisations_that_are_over_the_newest_200_are_remembered_and_none_in_force_is_lost() -> None:
    state, now = domain.Subject(), timestamp(1_767_225_600_000_000)

    def granted(number: int, until: int = 10) -> ev.AuthorisationGranted:
        later = timestamp(microseconds(now) + until * 1_000_000)
        one = pb.Authorisation(authorisation_id=f"aut-{number}", granted_at=now, until=later)
        return ev.AuthorisationGranted(authorisation=one)

    state = domain.evolve(state, granted(0))
    for number in range(1, 1000):
        state = domain.evolve(state, granted(number))
        state = domain.evolve(state, ev.AuthorisationWithdrawn(authorisation_id=f"aut-{number}", withdrawn_at=now))
        assert set(state.authorisations) >= {f"aut-{newest}" for newest in range(max(number - 199, 0), number + 1)}
        assert len(state.authorisations) <= 402
    assert [one.authorisation_id for one in domain.in_force(state, now)] == ["aut-0"]
