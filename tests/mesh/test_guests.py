"""A process beside a city, on the same data folder: its services are called through the gateway and by others, without a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.health_service_pb2_grpc import HealthServiceStub

from citybrain.local.child import MeshChild
from citybrain.local.city import LocalCity
from citybrain.mesh.settings.values import Settings
from tests.helpers.callers import channel

pytestmark = pytest.mark.envoy
LIMIT_S = 60.0


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.05)


def code(call: Callable[[], Any]) -> grpc.StatusCode:
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_what_joins_is_called_through_the_gateway_and_what_leaves_is_not(tmp_path: Path) -> None:
    said: list[str] = []
    with LocalCity(Settings(data=tmp_path), only=["emergency_command"], say=said.append) as city:
        assert city.gateway is not None
        with channel(city.gateway.address, tmp_path) as through:
            ambulances = HealthServiceStub(through)

            def asked() -> grpc.StatusCode:
                return code(lambda: ambulances.ListAmbulances(health.ListAmbulancesRequest(), timeout=LIMIT_S))

            assert asked() is grpc.StatusCode.UNIMPLEMENTED
            follow = EmergencyCommandServiceStub(through).FollowIncident(command.FollowIncidentRequest(incident_id="inc-00000000000a"))
            guest = MeshChild(tmp_path, ["health"], name="guest")
            with guest:
                until(lambda: asked() is grpc.StatusCode.OK, "it is called")
                guest.kill()
                # It keeps its place for a while, so callers know that it is only away.
                assert asked() is grpc.StatusCode.UNAVAILABLE
                guest.start()
                until(lambda: asked() is grpc.StatusCode.OK, "it is called where it answers now")
            until(lambda: asked() is grpc.StatusCode.UNIMPLEMENTED, "nobody has it any more")
            # Nothing else has changed meanwhile.
            assert not follow.done()
            follow.cancel()
    assert said == []
