"""Read models: the sites, as callers list them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from citybrain.parks.v1 import events_pb2 as ev

from citybrain.mesh.events import Heard

SITE_EVENTS = (ev.SiteOpened, ev.SiteWarned)


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A site. `warnings`: how many incidents there were in its district since it was opened."""

    name: str
    district_id: str
    warnings: int = 0


def site_key(event: Heard) -> str:
    """The site."""
    assert isinstance(event.data, SITE_EVENTS)
    return event.data.site_id


def site(row: SiteRow | None, event: Heard) -> SiteRow | None:
    """Its row after an event."""
    if isinstance(event.data, ev.SiteOpened):
        return SiteRow(event.data.name, event.data.district_id)
    return row and replace(row, warnings=row.warnings + 1)
