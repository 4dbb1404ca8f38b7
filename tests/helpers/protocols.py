"""The same call in gRPC, JSON and gRPC-Web, by real clients, and what came back in one form."""

from __future__ import annotations

import base64
import http.client
import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlencode

import grpc
from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from citybrain.gateway.methods import Route, routes
from citybrain.local.contracts import descriptors
from citybrain.mesh.events import message_class
from citybrain.mesh.manifest import find_manifests
from citybrain.mesh.startup.serve import rooms
from tests.helpers.contracts import load_contracts

# So that every method is known, and events inside of answers in JSON can be read.
load_contracts()

LIMIT_S = 30
GATEWAY = "citybrain.gateway"
"""The domain of errors that the gateway makes itself; those of services have `citybrain`."""


@dataclass(frozen=True)
class Told:
    """What a caller was told. `raw`: all that came, to look for what must not be in it."""

    code: int
    reason: str = ""
    domain: str = ""
    message: str = ""
    request_id: str = ""
    answers: tuple[Message, ...] = ()
    raw: str = ""
    # What is not as every error should be; empty: it is.
    shape: str = ""
    http: int = 200

    @property
    def outcome(self) -> tuple[int, str]:
        """Code and reason."""
        return self.code, self.reason


@dataclass(frozen=True)
class Ask:
    """One call: the method's name without its package (`EmergencyCommandService/GetIncident`), and the request."""

    method: str
    request: Message
    # Of an answer without end only so many messages are read.
    messages: int = 1

    @property
    def route(self) -> Route:
        """The route in the gateway."""
        return ROUTES[self.method]

    @property
    def descriptor(self) -> MethodDescriptor:
        """The method in its contract."""
        return descriptor_of(self.route)

    def http(self) -> tuple[str, str, bytes | None]:
        """Verb, path and body in JSON."""
        verb, path, body = self.route.http[0]
        said = json_format.MessageToDict(self.request, preserving_proto_field_name=True)
        for name in re.findall(r"\{([a-z_]+)\}", path):
            path = path.replace(f"{{{name}}}", quote(str(said.pop(name, "x")), safe=""))
        if body:
            return verb, path, json.dumps(said).encode()
        query = [(name, one) for name, value in said.items() for one in (value if isinstance(value, list) else [value])]
        return verb, path + (f"?{urlencode(query)}" if query else ""), None


def open_routes() -> list[Route]:
    """Every method that a city with driven time has open."""
    return routes(find_manifests(rooms()), descriptors().read_bytes(), driven=True)


ROUTES: dict[str, Route] = {f"{route.grpc.rpartition('.')[2]}/{route.method}": route for route in open_routes()}


def descriptor_of(route: Route) -> MethodDescriptor:
    """The method of a route in its contract."""
    found: MethodDescriptor = descriptor_pool.Default().FindServiceByName(route.grpc).methods_by_name[route.method]
    return found


Headers = Mapping[str, str]


def in_grpc(address: str, ask: Ask, headers: Headers) -> Told:
    """By grpcio."""
    with grpc.insecure_channel(address) as channel:
        return over(channel, ask, headers)


def over(channel: grpc.Channel, ask: Ask, headers: Headers) -> Told:
    """The same on a channel that is open."""
    answer = message_class(ask.descriptor.output_type.full_name)
    make: Any = channel.unary_stream if ask.route.streaming else channel.unary_unary
    call = make(ask.route.path, lambda message: message.SerializeToString(), answer.FromString)
    try:
        found = call(ask.request, metadata=tuple(headers.items()), timeout=LIMIT_S)
        answers = tuple(_first(found, ask.messages)) if ask.route.streaming else (found,)
        if ask.route.streaming:
            found.cancel()
        return Told(0, answers=answers, raw=repr(answers))
    except grpc.RpcError as caught:
        error: Any = caught
        trailers = {key: value for key, value in error.trailing_metadata() or ()}
        status = trailers.get("grpc-status-details-bin", b"")
        told = _told(error.code().value[0], error.details() or "", status, repr(trailers))
        return told


def in_json(address: str, ask: Ask, headers: Headers) -> Told:
    """By HTTP/1.1."""
    verb, path, body = ask.http()
    with Http(address) as connection:
        response, told = connection.ask(verb, path, body, {"content-type": "application/json", **headers})
        if response.status == 200:
            made = message_class(ask.descriptor.output_type.full_name)
            lines = _first(_events(response), ask.messages) if ask.route.streaming else [response.read()]
            texts = [line.decode() for line in lines]
            return Told(0, answers=tuple(json_format.Parse(text, made()) for text in texts), raw=told + "".join(texts))
        content = response.read()
    raw = told + content.decode("utf-8", "replace")
    if not response.headers.get("content-type", "").startswith("application/json"):
        return Told(-1, raw=raw, shape=f"is no JSON: {raw}", http=response.status)
    said = json.loads(content)
    details = {one.get("@type", "").rpartition(".")[2]: one for one in said.get("details", [])}
    why, asked = details.get("ErrorInfo", {}), details.get("RequestInfo", {})
    given = response.headers.get("x-request-id", "")
    lacks = [name for name, there in (("ErrorInfo", why.get("reason")), ("RequestInfo", asked.get("requestId"))) if not there]
    shape = f"lacks {lacks}" if lacks else "" if given in ("", asked["requestId"]) else f"names request {asked} and {given}"
    return Told(
        said["code"], why.get("reason", ""), why.get("domain", ""), said["message"], asked.get("requestId", ""),
        raw=raw, shape=shape, http=response.status,
    )  # fmt: skip


def in_grpc_web(address: str, ask: Ask, headers: Headers) -> Told:
    """As a page does it, by HTTP/1.1."""
    packed = ask.request.SerializeToString()
    frame = struct.pack(">BI", 0, len(packed)) + packed
    sent = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **headers}
    with Http(address) as connection:
        response, told = connection.ask("POST", ask.route.path, frame, sent)
        made = message_class(ask.descriptor.output_type.full_name)
        answers: list[Message] = []
        trailers = {key.lower(): value for key, value in response.getheaders()}
        raw = told
        while len(answers) < ask.messages or not ask.route.streaming:
            head = response.read(5)
            if len(head) < 5:
                break
            kind, size = struct.unpack(">BI", head)
            content = response.read(size)
            raw += content.decode("utf-8", "replace")
            if kind & 0x80:
                trailers |= dict(line.split(":", 1) for line in content.decode().strip().split("\r\n") if ":" in line)
            else:
                answers.append(made.FromString(content))
    code = int(trailers.get("grpc-status", "0").strip())
    if code == 0 and response.status == 200:
        return Told(0, answers=tuple(answers), raw=raw)
    status = trailers.get("grpc-status-details-bin", "").strip()
    details = base64.b64decode(status + "=" * (-len(status) % 4))
    return _told(code, unquote(trailers.get("grpc-message", "").strip()), details, raw)


PROTOCOLS = (in_grpc, in_json, in_grpc_web)


class Http:
    """One HTTP/1.1 connection."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=LIMIT_S)

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, verb: str, path: str, body: bytes | None, headers: Headers) -> tuple[http.client.HTTPResponse, str]:
        """The response, and its head as text."""
        self._connection.request(verb, path, body, dict(headers))
        response = self._connection.getresponse()
        return response, f"{response.status} {response.reason} {response.getheaders()}"


def _first(answers: Any, number: int) -> Iterator[Any]:
    for count, one in enumerate(answers, 1):
        yield one
        if count >= number:
            return


def _events(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What a reader of server-sent events gets."""
    while line := response.readline():
        if line.startswith(b"data:"):
            yield line.removeprefix(b"data:").strip()


@dataclass
class _Details:
    reason: str = ""
    domain: str = ""
    request_id: str = ""
    kinds: list[str] = field(default_factory=list)


def _told(code: int, message: str, status: bytes, raw: str) -> Told:
    found = _Details()
    parsed = status_pb2.Status.FromString(status)
    for packed in parsed.details:
        info, asked = error_details_pb2.ErrorInfo(), error_details_pb2.RequestInfo()
        found.kinds.append(packed.type_url.rpartition(".")[2])
        if packed.Unpack(info):
            found.reason, found.domain = info.reason, info.domain
        elif packed.Unpack(asked):
            found.request_id = asked.request_id
    lacks = [kind for kind in ("ErrorInfo", "RequestInfo") if kind not in found.kinds]
    shape = f"lacks {lacks}" if lacks else "" if parsed.code == code and parsed.message == message else "has two statuses"
    return Told(code, found.reason, found.domain, message, found.request_id, raw=raw, shape=shape)
