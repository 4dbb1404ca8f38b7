"""Who may do what: each method needs its scope, and what is public everybody sees."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb

from citybrain.mesh.errors import Forbidden
from citybrain.mesh.testing import Running
from tests.unit.environment.conftest import moment, reading, station
from tests.unit.environment.test_sources import USCC, admission

EXC, SO2 = "exc-000000000000", pb.QUANTITY_SO2
LATER = moment(2e9)
SCOPES = {
    "environment.public": {
        "ListAirQuality": pb.ListAirQualityRequest(),
        "GetForecast": pb.GetForecastRequest(station_id="a1"),
    },
    "environment.read": {
        "GetStation": pb.GetStationRequest(station_id="a1"),
        "ListStations": pb.ListStationsRequest(),
        "ListStationHours": pb.ListStationHoursRequest(station_id="a1"),
        "ListBiases": pb.ListBiasesRequest(),
        "GetExceedance": pb.GetExceedanceRequest(exceedance_id=EXC),
        "ListExceedances": pb.ListExceedancesRequest(),
        "GetSource": pb.GetSourceRequest(source_id="s1"),
        "ListSources": pb.ListSourcesRequest(),
        "GetInspection": pb.GetInspectionRequest(inspection_id="i1"),
        "GetCase": pb.GetCaseRequest(case_id="c1"),
        "GetCaseEvidence": pb.GetCaseEvidenceRequest(case_id="c1"),
        "GetFirmRecord": pb.GetFirmRecordRequest(firm_id="f1"),
        "FindFirm": pb.FindFirmRequest(uscc=USCC),
        "ListInspectionsDue": pb.ListInspectionsDueRequest(),
        "GetGreenhouseAccount": pb.GetGreenhouseAccountRequest(firm_id="f1", year=2025),
        "GetCapacity": pb.GetCapacityRequest(district_id="xihu", quantity=SO2),
    },
    "environment.report": {
        "ReportReadings": pb.ReportReadingsRequest(readings=[reading(SO2, 10, 1.8e9)]),
        "ReportActivity": pb.ReportActivityRequest(
            activity_id="a", firm_id="f1", year=2025, factor_id="x", amount=1, amount_unit="t"
        ),
    },
    "environment.manage": {
        "RegisterStation": pb.RegisterStationRequest(station=station("b1")),
        "AdmitSource": admission(),
        "StartSource": pb.StartSourceRequest(source_id="s1"),
        "CloseSource": pb.CloseSourceRequest(source_id="s1", reason="x"),
        "RegisterFactor": pb.RegisterFactorRequest(
            factor_id="x", activity="x", amount_unit="t", kg_co2e=1, source="x", year=2024
        ),
        "SetCapacity": pb.SetCapacityRequest(district_id="xihu", quantity=SO2, kg_a_year=1, source="x"),
    },
    "environment.act": {
        "TraceSource": pb.TraceSourceRequest(exceedance_id=EXC),
        "OrderInspection": pb.OrderInspectionRequest(inspection_id="i1", source_id="s1", reason="x", due_at=LATER),
        "WithdrawInspection": pb.WithdrawInspectionRequest(inspection_id="i1"),
        "ReportInspection": pb.ReportInspectionRequest(inspection_id="i1", finding="x"),
        "OrderMeasures": pb.OrderMeasuresRequest(measures_id="m1", source_id="s1", reason="x"),
        "LiftMeasures": pb.LiftMeasuresRequest(measures_id="m1", source_id="s1"),
        "OpenCase": pb.OpenCaseRequest(case_id="c1", source_id="s1", reason="x"),
        "WithdrawCase": pb.WithdrawCaseRequest(case_id="c1"),
        "AddEvidence": pb.AddEvidenceRequest(case_id="c1", record_id="r1", kind=pb.EVIDENCE_KIND_NOTE, body_json="{}"),
        "RecordDecision": pb.RecordDecisionRequest(case_id="c1", decision=pb.Decision(decision_id="d", law="x", text="x")),
        "RevokeDecision": pb.RevokeDecisionRequest(case_id="c1", decision_id="d", reason="x"),
        "OrderCorrection": pb.OrderCorrectionRequest(case_id="c1", correction_id="k", what="x", until=LATER),
        "WithdrawCorrection": pb.WithdrawCorrectionRequest(case_id="c1", correction_id="k"),
        "ReportCorrection": pb.ReportCorrectionRequest(case_id="c1", correction_id="k", report="x"),
        "AcceptCorrection": pb.AcceptCorrectionRequest(case_id="c1", correction_id="k", finding="x"),
        "CloseCase": pb.CloseCaseRequest(case_id="c1", outcome="x"),
    },
}  # fmt: skip


def test_each_method_needs_its_scope(environment: Running) -> None:
    answered = set(pb.DESCRIPTOR.services_by_name["EnvironmentService"].methods_by_name)
    assert {method for calls in SCOPES.values() for method in calls} == answered
    for scope, calls in SCOPES.items():
        others = sorted(SCOPES.keys() - {scope})
        for method, request in calls.items():
            with pytest.raises(Forbidden, match=f"needs the scope {scope}"):
                environment.fire(method, request, scopes=others)


def test_air_quality_is_public_also_for_those_of_another_district(environment: Running) -> None:
    citizen: dict[str, Any] = {"scopes": ["environment.public"], "clearance": "PUBLIC", "district": "gongshu"}
    assert not environment.fire("ListAirQuality", pb.ListAirQualityRequest(), **citizen).stations
