"""Offers of the twelve elements of tourism, and whether each is open. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import offers_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound
from citybrain.mesh.events import microseconds


@dataclass(frozen=True, slots=True)
class State:
    """An offer. `observed`: when it was in its state last (microseconds since 1970); 0: nobody has said anything."""

    offer: pb.Offer | None = None
    state: pb.OfferState = pb.OFFER_STATE_NOT_REPORTED
    observed: int = 0


def evolve(known: State, event: Message) -> State:
    """The offer after an event."""
    match event:
        case ev.OfferRegistered():
            return replace(known, offer=event.offer)
        case ev.OfferReported():
            return replace(known, state=event.new_state, observed=microseconds(event.observed_at))
    return known


def district_of(known: State) -> str:
    """The district of an offer; empty: it is not known."""
    return known.offer.district_id if known.offer is not None else ""


def existing(known: State, offer_id: str) -> pb.Offer:
    """The offer, or NotFound."""
    if known.offer is None:
        raise NotFound(f"there is no offer {offer_id}: RegisterOffer makes it known", "NO_SUCH_OFFER")
    return known.offer


def register(known: State, offer: pb.Offer, *, place_known: bool = True) -> list[Message]:
    """Makes an offer known, or gives it another name. `place_known`: whether the place that it names is."""
    before = known.offer
    if before == offer:
        return []
    if before is not None:
        for field in ("element", "place_id", "district_id"):
            if getattr(before, field) != getattr(offer, field):
                problem = f"offer {offer.offer_id} has another {field} already, and keeps it: another offer has another id"
                raise AlreadyDifferent(problem, "OTHER_OFFER")
    if offer.place_id and not place_known:
        raise BadRequest([("offer.place_id", "is no place of this district that is known: RegisterPlace makes it known")])
    return [ev.OfferRegistered(offer=offer, district_id=offer.district_id)]


def report(known: State, offer_id: str, state: pb.OfferState, observed_at: Timestamp) -> list[Message]:
    """An offer is open, full or closed at a moment. What was so before the newest report changes nothing."""
    offer = existing(known, offer_id)
    if state == pb.OFFER_STATE_NOT_REPORTED:
        raise BadRequest([("state", "is what nobody has said yet: say whether the offer is open, full or closed")])
    if (microseconds(observed_at), state) == (known.observed, known.state) or microseconds(observed_at) < known.observed:
        return []
    return [
        ev.OfferReported(
            offer_id=offer_id, old_state=known.state, new_state=state, observed_at=observed_at, element=offer.element,
            place_id=offer.place_id, district_id=offer.district_id,
        )
    ]  # fmt: skip
