"""What the metrics are told of steps: each end once, with how it ended and how long it took in city time."""

from __future__ import annotations

from functools import reduce

from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import timestamp
from citybrain.sagas.engine.records import ended_steps
from citybrain.sagas.engine.state import SagaState, evolve, pack

SECOND = 1_000_000
BEGUN = [
    ev.SagaStarted(saga_id="s", workflow="w"),
    ev.StepSent(step="a", key="a1", try_number=1),
    ev.StepSent(step="b", key="b1", try_number=1),
]


def after(events: list[Message], at: int, state: SagaState | None = None) -> SagaState:
    """The state after events that happen at one moment."""
    return reduce(lambda folded, event: evolve(folded, event, at), events, state or SagaState())


def test_a_step_that_was_answered_has_ended_after_so_many_seconds() -> None:
    first = after([*BEGUN], SECOND)
    events: list[Message] = [ev.StepAnswered(step="a", key="a1", response=pack(ev.SagaStarted()))]
    assert list(ended_steps(events, after(events, 4 * SECOND, first), 4 * SECOND)) == [("a", "done", 3.0)]


def test_a_step_that_failed_has_ended_only_if_it_is_not_tried_again() -> None:
    first = after([*BEGUN], SECOND)
    events: list[Message] = [
        ev.StepFailed(step="a", key="a1", code="UNAVAILABLE", retry_at=timestamp(9 * SECOND)),
        ev.StepFailed(step="b", key="b1", code="NOT_FOUND"),
    ]
    assert list(ended_steps(events, after(events, 2 * SECOND, first), 2 * SECOND)) == [("b", "failed", 1.0)]


def test_what_only_begins_has_not_ended() -> None:
    assert list(ended_steps([*BEGUN], after([*BEGUN], SECOND), SECOND)) == []
