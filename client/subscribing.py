"""A subscription: each event once and in the order of its stream, whatever breaks on the way."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.events.v1.event_pb2 import Event
from google.protobuf.message import Message

from citybrain.client.checkpoints import Checkpoint, Place
from citybrain.client.contracts import message_of
from citybrain.client.problems import problem_of
from citybrain.client.retrying import passes, pauses

_REMEMBERED = 10_000
# A stream that breaks off: something on the way went away.
_BROKEN = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED})

_log = logging.getLogger("citybrain.client")
Open = Callable[[pb.SubscribeRequest], Any]


@dataclass(frozen=True, slots=True)
class Heard:
    """An event. `message`: what happened; None: this client has no contract of its type, see `event.data`."""

    event: Event
    message: Message | None


class Subscription:
    """Iterate over it, once. An event counts as dealt with when the next one is asked for.

    So if your code raises an error, or leaves the loop, the last event comes again when you subscribe from the same checkpoint.
    """

    def __init__(self, open_stream: Open, request: pb.SubscribeRequest, checkpoint: Checkpoint | None) -> None:
        self._open = open_stream
        self._request = request
        self._checkpoint = checkpoint
        self._place = checkpoint.load() if checkpoint is not None else Place()
        self._closed = threading.Event()
        self._call: Any = None
        # The ids of the last events: over some engines the log has an event twice after a crash of its writer.
        self._last: OrderedDict[str, None] = OrderedDict.fromkeys(self._place.done)

    @property
    def place(self) -> Place:
        """How far it is: everything before is dealt with."""
        return self._place

    def close(self) -> None:
        """Ends it, from any thread."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Heard]:
        """RpcError: the city refuses the subscription, and waiting does not help; `problem_of` says why."""
        tries = pauses()
        try:
            while not self._closed.is_set():
                before = self._place.token
                try:
                    yield from self._one_stream()
                    return
                except grpc.RpcError as error:
                    if self._closed.is_set():
                        return
                    problem = problem_of(error)
                    # The city ends a stream with its token; the next one may have another.
                    ended = problem.reason == "TOKEN_ENDED"
                    if not (ended or passes(error) or problem.code in _BROKEN):
                        raise
                    if self._place.token != before:
                        tries = pauses()
                    pause = max(next(tries), problem.retry_after_s or 0.0)
                    _log.warning(
                        "the subscription broke off (%s: %s); again in %.1f s", problem.code.name, problem.message, pause
                    )
                    self._closed.wait(pause)
        finally:
            self._closed.set()

    def _one_stream(self) -> Iterator[Heard]:
        request = pb.SubscribeRequest()
        request.CopyFrom(self._request)
        if self._place.token:
            request.resume_token = self._place.token
        self._call = self._open(request)
        if self._closed.is_set():
            # Whoever closed it meanwhile saw no call to end.
            self._call.cancel()
        for response in self._call:
            done = list(self._place.done)
            for event in response.events:
                if event.id in self._last:
                    continue
                yield Heard(event, message_of(event.data))
                self._remember(event.id)
                done.append(event.id)
                self._keep(Place(self._place.token, tuple(done)))
            self._keep(Place(response.resume_token))

    def _remember(self, event_id: str) -> None:
        self._last[event_id] = None
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)

    def _keep(self, place: Place) -> None:
        self._place = place
        if self._checkpoint is not None:
            self._checkpoint.save(place)
