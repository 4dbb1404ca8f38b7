"""A case against the firm of a source: evidence, decision, correction, end. Pure.

Whatever is decided in a case is sealed into its evidence in the same append (`sealed_chain.py`). Each step names itself by an
id that its caller chose. The step again changes nothing, an undo that overtakes its step bars it. It is long because all of it
is decided on one state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import reduce
from typing import Any

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused
from citybrain.services.environment import sealed_chain

MOST_RECORDS = 500
"""So many records the evidence of a case has before no other is added. What is decided or undone is sealed all the same."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What goes into the evidence: an id, a kind, an object of JSON."""

    record_id: str
    kind: pb.EvidenceKind
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class File:
    """A case. `barred`: ids of steps that were undone before they came, and of those that were undone after.

    `accepted`: what the correction asks for was put right; that stays, whatever follows.
    """

    opened: ev.CaseOpened | None = None
    state: pb.CaseState = pb.CASE_STATE_UNSPECIFIED
    records: tuple[ev.EvidenceSealed, ...] = ()
    decision: pb.Decision | None = None
    correction: ev.CorrectionOrdered | None = None
    report: str = ""
    accepted: bool = False
    outcome: str = ""
    withdrawn: bool = False
    barred: frozenset[str] = field(default_factory=frozenset)


def evolve(file: File, event: Message) -> File:
    """The case after an event."""
    match event:
        case ev.CaseOpened():
            return replace(file, opened=event, state=pb.CASE_STATE_OPEN)
        case ev.CaseWithdrawn():
            return replace(file, withdrawn=True, state=pb.CASE_STATE_WITHDRAWN, outcome=event.reason)
        case ev.EvidenceSealed():
            return replace(file, records=(*file.records, event))
        case ev.DecisionRecorded():
            return replace(file, decision=event.decision, state=pb.CASE_STATE_DECIDED)
        case ev.DecisionRevoked():
            barred = replace(file, barred=file.barred | {event.decision_id})
            decision = file.decision
            if decision is None or decision.decision_id != event.decision_id:
                return barred
            revoked = pb.Decision()
            revoked.CopyFrom(decision)
            revoked.MergeFrom(pb.Decision(revoked=True, revoked_because=event.reason))
            return replace(barred, decision=revoked, state=_open(file))
        case ev.CorrectionOrdered():
            return replace(file, correction=event, report="", accepted=False, state=pb.CASE_STATE_CORRECTION_ORDERED)
        case ev.CorrectionWithdrawn():
            barred = replace(file, barred=file.barred | {event.correction_id})
            if file.correction is None or file.correction.correction_id != event.correction_id:
                return barred
            decided = file.decision is not None and not file.decision.revoked
            state = pb.CASE_STATE_DECIDED if decided else pb.CASE_STATE_OPEN
            ended = file.state in (pb.CASE_STATE_CLOSED, pb.CASE_STATE_WITHDRAWN)
            return replace(barred, correction=None, state=file.state if ended else state)
        case ev.CorrectionReported():
            return replace(file, report=event.report, state=pb.CASE_STATE_CORRECTION_REPORTED)
        case ev.CorrectionAccepted():
            state = pb.CASE_STATE_CORRECTION_ORDERED if event.rejected else pb.CASE_STATE_CORRECTED
            return replace(file, accepted=not event.rejected, state=state)
        case ev.CaseClosed():
            return replace(file, state=pb.CASE_STATE_CLOSED, outcome=event.outcome)
    return file


def _open(file: File) -> pb.CaseState:
    ended = file.state in (pb.CASE_STATE_CLOSED, pb.CASE_STATE_WITHDRAWN)
    return file.state if ended else pb.CASE_STATE_OPEN


def district_of(file: File) -> str:
    """The district of a case; empty: it is not known."""
    return file.opened.district_id if file.opened is not None else ""


def existing(file: File, case_id: str) -> ev.CaseOpened:
    """The opening of the case, or NotFound."""
    if file.opened is None:
        raise NotFound(f"there is no case {case_id}: OpenCase opens one", "NO_SUCH_CASE")
    return file.opened


def at_work(file: File, case_id: str) -> ev.CaseOpened:
    """The opening of the case, or NotFound; Refused where it has ended."""
    opened = existing(file, case_id)
    if file.withdrawn:
        raise Refused(f"case {case_id} was withdrawn: {file.outcome}", "CASE_WITHDRAWN")
    if file.state == pb.CASE_STATE_CLOSED:
        raise Refused(f"case {case_id} is closed: {file.outcome}", "CASE_CLOSED")
    return opened


def show(file: File) -> pb.Case:
    """A case as callers see it."""
    opened = file.opened or ev.CaseOpened()
    correction = file.correction
    return pb.Case(
        case_id=opened.case_id, state=file.state, exceedance_id=opened.exceedance_id, source_id=opened.source_id,
        firm_id=opened.firm_id, district_id=opened.district_id, opened_at=opened.opened_at, records=len(file.records),
        head=file.records[-1].seal if file.records else "", decision=file.decision, outcome=file.outcome,
        correction_id=correction.correction_id if correction else "", correction=correction.what if correction else "",
        correct_until=correction.until if correction else None,
    )  # fmt: skip


# -- evidence -----------------------------------------------------------------------------------------------------------------


def lines(file: File) -> list[tuple[int, str]]:
    """The records by their numbers, a line of JSON each."""
    return [(one.n, sealed_chain.line(_record(one))) for one in file.records]


def _record(one: ev.EvidenceSealed) -> sealed_chain.Record:
    at = datetime.fromtimestamp(one.at.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    kind = pb.EvidenceKind.Name(one.kind).removeprefix("EVIDENCE_KIND_").lower()
    return sealed_chain.Record(one.n, at, kind, one.body, one.previous, one.seal)


def _sealed(file: File, opened: ev.CaseOpened, proofs: Sequence[Proof], now: Timestamp) -> list[Message]:
    """The records that proofs become, each sealed with the one before it."""
    last = _record(file.records[-1]) if file.records else None
    found: list[Message] = []
    at = Timestamp(seconds=now.seconds)
    for proof in proofs:
        kind = pb.EvidenceKind.Name(proof.kind).removeprefix("EVIDENCE_KIND_").lower()
        told = datetime.fromtimestamp(at.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        last = sealed_chain.following(last, told, kind, dict(proof.body))
        found.append(
            ev.EvidenceSealed(
                case_id=opened.case_id, record_id=proof.record_id, n=last.n, at=at, kind=proof.kind, body=last.body,
                previous=last.previous, seal=last.seal, district_id=opened.district_id,
            )
        )  # fmt: skip
    return found


def _with(
    file: File, opened: ev.CaseOpened, event: Message, kind: pb.EvidenceKind, body: Mapping[str, Any], now: Timestamp
) -> list[Message]:
    """An event, with its record in the evidence."""
    name = f"{type(event).__name__}-{len(file.records) + 1}"
    return [event, *_sealed(file, opened, [Proof(name, kind, body)], now)]


def add_evidence(file: File, request: pb.AddEvidenceRequest, now: Timestamp) -> list[Message]:
    """Adds a record, once. BadRequest: it is no object of JSON."""
    opened = at_work(file, request.case_id)
    try:
        body = json.loads(request.body_json, parse_constant=_no_number)
        # A number or a text may be more than a record can hold.
        canonical = sealed_chain.canonical(body)
        canonical.encode()
    except RecursionError:
        raise BadRequest([("body_json", "is too deep: nobody reads so many things in each other")]) from None
    except ValueError as error:
        raise BadRequest([("body_json", f"is no JSON: {error}")]) from None
    if not isinstance(body, dict):
        raise BadRequest([("body_json", "is no object: put it into one, {…}")])
    known = next((one for one in file.records if one.record_id == request.record_id), None)
    if known is not None:
        if (known.kind, known.body) != (request.kind, canonical):
            problem = f"record {request.record_id} says something else already: add another one"
            raise AlreadyDifferent(problem, "OTHER_RECORD")
        return []
    if len(file.records) >= MOST_RECORDS:
        raise Refused(f"case {opened.case_id} has {MOST_RECORDS} records: put several into one", "EVIDENCE_FULL")
    return _sealed(file, opened, [Proof(request.record_id, request.kind, body)], now)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


# -- opening and ending -------------------------------------------------------------------------------------------------------


def open_case(
    file: File, request: pb.OpenCaseRequest, now: Timestamp, source: pb.Source, proofs: Sequence[Proof]
) -> list[Message]:
    """Opens a case with its first evidence, once. Refused: it was withdrawn, perhaps before it came."""
    if file.withdrawn:
        raise Refused(f"case {request.case_id} was withdrawn: another one has another id", "CASE_WITHDRAWN")
    if file.opened is not None:
        if (file.opened.exceedance_id, file.opened.source_id) != (request.exceedance_id, request.source_id):
            raise AlreadyDifferent(f"case {request.case_id} is about something else already", "OTHER_CASE")
        return []
    opened = ev.CaseOpened(
        case_id=request.case_id, exceedance_id=request.exceedance_id, source_id=request.source_id,
        firm_id=source.firm.firm_id, district_id=source.district_id, opened_at=now, reason=request.reason,
    )  # fmt: skip
    return [opened, *_sealed(file, opened, proofs, now)]


def withdraw(file: File, request: pb.WithdrawCaseRequest, now: Timestamp) -> list[Message]:
    """Undoes the opening, or bars the one that may still come; its decision goes with it. A case that was closed stays."""
    if file.withdrawn or file.state == pb.CASE_STATE_CLOSED:
        return []
    opened = file.opened or ev.CaseOpened()
    events: list[Message] = []
    if file.decision is not None and not file.decision.revoked:
        reason = request.reason or "the case was withdrawn"
        asked = pb.RevokeDecisionRequest(case_id=request.case_id, decision_id=file.decision.decision_id, reason=reason)
        events = revoke(file, asked, now)
    return [
        *events,
        ev.CaseWithdrawn(
            case_id=request.case_id, reason=request.reason, district_id=opened.district_id, firm_id=opened.firm_id
        )
    ]  # fmt: skip


def close(file: File, request: pb.CloseCaseRequest, _now: Timestamp) -> list[Message]:
    """Closes a case, once. Refused while a correction is ordered and not accepted."""
    if file.state == pb.CASE_STATE_CLOSED:
        return []
    opened = at_work(file, request.case_id)
    if file.state in (pb.CASE_STATE_CORRECTION_ORDERED, pb.CASE_STATE_CORRECTION_REPORTED):
        problem = f"the correction of case {request.case_id} is not accepted: accept or withdraw it first"
        raise Refused(problem, "CORRECTION_OPEN")
    return [
        ev.CaseClosed(
            case_id=request.case_id, outcome=request.outcome, firm_id=opened.firm_id, district_id=opened.district_id
        )
    ]  # fmt: skip


# -- decision -----------------------------------------------------------------------------------------------------------------


def decide(file: File, request: pb.RecordDecisionRequest, now: Timestamp) -> list[Message]:
    """Keeps a decision, once. Refused: it was revoked, perhaps before it came, or another one stands."""
    decision, key = request.decision, request.decision.decision_id
    if key in file.barred:
        raise Refused(f"decision {key} was revoked: another one has another id", "DECISION_REVOKED")
    if file.decision is not None and file.decision.decision_id == key:
        if file.decision != decision:
            raise AlreadyDifferent(f"decision {key} says something else already", "OTHER_DECISION")
        return []
    opened = at_work(file, request.case_id)
    if file.decision is not None and not file.decision.revoked:
        raise Refused(f"decision {file.decision.decision_id} stands: revoke it first", "DECIDED")
    if decision.revoked or decision.revoked_because:
        raise BadRequest([("decision.revoked", "is not for this: RevokeDecision revokes one")])
    recorded = ev.DecisionRecorded(
        case_id=request.case_id, decision=decision, source_id=opened.source_id, firm_id=opened.firm_id,
        district_id=opened.district_id,
    )  # fmt: skip
    body = {"decision_id": key, "law": decision.law, "text": decision.text, "fine_yuan": decision.fine_yuan}
    return _with(file, opened, recorded, pb.EVIDENCE_KIND_DECISION, body, now)


def revoke(file: File, request: pb.RevokeDecisionRequest, now: Timestamp) -> list[Message]:
    """A decision holds no more, nor does an order that rests on it; one that has not come yet is barred."""
    if request.decision_id in file.barred:
        return []
    opened = file.opened
    recorded = file.decision is not None and file.decision.decision_id == request.decision_id
    revoked = ev.DecisionRevoked(
        case_id=request.case_id, decision_id=request.decision_id, reason=request.reason, recorded=recorded,
        firm_id=opened.firm_id if opened else "", district_id=district_of(file),
    )  # fmt: skip
    if opened is None or not recorded:
        return [revoked]
    body = {"decision_id": request.decision_id, "revoked_because": request.reason}
    events = _with(file, opened, revoked, pb.EVIDENCE_KIND_DECISION, body, now)
    if file.correction is not None and not file.accepted:
        asked = pb.WithdrawCorrectionRequest(
            case_id=request.case_id, correction_id=file.correction.correction_id, reason="the decision was revoked"
        )
        events += withdraw_correction(reduce(evolve, events, file), asked, now)
    return events


# -- correction ---------------------------------------------------------------------------------------------------------------


def order_correction(file: File, request: pb.OrderCorrectionRequest, now: Timestamp) -> list[Message]:
    """Orders the firm to put something right, once. Refused: it was withdrawn, no decision stands, another one is ordered."""
    if request.correction_id in file.barred:
        problem = f"correction {request.correction_id} was withdrawn: another one has another id"
        raise Refused(problem, "CORRECTION_WITHDRAWN")
    known = file.correction
    if known is not None and known.correction_id == request.correction_id:
        if (known.what, known.until) != (request.what, request.until):
            raise AlreadyDifferent(f"correction {request.correction_id} was ordered already, otherwise", "OTHER_CORRECTION")
        return []
    opened = at_work(file, request.case_id)
    if file.decision is None or file.decision.revoked:
        raise Refused(f"no decision stands in case {request.case_id}: record one first", "NOT_DECIDED")
    if known is not None and not file.accepted:
        raise Refused(f"correction {known.correction_id} is ordered: withdraw it first", "CORRECTION_OPEN")
    ordered = ev.CorrectionOrdered(
        case_id=request.case_id, correction_id=request.correction_id, what=request.what, until=request.until,
        firm_id=opened.firm_id, district_id=opened.district_id,
    )  # fmt: skip
    body = {"correction_id": request.correction_id, "what": request.what, "until": request.until.ToJsonString()}
    return _with(file, opened, ordered, pb.EVIDENCE_KIND_CORRECTION, body, now)


def withdraw_correction(file: File, request: pb.WithdrawCorrectionRequest, now: Timestamp) -> list[Message]:
    """Undoes the order, or bars the one that may still come. One that was accepted stays."""
    if request.correction_id in file.barred:
        return []
    opened, known = file.opened, file.correction
    mine = known is not None and known.correction_id == request.correction_id
    if mine and file.accepted:
        return []
    withdrawn = ev.CorrectionWithdrawn(
        case_id=request.case_id, correction_id=request.correction_id, reason=request.reason,
        firm_id=opened.firm_id if opened else "", district_id=district_of(file),
    )  # fmt: skip
    if opened is None or not mine:
        return [withdrawn]
    body = {"correction_id": request.correction_id, "withdrawn_because": request.reason}
    return _with(file, opened, withdrawn, pb.EVIDENCE_KIND_CORRECTION, body, now)


def report_correction(file: File, request: pb.ReportCorrectionRequest, now: Timestamp) -> list[Message]:
    """The firm says that it has put it right."""
    opened = _ordered(file, request.case_id, request.correction_id)
    if file.accepted or (file.state == pb.CASE_STATE_CORRECTION_REPORTED and file.report == request.report):
        return []
    reported = ev.CorrectionReported(
        case_id=request.case_id, correction_id=request.correction_id, report=request.report, firm_id=opened.firm_id,
        district_id=opened.district_id,
    )  # fmt: skip
    body = {"correction_id": request.correction_id, "reported": request.report}
    return _with(file, opened, reported, pb.EVIDENCE_KIND_CORRECTION, body, now)


def accept_correction(file: File, request: pb.AcceptCorrectionRequest, now: Timestamp) -> list[Message]:
    """The bureau has looked: it is right, or not yet. Refused: the firm has not reported."""
    opened = _ordered(file, request.case_id, request.correction_id)
    if file.accepted:
        return []
    if file.state != pb.CASE_STATE_CORRECTION_REPORTED:
        raise Refused(f"the firm has not reported correction {request.correction_id}: wait for it", "NOT_REPORTED")
    accepted = ev.CorrectionAccepted(
        case_id=request.case_id, correction_id=request.correction_id, rejected=request.rejected, finding=request.finding,
        source_id=opened.source_id, firm_id=opened.firm_id, district_id=opened.district_id,
    )  # fmt: skip
    body = {"correction_id": request.correction_id, "accepted": not request.rejected, "finding": request.finding}
    return _with(file, opened, accepted, pb.EVIDENCE_KIND_CORRECTION, body, now)


def _ordered(file: File, case_id: str, correction_id: str) -> ev.CaseOpened:
    opened = at_work(file, case_id)
    if file.correction is None or file.correction.correction_id != correction_id:
        raise Refused(f"correction {correction_id} is not ordered in case {case_id}", "NO_SUCH_CORRECTION")
    return opened
