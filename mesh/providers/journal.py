"""A journal: what many calls write down side by side, each before it is answered, and that nobody decides on.

Events of calls that come at the same time share an append: it begins when nobody comes any more, and while it is under way the
next ones gather. So a call pays for its part of an append only, and no two wait for each other's streams. Each process writes
streams of its own: where one is found to be written to by somebody else, or has become long, another is begun.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from opentelemetry import trace

from citybrain.event_store.store import Committed, NewEvent
from citybrain.mesh.access.rules import require_district
from citybrain.mesh.errors import Contended
from citybrain.mesh.events import classification_of, type_name
from citybrain.mesh.personal.vault import lay_down
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.context import current
from citybrain.mesh.runtime.exercises import stream_in
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.nameko import DependencyProvider
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.runtime.validation import check_event
from citybrain.observability import names
from citybrain.observability.tracing import current_traceparent

MOST_EVENTS = 100
"""So many share one append at most."""
_MOST_BYTES = 512 * 1024
_LONGEST = 10_000
_ATTEMPTS = 3
# An append begins when nobody has come for so many turns of the loop: a call that has been taken in is here within these. In an
# idle loop they pass in a tenth of a millisecond.
_TURNS = 8
# At the latest it begins after so long.
_GATHERS_S = 0.01


@dataclass(slots=True)
class _Page:
    """The stream that is written now, and who waits for the next append."""

    stream: str = ""
    version: int = 0
    waiting: deque[tuple[NewEvent, asyncio.Future[None]]] = field(default_factory=deque)
    writing: asyncio.Task[None] | None = None


class Journal(DependencyProvider):  # type: ignore[misc]
    """Events that are written down and not decided on: `asked = Journal("asked")`, then `self.asked.write(event)`.

    A call that is sent again writes again: rather twice than not at all. No state is made of them; a view reads them.
    """

    container: Container

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def setup(self) -> None:
        """Begins without a stream."""
        self._process: Process = self.container.process
        self._service = self.container.manifest.name
        self._numbers = self._process.metrics.of(self._service)
        # By the exercise that they are of.
        self._pages: dict[str, _Page] = {}

    def get_dependency(self, worker_ctx: Any) -> Journal:
        """The journal itself: it holds nothing of a call."""
        return self

    def write(self, message: Message) -> None:
        """Writes an event down; returns when it is durable. StoreError: it is not known to be."""
        call = current()
        check_event(message)
        district = getattr(message, "district_id", "")
        require_district(call.principal, district)
        kind = type_name(message)
        event = NewEvent(
            id=str(uuid.uuid4()),
            type=kind,
            data=b"",
            occurred_at=self._process.clock.now(),
            traceparent=current_traceparent(),
            correlation_id=call.correlation_id,
            causation_id=call.causation_id,
            actor=call.caller,
            district=district,
            classification=classification_of(kind),
        )
        if parts := lay_down(event, message):
            call.touched.persons |= set(parts)
            wait(self._process.vault.seal([(event, parts)]))
        wait(self._keep(event, call.exercise))
        self._numbers.appended(kind)
        trace.get_current_span().add_event(names.APPENDED, {names.EVENT_TYPE: kind, names.EVENT_ID: event.id})

    def _keep(self, event: NewEvent, exercise: str) -> asyncio.Future[None]:
        page = self._pages.setdefault(exercise, _Page())
        kept: asyncio.Future[None] = self._process.loop.create_future()
        page.waiting.append((event, kept))
        if page.writing is None:
            page.writing = self._process.loop.create_task(self._write(page, exercise))
        return kept

    async def _write(self, page: _Page, exercise: str) -> None:
        """Writes until nobody waits. Whoever waits is told what became of their event."""
        while page.waiting:
            await _gathered(page)
            batch = _next(page.waiting)
            problem: Exception | None = None
            try:
                await self._append(page, [event for event, _ in batch], exercise)
            except Exception as error:
                # It may have been written all the same: what follows goes into another stream.
                page.stream, problem = "", error
            for _, kept in batch:
                # Who has gone meanwhile is not told.
                if kept.done():
                    continue
                if problem is None:
                    kept.set_result(None)
                else:
                    kept.set_exception(problem)
        page.writing = None

    async def _append(self, page: _Page, events: list[NewEvent], exercise: str) -> None:
        for _ in range(_ATTEMPTS):
            if not page.stream or page.version >= _LONGEST:
                name = f"{self._service}/{self._kind}-{uuid.uuid4().hex[:12]}"
                page.stream, page.version = stream_in(exercise, name), 0
            outcome = await self._process.store.append(page.stream, events, page.version)
            if isinstance(outcome, Committed):
                page.version = outcome.last
                return
            page.stream = ""
        raise Contended(f"{self._service}/{self._kind} cannot be written: retry with the same request id")


async def _gathered(page: _Page) -> None:
    """Waits as long as others come."""
    end = time.monotonic() + _GATHERS_S
    come = turns = 0
    while turns < _TURNS and time.monotonic() < end:
        turns = turns + 1 if len(page.waiting) == come else 0
        come = len(page.waiting)
        await asyncio.sleep(0)


def _next(waiting: deque[tuple[NewEvent, asyncio.Future[None]]]) -> list[tuple[NewEvent, asyncio.Future[None]]]:
    """Takes as many as one append may hold, one at least."""
    batch, size = [waiting.popleft()], 0
    size += len(batch[0][0].data)
    while waiting and len(batch) < MOST_EVENTS and size + len(waiting[0][0].data) <= _MOST_BYTES:
        size += len(waiting[0][0].data)
        batch.append(waiting.popleft())
    return batch
