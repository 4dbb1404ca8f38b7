"""Everything that is known about a place."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.urban.v1 import components_pb2 as parts
from citybrain.urban.v1 import field_pb2 as field
from citybrain.urban.v1 import parking_pb2 as parking
from citybrain.urban.v1 import profile_pb2 as pb
from citybrain.urban.v1.places_pb2 import Position

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.testing import Running
from citybrain.services.urban import place_calls
from tests.unit.urban.conftest import HERE, device, minutes, over, register
from tests.unit.urban.test_field import check, facility
from tests.unit.urban.test_hotline import METRE, answer, call
from tests.unit.urban.test_orders import component, seen


def away(metres: float) -> Position:
    return Position(latitude=HERE.latitude + metres * METRE, longitude=HERE.longitude)


def profile(urban: Running, metres: float = 0, **how: Any) -> pb.GetPlaceProfileResponse:
    urban.rest()
    found: pb.GetPlaceProfileResponse = urban.fire(
        "GetPlaceProfile", pb.GetPlaceProfileRequest(position=HERE, metres=metres), **how
    )
    return found


def lot(urban: Running, at: Position, bays: int = 1) -> None:
    price = parking.ParkingPrice(unit_minutes=30)
    request = parking.RegisterParkingRequest(lot_id="p1", name="x", bays=bays, price=price, position=at, district_id="xihu")
    urban.fire("RegisterParking", request)


def test_a_place_has_what_stands_there_and_how_it_is_the_nearest_first(urban: Running) -> None:
    register(urban, device("d1"), device("d2", baseline=None))
    component(urban)
    facility(urban)
    lot(urban, away(90))
    register(urban, device("d3"))
    call(urban, north_m=50)
    near = profile(urban)
    assert [(one.what, one.id, one.state) for one in near.things] == [
        ("component", "c1", "intact"),
        ("device", "d1", "well"),
        ("device", "d2", "well"),
        ("device", "d3", "well"),
        ("facility", "b1", "open"),
        ("parking", "p1", "unknown"),
    ]
    assert ([one.kind for one in near.tickets], near.more_things, near.more_tickets) == (["lamp"], False, False)
    assert near.things[-1].metres == pytest.approx(90, abs=0.1)
    assert [one.kind for one in near.things] == [
        "public_utility", "bridge_strain", "bridge_strain", "bridge_strain", "bridge", "parking",
    ]  # fmt: skip
    minutes(urban, *[90] * 3)
    over(urban)
    seen(urban, parts.COMPONENT_STATE_LOST)
    check(urban, "E")
    urban.fire("CountParked", parking.CountParkedRequest(lot_id="p1", occupied=1))
    urban.advance(3 * 3600)
    now = {one.id: one.state for one in profile(urban).things}
    assert now == {"c1": "lost", "d1": "silent", "d2": "silent", "d3": "silent", "b1": "closed", "p1": "full"}


def test_what_was_moved_is_only_where_it_is_now(urban: Running) -> None:
    lot(urban, HERE)
    lot(urban, away(300))
    register(urban, device("d1"))
    moved = device("d1")
    moved.position.CopyFrom(away(310))
    register(urban, moved)
    request = parts.RegisterComponentRequest(
        component_id="c1", component_class="other", name="x", position=HERE, district_id="xihu"
    )
    urban.fire("RegisterComponent", request)
    request.position.CopyFrom(away(320))
    urban.fire("RegisterComponent", request)
    bridge = field.RegisterFacilityRequest(
        facility_id="b1", kind="bridge", name="x", position=HERE, district_id="xihu", check_days=1
    )
    urban.fire("RegisterFacility", bridge)
    bridge.position.CopyFrom(away(330))
    urban.fire("RegisterFacility", bridge)
    assert not profile(urban).things
    assert [one.id for one in profile(urban, 500).things] == ["p1", "d1", "c1", "b1"]
    assert [one.id for one in profile(urban, 315).things] == ["p1", "d1"]


def test_a_place_has_the_trouble_that_comes_again_there(urban: Running) -> None:
    for north in (0, 0, 5000, 5000):
        answer(urban, call(urban, "井盖丢了", north).ticket.ticket_id)
        urban.rest()
    urban.advance(86_400)
    found = profile(urban)
    assert [(one.kind, one.tickets) for one in found.hazards] == [("manhole", 2)]
    assert not found.tickets


def test_a_place_is_in_the_city_and_who_is_bound_to_a_district_sees_what_is_theirs(urban: Running) -> None:
    with pytest.raises(BadRequest, match=r"position: .* outside of the city"):
        urban.fire("GetPlaceProfile", pb.GetPlaceProfileRequest(position=Position(latitude=31.2, longitude=121.5)))
    register(urban, device("d1"), device("d2", district_id="gongshu"))
    assert [one.id for one in profile(urban, district="gongshu").things] == ["d2"]


def test_a_place_with_much_is_cut_and_says_so(urban: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_calls, "THINGS", 2)
    monkeypatch.setattr(place_calls, "TICKETS", 1)
    register(urban, *[device(f"d{n}") for n in range(2)])
    call(urban)
    found = profile(urban)
    assert (len(found.things), found.more_things, len(found.tickets), found.more_tickets) == (2, False, 1, False)
    register(urban, device("d9"))
    call(urban, "噪音扰民")
    found = profile(urban)
    assert (len(found.things), found.more_things, len(found.tickets), found.more_tickets) == (2, True, 1, True)
