"""Requests of every method that hold marks where callers write texts and numbers of persons, and ids that fit together.

A mark says of which field it is, so a mark that turns up where nobody may read it leads to the way it took.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from random import Random
from typing import Any

from buf.validate import validate_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from citybrain.mesh.identifiers import citizen_id_check, uscc_check
from citybrain.mesh.runtime.validation import violations

# Words that name something of the city, and no text about anybody: kinds, methods, days, places in a list.
WORDS = {
    "area", "authority", "channel", "component_class", "day", "digest", "event", "event_type", "event_types", "exercise",
    "from_day", "grade", "in_district", "kind", "line", "matter", "method", "option", "page_token", "question", "region",
    "resume_token", "scopes", "sector", "stability", "state", "step", "subject", "task", "team", "to_day", "type", "unit",
    "workflow", "works_from", "works_to", "amount_unit",
}  # fmt: skip
"""Fields that hold no mark, besides ids."""

PLAIN = {
    "event_type": "citybrain.health.v1.BedReserved",
    "event_types": "citybrain.health.v1.BedReserved", "workflow": "emergency_response", "state": "Gr", "scopes": "health.read",
    "day": "2026-01-05", "from_day": "2026-01-04", "to_day": "2026-01-05", "works_from": "2026-01-06",
    "works_to": "2026-01-07", "region": "330100", "sector": "C", "grade": "B", "stability": "D",
    "digest": "0" * 64, "kind": "bridge", "component_class": "public_utility", "step": "reserve_ambulance",
}  # fmt: skip
PLACES = {"latitude": 30.25, "longitude": 120.15, "lat": 30.25, "lon": 120.15}
"""A place in the city."""
_MARK = re.compile(r"王小明([0-9]{5})丙|\+86139([0-9]{5})77|浙A([0-9]{5})|3([0-9]{5})19900101123|91330100MA([0-9]{5})")
_ID = re.compile(r"(.+)_ids?")
_LATER = re.compile("(^|_)(until|end|ends|to)(_|$)")
# The morning at which city time stands in tests.
_MOMENT = 1_767_571_200


class Marks:
    """Makes marks, and says of a text which marks stand in it."""

    def __init__(self) -> None:
        self._of: list[str] = []
        # What is known of ids: by the name of the field.
        self.ids: dict[str, list[str]] = defaultdict(list)

    def mark(self, field: Any, whose: str) -> str:
        """A mark for a field, in the form that such a thing has."""
        number = f"{len(self._of):05d}"
        self._of.append(f"{whose}: {field.full_name}")
        match field.name:
            case "phone":
                return f"+86139{number}77"
            case "plate":
                return f"浙A{number}"
            case "uscc":
                body = f"91330100MA{number}XY"
                return body + uscc_check(body)
            case "citizen_id":
                return _citizen(number)
            case _:
                return f"王小明{number}丙"

    def found(self, text: str) -> Iterator[str]:
        """The fields whose marks stand in a text."""
        for match in _MARK.finditer(text):
            number = int(next(one for one in match.groups() if one is not None))
            yield self._of[number] if number < len(self._of) else match.group()

    def learn(self, message: Message) -> None:
        """Keeps the ids of an answer or an event for later requests."""
        for field, value in message.ListFields():
            values = list(value) if field.is_repeated else [value]
            if field.message_type is not None:
                if field.message_type.GetOptions().map_entry:
                    continue
                for one in values:
                    self.learn(one)
            elif field.type == FieldDescriptor.TYPE_STRING and (match := _ID.fullmatch(field.name)):
                known = self.ids[match.group(1)]
                for one in values:
                    if one and one not in known:
                        known.insert(0, one)


def _citizen(number: str) -> str:
    # Which place it is of is not asked: the number stands there. Then comes a day of birth.
    body = f"3{number}19900101123"
    return body + citizen_id_check(body)


class Filler:
    """Fills requests. `turn`: which of the ways to fill a message is taken: another kind, another branch, another known id."""

    def __init__(self, marks: Marks, turn: int) -> None:
        self._marks = marks
        self._turn = turn
        self._dice = Random(turn)

    def request(self, method: MethodDescriptor) -> Message:
        """A request that its contract lets in, if one is found; else one that it refuses."""
        return self.message(method.input_type, f"{method.containing_service.name}/{method.name}")

    def refused(self, method: MethodDescriptor) -> Message:
        """A request that its contract refuses, if that is possible: all texts are marks, and too long."""
        made = self.request(method)
        for field, _ in made.ListFields():
            if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
                mark = self._marks.mark(field, f"{method.containing_service.name}/{method.name}")
                setattr(made, field.name, mark * 2000)
        return made

    def message(self, descriptor: Any, whose: str) -> Message:
        """Any message, with the marks of whoever sends it."""
        made: Message = message_factory.GetMessageClass(descriptor)()
        self._fill(made, whose, 0)
        for _ in range(6):
            broken = violations(made)
            if not broken:
                break
            for path, _ in broken:
                self._mend(made, path.split("."), whose)
        return made

    def _fill(self, message: Any, whose: str, depth: int, name: str = "") -> None:
        descriptor: Descriptor = message.DESCRIPTOR
        if descriptor.full_name == "google.protobuf.Timestamp":
            message.seconds = _MOMENT + (86_400 if _LATER.search(name) else -7200 if name == "hour" else 0)
            return
        if descriptor.full_name == "google.protobuf.Duration":
            message.seconds = 60
            return
        chosen = {one.name: one.fields[self._turn % len(one.fields)].name for one in descriptor.oneofs}
        for field in descriptor.fields:
            of = field.containing_oneof
            if of is not None and len(of.fields) > 1 and chosen[of.name] != field.name:
                continue
            if field.name in ("decided_by", "reported_by") and self._turn % 2:
                # Only services may say for whom they speak.
                continue
            self._set(message, field, whose, depth)

    def _set(self, message: Any, field: Any, whose: str, depth: int) -> None:
        if field.message_type is not None and (depth > 4 or field.message_type.GetOptions().map_entry):
            return
        if field.is_repeated:
            inner = getattr(message, field.name)
            if field.message_type is not None:
                self._fill(inner.add(), whose, depth + 1, field.name)
            else:
                inner.append(self._value(field, whose))
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            self._fill(getattr(message, field.name), whose, depth + 1, field.name)
        else:
            setattr(message, field.name, self._value(field, whose))

    def _value(self, field: Any, whose: str) -> Any:
        rules = field.GetOptions().Extensions[validate_pb2.field]
        if field.is_repeated:
            rules = rules.repeated.items
        if field.name in PLACES:
            return PLACES[field.name]
        kind = rules.WhichOneof("type")
        allowed = list(getattr(getattr(rules, kind), "in", ())) if kind else []
        if allowed:
            return allowed[self._turn % len(allowed)]
        if field.type == FieldDescriptor.TYPE_STRING:
            return self._text(field, rules.string, whose)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._marks.mark(field, whose).encode()
        if field.enum_type is not None:
            refused = (0, *getattr(rules.enum, "not_in", ()))
            numbers = [one.number for one in field.enum_type.values if one.number not in refused]
            return numbers[self._turn % len(numbers)] if numbers else 0
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return bool(self._turn % 2)
        return _number(getattr(rules, kind) if kind else None, whole=field.cpp_type not in (5, 6), turn=self._turn)

    def _text(self, field: Any, rules: Any, whose: str) -> str:
        if field.name.endswith("_token"):
            return ""
        if field.name == "kind" and rules.pattern:
            return "water.pressure"
        if field.name in WORDS:
            return PLAIN.get(field.name, "x")
        match = _ID.fullmatch(field.name)
        if match and field.name != "citizen_id":
            kind = match.group(1)
            # Those that services made; all others are chosen by callers, and new in each turn.
            made = [one for one in self._marks.ids[kind] if not re.search(r"-t[0-9]+$", one)]
            known = [one for one in made if not rules.pattern or re.search(rules.pattern, one)]
            return known[0] if known else _fitting(rules.pattern, f"{kind.rpartition('_')[2]}-t{self._turn}")
        mark = self._marks.mark(field, whose)
        if rules.pattern and not re.search(rules.pattern, mark):
            return f"https://example.org/{len(mark)}" if "https" in rules.pattern else _fitting(rules.pattern, "x")
        return mark

    def _mend(self, message: Any, path: list[str], whose: str) -> None:
        """Makes what a rule refuses anew, or leaves it out."""
        name, _, place = path[0].partition("[")
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            return
        if len(path) > 1 and field.message_type is not None:
            inner = getattr(message, name)
            if not field.is_repeated:
                self._mend(inner, path[1:], whose)
            elif place[:-1].isdigit() and int(place[:-1]) < len(inner):
                self._mend(inner[int(place[:-1])], path[1:], whose)
            return
        rules = field.GetOptions().Extensions[validate_pb2.field]
        if field.is_repeated:
            few = max(2, rules.repeated.min_items)
            while 0 < len(getattr(message, name)) < few and few < 100:
                self._set(message, field, whose, 2)
            return
        if field.message_type is not None and rules.required:
            self._set(message, field, whose, 2)
        else:
            message.ClearField(name)
            if self._dice.random() < 0.5:
                self._set(message, field, whose, 2)


def _number(rules: Any, *, whole: bool, turn: int) -> float | int:
    low, high = 1.0, 1.0 + turn % 3
    if rules is not None:
        least = rules.gte if rules.HasField("gte") else rules.gt + (1 if whole else 0.001) if rules.HasField("gt") else None
        most = rules.lte if rules.HasField("lte") else rules.lt - (1 if whole else 0.001) if rules.HasField("lt") else None
        low = least if least is not None and least > low else low
        high = max(low, high)
        if most is not None and high > most:
            high = most
    return int(high) if whole else float(high)


def _fitting(pattern: str, wish: str) -> str:
    """A text that fits one of the patterns of the contracts."""
    prefix = re.match(r"\^\(?([a-z]+-)\[0-9a-f\]\{(\d+)\}", pattern)
    if prefix:
        return prefix.group(1) + "0" * int(prefix.group(2))
    return wish if not pattern or re.search(pattern, wish) else next(
        (one for one in ("X1", "2026-01-05", "A", "x", "1") if re.search(pattern, one)), wish
    )  # fmt: skip
