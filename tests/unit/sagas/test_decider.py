"""What the pure engine decides, told in the events it would append."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1.events_pb2 import MissionReported
from citybrain.sagas.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from citybrain.traffic.v1.events_pb2 import VehicleMissing
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from citybrain.sagas.engine.decider import UNDO_TRIES, due_timers, react, tries_out
from citybrain.sagas.engine.definition import Command, Parallel, Step, Wait, Workflow
from citybrain.sagas.engine.state import SagaState, evolve, pack
from citybrain.sagas.testing import Story

SECOND = 1_000_000
ANSWER = traffic.GetSignalResponse()


def command() -> Command:
    return Command("citybrain.traffic.v1.TrafficService/GetSignal", lambda state, key: traffic.GetSignalRequest(signal_id=key))


def step(name: str, **options: Any) -> Step:
    options.setdefault("undo", command())
    return Step(name, command(), deadline_s=10, **options)


def workflow(*nodes: Any) -> Workflow:
    return Workflow(
        name="test",
        version=1,
        starts_on=IncidentOpened,
        hears=dict.fromkeys((IncidentOpened, MissionReported, IncidentCancelled, VehicleMissing), lambda e: "s"),
        undo_on={IncidentCancelled: lambda e: "false call"},
        nodes=nodes,
    )


class Run:
    """A story of one saga, told by inputs as the runner makes them. Each gives what followed from it."""

    def __init__(self, *nodes: Any) -> None:
        self.workflow = workflow(*nodes)
        self.story = Story(self.workflow).starts_with(IncidentOpened())

    @property
    def state(self) -> SagaState:
        return self.story.state

    @property
    def log(self) -> list[Message]:
        return self.story.recorded

    @property
    def times(self) -> list[int]:
        """When each was recorded, in microseconds."""
        return [at for _, _, at in self.story._stored]

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return self.story.now

    def due(self) -> list[float]:
        """When something is due, in seconds since it began."""
        return [round(self.now + after, 6) for after in self.story.timers().values()]

    def put(self, *inputs: Message) -> list[str]:
        return self.story._put(*inputs).followed

    def answer(self, name: str) -> list[str]:
        return self.story.answers(name).followed

    def fail(self, name: str, code: str = "FAILED_PRECONDITION") -> list[str]:
        return self.story.fails(name, code).followed

    def undone(self, name: str) -> list[str]:
        return self.story.undone(name).followed

    def hear(self, message: Message, at: float | None = None) -> list[str]:
        return self.story.hears(message, at).followed

    def at(self, seconds: float) -> list[str]:
        """Time goes on, and the timers that are due then fire."""
        return self.story.time_passes(seconds - self.story.now).followed

    def late(self, seconds: float) -> None:
        """Time goes on, and no timer fires."""
        self.story.stands_still(seconds - self.story.now)


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


def tried(run: Run, name: str) -> list[float]:
    """When a step is tried whose department is away, until it is given up."""
    moments = [run.now]
    while run.state.phase == "running":
        run.fail(name, "UNAVAILABLE")
        if run.due() and run.at(min(run.due())) == [f"StepSent {name}"]:
            moments.append(run.now)
    return moments


def test_pauses_grow_up_to_the_longest_and_the_last_try_is_shortly_before_the_deadline() -> None:
    run = Run(Step("a", command(), deadline_s=900, pause_s=5, longest_pause_s=30, otherwise="needs human"))
    moments = tried(run, "a")
    pauses = [after - before for before, after in itertools.pairwise(moments)]
    assert pauses[:5] == [5, 7.5, 11.25, 16.875, 25.3125]
    assert set(pauses[5:-1]) == {30} and pauses[-1] <= 30
    assert moments[-1] == 895
    # Of those that wait for fifteen minutes each is recorded so often, and not 180 times.
    assert len(moments) < 40


def test_a_first_pause_that_is_longer_than_the_longest_stays_as_it_is() -> None:
    run = Run(Step("a", command(), deadline_s=200, pause_s=50, otherwise="needs human"))
    assert tried(run, "a") == [0, 50, 100, 150]


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
    assert run.hear(MissionReported(stage=1)) == []  # type: ignore[arg-type]
    assert run.hear(MissionReported(stage=2)) == ["WaitEnded arrived", "StepSent a"]  # type: ignore[arg-type]


def test_a_later_stage_ends_the_waits_for_the_earlier_ones_and_is_left_for_its_own() -> None:
    scene = Wait("scene", MissionReported, 60, lambda s, e: e.stage >= 2, implied=True)  # type: ignore[attr-defined]
    door = Wait("door", MissionReported, 60, lambda s, e: e.stage >= 4)  # type: ignore[attr-defined]
    for stage, follows in (
        (3, ["WaitEnded scene", "WaitBegan door"]),
        (4, ["WaitEnded scene", "WaitBegan door", "WaitEnded door", "SagaCompleted"]),
    ):
        run = Run(scene, door)
        assert run.hear(MissionReported(stage=stage)) == follows  # type: ignore[arg-type]


def test_an_event_that_came_before_its_wait_counts() -> None:
    run = Run(step("a"), Wait("arrived", MissionReported, 60), step("b"))
    assert run.hear(MissionReported()) == []
    assert run.answer("a") == ["WaitBegan arrived", "WaitEnded arrived", "StepSent b"]


def test_a_wait_nobody_ends_asks_a_human_who_can_go_on() -> None:
    run = Run(Wait("arrived", MissionReported, 60), step("a"))
    assert run.at(60) == ["StepTimedOut arrived", "SagaNeedsHuman arrived"]
    run.late(61)
    assert run.put(ev.SagaResumed()) == ["WaitBegan arrived"]
    assert run.hear(MissionReported()) == ["WaitEnded arrived", "StepSent a"]


def test_what_comes_after_all_ends_its_wait_without_a_human_and_what_ended_another_wait_does_not() -> None:
    run = Run(Wait("one", MissionReported, 60), Wait("two", MissionReported, 60), step("a"))
    run.hear(MissionReported())
    assert run.at(60) == ["StepTimedOut two", "SagaNeedsHuman two"]
    assert run.at(3600) == []
    assert run.hear(MissionReported()) == ["SagaResumed", "WaitBegan two", "WaitEnded two", "StepSent a"]


def test_an_event_that_happened_in_time_ends_its_wait_however_late_it_is_heard() -> None:
    run = Run(Wait("arrived", MissionReported, 60, otherwise="undo"), step("a"))
    run.late(75)
    assert run.hear(MissionReported(), at=57) == ["WaitEnded arrived", "StepSent a"]
    assert run.at(75) == []


def test_an_event_that_happened_at_the_very_end_of_a_wait_is_in_time_and_one_after_it_is_not() -> None:
    for happened_s, follows in ((60, ["WaitEnded arrived", "SagaCompleted"]), (60.001, [])):
        run = Run(Wait("arrived", MissionReported, 60))
        run.late(75)
        assert run.hear(MissionReported(), happened_s) == follows


def test_an_event_that_was_heard_in_time_is_in_time_whatever_the_clock_of_its_service_said() -> None:
    run = Run(Wait("arrived", MissionReported, 60))
    run.late(59)
    assert run.hear(MissionReported(), at=61) == ["WaitEnded arrived", "SagaCompleted"]


def test_what_an_earlier_release_heard_is_in_time_by_when_it_was_heard() -> None:
    run = Run(Wait("arrived", MissionReported, 60))
    run.late(59)
    assert run.put(ev.EventHeard(event_id="e", event=pack(MissionReported()))) == ["WaitEnded arrived", "SagaCompleted"]


def test_a_wait_is_over_by_its_own_timer_and_by_nothing_else_that_comes_late() -> None:
    run = Run(Parallel(((Wait("arrived", MissionReported, 60, otherwise="undo"),), (step("a", pause_s=5),))))
    run.fail("a", "UNAVAILABLE")
    retry = next(name for _, name in due_timers(run.state) if name.startswith("retry"))
    run.late(61)
    assert "arrived" not in " ".join(run.put(ev.TimerFired(timer=retry)))
    run = Run(Wait("arrived", MissionReported, 60, otherwise="undo"))
    run.late(61)
    assert run.hear(IncidentOpened()) == []
    assert run.put() == []
    assert run.at(61) == ["StepTimedOut arrived", "UndoBegan", "SagaUndone"]


def test_a_false_call_that_is_heard_when_a_wait_is_over_undoes_and_asks_nobody() -> None:
    run = Run(step("a"), Wait("arrived", MissionReported, 60))
    run.answer("a")
    run.late(61)
    timer = ev.TimerFired(timer="wait/arrived")
    heard = ev.EventHeard(event_id="e", event=pack(IncidentCancelled()))
    assert run.put(heard, timer) == ["UndoBegan", "UndoSent a"]


def test_what_was_heard_while_a_human_was_needed_counts_when_he_resumes_late() -> None:
    run = Run(
        Parallel(((step("a", otherwise="needs human"),), (Wait("arrived", MissionReported, 60, otherwise="undo"), step("b"))))
    )
    assert run.fail("a") == ["SagaNeedsHuman a"]
    run.late(30)
    assert run.hear(MissionReported()) == []
    run.late(1000)
    assert run.put(ev.SagaResumed()) == ["StepSent a", "WaitBegan arrived", "WaitEnded arrived", "StepSent b"]


def test_while_a_human_is_needed_no_time_runs_out_and_his_resume_undoes_nothing() -> None:
    branches = (
        (step("a", otherwise="needs human"),),
        (step("pausing", pause_s=3),),
        (step("out"),),
        (Wait("arrived", MissionReported, 60, otherwise="undo"),),
        (step("done"),),
    )
    run = Run(Parallel(branches))
    run.fail("pausing", "UNAVAILABLE")
    run.answer("done")
    assert run.fail("a") == ["SagaNeedsHuman a"]
    assert run.at(1000) == []
    begun = ["StepSent a", "StepSent pausing", "StepSent out", "WaitBegan arrived"]
    assert run.put(ev.SagaResumed()) == begun
    assert run.story.timers() == {"a": 10, "pausing": 10, "out": 10, "arrived": 60}


def test_a_resume_that_an_earlier_release_recorded_with_what_it_made_of_it_still_reads() -> None:
    run = Run(Parallel(((step("a", otherwise="needs human"),), (step("b", pause_s=3),))))
    run.fail("b", "UNAVAILABLE")
    run.fail("a")
    state = run.state
    for event in (ev.SagaResumed(), ev.StepTimedOut(step="b", key="s/b/1"), ev.UndoBegan(reason="b: no answer in time")):
        state = evolve(state, event, 1000 * SECOND)
    assert [told(event) for event in react(run.workflow, state, [], 1000 * SECOND)[0]] == ["UndoSent b"]


def test_what_follows_from_the_state_alone_follows_without_an_input() -> None:
    run = Run(step("a"), step("b"))
    assert run.put() == []
    # Only the input was recorded, and what recorded it ended then.
    state = evolve(run.state, ev.StepAnswered(step="a", key="s/a/1", response=pack(ANSWER)), 0)
    assert [told(event) for event in react(run.workflow, state, [], 0)[0]] == ["StepSent b"]


def test_what_is_out_is_known_from_the_state() -> None:
    run = Run(step("a", pause_s=1), step("b"))
    assert [tuple(one) for one in tries_out(run.state)] == [("a", "s/a/1", 1, False)]
    run.fail("a", "UNAVAILABLE")
    assert list(tries_out(run.state)) == []
    run.at(1)
    assert [one.number for one in tries_out(run.state)] == [2]
    run.hear(IncidentCancelled())
    assert [tuple(one) for one in tries_out(run.state)] == [("a", "s/a/1/undo", 1, True)]


def test_a_reason_is_never_longer_than_what_can_be_kept() -> None:
    run = Run(step("a"))
    longest = Workflow(
        "test", 1, IncidentOpened, run.workflow.hears, run.workflow.nodes, {IncidentCancelled: lambda e: "r" * 1_000_000}
    )  # fmt: skip
    events, _ = react(longest, run.state, [ev.EventHeard(event_id="e", event=pack(IncidentCancelled()))], 0)
    assert all(event.ByteSize() < 1000 for event in events)


def test_a_reason_in_any_script_fits_into_the_commands_that_carry_it() -> None:
    for reason in ("误" * 166, "x" * 500, "é" * 250):
        undo_on: dict[type[Message], Any] = {IncidentCancelled: lambda e: f"false call: {e.reason}"}
        undone = Workflow("test", 1, IncidentOpened, {}, (step("a"),), undo_on)
        heard = ev.EventHeard(event_id="e", event=pack(IncidentCancelled(reason=reason)))
        _, state = react(undone, Run(step("a")).state, [heard], 0)
        assert len(state.reason.encode()) <= 500 and state.reason.startswith(f"false call: {reason[:100]}")


def test_a_false_call_undoes_what_was_sent_though_its_answer_is_still_out() -> None:
    run = Run(step("a"), step("b"))
    run.answer("a")
    assert run.hear(IncidentCancelled()) == ["UndoBegan", "UndoSent b"]
    assert run.undone("b") == ["UndoSent a"]


def test_an_undo_has_tries_of_its_own_and_then_a_human_is_needed_who_can_resume() -> None:
    run = Run(step("a"))
    run.fail("a")
    pauses = []
    for _ in range(UNDO_TRIES - 1):
        run.fail("a", "UNAVAILABLE")
        (due,) = run.due()
        pauses.append(due - run.now)
        assert run.at(due) == ["UndoSent a"]
    assert pauses[:4] == [2, 3, 4.5, 6.75] and pauses[-1] == 30 and sum(pauses) > 120
    assert run.fail("a", "UNAVAILABLE") == ["SagaNeedsHuman a"]
    assert run.put(ev.SagaResumed()) == ["UndoSent a"]
    assert run.undone("a") == ["SagaUndone"]


def test_an_undo_that_is_resumed_has_all_of_its_tries_again_and_nothing_else_of_the_saga_changes() -> None:
    run = Run(step("a"), step("b"))
    run.answer("a")
    run.fail("b")
    run.undone("b")
    for _ in range(2):
        for number in range(UNDO_TRIES):
            assert run.state.steps["a"].undo_tries == number + 1
            run.fail("a", "UNAVAILABLE")
            run.at(max([run.now, *run.due()]))
        assert run.state.phase == "needs human"
        assert run.put(ev.SagaResumed()) == ["UndoSent a"]
        assert [(one.status, one.undo) for one in run.state.steps.values()] == [("done", "sent"), ("failed", "done")]
    assert run.undone("a") == ["SagaUndone"]


def test_a_saga_that_was_resumed_is_undone_as_any_other() -> None:
    run = Run(step("a"), step("b", otherwise="needs human"), Wait("arrived", MissionReported, 60))
    run.answer("a")
    run.fail("b")
    key = run.state.steps["b"].key
    assert run.put(ev.SagaResumed()) == ["StepSent b"]
    # The command is the same one, so that its undo is its undo.
    assert run.state.steps["b"].key == key
    assert run.answer("b") == ["WaitBegan arrived"]
    run.late(60)
    assert run.at(60) == ["StepTimedOut arrived", "SagaNeedsHuman arrived"]
    run.put(ev.SagaResumed())
    assert run.hear(IncidentCancelled()) == ["UndoBegan", "UndoSent b"]
    sent = run.log[-1]
    assert isinstance(sent, ev.UndoSent) and (sent.key, sent.try_number) == (f"{key}/undo", 1)
    assert run.undone("b") == ["UndoSent a"]
    assert run.undone("a") == ["SagaUndone"]


def test_a_saga_that_waits_for_a_human_can_still_be_called_off() -> None:
    run = Run(step("a", otherwise="needs human"))
    assert run.fail("a") == ["SagaNeedsHuman a"]
    assert run.hear(IncidentCancelled()) == ["UndoBegan", "UndoSent a"]
    assert run.undone("a") == ["SagaUndone"]


def test_only_moments_that_matter_are_timers() -> None:
    run = Run(step("a", pause_s=3))
    assert run.story.timers() == {"a": 10}
    run.fail("a", "UNAVAILABLE")
    assert run.story.timers() == {"a": 3}
    run.at(3)
    run.answer("a")
    assert run.story.timers() == {}


@pytest.mark.parametrize("phase", ["completed", "undone"])
def test_an_ended_saga_does_nothing_more(phase: str) -> None:
    run = Run(step("a"))
    if phase == "completed":
        run.answer("a")
    else:
        run.fail("a")
        run.undone("a")
    assert run.state.phase == phase
    assert run.hear(IncidentCancelled()) == []
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
            run.hear(IncidentCancelled())
        elif choice == "undo" and undoing:
            run.undone(undoing[0])
        elif choice == "undo fails" and undoing:
            run.fail(undoing[0], "UNAVAILABLE")
        elif choice == "later":
            run.at(run.now + 3)
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
    assert run.hear(IncidentCancelled()) == ["UndoBegan", "UndoSent a"]
    assert run.fail("a") == ["SagaNeedsHuman a"]
    assert run.put(ev.SagaResumed()) == ["UndoSent a"]
    assert run.undone("a") == ["SagaUndone"]


Happening = st.one_of(
    st.sampled_from(["answer", "refuse", "fail", "resume", "fire", "fire one"]),
    st.tuples(st.just("later"), st.integers(1, 40)),
    # An event that is heard so long after it happened.
    st.tuples(st.just("hear"), st.integers(0, 80)),
)
BRANCHES = (
    (Wait("w", MissionReported, 30, otherwise="undo"), Wait("v", MissionReported, 25), step("b", pause_s=4)),
    (step("a", otherwise="needs human", pause_s=3), step("c", pause_s=5)),
)


@given(st.lists(Happening, max_size=40))
def test_whatever_happens_what_was_in_time_counts_and_while_a_human_is_needed_no_time_runs(happenings: list[Any]) -> None:
    run = Run(Parallel(BRANCHES))
    for number, happening in enumerate(happenings):
        out = [one.step for one in tries_out(run.state) if not one.undo]
        before, length = run.state, len(run.log)
        if happening in ("answer", "refuse", "fail"):
            if out:
                name = out[number % len(out)]
                code = "UNAVAILABLE" if happening == "fail" else "NOT_FOUND"
                run.answer(name) if happening == "answer" else run.fail(name, code)
        elif happening == "resume":
            if before.phase == "needs human":
                run.put(ev.SagaResumed())
        elif happening == "fire":
            run.at(run.now)
        elif happening == "fire one":
            due = [name for moment, name in due_timers(run.state) if moment <= run.story._now]
            run.put(*(ev.TimerFired(timer=name) for name in due[:1]))
        elif happening[0] == "later":
            run.late(run.now + happening[1])
        else:
            run.hear(MissionReported(), max(0.0, run.now - happening[1]))
        new = run.log[length:]
        timed_out = [str(event.step) for event in new if isinstance(event, ev.StepTimedOut)]
        fired = {event.timer for event in new if isinstance(event, ev.TimerFired)}
        for name in set(timed_out) & {"w", "v"}:
            # By its own timer, and only when nothing that was in time is left.
            step_before = before.steps[name]
            assert f"wait/{name}" in fired
            assert not any(
                before.heard.at(one) <= step_before.deadline for one in before.heard if one not in before.used
            ), (name, before)  # fmt: skip
        if before.phase == "needs human":
            assert not timed_out
        if new and isinstance(new[0], ev.SagaResumed):
            assert not any(isinstance(event, ev.UndoBegan | ev.SagaNeedsHuman) for event in new)
        if run.state.phase == "running":
            waiting = [step for step in run.state.steps.values() if step.status == "waiting"]
            unused = [run.state.heard.at(one) for one in run.state.heard if one not in run.state.used]
            assert not any(at <= step.deadline for step in waiting for at in unused)


def test_why_a_step_failed_is_told_though_its_last_try_had_no_answer_in_time() -> None:
    run = Run(step("a", pause_s=1, otherwise="needs human"))
    run.fail("a", "RESOURCE_EXHAUSTED")
    run.at(1)
    # The second try is out, and its answer never comes.
    (out,) = tries_out(run.state)
    assert out.number == 2
    run.at(10_000)
    assert run.state.phase == "needs human"
    assert "RESOURCE_EXHAUSTED" in run.state.steps["a"].reason
