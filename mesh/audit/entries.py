"""Entries of the audit trail, and the port of a trail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from citybrain.audit.v1 import records_pb2 as pb
from citybrain.options.v1.options_pb2 import CLASSIFICATION_PUBLIC, Classification
from typing_extensions import override

from citybrain.event_store.store import StoreError
from citybrain.mesh.errors import shortened
from citybrain.mesh.events import timestamp

MOST_PERSONS = 1000
"""An entry about more persons becomes several records."""
_TEXT_BYTES, _PERSON_BYTES = 200, 64


class TrailAway(StoreError):
    """What is done cannot be recorded now, so it must not be done. Its text is for callers."""

    @property
    @override
    def told(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class Entry:
    """What one caller did. The trail adds the moment."""

    # Who called, of which team, for whom (empty: for themselves), and what.
    subject: str
    method: str
    team: str = ""
    on_behalf_of: str = ""
    # Ids of persons, never names.
    persons: tuple[str, ...] = ()
    # The highest of the data.
    classification: Classification = CLASSIFICATION_PUBLIC
    # Whether the caller might do it; how it ended: the name of the gRPC code, and the reason.
    allowed: bool = True
    code: str = "OK"
    reason: str = ""
    request_id: str = ""
    trace_id: str = ""


class Trail(Protocol):
    """The port."""

    def admit(self, *, durable: bool = False) -> None:
        """To be called before a call is begun. TrailAway: it could not be recorded. `durable`: it will need `keep`."""
        ...

    def note(self, entry: Entry) -> None:
        """The entry is kept soon after, in a batch. TrailAway: there is no room for it."""
        ...

    async def keep(self, entry: Entry) -> None:
        """Returns when the entry is durable. TrailAway: it is not yet, so what it tells must not be answered."""
        ...

    def unwell(self) -> str:
        """Why records cannot be written now, in words for people; empty: they can."""
        ...

    async def close(self) -> None:
        """Everything noted is kept, and the chain is anchored and closed."""
        ...


def record_of(at: int, entry: Entry) -> pb.Record:
    """The record of an entry, noted at a moment (microseconds since 1970)."""
    return pb.Record(
        at=timestamp(at),
        subject=_text(entry.subject),
        team=_text(entry.team),
        on_behalf_of=_text(entry.on_behalf_of),
        method=_text(entry.method),
        person_ids=[_text(person, _PERSON_BYTES) for person in entry.persons],
        classification=entry.classification,
        decision=pb.DECISION_ALLOWED if entry.allowed else pb.DECISION_REFUSED,
        code=_text(entry.code),
        reason=_text(entry.reason),
        request_id=_text(entry.request_id),
        trace_id=_text(entry.trace_id),
    )


def _text(text: str, most_bytes: int = _TEXT_BYTES) -> str:
    """Much of it comes from outside: so it is not long, and without halves of letters."""
    return shortened(text.encode("utf-8", "replace").decode(), most_bytes)
