"""Credit before approval (信用前置): what a department's program asks before it decides an application.

credit = credit_of(city, uscc=number, law="行政许可法, article 34", matter="application-7")
if credit.verdict is Verdict.RESTRICTED:
    refuse(credit.why)

Only RESTRICTED keeps somebody from what they ask for, with the law of its sanction in `why`. UNKNOWN and UNAVAILABLE say
nothing against them, and are two things: the city knows nothing of the subject, or it could not be asked in time. In both the
application is decided as it would be without credit.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Literal

import grpc
from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1.credit_service_pb2_grpc import CreditServiceStub

from citybrain.client.city import City
from citybrain.client.problems import problem_of

ANSWERS_WITHIN_S = 2.0
"""So long an application waits for the city."""
Purpose = Literal["APPROVAL", "PROCUREMENT", "SUBSIDY", "AWARD", "SUPERVISION", "LENDING"]

# The request or the token is wrong: whoever wrote the program must know. All else is no fault of who applies.
_OWN_FAULT = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class Verdict(enum.Enum):
    """What an application may be decided by."""

    CLEAR = "clear"
    # A sanction in force keeps the subject from this.
    RESTRICTED = "restricted"
    # The city knows nothing of the subject, neither good nor bad.
    UNKNOWN = "unknown"
    # The city could not be asked in time. Nothing was told, so nothing is kept of the question.
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Credit:
    """What the city told. `why`: in words, with laws, what it rests on first. `check_id`: of the trace; empty: UNAVAILABLE."""

    verdict: Verdict
    why: tuple[str, ...]
    check_id: str = ""


def credit_of(
    city: City,
    *,
    uscc: str = "",
    citizen_id: str = "",
    purpose: Purpose = "APPROVAL",
    law: str = "",
    consent: str = "",
    authorisation_id: str = "",
    matter: str = "",
    timeout_s: float = ANSWERS_WITHIN_S,
) -> Credit:
    """The credit of a firm by its unified social credit code, or of a citizen by their id.

    One of three says by which right it is asked, and is kept with the question: `law` with its article, `consent`, the number
    of what the subject has signed, or, of a third party, `authorisation_id`, which the subject has given in the city.
    `matter`: the number of the application, without any number of a person. ValueError: not one subject, or not one right.
    RpcError: the request or the token is wrong (`problem_of` says what); a city that does not answer is UNAVAILABLE instead.
    """
    if bool(uscc) == bool(citizen_id):
        raise ValueError("name one subject: uscc of a firm, or citizen_id of a citizen")
    if [bool(law), bool(consent), bool(authorisation_id)].count(True) != 1:
        raise ValueError("say by which right you ask, one of law, consent and authorisation_id")
    subject = pb.SubjectRef(uscc=uscc) if uscc else pb.SubjectRef(citizen_id=citizen_id)
    for_what: Any = pb.CheckPurpose.Value(f"CHECK_PURPOSE_{purpose}")
    stub: Any = CreditServiceStub(city.channel)  # type: ignore[no-untyped-call]
    try:
        if authorisation_id:
            asked = pb.CheckAuthorisedRequest(subject=subject, purpose=for_what, authorisation_id=authorisation_id)
            told = stub.CheckAuthorised(asked, timeout=timeout_s)
        else:
            basis = law or f"consent of the subject: {consent}"
            told = stub.CheckCredit(
                pb.CheckCreditRequest(subject=subject, purpose=for_what, basis=basis, matter=matter), timeout=timeout_s
            )
    except grpc.RpcError as error:
        problem = problem_of(error)
        if problem.code in _OWN_FAULT:
            raise
        return Credit(Verdict.UNAVAILABLE, (f"the city could not be asked: {problem.message or problem.code.name}",))
    why = tuple(": ".join(part for part in (one.law, one.text) if part) for one in told.reasons)
    return Credit(_VERDICTS.get(told.decision, Verdict.UNKNOWN), why, told.check_id)


# What a later release of the city may say besides is no reason to refuse anybody.
_VERDICTS = {
    pb.CREDIT_DECISION_CLEAR: Verdict.CLEAR,
    pb.CREDIT_DECISION_RESTRICTED: Verdict.RESTRICTED,
    pb.CREDIT_DECISION_UNKNOWN: Verdict.UNKNOWN,
}
