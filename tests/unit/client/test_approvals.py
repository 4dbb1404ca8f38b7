"""Credit before approval, as a department's program asks: only a sanction keeps from anything, and no answer is no UNKNOWN."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import pytest
from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1.credit_service_pb2_grpc import CreditServiceServicer, add_CreditServiceServicer_to_server
from grpc_status import rpc_status

from citybrain.client import City, problem_of, retrying
from citybrain.client.approvals import Credit, Purpose, Verdict, credit_of
from citybrain.mesh.errors import (
    BadRequest,
    Forbidden,
    Overloaded,
    QuotaUsed,
    ServiceError,
    Unauthenticated,
    Unavailable,
    status_of,
)

LAW = "Licensing Law, article 34"
FIRM = "91330100799655058B"
SANCTION = pb.Reason(kind=pb.REASON_KIND_SANCTION, law="Air Law, article 99", text="a sanction is in force")
RECORDS = pb.Reason(kind=pb.REASON_KIND_BAD_RECORDS, text="1 minor bad record (social)")


class Desk(CreditServiceServicer):
    """Answers as it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.decision: Any = pb.CREDIT_DECISION_CLEAR
        self.reasons: list[pb.Reason] = []
        self.errors: list[ServiceError] = []
        self.go = threading.Event()
        self.go.set()

        for name, kind in (("CheckCredit", pb.CheckCreditResponse), ("CheckAuthorised", pb.CheckAuthorisedResponse)):
            setattr(self, name, partial(self.answer, kind))

    def answer(self, kind: Any, request: Any, context: Any) -> Any:
        """The answer of both methods."""
        self.asked.append(request)
        self.go.wait()
        if self.errors:
            context.abort_with_status(rpc_status.to_status(status_of(self.errors.pop(0))))
        return kind(check_id="chk-1", decision=self.decision, reasons=self.reasons)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def city(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[City]:
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.001)
    server = grpc.server(ThreadPoolExecutor(2))
    add_CreditServiceServicer_to_server(desk, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with City(f"127.0.0.1:{port}", "t") as city:
        yield city
    desk.go.set()
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("decision", "verdict"),
    [
        (pb.CREDIT_DECISION_CLEAR, Verdict.CLEAR),
        (pb.CREDIT_DECISION_RESTRICTED, Verdict.RESTRICTED),
        (pb.CREDIT_DECISION_UNKNOWN, Verdict.UNKNOWN),
        # Of a later release.
        (77, Verdict.UNKNOWN),
    ],
)
def test_what_the_city_decides_is_told_with_its_reasons_and_the_number_of_the_trace(
    city: City, desk: Desk, decision: Any, verdict: Verdict
) -> None:
    desk.decision, desk.reasons = decision, [SANCTION, RECORDS]
    told = credit_of(city, uscc=FIRM, law=LAW, matter="application-7", timeout_s=30)
    why = ("Air Law, article 99: a sanction is in force", "1 minor bad record (social)")
    assert told == Credit(verdict, why, "chk-1")


@pytest.mark.parametrize(
    ("right", "basis"), [({"law": LAW}, LAW), ({"consent": "form 12-77"}, "consent of the subject: form 12-77")]
)
@pytest.mark.parametrize("purpose", ["APPROVAL", "SUBSIDY"])
def test_by_which_right_for_what_and_for_which_matter_is_asked_with_it(
    city: City, desk: Desk, right: dict[str, Any], basis: str, purpose: Purpose
) -> None:
    credit_of(city, citizen_id="11010519491231002x", purpose=purpose, matter="a-1", timeout_s=30, **right)
    subject = pb.SubjectRef(citizen_id="11010519491231002x")
    wanted = pb.CheckCreditRequest(subject=subject, purpose=f"CHECK_PURPOSE_{purpose}", basis=basis, matter="a-1")
    assert desk.asked == [wanted]


def test_a_third_party_asks_with_an_authorisation_of_the_subject(city: City, desk: Desk) -> None:
    told = credit_of(city, uscc=FIRM, purpose="LENDING", authorisation_id="aut-0123456789ab", timeout_s=30)
    assert told.verdict is Verdict.CLEAR
    assert desk.asked == [
        pb.CheckAuthorisedRequest(
            subject=pb.SubjectRef(uscc=FIRM), purpose=pb.CHECK_PURPOSE_LENDING, authorisation_id="aut-0123456789ab"
        )
    ]


def test_a_city_that_does_not_answer_in_time_is_unavailable_and_not_unknown(city: City, desk: Desk) -> None:
    desk.go.clear()
    told = credit_of(city, uscc=FIRM, law=LAW, timeout_s=0.05)
    assert (told.verdict, told.check_id) == (Verdict.UNAVAILABLE, "")
    assert told.why[0].startswith("the city could not be asked: ")


@pytest.mark.parametrize(
    "error", [Unavailable("away"), Overloaded("too much to do"), QuotaUsed("all used", 5, {}), ServiceError("a defect")]
)
def test_whatever_is_no_fault_of_who_asks_is_unavailable(city: City, desk: Desk, error: ServiceError) -> None:
    vars(error)["retry_after_s"] = 60
    desk.errors = [error]
    assert credit_of(city, uscc=FIRM, law=LAW, timeout_s=5).verdict is Verdict.UNAVAILABLE


def test_a_city_that_is_away_for_a_moment_is_asked_again(city: City, desk: Desk) -> None:
    error = Unavailable("away")
    vars(error)["retry_after_s"] = None
    desk.errors = [error]
    assert credit_of(city, uscc=FIRM, law=LAW, timeout_s=30).verdict is Verdict.CLEAR
    assert len(desk.asked) == 2


@pytest.mark.parametrize("error", [BadRequest([("subject.uscc", "is wrong")]), Forbidden("no"), Unauthenticated("no")])
def test_what_the_program_does_wrong_is_told_to_it(city: City, desk: Desk, error: ServiceError) -> None:
    desk.errors = [error, error]
    with pytest.raises(grpc.RpcError) as told:
        credit_of(city, uscc=FIRM, law=LAW, timeout_s=30)
    assert problem_of(told.value).code is error.code


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"law": LAW}, "name one subject"),
        ({"uscc": FIRM, "citizen_id": "11010519491231002X", "law": LAW}, "name one subject"),
        ({"uscc": FIRM}, "by which right"),
        ({"uscc": FIRM, "law": LAW, "consent": "form 12-77"}, "by which right"),
    ],
)
def test_nothing_is_asked_without_one_subject_and_one_right(
    city: City, desk: Desk, asked: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        credit_of(city, **asked)
    assert not desk.asked


def test_an_application_waits_two_seconds_at_most() -> None:
    assert inspect.signature(credit_of).parameters["timeout_s"].default == 2.0
