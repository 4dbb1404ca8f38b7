"""Finds personal fields that cannot be sealed, or that would stand where nothing can be erased: in keys, paths, queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from citybrain.options.v1 import options_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

_HTTP: Any = annotations_pb2.http
_CLASSIFICATION: Any = options_pb2.classification
_PERSONAL: Any = options_pb2.personal


def unsound(contracts: FileDescriptorSet) -> list[str]:
    """One line per finding, with what to write instead."""
    pool = DescriptorPool()
    found: list[str] = []
    for file in contracts.file:
        pool.Add(file)
        described = pool.FindFileByName(file.name)
        for message in described.message_types_by_name.values():
            found += _of_message(message)
        for service in described.services_by_name.values():
            for method in service.methods:
                found += _of_method(method)
    return found


def _of_message(message: Descriptor) -> Iterator[str]:
    for inner in message.nested_types:
        yield from _of_message(inner)
    for field in message.fields:
        if path := _path(field):
            if problem := _of_person(message, path):
                yield f"{field.full_name} is personal of {path}, which {problem}"
            if _is_map(field):
                yield f"{field.full_name} is personal and a map: make it a list of messages"
            if field.name.endswith("_id") or field.name == "key":
                yield f"{field.full_name} is personal and an id: ids are random, and what is personal is never one"
            if 0 < message.GetOptions().Extensions[_CLASSIFICATION] < options_pb2.CLASSIFICATION_INTERNAL:
                yield f"{field.full_name} is personal, and {message.full_name} is PUBLIC: make the event INTERNAL at least"
        elif _is_map(field) and field.message_type is not None:
            value = field.message_type.fields_by_name["value"].message_type
            if value is not None and _holds(value):
                yield f"{field.full_name} is a map with something personal below it: make it a list of messages"


def _of_person(message: Descriptor, path: str) -> str:
    """What is wrong with the path to a person's id; nothing where it leads to one."""
    inside: Descriptor | None = message
    field: FieldDescriptor | None = None
    for name in path.split("."):
        if inside is None or name not in inside.fields_by_name:
            return f"does not exist: {name} is no field of {inside.full_name if inside else path}"
        field = inside.fields_by_name[name]
        if field.is_repeated:
            return "leads through a list: a field is about one person"
        if _path(field):
            return "is personal itself: it would be sealed with what it opens"
        inside = field.message_type
    return "" if field is not None and field.type == FieldDescriptor.TYPE_STRING else "is no text: ids of persons are"


def _of_method(method: MethodDescriptor) -> Iterator[str]:
    rule = method.GetOptions().Extensions[_HTTP]
    if rule.get and _holds(method.input_type):
        yield f"{method.full_name} is a GET, so what is personal in its request stands in addresses and logs: make it a POST"


def _holds(message: Descriptor) -> bool:
    seen, waiting = {message.full_name}, [message]
    while waiting:
        for field in waiting.pop().fields:
            if _path(field):
                return True
            if field.message_type is not None and field.message_type.full_name not in seen:
                seen.add(field.message_type.full_name)
                waiting.append(field.message_type)
    return False


def _path(field: FieldDescriptor) -> str:
    return str(field.GetOptions().Extensions[_PERSONAL])


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
