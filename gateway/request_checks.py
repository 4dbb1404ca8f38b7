"""Checks that refuse bad calls before the transcoder sees them (`request_checks.lua`, `json_checks.lua`).

In Envoy's transcoder a query parameter can replace a field of the path: `/v1/incidents/A:cancel?incident_id=B` cancels B. And
it drops fields of a JSON body that the contract does not have. So both are checked against the contracts first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet

from citybrain.gateway.methods import Route, parse_descriptors

# The limit of a call's headers. The services take four times as much, because the gateway adds some.
MOST_HEADER_BYTES = 16 * 1024

_HERE = Path(__file__).parent
_FIELD = re.compile(r"\{([a-z0-9_.]+)(?:=[^}]*)?\}")
# Messages that JSON writes in a form of their own.
_WELL_KNOWN = {
    "google.protobuf.Timestamp": {"kind": "moment"},
    "google.protobuf.Duration": {"kind": "span"},
    "google.protobuf.FieldMask": {"kind": "text"},
}
_F = FieldDescriptorProto


def _whole(least: int, most: int) -> dict[str, Any]:
    return {"kind": "whole", "least": least, "most": most}


_KINDS: dict[int, dict[str, Any]] = {
    _F.TYPE_STRING: {"kind": "text"},
    _F.TYPE_BYTES: {"kind": "text"},
    _F.TYPE_BOOL: {"kind": "flag"},
    _F.TYPE_DOUBLE: {"kind": "real"},
    _F.TYPE_FLOAT: {"kind": "real"},
    **{kind: _whole(-(2**31), 2**31 - 1) for kind in (_F.TYPE_INT32, _F.TYPE_SINT32, _F.TYPE_SFIXED32)},
    **{kind: _whole(0, 2**32 - 1) for kind in (_F.TYPE_UINT32, _F.TYPE_FIXED32)},
    # Numbers in Lua are doubles, so these limits are not exact; the transcoder refuses the rest.
    **{kind: _whole(-(2**63), 2**63) for kind in (_F.TYPE_INT64, _F.TYPE_SINT64, _F.TYPE_SFIXED64)},
    **{kind: _whole(0, 2**64) for kind in (_F.TYPE_UINT64, _F.TYPE_FIXED64)},
}


def request_checks(routes: Sequence[Route], descriptors: bytes, most_body_bytes: int) -> str:
    """The text of the filter: the data of the contracts, then the checks."""
    contracts = _Contracts(parse_descriptors(descriptors))
    methods = [method for route in routes for method in _methods(route, contracts)]
    # Paths with a verb (`:cancel`) come first: they also match the pattern of a path that ends with a field.
    methods.sort(key=lambda method: ":" not in method["path"])
    known = {
        "MOST_HEADER_BYTES": MOST_HEADER_BYTES,
        "MOST_BODY_BYTES": most_body_bytes,
        "METHODS": methods,
        "TYPES": contracts.types,
        "ENUMS": contracts.enums,
    }
    told = [f"local {name} = {as_lua(value)}" for name, value in known.items()]
    checks = [(_HERE / f"{name}.lua").read_text(encoding="utf-8") for name in ("json_checks", "request_checks")]
    return "\n".join([*told, "", *checks])


def _methods(route: Route, contracts: _Contracts) -> Iterator[dict[str, Any]]:
    for verb, path, body in route.http:
        fields = _FIELD.findall(path)
        method = {
            "verb": verb,
            "path": _pattern(path),
            "bound": [spelt for field in fields for spelt in contracts.spellings(field, route.request)],
            "by_path": dict.fromkeys(fields, True),
            "body": body,
            "request": contracts.message(route.request)["of"],
        }
        if body:
            method["takes"] = contracts.message(route.request) if body == "*" else contracts.field(route.request, body)
        yield method


def _pattern(path: str) -> str:
    """A path as a Lua pattern."""
    parts = re.split(r"\{[^}]*\}", path)
    return "^" + "[^/]+".join(re.sub(r"([^A-Za-z0-9/])", r"%\1", part) for part in parts) + "$"


class _Contracts:
    """The data of the messages and enums that were asked for, and of those inside them."""

    def __init__(self, parsed: FileDescriptorSet) -> None:
        self.types: dict[str, Any] = {}
        self.enums: dict[str, Any] = {}
        self._messages: dict[str, DescriptorProto] = {}
        self._enums: dict[str, EnumDescriptorProto] = {}
        for file in parsed.file:
            self._add(file.package, file.message_type, file.enum_type)

    def spellings(self, path: str, message: str) -> list[str]:
        """Every spelling of a field's path: each part as in the contract, or as in JSON."""
        spelt = [""]
        for part in path.split("."):
            field = self._field(message, part)
            names = dict.fromkeys((field.name, field.json_name))
            spelt = [f"{before}.{name}".removeprefix(".") for before in spelt for name in names]
            message = field.type_name.removeprefix(".")
        return spelt

    def message(self, name: str) -> dict[str, Any]:
        """The allowed values of this message, as data for Lua."""
        if name in _WELL_KNOWN:
            return _WELL_KNOWN[name]
        if name.startswith("google.protobuf."):
            return {"kind": "any"}
        if name not in self.types:
            fields: dict[str, Any] = {}
            self.types[name] = {"names": [field.json_name for field in self._messages[name].field], "fields": fields}
            for field in self._messages[name].field:
                fields[field.name] = fields[field.json_name] = self.field(name, field.name)
        return {"kind": "message", "of": name}

    def field(self, message: str, name: str) -> dict[str, Any]:
        """The allowed values of a field, as data for Lua."""
        field = self._field(message, name)
        inner = self._messages.get(field.type_name.removeprefix("."))
        if inner is not None and inner.options.map_entry:
            return {"name": name, "kind": "map", "of": self.field(field.type_name.removeprefix("."), "value")}
        return {"name": name, "many": field.label == _F.LABEL_REPEATED, **self._value(field)}

    def _value(self, field: FieldDescriptorProto) -> Mapping[str, Any]:
        name = field.type_name.removeprefix(".")
        if field.type == _F.TYPE_MESSAGE:
            return self.message(name)
        if field.type == _F.TYPE_ENUM:
            values = [value.name for value in self._enums[name].value]
            told = [value.name for value in self._enums[name].value if value.number] or values
            self.enums[name] = {"values": dict.fromkeys(values, True), "names": told}
            return {"kind": "enum", "of": name}
        return _KINDS[field.type]

    def _field(self, message: str, name: str) -> FieldDescriptorProto:
        return next(field for field in self._messages[message].field if field.name == name)

    def _add(self, prefix: str, messages: Sequence[DescriptorProto], enums: Sequence[EnumDescriptorProto]) -> None:
        self._enums |= {f"{prefix}.{enum.name}": enum for enum in enums}
        for message in messages:
            self._messages[f"{prefix}.{message.name}"] = message
            self._add(f"{prefix}.{message.name}", message.nested_type, message.enum_type)


def as_lua(value: Any) -> str:
    """A value as Lua code. ValueError: a text has letters that cannot be written."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{as_lua(key)}] = {as_lua(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(as_lua(item) for item in value) + "}"
    if isinstance(value, bool | int):
        return str(value).lower()
    if not re.fullmatch(r'[^"\\\n]*', value):
        raise ValueError(f"{value!r} cannot stand in the text of a filter")
    return f'"{value}"'
