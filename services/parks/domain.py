"""Sites, and what is decided about them: pure functions, without a clock and without anything from outside."""

from __future__ import annotations

from dataclasses import dataclass, replace

from citybrain.parks.v1 import events_pb2 as ev
from citybrain.parks.v1 import parks_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent


@dataclass(frozen=True, slots=True)
class Site:
    """One site. `warned`: the incidents of which it was warned."""

    name: str = ""
    district_id: str = ""
    warned: frozenset[str] = frozenset()


def evolve(site: Site, event: Message) -> Site:
    """The site after an event."""
    match event:
        case ev.SiteOpened():
            return replace(site, name=event.name, district_id=event.district_id)
        case ev.SiteWarned():
            return replace(site, warned=site.warned | {event.incident_id})
    return site


def district_of(site: Site) -> str:
    """The district that a site belongs to; empty: there is no such site yet."""
    return site.district_id


def open_site(site: Site, request: pb.OpenSiteRequest) -> list[Message]:
    """Opens a site, once. Refused if the id is known with another name or district."""
    if not site.name:
        return [ev.SiteOpened(site_id=request.site_id, district_id=request.district_id, name=request.name)]
    if (site.name, site.district_id) != (request.name, request.district_id):
        problem = f"site {request.site_id} is {site.name} in {site.district_id}: choose another id"
        raise AlreadyDifferent(problem, "OTHER_SITE")
    return []


def warn(site: Site, site_id: str, incident_id: str) -> list[Message]:
    """Warns a site of an incident in its district, once."""
    if incident_id in site.warned:
        return []
    return [ev.SiteWarned(site_id=site_id, incident_id=incident_id, district_id=site.district_id)]
