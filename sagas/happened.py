"""What of an event of an incident is told to whoever looks at the whole of it."""

from __future__ import annotations

from citybrain.events.v1.event_pb2 import Event
from citybrain.sagas.v1 import events_pb2 as ev
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds

_STEPS: tuple[type[Message], ...] = (
    ev.SagaStarted, ev.StepSent, ev.StepAnswered, ev.ChildEnded, ev.StepFailed, ev.StepTimedOut, ev.StepSkipped, ev.StepRetried,
    ev.WaitBegan, ev.WaitEnded, ev.HumanAsked, ev.HumanDecided, ev.UndoBegan, ev.UndoSent, ev.UndoAnswered, ev.UndoFailed,
    ev.UndoSkipped, ev.ClearanceAsked, ev.UndoCleared, ev.SagaNeedsHuman, ev.SagaResumed, ev.SagaTerminated,
)  # fmt: skip
_KNOWN = {kind.DESCRIPTOR.full_name: kind for kind in _STEPS}


def told(event: Event) -> Event:
    """The event without what is in it; of a saga with its step, its deadline and what failed, without requests and answers."""
    kind = _KNOWN.get(event.type)
    if kind is None:
        event.ClearField("data")
        return event
    message = kind()
    event.data.Unpack(message)
    for field, _ in message.ListFields():
        if field.message_type is not None and field.message_type.full_name == Any.DESCRIPTOR.full_name:
            message.ClearField(field.name)
    event.data.Pack(message)
    return event


def place(event: Event) -> tuple[int | str, ...]:
    """What events of an incident are ordered by. It never changes for an event."""
    return (microseconds(event.recorded_at), event.stream, event.version)
