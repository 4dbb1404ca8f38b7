"""What the words of a workflow mean beyond steps and waits: choices, questions, loops, scopes, branches that may fail."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.traffic.v1.events_pb2 import VehicleMissing

from citybrain.mesh.errors import BadRequest, Forbidden, Refused, ServiceError
from citybrain.sagas.engine import persons
from citybrain.sagas.engine.decider import due_timers, tries_out
from citybrain.sagas.engine.definition import (
    CarryOn,
    Choice,
    During,
    Human,
    Leave,
    Node,
    Parallel,
    Reaction,
    Redo,
    Repeat,
    RestartFrom,
    Step,
    Undo,
    Wait,
)
from citybrain.sagas.engine.moving import NOW, MovingRow, due, moved
from citybrain.sagas.engine.state import UNDO, SagaState, StepState
from citybrain.sagas.testing import Story
from tests.unit.sagas.test_decider import Run, step, told, workflow

CALLS_OFF = {IncidentCancelled.DESCRIPTOR.full_name}
ARRIVED = Wait("arrived", MissionReported, 60)


def keys(run: Run) -> list[str]:
    """The commands that were sent, undone ones too, by their keys without the saga."""
    sent = [event.key for event in run.log if isinstance(event, ev.StepSent | ev.UndoSent) and event.try_number == 1]
    return [key.removeprefix("s/") for key in sent]


def test_a_wait_for_several_events_ends_by_whichever_comes_first_and_uses_up_that_one_alone() -> None:
    either = Wait("either", (MissionReported, VehicleMissing), 60)
    missing = VehicleMissing(incident_id="s", vehicle_id="a1")
    run = Run(either, Wait("again", (MissionReported, VehicleMissing), 60), step("last"))
    run.hear(missing)
    assert run.state.answer("either") == missing and run.state.steps["again"].status == "waiting"
    run.hear(MissionReported(incident_id="s"))
    assert isinstance(run.state.answer("again"), MissionReported) and run.state.steps["last"].status == "sent"


def answer_all(run: Run, *names: str) -> None:
    for name in names:
        run.answer(name)


def undo_all(run: Run) -> None:
    """Every undo that is out succeeds."""
    while out := [one for one in tries_out(run.state) if one.undo]:
        run.put(ev.UndoAnswered(step=out[0].step, key=out[0].key))


def phase(run: Run) -> str:
    return run.state.phase


# -- choices --------------------------------------------------------------------------------------------------------------


def chooses(name: str) -> Callable[[SagaState], bool]:
    return lambda state: state.answered(name)


def test_a_choice_goes_the_first_way_whose_condition_is_so_and_stays_with_it() -> None:
    run = Run(step("a"), Choice("which", ((chooses("b"), (step("x"),)), (chooses("a"), (step("y"),))), (step("z"),)), step("b"))
    assert run.answer("a") == ["ChoiceMade which", "StepSent y"]
    assert run.answer("y") == ["StepSent b"]
    # The first condition is so only now.
    assert run.answer("b") == ["SagaCompleted"]


def test_a_choice_whose_conditions_are_not_so_goes_the_other_way_or_none() -> None:
    run = Run(Choice("which", ((chooses("b"), (step("x"),)),), (step("z"),)), step("b"))
    assert keys(run) == ["z/1"]
    run = Run(Choice("which", ((chooses("b"), (step("x"),)),)), step("b"))
    assert keys(run) == ["b/1"]


# -- questions ------------------------------------------------------------------------------------------------------------


def question(**options: Any) -> Human:
    return Human("evacuate", ("duty_officer", "fire_command"), lambda state: "evacuate the houses?", deadline_s=300, **options)


def decided(run: Run, option: str, *may: str, by: str = "wang") -> list[str]:
    """What follows from a decision of a person who may act for some authorities."""
    inputs = persons.decide(run.workflow, run.state, "evacuate", option, "smoke", by, lambda who: who in may)
    run.put(*inputs)
    return [told(event) for event in inputs]


def test_a_person_of_the_authority_decides_and_the_saga_goes_the_way_they_chose() -> None:
    go = Choice("go", ((lambda state: state.decision("evacuate") == "approve", (step("shelter"),)),), (step("stay"),))
    run = Run(question(), go)
    assert (run.state.steps["evacuate"].who, run.log[-1].question) == ("duty_officer", "evacuate the houses?")  # type: ignore[attr-defined]
    assert decided(run, "approve", "duty_officer") == ["HumanDecided evacuate"]
    assert keys(run) == ["shelter/1"]


def test_the_same_decision_counts_once_and_another_one_is_refused() -> None:
    run = Run(question(), step("b"))
    decided(run, "approve", "duty_officer")
    assert decided(run, "approve", "duty_officer") == []
    with pytest.raises(Refused, match="was decided: approve"):
        decided(run, "reject", "duty_officer")


@pytest.mark.parametrize(
    ("option", "may", "error"),
    [("approve", (), Forbidden), ("approve", ("fire_command",), Forbidden), ("perhaps", ("duty_officer",), BadRequest)],
    ids=["of no authority", "of one that is not asked yet", "no option"],
)
def test_a_decision_that_is_not_theirs_or_is_none_is_refused_and_not_recorded(
    option: str, may: tuple[str, ...], error: type[ServiceError]
) -> None:
    run = Run(question())
    with pytest.raises(error):
        decided(run, option, *may)
    assert run.state.steps["evacuate"].status == "asked"


def test_what_the_validator_refuses_is_not_recorded() -> None:
    run = Run(question(validator=lambda state, option: "the bridge is closed" if option == "approve" else ""), step("b"))
    with pytest.raises(Refused, match="approve cannot be chosen for evacuate now: the bridge is closed"):
        decided(run, "approve", "duty_officer")
    assert decided(run, "reject", "duty_officer") == ["HumanDecided evacuate"]


def test_who_does_not_decide_in_time_is_passed_over_and_may_still_decide() -> None:
    run = Run(question(), step("b"))
    assert run.at(300) == ["HumanAsked evacuate"]
    asked = run.state.steps["evacuate"]
    assert (asked.who, asked.question) == ("fire_command", "evacuate the houses?")
    assert decided(run, "approve", "duty_officer") == ["HumanDecided evacuate"]


def test_nobody_decides_and_the_saga_needs_a_human_whose_late_decision_lets_it_go_on() -> None:
    run = Run(question(), step("b"))
    run.at(300)
    assert run.at(600) == ["StepTimedOut evacuate", "SagaNeedsHuman evacuate"]
    assert "nobody decided in time" in run.state.reason
    assert decided(run, "approve", "fire_command") == ["HumanDecided evacuate"]
    assert (phase(run), keys(run)) == ("running", ["b/1"])


def test_nobody_decides_and_the_option_for_that_case_counts() -> None:
    run = Run(question(unanswered="approve"), step("b"))
    run.at(300)
    assert run.at(600) == ["HumanDecided evacuate", "StepSent b"]
    assert run.state.decision("evacuate") == "approve"


def test_nobody_is_asked_any_more_when_the_saga_is_undone() -> None:
    run = Run(step("a"), question())
    run.answer("a")
    run.hear(IncidentCancelled())
    with pytest.raises(Refused, match="nobody is asked for evacuate"):
        decided(run, "approve", "duty_officer")
    with pytest.raises(Refused, match="a of saga s is no question"):
        persons.decide(run.workflow, run.state, "a", "approve", "", "wang", lambda who: True)


# -- branches that may fail -----------------------------------------------------------------------------------------------


def test_a_branch_that_need_not_succeed_is_left_and_flagged_and_the_saga_goes_on() -> None:
    run = Run(Parallel(((step("a"),), (CarryOn("telling", (step("b"), step("c"))),))), step("d"))
    assert run.fail("b") == ["PartEnded telling"]
    assert run.answer("a") == ["StepSent d"]
    assert run.state.flags == {"telling": "b: FAILED_PRECONDITION: no"}
    assert keys(run) == ["a/1", "b/1", "d/1"]


def test_what_a_left_branch_had_done_is_undone_with_all_the_rest() -> None:
    run = Run(CarryOn("telling", (step("b"), step("c"))), step("d"))
    run.answer("b")
    run.fail("c")
    run.fail("d")
    undo_all(run)
    assert (phase(run), keys(run)) == ("undone", ["b/1", "c/1", "d/1", "d/1/undo", "c/1/undo", "b/1/undo"])


def test_a_branch_that_must_succeed_undoes_everything_though_another_need_not() -> None:
    run = Run(Parallel(((step("a"),), (CarryOn("telling", (step("b"),)),))))
    assert run.fail("a") == ["UndoBegan", "UndoSent b"]


def test_what_a_left_branch_had_open_is_waited_for_tried_again_and_asked_no_more() -> None:
    open_ones = Parallel(((step("b"),), (step("c", pause_s=2),), (ARRIVED,), (question(),)))
    run = Run(Parallel(((CarryOn("telling", (open_ones,)),), (step("a"),))))
    run.fail("c", "UNAVAILABLE")
    left = run.fail("b")
    assert left[0] == "PartEnded telling"
    assert {one for one in left if one.startswith("StepSkipped")} == {
        "StepSkipped c", "StepSkipped arrived", "StepSkipped evacuate",
    }  # fmt: skip
    assert [name.partition("/")[0] for _, name in due_timers(run.state)] == ["deadline"], "only that of the other branch"
    assert run.answer("a") == ["SagaCompleted"]


def test_a_command_of_a_left_branch_that_fails_for_a_moment_is_not_tried_again() -> None:
    run = Run(Parallel(((CarryOn("telling", (Parallel(((step("b"),), (step("c"),))),)),), (step("a"),))))
    run.fail("b")
    assert run.fail("c", "UNAVAILABLE") == ["StepSkipped c"]


# -- loops ------------------------------------------------------------------------------------------------------------------


def test_a_loop_does_its_steps_with_keys_of_their_own_until_it_is_so() -> None:
    run = Run(Repeat("search", (step("a"), step("b")), lambda state: state.rounds.get("search", 0) == 1, at_most=3), step("c"))
    answer_all(run, "a", "b", "a")
    assert run.answer("b") == ["PartEnded search", "StepSent c"]
    assert keys(run) == ["a/1", "b/1", "a/2", "b/2", "c/1"]


def test_a_loop_that_comes_to_its_bound_asks_a_human_who_gives_it_its_rounds_again() -> None:
    run = Run(Repeat("search", (step("a"),), lambda state: False, at_most=2))
    answer_all(run, "a", "a")
    assert phase(run) == "needs human" and run.state.reason == "search: not done after 2 rounds"
    run.put(ev.SagaResumed())
    answer_all(run, "a")
    assert phase(run) == "needs human"
    assert keys(run) == ["a/1", "a/2", "a/3"]


@pytest.mark.parametrize(
    ("otherwise", "then"), [("go on", ["PartEnded search", "StepSent b"]), ("undo", ["UndoBegan", "UndoSent a"])]
)
def test_a_loop_that_comes_to_its_bound_does_what_its_definition_says(otherwise: Any, then: list[str]) -> None:
    run = Run(Repeat("search", (step("a"),), lambda state: False, at_most=1, otherwise=otherwise), step("b"))
    assert run.answer("a") == then


def test_all_rounds_are_undone_in_reverse() -> None:
    run = Run(Repeat("search", (step("a"), step("b")), lambda state: state.rounds.get("search", 0) == 1, at_most=3), step("c"))
    answer_all(run, "a", "b", "a", "b")
    run.hear(IncidentCancelled())
    undo_all(run)
    assert phase(run) == "undone"
    assert keys(run)[5:] == ["c/1/undo", "b/2/undo", "a/2/undo", "b/1/undo", "a/1/undo"]


def test_a_choice_in_a_loop_is_made_anew_in_each_round() -> None:
    second = Choice("which", ((lambda state: state.rounds.get("loop", 0) == 1, (step("x"),)),), (step("y"),))
    run = Run(Repeat("loop", (step("a"), second), lambda state: state.answered("x"), at_most=3))
    answer_all(run, "a", "y", "a", "x")
    assert (phase(run), keys(run)) == ("completed", ["a/1", "y/1", "a/2", "x/1"])


# -- scopes -----------------------------------------------------------------------------------------------------------------


def scope(does: Redo | RestartFrom | Leave | Undo, *nodes: Node, at_most: int = 3) -> During:
    said = Reaction(
        does, lambda state, event: "the road is blocked" if isinstance(event, VehicleMissing) and event.vehicle_id else ""
    )
    return During("on_the_way", nodes, {VehicleMissing: said}, at_most)


BLOCKED = VehicleMissing(vehicle_id="a1")


def test_a_step_is_taken_back_and_done_anew_while_the_rest_goes_on() -> None:
    run = Run(scope(Redo("route"), step("route"), ARRIVED), step("b"))
    run.answer("route")
    run.late(5)
    assert run.hear(BLOCKED) == ["WentBack on_the_way", "UndoSent route"]
    # What it waits for may come meanwhile.
    assert run.hear(MissionReported()) == ["WaitEnded arrived"]
    assert run.put(ev.UndoAnswered(step="route", key="s/route/1/undo")) == ["StepSent route"]
    assert run.answer("route") == ["StepSent b"]
    assert keys(run) == ["route/1", "route/1/undo", "route/2", "b/1"]


def test_what_pauses_is_tried_again_though_a_step_before_it_is_being_done_anew() -> None:
    run = Run(scope(Redo("route"), step("route"), step("bed", pause_s=4)), step("b"))
    run.answer("route")
    run.fail("bed", "UNAVAILABLE")
    run.late(1)
    run.hear(BLOCKED)
    assert run.at(4) == ["StepSent bed"]
    # It begins nothing new before that.
    assert run.answer("bed") == []


def test_a_saga_goes_on_from_a_step_after_all_since_it_is_taken_back_in_reverse() -> None:
    run = Run(step("first"), scope(RestartFrom("ambulance"), step("ambulance"), step("bed"), ARRIVED), step("b"))
    answer_all(run, "first", "ambulance", "bed")
    run.late(5)
    assert run.hear(BLOCKED) == ["WentBack on_the_way", "UndoSent bed"]
    undo_all(run)
    answer_all(run, "ambulance", "bed")
    assert run.hear(MissionReported()) == ["WaitEnded arrived", "StepSent b"]
    assert keys(run) == [
        "first/1", "ambulance/1", "bed/1", "bed/1/undo", "ambulance/1/undo", "ambulance/2", "bed/2", "b/1",
    ]  # fmt: skip
    run.hear(IncidentCancelled())
    undo_all(run)
    assert keys(run)[8:] == ["b/1/undo", "bed/2/undo", "ambulance/2/undo", "first/1/undo"]


def test_an_event_means_something_only_inside_its_scope_and_once() -> None:
    run = Run(step("before"), scope(Redo("route"), step("route"), ARRIVED), ARRIVED2)
    run.hear(BLOCKED)
    run.late(1)
    run.answer("before")
    run.answer("route")
    run.late(5)
    assert run.hear(VehicleMissing()) == []
    run.hear(BLOCKED)
    undo_all(run)
    run.answer("route")
    assert run.state.rounds == {"on_the_way": 1}
    run.hear(MissionReported())
    assert run.hear(BLOCKED) == []
    assert keys(run) == ["before/1", "route/1", "route/1/undo", "route/2"]


ARRIVED2 = Wait("arrived_again", MissionReported, 60)


def test_a_scope_that_goes_back_too_often_asks_a_human() -> None:
    run = Run(scope(Redo("route"), step("route"), ARRIVED, at_most=1))
    run.answer("route")
    run.late(5)
    run.hear(BLOCKED)
    undo_all(run)
    run.answer("route")
    assert run.hear(BLOCKED) == ["SagaNeedsHuman on_the_way"]
    assert run.state.reason == "the road is blocked; this was so 1 times before"
    run.put(ev.SagaResumed())
    undo_all(run)
    assert keys(run)[-1] == "route/2/undo" or keys(run)[-1] == "route/3"


def test_a_saga_that_needs_a_human_goes_back_by_itself_when_its_event_comes() -> None:
    run = Run(scope(RestartFrom("a"), step("a"), step("b", otherwise="needs human")))
    run.answer("a")
    run.late(5)
    run.fail("b")
    assert phase(run) == "needs human"
    assert run.hear(BLOCKED)[:2] == ["WentBack on_the_way", "SagaResumed"]
    undo_all(run)
    answer_all(run, "a", "b")
    assert phase(run) == "completed"


def test_a_scope_is_left_after_what_it_did_is_taken_back() -> None:
    run = Run(scope(Leave(), step("a"), step("b"), ARRIVED), step("c"))
    answer_all(run, "a")
    run.late(5)
    run.hear(BLOCKED)
    assert keys(run) == ["a/1", "b/1", "b/1/undo", "c/1"]
    undo_all(run)
    assert run.state.flags == {"on_the_way": "the road is blocked"}
    assert run.answer("c") == ["SagaCompleted"]
    assert keys(run)[-1] == "a/1/undo"


def test_an_event_in_a_scope_undoes_everything() -> None:
    run = Run(scope(Undo(), step("a"), ARRIVED))
    run.answer("a")
    run.late(5)
    assert run.hear(BLOCKED) == ["UndoBegan", "UndoSent a"]
    assert run.state.reason == "the road is blocked"


# -- what comes late --------------------------------------------------------------------------------------------------------


def test_a_command_that_may_take_effect_late_is_taken_back_at_once_where_the_definition_says_so() -> None:
    run = Run(step("a", otherwise="go on", late="undo"), step("b"))
    assert run.at(10) == ["StepTimedOut a", "StepSkipped a", "WentBack a", "UndoSent a", "StepSent b"]
    assert run.answer("b") == []
    undo_all(run)
    assert phase(run) == "completed"


def test_what_was_refused_has_taken_no_effect_and_is_not_taken_back() -> None:
    run = Run(step("a", otherwise="go on", late="undo"), step("b"))
    assert run.fail("a") == ["StepSkipped a", "StepSent b"]


def test_what_cannot_be_taken_back_stops_nothing_until_all_else_is_done() -> None:
    run = Run(step("a", otherwise="go on", late="undo"), step("b"), step("c"))
    run.at(10)
    run.fail("a")
    assert run.answer("b") == ["StepSent c"]
    assert run.answer("c") == ["SagaNeedsHuman a"]
    assert run.state.reason.startswith("a could not be undone")
    run.put(*persons.skip(run.state, "a", "by hand", "wang"))
    assert phase(run) == "completed"


# -- what protects life -----------------------------------------------------------------------------------------------------


def cleared(run: Run, *may: str) -> list[str]:
    inputs = persons.clear(run.workflow, run.state, "close_valve", "no gas is left", "wang", lambda who: who in may)
    run.put(*inputs)
    return [told(event) for event in inputs]


def test_a_step_that_protects_life_is_undone_only_when_its_authority_clears_it() -> None:
    run = Run(step("a"), step("close_valve", clearance="gas_command"), step("b"))
    answer_all(run, "a", "close_valve")
    run.hear(IncidentCancelled())
    undo_all(run)
    assert phase(run) == "needs human"
    assert "protects life, and is undone only when gas_command clears it: false call" in run.state.reason
    run.put(ev.SagaResumed())
    assert (phase(run), keys(run)[-1]) == ("needs human", "b/1/undo")
    with pytest.raises(Forbidden, match="gas_command clears close_valve"):
        cleared(run, "duty_officer")
    assert cleared(run, "gas_command") == ["UndoCleared close_valve", "SagaResumed"]
    assert cleared(run, "gas_command") == []
    undo_all(run)
    assert (phase(run), keys(run)[3:]) == ("undone", ["b/1/undo", "close_valve/1/undo", "a/1/undo"])


def test_nothing_is_cleared_before_it_is_to_be_undone() -> None:
    run = Run(step("a"), step("close_valve", clearance="gas_command"), step("b"))
    answer_all(run, "a", "close_valve")
    with pytest.raises(Refused, match="close_valve of saga s is not being undone"):
        cleared(run, "gas_command")
    with pytest.raises(Refused, match="a of saga s needs no clearance"):
        persons.clear(run.workflow, run.state, "a", "", "wang", lambda who: True)


# -- all of it together -----------------------------------------------------------------------------------------------------


def rich() -> tuple[Node, ...]:
    """Every word of the vocabulary, inside others."""
    found = lambda state: state.rounds.get("search", 0) >= 1  # noqa: E731
    search = (step("b", otherwise="go on", late="undo"), Choice("c", ((found, (step("d"),)),), ()))
    return (
        step("a", otherwise="needs human"),
        During(
            "scope",
            (
                Repeat("search", search, found, 2),
                Parallel(((step("e", clearance="command"),), (CarryOn("may_fail", (step("f"), step("g"))),))),
                question(),
                ARRIVED,
            ),
            {VehicleMissing: Reaction(RestartFrom("search"), lambda state, event: "blocked")},
            at_most=2,
        ),
        step("h", otherwise="go on"),
    )


class Schedule:
    """Something happens at random, as long as anything can. The kit looks whether what is stored tells the state."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.story = Story(workflow(*rich()), thorough=False).starts_with(IncidentOpened())

    def happens(self) -> None:
        story, chance = self.story, self.chance
        out = list(tries_out(story.state))
        if out and chance.random() < 0.7:
            self.outcome(chance.choice(out))
            return
        happening = chance.random()
        if happening < 0.4:
            story.time_passes(chance.choice((1, 5, 40, 400)))
        elif happening < 0.6:
            story.hears(chance.choice((BLOCKED, MissionReported(), MissionReported())))
        elif happening < 0.605:
            story.hears(IncidentCancelled())
        elif happening < 0.65:
            story.crashes()
        else:
            self.person()

    def outcome(self, one: Any) -> None:
        kind = self.chance.random()
        if kind < 0.4:
            self.story.fails(one.step, "UNAVAILABLE" if kind < 0.3 else "FAILED_PRECONDITION")
        elif one.undo:
            self.story.undone(one.step)
        else:
            self.story.answers(one.step)

    def person(self) -> None:
        story, name = self.story, self.chance.choice(list(self.story.state.steps))
        # Refused: nothing is recorded.
        with contextlib.suppress(ServiceError):
            match self.chance.randrange(4):
                case 0:
                    story.human_decides("evacuate", "approve")
                case 1:
                    story.human_clears("e")
                case 2:
                    story.human_skips(name)
                case 3:
                    if story.phase == "needs human":
                        story.human_resumes()


def ended(story: Story) -> bool:
    return story.phase in ("completed", "undone")


def effects(story: Story) -> list[StepState]:
    """The attempts that may have an effect which nobody has taken back."""
    undoable = {leaf.name for leaf in story.workflow.leaves() if isinstance(leaf, Step) and leaf.undo is not None}
    return [one for one in story.state.attempts() if one.name in undoable and one.key and one.undo not in ("done", "skipped")]


@pytest.mark.parametrize("block", range(4))
def test_whatever_happens_a_saga_ends_with_nothing_half_done(block: int) -> None:
    ends = {"completed": 0, "undone": 0}
    for seed in range(block * 30, block * 30 + 30):
        schedule = Schedule(seed)
        story = schedule.story
        row: MovingRow | None = None
        for event in story.recorded:
            row = moved(row, event, CALLS_OFF)
        for _ in range(400):
            if ended(story):
                break
            before, length = story.state, len(story.recorded)
            schedule.happens()
            for event in story.recorded[length:]:
                row = moved(row, event, CALLS_OFF)
            moments = [moment for moment, _ in due_timers(story.state)]
            moves = bool(moments or list(tries_out(story.state)))
            if any(tries_out(story.state)):
                assert row is not None and due(row) == NOW, f"seed {seed}: no row says that something is out\n{story}"
            elif moments:
                # Looked at too early is no harm, and too late is.
                assert row is not None and due(row) <= min(moments), f"seed {seed}: the row is late\n{story}"
            assert moves or ended(story) or story.phase == "needs human", f"seed {seed}: nothing moves it any more\n{story}"
            new = [event for event in story.recorded[length:] if isinstance(event, ev.StepSent)]
            assert not (before.undo_begun and new), f"seed {seed}: a step was sent while all is undone\n{story}"
        assert ended(story), f"seed {seed}: it comes to no end\n{story}"
        ends[story.phase] += 1
        if story.phase == "undone":
            assert effects(story) == [], seed
            in_reverse(story, seed)
        else:
            assert story.state.taking_back == [], seed
    assert min(ends.values()) > 0, ends


def in_reverse(story: Story, seed: int) -> None:
    """From the moment at which all is undone, commands are taken back in the reverse of their order."""
    log = story.recorded
    began = next(number for number, event in enumerate(log) if isinstance(event, ev.UndoBegan))
    order = {one.key: one.number for one in story.state.attempts() if one.key}
    back = [order[event.key.removesuffix(UNDO)] for event in log[began:] if isinstance(event, ev.UndoSent)]
    assert back == sorted(back, reverse=True), f"seed {seed}: {back}\n{story}"
