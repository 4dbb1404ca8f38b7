"""The steps of the sagas of an incident, from what was recorded: when each ran, and how much of its time was left. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from citybrain.events.v1.event_pb2 import Event
from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds

UNDER_WAY = "under way"
PAUSING = "is tried again"
DONE, FAILED, LATE, SKIPPED = "done", "failed", "timed out", "skipped"
_KINDS: tuple[type[Message], ...] = (
    ev.SagaStarted, ev.StepSent, ev.StepAnswered, ev.ChildEnded, ev.StepFailed, ev.StepTimedOut, ev.StepSkipped, ev.WaitBegan,
    ev.WaitEnded, ev.HumanAsked, ev.HumanDecided, ev.UndoSent, ev.UndoAnswered, ev.UndoFailed, ev.UndoSkipped,
)  # fmt: skip
_BY_NAME = {kind.DESCRIPTOR.full_name: kind for kind in _KINDS}
_ENDS = {
    "citybrain.sagas.v1.SagaCompleted", "citybrain.sagas.v1.SagaUndone", "citybrain.sagas.v1.SagaTerminated",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StepRun:
    """One run of a step. Moments are microseconds of city time; 0: there is none.

    `asks`: who is asked, of a question. `undo`: it is the undo of the step.
    """

    saga_id: str
    step: str
    key: str
    began: int
    kind: str = "command"
    ended: int = 0
    deadline: int = 0
    outcome: str = UNDER_WAY
    reason: str = ""
    tries: int = 1
    asks: str = ""

    @property
    def named(self) -> str:
        """For people: undo of reserve_bed."""
        return f"undo of {self.step}" if self.kind == "undo" else self.step

    def left(self, now: int) -> int | None:
        """How much of its time was left when it ended, or is left now, in microseconds; below 0: it is late. None: no deadline.

        What ends in the moment of its deadline is in time.
        """
        return None if not self.deadline else self.deadline - (self.ended or now)


def saga_of(event: Event) -> str:
    """The saga whose stream an event stands in; empty: it is of no saga."""
    _, separator, rest = event.stream.rpartition("/")
    return rest.removeprefix("saga-") if separator and event.stream.startswith("sagas/") and rest.startswith("saga-") else ""


def runs(events: Iterable[Event]) -> list[StepRun]:
    """The runs of steps, in the order in which they began. `events` in the order of the log."""
    found: dict[tuple[str, str], StepRun] = {}
    for event in events:
        saga_id = saga_of(event)
        if not saga_id:
            continue
        if event.type in _ENDS:
            _close(found, saga_id)
        kind = _BY_NAME.get(event.type)
        if kind is None or not event.HasField("data"):
            continue
        message = kind()
        event.data.Unpack(message)
        _take(found, saga_id, message, microseconds(event.occurred_at))
    return sorted(found.values(), key=lambda run: run.began)


def _take(found: dict[tuple[str, str], StepRun], saga_id: str, message: Message, at: int) -> None:
    match message:
        case ev.StepSent(step=step, key=key, try_number=number, deadline=deadline):
            first = found.get((saga_id, key))
            run = StepRun(saga_id, step, key, at) if first is None else first
            found[saga_id, key] = replace(
                run, deadline=microseconds(deadline), outcome=UNDER_WAY, reason="", tries=max(1, number), ended=0
            )
        case ev.UndoSent(step=step, key=key):
            place = (saga_id, f"undo {key}")
            first = found.get(place)
            found[place] = (
                StepRun(saga_id, step, key, at, "undo")
                if first is None
                else replace(first, tries=first.tries + 1, outcome=UNDER_WAY, ended=0)
            )
        case ev.WaitBegan(step=step, deadline=deadline):
            found[saga_id, f"wait {step}"] = StepRun(saga_id, step, "", at, "wait", deadline=microseconds(deadline))
        case ev.HumanAsked(step=step, who=who, question=question, deadline=deadline):
            place = (saga_id, f"question {step}")
            first = found.get(place)
            began = at if first is None or first.ended else first.began
            found[place] = StepRun(
                saga_id, step, "", began, "question", deadline=microseconds(deadline), asks=who, reason=question
            )
        case _:
            _end(found, saga_id, message, at)


def _end(found: dict[tuple[str, str], StepRun], saga_id: str, message: Message, at: int) -> None:
    for place, run, outcome, reason in _ended(found, saga_id, message):
        ended = 0 if outcome == PAUSING else at
        found[place] = replace(run, outcome=outcome, ended=ended, reason=reason or run.reason)


def _ended(
    found: dict[tuple[str, str], StepRun], saga_id: str, message: Message
) -> Iterator[tuple[tuple[str, str], StepRun, str, str]]:
    """Which run an event ends, with what, and why."""
    place, outcome, reason = ("", ""), DONE, ""
    match message:
        case ev.StepAnswered(key=key) | ev.ChildEnded(key=key):
            place = (saga_id, key)
        case ev.StepFailed(key=key, code=code, message=text):
            place, reason = (saga_id, key), f"{code}: {text}" if text else code
            outcome = PAUSING if message.HasField("retry_at") else FAILED
        case ev.StepTimedOut(key=key):
            place, outcome = (saga_id, key), LATE
        case ev.StepSkipped(step=step, reason=why):
            outcome, reason = SKIPPED, why
            open_ones = [key for key, run in found.items() if key[0] == saga_id and run.step == step and not run.ended]
            place = open_ones[-1] if open_ones else place
        case ev.WaitEnded(step=step, event_id=event_id):
            place, outcome = (saga_id, f"wait {step}"), DONE if event_id else LATE
        case ev.HumanDecided(step=step):
            place = (saga_id, f"question {step}")
        case ev.UndoAnswered(key=key):
            place = (saga_id, f"undo {key}")
        case ev.UndoFailed(key=key, code=code):
            place, reason = (saga_id, f"undo {key}"), code
            outcome = PAUSING if message.HasField("retry_at") else FAILED
        case ev.UndoSkipped(key=key):
            place, outcome = (saga_id, f"undo {key}"), SKIPPED
    run = found.get(place)
    if run is not None and not run.ended:
        yield place, run, outcome, reason


def _close(found: dict[tuple[str, str], StepRun], saga_id: str) -> None:
    """Of a saga that has ended nothing is under way any more."""
    for place, run in found.items():
        if run.saga_id == saga_id and not run.ended:
            found[place] = replace(run, ended=run.began, deadline=0, outcome="not needed any more")
