"""The people of that day: the district inspects, the bureau hears the firm and decides, the firm puts it right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from citybrain.credit.v1 import credit_service_pb2 as credit
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1 import events_pb2 as hub_events
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.events.v1.event_pb2 import Event
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from google.protobuf.message import Message

from citybrain.simulation.air_run import ENVIRONMENT, HUB
from citybrain.simulation.gateway_client import Gateway
from citybrain.stories.driven import unpacked

R = TypeVar("R", bound=Message)

CREDIT = "citybrain.credit.v1.CreditService"
SAGAS = "citybrain.sagas.v1.SagaService"
INSPECTED_S, HEARD_S, DECIDED_S, CORRECTED_S = 15 * 3600, 16 * 3600, 17 * 3600, 24 * 3600 + 9 * 3600
"""When the inspectors report, the firm is heard, the bureau decides, and the correction is accepted: seconds of the day."""


@dataclass(slots=True)
class Verdict:
    """What came of the case. `credit`: what whoever asks about the firm is told: at first, after the decision, at the end."""

    credit: list[credit.CreditDecision] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    head: str = ""


class Officials:
    """Acts for all of them. `uscc`: the credit code of the firm that is asked about."""

    def __init__(self, gateway: Gateway, midnight: int, uscc: str) -> None:
        self._gateway = gateway
        self._midnight = midnight
        self._firm = credit.SubjectRef(uscc=uscc)
        self.verdict = Verdict()
        self.ask()

    def ask(self) -> None:
        """A department asks whether the firm may have a subsidy."""
        request = credit.CheckCreditRequest(
            subject=self._firm, purpose=credit.CHECK_PURPOSE_SUBSIDY, basis="Budget Law (预算法), article 38", matter="subsidy"
        )
        answer = self._call(f"{CREDIT}/CheckCredit", request, credit.CheckCreditResponse)
        self.verdict.credit.append(answer.decision)

    def hear(self, event: Event) -> None:
        """The district acknowledges what it is told."""
        if (notice := unpacked(event, hub_events.DistrictNotified)) is not None:
            request = hub.AcknowledgeNoticeRequest(notice_id=notice.notice_id, district_id=notice.district_id)
            self._call(f"{HUB}/AcknowledgeNotice", request, hub.AcknowledgeNoticeResponse)

    def inspect(self, saga_id: str) -> None:
        """The inspectors report what they have found at the source."""
        found = pb.ReportInspectionRequest(
            inspection_id=f"{saga_id}/order_inspection/1",
            found=True,
            finding="A pipe leads past the scrubber. 有旁路管道绕过脱硫塔。",
        )
        self._call(f"{ENVIRONMENT}/ReportInspection", found, pb.ReportInspectionResponse)

    def answer(self, saga_id: str, question: str, option: str, reason: str) -> None:
        """A person of the bureau answers what the workflow asks."""
        request = sagas.AnswerQuestionRequest(saga_id=saga_id, question=question, option=option, reason=reason)
        self._call(f"{SAGAS}/AnswerQuestion", request, sagas.AnswerQuestionResponse)

    def correct(self, saga_id: str) -> None:
        """The firm has put it right, and the bureau has looked."""
        case_id, correction_id = f"{saga_id}/open_case/1", f"{saga_id}/order_correction/1"
        report = pb.ReportCorrectionRequest(
            case_id=case_id, correction_id=correction_id, report="The pipe is gone. 旁路管道已拆除。"
        )
        self._call(f"{ENVIRONMENT}/ReportCorrection", report, pb.ReportCorrectionResponse)
        accept = pb.AcceptCorrectionRequest(case_id=case_id, correction_id=correction_id, finding="It is gone. 已核实。")
        self._call(f"{ENVIRONMENT}/AcceptCorrection", accept, pb.AcceptCorrectionResponse)

    def take_evidence(self, saga_id: str) -> None:
        """An outsider gets the evidence of the case."""
        request = pb.GetCaseEvidenceRequest(case_id=f"{saga_id}/open_case/1", page_size=500)
        answer = self._call(f"{ENVIRONMENT}/GetCaseEvidence", request, pb.GetCaseEvidenceResponse)
        self.verdict.lines, self.verdict.head = [line.encode() for line in answer.lines], answer.head

    def _call(self, method: str, request: Message, answer: type[R]) -> R:
        return self._gateway.call(method, request, answer, f"officials/{self._midnight}/{self._gateway.calls}")
