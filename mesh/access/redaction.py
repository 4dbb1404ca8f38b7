"""What a caller gets to see of an answer: what is above their clearance, personal, or of another district is left out.

The contracts say what that is. Only fields that a contract marks are looked at, so most messages cost nothing.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from citybrain.events.v1 import event_pb2
from citybrain.options.v1 import options_pb2
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from citybrain.mesh.access.principal import CLEARANCES, Principal
from citybrain.mesh.access.rules import message_clearance, names_district, personal_scope, require_district, sees_district
from citybrain.mesh.events import message_class, reachable

PERSONAL = options_pb2.CLASSIFICATION_RESTRICTED
"""The clearance that personal data needs, beside its scope."""

_ANY: str = PackedAny.DESCRIPTOR.full_name
_EVENT: str = event_pb2.Event.DESCRIPTOR.full_name


@dataclass(slots=True)
class Touched:
    """What of an answer was shown, for the audit: persons by id, and the highest classification."""

    persons: set[str] = field(default_factory=set)
    classification: int = options_pb2.CLASSIFICATION_PUBLIC
    removed: int = 0

    @property
    def sensitive(self) -> bool:
        """Whether it must be recorded before it is answered: it is about persons, or secret."""
        return bool(self.persons) or self.classification >= options_pb2.CLASSIFICATION_SECRET

    def add(self, classification: int) -> None:
        """Something of this classification was shown."""
        self.classification = max(self.classification, classification)


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that is looked at. `inner`: its messages are."""

    name: str
    clearance: int
    # The path to the person, and the scope; empty: not personal.
    person: tuple[str, ...]
    scope: str
    inner: bool
    is_any: bool
    many: bool
    is_map: bool
    # Whether the message knows that the field was set.
    has_presence: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    clearance: int
    # The field that names the district; empty: none does.
    district: str
    is_event: bool
    fields: tuple[_Field, ...]


def may_hide(descriptor: Descriptor) -> bool:
    """Whether anything of such a message may be hidden from somebody, at any depth."""
    return descriptor.full_name in _marked(descriptor)


def shown(message: Message, caller: Principal, touched: Touched) -> Message:
    """The answer as this caller may see it: itself, or a copy with less in it. `touched` learns what was shown.

    Forbidden: the answer is about one thing, and that belongs to another district.
    """
    descriptor: Any = message.DESCRIPTOR
    if not may_hide(descriptor):
        return message
    if caller.district:
        _require_district(message, caller)
    copy = type(message)()
    copy.CopyFrom(message)
    _show(copy, caller, touched)
    return copy


def sees_personal(caller: Principal, package: str) -> bool:
    """Whether a caller may see personal data in the messages of a package."""
    return caller.clearance >= PERSONAL and caller.holds(personal_scope(package))


def _require_district(message: Any, caller: Principal) -> None:
    """Forbidden: an answer, or a single message in it, is of another district. (From lists such messages are left out.)"""
    plan = _plan(message.DESCRIPTOR)
    if plan.district:
        require_district(caller, getattr(message, plan.district))
    for one in plan.fields:
        if one.inner and not one.many and not one.is_map and message.HasField(one.name):
            _require_district(getattr(message, one.name), caller)


def _is_for(message: Any, plan: _Plan, caller: Principal) -> bool:
    of = message.district if plan.is_event else getattr(message, plan.district) if plan.district else ""
    return _clearance(message, plan) <= caller.clearance and sees_district(caller, of)


def _clearance(message: Any, plan: _Plan) -> int:
    """The clearance that a message needs: that of its type; an event says its own."""
    # What cannot be read is for nobody with less than the highest.
    return CLEARANCES.get(message.classification, options_pb2.CLASSIFICATION_SECRET) if plan.is_event else plan.clearance


def _show(message: Any, caller: Principal, touched: Touched) -> bool:
    """Takes out of a message what the caller may not see. False: all of it."""
    plan = _plan(message.DESCRIPTOR)
    if not _is_for(message, plan, caller):
        touched.removed += 1
        return False
    touched.add(_clearance(message, plan))
    for one in plan.fields:
        value = getattr(message, one.name)
        if not (message.HasField(one.name) if one.has_presence else value):
            continue
        hidden = one.clearance > caller.clearance
        if one.person:
            hidden = hidden or caller.clearance < PERSONAL or not caller.holds(one.scope)
        if hidden:
            touched.removed += 1
            message.ClearField(one.name)
            continue
        touched.add(one.clearance)
        if one.person:
            touched.add(PERSONAL)
            touched.persons.add(_at(message, one.person))
        if one.inner or one.is_any:
            _inside(message, one, value, caller, touched)
    return True


def _inside(message: Any, one: _Field, value: Any, caller: Principal, touched: Touched) -> None:
    show = _show_packed if one.is_any else _show
    if one.is_map:
        for key in [key for key in value if not show(value[key], caller, touched)]:
            del value[key]
    elif one.many:
        kept = [show(item, caller, touched) for item in value]
        for number in range(len(kept) - 1, -1, -1):
            if not kept[number]:
                del value[number]
    elif not show(value, caller, touched):
        message.ClearField(one.name)


def _show_packed(packed: Any, caller: Principal, touched: Touched) -> bool:
    try:
        kind = message_class(packed.type_url.rpartition("/")[2]) if packed.type_url else None
    except KeyError:
        # No contract here says what is in it.
        touched.removed += 1
        return caller.clearance >= options_pb2.CLASSIFICATION_SECRET
    descriptor: Any = None if kind is None else kind.DESCRIPTOR
    if kind is None or not may_hide(descriptor):
        return True
    inner = kind.FromString(packed.value)
    before = touched.removed
    if not _show(inner, caller, touched):
        return False
    if touched.removed != before:
        packed.value = inner.SerializeToString(deterministic=True)
    return True


def _at(message: Any, path: tuple[str, ...]) -> str:
    for name in path:
        message = getattr(message, name)
    return str(message)


@functools.cache
def _plan(descriptor: Descriptor) -> _Plan:
    marked = _marked(descriptor)
    fields = tuple(one for each in descriptor.fields if (one := _field(each, marked)) is not None)
    is_event = descriptor.full_name == _EVENT
    district = next((each.name for each in descriptor.fields if names_district(each)), "")
    return _Plan(message_clearance(descriptor), district, is_event, fields)


def _field(each: Any, marked: frozenset[str]) -> _Field | None:
    options: Any = each.GetOptions()
    clearance = int(options.Extensions[options_pb2.field_classification])
    person = str(options.Extensions[options_pb2.personal])
    kind = each.message_type
    is_map = kind is not None and bool(kind.GetOptions().map_entry)
    value = kind.fields_by_name["value"].message_type if is_map else kind
    inner = value is not None and value.full_name in marked
    is_any = value is not None and value.full_name == _ANY
    if not clearance and not person and not inner and not is_any:
        return None
    return _Field(
        name=each.name,
        clearance=clearance or options_pb2.CLASSIFICATION_PUBLIC,
        person=tuple(person.split(".")) if person else (),
        scope=personal_scope(each.file.package) if person else "",
        inner=inner and not is_any,
        is_any=is_any,
        many=each.is_repeated and not is_map,
        is_map=is_map,
        has_presence=each.has_presence,
    )


@functools.cache
def _marked(descriptor: Descriptor) -> frozenset[str]:
    """The full names of the messages below this one, itself too, that may hold something that is hidden from somebody."""
    below = {one.full_name: one for one in reachable(descriptor)}
    found = {name for name, one in below.items() if _is_marked(one)}
    grown = True
    while grown:
        more = {
            name
            for name, one in below.items()
            if name not in found
            and any(each.message_type is not None and each.message_type.full_name in found for each in one.fields)
        }
        found |= more
        grown = bool(more)
    return frozenset(found)


def _is_marked(descriptor: Descriptor) -> bool:
    if descriptor.full_name in (_ANY, _EVENT) or message_clearance(descriptor) > options_pb2.CLASSIFICATION_PUBLIC:
        return True
    for each in descriptor.fields:
        options: Any = each.GetOptions()
        if options.Extensions[options_pb2.personal] or options.Extensions[options_pb2.field_classification]:
            return True
        if names_district(each):
            return True
    return False
