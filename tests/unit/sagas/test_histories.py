"""What earlier releases have recorded of sagas still means the same, and such a saga still comes to its end.

The files in `histories` were written by the release that brought each version. A new version gets a file by
`python -m tests.helpers.histories`.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.sagas.v1 import events_pb2 as ev

from citybrain.mesh.events import message_class
from citybrain.sagas.engine.decider import due_timers, misfit, react, tries_out
from citybrain.sagas.engine.definition import Workflow
from citybrain.sagas.engine.state import ENDED, SagaState, evolve
from citybrain.sagas.workflows import published
from tests.helpers.histories import FOLDER, STORIES, Emergency, file_of

EMERGENCIES = [workflow for workflow in published() if workflow.name == "emergency_response"]
KEPT = [(workflow, story) for workflow in EMERGENCIES for story in STORIES]


def kept(workflow: Workflow, story: str) -> dict[str, Any]:
    histories: dict[str, dict[str, Any]] = json.loads(file_of(workflow).read_text(encoding="utf-8"))
    return histories[story]


def folded(history: dict[str, Any]) -> tuple[SagaState, int]:
    """Where the saga stands by its events alone, and the moment of the last."""
    state, at = SagaState(), 0
    for name, data, at in history["events"]:
        state = evolve(state, message_class(name).FromString(base64.b64decode(data)), at)
    return state, at


def test_every_version_has_its_histories() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {file_of(workflow).name for workflow in published()}


@pytest.mark.parametrize(("workflow", "story"), KEPT, ids=[f"{one.version}-{story}" for one, story in KEPT])
def test_a_saga_of_an_earlier_release_stands_where_it_stood_and_comes_to_its_end(workflow: Workflow, story: str) -> None:
    history = kept(workflow, story)
    state, now = folded(history)
    assert (state.phase, misfit(workflow, state)) == (history["phase"], "")
    # What that release had to do was done: nothing else follows from it now.
    assert react(workflow, state, [], now)[0] == []
    emergency = Emergency(workflow, state, now)
    for _ in range(30):
        if emergency.state.phase in ENDED:
            break
        if emergency.state.phase == "needs human":
            emergency.put(ev.SagaResumed())
        if any(tries_out(emergency.state)):
            emergency.answers()
        elif any(step.status == "waiting" for step in emergency.state.steps.values()):
            emergency.reports(health.MISSION_STAGE_AT_HOSPITAL)
        elif moments := [moment for moment, _ in due_timers(emergency.state)]:
            emergency.later((min(moments) - emergency.now) / 1_000_000)
    ends = "undone" if "undone" in story else "completed"
    assert emergency.state.phase == ends
