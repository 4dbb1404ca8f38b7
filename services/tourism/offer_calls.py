"""Methods of offers: the twelve elements of tourism as a catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from citybrain.tourism.v1 import offers_pb2 as pb

from citybrain.mesh.events import timestamp
from citybrain.mesh.kept import Kept
from citybrain.mesh.long_streams import done
from citybrain.mesh.service import Source, Streams, View, rpc
from citybrain.services.tourism import offer_views as views
from citybrain.services.tourism import offers
from citybrain.services.tourism.place_calls import Key, PlaceCalls

SCANNED = 100
"""So many rows of a read model are read at a time."""


class OfferCalls(PlaceCalls):
    """Offers, and whether each is open."""

    offers = Streams("offer", offers.State, offers.evolve, snapshot_every=500, district=offers.district_of)
    offer_list = View(views.OFFER_EVENTS, views.offer_key, views.offer, row=Kept)
    offers_of_element = View(views.OFFER_EVENTS, views.element_key, views.offer, row=Kept)
    offers_at_place = View(views.OFFER_EVENTS, views.place_key, views.offer, row=Kept)
    offers_in_district = View(views.OFFER_EVENTS, views.district_key, views.offer, row=Kept)
    reporters = Source(ahead_s=60, behind_s=86_400)

    @rpc
    def RegisterOffer(self, request: pb.RegisterOfferRequest) -> pb.RegisterOfferResponse:
        """Registers an offer, or gives it another name."""
        offer = request.offer
        place = self.places.load(offer.place_id).place if offer.place_id else None
        known = place is not None and place.district_id == offer.district_id
        register = partial(offers.register, offer=offer, place_known=known)
        return pb.RegisterOfferResponse(offer=_shown(done(self.offers, offer.offer_id, register), offer.offer_id))

    @rpc
    def ReportOffer(self, request: pb.ReportOfferRequest) -> pb.ReportOfferResponse:
        """An offer is open, full or closed."""
        self.reporters.moment(request.observed_at, "observed_at")
        report = partial(offers.report, offer_id=request.offer_id, state=request.state, observed_at=request.observed_at)
        return pb.ReportOfferResponse(offer=_shown(done(self.offers, request.offer_id, report), request.offer_id))

    @rpc
    def GetOffer(self, request: pb.GetOfferRequest) -> pb.GetOfferResponse:
        """One offer."""
        return pb.GetOfferResponse(offer=_shown(self.offers.load(request.offer_id), request.offer_id))

    @rpc
    def ListOffers(self, request: pb.ListOffersRequest) -> pb.ListOffersResponse:
        """By id, in pages. Reads those of the place, element or district that is asked for, some at a time."""
        view, prefix = self.offer_list, ""
        if request.place_id:
            view, prefix = self.offers_at_place, views.prefix(request.place_id)
        elif request.element:
            view, prefix = self.offers_of_element, views.element_prefix(request.element)
        elif request.in_district:
            view, prefix = self.offers_in_district, views.prefix(request.in_district)

        def asked_for(after: Key | None) -> Iterator[tuple[str, pb.OfferNow]]:
            last = str(after[0]) if after else prefix
            while rows := view.scan(last, SCANNED):
                for last, row in rows:
                    if not last.startswith(prefix):
                        return
                    if views.is_asked_for(shown := row.read(pb.OfferNow), request):
                        yield last, shown

        page, more = self.paging.ordered(request, asked_for, lambda found: (found[0],), default=50)
        return pb.ListOffersResponse(offers=[shown for _, shown in page], next_page_token=more)


def _shown(known: offers.State, offer_id: str) -> pb.OfferNow:
    """The offer as callers see it, or NotFound."""
    shown = pb.OfferNow(offer=offers.existing(known, offer_id), state=known.state)
    if known.observed:
        shown.observed_at.CopyFrom(timestamp(known.observed))
    return shown
