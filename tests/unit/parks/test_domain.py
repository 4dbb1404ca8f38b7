"""What is decided about sites, with nothing around it."""

from __future__ import annotations

from citybrain.parks.v1 import events_pb2 as ev
from citybrain.parks.v1 import parks_service_pb2 as pb

from citybrain.mesh.errors import AlreadyDifferent
from citybrain.mesh.testing import given
from citybrain.services.parks import domain

OPEN = pb.OpenSiteRequest(site_id="s1", district_id="xihu", name="曲院风荷")
OPENED = ev.SiteOpened(site_id="s1", district_id="xihu", name="曲院风荷")
WARNED = ev.SiteWarned(site_id="s1", incident_id="i1", district_id="xihu")


def test_a_site_is_opened_once() -> None:
    opened = given(domain.evolve, domain.Site()).when(domain.open_site, OPEN).then(OPENED)
    opened.when(domain.open_site, OPEN).then_nothing()


def test_a_known_site_keeps_its_name_and_its_district() -> None:
    known = given(domain.evolve, domain.Site(), OPENED)
    for other in (
        pb.OpenSiteRequest(site_id="s1", district_id="xihu", name="太子湾"),
        pb.OpenSiteRequest(site_id="s1", district_id="gongshu", name="曲院风荷"),
    ):
        known.when(domain.open_site, other).then_refused(AlreadyDifferent, "OTHER_SITE")


def test_a_site_is_warned_of_each_incident_once() -> None:
    warned = given(domain.evolve, domain.Site(), OPENED).when(domain.warn, "s1", "i1").then(WARNED)
    warned.when(domain.warn, "s1", "i1").then_nothing()
    warned.when(domain.warn, "s1", "i2").then(ev.SiteWarned(site_id="s1", incident_id="i2", district_id="xihu"))
