"""Histories of emergencies as a release has recorded them. `python -m tests.helpers.histories` writes those that are missing.

A file is never written anew: it is what sagas may have in the log, whatever the engine would record today.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import message_class, timestamp
from citybrain.mesh.runtime.server import find_method
from citybrain.sagas.engine.decider import due_timers, on_failure, react, tries_out
from citybrain.sagas.engine.definition import Step, Workflow
from citybrain.sagas.engine.state import SagaState, pack

FOLDER = Path(__file__).parents[1] / "unit" / "sagas" / "histories"
INCIDENT = "inc-0123456789ab"
_SECOND = 1_000_000
_ANSWERS: dict[str, Message] = {
    "reserve_ambulance": health.ReserveAmbulanceResponse(
        ambulance_id="a1", route=Route(edge_ids=["e1", "e2", "e3"], travel_time_s=100)
    ),
    "reserve_bed": health.ReserveBedResponse(
        hospital_id="h1", entrance=RoadPlace(edge_id="e5", position_m=40), route=Route(edge_ids=["e3", "e5"], travel_time_s=50)
    ),
}


class Emergency:
    """An emergency, played on the engine as it is."""

    def __init__(self, workflow: Workflow, state: SagaState | None = None, now: int = 1) -> None:
        self.workflow, self.state, self.now = workflow, state or SagaState(), now
        self.events: list[tuple[str, str, int]] = []
        self._heard = 0

    def put(self, *inputs: Message) -> list[Message]:
        events, self.state = react(self.workflow, self.state, inputs, self.now)
        self.events += [
            (event.DESCRIPTOR.full_name, base64.b64encode(event.SerializeToString()).decode(), self.now) for event in events
        ]
        return events

    def begins(self) -> Emergency:
        started = ev.SagaStarted(saga_id=INCIDENT, workflow=self.workflow.name, workflow_version=self.workflow.version)
        opened = IncidentOpened(incident_id=INCIDENT, place=RoadPlace(edge_id="e3", position_m=20), district_id="xihu")
        started.input.CopyFrom(pack(opened))
        self.put(started)
        return self

    def answers(self) -> Emergency:
        """Whatever is out is answered."""
        for one in list(tries_out(self.state)):
            if one.undo:
                self.put(ev.UndoAnswered(step=one.step, key=one.key))
                continue
            step = self.workflow.leaf(one.step)
            assert isinstance(step, Step)
            empty = message_class(find_method(*step.command.method.split("/")).output_type.full_name)()
            self.put(ev.StepAnswered(step=one.step, key=one.key, response=pack(_ANSWERS.get(one.step, empty))))
        return self

    def fails(self, code: str) -> Emergency:
        for one in [one for one in tries_out(self.state) if not one.undo]:
            self.put(on_failure(self.workflow, self.state, one.step, one.key, code, "no", self.now))
        return self

    def later(self, seconds: float) -> Emergency:
        self.now += int(seconds * _SECOND)
        for moment, name in sorted(due_timers(self.state)):
            if moment <= self.now:
                self.put(ev.TimerFired(timer=name))
        return self

    def hears(self, event: Message) -> Emergency:
        self._heard += 1
        name = f"{type(event).__name__}-{self.now}-{self._heard}"
        self.put(ev.EventHeard(event_id=name, event=pack(event), occurred_at=timestamp(self.now)))
        return self

    def reports(self, stage: health.MissionStage) -> Emergency:
        return self.hears(MissionReported(incident_id=INCIDENT, ambulance_id="a1", stage=stage))

    def on_the_way(self) -> Emergency:
        return self.begins().answers().answers().answers()

    def cancelled(self) -> Emergency:
        return self.hears(IncidentCancelled(incident_id=INCIDENT, reason="a prank"))


STORIES: dict[str, Callable[[Emergency], Any]] = {
    "just begun": lambda e: e.begins(),
    "tries again": lambda e: e.begins().fails("UNAVAILABLE").later(6).fails("RESOURCE_EXHAUSTED"),
    "on the way": lambda e: e.on_the_way().later(30),
    "without priority": lambda e: e.begins().answers().answers().fails("FAILED_PRECONDITION").later(5),
    "at the scene": lambda e: e.on_the_way().reports(health.MISSION_STAGE_AT_SCENE),
    "handing over": lambda e: e.on_the_way().reports(health.MISSION_STAGE_AT_HOSPITAL),
    "needs a human": lambda e: e.begins().fails("NOT_FOUND"),
    "late": lambda e: e.on_the_way().later(20_000),
    "being undone": lambda e: e.on_the_way().cancelled(),
    "half undone": lambda e: e.on_the_way().cancelled().answers(),
    "undone": lambda e: e.on_the_way().cancelled().answers().answers().answers().answers(),
    "completed": lambda e: e.on_the_way().reports(health.MISSION_STAGE_AT_HOSPITAL).answers().answers().answers(),
}


def file_of(workflow: Workflow) -> Path:
    return FOLDER / f"{workflow.name}-{workflow.version}.json"


def recorded(workflow: Workflow) -> str:
    """The histories of a workflow of emergencies, as the engine records them now."""
    found = {}
    for name, tells in STORIES.items():
        emergency = Emergency(workflow)
        tells(emergency)
        found[name] = {"phase": emergency.state.phase, "events": emergency.events}
    return json.dumps(found, indent=1) + "\n"


def main() -> None:
    from citybrain.sagas.workflows import published

    FOLDER.mkdir(exist_ok=True)
    for workflow in published():
        if not file_of(workflow).exists():
            file_of(workflow).write_text(recorded(workflow), encoding="utf-8")


if __name__ == "__main__":
    main()
