"""What an append may hold (ES-14). Every engine has the same limits, so the log takes whatever a store takes.

They are checked before anything is written. The error names the field and the limit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from citybrain.event_store.store import LimitExceeded, NewEvent, StoredEvent

MAX_EVENT_BYTES = 256 * 1024
MAX_APPEND_EVENTS = 100
MAX_APPEND_BYTES = 1024 * 1024
MAX_STREAM_ID_BYTES = 200
MAX_TEXT_BYTES = 1024
"""The limit of each text field of an event: its causation id, actor, district and so on."""
SERVICE_NAME = re.compile(r"[a-z0-9_-]{1,100}")
"""The part of a stream's name before the slash: the service that owns the stream. It is also part of a topic's name."""
FIRST_MOMENT, LAST_MOMENT = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 to 9999 in microseconds since 1970: what RFC 3339 can write."""
_CLASSIFICATIONS = range(128)
_NEEDED = ("id", "type")
_TEXTS = (*_NEEDED, "traceparent", "correlation_id", "causation_id", "actor", "district")


def check_limits(stream: str, events: Sequence[NewEvent | StoredEvent]) -> None:
    """Raises LimitExceeded if an append breaks a limit."""
    if not events:
        raise LimitExceeded("an append needs at least one event")
    size = _bytes("stream id", stream)
    if not 0 < size <= MAX_STREAM_ID_BYTES:
        raise LimitExceeded(f"a stream id has 1 to {MAX_STREAM_ID_BYTES} bytes; this one has {size}")
    service, slash, _ = stream.partition("/")
    if slash and not SERVICE_NAME.fullmatch(service):
        raise LimitExceeded(
            f"a stream id begins with the name of its service (a-z, 0-9, _ and -, at most 100), or has no slash: {stream!r}"
        )
    if len(events) > MAX_APPEND_EVENTS:
        raise LimitExceeded(f"an append holds at most {MAX_APPEND_EVENTS} events; this one has {len(events)}: send several")
    total = 0
    for event in events:
        _check_event(event)
        size = len(event.data) + len(event.sealed)
        if size > MAX_EVENT_BYTES:
            raise LimitExceeded(f"an event holds at most {MAX_EVENT_BYTES} bytes; {event.type} has {size}: split it")
        total += size
    if total > MAX_APPEND_BYTES:
        raise LimitExceeded(f"an append holds at most {MAX_APPEND_BYTES} bytes; this one has {total}: send several")


def _check_event(event: NewEvent | StoredEvent) -> None:
    for name in _TEXTS:
        text = getattr(event, name)
        # The usual case, and a fast test: in ASCII each letter is one byte.
        if text.isascii() and len(text) <= MAX_TEXT_BYTES:
            continue
        if (size := _bytes(name, text)) > MAX_TEXT_BYTES:
            raise LimitExceeded(f"{name} of an event has at most {MAX_TEXT_BYTES} bytes; this one has {size}")
    for name in _NEEDED:
        if not getattr(event, name):
            raise LimitExceeded(f"{name} of an event may not be empty")
    if not FIRST_MOMENT <= event.occurred_at <= LAST_MOMENT:
        raise LimitExceeded(
            f"occurred_at of an event lies in years 1 to 9999 (microseconds since 1970); {event.type} has {event.occurred_at}"
        )
    if event.classification not in _CLASSIFICATIONS:
        raise LimitExceeded(f"classification of an event is a number from 0 to 127; {event.type} has {event.classification}")


def _bytes(name: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise LimitExceeded(f"{name} holds half a letter (a lone surrogate), which no engine can write: {text!r}") from None
