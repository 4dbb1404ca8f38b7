"""Methods of inspections and of cases with their evidence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from citybrain.environment.v1 import environment_service_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.service import Streams, correlate, rpc
from citybrain.services.environment import cases as case_file
from citybrain.services.environment import inspections as inspecting
from citybrain.services.environment import proofs, sources
from citybrain.services.environment.exceedance_calls import ExceedanceCalls

SERVICE = "service:"
"""Begins the subjects of services."""


class OfCase(Protocol):
    """A request about a case."""

    @property
    def case_id(self) -> str:
        """The case."""


R = TypeVar("R", bound=OfCase)


class CaseCalls(ExceedanceCalls):
    """Inspections and cases."""

    inspections = Streams("inspection", inspecting.Work, inspecting.evolve, district=inspecting.district_of)
    cases = Streams("case", case_file.File, case_file.evolve, district=case_file.district_of)

    @rpc
    def OrderInspection(self, request: pb.OrderInspectionRequest) -> pb.OrderInspectionResponse:
        """Orders an inspection of a source or of a place."""
        source = self._source(request.source_id) if request.source_id else None
        inspection = inspecting.asked(request, source)
        if request.exceedance_id:
            correlate(request.exceedance_id)
        firm_id = source.firm.firm_id if source is not None else ""
        after = self.inspections.handle(
            request.inspection_id, lambda work: inspecting.order(work, inspection, firm_id), lambda after, _: after
        )
        return pb.OrderInspectionResponse(inspection=inspecting.show(after))

    @rpc
    def WithdrawInspection(self, request: pb.WithdrawInspectionRequest) -> pb.WithdrawInspectionResponse:
        """Undoes the order, or bars the one that may still come."""
        return self.inspections.handle(
            request.inspection_id, lambda work: inspecting.withdraw(work, request),
            lambda _after, _: pb.WithdrawInspectionResponse(), continues=True,
        )  # fmt: skip

    @rpc
    def ReportInspection(self, request: pb.ReportInspectionRequest) -> pb.ReportInspectionResponse:
        """Keeps what inspectors have found."""
        by, now = self.caller.name, self._now()
        if by.startswith(SERVICE):
            by = request.reported_by
        elif request.reported_by:
            raise BadRequest([("reported_by", "is only for services: leave it out, who calls is who reports")])
        after = self.inspections.handle(
            request.inspection_id, lambda work: inspecting.report(work, request, by, now), lambda after, _: after,
            continues=True,
        )  # fmt: skip
        return pb.ReportInspectionResponse(inspection=inspecting.show(after))

    @rpc
    def GetInspection(self, request: pb.GetInspectionRequest) -> pb.GetInspectionResponse:
        """One inspection."""
        work = self.inspections.load(request.inspection_id)
        inspecting.existing(work, request.inspection_id)
        return pb.GetInspectionResponse(inspection=inspecting.show(work))

    @rpc
    def OpenCase(self, request: pb.OpenCaseRequest) -> pb.OpenCaseResponse:
        """Opens a case with what was measured, and the trace, as its first evidence."""
        source = self._source(request.source_id)
        proven: list[case_file.Proof] = []
        if request.exceedance_id:
            correlate(request.exceedance_id)
            followed = self.exceedances.load(request.exceedance_id)
            proven = proofs.of_exceedance(self._exceedance(request.exceedance_id), followed.steps, followed.trace)
        open_ = partial(case_file.open_case, source=source, proofs=proven)
        return pb.OpenCaseResponse(case=self._shown(request, open_))

    @rpc
    def WithdrawCase(self, request: pb.WithdrawCaseRequest) -> pb.WithdrawCaseResponse:
        """Undoes the opening, or bars the one that may still come."""
        self._changed(request, case_file.withdraw)
        return pb.WithdrawCaseResponse()

    @rpc
    def AddEvidence(self, request: pb.AddEvidenceRequest) -> pb.AddEvidenceResponse:
        """Adds a record to the evidence."""
        after = self._changed(request, case_file.add_evidence)
        record = next(one for one in after.records if one.record_id == request.record_id)
        return pb.AddEvidenceResponse(n=record.n, seal=record.seal)

    @rpc
    def RecordDecision(self, request: pb.RecordDecisionRequest) -> pb.RecordDecisionResponse:
        """Keeps what was decided after the hearing."""
        return pb.RecordDecisionResponse(case=self._shown(request, case_file.decide))

    @rpc
    def RevokeDecision(self, request: pb.RevokeDecisionRequest) -> pb.RevokeDecisionResponse:
        """A decision holds no more, nor does what rests on it."""
        return pb.RevokeDecisionResponse(case=self._shown(request, case_file.revoke))

    @rpc
    def OrderCorrection(self, request: pb.OrderCorrectionRequest) -> pb.OrderCorrectionResponse:
        """Orders the firm to put right what was found."""
        return pb.OrderCorrectionResponse(case=self._shown(request, case_file.order_correction))

    @rpc
    def WithdrawCorrection(self, request: pb.WithdrawCorrectionRequest) -> pb.WithdrawCorrectionResponse:
        """Undoes the order, or bars the one that may still come."""
        return pb.WithdrawCorrectionResponse(case=self._shown(request, case_file.withdraw_correction))

    @rpc
    def ReportCorrection(self, request: pb.ReportCorrectionRequest) -> pb.ReportCorrectionResponse:
        """The firm says that it has put it right."""
        return pb.ReportCorrectionResponse(case=self._shown(request, case_file.report_correction))

    @rpc
    def AcceptCorrection(self, request: pb.AcceptCorrectionRequest) -> pb.AcceptCorrectionResponse:
        """The bureau has looked: it is right, or not yet. A source that is right works on as corrected."""
        after = self._changed(request, case_file.accept_correction)
        opened = case_file.existing(after, request.case_id)
        if after.state == pb.CASE_STATE_CORRECTED:
            correct = partial(sources.correct, source_id=opened.source_id, case_id=request.case_id)
            self.lives.handle(opened.source_id, correct, lambda life, _: life)
        return pb.AcceptCorrectionResponse(case=case_file.show(after))

    @rpc
    def CloseCase(self, request: pb.CloseCaseRequest) -> pb.CloseCaseResponse:
        """Closes a case."""
        return pb.CloseCaseResponse(case=self._shown(request, case_file.close))

    @rpc
    def GetCase(self, request: pb.GetCaseRequest) -> pb.GetCaseResponse:
        """One case, without its evidence."""
        file = self.cases.load(request.case_id)
        case_file.existing(file, request.case_id)
        return pb.GetCaseResponse(case=case_file.show(file))

    @rpc
    def GetCaseEvidence(self, request: pb.GetCaseEvidenceRequest) -> pb.GetCaseEvidenceResponse:
        """The evidence of a case as lines of JSON, oldest first, in pages."""
        file = self.cases.load(request.case_id)
        case_file.existing(file, request.case_id)
        page, more = self.paging.page(request, case_file.lines(file), lambda line: (line[0],), default=100)
        lines = [line for _, line in page]
        return pb.GetCaseEvidenceResponse(lines=lines, next_page_token=more, head=case_file.show(file).head)

    def _changed(self, request: R, decide: Callable[[case_file.File, R, Timestamp], list[Message]]) -> case_file.File:
        """The case after a step: what is decided of it now, by the request."""
        now = self._now()
        return self.cases.handle(
            request.case_id, lambda file: decide(file, request, now), lambda after, _: after, continues=True
        )

    def _shown(self, request: R, decide: Callable[[case_file.File, R, Timestamp], list[Message]]) -> pb.Case:
        """The same, as callers see it."""
        return case_file.show(self._changed(request, decide))
