"""Stand-ins for the services that one in development calls, made from their contracts. Each call to one is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import yaml
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from typing_extensions import override

from citybrain.local.problems import Problem

ANSWERS = "fakes.yaml"
"""Beside the manifest of the service in development: answers of its neighbours, `package.Service/Method: {…}` as in JSON."""

_HEALTH = "/grpc.health.v1.Health/Check"
_WORKERS = 8


class FakeNeighbours(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """A server in this process that answers for each of `services` what the file of answers says, and else an empty message."""

    def __init__(self, contracts: bytes, services: Sequence[str], answers: Path, say: Callable[[str], None]) -> None:
        self._methods: dict[str, MethodDescriptor] = {}
        self._answers, self._say = answers, say
        pool = DescriptorPool()
        for file in FileDescriptorSet.FromString(contracts).file:
            pool.Add(file)
        self._pool = pool
        for name in services:
            for method in pool.FindServiceByName(name).methods:
                self._methods[f"/{name}/{method.name}"] = method
        self._server = grpc.server(ThreadPoolExecutor(_WORKERS), handlers=[self])
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.peers = dict.fromkeys(services, f"127.0.0.1:{port}")
        """The address of each service."""
        self.answers()

    def answers(self) -> Mapping[str, Any]:
        """What the file says now. Problem: it names a method that there is not, or an answer that does not fit."""
        if not self._answers.is_file():
            return {}
        try:
            said = yaml.safe_load(self._answers.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise Problem(f"{self._answers} cannot be read: {' '.join(str(error).split())}") from None
        if not isinstance(said, dict):
            raise Problem(f"{self._answers}: write `package.Service/Method: {{…}}`, one for each answer")
        for name, answer in said.items():
            method = self._methods.get(f"/{name}")
            if method is None:
                raise Problem(f"{self._answers}: no neighbour has {name}: write package.Service/Method")
            try:
                json_format.ParseDict(answer, message_factory.GetMessageClass(method.output_type)(), descriptor_pool=self._pool)
            except json_format.ParseError as error:
                raise Problem(f"{self._answers}: {name}: {' '.join(str(error).split())}") from None
        return said

    @override
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method; None: no neighbour has it."""
        path = str(handler_call_details.method)
        if path == _HEALTH:
            ready = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
            return grpc.unary_unary_rpc_method_handler(lambda _, __: ready.SerializeToString())
        method = self._methods.get(path)
        if method is None or method.client_streaming or method.server_streaming:
            return None
        request_class = message_factory.GetMessageClass(method.input_type)
        response_class = message_factory.GetMessageClass(method.output_type)

        def answered(request: Any, context: grpc.ServicerContext) -> bytes:
            name = path.removeprefix("/")
            try:
                given = self.answers().get(name)
            except Problem as problem:
                context.abort(grpc.StatusCode.UNAVAILABLE, str(problem))
            asked = json_format.MessageToJson(request, indent=None, ensure_ascii=False, descriptor_pool=self._pool)
            came = "an empty answer" if given is None else f"the answer of {ANSWERS}"
            self._say(f"{name} was asked {asked}, and gave {came}")
            answer = json_format.ParseDict(given or {}, response_class(), descriptor_pool=self._pool)
            return bytes(answer.SerializeToString())

        return grpc.unary_unary_rpc_method_handler(answered, request_deserializer=request_class.FromString)

    def __enter__(self) -> FakeNeighbours:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.stop(None).wait()
