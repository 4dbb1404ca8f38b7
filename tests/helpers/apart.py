"""The departments in one process and the workflows in several, each with an address of its own; time goes on by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from citybrain.health.v1 import health_service_pb2 as health
from citybrain.sagas.v1 import saga_service_pb2 as pb
from citybrain.sagas.v1.saga_service_pb2_grpc import SagaServiceStub

from citybrain.local.child import MeshChild
from citybrain.mesh.settings.values import Settings
from tests.helpers.callers import calling
from tests.helpers.paper_city import WallCity

DEPARTMENTS = ("emergency_command", "health", "traffic", "district_hub")
SHORT = Path(__file__).parent / "short_deadlines"


class Workflows:
    """A process that runs the workflows."""

    def __init__(self, child: MeshChild) -> None:
        self.child = child

    def saga(self, saga_id: str) -> pb.Saga:
        """Where a saga stands, as this process says."""
        with calling(self.child) as channel:
            saga: pb.Saga = SagaServiceStub(channel).GetSaga(pb.GetSagaRequest(saga_id=saga_id), timeout=20).saga
            return saga

    def resume(self, saga_id: str) -> pb.Saga:
        """A human has it go on."""
        with calling(self.child) as channel:
            saga: pb.Saga = SagaServiceStub(channel).ResumeSaga(pb.ResumeSagaRequest(saga_id=saga_id), timeout=20).saga
            return saga

    def step(self, saga_id: str, name: str) -> str:
        """The status of a step."""
        return step_of(self.saga(saga_id), name).status


def step_of(saga: pb.Saga, name: str) -> pb.SagaStep:
    """One step of a saga."""
    return next(step for step in saga.steps if step.name == name)


class Apart:
    """`deadlines_s`: of the workflow's steps by their names, where they are to be others. `paper` asks the first process."""

    def __init__(self, data: Path, workflows: int, deadlines_s: Mapping[str, float], settings: Settings | None = None) -> None:
        path = os.pathsep.join(filter(None, [str(SHORT), os.environ.get("PYTHONPATH", "")]))
        self._data = data
        self._environment = {"PYTHONPATH": path, "TEST_DEADLINES_S": json.dumps(deadlines_s)}
        self._settings = settings
        self._count = workflows
        self._open = ExitStack()
        self.workflows: list[Workflows] = []

    def __enter__(self) -> Apart:
        with ExitStack() as opening:
            self.departments = self._child("departments", *DEPARTMENTS)
            opening.enter_context(self.departments)
            peers = [part for name in DEPARTMENTS for part in ("--peer", f"{name}={self.departments.address}")]
            for number in range(self._count):
                child = self._child(f"workflows-{number + 1}", "sagas", *peers)
                opening.enter_context(child)
                self.workflows.append(Workflows(child))
            self.paper = WallCity(self.departments.address, self._data)
            opening.callback(self.paper.close)
            channel = opening.enter_context(calling(self.workflows[0].child))
            self.paper.sagas = SagaServiceStub(channel)
            self._open = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def waiting(self, incidents: Sequence[str]) -> list[str]:
        """Waits until each of these workflows waits for the ambulance, or did so; those with the most time left are last."""
        begun = ("waiting", "timed out")
        self.paper.until(lambda: all(self.paper.step(incident, "at_scene") in begun for incident in incidents))
        steps = {incident: step_of(self.paper.saga(incident), "at_scene") for incident in incidents}
        return sorted(steps, key=lambda one: (steps[one].status == "waiting", steps[one].changed_at.ToNanoseconds()))

    def at_the_scene(self, incident: str) -> None:
        """The ambulance is where the patient is."""
        unit = self.paper.ambulance_of(incident)
        for stage in (health.MISSION_STAGE_UNDER_WAY, health.MISSION_STAGE_AT_SCENE):
            request = health.ReportMissionRequest(ambulance_id=unit, incident_id=incident, stage=stage)
            self.paper.call(self.paper.health.ReportMission, request, f"{incident}-{stage}")

    def _child(self, name: str, *arguments: str) -> MeshChild:
        return MeshChild(self._data, arguments, self._environment, self._settings, name)
