"""A service that runs one workflow of eight steps, each a call of another process, and one that is called."""

from __future__ import annotations

import time
from typing import Any

from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.message import Message
from typing_extensions import override

from benchmarks.kit.service import whole
from citybrain.mesh.service import Heard, Service, off_loop, rpc, subscribe
from citybrain.sagas.engine.definition import Command, Node, Step, Workflow
from citybrain.sagas.engine.moving import Moving
from citybrain.sagas.engine.runner import SagaRunner
from citybrain.sagas.service import SagaService

STEPS = 8
SLOW_S = 0.05
SLOW = "slow"
"""Sagas whose ids begin so call a department that needs SLOW_S for each step."""


@whole(health, "HealthService")
class ClinicService(Service):
    """Announces patients, and does nothing; slowly, if it is asked to."""

    name = "clinic"

    @rpc
    def AnnouncePatient(self, request: health.AnnouncePatientRequest) -> health.AnnouncePatientResponse:
        """Answers."""
        if request.incident_id.startswith(SLOW):
            off_loop(time.sleep, SLOW_S)
        return health.AnnouncePatientResponse()


def _whose(event: Message) -> str:
    return str(event.incident_id)  # type: ignore[attr-defined]


def _steps() -> tuple[Node, ...]:
    signal = Command("citybrain.traffic.v1.TrafficService/GetSignal", lambda s, k: traffic.GetSignalRequest(signal_id="s"))

    def announce(s: Any, k: str) -> Message:
        return health.AnnouncePatientRequest(incident_id=s.saga_id, hospital_id="h", ambulance_id="a", expected_in_s=1)

    clinic = Command("citybrain.health.v1.HealthService/AnnouncePatient", announce)
    return tuple(Step(f"s{number}", (clinic, signal)[number % 2], deadline_s=600) for number in range(STEPS))


REMOTE = Workflow("remote", 1, starts_on=IncidentOpened, hears={IncidentOpened: _whose}, nodes=_steps())


class WorkflowsService(SagaService):
    """The city's service of sagas, with this one workflow."""

    name = "workflows"
    runner = SagaRunner([REMOTE])
    moving = Moving([REMOTE])

    @override
    @subscribe(IncidentOpened, exercises=True)
    def hear(self, event: Heard) -> None:
        """Starts a saga."""
        self.runner.hear(event)
