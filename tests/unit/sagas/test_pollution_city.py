"""From a source of pollution to its sanction among the real services, in one process; and what a won appeal takes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from citybrain.credit.v1 import credit_service_pb2 as credit
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.environment.v1 import environment_service_pb2 as environment
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message

from citybrain.client import evidence
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.sagas.service import SagaService
from citybrain.services.credit.service import CreditService
from citybrain.services.district_hub.service import DistrictHubService
from citybrain.services.environment import places
from citybrain.services.environment.service import EnvironmentService
from citybrain.services.traffic.service import TrafficService
from tests.helpers.paper_bureau import FIRM, STATIONS, WIND, measured
from tests.unit.environment.conftest import station
from tests.unit.environment.test_sources import MIDDLE, SO2, admission
from tests.unit.sagas.test_joint_city import MORNING, ROADS, SECOND, City

SERVICES = (EnvironmentService, CreditService, DistrictHubService, TrafficService, SagaService)
DAY_S = 86_400


class Bureau(City):
    """A city in which a registered source gives off far too much."""

    def __init__(self, parts: Parts, at: int = MORNING) -> None:
        """`at`: not the first process of this city, which begins at that moment (microseconds)."""
        super().__init__(parts, SERVICES, at)
        if at != MORNING:
            return
        self.call(
            "district_hub.v1.DistrictHubService/RegisterDistrict", hub.RegisterDistrictRequest(district_id="xihu", name="x")
        )
        self.call("traffic.v1.TrafficService/PublishRoads", traffic.PublishRoadsRequest(edges=ROADS))
        self.bureau("AdmitSource", admission("guilty", places.at_metres(MIDDLE, -500, 60), road_ids=["e3", "e4"]))
        self.bureau("StartSource", environment.StartSourceRequest(source_id="guilty"))
        for name, (east, north) in STATIONS.items():
            there = places.at_metres(MIDDLE, east, north)
            one = station(name, there.longitude, there.latitude, quantities=(SO2, *WIND), interval_s=300)
            self.bureau("RegisterStation", environment.RegisterStationRequest(station=one))

    def bureau(self, method: str, request: Message) -> Any:
        return self.call(f"environment.v1.EnvironmentService/{method}", request)

    def office(self, method: str, request: Message) -> Any:
        return self.call(f"credit.v1.CreditService/{method}", request)

    def pollute(self) -> str:
        """A quarter of an hour of it in a western wind, measured all around; the exceedance."""
        for origin in (None, 270, 280, 262):
            batch = measured(self.parts.process.clock.now() // SECOND, origin)
            self.bureau("ReportReadings", environment.ReportReadingsRequest(readings=batch))
            self.advance(300)
        self.advance(400)
        (one,) = self.bureau("ListExceedances", environment.ListExceedancesRequest()).exceedances
        return str(one.exceedance_id)

    def answers(self, saga_id: str, question: str, option: str) -> None:
        asked = sagas.AnswerQuestionRequest(saga_id=saga_id, question=question, option=option, reason="so it is")
        self.call("sagas.v1.SagaService/AnswerQuestion", asked)

    def inspected(self, saga_id: str) -> None:
        """Inspectors find something."""
        inspection = f"{saga_id}/order_inspection/1"
        found = environment.ReportInspectionRequest(inspection_id=inspection, found=True, finding="the filter is torn")
        self.bureau("ReportInspection", found)

    def to_the_sanction(self) -> str:
        """It is inspected, the firm is heard, and a person decides."""
        saga_id = self.pollute()
        self.inspected(saga_id)
        self.answers(saga_id, "hear_firm", "heard")
        self.answers(saga_id, "decide", "sanction")
        return saga_id

    def decision(self, purpose: Any = credit.CHECK_PURPOSE_SUBSIDY) -> Any:
        asked = credit.CheckCreditRequest(subject=FIRM, purpose=purpose, basis="Budget Law, article 38")
        return self.office("CheckCredit", asked).decision

    def source(self) -> Any:
        return self.bureau("GetSource", environment.GetSourceRequest(source_id="guilty")).source.state

    def case(self, saga_id: str) -> Any:
        return self.bureau("GetCase", environment.GetCaseRequest(case_id=f"{saga_id}/open_case/1")).case

    def without_lorries(self) -> list[str]:
        """The roads around which lorries are led."""
        roads = self.call("traffic.v1.TrafficService/ListClosedRoads", traffic.ListClosedRoadsRequest()).roads
        return [road.edge_id for road in roads if road.lorries_only]

    def evidence(self, saga_id: str) -> tuple[list[bytes], str]:
        """The lines that are exported, and the head."""
        asked = environment.GetCaseEvidenceRequest(case_id=f"{saga_id}/open_case/1", page_size=500)
        answer = self.bureau("GetCaseEvidence", asked)
        return [line.encode() for line in answer.lines], str(answer.head)


def test_a_source_is_traced_inspected_sanctioned_and_repaired_when_it_is_put_right(tmp_path: Path) -> None:
    def story(parts: Parts) -> None:
        city = Bureau(parts)
        assert city.decision() == credit.CREDIT_DECISION_UNKNOWN
        saga_id = city.to_the_sanction()
        assert city.saga(saga_id).state == sagas.SAGA_STATE_RUNNING
        assert (city.decision(), city.source()) == (credit.CREDIT_DECISION_RESTRICTED, environment.SOURCE_STATE_STOPPED)
        assert city.without_lorries() == ["e3", "e4"]
        record = city.office("GetCreditRecord", credit.GetCreditRecordRequest(subject=FIRM))
        assert record.sanctions[0].case_id == f"{saga_id}/open_case/1"
        # An outsider with the exported lines alone finds nothing changed, and finds a change.
        lines, head = city.evidence(saga_id)
        assert evidence.verify(lines, head).sound
        torn = next(number for number, line in enumerate(lines) if b"the filter is torn" in line)
        lines[torn] = lines[torn].replace(b"torn", b"worn")
        assert [(one.n, one.what) for one in evidence.verify(lines, head).findings] == [(torn + 1, "changed")]
        # The firm puts it right.
        key: Any = {"case_id": f"{saga_id}/open_case/1", "correction_id": f"{saga_id}/order_correction/1"}
        city.bureau("ReportCorrection", environment.ReportCorrectionRequest(report="a new filter", **key))
        city.bureau("AcceptCorrection", environment.AcceptCorrectionRequest(finding="it is there", **key))
        assert city.decision() == credit.CREDIT_DECISION_CLEAR
        assert city.source() not in (environment.SOURCE_STATE_STOPPED, environment.SOURCE_STATE_CLOSED)
        record = city.office("GetCreditRecord", credit.GetCreditRecordRequest(subject=FIRM))
        assert [one.state for one in record.records if one.sanction_id] == [credit.RECORD_STATE_REPAIRED]
        # Environment has graded the firm meanwhile, down and up again.
        assert [one.state for one in record.records if not one.sanction_id] == [credit.RECORD_STATE_REPLACED]
        # Nobody appeals within half a year.
        city.advance(14 * DAY_S)
        assert city.without_lorries() == []
        city.advance(183 * DAY_S)
        assert city.saga(saga_id).state == sagas.SAGA_STATE_COMPLETED
        assert city.case(saga_id).state == environment.CASE_STATE_CLOSED

    on_parts(tmp_path, story)


def test_an_appeal_that_is_won_takes_the_sanction_the_decision_and_the_measures_back(tmp_path: Path) -> None:
    def story(parts: Parts) -> None:
        city = Bureau(parts)
        saga_id = city.to_the_sanction()
        city.advance(DAY_S)
        sanction = f"{saga_id}/impose_sanction/1"
        filed = credit.FileAppealRequest(subject=FIRM, sanction_id=sanction, grounds="the wind came from elsewhere")
        appeal = city.office("FileAppeal", filed).appeal
        assert city.decision() == credit.CREDIT_DECISION_RESTRICTED
        won = credit.DecideAppealRequest(subject=FIRM, appeal_id=appeal.appeal_id, won=True, reason="the trace was weak")
        city.office("DecideAppeal", won)
        assert city.decision() == credit.CREDIT_DECISION_CLEAR
        assert city.saga(saga_id).state == sagas.SAGA_STATE_UNDONE
        case = city.case(saga_id)
        assert city.without_lorries() == []
        assert (case.state, case.decision.revoked) == (environment.CASE_STATE_WITHDRAWN, True)
        assert city.source() != environment.SOURCE_STATE_STOPPED
        record = city.office("GetCreditRecord", credit.GetCreditRecordRequest(subject=FIRM))
        assert [one.state for one in record.sanctions] == [credit.SANCTION_STATE_REVOKED]
        # What was proved stays provable.
        lines, head = city.evidence(saga_id)
        assert evidence.verify(lines, head).sound

    on_parts(tmp_path, story)


def test_each_stage_may_be_carried_on_by_another_process(tmp_path: Path) -> None:
    sanction = ""

    def traced(city: Bureau) -> None:
        nonlocal sanction
        sanction = f"{city.pollute()}/impose_sanction/1"

    def sanctioned(city: Bureau) -> None:
        city.answers(saga_id(), "decide", "sanction")
        assert city.decision() == credit.CREDIT_DECISION_RESTRICTED

    def won(city: Bureau) -> None:
        filed = credit.FileAppealRequest(subject=FIRM, sanction_id=sanction, grounds="the wind came from elsewhere")
        appeal_id = city.office("FileAppeal", filed).appeal.appeal_id
        decided = credit.DecideAppealRequest(subject=FIRM, appeal_id=appeal_id, won=True, reason="the trace was weak")
        city.office("DecideAppeal", decided)

    def undone(city: Bureau) -> None:
        assert city.decision() == credit.CREDIT_DECISION_CLEAR
        assert city.saga(saga_id()).state == sagas.SAGA_STATE_UNDONE
        assert city.source() != environment.SOURCE_STATE_STOPPED

    def saga_id() -> str:
        return sanction.partition("/")[0]

    stages: list[Callable[[Bureau], object]] = [
        traced, lambda city: city.inspected(saga_id()), lambda city: city.answers(saga_id(), "hear_firm", "waived"), sanctioned,
        won, undone,
    ]  # fmt: skip
    for number, stage in enumerate(stages):
        at = MORNING + number * 3600 * SECOND
        on_parts(tmp_path, lambda parts, at=at, stage=stage: stage(Bureau(parts, at)))  # type: ignore[misc]
