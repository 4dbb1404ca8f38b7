"""The grid over the city: nothing near is missed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.mesh.merging import straight_m
from citybrain.services.urban import nearby

LATITUDES, LONGITUDES = st.floats(29.2, 30.5), st.floats(118.4, 120.6)


@settings(max_examples=200, deadline=None)
@given(LATITUDES, LONGITUDES, st.floats(1, 2000), st.floats(-0.02, 0.02), st.floats(-0.02, 0.02))
def test_every_place_within_the_circle_is_in_one_of_its_ranges(
    latitude: float, longitude: float, metres: float, north: float, east: float
) -> None:
    there = latitude + north, longitude + east
    key = f"{nearby.cell(*there)}.tic-1"
    inside = any(first <= key < f"{last}/" for first, last in nearby.ranges(latitude, longitude, metres))
    assert inside or straight_m((latitude, longitude), there) > metres


def test_ranges_are_few() -> None:
    assert len(nearby.ranges(30.25, 120.15, 500)) <= 9


def test_hangzhou_and_its_counties_are_in_the_city_and_shanghai_is_not() -> None:
    assert all(nearby.in_city(*place) for place in ((30.25, 120.15), (29.6, 119.0), (29.8, 119.7)))
    assert not any(nearby.in_city(*place) for place in ((31.2, 121.5), (120.15, 30.25), (0, 0)))


def test_the_next_circle_is_as_wide_as_what_was_found_lets_one_expect() -> None:
    assert nearby.wider(100, 0, 51) == 400
    assert nearby.wider(100, 13, 52) == pytest.approx(240)
    assert nearby.wider(100, 50, 51) == pytest.approx(125), "never so little wider that it goes on for ever"
