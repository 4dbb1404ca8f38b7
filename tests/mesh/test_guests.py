"""A process beside a city, on the same data folder: its services are called by callers and by the city, without a restart."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.health_service_pb2_grpc import HealthServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace

from citybrain.local import guests
from citybrain.local.child import MeshChild
from citybrain.local.city import LocalCity
from citybrain.local.reflection import Remote
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.operations.presence import Presence
from citybrain.mesh.settings.values import Settings
from tests.helpers.callers import channel
from tests.helpers.paper_city import WallCity
from tests.helpers.waiting import until

pytestmark = pytest.mark.envoy
LIMIT_S = 60.0
REPORT = command.ReportEmergencyRequest(
    channel=command.CHANNEL_PHONE, severity=command.SEVERITY_MINOR, place=RoadPlace(edge_id="e1", position_m=1)
)


def asked(through: grpc.Channel) -> grpc.StatusCode:
    """How a call to health ends."""
    try:
        HealthServiceStub(through).ListAmbulances(health.ListAmbulancesRequest(), timeout=LIMIT_S)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_what_joins_is_called_through_the_gateway_and_what_leaves_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "_KEPT_S", 3.0)
    said: list[str] = []
    with LocalCity(Settings(data=tmp_path), only=["emergency_command"], say=said.append) as city:
        assert city.gateway is not None
        with channel(city.gateway.address, tmp_path) as through:
            assert asked(through) is grpc.StatusCode.UNIMPLEMENTED
            with Remote(city.gateway.address, city.token()) as remote:
                before = remote.services()
            stub = EmergencyCommandServiceStub(through)
            incident = stub.ReportEmergency(REPORT, timeout=LIMIT_S).incident.incident_id
            follow = stub.FollowIncident(command.FollowIncidentRequest(incident_id=incident))
            next(follow)
            with MeshChild(tmp_path, ["health"], name="guest") as guest:
                until(lambda: asked(through) is grpc.StatusCode.OK, "it is called")
                guest.kill()
                # It keeps its place for a while, so callers are told that it is only away.
                assert asked(through) is grpc.StatusCode.UNAVAILABLE
                guest.start()
                until(lambda: asked(through) is grpc.StatusCode.OK, "it is called where it answers now")
                with Remote(city.gateway.address, city.token()) as remote:
                    assert remote.services() == sorted([*before, "citybrain.health.v1.HealthService"])
                    assert list(remote.call("health/ListAmbulances", "{}", timeout_s=LIMIT_S, metadata=[]))
            until(lambda: asked(through) is grpc.StatusCode.UNIMPLEMENTED, "nobody has it any more")
            assert not follow.done(), "streams of others go on"
            follow.cancel()
    assert said == []


def test_what_joins_is_found_by_the_city_and_finds_it(tmp_path: Path) -> None:
    with LocalCity(Settings(data=tmp_path), without=["health"]) as city, MeshChild(tmp_path, ["health"], name="guest"):
        assert city.gateway is not None
        with channel(city.gateway.address, tmp_path) as through:
            until(lambda: asked(through) is grpc.StatusCode.OK, "it is called")
        paper = WallCity(city.gateway.address, tmp_path)
        paper.build()
        incident = paper.report("call-1")
        # The workflow asks health for an ambulance, and health asks traffic for the way.
        paper.until(lambda: paper.step(incident, "at_scene") == "waiting")
        paper.close()


def test_what_cannot_be_taken_up_is_told_once_and_changes_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    with LocalCity(Settings(data=tmp_path), only=["emergency_command"], say=said.append) as city:
        assert city.gateway is not None
        # It says that it is another service than it is.
        liar = Manifest(
            name="parks", title="Parks", team="parks", entry="a:B", grpc="citybrain.parks.v1.ParksService", port=7999
        )
        here = Presence(
            tmp_path, "mesh", "127.0.0.1:1", serves=city.gateway.address, services=[], manifests=[liar.model_dump()]
        )
        until(lambda: said, "it is told")
        with channel(city.gateway.address, tmp_path) as through, MeshChild(tmp_path, ["health"], name="guest"):
            EmergencyCommandServiceStub(through).ListIncidents(command.ListIncidentsRequest(), timeout=LIMIT_S)
            here.leave()
            until(lambda: asked(through) is grpc.StatusCode.OK, "others are taken up when it is gone")
    (told,) = said
    assert told.startswith("a service beside the city is not taken up: ")
