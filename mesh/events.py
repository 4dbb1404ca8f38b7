"""From proto messages to stored events and back: type names, unpacking, and an event as subscribers see it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from citybrain.events.v1 import event_pb2
from citybrain.options.v1 import options_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.event_store.store import StoredEvent
from citybrain.mesh.contracts import find_message
from citybrain.mesh.upcasting import modern, newest

_CLASSIFICATIONS = {number: name.removeprefix("CLASSIFICATION_") for name, number in options_pb2.Classification.items()}


class UnreadableEvent(Exception):
    """No code here can read an event; the message says which event, and what to do."""


@dataclass(slots=True, frozen=True)
class Heard:
    """An event as a handler or a view gets it: the message, and what the store knows of it."""

    data: Message
    stored: StoredEvent
    # The persons whose data is in the message.
    persons: tuple[str, ...] = ()
    # The persons whose data was in it, and who were erased.
    erased: tuple[str, ...] = ()


def type_name(message: type[Message] | Message) -> str:
    """The full name of a message's type."""
    name: str = message.DESCRIPTOR.full_name
    return name


def reachable(descriptor: Descriptor) -> Iterator[Descriptor]:
    """A message, and every message inside it at any depth, each once."""
    seen, waiting = {descriptor.full_name}, [descriptor]
    while waiting:
        one = waiting.pop()
        yield one
        for each in one.fields:
            kind = each.message_type
            if kind is not None and kind.full_name not in seen:
                seen.add(kind.full_name)
                waiting.append(kind)


@functools.cache
def message_class(name: str) -> type[Message]:
    """The class of a message by its full name. KeyError: no contract that is known here has it."""
    return message_factory.GetMessageClass(find_message(name))


@functools.cache
def classification_of(name: str) -> options_pb2.Classification:
    """The classification of events of a type, as their contract says; else INTERNAL."""
    options: Any = message_class(name).DESCRIPTOR.GetOptions()
    return options.Extensions[options_pb2.classification] or options_pb2.CLASSIFICATION_INTERNAL


def decode(event: StoredEvent) -> Message:
    """The message of a stored event in today's type (ES-10), without sealed data. Raises UnreadableEvent as `parse`."""
    return modern(parse(event))


def parse(event: StoredEvent) -> Message:
    """The message of a stored event as it was written. UnreadableEvent: no contract here can read it."""
    try:
        return message_class(event.type).FromString(event.data)
    except KeyError:
        raise UnreadableEvent(
            f"event {event.id} ({event.stream}, version {event.version}) is a {event.type}, and no contract here has that: "
            "give this process the contract; where the type was given up, keep it there, deprecated, with an upcaster"
        ) from None
    except DecodeError:
        raise UnreadableEvent(
            f"event {event.id} ({event.stream}, version {event.version}) does not read as {event.type}: the contract was "
            "changed in a way that old events do not survive; take that back and give the event a new type"
        ) from None


def hear(event: StoredEvent) -> Heard:
    """A stored event with its message, without sealed data."""
    return Heard(decode(event), event)


def timestamp(microseconds: int) -> Timestamp:
    """Microseconds since 1970 as a proto timestamp."""
    moment = Timestamp()
    _set(moment, microseconds)
    return moment


def microseconds(moment: Timestamp) -> int:
    """A proto timestamp as microseconds since 1970."""
    return moment.seconds * 1_000_000 + moment.nanos // 1000


def is_between(moment: int, start: Timestamp, end: Timestamp) -> bool:
    """Whether a moment (microseconds since 1970) is at or after a start and before an end. One that is not set is no limit."""
    return moment >= microseconds(start) and (not end.ByteSize() or moment < microseconds(end))


def outward(event: StoredEvent, heard: Heard | None = None) -> event_pb2.Event:
    """A stored event as subscribers outside see it, in today's type. `heard`: see `show_outward`."""
    shown = event_pb2.Event()
    show_outward(shown, event, heard)
    return shown


def show_outward(shown: event_pb2.Event, event: StoredEvent, heard: Heard | None = None) -> None:
    """Fills an empty event with a stored one, as subscribers outside see it, in today's type.

    `heard`: the event with its personal data, for a subscriber who may see them.
    """
    kind, data = event.type, event.data
    if heard is not None or newest(kind) != kind:
        message = decode(event) if heard is None else heard.data
        kind, data = type_name(message), message.SerializeToString(deterministic=True)
    # Field by field, in place: this is done for every event and every subscriber, and a new message for each is three times as
    # slow.
    shown.id, shown.type, shown.stream, shown.version = event.id, kind, event.stream, event.version
    _set(shown.occurred_at, event.occurred_at)
    _set(shown.recorded_at, event.recorded_at)
    shown.traceparent, shown.correlation_id, shown.causation_id = event.traceparent, event.correlation_id, event.causation_id
    shown.actor, shown.district = event.actor, event.district
    # A later release may know more classifications: those are shown as numbers.
    shown.classification = _CLASSIFICATIONS.get(event.classification, str(event.classification))
    if heard is not None:
        shown.erased.extend(heard.erased)
    shown.data.type_url = "type.googleapis.com/" + kind
    shown.data.value = data


def _set(moment: Timestamp, microseconds: int) -> None:
    moment.seconds = microseconds // 1_000_000
    moment.nanos = microseconds % 1_000_000 * 1000
