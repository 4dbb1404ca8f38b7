"""Lists read the rows of their page, however many places and offers there are."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import offers_pb2 as offers
from citybrain.tourism.v1 import tourism_service_pb2 as pb

from citybrain.mesh.service import View
from citybrain.mesh.testing import Running
from citybrain.services.tourism import offer_calls
from tests.unit.tourism.conftest import small

MANY, DISTRICTS = 300, ("xihu", "gongshu")
ELEMENTS = offers.Element.keys()[1:]


def test_a_page_reads_its_rows_and_not_the_city(tourism: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [small(f"q{n:03}", DISTRICTS[n % 2]) for n in range(MANY)]
    told: list[Any] = [ev.PlaceRegistered(place=one, district_id=one.district_id) for one in places]
    catalogue = [
        offers.Offer(offer_id=f"o{n:03}", name="x", element=ELEMENTS[n % 12], district_id=DISTRICTS[n % 2]) for n in range(MANY)
    ]  # fmt: skip
    told += [ev.OfferRegistered(offer=one, district_id=one.district_id) for one in catalogue]
    for begin in range(0, len(told), 100):
        tourism.tell(*told[begin : begin + 100])
    tourism.rest()
    read, rows, row = [0], View.rows, View.row

    async def counted_rows(view: View[Any], after: str = "", limit: int = -1) -> list[tuple[str, Any]]:
        found = await rows(view, after, limit)
        read[0] += len(found)
        return found

    async def counted_row(view: View[Any], key: str) -> Any:
        read[0] += 1
        return await row(view, key)

    monkeypatch.setattr(View, "rows", counted_rows)
    monkeypatch.setattr(View, "row", counted_row)
    monkeypatch.setattr(offer_calls, "SCANNED", 10)

    def reads(method: str, request: Any, most: int) -> int:
        """How many are shown, for which at most so many rows were read."""
        read[0] = 0
        answer = tourism.fire(method, request)
        assert 0 < read[0] <= most
        return len(answer.offers if method == "ListOffers" else answer.places)

    assert reads("ListPlaces", pb.ListPlacesRequest(page_size=10), 11) == 10
    assert reads("ListPlaces", pb.ListPlacesRequest(page_size=10, district_id="gongshu"), 21) == 10
    assert reads("ListComfort", pb.ListComfortRequest(page_size=10), 21) == 10
    # 25 offers are of each element. Those of the next one are not read through.
    assert reads("ListOffers", offers.ListOffersRequest(element=offers.ELEMENT_LODGING), 40) == 25
    assert reads("ListOffers", offers.ListOffersRequest(in_district="xihu", page_size=10), 20) == 10
