"""Chains of batches: what is written, what is hashed, and what makes an event a sound link.

The hash of a batch is the SHA-256 of the bytes of its message, as they stand in the event (`data`). Nothing is serialised
anew to check it. It is also the id of the event. The message names chain, number, the hash before it and the event's time;
the other fields of the event are always the same. Only `recorded_at` and the position in the log, which the store adds, are
not covered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from citybrain.audit.v1 import records_pb2 as pb
from citybrain.options.v1.options_pb2 import CLASSIFICATION_SECRET
from google.protobuf.message import DecodeError

from citybrain.event_store.store import NewEvent, StoredEvent
from citybrain.mesh.events import microseconds, timestamp, type_name

PUBLISHER = "audit"
"""The streams of this name are the chains and the anchors."""
ANCHORS = "anchors"
"""The name of the chain of anchors."""
ZERO = bytes(32)
"""In place of a hash where nothing is before."""
ACTOR = "mesh/audit"
BATCH = type_name(pb.RecordsKept)
ANCHOR = type_name(pb.ChainsAnchored)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a chain: its number and hash."""

    number: int = 0
    hash: bytes = ZERO


@dataclass(frozen=True, slots=True)
class Link:
    """A stored event as a link of a chain. `sound`: it is as the process wrote it, as far as it can be known from itself."""

    version: int
    number: int
    hash: bytes
    before: bytes
    sound: bool
    records: int = 0
    # The anchor that a batch names.
    anchor: Place = Place()


def stream_of(chain: str) -> str:
    """The stream of a chain."""
    return f"{PUBLISHER}/{chain}"


def chain_of(stream: str) -> str:
    """The chain of a stream."""
    return stream.removeprefix(f"{PUBLISHER}/")


def name_of(process: str, day: str) -> str:
    """The chain of a process on a day."""
    return f"{process}-{day}"


def day_of(moment: int) -> str:
    """The day (UTC) of a moment in microseconds since 1970, e.g. 20260105."""
    return datetime.fromtimestamp(moment // 1_000_000, UTC).strftime("%Y%m%d")


def hash_of(data: bytes) -> bytes:
    """What is hashed: all bytes of the message as they are kept."""
    # A file that was tampered with may hold a text there.
    return hashlib.sha256(data if isinstance(data, bytes) else repr(data).encode()).digest()


def batch(chain: str, before: Place, anchor: Place, city_time: int, records: Sequence[pb.Record]) -> NewEvent:
    """The event of the next batch of a chain."""
    message = pb.RecordsKept(
        chain=chain, number=before.number + 1, before=before.hash, anchor_number=anchor.number, anchor_hash=anchor.hash,
        city_time=timestamp(city_time), records=records,
    )  # fmt: skip
    return _event(BATCH, message.SerializeToString(deterministic=True), city_time)


def anchor(before: Place, city_time: int, chains: Iterable[pb.ChainEnd]) -> NewEvent:
    """The event of the next anchor."""
    message = pb.ChainsAnchored(number=before.number + 1, before=before.hash, city_time=timestamp(city_time), chains=chains)
    return _event(ANCHOR, message.SerializeToString(deterministic=True), city_time)


def _event(kind: str, data: bytes, city_time: int) -> NewEvent:
    return NewEvent(
        id=hash_of(data).hex(), type=kind, data=data, occurred_at=city_time, actor=ACTOR, classification=CLASSIFICATION_SECRET
    )


def link_of(chain: str, event: StoredEvent) -> Link:
    """What a stored event says as a link of a chain."""
    digest = hash_of(event.data)
    try:
        message = (pb.ChainsAnchored if chain == ANCHORS else pb.RecordsKept).FromString(event.data)
    except (DecodeError, TypeError, ValueError):
        return Link(event.version, event.version, digest, ZERO, sound=False)
    records, newest = 0, Place()
    named = ANCHORS
    if isinstance(message, pb.RecordsKept):
        records, newest, named = len(message.records), Place(message.anchor_number, message.anchor_hash), message.chain
    written = _event(ANCHOR if chain == ANCHORS else BATCH, event.data, microseconds(message.city_time))
    stored = (event.id, event.type, event.occurred_at, event.actor, event.classification, event.stream, event.sealed)
    wanted = (written.id, written.type, written.occurred_at, ACTOR, CLASSIFICATION_SECRET, stream_of(chain), b"")
    others = (event.traceparent, event.correlation_id, event.causation_id, event.district)
    sound = stored == wanted and not any(others) and named == chain and message.number > 0
    return Link(event.version, message.number, digest, message.before, sound, records, newest)
