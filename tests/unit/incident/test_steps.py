"""Steps of sagas from what was recorded: when each ran, how it ended, how much of its time was left."""

from __future__ import annotations

import pytest
from citybrain.events.v1.event_pb2 import Event
from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.cli.incident.steps import StepRun, runs
from citybrain.mesh.events import timestamp
from tests.unit.incident.made import SECOND, event


def at(second: float) -> Timestamp:
    return timestamp(int(second * SECOND))


def sent(second: float, deadline: float = 60, step: str = "a", number: int = 1) -> Event:
    return event(ev.StepSent(step=step, key=f"s/{step}/1", try_number=number, deadline=at(deadline)), at_s=second)


def after(*events: Event) -> tuple[str, float, int | None]:
    (run,) = runs(events)
    return run.outcome, run.ended / SECOND, run.left(0)


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (ev.StepAnswered(step="a", key="s/a/1"), "done"),
        (ev.ChildEnded(step="a", key="s/a/1"), "done"),
        (ev.StepFailed(step="a", key="s/a/1", code="NOT_FOUND"), "failed"),
        (ev.StepTimedOut(step="a", key="s/a/1"), "timed out"),
        (ev.StepSkipped(step="a", reason="by telephone"), "skipped"),
    ],
)
def test_a_step_ends_with_what_was_recorded_and_what_was_left_counts_from_there(end: Message, outcome: str) -> None:
    assert after(sent(10), event(end, at_s=40)) == (outcome, 40, 20 * SECOND)


def test_what_ends_in_the_moment_of_its_deadline_is_in_time_and_a_moment_later_is_late() -> None:
    assert after(sent(10), event(ev.StepAnswered(key="s/a/1"), at_s=60))[2] == 0
    assert after(sent(10), event(ev.StepAnswered(key="s/a/1"), at_s=61))[2] == -SECOND


def test_a_step_that_is_tried_again_began_with_its_first_try_and_is_under_way() -> None:
    failed = ev.StepFailed(step="a", key="s/a/1", code="UNAVAILABLE", message="away", retry_at=at(20))
    (run,) = runs([sent(10), event(failed, at_s=11)])
    assert (run.outcome, run.ended, run.reason, run.left(30 * SECOND)) == (
        "is tried again",
        0,
        "UNAVAILABLE: away",
        30 * SECOND,
    )
    (run,) = runs([sent(10), event(failed, at_s=11), sent(20, number=2)])
    assert (run.outcome, run.began, run.tries, run.reason) == ("under way", 10 * SECOND, 2, "")


def test_waits_questions_and_undos_are_runs_too() -> None:
    found = runs(
        [
            event(ev.WaitBegan(step="at_scene", deadline=at(100)), at_s=1),
            event(ev.WaitEnded(step="at_scene", event_id="e"), at_s=2),
            event(ev.WaitBegan(step="on_board", deadline=at(3)), at_s=2),
            event(ev.WaitEnded(step="on_board"), at_s=3),
            event(ev.HumanAsked(step="ask", who="officer", question="go on?", deadline=at(9)), at_s=4),
            event(ev.HumanAsked(step="ask", who="command", question="go on?", deadline=at(19), time=2), at_s=9),
            event(ev.UndoSent(step="a", key="s/a/1"), at_s=12),
            event(ev.UndoAnswered(step="a", key="s/a/1"), at_s=13),
        ]
    )
    told = [(run.named, run.outcome, run.asks) for run in found]
    assert told == [
        ("at_scene", "done", ""), ("on_board", "timed out", ""), ("ask", "under way", "command"), ("undo of a", "done", ""),
    ]  # fmt: skip
    assert found[2].began == 4 * SECOND and found[2].left(20 * SECOND) == -SECOND


def test_of_a_saga_that_has_ended_nothing_is_under_way_and_others_go_on() -> None:
    other = event(ev.StepSent(step="b", key="t/b/1", deadline=at(60)), stream="sagas/saga-t", at_s=1)
    found = runs([sent(1), other, event("citybrain.sagas.v1.SagaTerminated", at_s=5)])
    assert [(run.saga_id, run.outcome) for run in found] == [("inc-1", "not needed any more"), ("t", "under way")]


def test_events_of_departments_and_what_comes_after_the_end_of_a_step_change_nothing() -> None:
    elsewhere = event(ev.StepAnswered(key="s/a/1"), stream="health/ambulance-a1", at_s=2)
    late = [event(ev.StepTimedOut(key="s/a/1"), at_s=3), event(ev.StepAnswered(key="s/a/1"), at_s=4)]
    assert after(sent(1), elsewhere, *late)[:2] == ("timed out", 3)
    assert StepRun("s", "a", "", 1).left(5) is None
