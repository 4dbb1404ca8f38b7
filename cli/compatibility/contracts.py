"""Contracts by full names, each with the file and the line where it stands, and who reads what of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from citybrain.options.v1 import options_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from citybrain.cli.compatibility.reads import WHOLE

OURS = "citybrain/"
"""What the files of contracts of services begin with, those of other repositories too."""
READS = "consumers.yaml"
"""The file, beside the contracts, that says who reads what."""
_CLASSIFICATION: Any = options_pb2.classification


@dataclass(frozen=True, slots=True)
class Consumer:
    """What reads messages: a service, or a workflow (`sagas/emergency_response`). `reads`: paths of fields by message."""

    name: str
    team: str
    reads: Mapping[str, list[str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)


@dataclass(slots=True)
class MessageThere:
    """A message, and where it and its fields stand."""

    content: DescriptorProto
    place: str
    places: dict[str, str] = field(default_factory=dict)
    fields: dict[str, FieldDescriptorProto] = field(default_factory=dict)


class Contracts:
    """The city's contracts by full names, each with the file and the line where it stands."""

    def __init__(self, contracts: FileDescriptorSet) -> None:
        self.messages: dict[str, MessageThere] = {}
        self.methods: dict[str, MethodDescriptorProto] = {}
        self.places: dict[str, str] = {}
        self.events: set[str] = set()
        self.all = contracts
        for file in (one for one in contracts.file if one.name.startswith(OURS)):
            lines = {tuple(one.path): one.span[0] + 1 for one in file.source_code_info.location}
            for number, message in enumerate(file.message_type):
                self._add(file, f"{file.package}.{message.name}", message, (4, number), lines)
            for number, service in enumerate(file.service):
                for method_number, method in enumerate(service.method):
                    name = f"{file.package}.{service.name}.{method.name}"
                    self.methods[name] = method
                    self.places[name] = _place(file, lines, (6, number, 2, method_number), (6, number))
            if not file.name.endswith("_service.proto"):
                self.events |= _events(file)

    def _add(
        self, file: FileDescriptorProto, name: str, content: DescriptorProto, path: tuple[int, ...], lines: Mapping[Any, int]
    ) -> None:
        made = MessageThere(content, _place(file, lines, path))
        for number, one in enumerate(content.field):
            made.fields[one.name] = one
            made.places[one.name] = _place(file, lines, (*path, 2, number), path)
        self.messages[name] = made
        for number, inner in enumerate(content.nested_type):
            self._add(file, f"{name}.{inner.name}", inner, (*path, 3, number), lines)

    def below(self, names: Iterable[str]) -> set[str]:
        """These messages, and all that are inside them."""
        seen: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in self.messages and name not in seen:
                seen.add(name)
                waiting += [inside(one) for one in self.messages[name].fields.values()]
        return seen

    def along(self, root: str, path: str) -> set[tuple[str, str]] | None:
        """The fields, each with its message, that whoever reads a path reads. None: it leads nowhere."""
        found: set[tuple[str, str]] = set()
        at = root
        for name in path.split("."):
            if at not in self.messages:
                return None
            if name == WHOLE:
                return found | {(one, each) for one in self.below([at]) for each in self.messages[one].fields}
            if name not in self.messages[at].fields:
                return None
            found.add((at, name))
            at = inside(self.messages[at].fields[name])
        return found


class Readers:
    """Who reads which field, which event and which method."""

    def __init__(self, consumers: Sequence[Consumer], contracts: Sequence[Contracts]) -> None:
        self._of: dict[str, list[str]] = {}
        for one in consumers:
            who = f"{one.name} (team {one.team})"
            names: set[str] = set(one.calls)
            for root, paths in one.reads.items():
                names.add(root)
                for path in paths:
                    there = [found for known in contracts if (found := known.along(root, path)) is not None]
                    for message, name in {pair for found in there for pair in found}:
                        names.update((message, f"{message}.{name}"))
            for name in sorted(names):
                self._of.setdefault(name, []).append(who)

    def of(self, name: str) -> list[str]:
        """Who reads or calls it."""
        return self._of.get(name, [])

    def and_(self, name: str, verb: str = "read", nobody: str = "") -> str:
        """Who reads or calls it, as the end of a sentence."""
        who = self.of(name)
        if not who:
            return nobody
        return f", and {', '.join(who)} {verb}{'s' if len(who) == 1 else ''} it"


def _events(file: FileDescriptorProto) -> set[str]:
    """The events of a file: what has a classification, and what stands in an events.proto and is no part of another message."""
    parts = {inside(one) for message in file.message_type for one in message.field}
    names = {f"{file.package}.{message.name}": message for message in file.message_type}
    own = file.name.endswith("/events.proto")
    return {
        name for name, message in names.items() if message.options.Extensions[_CLASSIFICATION] or (own and name not in parts)
    }


class NotWritten(Exception):
    """A text does not say who reads what, in the form that `city contracts reads` and `make consumers` write."""


def written(text: str) -> list[Consumer]:
    """What the file says. NotWritten: it says nothing of the kind."""
    try:
        content = yaml.safe_load(text) or {}
        found = [Consumer(name, one["team"], one.get("reads") or {}, one.get("calls") or []) for name, one in content.items()]
        right = all(isinstance(path, str) for one in found for paths in one.reads.values() for path in paths)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise NotWritten(f"it does not say who reads what ({' '.join(str(error).split())})") from None
    if not right:
        raise NotWritten("it does not say who reads what (a path of fields is no text)")
    return found


def to_keep(contracts: FileDescriptorSet) -> FileDescriptorSet:
    """What is kept of contracts: those of services, without comments, so that only a change of a contract changes the file."""
    kept = FileDescriptorSet(file=[file for file in contracts.file if file.name.startswith(OURS)])
    for file in kept.file:
        file.ClearField("source_code_info")
    return kept


def inside(one: FieldDescriptorProto) -> str:
    """The message or enum that a field holds; empty: it holds neither."""
    return one.type_name.lstrip(".")


def _place(file: FileDescriptorProto, lines: Mapping[Any, int], *paths: tuple[int, ...]) -> str:
    line = next((lines[path] for path in paths if path in lines), 0)
    return f"protos/{file.name}:{line}" if line else f"protos/{file.name}"
