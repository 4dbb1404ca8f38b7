"""The events of the city, made from contracts and manifests: what each means, holds, who publishes it and who hears it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from citybrain.options.v1 import options_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from citybrain.gateway.comments import comments
from citybrain.gateway.limits import rules_of
from citybrain.gateway.methods import parse_descriptors
from citybrain.mesh.manifest import Manifest

_CLASSES = {number: name.removeprefix("CLASSIFICATION_") for name, number in options_pb2.Classification.items() if number}
_F = FieldDescriptor
_KINDS = {
    _F.TYPE_STRING: "text", _F.TYPE_BYTES: "bytes", _F.TYPE_BOOL: "yes or no",
    _F.TYPE_DOUBLE: "number", _F.TYPE_FLOAT: "number",
}  # fmt: skip
_AS_TEXT = (_F.TYPE_INT64, _F.TYPE_UINT64, _F.TYPE_SINT64, _F.TYPE_FIXED64, _F.TYPE_SFIXED64)
"""Numbers of 64 bits are texts in JSON."""
# What stands in an example for messages that JSON writes in a form of their own.
_WRITTEN = {
    "google.protobuf.Timestamp": "2026-01-05T00:00:00Z",
    "google.protobuf.Duration": "60s",
    "google.protobuf.Any": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "60s"},
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an event. `of`: its kind; the name of a message or an enum is full."""

    name: str
    of: str
    many: bool
    meaning: str
    # What a reader must be cleared for; empty: as the event.
    classification: str
    # The path to the person it is about; empty: it is about none.
    person: str


@dataclass(frozen=True, slots=True)
class Event:
    """A type of events."""

    type: str
    meaning: str
    classification: str
    # Given up: it is still read, and written no more.
    deprecated: bool
    publisher: Manifest
    hearers: tuple[Manifest, ...]
    fields: tuple[Field, ...]
    # As JSON has it.
    example: Mapping[str, Any]


class Catalogue:
    """The events that services publish. Descriptors with source info have the comments of the contracts."""

    def __init__(self, manifests: Sequence[Manifest], descriptors: bytes) -> None:
        parsed = parse_descriptors(descriptors)
        self.pool = DescriptorPool()
        for file in parsed.file:
            self.pool.Add(file)
        self.comments = comments(parsed)
        self.manifests = sorted(manifests, key=lambda one: one.name)
        self.events = sorted(self._events(), key=lambda event: event.type)

    def message(self, event: Event) -> Descriptor:
        """The message of an event."""
        found: Descriptor = self.pool.FindMessageTypeByName(event.type)
        return found

    def _events(self) -> Iterator[Event]:
        for manifest in self.manifests:
            for name in manifest.publishes:
                try:
                    message = self.pool.FindMessageTypeByName(name)
                except KeyError:
                    # The contract of a service from elsewhere may not be known.
                    continue
                options: Any = message.GetOptions()
                yield Event(
                    type=name,
                    meaning=self.comments.get(name, ""),
                    classification=_CLASSES.get(options.Extensions[options_pb2.classification], "INTERNAL"),
                    deprecated=bool(options.deprecated),
                    publisher=manifest,
                    hearers=tuple(one for one in self.manifests if name in one.subscribes),
                    fields=tuple(self._field(field) for field in message.fields),
                    example=example(message),
                )

    def _field(self, field: FieldDescriptor) -> Field:
        options: Any = field.GetOptions()
        entry = field.message_type if field.message_type is not None and field.message_type.GetOptions().map_entry else None
        kind = f"{_kind(entry.fields_by_name['value'])} by {_kind(entry.fields_by_name['key'])}" if entry else _kind(field)
        return Field(
            name=field.json_name,
            of=kind,
            many=field.is_repeated and entry is None,
            meaning=self.comments.get(field.full_name, ""),
            classification=_CLASSES.get(options.Extensions[options_pb2.field_classification], ""),
            person=str(options.Extensions[options_pb2.personal]),
        )


def _kind(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    return str(named.full_name) if named is not None else _KINDS.get(field.type, "whole number")


def example(message: Descriptor, inside: tuple[str, ...] = ()) -> dict[str, Any]:
    """A message as JSON has it, with something in every field. A message inside itself is left out."""
    seen = (*inside, message.full_name)
    taken: set[str] = set()
    found: dict[str, Any] = {}
    for field in message.fields:
        choice = field.containing_oneof
        if choice is not None and len(choice.fields) > 1:
            # Of fields of which only one can be set, the first is.
            if choice.name in taken:
                continue
            taken.add(choice.name)
        if field.message_type is not None and field.message_type.full_name in seen:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            found[field.json_name] = {str(_value(key, seen)): _value(value, seen)}
        else:
            value = _value(field, seen)
            found[field.json_name] = [value] if field.is_repeated else value
    return found


def _value(field: FieldDescriptor, seen: tuple[str, ...]) -> Any:
    if field.message_type is not None:
        name = field.message_type.full_name
        return _WRITTEN[name] if name in _WRITTEN else example(field.message_type, seen)
    if field.enum_type is not None:
        return field.enum_type.values[min(1, len(field.enum_type.values) - 1)].name
    if field.type == _F.TYPE_BOOL:
        return True
    rules = rules_of(field).repeated.items if field.is_repeated else rules_of(field)
    kind = rules.WhichOneof("type")
    # Of values of which one must stand there, the first.
    if kind and (allowed := getattr(getattr(rules, kind), "in", ())):
        return str(allowed[0]) if field.type in _AS_TEXT else allowed[0]
    if field.type == _F.TYPE_STRING:
        given = rules.string.example
        return given[0] if given else f"{field.name.removesuffix('_id').removesuffix('_ids').replace('_', '-')}-1"
    if field.type == _F.TYPE_BYTES:
        return "AQ=="
    if field.type in (_F.TYPE_DOUBLE, _F.TYPE_FLOAT):
        return _within(1.5, getattr(rules, kind) if kind else None)
    number = _within(1, getattr(rules, kind) if kind else None)
    return str(number) if field.type in _AS_TEXT else number


def _within(number: float, rules: Any) -> float:
    """The number, or the bound of its rule that it is beyond."""
    if rules is None:
        return number
    least, most = rules.WhichOneof("greater_than"), rules.WhichOneof("less_than")
    if least == "gte":
        number = max(number, rules.gte)
    if most == "lte":
        number = min(number, rules.lte)
    return number
