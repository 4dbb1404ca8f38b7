"""Thousands of random schedules of every published workflow, with crashes between any two inputs; many more in tests/soak."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.traffic.v1.events_pb2 import VehicleMissing
from google.protobuf.message import Message

from citybrain.mesh.events import timestamp
from citybrain.sagas import testing
from citybrain.sagas.engine import decider, following
from citybrain.sagas.engine.definition import (
    CarryOn,
    Child,
    Choice,
    Command,
    During,
    Human,
    Parallel,
    Reaction,
    Redo,
    Repeat,
    RestartFrom,
    Step,
    Wait,
    Workflow,
)
from citybrain.sagas.engine.state import SagaState, evolve
from citybrain.sagas.workflows import published
from citybrain.sagas.workflows.emergency_response import EMERGENCY_RESPONSE
from tests.helpers import schedules
from tests.helpers.schedules import Departments, Schedule, play

SEEDS = range(120)
ENDS = ("completed", "undone", "needs human")
HEALTH = "citybrain.health.v1.HealthService"


def bed(name: str, **options: Any) -> Step:
    reserve = Command(
        f"{HEALTH}/ReserveBed",
        lambda s, k: health.ReserveBedRequest(incident_id=s.saga_id, reservation_id=k, place=RoadPlace(edge_id="e1")),
    )
    cancel = Command(f"{HEALTH}/CancelBed", lambda s, k: health.CancelBedRequest(incident_id=s.saga_id, reservation_id=k))
    return Step(name, reserve, 30, undo=cancel, **options)


def whose(event: Message) -> str:
    return str(event.incident_id)  # type: ignore[attr-defined]


# Every word of the vocabulary, each in another place, and what a final failure may mean.
EVERY_WORD = Workflow(
    name="every_word",
    version=1,
    starts_on=IncidentOpened,
    hears=dict.fromkeys((IncidentOpened, IncidentCancelled, MissionReported, VehicleMissing), whose),
    undo_on={IncidentCancelled: lambda event: "called off"},
    nodes=(
        bed("first"),
        Parallel(
            (
                (bed("left", otherwise="go on", pause_s=5), Wait("early", MissionReported, 40, otherwise="undo", implied=True)),
                (bed("right", otherwise="needs human"), Parallel(((bed("inner"),), (bed("second_inner", otherwise="go on"),)))),
            )
        ),
        Wait("late", MissionReported, lambda s: 50.0, fails_on={VehicleMissing: lambda s, e: "gone"}),
        bed("last"),
    ),
)


def again(s: SagaState) -> bool:
    return s.rounds.get("rounds", 0) >= 1


ASK = Human("ask", ("officer", "command"), lambda s: "go on?", 60, unanswered="approve")
# The words with which a saga goes back, asks, and does without.
GOING_BACK = replace(
    EVERY_WORD,
    name="going_back",
    nodes=(
        bed("first", clearance="command"),
        During(
            "scope",
            (
                Repeat("rounds", (bed("searched", otherwise="go on", late="undo"),), again, at_most=3, otherwise="go on"),
                Parallel(((bed("left"),), (CarryOn("may_fail", (bed("inner"), bed("second_inner"))),))),
                Wait("late", MissionReported, 50, otherwise="go on"),
            ),
            {VehicleMissing: Reaction(RestartFrom("rounds"), lambda s, e: "gone")},
        ),
        ASK,
        Choice("how", ((lambda s: s.decision("ask") == "approve", (bed("chosen", otherwise="needs human"),)),)),
        bed("last"),
    ),
)
RIDE = replace(EVERY_WORD, name="ride", starts_on=VehicleMissing, hears={}, undo_on={}, nodes=(bed("first"),))


def ride(name: str, **options: Any) -> Child:
    return Child(name, "ride", lambda s: VehicleMissing(incident_id=s.saga_id), 300, **options)


# Children wherever one may stand: waited for, done without, taken back, and done anew.
WITH_CHILDREN = replace(
    EVERY_WORD,
    name="with_children",
    nodes=(
        ride("first", otherwise="needs human"),
        During(
            "scope",
            (
                Parallel(((bed("left"),), (ride("beside", otherwise="go on", late="undo"),))),
                CarryOn("may_fail", (ride("inner"), bed("second_inner"))),
                Repeat("rounds", (ride("searched", otherwise="go on"),), again, at_most=3, otherwise="go on"),
                Wait("late", MissionReported, 50, otherwise="go on"),
            ),
            {VehicleMissing: Reaction(Redo("beside"), lambda s, e: "gone")},
        ),
        bed("last"),
    ),
)
WORKFLOWS = [*published(), EVERY_WORD, GOING_BACK, WITH_CHILDREN]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda one: f"{one.name}-{one.version}")
def test_whatever_happens_and_whenever_it_crashes_each_saga_ends_as_it_should(workflow: Workflow) -> None:
    ends = play(workflow, SEEDS, [RIDE] if workflow.children() else [])
    # Shown by -s, and where a seed fails.
    sys.stdout.write(f"{workflow.name}, version {workflow.version}, seeds {SEEDS.start} to {SEEDS.stop - 1}: {dict(ends)}\n")
    assert sum(ends[phase] for phase in ENDS) == len(SEEDS)
    if workflow in (EVERY_WORD, GOING_BACK, WITH_CHILDREN):
        assert ends["completed"] and ends["undone"]
    assert ends["needs human"] or workflow is not EVERY_WORD
    assert ends["crashes"] > len(SEEDS) / 2


def test_a_seed_says_all_that_happens() -> None:
    for seed in range(10):
        first, second = (str(Schedule(EVERY_WORD, seed, set()).play()) for _ in range(2))
        assert first == second


@pytest.mark.parametrize("workflow", [EVERY_WORD, GOING_BACK], ids=lambda one: one.name)
def test_a_new_state_leaves_the_one_before_as_it_was(workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    def checked(state: SagaState, event: Message, at: int) -> SagaState:
        before = copy.deepcopy(state)
        after = evolve(state, event, at)
        assert state == before, f"{type(event).__name__} has changed the state before it"
        return after

    monkeypatch.setattr(decider, "evolve", checked)
    monkeypatch.setattr(testing, "evolve", checked)
    play(workflow, range(12))


# -- what is broken on purpose is found -----------------------------------------------------------------------------------


def found(workflow: Workflow = EVERY_WORD) -> str:
    with pytest.raises(AssertionError) as told:
        play(workflow, SEEDS)
    return str(told.value)


def test_whoever_fails_says_its_seed_and_the_whole_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules.Schedule, "_look", lambda self: self.story.must_be("new"))
    assert found().startswith("every_word, version 1, seed 0: it should be new, and is")
    assert "\n         0 s  SagaStarted IncidentOpened\n" in found()


def test_undo_in_another_order_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    undo = following._undo

    def forward(workflow: Workflow, state: SagaState, now: int) -> Iterator[Message]:
        numbers = {one.key: one.number for one in state.attempts()}
        for one in state.attempts():
            one.number = -one.number
        try:
            yield from list(undo(workflow, state, now))
        finally:
            for one in state.attempts():
                one.number = numbers[one.key]

    monkeypatch.setattr(following, "_undo", forward)
    assert ": sent were [" in found()


def test_a_step_that_is_left_out_of_undo_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    undo = following._undo

    def forgets(workflow: Workflow, state: SagaState, now: int) -> Iterator[Message]:
        for event in undo(workflow, state, now):
            yield ev.SagaUndone() if isinstance(event, ev.UndoSent) and event.step == "first" else event

    monkeypatch.setattr(following, "_undo", forgets)
    assert ": sent were ['inc-0123456789ab/first/1'" in found()


def test_another_key_for_the_same_step_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SagaState, "key", lambda self, step: f"{self.saga_id}/{step}/{len(self.heard)}")
    # The effect of the one before is forgotten, and stays.
    assert "stays reserved: {" in found()


def test_a_wait_whose_end_nobody_sees_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = decider.due_timers
    monkeypatch.setattr(
        testing, "due_timers", lambda state: (one for one in timers(state) if not one[1].startswith("wait/"))
    )  # fmt: skip
    assert "it ends nowhere: running" in found()


def test_a_retry_that_never_ends_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def again(state: SagaState, step: str, key: str, code: str, message: str, now: int) -> Message:
        return ev.UndoFailed(step=step, key=key, code=code, retry_at=timestamp(now + 1))

    monkeypatch.setattr(testing, "on_undo_failure", again)
    monkeypatch.setattr(Departments, "take", refusing(Departments.take))
    assert "it ends nowhere: undoing" in found()


def refusing(take: Callable[..., Message | str]) -> Callable[..., Message | str]:
    """Departments that never undo."""

    def take_or_not(self: Departments, name: str, *rest: Any) -> Message | str:
        return "NOT_FOUND" if name.startswith("undo ") else take(self, name, *rest)

    return take_or_not


def test_a_department_that_takes_a_command_after_its_undo_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Departments.take

    def forgetful(self: Departments, *rest: Any) -> Message | str:
        self.released.clear()
        return take(self, *rest)

    monkeypatch.setattr(Departments, "take", forgetful)
    assert "stays reserved: {'inc-0123456789ab/" in found()


def test_what_a_crash_loses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = testing._stored

    def loses(event: Message, at: int) -> tuple[type[Message], bytes, int]:
        if isinstance(event, ev.StepFailed):
            event = ev.StepFailed(step=event.step, key=event.key, code=event.code, retry_at=event.retry_at)
        return stored(event, at)

    monkeypatch.setattr(testing, "_stored", loses)
    assert "what is stored does not tell the state: steps" in found(EMERGENCY_RESPONSE)


def test_humans_who_help_bring_each_saga_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Schedule, "_help", lambda self: None)
    assert "humans help, and it comes to no end" in found()
