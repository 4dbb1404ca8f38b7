"""What the tests of credit share: firms and citizens with good numbers, and what departments record of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.credit.service import CreditService

USCC = "91330100799655058B"
CITIZEN = "330106199003070014"
DAY_S = 86_400
LAW = "Air Pollution Prevention and Control Law, article 99"


@pytest.fixture
def credit() -> Iterator[Running]:
    """The service, where nothing is known."""
    with running(CreditService) as service:
        yield service


def firm(number: str = USCC) -> pb.SubjectRef:
    """A firm by its number."""
    return pb.SubjectRef(uscc=number)


def citizen(number: str = CITIZEN) -> pb.SubjectRef:
    """A citizen by their number."""
    return pb.SubjectRef(citizen_id=number)


def days(credit: Running, count: float) -> Timestamp:
    """A moment so many days from now."""
    return timestamp(credit.parts.process.clock.now() + round(count * DAY_S * 1_000_000))


def register(credit: Running, ref: pb.SubjectRef | None = None, district: str = "west", **more: Any) -> str:
    """The id of a registered subject."""
    ref = ref or firm()
    content: dict[str, Any] = {"name": "Qiantang Dyeworks", "sector": "C" if ref.HasField("uscc") else "", **more}
    asked = pb.RegisterSubjectRequest(subject=ref, district_id=district, **content)
    return str(credit.fire("RegisterSubject", asked).subject_id)


def added(credit: Running, case_id: str = "hb-1", *, ref: pb.SubjectRef | None = None, **more: Any) -> pb.Record:
    """A common bad record of a year, or another one."""
    content: dict[str, Any] = {
        "kind": pb.RECORD_KIND_BAD, "dimension": pb.CREDIT_DIMENSION_LAW_ABIDING, "weight": pb.RECORD_WEIGHT_COMMON,
        "source": "environment bureau", "law": LAW, "until": days(credit, 365), **more,
    }  # fmt: skip
    if content["until"] is None:
        del content["until"]
    how = {key: content.pop(key) for key in ("caller", "district", "request_id", "scopes", "team") if key in content}
    asked = pb.AddRecordRequest(subject=ref or firm(), case_id=case_id, **content)
    record: pb.Record = credit.fire("AddRecord", asked, **how).record
    return record


def good(credit: Running, case_id: str = "tax-1", **more: Any) -> pb.Record:
    """A good record without an end."""
    how: dict[str, Any] = {"kind": pb.RECORD_KIND_GOOD, "dimension": pb.CREDIT_DIMENSION_PERFORMANCE, "until": None, **more}
    return added(credit, case_id, source="tax office", law="Tax Collection Law, article 5", **how)


def imposed(credit: Running, name: str = "s4/impose/1", *, ref: pb.SubjectRef | None = None, **more: Any) -> pb.Sanction:
    """A sanction of two years that keeps from approvals."""
    how = {key: more.pop(key) for key in ("caller", "request_id", "scopes", "district") if key in more}
    content: dict[str, Any] = {
        "case_id": "case-1", "law": LAW, "measures": [pb.SANCTION_MEASURE_NO_APPROVAL], "until": days(credit, 730),
        "decided_by": "li", "source": "environment bureau", "weight": pb.RECORD_WEIGHT_SERIOUS, **more,
    }  # fmt: skip
    asked = pb.ImposeSanctionRequest(subject=ref or firm(), sanction_id=name, **content)
    sanction: pb.Sanction = credit.fire("ImposeSanction", asked, **how).sanction
    return sanction


def revoke(credit: Running, name: str = "s4/impose/1", ref: pb.SubjectRef | None = None, **how: Any) -> Any:
    """Revokes a sanction."""
    asked = pb.RevokeSanctionRequest(subject=ref or firm(), sanction_id=name, reason="overturned")
    return credit.fire("RevokeSanction", asked, **how)


def check(credit: Running, purpose: int = pb.CHECK_PURPOSE_APPROVAL, ref: pb.SubjectRef | None = None, **how: Any) -> Any:
    """What is told before an approval, when all that was written is known."""
    credit.rest()
    asked = pb.CheckCreditRequest(
        subject=ref or firm(), purpose=purpose, basis="Licensing Law, article 12", matter="app-1"  # type: ignore[arg-type]
    )  # fmt: skip
    return credit.fire("CheckCredit", asked, **how)


def get(credit: Running, ref: pb.SubjectRef | None = None, **more: Any) -> Any:
    """All of a subject, when all that was written is known."""
    credit.rest()
    how = {key: more.pop(key) for key in ("scopes", "clearance", "district") if key in more}
    return credit.fire("GetCreditRecord", pb.GetCreditRecordRequest(subject=ref or firm(), **more), **how)


def repaired(credit: Running, record_id: str, **how: Any) -> pb.Record:
    """A record whose subject has corrected what was wrong."""
    asked = pb.RepairRecordRequest(subject=firm(), record_id=record_id, reason="filter replaced; seen by inspector 7")
    record: pb.Record = credit.fire("RepairRecord", asked, **how).record
    return record


def withdrawn(credit: Running, record_id: str, **how: Any) -> pb.Record:
    """A record that its source takes back."""
    asked = pb.WithdrawRecordRequest(subject=firm(), record_id=record_id, reason="another firm")
    record: pb.Record = credit.fire("WithdrawRecord", asked, **how).record
    return record


def appealed(credit: Running, ref: pb.SubjectRef | None = None, **against: str) -> pb.Appeal:
    """An appeal against a record or a sanction."""
    asked = pb.FileAppealRequest(subject=ref or firm(), grounds="the wind came from elsewhere", **against)
    appeal: pb.Appeal = credit.fire("FileAppeal", asked).appeal
    return appeal


def decided(credit: Running, appeal: pb.Appeal, *, won: bool, **how: Any) -> pb.Appeal:
    """An appeal that is decided."""
    asked = pb.DecideAppealRequest(subject=firm(), appeal_id=appeal.appeal_id, won=won, reason="the trace was weak")
    found: pb.Appeal = credit.fire("DecideAppeal", asked, **how).appeal
    return found


def told(credit: Running) -> list[ev.CreditChecked]:
    """What was written down of those who asked."""
    return [event.data for event in credit.events(ev.CreditChecked) if isinstance(event.data, ev.CreditChecked)]
