"""One gRPC server per process, for the methods of all its services, with health and reflection."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_reflection.v1alpha import reflection

from citybrain.mesh.access.certificates import OwnCertificate
from citybrain.mesh.events import message_class
from citybrain.mesh.runtime.calls_here import MAX_MESSAGE_BYTES
from citybrain.mesh.runtime.described import Described
from citybrain.mesh.runtime.guard import Guard
from citybrain.mesh.runtime.refusing import Handler, readable, readable_requests, readable_stream, reader

if TYPE_CHECKING:
    from citybrain.mesh.operations.health_protocol import Health

# A header of a caller that is no UTF-8 is given on as bytes. That is no error here, and must not fill the log.
logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: not record.getMessage().startswith("Invalid encoding on"))

# Key: whether the caller streams, and whether the service does.
_KINDS: dict[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}

# Four times what the gateway lets through: it adds headers of its own.
_MAX_HEADER_BYTES = 64 * 1024


def find_method(service: str, method: str) -> MethodDescriptor:
    """The descriptor of a method. KeyError: the contract has no method of this name."""
    found = descriptor_pool.Default().FindServiceByName(service).methods_by_name
    if method not in found:
        raise KeyError(f"{service} has no method {method}; its contract has: {', '.join(sorted(found))}")
    return found[method]


def _made(method: MethodDescriptor, handler: Any) -> Any:
    """The handler that gRPC calls for a method."""
    return _KINDS[method.client_streaming, method.server_streaming](
        handler,
        request_deserializer=reader(method.input_type.full_name),
        response_serializer=message_class(method.output_type.full_name).SerializeToString,
    )


class GrpcServer:
    """Collects handlers while containers are set up, then serves them."""

    def __init__(
        self,
        guard: Guard,
        health: Health,
        contracts: Path | None = None,
        own: OwnCertificate | None = None,
    ) -> None:
        """`guard`: stands before every method but health checks. `contracts`: a descriptor set of services that answer
        elsewhere; reflection tells of them too. `own`: with it only connections of the mesh are taken, by TLS.
        """
        self._guard = guard
        self._own = own
        self._contracts = contracts
        self._handlers: dict[str, dict[str, Any]] = {}
        self._unlisted: set[str] = set()
        self._server: grpc.aio.Server | None = None
        self._probes: grpc.aio.Server | None = None
        self.serves = False
        """Whether calls are taken."""
        self.health = health
        self.port = 0
        # A port where only this process answers, for operators; `port` may be shared with other processes.
        self.own_port = 0

    @property
    def services(self) -> list[str]:
        """Full names of the services that have methods here."""
        return sorted(self._handlers)

    def add(self, service: str, method: str, handler: Handler, *, named: str = "mesh", listed: bool = True) -> None:
        """Adds a method. Its contract says whether it streams. `named`: the service as its manifest has it.

        `listed`: reflection shows its service, also outside.
        """
        if not listed:
            self._unlisted.add(service)
        descriptor = find_method(service, method)
        handler = handler if descriptor.client_streaming else readable(handler)
        made = _made(descriptor, self._guard.guarded(descriptor, handler, named))
        self._handlers.setdefault(service, {})[method] = made

    def handler(self, service: str, method: str) -> Any:
        """The handler that gRPC calls for a method, with the functions that pack and unpack its messages. KeyError: none."""
        return self._handlers[service][method]

    def has(self, service: str, method: str) -> bool:
        """Whether calls of a method are taken here now."""
        return self.serves and method in self._handlers.get(service, ())

    async def start(self, host: str, port: int, *, share_port: bool = False, probe_port: int = 0) -> int:
        """Serves everything that was added; returns the port. OSError when it is taken.

        `share_port`: other processes may listen there too. `probe_port`: there health checks are answered in plain text, and
        nothing else; 0: nowhere.
        """
        server = self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", int(share_port)),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                # Both the same, because gRPC refuses calls between the two limits at random.
                ("grpc.max_metadata_size", _MAX_HEADER_BYTES),
                ("grpc.absolute_max_metadata_size", _MAX_HEADER_BYTES),
            ]
        )
        for service, methods in self._handlers.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        server.add_generic_rpc_handlers((self._health_handlers(),))
        server.add_generic_rpc_handlers((self._reflection_handlers(),))
        self.port = self._listen(server, host, port)
        self.own_port = self._listen(server, "127.0.0.1", 0)
        if probe_port:
            self._probes = probes = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
            probes.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(HEALTH, {"Check": self._check()}),))
            self._listen(probes, host, probe_port, plain=True)
            await probes.start()
        await server.start()
        self.serves = True
        return self.port

    def _listen(self, server: grpc.aio.Server, host: str, port: int, *, plain: bool = False) -> int:
        try:
            if self._own is None or plain:
                return server.add_insecure_port(f"{host}:{port}")
            return server.add_secure_port(f"{host}:{port}", self._own.server_credentials())
        except RuntimeError as error:
            raise OSError(f"port {port} on {host} is taken: stop what uses it, or choose another port") from error

    def _check(self) -> Any:
        return _made(find_method(HEALTH, "Check"), readable(self.health.Check))

    def _health_handlers(self) -> grpc.GenericRpcHandler[Any, Any]:
        """Made as in `add`, so that unreadable requests are refused in the same form."""
        methods = {
            "Check": self._check(),
            "List": _made(find_method(HEALTH, "List"), readable(self.health.List)),
            "Watch": _made(find_method(HEALTH, "Watch"), readable_stream(self.health.Watch)),
        }
        return grpc.method_handlers_generic_handler(HEALTH, methods)

    def _reflection_handlers(self) -> grpc.GenericRpcHandler[Any, Any]:
        listed = [service for service in self.services if service not in self._unlisted]
        asked = Described([*listed, HEALTH, reflection.SERVICE_NAME], self.services, self._contracts)
        method = find_method(reflection.SERVICE_NAME, "ServerReflectionInfo")
        handler = _made(method, self._guard.known_callers(readable_requests(asked.ServerReflectionInfo)))
        return grpc.method_handlers_generic_handler(reflection.SERVICE_NAME, {method.name: handler})

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls and waits for those that run, at most `grace_s` seconds."""
        self.serves = False
        if self._server is not None:
            await self._server.stop(grace_s)
        # Until now it has answered that nothing is ready any more.
        if self._probes is not None:
            await self._probes.stop(0)
