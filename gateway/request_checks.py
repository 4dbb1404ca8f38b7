"""What a call must not say, looked at before anything else looks at it (`request_checks.lua`).

Envoy's transcoder lets a query parameter stand in for a field of the path: `/v1/incidents/A:cancel?incident_id=B` cancels B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from citybrain.gateway.methods import Route, parse_descriptors

# What a call says of itself in headers; the services take four times as much, for the gateway adds some.
MOST_HEADER_BYTES = 16 * 1024

_LUA = Path(__file__).with_name("request_checks.lua")
_FIELD = re.compile(r"\{([a-z0-9_.]+)(?:=[^}]*)?\}")


def request_checks(routes: Sequence[Route], descriptors: bytes, most_body_bytes: int) -> str:
    """The text of the filter: what the contracts know, and the checks."""
    messages = _messages(parse_descriptors(descriptors))
    methods = [method for route in routes for method in _methods(route, messages)]
    # A path with a verb (`:cancel`) also looks like one whose last field has a colon.
    methods.sort(key=lambda method: ":" not in method["path"])
    limits = f"local MOST_HEADER_BYTES = {MOST_HEADER_BYTES}\nlocal MOST_BODY_BYTES = {most_body_bytes}"
    return f"{limits}\nlocal METHODS = {_lua(methods)}\n\n{_LUA.read_text(encoding='utf-8')}"


def _methods(route: Route, messages: dict[str, DescriptorProto]) -> Iterator[dict[str, Any]]:
    for verb, path, body in route.http:
        bound = [spelt for field in _FIELD.findall(path) for spelt in _spellings(field, route.request, messages)]
        yield {"verb": verb, "path": _pattern(path), "bound": bound, "body": body}


def _spellings(path: str, message: str, messages: dict[str, DescriptorProto]) -> list[str]:
    """Every way in which a caller may write the path of a field: each part as in the contract, or as in JSON."""
    spelt = [""]
    for part in path.split("."):
        field = next(field for field in messages[message].field if field.name == part)
        names = dict.fromkeys((field.name, field.json_name))
        spelt = [f"{before}.{name}".removeprefix(".") for before in spelt for name in names]
        message = field.type_name.removeprefix(".")
    return spelt


def _pattern(path: str) -> str:
    """A path as a pattern of Lua."""
    parts = re.split(r"\{[^}]*\}", path)
    return "^" + "[^/]+".join(re.sub(r"([^A-Za-z0-9/])", r"%\1", part) for part in parts) + "$"


def _messages(parsed: FileDescriptorSet) -> dict[str, DescriptorProto]:
    found: dict[str, DescriptorProto] = {}

    def add(prefix: str, message: DescriptorProto) -> None:
        name = f"{prefix}.{message.name}"
        found[name] = message
        for inner in message.nested_type:
            add(name, inner)

    for file in parsed.file:
        for message in file.message_type:
            add(file.package, message)
    return found


def _lua(value: Any) -> str:
    """A value as Lua writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{_lua(key)}] = {_lua(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(_lua(item) for item in value) + "}"
    text = str(value)
    if not re.fullmatch(r'[^"\\\n]*', text):
        raise ValueError(f"{text!r} cannot stand in the text of a filter")
    return f'"{text}"'
