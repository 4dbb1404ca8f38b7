"""Neighbours made from their contracts: they answer what the test says, and check requests as the real services do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from typing_extensions import override

from citybrain.mesh.access.own_tokens import OwnTokens
from citybrain.mesh.access.principal import Principal, principal_of
from citybrain.mesh.access.verifying import unverified
from citybrain.mesh.errors import DeadlinePassed, status_of
from citybrain.mesh.events import message_class, type_name
from citybrain.mesh.runtime import context as ctx
from citybrain.mesh.runtime.outgoing import Outgoing
from citybrain.mesh.runtime.server import find_method
from citybrain.mesh.runtime.validation import check
from citybrain.mesh.testing.errors import Misused
from citybrain.observability.tracing import Tracing

Answer = Message | Exception | Callable[[Any], Message]
"""A response, an error for the caller, or a function that makes a response from the request."""


@dataclass(slots=True, frozen=True)
class Asked:
    """One call that reached a fake."""

    method: str
    request: Any
    # The service that asked, and for whom.
    principal: Principal
    request_id: str

    @property
    def caller(self) -> str:
        """The service that asked: `service:` and its name."""
        return self.principal.caller


class Fake:
    """See `fake`."""

    def __init__(self, service: str, answers: dict[str, Answer]) -> None:
        try:
            descriptor_pool.Default().FindServiceByName(service)
        except KeyError:
            raise Misused(f"no contract that was imported has a {service}: check the name, or import its _pb2 module") from None
        self.service = service
        self.asked: list[Asked] = []
        """Every call whose request kept the rules of its contract, in order."""
        self._answers: dict[str, Answer] = {}
        self.answer(**answers)

    def answer(self, **answers: Answer) -> None:
        """Sets the answers of some methods from now on."""
        for method, answer in answers.items():
            self._fits(method, answer)
        self._answers.update(answers)

    def requests(self, method: str) -> list[Any]:
        """The requests that a method got, in order."""
        self._contract(method)
        return [asked.request for asked in self.asked if asked.method == method]

    async def call(self, method: str, request: Message, metadata: Iterable[tuple[str, str]]) -> Message:
        """Answers a call as the real service would; raises the error that its caller would get."""
        contract = self._contract(method)
        if type_name(request) != contract.input_type.full_name:
            raise Misused(f"{self.service}/{method} takes a {contract.input_type.full_name}, not a {type_name(request)}")
        request = type(request).FromString(request.SerializeToString())
        check(request)
        metadata = list(metadata)
        _, claims = unverified(ctx.header(metadata, ctx.AUTHORIZATION).removeprefix("Bearer "))
        self.asked.append(Asked(method, request, principal_of(claims), ctx.header(metadata, ctx.REQUEST_ID)))
        if method not in self._answers:
            raise Misused(f"{self.service}/{method} was asked and has no answer: fake({self.service!r}, {method}=…)")
        answer = self._answers[method]
        if callable(answer):
            # In a thread: only its caller waits for a slow neighbour, not the loop.
            answer = await asyncio.get_running_loop().run_in_executor(None, answer, request)
            self._fits(method, answer)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Message)
        return message_class(type_name(answer)).FromString(answer.SerializeToString())

    def _fits(self, method: str, answer: object) -> None:
        contract = self._contract(method)
        if isinstance(answer, Message):
            if type_name(answer) != contract.output_type.full_name:
                raise Misused(
                    f"{self.service}/{method} answers with a {contract.output_type.full_name}, not a {type_name(answer)}"
                )
        elif not isinstance(answer, Exception) and (isinstance(answer, type) or not callable(answer)):
            raise Misused(f"{self.service}/{method}: {answer!r} is no answer: give a response, an error, or a function")

    def _contract(self, method: str) -> Any:
        try:
            found = find_method(self.service, method)
        except KeyError as error:
            raise Misused(error.args[0]) from None
        if found.client_streaming or found.server_streaming:
            raise Misused(f"{self.service}/{method} is a stream, and services call unary methods only: nobody would ask it")
        return found


def fake(service: str, **answers: Answer) -> Fake:
    """A stand-in for another service: `fake("citybrain.traffic.v1.TrafficService", GetSignal=response)`.

    Each method answers with a response, an error, or what a function makes of the request. Names, types and the rules of the
    contract are checked. `asked` and `requests(method)` have the calls that it got.
    """
    return Fake(service, answers)


class Neighbours(Outgoing):
    """Calls to other services that end at fakes: retries, deadlines, request ids and spans are the real ones."""

    def __init__(self, tracing: Tracing, tokens: OwnTokens, fakes: Iterable[Fake]) -> None:
        super().__init__(tracing, tokens)
        self._fakes = {fake.service: fake for fake in fakes}

    @override
    def _channel(self, service: str) -> Any:
        if service not in self._fakes:
            raise Misused(f"{service} was called, and the test has no neighbour of that name: give fake({service!r}, …)")
        return _Wire(self._fakes[service])


class _Wire:
    """A channel to a fake."""

    def __init__(self, neighbour: Fake) -> None:
        self._neighbour = neighbour

    def unary_unary(self, path: str, **_serializers: object) -> Callable[..., Any]:
        method = path.rpartition("/")[2]

        async def call(request: Message, timeout: float, metadata: Iterable[tuple[str, str]]) -> Message:
            try:
                return await asyncio.wait_for(self._neighbour.call(method, request, metadata), timeout)
            except Misused:
                raise
            except TimeoutError:
                told: Exception = DeadlinePassed("Deadline Exceeded")
            except Exception as error:
                told = error
            status = status_of(told)
            code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), status.message, None)

        return call
