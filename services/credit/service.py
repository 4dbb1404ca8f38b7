"""Credit (信用): records in, decisions out, and who may ask.

It is long because every method of the contract stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev
from citybrain.environment.v1.events_pb2 import EnvironmentalCreditChanged
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh import identifiers
from citybrain.mesh.errors import BadRequest, NotFound
from citybrain.mesh.events import timestamp
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept, unpacked
from citybrain.mesh.long_streams import done
from citybrain.mesh.service import (
    Caller,
    Clock,
    Heard,
    Journal,
    Paging,
    People,
    Service,
    Streams,
    View,
    at,
    correlate,
    new_id,
    off_loop,
    rpc,
    subscribe,
)
from citybrain.services.credit import areas, credit_map, decision, domain, environmental_credit, scoring, views

_MOST_SHOWN = 100
_REVOKES = "credit.sanction"
"""The scope of whoever imposes and revokes sanctions."""
# Rows are read in the thread that answers: so few that nobody waits for them.
_ROWS_AT_ONCE = 200


class CreditService(Service):
    """Records of firms and citizens, sanctions, appeals, and what is told of them."""

    name = "credit"
    subjects = Streams("subject", domain.Subject, domain.evolve, snapshot_every=500, district=domain.district_of)
    checks = Journal("checks")
    area_credit = Streams("area", areas.Area, areas.evolve, snapshot_every=500)
    standing = View(views.STANDING_EVENTS, views.subject_key, views.standing, row=views.StandingRow)
    records = View(views.RECORD_EVENTS, views.record_key, views.record, row=Kept)
    # Nobody decides on it: many questions are folded at once.
    asked = View(views.CHECK_EVENTS, views.check_key, views.check, row=views.CheckRow, pause_s=0.05)
    indexes = View(views.INDEX_EVENTS, views.area_key, views.area, row=views.IndexRow)
    people = People()
    paging = Paging()
    clock = Clock()
    caller = Caller()

    # -- subjects and records -------------------------------------------------------------------------------------------------

    @rpc
    def RegisterSubject(self, request: pb.RegisterSubjectRequest) -> pb.RegisterSubjectResponse:
        """Makes a firm or a citizen known."""
        subject_id = self._subject(request, new=True)
        kind = domain.kind_of(request.subject, self.subjects.load(subject_id))
        _require_kind(kind, subject_id)
        done(self.subjects, subject_id, lambda state: domain.register(state, subject_id, kind, request))
        return pb.RegisterSubjectResponse(subject_id=subject_id)

    @rpc
    def AddRecord(self, request: pb.AddRecordRequest) -> pb.AddRecordResponse:
        """Records something good or bad."""
        subject_id = self._subject(request, new=True)
        kind = domain.kind_of(request.subject, self.subjects.load(subject_id))
        _require_kind(kind, subject_id)
        record_id, now, by = new_id("rec"), self._now(), self._by()
        after = done(self.subjects, subject_id, lambda state: domain.add(state, subject_id, kind, record_id, request, by, now))
        return pb.AddRecordResponse(subject_id=subject_id, record=domain.added_as(after, record_id, request))

    @rpc
    def WithdrawRecord(self, request: pb.WithdrawRecordRequest) -> pb.WithdrawRecordResponse:
        """The record should not have been."""
        now, name = self._now(), request.record_id
        revokes, by = self.caller.holds(_REVOKES), self._by()

        def decide(state: domain.Subject) -> list[Message]:
            if not revokes:
                domain.require_own(state, name, by)
            return domain.withdraw(state, name, request.reason, now)

        after = self._change(request, decide)
        return pb.WithdrawRecordResponse(record=domain.existing(after, name))

    @rpc
    def RepairRecord(self, request: pb.RepairRecordRequest) -> pb.RepairRecordResponse:
        """The subject has corrected what was wrong."""
        now, name = self._now(), request.record_id
        after = self._change(request, lambda state: domain.repair(state, name, request.reason, now))
        return pb.RepairRecordResponse(record=domain.existing(after, name))

    @rpc
    def GetCreditRecord(self, request: pb.GetCreditRecordRequest) -> pb.GetCreditRecordResponse:
        """All that is recorded of one subject, records in pages."""
        subject_id = self._subject(request)
        state, now = self.subjects.load(subject_id), self.clock.now()
        row = self.standing.get(subject_id) or views.StandingRow(state.kind)
        page, more = self.paging.scan(request, self.records, default=100, prefix=views.prefix_of(subject_id))
        registered = state.registered or ev.SubjectRegistered()
        return pb.GetCreditRecordResponse(
            subject_id=subject_id,
            kind=state.kind,
            name=registered.name,
            district_id=registered.district_id,
            sector=registered.sector,
            score=scoring.score(row, now),
            sanctions=[views.shown_sanction(one, now) for one in list(state.sanctions.values())[-_MOST_SHOWN:]],
            appeals=list(state.appeals.values())[-_MOST_SHOWN:],
            authorisations=domain.in_force(state, timestamp(now)),
            records=[views.shown_record(one, now) for _, one in page],
            next_page_token=more,
        )

    @subscribe(EnvironmentalCreditChanged, where=environmental_credit.is_new)
    def note_environmental_credit(self, event: Heard) -> None:
        """A firm's environmental credit is part of its credit."""
        changed, record_id, now = event.data, new_id("rec"), self._now()
        assert isinstance(changed, EnvironmentalCreditChanged)
        case_id = f"environmental-credit-{event.stored.id}"
        done(
            self.subjects,
            changed.firm_id,
            lambda state: environmental_credit.graded(state, record_id, changed, case_id, now),
        )

    # -- credit before approval -----------------------------------------------------------------------------------------------

    @rpc
    def CheckCredit(self, request: pb.CheckCreditRequest) -> pb.CheckCreditResponse:
        """A decision with its reasons; who asked is written before it is told."""
        subject_id = self._known(request)
        made = pb.Check(purpose=request.purpose, basis=request.basis, matter=request.matter)
        told = self._check(subject_id, made)
        return pb.CheckCreditResponse(
            check_id=told.check.check_id, decision=told.check.decision, reasons=told.reasons, checked_at=told.check.checked_at
        )

    @rpc
    def CheckAuthorised(self, request: pb.CheckAuthorisedRequest) -> pb.CheckAuthorisedResponse:
        """The same for a third party, with an authorisation of the subject."""
        subject_id = self._known(request)
        # Asked of the stream, not of a view: what was withdrawn a moment ago counts no more.
        state = self.subjects.load(subject_id) if subject_id else domain.Subject()
        domain.require(state, request, self.caller.name, self._now())
        basis = "authorisation of the subject"
        made = pb.Check(purpose=request.purpose, authorisation_id=request.authorisation_id, basis=basis)
        told = self._check(subject_id, made)
        return pb.CheckAuthorisedResponse(
            check_id=told.check.check_id, decision=told.check.decision, reasons=told.reasons, checked_at=told.check.checked_at
        )

    @rpc
    def ListChecks(self, request: pb.ListChecksRequest) -> pb.ListChecksResponse:
        """Who has asked about a subject."""
        subject_id = self._subject(request)
        self.subjects.load(subject_id)
        page, more = self.paging.scan(request, self.asked, default=100, prefix=views.prefix_of(subject_id))
        return pb.ListChecksResponse(checks=[views.shown_check(row) for _, row in page], next_page_token=more)

    @rpc
    def GrantAuthorisation(self, request: pb.GrantAuthorisationRequest) -> pb.GrantAuthorisationResponse:
        """A subject lets a third party ask."""
        subject_id = self._subject(request, new=True)
        name, now = new_id("aut"), self._now()
        after = self.subjects.handle(
            subject_id, lambda state: domain.authorise(state, subject_id, name, request, now), lambda after, _: after
        )
        return pb.GrantAuthorisationResponse(authorisation=domain.authorised(after, name))

    @rpc
    def WithdrawAuthorisation(self, request: pb.WithdrawAuthorisationRequest) -> pb.WithdrawAuthorisationResponse:
        """The third party is told nothing more."""
        now, name = self._now(), request.authorisation_id
        after = self._change(request, lambda state: domain.end_authorisation(state, name, now))
        return pb.WithdrawAuthorisationResponse(authorisation=domain.authorised(after, name))

    # -- sanctions and appeals ------------------------------------------------------------------------------------------------

    @rpc
    def ImposeSanction(self, request: pb.ImposeSanctionRequest) -> pb.ImposeSanctionResponse:
        """Imposes a sanction, with a record of it."""
        subject_id = self._subject(request, new=True)
        kind = domain.kind_of(request.subject, self.subjects.load(subject_id))
        _require_kind(kind, subject_id)
        record_id, now = new_id("rec"), self._now()
        correlate(request.case_id)
        after = done(self.subjects, subject_id, lambda state: domain.impose(state, subject_id, kind, record_id, request, now))
        return pb.ImposeSanctionResponse(sanction=domain.sanctioned(after, request.sanction_id))

    @rpc
    def RevokeSanction(self, request: pb.RevokeSanctionRequest) -> pb.RevokeSanctionResponse:
        """The sanction should not have been; one that has not come yet is barred."""
        now, name = self._now(), request.sanction_id
        subject_id = self._subject(request, new=True)
        after = done(self.subjects, subject_id, lambda state: domain.revoke(state, subject_id, name, request.reason, now))
        return pb.RevokeSanctionResponse(sanction=after.sanctions.get(name))

    @rpc
    def FileAppeal(self, request: pb.FileAppealRequest) -> pb.FileAppealResponse:
        """The subject appeals."""
        name, now = new_id("app"), self._now()
        subject_id = self._subject(request)
        after = self.subjects.handle(
            subject_id, lambda state: domain.file_appeal(state, name, request, now), lambda after, _: after
        )
        return pb.FileAppealResponse(appeal=after.appeals[name])

    @rpc
    def DecideAppeal(self, request: pb.DecideAppealRequest) -> pb.DecideAppealResponse:
        """Decides an appeal."""
        now, by = self._now(), self.caller.name
        after = self._change(request, lambda state: domain.decide_appeal(state, request, by, now))
        return pb.DecideAppealResponse(appeal=after.appeals[request.appeal_id])

    # -- areas ----------------------------------------------------------------------------------------------------------------

    @rpc
    def ListCreditIndexes(self, request: pb.ListCreditIndexesRequest) -> pb.ListCreditIndexesResponse:
        """The credit of districts and sectors, in pages."""
        rows = [(key, row) for key, row in self.indexes.scan() if row.warned or not request.warned]
        page, more = self.paging.page(request, rows, lambda one: (one[0],), default=100)
        shown = [unpacked(row.index, pb.CreditIndex) for _, row in page]
        return pb.ListCreditIndexesResponse(indexes=shown, next_page_token=more)

    @rpc
    def GetCreditMap(self, request: pb.GetCreditMapRequest) -> pb.GetCreditMapResponse:
        """What everybody may see of districts."""
        of = request.subjects or pb.SUBJECT_KIND_FIRM
        prefix = joined(pb.SubjectKind.Name(of), pb.AreaKind.Name(pb.AREA_KIND_DISTRICT), "")
        page, more = self.paging.scan(request, self.indexes, default=100, prefix=prefix)
        shown = []
        for _, row in page:
            index = unpacked(row.index, pb.CreditIndex)
            count, bad = index.counts.subjects, sum(areas.worst_of(index.counts).values())
            shown.append(
                pb.MapDistrict(
                    district_id=index.area, subjects=credit_map.subjects(count),
                    clean_percent=credit_map.clean_percent(count, bad), computed_at=index.computed_at,
                )
            )  # fmt: skip
        return pb.GetCreditMapResponse(districts=shown, next_page_token=more)

    @at("02:00")
    def publish_indexes(self) -> None:
        """Computes the credit of all areas anew."""
        now = self.clock.now()
        found: dict[areas.AreaKey, pb.AreaCounts] = {}
        after = ""
        while page := self.standing.scan(after, _ROWS_AT_ONCE):
            off_loop(areas.count, [row for _, row in page], now, found)
            after = page[-1][0]
        moment = timestamp(now)
        for key in sorted({*found, *self._published()}):
            counts = found.get(key, pb.AreaCounts())
            self.area_credit.handle(
                _area_stream(key),
                lambda state, key=key, counts=counts: areas.publish(state, key, counts, moment),  # type: ignore[misc]
                lambda after, _: after,
                label=_area_stream(key),
            )

    def _published(self) -> list[areas.AreaKey]:
        """Areas that have an index: also where no subject is left it is looked at again."""
        shown = [unpacked(row.index, pb.CreditIndex) for _, row in self.indexes.scan()]
        return [(one.subjects, one.kind, one.area) for one in shown]

    # -- what they share --------------------------------------------------------------------------------------------------

    def _by(self) -> str:
        """The department that calls."""
        return self.caller.team or self.caller.name

    def _now(self) -> Timestamp:
        return timestamp(self.clock.now())

    def _subject(self, request: _Asks, *, new: bool = False) -> str:
        """The id of a subject. `new`: it may be one that nobody has named before. NotFound, BadRequest."""
        who, number = _number(request)
        if not who:
            return number
        if new:
            return self.people.of(who, number)
        if not (found := self.people.known(who, number)):
            raise NotFound("nothing is known of this subject", "NO_SUCH_SUBJECT")
        return found

    def _known(self, request: _Asks) -> str:
        """The id of a subject that is asked about; empty: nobody has named it before."""
        who, number = _number(request)
        return self.people.known(who, number) if who else number

    def _change(self, request: _Asks, decide: Callable[[domain.Subject], list[Message]]) -> domain.Subject:
        return done(self.subjects, self._subject(request), decide)

    def _check(self, subject_id: str, check: pb.Check) -> ev.CreditChecked:
        """Decides, and writes down who has asked before anything is told."""
        now = self.clock.now()
        row = self.standing.get(subject_id) if subject_id else None
        made, reasons = decision.decide(row, check.purpose, now)
        if row is not None and made == pb.CREDIT_DECISION_RESTRICTED:
            # The row may be behind: nobody is kept from anything by a sanction that was taken back a moment ago.
            row = views.without_ended(row, self.subjects.load(subject_id).sanctions)
            made, reasons = decision.decide(row, check.purpose, now)
        name = new_id("chk")
        check.MergeFrom(pb.Check(check_id=name, decision=made, asked_by=self.caller.name, checked_at=timestamp(now)))
        event = ev.CreditChecked(subject_id=subject_id, check=check, reasons=reasons)
        self.checks.write(event)
        return event


class _Asks(Protocol):
    """A request about a subject."""

    @property
    def subject(self) -> pb.SubjectRef: ...

    def ListFields(self) -> Sequence[tuple[FieldDescriptor, Any]]: ...


def _number(request: _Asks) -> tuple[str, str]:
    """What kind of number names a subject, and the number in its one form. No kind: it is the id.

    BadRequest: the number is wrong, or stands in another field too, from where it would come into logs and events.
    """
    ref = request.subject
    match ref.WhichOneof("who"):
        case "uscc":
            kind, number, problem = "uscc", identifiers.uscc(ref.uscc), identifiers.uscc_problem(ref.uscc)
        case "citizen_id":
            kind, number = "citizen", identifiers.citizen_id(ref.citizen_id)
            problem = identifiers.citizen_id_problem(ref.citizen_id)
        case _:
            return "", ref.subject_id
    if problem:
        raise BadRequest([(f"subject.{ref.WhichOneof('who')}", problem)])
    told = [field.name for field, value in request.ListFields() if isinstance(value, str) and number in value.upper()]
    if told:
        raise BadRequest([(name, "has the number of the subject in it, which stands in `subject` alone") for name in told])
    return kind, number


def _require_kind(kind: pb.SubjectKind, subject_id: str) -> None:
    """NotFound: a subject was named by its id, and nobody has said what it is."""
    if not kind:
        problem = f"nothing is known of {subject_id}: name it by its number the first time, or say what it is (kind)"
        raise NotFound(problem, "NO_SUCH_SUBJECT")


def _area_stream(key: areas.AreaKey) -> str:
    subjects, kind, name = key
    return joined(pb.SubjectKind.Name(subjects).lower(), pb.AreaKind.Name(kind).lower(), name)
