"""An event as a record of Kafka, and back: CloudEvents 1.0 in binary mode, so that who reads the topics needs nothing of ours.

The key is the stream, the value the serialised message. What CloudEvents has no name for is an extension attribute.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from confluent_kafka import Message

from citybrain.event_store.contract import StoredEvent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
Header = tuple[str, bytes]

_SAME_FOR_ALL: tuple[Header, ...] = (("ce_specversion", b"1.0"), ("content-type", b"application/protobuf"))


def headers_of(event: StoredEvent) -> list[Header]:
    """The attributes of an event. One that is empty is left out."""
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


def event_of(record: Message) -> StoredEvent:
    """The event of a record. Its position is the record's offset, plus one. ValueError: it is none."""
    has = dict(record.headers() or ())
    key, offset = record.key(), record.offset()
    if not isinstance(key, bytes) or offset is None:
        raise ValueError("a record of an event has a key")

    def text(name: str) -> str:
        value = has.get(name)
        return value.decode() if isinstance(value, bytes) else ""

    return StoredEvent(
        text("ce_id"), text("ce_type"), record.value() or b"", _read(text("ce_time")), text("ce_traceparent"),
        text("ce_correlationid"), text("ce_causationid"), text("ce_actor"), text("ce_district"), int(text("ce_classification")),
        key.decode(), int(text("ce_streamversion")), _read(text("ce_recordedtime")), offset + 1,
        base64.b64decode(text("ce_sealed")),
    )  # fmt: skip


def _written(moment: int) -> str:
    return (_EPOCH + timedelta(microseconds=moment)).isoformat(timespec="microseconds")


def _read(moment: str) -> int:
    return (datetime.fromisoformat(moment) - _EPOCH) // _MICROSECOND
