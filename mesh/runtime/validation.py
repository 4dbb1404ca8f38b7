"""Checks a message against the rules of its contract (buf.validate), wherever one comes in or is kept.

| what | where it is checked |
|---|---|
| a request, whoever calls: from outside, another service, a saga | at the method that takes it |
| each message that a caller streams | when the method reads it |
| an event, and so all that views, reactions and sagas begin with | before it is appended |

protovalidate evaluates the rules; the words of the answer are ours.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import islice
from typing import Any

from buf.validate import validate_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from protovalidate import CompilationError, EvaluationError, Validator, Violation

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import reachable

_VALIDATOR = Validator()
# In larger messages only the first broken rule is looked for: a message made to break a million rules would take half a minute.
_EVERY_RULE_BYTES = 32 * 1024
_MOST_MOMENTS = 10
_MOMENT = "google.protobuf.Timestamp"


class UnusableRules(Exception):
    """A contract has rules that cannot be evaluated."""


class EventRefused(Exception):
    """A service made an event that breaks its contract: a defect of the service, not of the request."""


def check(message: Message) -> None:
    """Raises BadRequest with the rules that a request breaks, if it breaks any."""
    if broken := violations(message):
        raise BadRequest(broken)


def check_event(message: Message) -> None:
    """Raises EventRefused if an event breaks its contract, or is of a deprecated type. To be called before it is kept."""
    descriptor: Any = message.DESCRIPTOR
    if descriptor.GetOptions().deprecated:
        raise EventRefused(f"{descriptor.full_name} is deprecated and was not written: write what its upcaster turns it into")
    if broken := violations(message):
        told = "; ".join(f"{field}: {problem}" for field, problem in broken[:3])
        raise EventRefused(
            f"{message.DESCRIPTOR.full_name} breaks its contract and was not written: {told}. "
            "Mend the decision that made it, or the rule in its .proto"
        )


def violations(message: Message) -> list[tuple[str, str]]:
    """Every broken rule as (path of the field, what is wrong); of a large message perhaps only the first."""
    descriptor: Any = message.DESCRIPTOR
    found = _VALIDATOR.collect_violations(message, fail_fast=True) if _has_rules(descriptor) else []
    if found and message.ByteSize() <= _EVERY_RULE_BYTES:
        found = _VALIDATOR.collect_violations(message)
    told = [_told(violation, descriptor) for violation in found]
    if _with_moments(descriptor):
        told += [
            (path, "is no moment between the years 1 and 9999") for path in islice(_no_moments(message, ""), _MOST_MOMENTS)
        ]
    return told


@functools.cache
def _has_rules(descriptor: Descriptor) -> bool:
    """Whether a message, or one in it, has any rule. Most events have none, and the library would look through all of them."""
    kinds: Any = validate_pb2
    return any(
        one.GetOptions().HasExtension(kinds.message)
        or any(each.GetOptions().HasExtension(kinds.field) for each in one.fields)
        or any(each.GetOptions().HasExtension(kinds.oneof) for each in one.oneofs)
        for one in reachable(descriptor)
    )


def prepare(descriptor: Descriptor) -> None:
    """Prepares the rules of a message and of messages in it, so that no call waits for that. UnusableRules: they are wrong."""
    for found in reachable(descriptor):
        if found.GetOptions().map_entry:
            continue
        try:
            _VALIDATOR.collect_violations(message_factory.GetMessageClass(found)())
        except (CompilationError, EvaluationError) as error:
            raise UnusableRules(f"the rules of {found.full_name} cannot be used: {error}: mend them in its .proto") from error


# -- in words -------------------------------------------------------------------------------------------------------------


def _told(violation: Violation, descriptor: Descriptor) -> tuple[str, str]:
    proto = violation.proto
    path, field = "", None
    inside: Descriptor | None = descriptor
    for element in proto.field.elements if proto.field is not None else ():
        if inside is not None and element.field_name in inside.fields_by_name:
            field = inside.fields_by_name[element.field_name]
            inside = field.message_type
            if inside is not None and inside.GetOptions().map_entry:
                field = inside.fields_by_name["value"]
                inside = field.message_type
        path += ("." if path else "") + element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value!r}]"
    problem = _problem(violation, proto.rule_id, proto.message, field)
    return path or "request", f"has a key that {problem}" if proto.for_key else problem


def _problem(violation: Violation, rule: str, message: str, field: FieldDescriptor | None) -> str:
    known = ""
    if field is not None and field.enum_type is not None:
        known = "; use one of " + ", ".join(value.name for value in field.enum_type.values if value.number)
    if rule == "required":
        return f"is required{known}"
    if rule == "enum.defined_only":
        return f"is no known value{known}"
    value = violation.field_value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"is {value:g}; {message}"
    return message


# -- moments --------------------------------------------------------------------------------------------------------------
# Timestamp itself states that it lies in the calendar, so no contract does. The library does not check this, so we do.


@functools.cache
def _with_moments(descriptor: Descriptor) -> list[FieldDescriptor]:
    """The fields that are, or lead to, a Timestamp."""
    return [
        field
        for field in descriptor.fields
        if (inner := field.message_type) is not None and any(found.full_name == _MOMENT for found in reachable(inner))
    ]


def _no_moments(message: Message, path: str) -> Iterator[str]:
    for field in _with_moments(message.DESCRIPTOR):
        value: Any = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = [(f"[{key!r}]", value[key]) for key in value]
        elif field.is_repeated:
            inner = [(f"[{number}]", item) for number, item in enumerate(value)]
        else:
            inner = [("", value)] if message.HasField(field.name) else []
        for place, item in inner:
            name = f"{path}{field.name}{place}"
            if item.DESCRIPTOR.full_name == _MOMENT:
                if not _in_calendar(item):
                    yield name
            else:
                yield from _no_moments(item, name + ".")


def _in_calendar(moment: Any) -> bool:
    """As google.protobuf.Timestamp itself states its range."""
    return bool(-62_135_596_800 <= moment.seconds <= 253_402_300_799 and 0 <= moment.nanos < 1_000_000_000)
