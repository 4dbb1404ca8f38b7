"""What travels with a call: its caller, request id, deadline and correlation id.

eventlet does not carry context variables, so the kit runs every worker in a copy of the context in which it was admitted.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import baggage, context, trace

from citybrain.mesh.access.principal import NOBODY, Principal
from citybrain.mesh.access.redaction import Touched
from citybrain.mesh.errors import Cancelled, DeadlinePassed, Refused, ServiceError
from citybrain.mesh.ids import in_header
from citybrain.mesh.runtime import exercises
from citybrain.observability import names

REQUEST_ID = "x-request-id"
AUTHORIZATION = "authorization"
STREAM_ID = "x-stream-id"
CAUSATION_ID = "x-causation-id"
# No id of an event is longer than this, and no event could hold a longer one.
_LONGEST_CAUSE = 200

_NAMESPACE = uuid.UUID("4f4b1a56-5d0c-5b36-9a5e-1f1c3d2b7a10")


@dataclass(slots=True)
class Call:
    """One call, or one handled event."""

    caller: str
    method: str
    request_id: str
    # Machine time (time.monotonic) after which nobody waits for the answer.
    deadline: float | None = None
    correlation_id: str = ""
    causation_id: str = ""
    # For whom a service does this; empty: for itself, or the caller is who wants it.
    behalf: str = ""
    principal: Principal = NOBODY
    # The exercise that it is part of; empty: it is the city's own work.
    exercise: str = ""
    # What of persons and secrets the work has touched.
    touched: Touched = field(default_factory=Touched)
    sent: dict[str, int] = field(default_factory=dict)
    # Why the work is to stop; None: it may go on.
    ended: ServiceError | None = None
    # What it waits for now; cancelled when the work is to stop.
    waits_for: set[asyncio.Future[Any]] = field(default_factory=set)

    def event_id(self, stream: str, label: str, number: int) -> str:
        """The id of event `number` that this call writes to a stream: the same for every retry of the call."""
        return str(uuid.uuid5(_NAMESPACE, "\x1f".join((self.caller, self.method, self.request_id, stream, label, str(number)))))

    def onward_id(self, method: str) -> str:
        """The request id for the next call this call makes to a method: the same for every retry of this call."""
        number = self.sent[method] = self.sent.get(method, 0) + 1
        return str(uuid.uuid5(_NAMESPACE, "\x1f".join((self.caller, self.method, self.request_id, method, str(number)))))

    def end(self, why: ServiceError | None = None) -> None:
        """Stops the work: what it waits for is cancelled, and every later wait is refused. An append goes on."""
        if self.ended is None:
            self.ended = why or Cancelled("the caller has gone")
        for future in list(self.waits_for):
            future.cancel()

    def remaining(self) -> float | None:
        """Seconds left; None: no deadline. Raises DeadlinePassed, or the reason why the work was ended."""
        if self.ended is not None:
            raise self.ended
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlinePassed("the caller's deadline has passed: retry with the same request id and more time")
        return left


_current: contextvars.ContextVar[Call | None] = contextvars.ContextVar("city_call", default=None)


def current() -> Call:
    """The call this code runs for; outside of every call, a new one without caller."""
    return _current.get() or Call(caller="", method="", request_id=str(uuid.uuid4()))


def current_or_none() -> Call | None:
    """The call this code runs for, if there is one."""
    return _current.get()


def enter(call: Call) -> None:
    """Makes `call` the current one in this context."""
    _current.set(call)
    if call.correlation_id:
        context.attach(baggage.set_baggage(names.INCIDENT_ID, call.correlation_id))


def refuse_in_exercise(why: str) -> None:
    """Refused: this call is of an exercise."""
    if current().exercise:
        raise Refused(f"{why}: call without naming an exercise", "OF_AN_EXERCISE")


def correlate(correlation_id: str) -> None:
    """From here on this call has a correlation id (that of an incident): its events, spans and log lines carry it."""
    call = current()
    call.correlation_id = correlation_id
    context.attach(baggage.set_baggage(names.INCIDENT_ID, correlation_id))
    trace.get_current_span().set_attribute(names.INCIDENT_ID, correlation_id)


def new_id(prefix: str) -> str:
    """An id for something new: the same for every retry of the call."""
    return f"{prefix}-{current().event_id(prefix, 'id', 0).replace('-', '')[:12]}"


def header(metadata: Iterable[tuple[str, str | bytes]] | None, name: str) -> str:
    """One text header of a call, or empty."""
    for key, value in metadata or ():
        if key == name:
            return value if isinstance(value, str) else value.decode("utf-8", "replace")
    return ""


def onward_metadata(call: Call, token: str, request_id: str, carrier: Mapping[str, str]) -> list[tuple[str, str]]:
    """Metadata of a call to another service: its token, request id, trace, incident, exercise, and the event it is made for."""
    # An id that no header can hold is left out: it is only for people to see.
    event = call.causation_id
    because = [(CAUSATION_ID, event)] if event and event.isascii() and event.isprintable() else []
    drill = [(exercises.HEADER, call.exercise)] if call.exercise else []
    return [(REQUEST_ID, in_header(request_id)), (AUTHORIZATION, f"Bearer {token}"), *because, *drill, *carrier.items()]


def cause(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The event that a call is made for; empty: the call does not say."""
    found = header(metadata, CAUSATION_ID)
    return found if len(found.encode()) <= _LONGEST_CAUSE else ""
