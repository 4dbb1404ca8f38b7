"""Server streams of the mesh, each read in a thread. The loop takes as many messages as the mesh names, or those there are.

A stream that breaks is opened again from its last resume token, under a new stream id: what the mesh says of the broken one
must not be taken for the new one, whose count starts at 0.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from citybrain.events.v1.event_pb2 import Event

_REOPEN_PAUSE_S = 0.1


class Batch(Protocol):
    """A message of any of these streams."""

    @property
    def events(self) -> Any:
        """Its events."""

    @property
    def resume_token(self) -> str:
        """The token to go on from."""


Open = Callable[[str, str], Any]
"""Opens the stream: (stream id, resume token) → an iterator of batches that can be cancelled."""


@dataclass(slots=True)
class _Opening:
    stream_id: str
    call: Any = None
    received: int = 0
    taken: int = 0
    waiting: deque[Batch] = field(default_factory=deque)


class Following:
    """One stream. `optional`: the run goes on without it if it cannot be opened."""

    def __init__(self, name: str, open_stream: Open, news: threading.Event, *, optional: bool = False) -> None:
        """`news` is set when something comes."""
        self.name = name
        self.optional = optional
        self.openings = 0
        self.failures = 0
        """How often in a row it was opened and brought nothing."""
        self._open = open_stream
        self._news = news
        self._token = ""
        self._condition = threading.Condition()
        self._current: _Opening | None = None
        self._left: deque[Batch] = deque()
        self._closed = threading.Event()
        self.error = ""
        self._thread = threading.Thread(target=self._run, name=f"follow-{name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        with self._condition:
            if self._current is not None and self._current.call is not None:
                self._current.call.cancel()
            self._condition.notify_all()
        self._thread.join(timeout=5)

    @property
    def stream_id(self) -> str:
        """The id of the open stream; empty while it is not open."""
        current = self._current
        return current.stream_id if current is not None else ""

    def take(self, stream_id: str, count: int, timeout_s: float) -> list[Event] | None:
        """The new events among the first `count` messages of an opening, with what was left of those before it.

        None where that opening has ended meanwhile, or where they did not come in time: ask the mesh again.
        """
        with self._condition:
            self._condition.wait_for(
                lambda: self._current is None or self._current.stream_id != stream_id or self._current.received >= count,
                timeout_s,
            )
            current = self._current
            if current is None or current.stream_id != stream_id or current.received < count:
                return None
            batches = list(self._left)
            self._left.clear()
            while current.taken < count:
                batches.append(current.waiting.popleft())
                current.taken += 1
            return [event for batch in batches for event in batch.events]

    def take_all(self) -> list[Event]:
        """The new events that have come by now."""
        with self._condition:
            batches = list(self._left)
            self._left.clear()
            if self._current is not None:
                batches += self._current.waiting
                self._current.taken += len(self._current.waiting)
                self._current.waiting.clear()
            return [event for batch in batches for event in batch.events]

    def _run(self) -> None:
        while not self._closed.is_set():
            self.openings += 1
            suffix = "" if self.openings == 1 else f"~{self.openings}"
            opening = _Opening(self.name + suffix)
            try:
                call = self._open(opening.stream_id, self._token)
                with self._condition:
                    opening.call = call
                    self._current = opening
                    if self._closed.is_set():
                        call.cancel()
                for batch in call:
                    with self._condition:
                        self._token = batch.resume_token
                        opening.waiting.append(batch)
                        opening.received += 1
                        self._condition.notify_all()
                    self._news.set()
            except grpc.RpcError as error:
                self.error = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else str(error)
            with self._condition:
                self.failures = 0 if opening.received else self.failures + 1
                # The token names what came before the break: it is not sent again.
                self._left.extend(opening.waiting)
                self._current = None
                self._condition.notify_all()
            self._news.set()
            self._closed.wait(_REOPEN_PAUSE_S)
