"""Offers of the twelve elements: registered, reported, listed."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import offers_pb2 as pb

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Forbidden, NotFound
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running
from citybrain.services.tourism import offer_calls
from tests.unit.tourism.conftest import now, told

FOOD, LODGING, ADVENTURE = pb.ELEMENT_FOOD, pb.ELEMENT_LODGING, pb.ELEMENT_ADVENTURE
OPEN, FULL, CLOSED, UNKNOWN = pb.OFFER_STATE_OPEN, pb.OFFER_STATE_FULL, pb.OFFER_STATE_CLOSED, pb.OFFER_STATE_NOT_REPORTED


def register(
    tourism: Running, offer_id: str, element: Any = FOOD, district_id: str = "xihu", place_id: str = "", **how: Any
) -> pb.OfferNow:
    offer = pb.Offer(offer_id=offer_id, name="楼外楼", element=element, district_id=district_id, place_id=place_id)
    found: pb.OfferNow = tourism.fire("RegisterOffer", pb.RegisterOfferRequest(offer=offer), **how).offer
    return found


def report(tourism: Running, offer_id: str, state: Any, at_s: float = 0, **how: Any) -> pb.OfferNow:
    moment = timestamp(now(tourism) + int(at_s * 1e6))
    request = pb.ReportOfferRequest(offer_id=offer_id, state=state, observed_at=moment)
    found: pb.OfferNow = tourism.fire("ReportOffer", request, **how).offer
    return found


def listed(tourism: Running, **question: Any) -> dict[str, int]:
    """The state of each offer, two a page, in the order of the list."""
    found: dict[str, int] = {}
    asked = pb.ListOffersRequest(page_size=2, **question)
    for _ in range(9):
        page = tourism.fire("ListOffers", asked)
        assert len(page.offers) == 2 or not page.next_page_token
        found |= {one.offer.offer_id: one.state for one in page.offers}
        asked.page_token = page.next_page_token
        if not asked.page_token:
            break
    return found


def test_the_catalogue_has_the_twelve_elements() -> None:
    assert sorted(pb.Element.values()) == list(range(13))


def test_of_a_new_offer_nobody_says_that_it_is_open(tourism: Running) -> None:
    one = register(tourism, "o1")
    assert (one.state, one.HasField("observed_at")) == (UNKNOWN, False)
    assert register(tourism, "o1") == one
    assert len(told(tourism, ev.OfferRegistered)) == 1


def test_an_offer_is_open_full_and_closed_and_what_was_so_before_changes_nothing(tourism: Running) -> None:
    register(tourism, "o1", LODGING, place_id="p1")
    assert report(tourism, "o1", OPEN, -60).state == OPEN
    # It was open still, so what was so before that does not hold now.
    assert report(tourism, "o1", OPEN).state == OPEN
    assert report(tourism, "o1", CLOSED, -30).state == OPEN
    assert report(tourism, "o1", FULL).state == FULL
    assert report(tourism, "o1", FULL).state == FULL
    said = told(tourism, ev.OfferReported)
    assert [(one.old_state, one.new_state) for one in said] == [(UNKNOWN, OPEN), (OPEN, OPEN), (OPEN, FULL)]
    assert (said[-1].element, said[-1].place_id, said[-1].district_id) == (LODGING, "p1", "xihu")
    answer = tourism.fire("GetOffer", pb.GetOfferRequest(offer_id="o1")).offer
    assert (answer.state, answer.observed_at.ToMicroseconds(), answer.offer.name) == (FULL, now(tourism), "楼外楼")


def test_what_does_not_fit_is_refused_with_words(tourism: Running) -> None:
    with pytest.raises(NotFound, match="RegisterOffer makes it known"):
        report(tourism, "o9", OPEN)
    with pytest.raises(NotFound):
        tourism.fire("GetOffer", pb.GetOfferRequest(offer_id="o9"))
    with pytest.raises(BadRequest, match=r"offer.place_id: is no place of this district that is known"):
        register(tourism, "o1", place_id="p9")
    with pytest.raises(BadRequest, match=r"offer.place_id: is no place of this district"):
        register(tourism, "o1", district_id="gongshu", place_id="p1")
    register(tourism, "o1")
    with pytest.raises(AlreadyDifferent, match="has another element already"):
        register(tourism, "o1", LODGING)
    with pytest.raises(AlreadyDifferent, match="has another place_id already"):
        register(tourism, "o1", place_id="p1")
    with pytest.raises(AlreadyDifferent, match="has another district_id already"):
        register(tourism, "o1", district_id="gongshu")
    with pytest.raises(BadRequest, match="state: is what nobody has said yet"):
        report(tourism, "o1", UNKNOWN)
    with pytest.raises(BadRequest, match=r"observed_at: is .*nothing was taken in"):
        report(tourism, "o1", OPEN, 61)
    with pytest.raises(Forbidden):
        report(tourism, "o1", OPEN, district="gongshu")
    with pytest.raises(Forbidden):
        register(tourism, "o2", district="gongshu")


def test_offers_are_listed_by_element_place_district_and_state_in_pages(
    tourism: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offer_calls, "SCANNED", 2)
    for offer_id, element, district, place_id in (
        ("a", FOOD, "xihu", "p1"), ("b", FOOD, "gongshu", ""), ("c", LODGING, "xihu", "p1"), ("d", FOOD, "xihu", ""),
        ("e", ADVENTURE, "xihu", "p1"), ("f", FOOD, "xihu", "p1"),
    ):  # fmt: skip
        register(tourism, offer_id, element, district, place_id)
    for offer_id, state in (("a", OPEN), ("b", OPEN), ("c", FULL), ("f", CLOSED)):
        report(tourism, offer_id, state)
    tourism.rest()
    assert listed(tourism) == {"a": OPEN, "b": OPEN, "c": FULL, "d": UNKNOWN, "e": UNKNOWN, "f": CLOSED}
    assert list(listed(tourism)) == ["a", "b", "c", "d", "e", "f"]
    assert listed(tourism, element=FOOD) == {"a": OPEN, "b": OPEN, "d": UNKNOWN, "f": CLOSED}
    assert listed(tourism, place_id="p1") == {"a": OPEN, "c": FULL, "e": UNKNOWN, "f": CLOSED}
    assert listed(tourism, in_district="gongshu") == {"b": OPEN}
    assert listed(tourism, place_id="p1", element=FOOD) == {"a": OPEN, "f": CLOSED}
    assert listed(tourism, element=FOOD, in_district="xihu", state=OPEN) == {"a": OPEN}
    assert listed(tourism, state=FULL) == {"c": FULL}
    assert listed(tourism, element=pb.ELEMENT_ROMANCE) == {}


def test_another_name_stands_in_every_list_and_the_state_stays(tourism: Running) -> None:
    register(tourism, "o1", place_id="p1")
    report(tourism, "o1", OPEN)
    offer = pb.Offer(offer_id="o1", name="知味观", element=FOOD, district_id="xihu", place_id="p1")
    tourism.fire("RegisterOffer", pb.RegisterOfferRequest(offer=offer))
    tourism.rest()
    for question in ({}, {"place_id": "p1"}, {"element": FOOD}, {"in_district": "xihu"}):
        (shown,) = tourism.fire("ListOffers", pb.ListOffersRequest(**question)).offers
        assert (shown.offer.name, shown.state) == ("知味观", OPEN)


def test_everybody_sees_offers_of_all_districts(tourism: Running) -> None:
    register(tourism, "o1")
    tourism.rest()
    citizen: dict[str, Any] = {"scopes": ["tourism.public"], "clearance": "PUBLIC", "district": "gongshu"}
    assert len(tourism.fire("ListOffers", pb.ListOffersRequest(in_district="xihu"), **citizen).offers) == 1
    assert tourism.fire("GetOffer", pb.GetOfferRequest(offer_id="o1"), **citizen).offer.offer.district_id == "xihu"
