"""The simulation's connection to the mesh: every call goes through the gateway, with a request id made from the seed.

A call that finds nobody is made again under the same request id until somebody answers; the mesh answers it once. A mesh that
was started again knows no city time until it is told, so the time is told again before the call is repeated.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

import grpc
from citybrain.clock.v1 import clock_pb2 as clock
from citybrain.events.v1.event_pb2 import Event
from google.protobuf.message import Message

from citybrain.simulation.errors import GatewayLost, SimulationError
from citybrain.simulation.following import Following
from citybrain.simulation.moments import city_time
from citybrain.simulation.record import Record

R = TypeVar("R", bound=Message)

WAIT_S = 60.0
_CALL_S = 20.0
_PAUSE_S = 0.2
_TAKE_S = 2.0
_OPTIONAL_TRIES = 3
# How often in a row a stream may fail. While the mesh is restarted it fails for some seconds.
_LOST_TRIES = 600
# This side never cancels a call: CANCELLED means that the other side went away in the middle of it.
_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
# A gateway that comes back is found at once, not after the usual back-off of gRPC.
_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]


class Refused(SimulationError):
    """The mesh refused a call."""

    def __init__(self, method: str, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{method}: {code.name}: {details}")
        self.code = code


class Gateway:
    """Calls and streams over one address. Use as a context manager; one thread makes the calls."""

    def __init__(self, address: str, token: str, seed: int, record: Record, wait_s: float = WAIT_S) -> None:
        """`token`: goes with every call; empty: none does."""
        self.address = address
        self._token = [("authorization", f"Bearer {token}")] if token else []
        self._seed = seed
        self._record = record
        self._wait_s = wait_s
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._told: clock.AdvanceRequest | None = None
        self._pause = threading.Event()
        self._news = threading.Event()
        self._openings = 0
        self._absent: set[str] = set()
        self.streams: list[Following] = []
        self.calls = 0
        self.retries = 0
        self.position = 0
        """Position of the last event in the mesh's log at the last rest."""
        self.dropped = 0
        """How many optional calls were given up because their service was away."""

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self.streams:
            stream.close()
        self._channel.close()

    @property
    def reopened(self) -> int:
        """How often a stream had to be opened again."""
        return sum(stream.openings - 1 for stream in self.streams)

    def call(self, method: str, request: Message, answer: type[R], name: str, *, traceparent: str = "") -> R:
        """One call. `method`: full service name and method; `name`: what it is, unique in the run.

        Raises Refused with the mesh's answer, or GatewayLost where there was none for a minute.
        """
        response = self._call(method, request, answer, name, traceparent, optional=False)
        if response is None:
            raise AssertionError("only optional calls are given up")
        return response

    def call_if_there(self, method: str, request: Message, answer: type[R], name: str, *, traceparent: str = "") -> R | None:
        """As `call`, but None where the mesh answers and this service is away."""
        return self._call(method, request, answer, name, traceparent, optional=True)

    def advance(self, second: int) -> None:
        """Moves city time."""
        self._told = clock.AdvanceRequest(time=city_time(second))
        self._call("citybrain.clock.v1.ClockService/Advance", self._told, clock.AdvanceResponse, f"advance/{second}", "")

    def follow(
        self, name: str, method: str, request: Callable[[str], Message], answer: type[Message], *, optional: bool = False
    ) -> None:
        """Opens a stream and keeps it open. `request` makes the request from the last resume token; `answer` is the class of
        its messages, which carry `events` and a `resume_token`. `optional`: the city goes on where nobody serves it."""

        def open_stream(stream_id: str, resume_token: str) -> object:
            sent = request(resume_token)
            opened = self._channel.unary_stream(
                f"/{method}", request_serializer=type(sent).SerializeToString, response_deserializer=answer.FromString
            )
            # While the gateway is away the opening waits, and does not fail again and again.
            metadata = (*self._token, ("x-stream-id", stream_id))
            return opened(sent, metadata=metadata, wait_for_ready=True)

        stream = Following(name, open_stream, self._news, optional=optional)
        self.streams.append(stream)
        stream.start()

    def rest(self) -> dict[str, list[Event]]:
        """Waits until the mesh has nothing left to do; returns the new events of each stream, read up to where it says."""
        deadline = time.monotonic() + self._wait_s
        heard: dict[str, list[Event]] = {stream.name: [] for stream in self.streams}
        while True:
            self._tell_time_to_a_new_mesh()
            answer = self._call("citybrain.clock.v1.ClockService/Rest", clock.RestRequest(), clock.RestResponse, "", "")
            self.position = answer.position if answer is not None else self.position
            # All streams are read even if one fails: what the others brought is kept.
            if answer is not None and all([self._take(stream, answer.sent, heard[stream.name]) for stream in self.streams]):
                self._note(heard)
                return heard
            if time.monotonic() > deadline:
                broken = ", ".join(f"{s.name} ({s.error or 'not open'})" for s in self.streams if not s.stream_id) or "a stream"
                raise GatewayLost(f"{self.address}: no answer on {broken} for {self._wait_s:g} s: is the mesh running?")
            self._pause.wait(_PAUSE_S / 10)

    def come(self, until: float) -> dict[str, list[Event]]:
        """The new events of each stream that have come by now; where there are none, waits for some until a moment of the
        machine's monotonic clock. For a mesh that cannot say when it is at rest."""
        self._news.clear()
        heard = {stream.name: stream.take_all() for stream in self.streams}
        if not any(heard.values()) and self._news.wait(max(0.0, until - time.monotonic())):
            heard = {stream.name: stream.take_all() for stream in self.streams}
        for stream in self.streams:
            if not stream.optional and stream.failures >= _LOST_TRIES:
                raise GatewayLost(f"{self.address}: {stream.name} cannot be followed: {stream.error}")
        self._note(heard)
        return heard

    def _note(self, heard: Mapping[str, Sequence[Event]]) -> None:
        for name, events in heard.items():
            for event in events:
                self._record.heard(name, event)

    def _take(self, stream: Following, sent: Mapping[str, int], heard: list[Event]) -> bool:
        stream_id = stream.stream_id
        if stream_id not in sent:
            # Not open yet, or its service is away. Only an optional stream may stay closed.
            return stream.optional and stream.failures >= _OPTIONAL_TRIES
        events = stream.take(stream_id, sent[stream_id], _TAKE_S)
        heard += events or []
        return events is not None

    def _tell_time_to_a_new_mesh(self) -> None:
        """Looks whether a stream was opened again: then the mesh may have been restarted."""
        openings = sum(stream.openings for stream in self.streams)
        if openings != self._openings and self._told is not None:
            self._call("citybrain.clock.v1.ClockService/Advance", self._told, clock.AdvanceResponse, "", "")
        self._openings = openings

    def _call(
        self, method: str, request: Message, answer: type[R], name: str, traceparent: str, *, optional: bool = False
    ) -> R | None:
        # Names in a network may be in any script; headers may not.
        request_id = f"simulation-{self._seed}-{quote(name, safe='/:')}"
        metadata = list(self._token)
        metadata += [("x-request-id", request_id)] if name else []
        metadata += [("traceparent", traceparent)] if traceparent else []
        deadline = time.monotonic() + self._wait_s
        service = method.split("/")[0]
        alone = 0
        self.calls += 1
        while True:
            try:
                response = self._invoke(method, request, answer, metadata, _CALL_S)
            except grpc.RpcError as error:
                code, details = _status(error)
            else:
                self._absent.discard(service)
                if name:
                    at = self._told.time.ToJsonString() if self._told is not None else ""
                    self._record.acknowledged(method, request_id, response, at)
                return response
            if optional and (code is grpc.StatusCode.UNIMPLEMENTED or (code in _AGAIN and service in self._absent)):
                self.dropped += 1
                return None
            if code not in _AGAIN:
                raise Refused(method, code, details)
            if time.monotonic() > deadline:
                raise GatewayLost(
                    f"{self.address}: {method} was not answered for {self._wait_s:g} s ({code.name}): is the mesh running?"
                )
            self.retries += 1
            self._pause.wait(_PAUSE_S)
            alone = alone + 1 if self._clock_answers() else 0
            if optional and alone >= _OPTIONAL_TRIES:
                self._absent.add(service)

    def _clock_answers(self) -> bool:
        """Sends the time once more. False where nobody answers."""
        if self._told is None:
            return False
        try:
            self._invoke(
                "citybrain.clock.v1.ClockService/Advance", self._told, clock.AdvanceResponse, list(self._token), _CALL_S
            )
        except grpc.RpcError:
            return False
        return True

    def _invoke(self, method: str, request: Message, answer: type[R], metadata: list[tuple[str, str]], timeout_s: float) -> R:
        invoke = self._channel.unary_unary(
            f"/{method}", request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        response: R = invoke(request, timeout=timeout_s, metadata=tuple(metadata))
        return response


def _status(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, grpc.Call):
        return error.code(), error.details() or ""
    return grpc.StatusCode.UNKNOWN, str(error)
