"""Finds what a change of contracts breaks: who reads it, where, and what to do instead.

`make check` compares the city's contracts with those of its last release; `city contracts check` those of a service in another
repository, and the city's as such a service reads them. `buf breaking` finds the rest: what generated code of other languages
would notice. It is long because each thing that a contract promises has its sentence here.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buf.validate import validate_pb2
from citybrain.options.v1 import options_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protovalidate import Validator

from citybrain.cli.compatibility.contracts import OURS, READS, Consumer, Contracts, MessageThere, Readers, inside

RULES = {"use": ["FILE"], "except": ["RPC_SAME_IDEMPOTENCY_LEVEL"], "ignore": ["google", "buf"]}
"""The rules of `buf breaking`. FILE: stubs are imported by file, so a message that moves breaks code. A method may come to
promise more, never less: a rule of ours holds that."""
_CLASSIFICATION: Any = options_pb2.classification
_OF_FIELD: Any = options_pb2.field_classification
_PERSONAL: Any = options_pb2.personal
_DISTRICT: Any = options_pb2.district
_SCOPE: Any = options_pb2.scope
_ANY_DISTRICT: Any = options_pb2.any_district
_HTTP: Any = annotations_pb2.http
_RULES: Any = validate_pb2.field
_OF_MESSAGE: Any = validate_pb2.message
_TYPES = {number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}
# What one promises, the next promises too.
_REPEATABLE = (MethodOptions.IDEMPOTENCY_UNKNOWN, MethodOptions.IDEMPOTENT, MethodOptions.NO_SIDE_EFFECTS)
_NEW_EVENT = (
    "give the event a new type with what you mean, mark the old one deprecated, and write an upcaster (docs/kit.md, When an "
    "event changes)"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is broken. `may_be`: it may be chosen, with a reason. `{chosen}` in the text: where that is written."""

    place: str
    name: str
    text: str
    may_be: bool = False

    def line(self, chosen_in: str = "") -> str:
        """The whole sentence. `chosen_in`: where a break is named that was chosen."""
        return f"{self.place}: {self.name} {self.text.replace('{chosen}', chosen_in)}"


def findings(
    before: FileDescriptorSet,
    after: FileDescriptorSet,
    consumers: Sequence[Consumer] = (),
    upcast: Mapping[str, str] | None = None,
    chosen: Iterable[str] = (),
) -> list[Finding]:
    """What of the contracts before is broken in those after. `upcast`: types with an upcaster, and what they are read as."""
    old, new = Contracts(before), Contracts(after)
    readers = Readers(consumers, (old, new))
    found = [*_of_messages(old, new, readers), *_of_methods(old, new, readers)]
    found += _given_up(new, upcast or {}, consumers)
    found += _unreleased(old, new, consumers)
    return sorted({one.line(): one for one in found if not (one.may_be and one.name in chosen)}.values(), key=Finding.line)


def unneeded(found: Iterable[Finding], chosen: Iterable[str], chosen_in: str) -> list[str]:
    """A line for each name that was chosen of which nothing is broken."""
    names = {one.name for one in found if one.may_be}
    return [f"{chosen_in} names {name}, of which nothing is broken: take it out" for name in sorted({*chosen} - names)]


# -- messages -----------------------------------------------------------------------------------------------------------


def _of_messages(old: Contracts, new: Contracts, readers: Readers) -> Iterator[Finding]:
    stored = old.below(old.events)
    asked = old.below(method.input_type.lstrip(".") for method in old.methods.values())
    for name, message in old.messages.items():
        is_event = name in old.events
        if message.content.options.map_entry:
            continue
        if name not in new.messages:
            what = (
                f"an event, is gone{readers.and_(name, 'hear')}: its events stay in the log. Put it back, deprecated, with an "
                "upcaster to what it is read as today (docs/kit.md, When an event changes)"
                if is_event
                else f"is gone{readers.and_(name)}: put it back, and mark it deprecated if nobody should use it any more"
            )
            yield Finding(_file_of(message), f"{name}," if is_event else name, what)
            continue
        there = new.messages[name]
        unset = options_pb2.CLASSIFICATION_INTERNAL if is_event else options_pb2.CLASSIFICATION_PUBLIC
        was, now_ = (int(one.content.options.Extensions[_CLASSIFICATION]) or unset for one in (message, there))
        if now_ < was:
            shown = "the events that follow" if is_event else "what was hidden from them"
            yield Finding(
                there.place,
                name,
                f"was {_level(was)} and is {_level(now_)}: more people are shown {shown}. Put it back, and give what more "
                f"people may see {'an event' if is_event else 'a message'} of its own",
            )
        for one in message.fields.values():
            yield from _of_field(name, one, there, new, readers, name in stored)
        if name in asked:
            yield from _of_rules(name, message, there)
            yield from _of_new_fields(name, message, there, new.all)


def _of_field(
    message: str, was: FieldDescriptorProto, there: MessageThere, new: Contracts, readers: Readers, is_stored: bool
) -> Iterator[Finding]:
    name = f"{message}.{was.name}"
    instead = _NEW_EVENT if is_stored else "add a field with what you mean, and mark this one deprecated"
    kept = ", and events with it are in the log" if is_stored else ""
    read = readers.and_(name, nobody=kept)
    now_ = there.fields.get(was.name)
    place = there.places.get(was.name, there.place)
    if now_ is None:
        renamed = next((one for one in there.fields.values() if one.number == was.number), None)
        if renamed is not None and (renamed.type, renamed.type_name) == (was.type, was.type_name):
            yield Finding(
                there.places[renamed.name],
                name,
                f"is called {renamed.name} now{read}: put the old name back, it is in the JSON and in the code of all who "
                f"use it. If another thing is meant: {instead}",
            )
        else:
            yield Finding(
                place, name, f"is gone{read}: put it back with its number {was.number}, and mark it deprecated. "
                f"If the event means something else now: {instead}" if is_stored else
                f"is gone{read}: put it back with its number {was.number}, and mark it deprecated",
            )  # fmt: skip
        return
    if now_.number != was.number:
        yield Finding(
            place,
            name,
            f"has the number {now_.number} and had {was.number}{read}: put the number back, what is kept is read by it",
        )
    if _kind(was) != _kind(now_):
        yield Finding(place, name, f"is {_kind(now_)} and was {_kind(was)}{read}: put it back, and {instead}")
    elif was.json_name and now_.json_name and was.json_name != now_.json_name:
        yield Finding(place, name, f"is {now_.json_name} in JSON and was {was.json_name}{read}: put it back, and {instead}")
    yield from _of_options(name, place, was, now_, is_stored, read)


def _of_options(
    name: str, place: str, was: FieldDescriptorProto, now_: FieldDescriptorProto, is_stored: bool, read: str
) -> Iterator[Finding]:
    level_was, level = (int(one.options.Extensions[_OF_FIELD]) for one in (was, now_))
    if max(level, options_pb2.CLASSIFICATION_PUBLIC) < level_was:
        yield Finding(
            place,
            name,
            f"was for {_level(level_was)} and is for {_level(level)}: whoever has a lower clearance is shown it, "
            f"{'also in what is stored already' if is_stored else 'though it was left out for them'}: put it back. "
            "Give what more people may see a field of its own",
        )
    person_was, person = (str(one.options.Extensions[_PERSONAL]) for one in (was, now_))
    if person_was and not person:
        yield Finding(
            place,
            name,
            f"was personal of {person_was} and is not: what is written from now on stands open in the log, and cannot be "
            "erased. Put the option back. Give what is about nobody a field of its own",
        )
    elif person_was and person != person_was:
        yield Finding(
            place, name, f"was personal of {person_was} and is of {person}: it would be erased with another person. "
            "Put it back, and add a field for the other person",
        )  # fmt: skip
    elif person and not person_was and is_stored:
        yield Finding(
            place,
            name,
            f"is personal now and was not{read}: what is in the log already is not sealed, and erasing a person would not "
            "reach it. Add a personal field beside it, mark this one deprecated, and write it no more",
        )
    if was.options.Extensions[_DISTRICT] and not now_.options.Extensions[_DISTRICT]:
        yield Finding(
            place, name, "names a district and is not marked as such any more: callers of other districts would be let in. Put "
            "(citybrain.options.v1.district) back",
        )  # fmt: skip


def _of_rules(name: str, was: MessageThere, now_: MessageThere) -> Iterator[Finding]:
    """Rules of a message that requests bring, or of its fields, which refuse what they took before."""
    ruled = [(name, was.content.options.Extensions[_OF_MESSAGE], now_.content.options.Extensions[_OF_MESSAGE], now_.place)]
    for key, one in was.fields.items():
        two = now_.fields.get(key)
        # Of another type the rules are others, and that is told already.
        if two is not None and _kind(one) == _kind(two):
            rules = (one.options.Extensions[_RULES], two.options.Extensions[_RULES])
            ruled.append((f"{name}.{key}", *rules, now_.places[key]))
    for full, before, after, place in ruled:
        for rule in stricter(before, after):
            yield Finding(
                place,
                full,
                f"has a stricter rule ({rule}): requests that were taken are refused. Put it back, and let the service refuse "
                "with its reason, or add a method. If it must be: name the field in {chosen}, with why",
                may_be=True,
            )


def _of_new_fields(name: str, was: MessageThere, now_: MessageThere, contracts: FileDescriptorSet) -> Iterator[Finding]:
    """New fields of a message that requests bring, which callers of today do not fill, and must."""
    new = now_.fields.keys() - was.fields.keys()
    if not any(now_.fields[key].options.HasExtension(_RULES) for key in new):
        return
    pool = DescriptorPool()
    for file in contracts.file:
        pool.Add(file)
    empty = GetMessageClass(pool.FindMessageTypeByName(name))()
    paths = [one.proto.field.elements for one in Validator().collect_violations(empty) if one.proto.field is not None]
    for key in sorted({path[0].field_name for path in paths if path} & new):
        yield Finding(
            now_.places[key],
            f"{name}.{key}",
            "is new, and a request without it is refused: callers of today do not send it. Let its rules take such a request, "
            "or add a method",
            may_be=True,
        )


def stricter(was: Any, now_: Any) -> Iterator[str]:
    """The rules that are new or take less than before."""
    for rule, value in now_.ListFields():
        if rule.name == "example":
            # For people who read the contract.
            continue
        before = getattr(was, rule.name)
        there = bool(before) if rule.is_repeated else was.HasField(rule.name)
        if isinstance(value, Message) and not value.DESCRIPTOR.full_name.startswith("google.protobuf."):
            yield from (f"{rule.name}.{inner}" for inner in stricter(before, value))
        elif rule.is_repeated:
            as_text = [{str(one) for one in some} for some in (before, value)]
            if not there or (as_text[0] - as_text[1] if rule.name == "in" else as_text[1] - as_text[0]):
                yield rule.name
        elif not there or (value != before and not _looser(rule.name, before, value)):
            yield rule.name


def _looser(rule: str, was: Any, now_: Any) -> bool:
    if hasattr(was, "nanos"):
        was, now_ = ((one.seconds, one.nanos) for one in (was, now_))
    if rule.startswith("max_") or rule in ("lt", "lte"):
        return bool(now_ > was)
    if rule.startswith("min_") or rule in ("gt", "gte"):
        return bool(now_ < was)
    return now_ is False


# -- methods ------------------------------------------------------------------------------------------------------------


def _of_methods(old: Contracts, new: Contracts, readers: Readers) -> Iterator[Finding]:
    for name, was in old.methods.items():
        now_ = new.methods.get(name)
        if now_ is None:
            yield Finding(
                old.places[name].partition(":")[0],
                name,
                f"is gone{readers.and_(name, 'call')}: put it back, and mark it deprecated. Callers go on for years",
            )
            continue
        place = new.places[name]
        for what, one, two in (("takes", was.input_type, now_.input_type), ("answers", was.output_type, now_.output_type)):
            if one != two:
                yield Finding(
                    place,
                    name,
                    f"{what} {two.lstrip('.')} and did {one.lstrip('.')}{readers.and_(name, 'call')}: put it back, and add "
                    "a method",
                )
        yield from _of_permissions(name, place, was, now_, readers)
        levels = [_REPEATABLE.index(one.options.idempotency_level) for one in (was, now_)]
        if levels[1] < levels[0]:
            yield Finding(
                place,
                name,
                f"was {_repeatable(was)} and is {_repeatable(now_)}: callers and the gateway repeat it after a failure, and "
                "rely on that. Put it back, and add a method that may not be repeated",
            )
        gone = [one for one in _routes(was) if one not in list(_routes(now_))]
        for route in gone:
            yield Finding(
                place,
                name,
                f"is no longer at {route}, where callers of its JSON find it: put it back. Another address goes into "
                "additional_bindings",
            )


def _of_permissions(
    name: str, place: str, was: MethodDescriptorProto, now_: MethodDescriptorProto, readers: Readers
) -> Iterator[Finding]:
    scope_was, scope = (str(one.options.Extensions[_SCOPE]) for one in (was, now_))
    chosen = "If it must be: name the method in {chosen}, with why"
    # A scope for a method that had none lets callers in, as a new method would; nobody is refused by it.
    if scope_was and scope != scope_was:
        what = f"needed the scope {scope_was} and " + (f"needs {scope}" if scope else "is closed")
        others = ", and those who hold the other are let in" if scope else ""
        yield Finding(
            place,
            name,
            f"{what}: callers who hold it are refused{others}. Put it back, and add a method with the other scope. {chosen}",
            may_be=True,
        )
    any_was, any_now = (bool(one.options.Extensions[_ANY_DISTRICT]) for one in (was, now_))
    if any_was and not any_now:
        yield Finding(
            place, name, f"may be called for one's own district only, and was open for any: callers bound to a district are "
            f"refused. Put any_district back. {chosen}", may_be=True,
        )  # fmt: skip
    elif any_now and not any_was:
        yield Finding(
            place, name, f"may be called for any district, and was not: callers bound to one are let into others. Take "
            f"any_district out, and add a method that says it. {chosen}", may_be=True,
        )  # fmt: skip


def _routes(method: MethodDescriptorProto) -> Iterator[str]:
    """The addresses of a method in JSON, each with what its body is."""
    rule = method.options.Extensions[_HTTP]
    for one in (rule, *rule.additional_bindings):
        kind = one.WhichOneof("pattern")
        if kind is not None and kind != "custom":
            yield f"{kind.upper()} {getattr(one, kind)}" + (f" (body {one.body})" if one.body else "")


def _repeatable(method: MethodDescriptorProto) -> str:
    return str(MethodOptions.IdempotencyLevel.Name(method.options.idempotency_level))


# -- types that are given up, and what was never released ------------------------------------------------------------------


def _given_up(new: Contracts, upcast: Mapping[str, str], consumers: Sequence[Consumer]) -> Iterator[Finding]:
    for name in sorted(new.events):
        message = new.messages[name]
        if not message.content.options.deprecated:
            if name in upcast:
                yield Finding(
                    message.place, name, f"is read as {upcast[name]}, as its upcaster says, and the contract does not say that "
                    "it is given up: mark it deprecated",
                )  # fmt: skip
            continue
        if name not in upcast:
            yield Finding(
                message.place,
                name,
                "is deprecated, and nothing says how its events read today: declare an @upcast for it in the module that the "
                "manifest names under `upcasters`",
            )
            continue
        for one in consumers:
            if name in one.reads and one.name != name.split(".")[1]:
                yield Finding(
                    message.place,
                    name,
                    f"is read as {upcast[name]} everywhere, and {one.name} (team {one.team}) still hears {name}: hear "
                    f"{upcast[name]} there, then `make consumers`",
                )


def _unreleased(old: Contracts, new: Contracts, consumers: Sequence[Consumer]) -> Iterator[Finding]:
    """What was never released may go, but not while somebody reads it."""
    for one in consumers:
        told = f"is gone, and {one.name} (team {one.team}) reads it: put it back, or change {one.name} and run `make consumers`"
        for root, found in one.reads.items():
            if root not in new.messages:
                if root not in old.messages:
                    yield Finding(f"protos/{READS}", root, told)
                continue
            for path in found:
                if new.along(root, path) is None and old.along(root, path) is None:
                    yield Finding(new.messages[root].place, f"{root}.{path}", told)
        for name in one.calls:
            if name not in new.methods and name not in old.methods:
                yield Finding(f"protos/{READS}", name, told.replace("reads it", "calls it"))


# -- small things -------------------------------------------------------------------------------------------------------


def _kind(one: FieldDescriptorProto) -> str:
    """The type of a field as people say it."""
    listed = "a list of " if one.label == FieldDescriptorProto.LABEL_REPEATED else ""
    return listed + ("optional " if one.proto3_optional else "") + (inside(one) or _TYPES[one.type])


def _level(number: int) -> str:
    return options_pb2.Classification.Name(max(number, 1)).removeprefix("CLASSIFICATION_")


def _file_of(message: MessageThere) -> str:
    return message.place.partition(":")[0]


# -- what buf finds -----------------------------------------------------------------------------------------------------


def buf_breaking(buf: str, before: FileDescriptorSet, after: FileDescriptorSet, but: Iterable[str] = ()) -> list[str]:
    """What `buf breaking` says; without the places where something else was said already. `buf`: the program."""
    whole = FileDescriptorSet(file=[*before.file, *(file for file in after.file if not file.name.startswith(OURS))])
    with tempfile.TemporaryDirectory() as folder:
        images = [Path(folder) / name for name in ("before.binpb", "after.binpb")]
        for image, content in zip(images, (whole, after), strict=True):
            image.write_bytes(content.SerializeToString())
        command = [buf, "breaking", str(images[1]), "--against", str(images[0]), "--error-format", "json"]
        command += ["--config", json.dumps({"version": "v2", "breaking": RULES})]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode not in (0, 100):
        return [f"buf breaking cannot compare: {' '.join(done.stderr.split())}"]
    said, places = [], set(but)
    for one in map(json.loads, done.stdout.splitlines()):
        place = f"protos/{one.get('path', '')}" + (f":{one['start_line']}" if "start_line" in one else "")
        if place not in places:
            said.append(f"{place}: {one['message']} (buf {one['type']})")
    return said
