"""Parks (公园): its methods, and what it hears."""

from __future__ import annotations

from functools import partial

from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.parks.v1 import parks_service_pb2 as pb

from citybrain.mesh.service import Heard, Paging, Service, Streams, View, rpc, subscribe
from citybrain.services.parks import domain, views


class ParksService(Service):
    """Opens sites, lists them, and warns them of emergencies in their district."""

    name = "parks"
    sites = Streams("site", domain.Site, domain.evolve, district=domain.district_of)
    site_list = View(views.SITE_EVENTS, views.site_key, views.site, row=views.SiteRow)
    paging = Paging()

    @rpc
    def OpenSite(self, request: pb.OpenSiteRequest) -> pb.OpenSiteResponse:
        """Opens a site."""
        site = self.sites.handle(request.site_id, partial(domain.open_site, request=request), lambda after, _: after)
        return pb.OpenSiteResponse(
            site=pb.Site(site_id=request.site_id, district_id=site.district_id, name=site.name, warnings=len(site.warned))
        )

    @rpc
    def ListSites(self, request: pb.ListSitesRequest) -> pb.ListSitesResponse:
        """By id, in pages."""
        rows, more = self.paging.scan(request, self.site_list)
        sites = [
            pb.Site(site_id=site_id, district_id=row.district_id, name=row.name, warnings=row.warnings) for site_id, row in rows
        ]
        return pb.ListSitesResponse(sites=sites, next_page_token=more)

    @subscribe(IncidentOpened)
    def warn_sites(self, event: Heard) -> None:
        """Warns the sites in the district of an incident."""
        assert isinstance(event.data, IncidentOpened)
        for site_id, row in self.site_list.scan():
            if row.district_id == event.data.district_id:
                warn = partial(domain.warn, site_id=site_id, incident_id=event.data.incident_id)
                self.sites.handle(site_id, warn, lambda after, _: after)
