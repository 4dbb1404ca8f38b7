"""The methods that can be called from outside, as the manifests and their contracts say.

A method without a scope is not open, nor is any method of a service without a manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from citybrain.options.v1 import options_pb2
from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions, ServiceDescriptorProto

from citybrain.gateway.errors import GatewayError
from citybrain.mesh.manifest import Manifest

READING = ".read"
"""How the scopes of methods end that change nothing."""
CLOCK = "citybrain.clock.v1.ClockService"
HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")


@dataclass(frozen=True, slots=True)
class Route:
    """One method that is open to callers who hold its scope."""

    # Name of the service's manifest; for the clock: clock.
    service: str
    # package.Service
    grpc: str
    method: str
    scope: str
    # The answer is a stream, without a time limit.
    streaming: bool
    # The JSON forms, e.g. ("POST", "/v1/incidents", "*"): verb, path, and the field that is the body; empty: no JSON form.
    http: tuple[tuple[str, str, str], ...]
    # Full name of the request's message.
    request: str
    # A call changes nothing, or nothing more when it comes again, as its contract says: it may be sent twice.
    repeatable: bool

    @property
    def path(self) -> str:
        """The gRPC path, which rules use in every protocol."""
        return f"/{self.grpc}/{self.method}"


def parse_descriptors(descriptors: bytes) -> FileDescriptorSet:
    """The descriptor set. GatewayError: it cannot be read, or lacks the messages of error details."""
    try:
        parsed = FileDescriptorSet.FromString(descriptors)
    except Exception as error:
        raise GatewayError(f"the descriptor set cannot be read ({error}): build it again with `make stubs`") from None
    if "google/rpc/error_details.proto" not in {file.name for file in parsed.file}:
        raise GatewayError("the descriptor set lacks google/rpc/error_details.proto, so JSON errors would lose their details")
    return parsed


def routes(manifests: Iterable[Manifest], descriptors: bytes, *, driven: bool = False) -> list[Route]:
    """Every open method, in the order of the manifests and contracts. `driven`: those of the clock too."""
    services = _services(parse_descriptors(descriptors))
    wanted = [(manifest.name, manifest.grpc) for manifest in manifests]
    if driven:
        wanted.append(("clock", CLOCK))
    found: list[Route] = []
    for name, grpc in wanted:
        if grpc not in services:
            raise GatewayError(f"service {name}: {grpc} is not in the descriptor set: build it again with `make stubs`")
        found.extend(_open(name, grpc, services[grpc]))
    return found


def open_services(found: Sequence[Route]) -> list[str]:
    """The gRPC services that have at least one open method, each once."""
    return list(dict.fromkeys(route.grpc for route in found))


def _services(parsed: FileDescriptorSet) -> dict[str, ServiceDescriptorProto]:
    return {f"{file.package}.{service.name}": service for file in parsed.file for service in file.service}


def _open(name: str, grpc: str, service: ServiceDescriptorProto) -> Iterable[Route]:
    for method in service.method:
        scope: str = method.options.Extensions[options_pb2.scope]  # type: ignore[index]
        if method.client_streaming or not scope:
            continue
        http = _http(method.options.Extensions[annotations_pb2.http])
        request = method.input_type.removeprefix(".")
        level = method.options.idempotency_level
        repeatable = scope.endswith(READING) or level != MethodOptions.IDEMPOTENCY_UNKNOWN
        yield Route(name, grpc, method.name, scope, method.server_streaming, http, request, repeatable)


def _http(rule: HttpRule) -> tuple[tuple[str, str, str], ...]:
    found: list[tuple[str, str, str]] = []
    for one in (rule, *rule.additional_bindings):
        kind = one.WhichOneof("pattern")
        if kind == "custom":
            found.append((one.custom.kind, one.custom.path, one.body))
        elif kind:
            found.append((kind.upper(), getattr(one, kind), one.body))
    return tuple(found)
