"""The service while it runs, without a network; then a city of it, through the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.parks.v1 import events_pb2 as ev
from citybrain.parks.v1 import parks_service_pb2 as pb
from citybrain.parks.v1.parks_service_pb2_grpc import ParksServiceStub

from citybrain.local.calling import channel
from citybrain.local.city import LocalCity
from citybrain.mesh.errors import BadRequest, Forbidden
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.testing import running
from citybrain.services.parks.service import ParksService
from citybrain.services.parks.views import SiteRow


def site(site_id: str, district_id: str) -> pb.OpenSiteRequest:
    return pb.OpenSiteRequest(site_id=site_id, district_id=district_id, name=f"site {site_id}")


def test_sites_are_listed_by_id_in_pages() -> None:
    with running(ParksService) as parks:
        for number in (3, 1, 2):
            parks.fire("OpenSite", site(f"s{number}", "xihu"))
        parks.rest()
        first = parks.fire("ListSites", pb.ListSitesRequest(page_size=2))
        rest = parks.fire("ListSites", pb.ListSitesRequest(page_size=2, page_token=first.next_page_token))
        assert [one.site_id for one in (*first.sites, *rest.sites)] == ["s1", "s2", "s3"]


def test_a_site_without_a_name_is_refused() -> None:
    with running(ParksService) as parks, pytest.raises(BadRequest, match="name"):
        parks.fire("OpenSite", pb.OpenSiteRequest(site_id="s1", district_id="xihu"))


def test_who_is_bound_to_a_district_opens_and_sees_no_site_of_another() -> None:
    with running(ParksService) as parks:
        parks.fire("OpenSite", site("s1", "xihu"), district="xihu")
        with pytest.raises(Forbidden):
            parks.fire("OpenSite", site("s2", "xihu"), district="gongshu")
        parks.rest()
        listed = {
            district: [one.site_id for one in parks.fire("ListSites", pb.ListSitesRequest(), district=district).sites]
            for district in ("xihu", "gongshu")
        }
        assert listed == {"xihu": ["s1"], "gongshu": []}


def test_the_sites_of_a_district_are_warned_of_an_emergency_there() -> None:
    with running(ParksService) as parks:
        parks.fire("OpenSite", site("s1", "xihu"))
        parks.fire("OpenSite", site("s2", "gongshu"))
        parks.rest()
        parks.tell(IncidentOpened(incident_id="i1", district_id="xihu"))
        assert parks.wait_for_row("site_list", "s1", lambda row: row.warnings) == SiteRow("site s1", "xihu", 1)
        parks.rest()
        assert [event.data for event in parks.events(ev.SiteWarned)] == [
            ev.SiteWarned(site_id="s1", incident_id="i1", district_id="xihu")
        ]


@pytest.mark.envoy
def test_it_is_called_through_the_gateway(tmp_path: Path) -> None:
    with LocalCity(Settings(data=tmp_path), only=["parks"]) as city:
        assert city.gateway is not None
        with channel(city.gateway.address, city.token()) as gateway:
            answer = ParksServiceStub(gateway).OpenSite(site("s1", "xihu"), timeout=60)
        assert answer.site.name == "site s1"
