"""Who sees and does what: scopes, districts, names. Then a city of it, through the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1.credit_service_pb2_grpc import CreditServiceStub

from citybrain.client import City
from citybrain.client.approvals import Verdict, credit_of
from citybrain.local.calling import channel
from citybrain.local.city import LocalCity
from citybrain.mesh.errors import BadRequest, Forbidden, NotFound
from citybrain.mesh.events import timestamp
from citybrain.mesh.personal.erasure import erase
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.testing import Running
from citybrain.mesh.testing.parts import greenlets
from tests.unit.credit.conftest import USCC, added, appealed, check, firm, get, imposed, register

ID, MOMENT = "per-0123456789abcdef", timestamp(1_767_225_600_000_000)
WHO = pb.SubjectRef(subject_id=ID)
AUTHORISATION, RECORD = "aut-0123456789ab", "rec-0123456789ab"
APPROVAL, LAW_ABIDING = pb.CHECK_PURPOSE_APPROVAL, pb.CREDIT_DIMENSION_LAW_ABIDING
CALLS: dict[str, tuple[str, Any]] = {
    "RegisterSubject": ("credit.report", pb.RegisterSubjectRequest(subject=WHO, name="x", district_id="west", sector="C")),
    "AddRecord": (
        "credit.report",
        pb.AddRecordRequest(
            subject=WHO, kind=pb.RECORD_KIND_BAD, dimension=LAW_ABIDING, weight=pb.RECORD_WEIGHT_MINOR, source="s", law="l",
            case_id="c",
        ),
    ),
    "WithdrawRecord": ("credit.report", pb.WithdrawRecordRequest(subject=WHO, record_id=RECORD, reason="x")),
    "RepairRecord": ("credit.sanction", pb.RepairRecordRequest(subject=WHO, record_id=RECORD, reason="x")),
    "GetCreditRecord": ("credit.read", pb.GetCreditRecordRequest(subject=WHO)),
    "CheckCredit": ("credit.check.read", pb.CheckCreditRequest(subject=WHO, purpose=APPROVAL, basis="x")),
    "CheckAuthorised": (
        "credit.third_party.read", pb.CheckAuthorisedRequest(subject=WHO, purpose=APPROVAL, authorisation_id=AUTHORISATION)
    ),
    "ListChecks": ("credit.read", pb.ListChecksRequest(subject=WHO)),
    "GrantAuthorisation": (
        "credit.authorise",
        pb.GrantAuthorisationRequest(subject=WHO, third_party="x", purposes=[APPROVAL], until=MOMENT),
    ),
    "WithdrawAuthorisation": (
        "credit.authorise", pb.WithdrawAuthorisationRequest(subject=WHO, authorisation_id=AUTHORISATION)
    ),
    "ImposeSanction": (
        "credit.sanction",
        pb.ImposeSanctionRequest(
            subject=WHO, sanction_id="s", case_id="c", law="l", measures=[pb.SANCTION_MEASURE_NO_AWARD], until=MOMENT,
            decided_by="x", source="s", weight=pb.RECORD_WEIGHT_MINOR,
        ),
    ),
    "RevokeSanction": ("credit.sanction", pb.RevokeSanctionRequest(subject=WHO, sanction_id="s", reason="x")),
    "FileAppeal": ("credit.appeal", pb.FileAppealRequest(subject=WHO, record_id=RECORD, grounds="x")),
    "DecideAppeal": ("credit.decide", pb.DecideAppealRequest(subject=WHO, appeal_id="app-0123456789ab", reason="x")),
    "ListCreditIndexes": ("credit.read", pb.ListCreditIndexesRequest()),
    "GetCreditMap": ("credit.public.read", pb.GetCreditMapRequest()),
}  # fmt: skip
SCOPES = {scope for scope, _ in CALLS.values()}
ANYWHERE = {"AddRecord", "CheckCredit", "CheckAuthorised"}


def test_each_method_needs_its_scope(credit: Running) -> None:
    for method, (scope, request) in CALLS.items():
        with pytest.raises(Forbidden, match=f"needs the scope {scope}"):
            credit.fire(method, request, scopes=sorted(SCOPES - {scope}))


@pytest.mark.parametrize(("kind", "number"), [("uscc", USCC), ("citizen_id", "11010519491231002x")])
def test_the_number_of_the_subject_stands_in_no_other_field(credit: Running, kind: str, number: str) -> None:
    """What stands there comes into events, and as the number of a case into logs."""
    tried = 0
    for method, (_, request) in CALLS.items():
        texts = [field.name for field in request.DESCRIPTOR.fields if field.type == field.TYPE_STRING]
        if "subject" not in request.DESCRIPTOR.fields_by_name:
            continue
        for name in texts:
            asked = type(request)()
            asked.CopyFrom(request)
            asked.subject.CopyFrom(pb.SubjectRef(**{kind: number}))
            setattr(asked, name, f"no-{number.lower()}-2")
            with pytest.raises(BadRequest, match=name) as refused:
                credit.fire(method, asked)
            assert number.upper() not in str(refused.value).upper()
            tried += 1
    assert tried > 30


def test_no_method_of_the_contract_is_forgotten_here() -> None:
    assert set(CALLS) == {method.name for method in pb.DESCRIPTOR.services_by_name["CreditService"].methods}


def test_who_is_bound_to_a_district_records_and_asks_anywhere_and_reads_and_changes_nothing_of_another(credit: Running) -> None:
    subject_id = register(credit)
    added(credit, district="east")
    assert check(credit, district="east").decision == pb.CREDIT_DECISION_CLEAR
    imposed(credit)
    assert check(credit, district="east").decision == pb.CREDIT_DECISION_RESTRICTED
    for method, (_, request) in CALLS.items():
        if method in ANYWHERE or not request.DESCRIPTOR.fields_by_name.get("subject"):
            continue
        asked = type(request)()
        asked.CopyFrom(request)
        if not hasattr(asked.subject, "subject_id"):
            continue
        asked.subject.subject_id = subject_id
        with pytest.raises(Forbidden):
            credit.fire(method, asked, district="east")
    assert get(credit, district="west").district_id == "west"
    with pytest.raises(Forbidden):
        credit.fire(
            "RegisterSubject",
            pb.RegisterSubjectRequest(subject=firm(), name="x", district_id="east", sector="C"),
            district="west",
        )


def test_who_may_see_no_persons_sees_the_record_without_name_and_texts(credit: Running) -> None:
    register(credit)
    imposed(credit, text="the owner, Wang, was there")
    appealed(credit, sanction_id="s4/impose/1")
    everything: dict[str, Any] = {"scopes": ["credit.read", "credit.personal"], "clearance": "RESTRICTED"}
    shown = get(credit, **everything)
    assert (shown.name, shown.sanctions[0].text, shown.records[0].text) == (
        "Qiantang Dyeworks", "the owner, Wang, was there", "the owner, Wang, was there",
    )  # fmt: skip
    assert shown.appeals[0].grounds
    assert get(credit, **{**everything, "scopes": ["credit.read"]}).name == ""
    less = get(credit, **{**everything, "clearance": "INTERNAL"})
    assert (less.name, less.sanctions[0].text, less.records[0].text, less.appeals[0].grounds) == ("", "", "", "")
    assert less.sanctions[0].law


def test_after_an_erasure_nothing_leads_to_the_subject(credit: Running) -> None:
    subject_id = register(credit)
    imposed(credit)
    assert check(credit).decision == pb.CREDIT_DECISION_RESTRICTED

    async def work() -> None:
        process = credit.parts.process
        await erase(process.store, process.vault.keys, subject_id, actor="tester")
        await process.vault.look()

    greenlets().do(work())
    assert check(credit).decision == pb.CREDIT_DECISION_UNKNOWN
    with pytest.raises(NotFound):
        get(credit)
    assert get(credit, pb.SubjectRef(subject_id=subject_id)).name == ""


@pytest.mark.envoy
def test_it_is_called_through_the_gateway(tmp_path: Path) -> None:
    with LocalCity(Settings(data=tmp_path), only=["credit"]) as city:
        assert city.gateway is not None
        with channel(city.gateway.address, city.token()) as gateway:
            stub = CreditServiceStub(gateway)
            asked = pb.CheckCreditRequest(subject=firm(USCC), purpose=APPROVAL, basis="Licensing Law, article 12")
            told = stub.CheckCredit(asked, timeout=60)
        with City(city.gateway.address, city.token()) as desk:
            asked_of_a_desk = credit_of(desk, uscc=USCC, law="Licensing Law, article 12", timeout_s=60)
    assert told.decision == pb.CREDIT_DECISION_UNKNOWN
    assert asked_of_a_desk.verdict is Verdict.UNKNOWN and asked_of_a_desk.check_id
