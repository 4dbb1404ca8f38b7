"""The whole city on a real Kafka and a real Cassandra, through its gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub

from citybrain.local.city import LocalCity
from citybrain.mesh.settings.values import Settings
from citybrain.observability.trace_store import TraceStore
from tests.helpers import two_emergencies
from tests.helpers.callers import channel as channel_to
from tests.helpers.paper_city import WallCity
from tests.helpers.waiting import until

LIMIT_S = 90.0


@pytest.fixture
def city(settings: Settings) -> Iterator[LocalCity]:
    with LocalCity(settings) as running:
        yield running


def report(stub: Any, request_id: str) -> str:
    request = pb.ReportEmergencyRequest(channel=pb.CHANNEL_PHONE, severity=pb.SEVERITY_CRITICAL, another_patient=True)
    request.place.edge_id, request.place.position_m = "e1", 3
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            answer = stub.ReportEmergency(request, timeout=20, metadata=[("x-request-id", request_id)])
            return str(answer.incident.incident_id)
        except grpc.RpcError as error:
            # Killed meanwhile, or not up yet: the same id again is the same command again.
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED), error
            assert time.monotonic() < end, error
            time.sleep(0.1)


def listed(stub: Any) -> list[str]:
    return [one.incident_id for one in stub.ListIncidents(pb.ListIncidentsRequest(page_size=100), timeout=20).incidents]


def test_incidents_are_kept_followed_and_listed_once_through_a_kill_of_the_mesh(city: LocalCity) -> None:
    assert city.gateway is not None
    with channel_to(city.gateway.address, city.data) as channel:
        stub: Any = EmergencyCommandServiceStub(channel)
        before = [report(stub, f"a{n}") for n in range(5)]
        city.mesh.kill()  # type: ignore[union-attr]
        city.mesh.start()  # type: ignore[union-attr]
        after = [report(stub, f"b{n}") for n in range(5)]
        assert [report(stub, f"a{n}") for n in range(5)] == before, "a retry is answered from what was written"
        wanted = sorted(before + after)
        end = time.monotonic() + LIMIT_S
        while (found := sorted(listed(stub))) != wanted:
            assert time.monotonic() < end, (found, wanted)
            time.sleep(0.1)
        call = stub.FollowIncident(pb.FollowIncidentRequest(incident_id=after[0]), timeout=60)
        kinds: list[str] = []
        while "citybrain.sagas.v1.SagaStarted" not in kinds or "citybrain.emergency_command.v1.IncidentOpened" not in kinds:
            kinds += [event.type for event in next(call).events]
        call.cancel()
        assert kinds.count("citybrain.emergency_command.v1.IncidentOpened") == 1


def test_each_of_two_emergencies_at_once_leaves_one_whole_trace_through_kafka(city: LocalCity) -> None:
    assert city.gateway is not None
    paper = WallCity(city.gateway.address, city.data)
    paper.build()
    both = two_emergencies.play(paper, "at-once")
    paper.close()
    with closing(TraceStore(city.traces)) as store:
        two_emergencies.assert_whole_and_apart(store, both, until)
