"""An event as a record of Kafka, and back: CloudEvents 1.0 in binary mode, so other programs need no code of ours to read it.

The key is the stream, the value is the serialised message. Fields that CloudEvents does not know are extension attributes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from confluent_kafka import Message

from citybrain.event_store.limits import FIRST_MOMENT, LAST_MOMENT, check_limits
from citybrain.event_store.store import LimitExceeded, StoredEvent, Unreadable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAST_VERSION = 2**63 - 1
_TYPE = re.compile(r"[A-Za-z0-9_.]{1,200}")
Header = tuple[str, bytes]

_SAME_FOR_ALL: tuple[Header, ...] = (("ce_specversion", b"1.0"), ("content-type", b"application/protobuf"))


def headers_of(event: StoredEvent) -> list[Header]:
    """The attributes of an event. Empty ones are left out."""
    texts = (
        ("ce_id", event.id),
        ("ce_source", "/" + quote(event.stream)),
        ("ce_type", event.type),
        ("ce_time", _written(event.occurred_at)),
        ("ce_recordedtime", _written(event.recorded_at)),
        ("ce_streamversion", str(event.version)),
        ("ce_traceparent", event.traceparent),
        ("ce_correlationid", event.correlation_id),
        ("ce_causationid", event.causation_id),
        ("ce_actor", event.actor),
        ("ce_district", event.district),
        ("ce_classification", str(event.classification)),
    )
    found = [*_SAME_FOR_ALL, *((name, text.encode()) for name, text in texts if text)]
    if event.sealed:
        found.append(("ce_sealed", base64.b64encode(event.sealed)))
    return found


class Refused(Exception):
    """A record is not what it should be. The text says why, and never shows the record's content."""


def event_of(record: Message) -> StoredEvent:
    """The event of a record. Its position is the record's offset, plus one. Refused: the record is no event."""
    try:
        event = _event(record)
        check_limits(event.stream, [event])
    except Exception as error:
        raise Refused(_why_not(record, error)) from None
    if event.version < 1:
        raise Refused("header ce_streamversion is below 1")
    return event


def unreadable(record: Message, reason: str) -> Unreadable:
    """A record that is no event. The type that it claims is kept, so that groups of other types need not report it."""
    try:
        has: dict[str, bytes] = dict(record.headers() or ())  # type: ignore[arg-type]
        said = has["ce_type"].decode()
    except Exception:
        said = ""
    offset = record.offset() or 0
    where = f"{record.topic()}/{record.partition()}@{offset}"
    return Unreadable(offset + 1, where, reason, said if _TYPE.fullmatch(said) else "")


def _event(record: Message) -> StoredEvent:
    has: dict[str, bytes] = dict(record.headers() or ())  # type: ignore[arg-type]
    value = record.value()
    if value is None:
        raise ValueError("it has no value")

    def text(name: str) -> str:
        return has[name].decode() if name in has else ""

    return StoredEvent(
        text("ce_id"), text("ce_type"), value, _read(text("ce_time")), text("ce_traceparent"),
        text("ce_correlationid"), text("ce_causationid"), text("ce_actor"), text("ce_district"), int(text("ce_classification")),
        record.key().decode(), _version(text("ce_streamversion")), _read(text("ce_recordedtime")),  # type: ignore[union-attr]
        record.offset() + 1, _unsealed(text("ce_sealed")),  # type: ignore[operator]
    )  # fmt: skip


def _why_not(record: Message, error: Exception) -> str:
    """The first reason why a record is no event."""
    try:
        has = dict(record.headers() or ())
    except Exception:
        return "its headers cannot be read"
    if record.value() is None:
        return "it has no value, as what is to be deleted has none"
    key = record.key()
    if not isinstance(key, bytes) or not _is(bytes.decode, key):
        return "its key is no text" if key else "it has no key, which names the stream"
    for name, (kind, read) in _HEADERS.items():
        value = has.get(name)
        if value is None and name in has:
            return f"header {name} has no value"
        if value is None and name in _NEEDED:
            return f"header {name} is missing"
        if value is not None and not _is(bytes.decode, value):
            return f"header {name} is not UTF-8"
        if isinstance(value, bytes) and not _is(read, value.decode()):
            return f"header {name} is no {kind}"
    if isinstance(error, LimitExceeded):
        # Only the limit: the rest of the text tells what was found.
        return re.split("[;:]", str(error))[0]
    return f"it cannot be read ({type(error).__name__})"


def _is(read: Callable[..., object], value: object) -> bool:
    try:
        read(value)
    except Exception:
        return False
    return True


def _written(moment: int) -> str:
    return (_EPOCH + timedelta(microseconds=moment)).isoformat(timespec="microseconds")


def _read(moment: str) -> int:
    found = (datetime.fromisoformat(moment) - _EPOCH) // _MICROSECOND
    if not FIRST_MOMENT <= found <= LAST_MOMENT:
        raise ValueError("no moment that can be written again")
    return found


def _version(text: str) -> int:
    version = int(text)
    if version > _LAST_VERSION:
        raise ValueError("no store counts so far")
    return version


def _unsealed(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# For each header of an event: its kind, in words for error messages, and how it is read.
_HEADERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "ce_id": ("text", str),
    "ce_type": ("text", str),
    "ce_time": ("moment with its difference from UTC", _read),
    "ce_recordedtime": ("moment with its difference from UTC", _read),
    "ce_streamversion": ("number that a version can be", _version),
    "ce_classification": ("number", int),
    "ce_traceparent": ("text", str),
    "ce_correlationid": ("text", str),
    "ce_causationid": ("text", str),
    "ce_actor": ("text", str),
    "ce_district": ("text", str),
    "ce_sealed": ("base64", _unsealed),
}
_NEEDED = ("ce_id", "ce_type", "ce_time", "ce_recordedtime", "ce_streamversion", "ce_classification")
