"""Read models of firms: what happened to each, its sources, and who is to be inspected next."""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.events import Heard
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept

NOTED_EVENTS = (ev.FirmNoted,)
ADMITTED_EVENTS = (ev.SourceAdmitted,)
DUE_EVENTS = (ev.InspectionListed, ev.InspectionUnlisted)

_LAST = 10**10
"""A version that no stream reaches: keys that count down from it put the newest first."""


@dataclass(frozen=True, slots=True)
class OwnRow:
    """A source of a firm."""

    source_id: str


def prefix(name: str) -> str:
    """How the keys of a firm, or of a district, begin. None of them begins as those of another one do."""
    return f"{joined(name)}/"


def entry_key(event: Heard) -> str:
    """The firm, the newest first."""
    return f"{prefix(event.data.firm_id)}{_LAST - event.stored.version:010d}"  # type: ignore[attr-defined]


def entry(row: Kept | None, event: Heard) -> Kept | None:
    """What happened."""
    assert isinstance(event.data, ev.FirmNoted)
    return Kept.of(event.data.entry)


def own_key(event: Heard) -> str:
    """The firm and its source."""
    assert isinstance(event.data, ev.SourceAdmitted)
    return prefix(event.data.firm_id) + event.data.source.source_id


def own(row: OwnRow | None, event: Heard) -> OwnRow | None:
    """The source."""
    assert isinstance(event.data, ev.SourceAdmitted)
    return OwnRow(event.data.source.source_id)


def due_key(event: Heard) -> str:
    """The moment at which the firm is due, and the firm."""
    data = event.data
    if isinstance(data, ev.InspectionListed):
        return f"{data.due.due_at.seconds:011d}/{data.due.firm_id}"
    assert isinstance(data, ev.InspectionUnlisted)
    return f"{data.due_at.seconds:011d}/{data.firm_id}"


def due_in_district_key(event: Heard) -> str:
    """The district besides."""
    return prefix(event.data.district_id) + due_key(event)  # type: ignore[attr-defined]


def due(row: Kept | None, event: Heard) -> Kept | None:
    """The firm, while it is listed."""
    return Kept.of(event.data.due) if isinstance(event.data, ev.InspectionListed) else None
