"""What earlier releases have recorded of sagas still means the same, and such a saga still comes to its end.

The files in `histories` were written by the release that brought each version. A new version gets a file by
`python -m tests.helpers.histories`.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from citybrain.sagas.v1 import events_pb2 as ev

from citybrain.mesh.events import message_class
from citybrain.sagas.engine.decider import due_timers, misfit, react, tries_out
from citybrain.sagas.engine.definition import Human, Workflow
from citybrain.sagas.engine.state import ENDED, SagaState, evolve
from citybrain.sagas.workflows import published
from tests.helpers.histories import FOLDER, STORIES, Played, file_of

KEPT = [(workflow, story) for workflow in published() for story in STORIES[workflow.name][1]]


def kept(workflow: Workflow, story: str) -> dict[str, Any]:
    histories: dict[str, dict[str, Any]] = json.loads(file_of(workflow).read_text(encoding="utf-8"))
    return histories[story]


def folded(history: dict[str, Any]) -> tuple[SagaState, int]:
    """Where the saga stands by its events alone, and the moment of the last."""
    state, at = SagaState(), 0
    for name, data, at in history["events"]:
        state = evolve(state, message_class(name).FromString(base64.b64decode(data)), at)
    return state, at


def clear_all(played: Played) -> None:
    """A person has seen to it, and nobody is in danger."""
    undone = played.state.undo_begun
    cleared = [ev.UndoCleared(step=one.name, key=one.key) for one in played.state.attempts() if undone and one.key]
    played.put(*cleared, ev.SagaResumed())


def test_every_version_has_its_histories() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {file_of(workflow).name for workflow in published()}


@pytest.mark.parametrize(("workflow", "story"), KEPT, ids=[f"{one.name}-{one.version}-{story}" for one, story in KEPT])
def test_a_saga_of_an_earlier_release_stands_where_it_stood_and_comes_to_its_end(workflow: Workflow, story: str) -> None:
    history = kept(workflow, story)
    state, now = folded(history)
    assert (state.phase, misfit(workflow, state)) == (history["phase"], "")
    # What that release had to do was done: nothing else follows from it now.
    assert react(workflow, state, [], now)[0] == []
    played = STORIES[workflow.name][0](workflow, state, now)
    for _ in range(40):
        if played.state.phase in ENDED:
            break
        if played.state.phase == "needs human":
            clear_all(played)
        if any(tries_out(played.state)):
            played.answers()
        elif any(step.status == "waiting" for step in played.state.steps.values()):
            played.comes_to_its_end()
        elif asked := [name for name, step in played.state.steps.items() if step.status == "asked"]:
            question = workflow.leaf(asked[0])
            assert isinstance(question, Human)
            played.put(ev.HumanDecided(step=question.name, option=question.options[0], by="li"))
        elif moments := [moment for moment, _ in due_timers(played.state)]:
            played.later((min(moments) - played.now) / 1_000_000)
    ends = "undone" if "undone" in story else "completed"
    assert played.state.phase == ends
