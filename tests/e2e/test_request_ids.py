"""A request id means one request of one caller: used for anything else it is refused, and nobody gets another's answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from citybrain.clock.v1.clock_pb2 import RestRequest
from citybrain.clock.v1.clock_pb2_grpc import ClockServiceStub
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import DistrictHubServiceStub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from citybrain.local.child import MeshChild
from tests.helpers.callers import calling

LIMIT_S = 30
PLACE = RoadPlace(edge_id="e1", position_m=3)
REPORT = pb.ReportEmergencyRequest(channel=pb.CHANNEL_PHONE, severity=pb.SEVERITY_SERIOUS, place=PLACE)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeshChild]:
    data: Path = tmp_path_factory.mktemp("ids")
    with MeshChild(data, ["emergency_command", "district_hub", "--driven"]) as child:
        yield child


def report(process: MeshChild, subject: str, request_id: str, request: pb.ReportEmergencyRequest = REPORT) -> str:
    with calling(process, subject=subject) as channel:
        stub = EmergencyCommandServiceStub(channel)
        answer = stub.ReportEmergency(request, metadata=[("x-request-id", request_id)], timeout=LIMIT_S)
        return str(answer.incident.incident_id)


def listed(process: MeshChild) -> int:
    with calling(process) as channel:
        # The list follows what was reported.
        ClockServiceStub(channel).Rest(RestRequest(), timeout=LIMIT_S)
        return len(EmergencyCommandServiceStub(channel).ListIncidents(pb.ListIncidentsRequest(), timeout=LIMIT_S).incidents)


def test_the_same_request_again_gets_the_same_answer(process: MeshChild) -> None:
    assert report(process, "app-1", "again") == report(process, "app-1", "again")


def test_another_caller_with_the_same_id_is_told_so_and_never_sees_the_answer(process: MeshChild) -> None:
    first, before = report(process, "app-1", "mine"), listed(process)
    with pytest.raises(grpc.RpcError) as caught:
        report(process, "app-2", "mine")
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert first not in (caught.value.details() or "")
    assert report(process, "app-1", "mine") == first
    assert listed(process) == before


def test_the_same_id_with_other_content_names_what_differs_and_nothing_is_done(process: MeshChild) -> None:
    report(process, "app-1", "content")
    before = listed(process)
    other = pb.ReportEmergencyRequest(channel=pb.CHANNEL_APP, severity=pb.SEVERITY_SERIOUS, place=PLACE)
    with pytest.raises(grpc.RpcError) as caught:
        report(process, "app-1", "content", other)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status, told = rpc_status.from_call(caught.value), error_details_pb2.BadRequest()  # type: ignore[arg-type]
    assert status is not None and any(packed.Unpack(told) for packed in status.details)
    assert [(one.field, "another content" in one.description) for one in told.field_violations] == [("x-request-id", True)]
    assert listed(process) == before


def test_the_same_id_for_another_method_is_told_so(process: MeshChild) -> None:
    report(process, "app-1", "method")
    with calling(process, subject="app-1") as channel, pytest.raises(grpc.RpcError) as caught:
        DistrictHubServiceStub(channel).RegisterDistrict(
            hub.RegisterDistrictRequest(district_id="xihu", name="西湖区"),
            metadata=[("x-request-id", "method")],
            timeout=LIMIT_S,
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "another method" in (caught.value.details() or "")


def test_a_request_that_broke_its_contract_may_be_mended_under_the_same_id(process: MeshChild) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        report(process, "app-1", "mended", pb.ReportEmergencyRequest())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert report(process, "app-1", "mended")


def test_after_a_restart_ids_mean_what_they_meant(process: MeshChild) -> None:
    first = report(process, "app-1", "restart")
    process.kill()
    process.start()
    with pytest.raises(grpc.RpcError) as caught:
        report(process, "app-2", "restart")
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert report(process, "app-1", "restart") == first
