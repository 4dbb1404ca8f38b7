"""What the pure engine decides, told in the events it would append."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from citybrain.sagas.definition import Command, Parallel, Step, Wait, Workflow
from citybrain.sagas.engine import UNDO_TRIES, due_timers, on_failure, on_undo_failure, react
from citybrain.sagas.state import SagaState, evolve, pack

SECOND = 1_000_000
ANSWER = health.ReportMissionResponse()


def command(name: str) -> Command:
    return Command(f"city.Test/{name}", lambda state, key: ANSWER)


def step(name: str, **options: Any) -> Step:
    options.setdefault("undo", command(f"undo-{name}"))
    return Step(name, command(name), deadline_s=10, **options)


def workflow(*nodes: Any) -> Workflow:
    return Workflow(
        name="test",
        version=1,
        starts_on=IncidentOpened,
        hears={IncidentOpened: lambda e: "s", MissionReported: lambda e: "s", IncidentCancelled: lambda e: "s"},
        undo_on={IncidentCancelled: lambda e: "false call"},
        nodes=nodes,
    )


class Run:
    """A saga driven by hand: gives inputs, collects what is decided."""

    def __init__(self, *nodes: Any) -> None:
        self.workflow = workflow(*nodes)
        self.state = SagaState()
        self.now = 0
        self.log: list[Message] = []
        self.put(ev.SagaStarted(saga_id="s", workflow="test", workflow_version=1, input=pack(IncidentOpened())))

    def put(self, *inputs: Message) -> list[str]:
        events, self.state = react(self.workflow, self.state, inputs, self.now)
        self.log += events
        return [told(event) for event in events[len(inputs) :]]

    def answer(self, name: str) -> list[str]:
        return self.put(ev.StepAnswered(step=name, key=self.state.steps[name].key, response=pack(ANSWER)))

    def fail(self, name: str, code: str = "FAILED_PRECONDITION") -> list[str]:
        key = self.state.steps[name].key
        return self.put(on_failure(self.workflow, self.state, name, key, code, "no", self.now))

    def undone(self, name: str) -> list[str]:
        return self.put(ev.UndoAnswered(step=name, key="k"))

    def hear(self, name: str, message: Message) -> list[str]:
        return self.put(ev.EventHeard(event_id=name, event=pack(message)))

    def at(self, seconds: float) -> list[str]:
        self.now = int(seconds * SECOND)
        return self.put(ev.TimerFired(timer="t"))


def told(event: Message) -> str:
    return " ".join(filter(None, [type(event).__name__, str(getattr(event, "step", ""))]))


def test_steps_run_one_after_the_other_and_the_saga_completes() -> None:
    run = Run(step("a"), step("b"))
    assert [told(e) for e in run.log] == ["SagaStarted", "StepSent a"]
    assert run.answer("a") == ["StepSent b"]
    assert run.answer("b") == ["SagaCompleted"]
    assert run.state.phase == "completed"


def test_the_next_command_is_recorded_in_the_same_append_as_the_answer() -> None:
    run = Run(step("a"), step("b"))
    events, _ = react(run.workflow, run.state, [ev.StepAnswered(step="a", key="s/a/1", response=pack(ANSWER))], 0)
    assert [told(e) for e in events] == ["StepAnswered a", "StepSent b"]


def test_parallel_branches_start_together_and_the_saga_goes_on_when_all_have_ended() -> None:
    run = Run(Parallel(((step("a"), step("b")), (step("c"),))), step("d"))
    assert [told(e) for e in run.log[1:]] == ["StepSent a", "StepSent c"]
    assert run.answer("c") == []
    assert run.answer("a") == ["StepSent b"]
    assert run.answer("b") == ["StepSent d"]


def test_a_refused_step_undoes_in_reverse_what_was_done_and_what_may_have_been_done() -> None:
    run = Run(step("a"), step("b"), step("c"))
    run.answer("a")
    run.answer("b")
    assert run.fail("c") == ["UndoBegan", "UndoSent c"]
    assert run.undone("c") == ["UndoSent b"]
    assert run.undone("b") == ["UndoSent a"]
    assert run.undone("a") == ["SagaUndone"]


def test_a_passing_failure_is_tried_again_under_the_same_key_until_the_deadline() -> None:
    run = Run(step("a", pause_s=4))
    assert run.fail("a", "UNAVAILABLE") == []
    assert run.at(3.9) == []
    assert run.at(4) == ["StepSent a"]
    again = run.log[-1]
    assert isinstance(again, ev.StepSent) and (again.key, again.try_number) == ("s/a/1", 2)
    run.fail("a", "UNAVAILABLE")
    assert run.at(8) == ["StepSent a"]
    assert run.fail("a", "UNAVAILABLE") == ["UndoBegan", "UndoSent a"]


def test_a_step_without_an_answer_times_out() -> None:
    run = Run(step("a"))
    assert run.at(10) == ["StepTimedOut a", "UndoBegan", "UndoSent a"]


def test_a_step_the_saga_can_do_without_is_skipped_and_says_why() -> None:
    run = Run(step("a", otherwise="go on"), step("b"))
    assert run.fail("a") == ["StepSkipped a", "StepSent b"]
    assert "FAILED_PRECONDITION" in run.state.steps["a"].reason


def test_a_wait_ends_by_an_event_that_matches_and_only_by_one() -> None:
    arrived = Wait("arrived", MissionReported, 60, lambda s, e: e.stage == 2)  # type: ignore[attr-defined]
    run = Run(arrived, step("a"))
    assert run.hear("e1", MissionReported(stage=1)) == []  # type: ignore[arg-type]
    assert run.hear("e2", MissionReported(stage=2)) == ["WaitEnded arrived", "StepSent a"]  # type: ignore[arg-type]


def test_an_event_that_came_before_its_wait_counts() -> None:
    run = Run(step("a"), Wait("arrived", MissionReported, 60), step("b"))
    assert run.hear("e1", MissionReported()) == []
    assert run.answer("a") == ["WaitBegan arrived", "WaitEnded arrived", "StepSent b"]


def test_a_wait_nobody_ends_asks_a_human_who_can_go_on() -> None:
    run = Run(Wait("arrived", MissionReported, 60), step("a"))
    assert run.at(60) == ["StepTimedOut arrived", "SagaNeedsHuman arrived"]
    run.now = 61 * SECOND
    assert run.put(ev.SagaResumed()) == ["WaitBegan arrived"]
    assert run.hear("e", MissionReported()) == ["WaitEnded arrived", "StepSent a"]


def test_a_false_call_undoes_what_was_sent_though_its_answer_is_still_out() -> None:
    run = Run(step("a"), step("b"))
    run.answer("a")
    assert run.hear("e", IncidentCancelled()) == ["UndoBegan", "UndoSent b"]
    assert run.undone("b") == ["UndoSent a"]


def test_an_undo_has_tries_of_its_own_and_then_a_human_is_needed_who_can_resume() -> None:
    run = Run(step("a"))
    run.fail("a")
    for _ in range(UNDO_TRIES - 1):
        run.put(on_undo_failure(run.state, "a", "k", "UNAVAILABLE", "down", run.now))
        assert run.at(run.now / SECOND + 2) == ["UndoSent a"]
    last = on_undo_failure(run.state, "a", "k", "UNAVAILABLE", "down", run.now)
    assert run.put(last) == ["SagaNeedsHuman a"]
    assert run.put(ev.SagaResumed()) == ["UndoSent a"]
    assert run.undone("a") == ["SagaUndone"]


def test_a_saga_that_waits_for_a_human_can_still_be_called_off() -> None:
    run = Run(step("a", otherwise="needs human"))
    assert run.fail("a") == ["SagaNeedsHuman a"]
    assert run.hear("e", IncidentCancelled()) == ["UndoBegan", "UndoSent a"]
    assert run.undone("a") == ["SagaUndone"]


def test_only_moments_that_matter_are_timers() -> None:
    run = Run(step("a", pause_s=3))
    assert list(due_timers(run.state)) == [(10 * SECOND, "deadline/a/s/a/1")]
    run.fail("a", "UNAVAILABLE")
    assert list(due_timers(run.state)) == [(3 * SECOND, "retry/a/1")]
    run.at(3)
    run.answer("a")
    assert list(due_timers(run.state)) == []


@pytest.mark.parametrize("phase", ["completed", "undone"])
def test_an_ended_saga_does_nothing_more(phase: str) -> None:
    run = Run(step("a"))
    if phase == "completed":
        run.answer("a")
    else:
        run.fail("a")
        run.undone("a")
    assert run.state.phase == phase
    assert run.hear("late", IncidentCancelled()) == []
    assert run.at(1000) == []


Choice = st.sampled_from(["answer", "refuse", "fail", "cancel", "later", "undo", "undo fails"])


@given(st.lists(Choice, max_size=40))
def test_whatever_happens_undos_come_in_reverse_every_step_once_and_the_fold_is_the_state(choices: list[str]) -> None:
    run = Run(step("a"), Parallel(((step("b"),), (step("c", otherwise="go on"),))), step("d"))
    for number, choice in enumerate(choices):
        sent = [n for n, s in run.state.steps.items() if s.status == "sent"] if run.state.phase == "running" else []
        undoing = [n for n, s in run.state.steps.items() if s.undo == "sent"] if run.state.phase == "undoing" else []
        if choice in ("answer", "refuse", "fail") and sent:
            name = sent[number % len(sent)]
            run.answer(name) if choice == "answer" else run.fail(name, "UNAVAILABLE" if choice == "fail" else "NOT_FOUND")
        elif choice == "cancel":
            run.hear(f"cancel-{number}", IncidentCancelled())
        elif choice == "undo" and undoing:
            run.undone(undoing[0])
        elif choice == "undo fails" and undoing:
            run.put(on_undo_failure(run.state, undoing[0], "k", "UNAVAILABLE", "down", run.now))
        elif choice == "later":
            run.at(run.now / SECOND + 3)
    folded = SagaState()
    for event in run.log:
        folded = evolve(folded, event, 0)
    assert (folded.phase, list(folded.steps), folded.answers) == (run.state.phase, list(run.state.steps), run.state.answers)
    first_sent = list(dict.fromkeys(e.step for e in run.log if isinstance(e, ev.StepSent)))
    first_undone = list(dict.fromkeys(e.step for e in run.log if isinstance(e, ev.UndoSent)))
    assert first_undone == [name for name in reversed(first_sent)][: len(first_undone)]
    if run.state.phase == "undone":
        assert set(first_undone) == set(first_sent)
    undo_began = next((n for n, e in enumerate(run.log) if isinstance(e, ev.UndoBegan)), len(run.log))
    assert not any(isinstance(e, ev.StepSent) for e in run.log[undo_began:])
    ends = [type(e).__name__ for e in run.log if isinstance(e, ev.SagaCompleted | ev.SagaUndone)]
    assert len(ends) <= 1
    assert all(a != b for a, b in itertools.pairwise(told(e) for e in run.log if isinstance(e, ev.UndoBegan)))


def test_a_false_call_whose_undo_fails_for_good_waits_for_a_human() -> None:
    run = Run(step("a"))
    assert run.hear("e", IncidentCancelled()) == ["UndoBegan", "UndoSent a"]
    refused = on_undo_failure(run.state, "a", "k", "FAILED_PRECONDITION", "no", run.now)
    assert run.put(refused) == ["SagaNeedsHuman a"]
    assert run.put(ev.SagaResumed()) == ["UndoSent a"]
    assert run.undone("a") == ["SagaUndone"]
