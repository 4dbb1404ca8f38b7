"""A subject: what is recorded of it, its sanctions, its appeals, and whom it lets ask. Pure.

It is long because all that is decided about a subject is decided on one state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import microseconds

DAY_S = 86_400
# Leap days included, so five years to the day are never too long.
LONGEST_BAD_S = (5 * 365 + 2) * DAY_S
"""A bad record and a sanction count for five years at most. The model is 征信业管理条例, 2013, article 16, which binds no
department: it has five years from the end of the act, for persons."""
LONGEST_AUTHORISATION_S = 366 * DAY_S
MOST_AUTHORISATIONS = 200
"""So many may be in force at a time."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A firm or a citizen as its events tell it."""

    subject_id: str = ""
    kind: pb.SubjectKind = pb.SUBJECT_KIND_UNSPECIFIED
    registered: ev.SubjectRegistered | None = None
    records: Mapping[str, pb.Record] = field(default_factory=dict)
    sanctions: Mapping[str, pb.Sanction] = field(default_factory=dict)
    # Sanctions that were revoked before they came.
    barred: frozenset[str] = frozenset()
    appeals: Mapping[str, pb.Appeal] = field(default_factory=dict)
    authorisations: Mapping[str, pb.Authorisation] = field(default_factory=dict)
    # Source and case → record.
    cases: Mapping[tuple[str, str], str] = field(default_factory=dict)


def evolve(subject: Subject, event: Message) -> Subject:
    """The subject after an event."""
    match event:
        case ev.SubjectRegistered():
            return replace(subject, subject_id=event.subject_id, kind=event.kind, registered=event)
        case ev.RecordAdded():
            one = event.record
            known = replace(subject, subject_id=event.subject_id, kind=event.kind)
            cases = subject.cases if one.sanction_id else {**subject.cases, (one.source, one.case_id): one.record_id}
            return replace(known, records={**subject.records, one.record_id: one}, cases=cases)
        case ev.RecordWithdrawn() | ev.RecordRepaired() | ev.RecordReplaced():
            return replace(subject, records={**subject.records, event.record.record_id: event.record})
        case ev.SanctionImposed():
            known = replace(subject, subject_id=event.subject_id, kind=event.kind)
            return replace(known, sanctions={**subject.sanctions, event.sanction.sanction_id: event.sanction})
        case ev.SanctionRevoked() | ev.SanctionLifted():
            return replace(subject, sanctions={**subject.sanctions, event.sanction.sanction_id: event.sanction})
        case ev.SanctionBarred():
            return replace(subject, barred=subject.barred | {event.sanction_id})
        case ev.AppealFiled() | ev.AppealDecided():
            return replace(subject, appeals={**subject.appeals, event.appeal.appeal_id: event.appeal})
        case ev.AuthorisationGranted():
            known = replace(subject, subject_id=event.subject_id)
            return replace(known, authorisations=_with(subject.authorisations, event.authorisation))
        case ev.AuthorisationWithdrawn():
            ended = pb.Authorisation()
            ended.CopyFrom(subject.authorisations[event.authorisation_id])
            ended.withdrawn_at.CopyFrom(event.withdrawn_at)
            return replace(subject, authorisations={**subject.authorisations, event.authorisation_id: ended})
    return subject


def _with(known: Mapping[str, pb.Authorisation], one: pb.Authorisation) -> Mapping[str, pb.Authorisation]:
    """The authorisations with one more. Of those that are over, only the newest are remembered."""
    if len(known) >= 2 * MOST_AUTHORISATIONS:
        over = [name for name, each in known.items() if not _holds(each, microseconds(one.granted_at))]
        gone = set(over[:-MOST_AUTHORISATIONS])
        known = {name: each for name, each in known.items() if name not in gone}
    return {**known, one.authorisation_id: one}


def district_of(subject: Subject) -> str:
    """The district where it is registered; empty: it is not known."""
    return subject.registered.district_id if subject.registered is not None else ""


def kind_of(ref: pb.SubjectRef, subject: Subject) -> pb.SubjectKind:
    """What a subject is, by the number that it was named with; by its id alone: as it is known, or as the caller says."""
    match ref.WhichOneof("who"):
        case "uscc":
            return pb.SUBJECT_KIND_FIRM
        case "citizen_id":
            return pb.SUBJECT_KIND_CITIZEN
    return subject.kind or ref.kind


def register(subject: Subject, subject_id: str, kind: pb.SubjectKind, request: pb.RegisterSubjectRequest) -> list[Message]:
    """Makes a subject known. Nothing where it is known so already."""
    if kind == pb.SUBJECT_KIND_CITIZEN and request.sector:
        raise BadRequest([("sector", "is of firms only: leave it out for a citizen")])
    if kind == pb.SUBJECT_KIND_FIRM and not request.sector:
        raise BadRequest([("sector", "is missing: name the section of GB/T 4754-2017 that the firm belongs to, A to T")])
    made = ev.SubjectRegistered(
        subject_id=subject_id, kind=kind, name=request.name, district_id=request.district_id, sector=request.sector
    )
    return [] if subject.registered == made else [made]


# -- records ------------------------------------------------------------------------------------------------------------------


def add(
    subject: Subject,
    subject_id: str,
    kind: pb.SubjectKind,
    record_id: str,
    request: pb.AddRecordRequest,
    by: str,
    now: Timestamp,
) -> list[Message]:
    """Records what somebody brings. The same case of the same source is one record; with other content it is refused."""
    since = request.since if request.HasField("since") else now
    record = pb.Record(
        record_id=record_id, kind=request.kind, dimension=request.dimension, weight=request.weight, source=request.source,
        law=request.law, case_id=request.case_id, text=request.text, since=since,
        until=request.until if request.HasField("until") else None, recorded_at=now, state=pb.RECORD_STATE_STANDING,
        recorded_by=by,
    )  # fmt: skip
    if before := subject.cases.get((request.source, request.case_id)):
        if _content(subject.records[before]) == _content(record, subject.records[before]):
            return []
        problem = (
            f"{request.source} has recorded case {request.case_id} otherwise, as {before}: "
            "withdraw that first (WithdrawRecord), and record it under a new number"
        )
        raise AlreadyDifferent(problem, "OTHER_RECORD")
    _check_term(record, now)
    return [ev.RecordAdded(subject_id=subject_id, kind=kind, record=record, district_id=district_of(subject))]


def added_as(subject: Subject, record_id: str, request: pb.AddRecordRequest) -> pb.Record:
    """The record of a request, which may be an earlier one of the same case."""
    return subject.records[subject.cases.get((request.source, request.case_id), record_id)]


def _content(record: pb.Record, like: pb.Record | None = None) -> tuple[object, ...]:
    """What a source says of a case. `like`: where nothing was said of the beginning, it is that of this one."""
    since = record.since if like is None or record.since != record.recorded_at else like.since
    return (
        record.kind, record.dimension, record.weight, record.law, record.text, microseconds(since), microseconds(record.until)
    )  # fmt: skip


def _check_term(record: pb.Record, now: Timestamp) -> None:
    if microseconds(record.since) > microseconds(now):
        raise BadRequest([("since", "is in the future: record what has happened")])
    if record.kind == pb.RECORD_KIND_BAD and not record.HasField("until"):
        raise BadRequest([("until", "is missing: a bad record has an end, at most five years after `since`")])
    if record.HasField("until"):
        seconds = (microseconds(record.until) - microseconds(record.since)) / 1e6
        if seconds <= 0:
            raise BadRequest([("until", "is not after `since`: no record ends before it begins")])
        if record.kind == pb.RECORD_KIND_BAD and seconds > LONGEST_BAD_S:
            raise BadRequest([("until", "is more than five years after `since`: no bad record counts for longer")])


def existing(subject: Subject, record_id: str) -> pb.Record:
    """The record, or NotFound."""
    if record_id not in subject.records:
        raise NotFound(f"this subject has no record {record_id}: GetCreditRecord has those that there are", "NO_SUCH_RECORD")
    return subject.records[record_id]


def require_own(subject: Subject, record_id: str, by: str) -> None:
    """Forbidden: somebody else has brought the record, or it came with a sanction. For whoever may not impose sanctions."""
    record = existing(subject, record_id)
    if name := record.sanction_id:
        problem = f"{record_id} came with sanction {name}: whoever may impose sanctions revokes that (RevokeSanction)"
        raise Forbidden(problem, "OF_A_SANCTION")
    if record.recorded_by != by:
        problem = f"{record_id} was brought by another department: that one withdraws it, or whoever may impose sanctions"
        raise Forbidden(problem, "OF_ANOTHER")


def withdraw(subject: Subject, record_id: str, reason: str, now: Timestamp, appeal_id: str = "") -> list[Message]:
    """The record should not have been, and what came with it neither. Once."""
    record = existing(subject, record_id)
    if record.state == pb.RECORD_STATE_WITHDRAWN:
        return []
    if record.sanction_id:
        return revoke(subject, subject.subject_id, record.sanction_id, reason, now, appeal_id)
    return [_withdrawn(subject, record, reason, now, appeal_id)]


def repair(subject: Subject, record_id: str, reason: str, now: Timestamp) -> list[Message]:
    """The subject has corrected what was wrong, once. A sanction that came with it is lifted."""
    record = existing(subject, record_id)
    if record.state == pb.RECORD_STATE_REPAIRED:
        return []
    if record.state == pb.RECORD_STATE_WITHDRAWN:
        raise Refused(f"record {record_id} was withdrawn: there is nothing to repair", "RECORD_WITHDRAWN")
    if record.state == pb.RECORD_STATE_REPLACED:
        raise Refused(f"record {record_id} was replaced by a later one: repair that", "RECORD_REPLACED")
    if record.kind != pb.RECORD_KIND_BAD:
        raise Refused(f"record {record_id} is a good one: withdraw it if it is wrong", "GOOD_RECORD")
    ended = ended_as(record, pb.RECORD_STATE_REPAIRED, reason, now)
    events: list[Message] = [ev.RecordRepaired(subject_id=subject.subject_id, record=ended, district_id=district_of(subject))]
    if record.sanction_id:
        lifted = _over(subject.sanctions[record.sanction_id], pb.SANCTION_STATE_LIFTED, reason, now)
        events.append(ev.SanctionLifted(subject_id=subject.subject_id, sanction=lifted, district_id=district_of(subject)))
    return events


def _withdrawn(subject: Subject, record: pb.Record, reason: str, now: Timestamp, appeal_id: str) -> ev.RecordWithdrawn:
    ended = ended_as(record, pb.RECORD_STATE_WITHDRAWN, reason, now)
    return ev.RecordWithdrawn(
        subject_id=subject.subject_id, record=ended, appeal_id=appeal_id, district_id=district_of(subject),
        was_over=record.state != pb.RECORD_STATE_STANDING,
    )  # fmt: skip


def ended_as(record: pb.Record, state: pb.RecordState, reason: str, now: Timestamp) -> pb.Record:
    """The record as it stands when it has ended."""
    ended = pb.Record()
    ended.CopyFrom(record)
    ended.state, ended.end_reason = state, reason
    ended.ended_at.CopyFrom(now)
    return ended


def _over(sanction: pb.Sanction, state: pb.SanctionState, reason: str, now: Timestamp) -> pb.Sanction:
    over = pb.Sanction()
    over.CopyFrom(sanction)
    over.state, over.end_reason = state, reason
    over.ended_at.CopyFrom(now)
    return over


# -- sanctions ----------------------------------------------------------------------------------------------------------------


def impose(
    subject: Subject, subject_id: str, kind: pb.SubjectKind, record_id: str, request: pb.ImposeSanctionRequest, now: Timestamp
) -> list[Message]:
    """Imposes a sanction, with a bad record of it. Refused where it was revoked before, also before it came."""
    name = request.sanction_id
    if name in subject.barred:
        raise Refused(f"sanction {name} was revoked before it came: it is not imposed any more", "SANCTION_REVOKED")
    if before := subject.sanctions.get(name):
        if before.state == pb.SANCTION_STATE_REVOKED:
            raise Refused(f"sanction {name} was revoked: {before.end_reason}", "SANCTION_REVOKED")
        if _said(before, subject.records[before.record_id].weight) != _said(request, request.weight):
            problem = f"sanction {name} is another one, of case {before.case_id}: choose another id"
            raise AlreadyDifferent(problem, "OTHER_SANCTION")
        return []
    seconds = (microseconds(request.until) - microseconds(now)) / 1e6
    if seconds <= 0:
        raise BadRequest([("until", "is over: name the moment at which the sanction will end")])
    if seconds > LONGEST_BAD_S:
        raise BadRequest([("until", "is more than five years from now: no sanction is longer")])
    record = pb.Record(
        record_id=record_id, kind=pb.RECORD_KIND_BAD, dimension=pb.CREDIT_DIMENSION_LAW_ABIDING, weight=request.weight,
        source=request.source, law=request.law, case_id=request.case_id, text=request.text, since=now, until=request.until,
        recorded_at=now, state=pb.RECORD_STATE_STANDING, sanction_id=name,
    )  # fmt: skip
    sanction = pb.Sanction(
        sanction_id=name, case_id=request.case_id, law=request.law, measures=request.measures, since=now, until=request.until,
        decided_by=request.decided_by, text=request.text, record_id=record_id, state=pb.SANCTION_STATE_IN_FORCE,
        source=request.source,
    )  # fmt: skip
    district_id = district_of(subject)
    return [
        ev.RecordAdded(subject_id=subject_id, kind=kind, record=record, district_id=district_id),
        ev.SanctionImposed(subject_id=subject_id, kind=kind, sanction=sanction, district_id=district_id),
    ]


def _said(one: pb.Sanction | pb.ImposeSanctionRequest, weight: int) -> tuple[object, ...]:
    """What is said of a sanction by whoever imposes it."""
    measures = frozenset(one.measures)
    return (one.case_id, one.law, measures, microseconds(one.until), one.decided_by, one.text, one.source, weight)


def revoke(
    subject: Subject, subject_id: str, sanction_id: str, reason: str, now: Timestamp, appeal_id: str = ""
) -> list[Message]:
    """The sanction should not have been: it and its record count no more. Once. One that has not come yet is barred."""
    found = subject.sanctions.get(sanction_id)
    if found is None:
        if sanction_id in subject.barred:
            return []
        barred = ev.SanctionBarred(
            subject_id=subject_id, sanction_id=sanction_id, reason=reason, district_id=district_of(subject)
        )
        return [barred]
    if found.state == pb.SANCTION_STATE_REVOKED:
        return []
    revoked = _over(found, pb.SANCTION_STATE_REVOKED, reason, now)
    return [
        ev.SanctionRevoked(
            subject_id=subject.subject_id, sanction=revoked, appeal_id=appeal_id, district_id=district_of(subject)
        ),
        _withdrawn(subject, subject.records[found.record_id], reason, now, appeal_id),
    ]


# -- appeals ------------------------------------------------------------------------------------------------------------------


def file_appeal(subject: Subject, appeal_id: str, request: pb.FileAppealRequest, now: Timestamp) -> list[Message]:
    """The subject appeals against what stands. One appeal at a time, and none against what an appeal has confirmed."""
    if bool(request.record_id) == bool(request.sanction_id):
        raise BadRequest([("record_id", "and sanction_id: name one of the two, what is appealed against")])
    record_id = request.record_id
    if request.sanction_id:
        record_id = sanctioned(subject, request.sanction_id).record_id
    record = existing(subject, record_id)
    if record.state == pb.RECORD_STATE_WITHDRAWN:
        raise Refused(f"{record_id} counts no more: {record.end_reason}", "RECORD_WITHDRAWN")
    # A sanction and its record are one thing.
    sanction_id = record.sanction_id
    for other in subject.appeals.values():
        if (other.record_id, other.sanction_id) == ("" if sanction_id else record_id, sanction_id):
            if other.state == pb.APPEAL_STATE_FILED:
                raise Refused(f"appeal {other.appeal_id} against it is not decided: wait for that", "ALREADY_APPEALED")
            raise Refused(f"appeal {other.appeal_id} against it was lost: {other.decision_reason}", "APPEAL_LOST")
    appeal = pb.Appeal(
        appeal_id=appeal_id, record_id="" if sanction_id else record_id, sanction_id=sanction_id, grounds=request.grounds,
        state=pb.APPEAL_STATE_FILED, filed_at=now,
    )  # fmt: skip
    return [
        ev.AppealFiled(subject_id=subject.subject_id, appeal=appeal, district_id=district_of(subject), case_id=record.case_id)
    ]


def decide_appeal(subject: Subject, request: pb.DecideAppealRequest, by: str, now: Timestamp) -> list[Message]:
    """Decides an appeal, once. Where it is won, what it is against is gone in the same moment."""
    appeal = subject.appeals.get(request.appeal_id)
    if appeal is None:
        raise NotFound(f"this subject has no appeal {request.appeal_id}: GetCreditRecord has its appeals", "NO_SUCH_APPEAL")
    state = pb.APPEAL_STATE_WON if request.won else pb.APPEAL_STATE_LOST
    if appeal.state == state:
        return []
    if appeal.state != pb.APPEAL_STATE_FILED:
        raise Refused(f"appeal {request.appeal_id} was decided otherwise: {appeal.decision_reason}", "APPEAL_DECIDED")
    decided = pb.Appeal()
    decided.CopyFrom(appeal)
    decided.state, decided.decided_by, decided.decision_reason = state, by, request.reason
    decided.decided_at.CopyFrom(now)
    record_id = appeal.record_id or subject.sanctions[appeal.sanction_id].record_id
    events: list[Message] = [
        ev.AppealDecided(
            subject_id=subject.subject_id, appeal=decided, district_id=district_of(subject),
            case_id=subject.records[record_id].case_id,
        )
    ]  # fmt: skip
    if request.won:
        after = reduce(evolve, events, subject)
        events += withdraw(after, record_id, f"an appeal was won: {request.reason}", now, request.appeal_id)
    return events


def sanctioned(subject: Subject, sanction_id: str) -> pb.Sanction:
    """The sanction, or NotFound."""
    if sanction_id not in subject.sanctions:
        raise NotFound(f"this subject has no sanction {sanction_id}: GetCreditRecord has its sanctions", "NO_SUCH_SANCTION")
    return subject.sanctions[sanction_id]


# -- whom it lets ask ---------------------------------------------------------------------------------------------------------


def authorise(
    subject: Subject, subject_id: str, name: str, request: pb.GrantAuthorisationRequest, now: Timestamp
) -> list[Message]:
    """Lets a third party ask, for some purposes, until a moment."""
    seconds = (microseconds(request.until) - microseconds(now)) / 1e6
    if seconds <= 0:
        raise BadRequest([("until", "is over: name the moment until which the third party may ask")])
    if seconds > LONGEST_AUTHORISATION_S:
        raise BadRequest([("until", "is more than a year from now: authorise for a year, and then anew")])
    if len(in_force(subject, now)) >= MOST_AUTHORISATIONS:
        problem = f"{MOST_AUTHORISATIONS} authorisations of this subject are in force: withdraw one that is not needed"
        raise Refused(problem, "TOO_MANY_AUTHORISATIONS")
    made = pb.Authorisation(
        authorisation_id=name, third_party=request.third_party, purposes=request.purposes, granted_at=now, until=request.until
    )
    return [ev.AuthorisationGranted(subject_id=subject_id, authorisation=made, district_id=district_of(subject))]


def end_authorisation(subject: Subject, name: str, now: Timestamp) -> list[Message]:
    """The third party is told nothing more, from now on. Once."""
    if authorised(subject, name).HasField("withdrawn_at"):
        return []
    return [
        ev.AuthorisationWithdrawn(
            subject_id=subject.subject_id, authorisation_id=name, withdrawn_at=now, district_id=district_of(subject)
        )
    ]


def authorised(subject: Subject, name: str) -> pb.Authorisation:
    """The authorisation, or NotFound."""
    if name not in subject.authorisations:
        raise NotFound(f"this subject has given no authorisation {name}", "NO_SUCH_AUTHORISATION")
    return subject.authorisations[name]


def in_force(subject: Subject, now: Timestamp) -> list[pb.Authorisation]:
    """The authorisations that hold now. At `until` one does not hold any more."""
    moment = microseconds(now)
    return [one for one in subject.authorisations.values() if _holds(one, moment)]


def _holds(one: pb.Authorisation, moment: int) -> bool:
    return not one.HasField("withdrawn_at") and moment < microseconds(one.until)


def require(subject: Subject, request: pb.CheckAuthorisedRequest, caller: str, now: Timestamp) -> None:
    """Forbidden: the authorisation is not there, is somebody else's, is over, or is for other purposes.

    Whoever asks without one is told the same, whatever the reason: it is no way to find out who has authorised whom.
    """
    for one in in_force(subject, now):
        if one.authorisation_id == request.authorisation_id and one.third_party == caller and request.purpose in one.purposes:
            return
    problem = "no authorisation of this subject lets this caller ask for this purpose now: ask the subject for one"
    raise Forbidden(problem, "NOT_AUTHORISED")
