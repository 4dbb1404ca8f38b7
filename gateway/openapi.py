"""The document of the API (OpenAPI 3.1): every open method that has a form in JSON, made from the contracts as routes are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from citybrain.gateway.comments import comments
from citybrain.gateway.limits import must_be_there, rules_of
from citybrain.gateway.methods import Route, parse_descriptors, routes
from citybrain.gateway.schemas import PREFIX, Schemas
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.settings.version import installed_version

# Verbs that OpenAPI has a place for.
_VERBS = ("GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE")
_PATH_FIELD = re.compile(r"\{([a-z0-9_.]+)(?:=([^}]*))?\}")
# Messages that a parameter can hold, since JSON writes them as one text.
_TEXTS = {f"google.protobuf.{name}" for name in ("Timestamp", "Duration", "FieldMask")}
_DETAILS = ("BadRequest", "ErrorInfo", "RequestInfo", "RetryInfo")
_TITLE = "Hangzhou City Brain (杭州城市大脑)"
_ABOUT = (
    "Every service of the city, in JSON. The same methods are open to gRPC and gRPC-Web here, under the same rules.\n\n"
    "- A call that comes again with the same `x-request-id` gets the first answer, and nothing is done twice.\n"
    "- 64-bit numbers are texts. A field that is unknown, misspelt or of another kind is refused by its name.\n"
    "- An answer that is `text/event-stream` does not end by itself: each `data:` is one message. While nothing happens, a "
    "message without events comes every 15 s. Who comes again with the last `resumeToken` goes on from there.\n"
    "- An error is a `google.rpc.Status`: its details say which field is wrong, a `reason` for programs, and when to try again."
)


def openapi(manifests: Sequence[Manifest], descriptors: bytes, *, driven: bool = False) -> dict[str, Any]:
    """The document. Descriptors with source info have the comments of the contracts. `driven`: with the clock."""
    return _Document(manifests, descriptors, routes(manifests, descriptors, driven=driven)).made()


class _Document:
    def __init__(self, manifests: Sequence[Manifest], descriptors: bytes, open_methods: Sequence[Route]) -> None:
        parsed = parse_descriptors(descriptors)
        self._pool = DescriptorPool()
        for file in parsed.file:
            self._pool.Add(file)
        self._manifests = {manifest.name: manifest for manifest in manifests}
        self._routes = [route for route in open_methods if any(verb in _VERBS for verb, _, _ in route.http)]
        self._comments = comments(parsed)
        self._schemas = Schemas(self._comments)

    def made(self) -> dict[str, Any]:
        paths: dict[str, dict[str, Any]] = {}
        for route in self._routes:
            for path, verb, operation in self._operations(route):
                paths.setdefault(path, {})[verb] = operation
        services = dict.fromkeys((route.service, route.grpc) for route in self._routes)
        error = self._error()
        return {
            "openapi": "3.1.0",
            "info": {"title": _TITLE, "version": installed_version() or "0", "description": _ABOUT},
            "servers": [{"url": "/"}],
            "tags": [self._tag(name, grpc) for name, grpc in services],
            "paths": paths,
            "components": {
                "schemas": dict(sorted(self._schemas.components.items())),
                "parameters": {"requestId": _REQUEST_ID},
                "headers": {"requestId": _ANSWERED_ID, "retryAfter": _RETRY_AFTER},
                "responses": {"error": error},
                "securitySchemes": {"bearer": _BEARER},
            },
        }

    def _tag(self, name: str, grpc: str) -> dict[str, Any]:
        said = self._comments.get(grpc, "")
        manifest = self._manifests.get(name)
        tag = {"name": name, "x-displayName": manifest.title if manifest else "Clock (时钟)", "x-grpc": grpc}
        if manifest:
            tag |= {"x-team": manifest.team}
            said = f"{said}\n\nTeam: {manifest.team}.".strip()
        return tag | ({"description": said} if said else {})

    def _operations(self, route: Route) -> Iterator[tuple[str, str, dict[str, Any]]]:
        method: MethodDescriptor = self._pool.FindMethodByName(f"{route.grpc}.{route.method}")
        said = self._comments.get(method.full_name, "")
        usable = [one for one in route.http if one[0] in _VERBS]
        for number, (verb, path, body) in enumerate(usable, 1):
            operation: dict[str, Any] = {
                "operationId": f"{route.service}.{route.method}" + (f".{number}" if number > 1 else ""),
                "tags": [route.service],
                "summary": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", route.method).capitalize(),
                **({"description": said} if said else {}),
                "x-grpc": route.path,
                "security": [{"bearer": [route.scope]}],
                "parameters": [
                    *self._in_path(method.input_type, path),
                    *self._in_query(method.input_type, path, body),
                    {"$ref": "#/components/parameters/requestId"},
                ],
                **self._body(method.input_type, path, body),
                "responses": {"200": self._answer(method, route.streaming), "default": _ERROR},
            }
            if method.GetOptions().deprecated:
                operation["deprecated"] = True
            yield _PATH_FIELD.sub(lambda found: "{" + _spelt(method.input_type, found[1]) + "}", path), verb.lower(), operation

    def _in_path(self, request: Descriptor, path: str) -> Iterator[dict[str, Any]]:
        for found in _PATH_FIELD.finditer(path):
            field = _field(request, found[1])
            told = f" As `{found[2]}`." if found[2] and found[2] != "*" else ""
            yield self._parameter("path", _spelt(request, found[1]), field, told, required=True)

    def _in_query(self, request: Descriptor, path: str, body: str) -> Iterator[dict[str, Any]]:
        if body == "*":
            return
        taken = {found[1] for found in _PATH_FIELD.finditer(path)}
        for names, field, required in _leaves(request, (), (), True):
            if ".".join(names) not in taken and names[0] != body:
                yield self._parameter("query", _spelt(request, ".".join(names)), field, "", required=required)

    def _parameter(self, place: str, name: str, field: FieldDescriptor, told: str, *, required: bool) -> dict[str, Any]:
        schema = dict(self._schemas.field(field))
        said = str(schema.pop("description", "")) + told
        parameter = {"name": name, "in": place, **({"required": True} if required else {}), "schema": schema}
        return parameter | ({"description": said} if said else {})

    def _body(self, request: Descriptor, path: str, body: str) -> dict[str, Any]:
        if not body:
            return {}
        if body != "*":
            field = request.fields_by_name[body]
            schema, required = self._schemas.field(field), must_be_there(field, rules_of(field))
        elif bound := {found[1] for found in _PATH_FIELD.finditer(path)}:
            # A field inside a message of the request, bound by the path, stays among the fields of that message.
            schema = self._schemas.object(request, bound)
            required = "required" in schema
        else:
            schema = self._schemas.message(request)
            required = "required" in self._schemas.components[request.full_name]
        return {"requestBody": {"content": {"application/json": {"schema": schema}}, "required": required}}

    def _answer(self, method: MethodDescriptor, streaming: bool) -> dict[str, Any]:
        kind = "text/event-stream" if streaming else "application/json"
        told = "Messages as they come: each `data:` is one of these." if streaming else "The answer."
        return {
            "description": told,
            "headers": {"x-request-id": {"$ref": "#/components/headers/requestId"}},
            "content": {kind: {"schema": self._schemas.message(method.output_type)}},
        }

    def _error(self) -> dict[str, Any]:
        """What every call may answer instead, as the services and the gateway make it."""
        found = [self._pool.FindMessageTypeByName(f"google.rpc.{name}") for name in _DETAILS]
        details = [self._schemas.detail(message) for message in found]
        self._schemas.components["google.rpc.Status"] = {
            "type": "object",
            "description": "An error.",
            "properties": {
                "code": {"type": "integer", "format": "int32", "description": "Of google.rpc.Code: 3 is INVALID_ARGUMENT."},
                "message": {"type": "string", "description": "What is wrong, and what to do, for people."},
                "details": {"type": "array", "items": {"anyOf": [*details, _any(details)]}},
            },
            "required": ["code", "message"],
        }
        return {
            "description": "An error: what is wrong, and what to do.",
            "headers": {
                "x-request-id": {"$ref": "#/components/headers/requestId"},
                "retry-after": {"$ref": "#/components/headers/retryAfter"},
            },
            "content": {"application/json": {"schema": {"$ref": f"{PREFIX}google.rpc.Status"}}},
        }


def _any(known: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A detail of another kind than those known."""
    names = [f"type.googleapis.com/{one['$ref'].removeprefix(PREFIX)}" for one in known]
    return {"type": "object", "properties": {"@type": {"type": "string", "not": {"enum": names}}}, "required": ["@type"]}


def _field(message: Descriptor, path: str) -> FieldDescriptor:
    *above, last = path.split(".")
    for name in above:
        message = message.fields_by_name[name].message_type  # type: ignore[assignment]
    return message.fields_by_name[last]


def _spelt(message: Descriptor, path: str) -> str:
    """The path of a field as JSON has it."""
    parts = path.split(".")
    return ".".join(_field(message, ".".join(parts[: number + 1])).json_name for number in range(len(parts)))


def _leaves(
    message: Descriptor, above: tuple[str, ...], seen: tuple[str, ...], must: bool
) -> Iterator[tuple[tuple[str, ...], FieldDescriptor, bool]]:
    """The fields that a query can hold, also those of messages inside, with their path and whether a call must have them."""
    for field in message.fields:
        path, inner = (*above, field.name), field.message_type
        required = must and must_be_there(field, rules_of(field))
        if inner is None or inner.full_name in _TEXTS:
            yield path, field, required
        elif not field.is_repeated and inner.full_name not in seen and not inner.full_name.startswith("google.protobuf."):
            yield from _leaves(inner, path, (*seen, message.full_name), required)


_ERROR = {"$ref": "#/components/responses/error"}
_REQUEST_ID = {
    "name": "x-request-id",
    "in": "header",
    "description": "The caller's id for this call: the same id again gets the first answer again. Else the gateway makes one.",
    "schema": {"type": "string"},
}
_ANSWERED_ID = {"description": "The id of the call, to ask about it.", "schema": {"type": "string"}}
_RETRY_AFTER = {"description": "After how many seconds to try again.", "schema": {"type": "integer"}}
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token (RS256 or ES256) whose `scope` has the scope of the method.",
}
