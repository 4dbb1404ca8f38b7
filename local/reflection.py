"""Calls by reflection: the server describes its methods, so no stubs are needed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from citybrain.local.calling import PLAIN, channel
from citybrain.mesh.settings.values import Tls


class CallError(Exception):
    """A call could not be made or was refused; the message is for people."""


# Message classes must not outlive their pool, so pools are kept as long as the process lives. There are few.
_KEPT: list[DescriptorPool] = []


class Remote:
    """The services behind one gateway or process."""

    def __init__(self, address: str, token: str, tls: Tls = PLAIN) -> None:
        """`token`: goes with every call. `tls`: the files with which to call a process of the mesh."""
        self._address = address
        self._channel = channel(address, token, tls=tls)
        self._database = ProtoReflectionDescriptorDatabase(self._channel)
        # Filled completely before it is used: a pool that asked the network during parsing has crashed the parser.
        self._pool = DescriptorPool()
        self._added: set[str] = set()
        self._found: list[FileDescriptorProto] = []
        _KEPT.append(self._pool)

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def services(self) -> list[str]:
        """Full names of the services that reflection shows."""
        with self._asked():
            return sorted(self._database.get_services())

    def method(self, path: str) -> MethodDescriptor:
        """The method of a path: `health/ListAmbulances`, or with the service's full name. CallError lists what there is."""
        service, _, method = path.partition("/")
        known = self.services()
        matching = [name for name in known if service in (name, name.split(".")[1] if "." in name else name)]
        if not matching:
            short = ", ".join(name.split(".")[1] for name in known if name.startswith("citybrain."))
            raise CallError(f"there is no service {service}; there are: {short}")
        with self._asked():
            self._add(self._database.FindFileContainingSymbol(matching[0]))
            descriptor: ServiceDescriptor = self._pool.FindServiceByName(matching[0])
            if method not in descriptor.methods_by_name:
                has = ", ".join(descriptor.methods_by_name)
                raise CallError(f"{service} has no method {method or '(none given)'}; it has: {has}")
            found: MethodDescriptor = descriptor.methods_by_name[method]
            if found.server_streaming:
                # A stream may carry the events of any service.
                self._add_services(known)
        return found

    def files(self) -> list[FileDescriptorProto]:
        """The files of all services and events, each after those it imports. CallError: nobody answers."""
        known = self.services()
        with self._asked():
            self._add_services(known)
        return list(self._found)

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        """CallError says why reflection does not answer."""
        try:
            yield
        except grpc.RpcError as error:
            raise CallError(explain(self._address, error)) from None
        except KeyError as missing:
            # It is asked for its services first. If it is started anew meanwhile, it may know them no more, or not yet.
            raise CallError(f"{self._address} names {missing.args[0]}, and has no contract for it: ask again") from None

    def _add_services(self, known: list[str]) -> None:
        for name in known:
            file = self._database.FindFileContainingSymbol(name)
            self._add(file)
            events = file.name.rpartition("/")[0] + "/events.proto"
            if name.startswith("citybrain.") and events not in self._added:
                # A service without events of its own has no such file.
                with contextlib.suppress(KeyError):
                    self._add(self._database.FindFileByName(events))

    def _add(self, file: FileDescriptorProto) -> None:
        if file.name not in self._added:
            self._added.add(file.name)
            for dependency in file.dependency:
                self._add(self._database.FindFileByName(dependency))
            self._pool.Add(file)
            self._found.append(file)

    def call(self, path: str, body: str, *, timeout_s: float, metadata: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
        """Calls a method, and yields the answers as JSON objects: one, or those of a stream."""
        method = self.method(path)
        request_class = message_factory.GetMessageClass(method.input_type)
        response_class = message_factory.GetMessageClass(method.output_type)
        try:
            # The parser would take e.g. an empty list for an empty request.
            if not (body or "{}").lstrip().startswith("{"):
                raise json_format.ParseError("it must be a JSON object, {…}")
            request = json_format.Parse(body or "{}", request_class(), descriptor_pool=self._pool)
        except json_format.ParseError as error:
            raise CallError(f"the request does not fit {method.input_type.name}: {' '.join(str(error).split())}") from None
        target = f"/{method.containing_service.full_name}/{method.name}"
        make = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        stub: Any = make(
            target, request_serializer=request_class.SerializeToString, response_deserializer=response_class.FromString
        )
        try:
            answer = stub(request, timeout=None if method.server_streaming else timeout_s, metadata=metadata)
            for response in answer if method.server_streaming else [answer]:
                yield json_format.MessageToDict(response, always_print_fields_with_no_presence=True, descriptor_pool=self._pool)
        except grpc.RpcError as error:
            raise CallError(explain(self._address, error)) from None


def explain(address: str, error: Any) -> str:
    """A failed call, as text for people: status, message, and each wrong field on a line of its own."""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return _unreachable(address, error)
    lines = [f"{error.code().name}: {error.details()}"]
    status = rpc_status.from_call(error)
    for packed in status.details if status is not None else ():
        bad = error_details_pb2.BadRequest()
        if packed.Unpack(bad):
            lines = [f"{error.code().name}:"] + [f"  {v.field}: {v.description}" for v in bad.field_violations]
    return "\n".join(lines)


def _unreachable(address: str, error: Any) -> str:
    return f"nobody answers at {address} ({error.details()}): is `city up` running? --gateway gives another address"


def pretty(answer: dict[str, Any]) -> str:
    """An answer as indented JSON text."""
    return json.dumps(answer, ensure_ascii=False, indent=2)
