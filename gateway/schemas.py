"""Messages and enums of the contracts as schemas of JSON (JSON Schema 2020-12, as OpenAPI 3.1 has it).

JSON is written as protobuf does: names in camelCase, 64-bit numbers and bytes as texts. What Envoy's transcoder does not know
is in no answer, so no schema allows more fields than its message has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from citybrain.options.v1 import options_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from citybrain.gateway import limits

PREFIX = "#/components/schemas/"
_F = FieldDescriptor
_PERSONAL = "About a person: sealed where it is kept, and shown only to clearance RESTRICTED or SECRET."
_NOT_FINITE = {"enum": ["NaN", "Infinity", "-Infinity"]}


def _real(word: str) -> dict[str, Any]:
    return {"anyOf": [{"type": "number", "format": word}, _NOT_FINITE]}


def _wide(word: str, sign: str) -> dict[str, Any]:
    return {"type": "string", "format": word, "pattern": f"^{sign}[0-9]{{1,20}}$"}


_SCALARS: dict[int, dict[str, Any]] = {
    _F.TYPE_STRING: {"type": "string"},
    _F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_DOUBLE: _real("double"),
    _F.TYPE_FLOAT: _real("float"),
    **{kind: {"type": "integer", "format": "int32"} for kind in (_F.TYPE_INT32, _F.TYPE_SINT32, _F.TYPE_SFIXED32)},
    **{kind: {"type": "integer", "format": "uint32", "minimum": 0} for kind in (_F.TYPE_UINT32, _F.TYPE_FIXED32)},
    **{kind: _wide("int64", "-?") for kind in (_F.TYPE_INT64, _F.TYPE_SINT64, _F.TYPE_SFIXED64)},
    **{kind: _wide("uint64", "") for kind in (_F.TYPE_UINT64, _F.TYPE_FIXED64)},
}
# Messages that JSON writes in a form of their own, and what stands there.
_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "Timestamp": {"type": "string", "format": "date-time", "description": "A moment, in RFC 3339: `2026-05-01T08:00:00Z`."},
    "Duration": {
        "type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$", "description": "A length of time, in seconds: `1.5s`.",
    },
    "FieldMask": {"type": "string", "description": "Names of fields, with commas between."},
    "Any": {
        "type": "object",
        "description": "A message of any kind: the name of its type is `@type`, its fields stand beside.",
        "properties": {"@type": {"type": "string", "description": "`type.googleapis.com/` and the full name of the message."}},
        "required": ["@type"],
    },
    "Struct": {"type": "object"},
    "Value": {},
    "ListValue": {"type": "array"},
    "Empty": {"type": "object", "additionalProperties": False},
    **{f"{word}Value": {} for word in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")},
}  # fmt: skip
# Keys of a map are texts in JSON.
_KEYS = {
    _F.TYPE_STRING: {},
    _F.TYPE_BOOL: {"enum": ["true", "false"]},
    **{kind: {"pattern": "^[0-9]+$"} for kind in (_F.TYPE_UINT32, _F.TYPE_FIXED32, _F.TYPE_UINT64, _F.TYPE_FIXED64)},
}


class Schemas:
    """The schemas of the messages and enums that were asked for, and of those inside them."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self.components: dict[str, dict[str, Any]] = {}

    def message(self, message: Descriptor) -> dict[str, Any]:
        """The schema of a message: where it stands among the components."""
        name = message.full_name
        if name not in self.components:
            self.components[name] = {}
            known = _well_known(message)
            self.components[name] |= self.object(message) if known is None else self._wrapped(message, known)
        return {"$ref": PREFIX + name}

    def object(self, message: Descriptor, without: Collection[str] = ()) -> dict[str, Any]:
        """The schema of a message itself, without some of its fields."""
        fields = [field for field in message.fields if field.name not in without]
        needed = [field.json_name for field in fields if limits.must_be_there(field, limits.rules_of(field))]
        schema = self._told(message.full_name, {"type": "object"})
        schema["properties"] = {field.json_name: self.field(field) for field in fields}
        if needed:
            schema["required"] = needed
        choices = [(names, must) for names, must in limits.choices_of(message) if not set(names) & set(without)]
        if choices:
            schema["allOf"] = [_one_of(message, names, must) for names, must in choices]
        return schema | {"additionalProperties": False}

    def detail(self, message: Descriptor) -> dict[str, Any]:
        """The schema of a message that stands in an Any, with the name of its type."""
        name = message.full_name
        if name not in self.components:
            told = self.components[name] = self.object(message)
            told["properties"] = {"@type": {"const": f"type.googleapis.com/{name}"}, **told["properties"]}
            told["required"] = ["@type", *told.get("required", ())]
        return {"$ref": PREFIX + name}

    def field(self, field: FieldDescriptor) -> dict[str, Any]:
        """The schema of a field, with its limits and its description."""
        rules = limits.rules_of(field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            schema, words = self._map(field.message_type, rules)
        elif field.is_repeated:
            item, words = self._value(field, rules.repeated.items, False)
            schema = {"type": "array", "items": self._with(item, words), **limits.of_list(rules.repeated, rules.required)}
            words = []
        else:
            schema, words = self._value(field, rules, rules.required)
        if field.GetOptions().Extensions[options_pb2.personal]:  # type: ignore[index]
            words.append(_PERSONAL)
        if field.GetOptions().deprecated:
            schema["deprecated"] = True
        return self._with(schema, words, self._comments.get(field.full_name, ""))

    def _map(self, entry: Descriptor, rules: Any) -> tuple[dict[str, Any], list[str]]:
        key, value = (entry.fields_by_name[name] for name in ("key", "value"))
        inner, words = self._value(value, rules.map.values, False)
        names = _KEYS.get(key.type, {"pattern": "^-?[0-9]+$"})
        if key.type == _F.TYPE_STRING:
            names, told = limits.of_value(key, rules.map.keys, False)
            words = [f"Key: {word}" for word in told] + words
        schema: dict[str, Any] = {"type": "object", "additionalProperties": inner}
        return schema | ({"propertyNames": names} if names else {}) | limits.of_map(rules.map, rules.required), words

    def _value(self, field: FieldDescriptor, rules: Any, needed: bool) -> tuple[dict[str, Any], list[str]]:
        found, words = limits.of_value(field, rules, needed and not field.has_presence)
        if field.message_type is not None:
            schema = self.message(field.message_type)
        elif field.enum_type is not None:
            schema = self._enum(field.enum_type)
        elif field.type in limits.REAL and limits.is_finite(field, rules):
            schema = {"type": "number", "format": "double" if field.type == _F.TYPE_DOUBLE else "float"}
        else:
            schema = dict(_SCALARS[field.type])
        # The same word twice (a pattern of the type and one of the rules): both hold.
        return (schema | found if not schema.keys() & found.keys() - {"minimum"} else {"allOf": [schema, found]}), words

    def _enum(self, enum: EnumDescriptor) -> dict[str, Any]:
        name = enum.full_name
        if name == "google.protobuf.NullValue":
            return {"type": "null"}
        if name not in self.components:
            values = [value.name for value in enum.values]
            told = {value: self._comments.get(f"{name}.{value}", "") for value in values}
            said = "\n".join(f"- `{value}`: {text}" for value, text in told.items() if text)
            schema = self._told(name, {"type": "string", "enum": values})
            self.components[name] = self._with(schema, [], said) if said else schema
        return {"$ref": PREFIX + name}

    def _wrapped(self, message: Descriptor, known: dict[str, Any]) -> dict[str, Any]:
        """Wrappers stand in JSON as what they wrap."""
        return known or (dict(_SCALARS[message.fields[0].type]) if len(message.fields) == 1 else {})

    def _told(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"description": self._comments[name], **schema} if name in self._comments else schema

    @staticmethod
    def _with(schema: dict[str, Any], words: list[str], text: str = "") -> dict[str, Any]:
        said = " ".join([text, *words]).strip()
        before = schema.get("description")
        return schema | {"description": f"{before}\n\n{said}" if before else said} if said else schema


def _well_known(message: Descriptor) -> dict[str, Any] | None:
    package, _, name = message.full_name.rpartition(".")
    return _WELL_KNOWN.get(name) if package == "google.protobuf" else None


def _one_of(message: Descriptor, names: list[str], must: bool) -> dict[str, Any]:
    """At most one of these fields, or exactly one."""
    each = [{"required": [message.fields_by_name[name].json_name]} for name in names]
    return {"oneOf": each if must else [*each, {"not": {"anyOf": each}}]}
