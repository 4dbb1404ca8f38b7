"""Personal fields of messages: taken out, into a partial message for each person, and put back in (ES-12).

The contract marks a field as personal, with the path to the person's id in the same message. Such fields are also found in
inner messages, and inside `Any`: a workflow keeps whole events.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

from citybrain.options.v1 import options_pb2
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from citybrain.mesh.events import message_class

_ANY = "google.protobuf.Any"


class NobodysData(Exception):
    """A message has a personal field without the person's id: a defect of the code that made it. Nothing was written."""


def take_out(message: Message) -> tuple[Message, dict[str, Message]]:
    """A copy of the message without personal fields, and the personal fields by person. The message stays as it is."""
    if not _may_hold(message.DESCRIPTOR) or not any(True for _ in persons(message)):
        return message, {}
    rest = type(message)()
    rest.CopyFrom(message)
    return rest, _split(rest)


def put_in(message: Message, part: Message) -> None:
    """Puts personal fields that were taken out back into a message of the same type."""
    for field, value in part.ListFields():
        own: Any = getattr(message, field.name)
        if _of_whom(field):
            message.ClearField(field.name)
            _copy(message, part, field)
        elif field.message_type is not None and field.message_type.full_name == _ANY:
            for packed, taken in _pairs(field, own, value):
                inner, inner_part = _opened(packed), _opened(taken)
                if inner is not None and inner_part is not None:
                    put_in(inner, inner_part)
                    packed.Pack(inner, deterministic=True)
        else:
            for inner, inner_part in _pairs(field, own, value):
                put_in(inner, inner_part)


def persons(message: Message) -> Iterator[str]:
    """The persons whose data a message holds. NobodysData: a personal field has no person's id."""
    for field, value in message.ListFields():
        if path := _of_whom(field):
            yield _person(message, field, path)
        elif field.message_type is not None and _may_hold(field.message_type):
            for inner in value if field.is_repeated else [value]:
                opened = _opened(inner)
                if opened is not None:
                    yield from persons(opened)


def holds_personal(message: Message) -> bool:
    """Whether a message holds data of any person, also of one that it does not name."""
    try:
        return any(True for _ in persons(message))
    except NobodysData:
        return True


def _split(message: Message) -> dict[str, Message]:
    parts: dict[str, Message] = {}

    def part(person: str) -> Any:
        return parts.setdefault(person, type(message)())

    for field, value in message.ListFields():
        if path := _of_whom(field):
            _copy(part(_person(message, field, path)), message, field)
            message.ClearField(field.name)
        elif field.message_type is not None and _may_hold(field.message_type):
            for number, inner in enumerate(value if field.is_repeated else [value]):
                opened = _opened(inner)
                if opened is None:
                    continue
                for person, taken in _split(opened).items():
                    target = getattr(part(person), field.name)
                    if field.is_repeated:
                        # As many items as in the whole message, so that each one finds its place again.
                        while len(target) < len(value):
                            target.add()
                        target = target[number]
                    if isinstance(inner, PackedAny):
                        target.Pack(taken, deterministic=True)
                        inner.Pack(opened, deterministic=True)
                    else:
                        target.CopyFrom(taken)
    return parts


def _copy(target: Message, source: Message, field: FieldDescriptor) -> None:
    value: Any = getattr(source, field.name)
    if field.is_repeated:
        getattr(target, field.name).extend(value)
    elif field.message_type is not None:
        getattr(target, field.name).CopyFrom(value)
    else:
        setattr(target, field.name, value)


def _pairs(field: FieldDescriptor, own: Any, part: Any) -> Iterable[tuple[Any, Any]]:
    return zip(own, part, strict=True) if field.is_repeated else [(own, part)]


def _opened(message: Message) -> Message | None:
    """The message itself, or the one inside an Any; None: the Any is empty, or no contract here has its type."""
    if not isinstance(message, PackedAny):
        return message
    try:
        return message_class(message.type_url.rpartition("/")[2]).FromString(message.value) if message.type_url else None
    except KeyError:
        return None


def _person(message: Message, field: FieldDescriptor, path: str) -> str:
    found: Any = message
    for name in path.split("."):
        found = getattr(found, name)
    if not found:
        raise NobodysData(f"{field.full_name} is personal, and {path} does not say whose it is: give the id of the person")
    return str(found)


def _of_whom(field: FieldDescriptor) -> str:
    options: Any = field.GetOptions()
    return str(options.Extensions[options_pb2.personal])


@functools.cache
def _may_hold(descriptor: Descriptor) -> bool:
    """Whether a message can hold a personal field, or an Any, at any depth. `make check` allows none below a map."""
    seen, waiting = {descriptor.full_name}, [descriptor]
    while waiting:
        one = waiting.pop()
        if one.full_name == _ANY or any(_of_whom(field) for field in one.fields):
            return True
        for field in one.fields:
            inner = field.message_type
            if inner is not None and inner.full_name not in seen and not inner.GetOptions().map_entry:
                seen.add(inner.full_name)
                waiting.append(inner)
    return False
