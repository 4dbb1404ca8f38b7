"""Sanctions and appeals: what comes twice, what comes late, and what an appeal that is won takes back."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running
from citybrain.mesh.testing import given as given_events
from citybrain.services.credit import domain, service
from tests.unit.credit.conftest import (
    DAY_S,
    added,
    appealed,
    check,
    days,
    decided,
    get,
    imposed,
    register,
    repaired,
    revoke,
    withdrawn,
)

RESTRICTED, CLEAR = pb.CREDIT_DECISION_RESTRICTED, pb.CREDIT_DECISION_CLEAR
IN_FORCE, REVOKED, LIFTED = pb.SANCTION_STATE_IN_FORCE, pb.SANCTION_STATE_REVOKED, pb.SANCTION_STATE_LIFTED
NAME = "s4/impose/1"


def kinds(credit: Running, *types: type[Message]) -> list[str]:
    return [type(event.data).__name__ for event in credit.events(*types)]


ENDS = (ev.SanctionRevoked, ev.SanctionLifted, ev.SanctionBarred, ev.RecordWithdrawn, ev.RecordRepaired)


def test_a_sanction_is_imposed_once_with_a_bad_record_of_it(credit: Running) -> None:
    register(credit)
    first = imposed(credit)
    assert (first.state, first.decided_by, first.case_id) == (IN_FORCE, "li", "case-1")
    until = first.until
    credit.advance(60)
    assert imposed(credit, until=until) == first
    assert kinds(credit, ev.RecordAdded, ev.SanctionImposed) == ["RecordAdded", "SanctionImposed"]
    (record,) = get(credit).records
    assert (record.record_id, record.sanction_id, record.weight) == (first.record_id, NAME, pb.RECORD_WEIGHT_SERIOUS)
    (event,) = credit.events(ev.SanctionImposed)
    assert (event.stored.correlation_id, event.stored.district) == ("case-1", "west")
    with pytest.raises(AlreadyDifferent, match="is another one, of case case-1"):
        imposed(credit, until=until, case_id="case-2")


@pytest.mark.parametrize(
    "other",
    [
        {"law": "another law"},
        {"decided_by": "wang"},
        {"source": "tax office"},
        {"text": "something else"},
        {"weight": pb.RECORD_WEIGHT_MINOR},
        {"measures": [pb.SANCTION_MEASURE_NO_AWARD]},
    ],
)
def test_the_same_id_with_another_content_is_refused(credit: Running, other: dict[str, Any]) -> None:
    until = days(credit, 700)
    first = imposed(credit, until=until)
    with pytest.raises(AlreadyDifferent, match="is another one, of case case-1"):
        imposed(credit, until=until, **other)
    assert imposed(credit, until=until) == first


def test_measures_in_another_order_are_the_same(credit: Running) -> None:
    both = [pb.SANCTION_MEASURE_NO_AWARD, pb.SANCTION_MEASURE_NO_SUBSIDY]
    until = days(credit, 700)
    assert imposed(credit, until=until, measures=both) == imposed(credit, until=until, measures=both[::-1])


def test_a_retry_after_the_revocation_is_answered_as_it_was(credit: Running) -> None:
    register(credit)
    first = imposed(credit, request_id="r-1")
    revoke(credit)
    again = imposed(credit, request_id="r-1")
    assert again.sanction_id == first.sanction_id
    assert check(credit).decision == CLEAR


@pytest.mark.parametrize(("until", "problem"), [(0, "until: is over"), (5 * 366, "until: is more than five years")])
def test_a_sanction_has_a_term_of_at_most_five_years(credit: Running, until: int, problem: str) -> None:
    with pytest.raises(BadRequest, match=problem):
        imposed(credit, until=days(credit, until))


def test_revoked_it_counts_no_more_and_its_record_neither_and_both_stay_in_the_history(credit: Running) -> None:
    register(credit)
    imposed(credit)
    gone = revoke(credit).sanction
    assert (gone.state, gone.end_reason) == (REVOKED, "overturned")
    assert revoke(credit).sanction == gone
    assert kinds(credit, *ENDS) == ["SanctionRevoked", "RecordWithdrawn"]
    shown = get(credit)
    assert [one.state for one in shown.sanctions] == [REVOKED]
    assert [one.state for one in shown.records] == [pb.RECORD_STATE_WITHDRAWN]
    assert shown.score.score == shown.score.base
    with pytest.raises(Refused, match="was revoked: overturned") as refused:
        imposed(credit)
    assert refused.value.reason == "SANCTION_REVOKED"


def test_a_sanction_that_comes_after_its_revocation_is_refused(credit: Running) -> None:
    assert not revoke(credit).HasField("sanction")
    assert not revoke(credit).HasField("sanction")
    assert kinds(credit, *ENDS) == ["SanctionBarred"]
    with pytest.raises(Refused, match="was revoked before it came") as refused:
        imposed(credit)
    assert refused.value.reason == "SANCTION_REVOKED"
    assert imposed(credit, "s4/impose/2").state == IN_FORCE


def test_what_was_corrected_lifts_the_sanction_before_its_end(credit: Running) -> None:
    register(credit)
    sanction = imposed(credit)
    repaired(credit, sanction.record_id)
    assert kinds(credit, *ENDS) == ["RecordRepaired", "SanctionLifted"]
    assert [one.state for one in get(credit).sanctions] == [LIFTED]
    # It was right; if it turns out later that it was not, it is revoked all the same, and nothing is taken away twice.
    revoke(credit)
    assert [one.state for one in get(credit).sanctions] == [REVOKED]
    assert get(credit).score.score == get(credit).score.base
    added(credit)
    (factor,) = get(credit).score.factors
    assert factor.bad_records == 1


def test_who_withdraws_the_record_of_a_sanction_revokes_that(credit: Running) -> None:
    sanction = imposed(credit)
    withdrawn(credit, sanction.record_id)
    assert kinds(credit, *ENDS) == ["SanctionRevoked", "RecordWithdrawn"]
    assert check(credit).decision == CLEAR


def test_who_may_only_record_takes_no_sanction_back(credit: Running) -> None:
    sanction = imposed(credit)
    with pytest.raises(Forbidden, match="came with sanction s4/impose/1: whoever may impose sanctions revokes that"):
        withdrawn(credit, sanction.record_id, scopes=["credit.report"])
    assert check(credit).decision == RESTRICTED
    assert withdrawn(credit, added(credit).record_id, scopes=["credit.report"]).state == pb.RECORD_STATE_WITHDRAWN
    withdrawn(credit, sanction.record_id, scopes=["credit.report", "credit.sanction"])
    assert check(credit).decision == CLEAR


@pytest.mark.parametrize(("seconds", "good"), [(domain.LONGEST_BAD_S, True), (domain.LONGEST_BAD_S + 1, False)])
def test_five_years_with_two_leap_days_are_the_longest(credit: Running, seconds: int, good: bool) -> None:
    assert domain.LONGEST_BAD_S == 1827 * DAY_S
    if good:
        assert imposed(credit, until=days(credit, seconds / DAY_S)).state == IN_FORCE
    else:
        with pytest.raises(BadRequest, match="until: is more than five years"):
            imposed(credit, until=days(credit, seconds / DAY_S))


def test_of_sanctions_and_appeals_the_newest_are_shown(credit: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_MOST_SHOWN", 2)
    for number in range(3):
        imposed(credit, f"s-{number}")
        appealed(credit, sanction_id=f"s-{number}")
    shown = get(credit)
    assert [one.sanction_id for one in shown.sanctions] == ["s-1", "s-2"]
    assert [one.sanction_id for one in shown.appeals] == ["s-1", "s-2"]


def test_over_its_term_it_is_shown_as_over(credit: Running) -> None:
    imposed(credit, until=days(credit, 2))
    credit.advance(2 * DAY_S)
    assert [one.state for one in get(credit).sanctions] == [pb.SANCTION_STATE_OVER]


# -- appeals ------------------------------------------------------------------------------------------------------------------


def test_an_appeal_that_is_won_revokes_the_sanction_in_the_same_moment(credit: Running) -> None:
    register(credit)
    imposed(credit)
    appeal = appealed(credit, sanction_id=NAME)
    assert appeal.state == pb.APPEAL_STATE_FILED
    won = decided(credit, appeal, won=True, caller="judge")
    assert (won.state, won.decided_by, won.decision_reason) == (pb.APPEAL_STATE_WON, "judge", "the trace was weak")
    assert decided(credit, appeal, won=True) == won
    events = credit.events(ev.AppealDecided, *ENDS)
    assert [type(event.data).__name__ for event in events] == ["AppealDecided", "SanctionRevoked", "RecordWithdrawn"]
    assert [event.stored.version for event in events] == [5, 6, 7]
    revoked = events[1].data
    assert isinstance(revoked, ev.SanctionRevoked) and revoked.appeal_id == appeal.appeal_id
    assert (check(credit).decision, [one.state for one in get(credit).appeals]) == (CLEAR, [pb.APPEAL_STATE_WON])
    with pytest.raises(Refused, match="was decided otherwise"):
        decided(credit, appeal, won=False)


def test_an_appeal_that_is_lost_leaves_it_and_there_is_no_second_one(credit: Running) -> None:
    register(credit)
    imposed(credit)
    appeal = appealed(credit, sanction_id=NAME)
    with pytest.raises(Refused, match="is not decided"):
        appealed(credit, sanction_id=NAME)
    decided(credit, appeal, won=False)
    told = check(credit)
    assert (told.decision, told.reasons[0].appealed) == (RESTRICTED, False)
    with pytest.raises(Refused, match="was lost"):
        # The record of a sanction is one with it.
        appealed(credit, record_id=get(credit).records[0].record_id)
    assert kinds(credit, *ENDS) == []


def test_an_appeal_against_a_record_withdraws_it(credit: Running) -> None:
    record = added(credit)
    decided(credit, appealed(credit, record_id=record.record_id), won=True)
    assert [one.state for one in get(credit).records] == [pb.RECORD_STATE_WITHDRAWN]
    with pytest.raises(Refused, match="counts no more"):
        appealed(credit, record_id=record.record_id)


@pytest.mark.parametrize(
    ("against", "error"),
    [
        ({}, BadRequest),
        ({"record_id": "rec-000000000000", "sanction_id": NAME}, BadRequest),
        ({"record_id": "rec-000000000000"}, NotFound),
        ({"sanction_id": "another"}, NotFound),
    ],
)
def test_an_appeal_is_against_one_thing_that_there_is(credit: Running, against: dict[str, str], error: type[Exception]) -> None:
    imposed(credit)
    with pytest.raises(error):
        appealed(credit, None, **against)
    with pytest.raises(NotFound):
        decided(credit, pb.Appeal(appeal_id="app-000000000000"), won=True)


# -- whatever comes in whatever order -----------------------------------------------------------------------------------------

_NOW = timestamp(1_767_225_600_000_000)
_LATER = timestamp(1_767_225_600_000_000 + 86_400_000_000)
_COMMANDS = st.sampled_from(["impose", "revoke", "repair", "appeal", "win", "lose"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_COMMANDS, max_size=10))
def test_whatever_comes_a_revoked_sanction_is_never_in_force_again(commands: list[str]) -> None:
    state, revoked = domain.Subject(), False
    asked = pb.ImposeSanctionRequest(
        sanction_id=NAME, case_id="case-1", measures=[pb.SANCTION_MEASURE_NO_AWARD], until=_LATER, decided_by="li"
    )
    for command in commands:
        events: list[Message] = []
        try:
            match command:
                case "impose":
                    events = domain.impose(state, "s", pb.SUBJECT_KIND_FIRM, "rec-1", asked, _NOW)
                case "revoke":
                    events = domain.revoke(state, "s", NAME, "wrong", _NOW)
                case "repair":
                    events = domain.repair(state, "rec-1", "mended", _NOW)
                case "appeal":
                    events = domain.file_appeal(state, "app-1", pb.FileAppealRequest(sanction_id=NAME), _NOW)
                case _:
                    won = pb.DecideAppealRequest(appeal_id="app-1", won=command == "win", reason="so")
                    events = domain.decide_appeal(state, won, "judge", _NOW)
        except (Refused, NotFound):
            continue
        for event in events:
            state = domain.evolve(state, event)
        revoked = revoked or command == "revoke" or (command == "win" and bool(events))
        sanction, record = state.sanctions.get(NAME), state.records.get("rec-1")
        if revoked:
            assert sanction is None or sanction.state == REVOKED
        if sanction is not None and record is not None:
            standing = record.state == pb.RECORD_STATE_STANDING
            assert standing == (sanction.state == IN_FORCE), "a sanction and its record are one thing"


def test_a_decision_about_a_sanction_is_a_pure_function_of_what_happened() -> None:
    asked: Any = pb.ImposeSanctionRequest(
        sanction_id=NAME, case_id="case-1", law="law", measures=[pb.SANCTION_MEASURE_NO_AWARD], until=_LATER, decided_by="li",
        source="bureau", weight=pb.RECORD_WEIGHT_COMMON,
    )  # fmt: skip

    def impose(state: domain.Subject, request: Any) -> list[Message]:
        return domain.impose(state, "s", pb.SUBJECT_KIND_FIRM, "rec-1", request, _NOW)

    def bar(state: domain.Subject, request: Any) -> list[Message]:
        return domain.revoke(state, "s", NAME, "wrong", _NOW)

    barred = given_events(domain.evolve, domain.Subject()).when(bar, asked)
    known = barred.then(ev.SanctionBarred(subject_id="s", sanction_id=NAME, reason="wrong"))
    known.when(impose, asked).then_refused(Refused, "SANCTION_REVOKED")
