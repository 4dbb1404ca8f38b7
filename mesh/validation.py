"""Checks a message against the rules its contract states (citybrain.options.v1.rules)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from citybrain.options.v1 import options_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest

_RULES: Any = options_pb2.rules
_Checked = tuple[FieldDescriptor, options_pb2.Rules | None]


def check(message: Message) -> None:
    """Raises BadRequest with every broken rule; returns when there is none."""
    violations = list(_violations(message, ""))
    if violations:
        raise BadRequest(violations)


@functools.cache
def _fields(descriptor: Descriptor) -> list[_Checked]:
    found: list[_Checked] = []
    for field in descriptor.fields:
        options = field.GetOptions()
        has_rules = options.HasExtension(_RULES)
        rules: options_pb2.Rules | None = options.Extensions[_RULES] if has_rules else None
        ours = field.message_type is not None and field.message_type.file.package.startswith("citybrain")
        if rules is not None or ours or _is_moment(field):
            found.append((field, rules))
    return found


def _is_moment(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"


def _in_calendar(moment: Any) -> bool:
    """As google.protobuf.Timestamp itself states its range."""
    return bool(-62_135_596_800 <= moment.seconds <= 253_402_300_799 and 0 <= moment.nanos < 1_000_000_000)


def _violations(message: Message, path: str) -> Iterator[tuple[str, str]]:
    for field, rules in _fields(message.DESCRIPTOR):
        name = path + field.name
        value = getattr(message, field.name)
        if rules is not None:
            yield from _broken(field, rules, name, value, message)
        if _is_moment(field) and not field.is_repeated and message.HasField(field.name) and not _in_calendar(value):
            yield name, "is no moment between the years 1 and 9999"
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            if field.is_repeated:
                for number, item in enumerate(value):
                    if isinstance(item, Message):
                        yield from _violations(item, f"{name}[{number}].")
            elif message.HasField(field.name):
                yield from _violations(value, name + ".")


def _broken(
    field: FieldDescriptor, rules: options_pb2.Rules, name: str, value: Any, message: Message
) -> Iterator[tuple[str, str]]:
    repeated = field.is_repeated
    present = message.HasField(field.name) if field.message_type is not None and not repeated else bool(value)
    if not present:
        if rules.required:
            yield name, _what_is_missing(field)
            return
        # A number of 0 is one, unless the contract can tell it from none.
        absent = field.has_presence and not message.HasField(field.name)
        if absent or repeated or isinstance(value, str | bytes):
            return
    if rules.max_size:
        size = len(value.encode()) if isinstance(value, str) else len(value)
        if size > rules.max_size:
            yield name, f"has {size} {'entries' if repeated else 'bytes'}; at most {rules.max_size} are allowed"
    numbers = [v for v in (value if repeated else [value]) if isinstance(v, int | float)]
    for number in numbers:
        # A comparison with NaN is false: only what is proven inside passes.
        if rules.HasField("min") and not number >= rules.min:
            yield name, f"is {number:g}; must be at least {rules.min:g}"
        elif rules.HasField("max") and not number <= rules.max:
            yield name, f"is {number:g}; must be at most {rules.max:g}"
    if rules.pattern:
        for text in value if repeated else [value]:
            if not re.fullmatch(rules.pattern, text):
                yield name, f"does not look like {rules.pattern}"
    if field.enum_type is not None and not repeated and value not in field.enum_type.values_by_number:
        known = ", ".join(v.name for v in field.enum_type.values if v.number)
        yield name, f"is no known value; use one of {known}"


def _what_is_missing(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return "is required; use one of " + ", ".join(v.name for v in field.enum_type.values if v.number)
    return "is required"
