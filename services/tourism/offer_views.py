"""Read models of offers: all of them, and those of each element, place and district."""

from __future__ import annotations

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import offers_pb2 as pb

from citybrain.mesh.events import Heard
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept

OFFER_EVENTS = (ev.OfferRegistered, ev.OfferReported)


def _of(event: Heard) -> ev.OfferReported | pb.Offer:
    """What an event says of element, place and district: these never change."""
    data = event.data
    if isinstance(data, ev.OfferRegistered):
        return data.offer
    assert isinstance(data, ev.OfferReported)
    return data


def offer_key(event: Heard) -> str:
    """The offer."""
    return _of(event).offer_id


def element_prefix(element: pb.Element) -> str:
    """How the keys of an element begin."""
    return f"{int(element):02d}/"


def element_key(event: Heard) -> str:
    """Element and offer."""
    one = _of(event)
    return element_prefix(one.element) + one.offer_id


def prefix(name: str) -> str:
    """How the keys of a place or a district begin."""
    return f"{joined(name)}/"


def place_key(event: Heard) -> str | None:
    """Place and offer; None: it is at no place."""
    one = _of(event)
    return prefix(one.place_id) + one.offer_id if one.place_id else None


def district_key(event: Heard) -> str:
    """District and offer."""
    one = _of(event)
    return prefix(one.district_id) + one.offer_id


def offer(row: Kept | None, event: Heard) -> Kept | None:
    """The offer after an event."""
    data = event.data
    shown = pb.OfferNow(state=pb.OFFER_STATE_NOT_REPORTED) if row is None else row.read(pb.OfferNow)
    if isinstance(data, ev.OfferRegistered):
        shown.offer.CopyFrom(data.offer)
        return Kept.of(shown)
    assert isinstance(data, ev.OfferReported)
    if row is None:
        return None
    shown.state = data.new_state
    shown.observed_at.CopyFrom(data.observed_at)
    return Kept.of(shown)


def is_asked_for(shown: pb.OfferNow, request: pb.ListOffersRequest) -> bool:
    """Whether a list with this question shows it."""
    one = shown.offer
    return (
        request.element in (pb.ELEMENT_UNSPECIFIED, one.element)
        and request.place_id in ("", one.place_id)
        and request.in_district in ("", one.district_id)
        and request.state in (pb.OFFER_STATE_UNSPECIFIED, shown.state)
    )
