"""The air of a park is what stations measured and what a source adds."""

from __future__ import annotations

import pytest

from citybrain.simulation import air
from citybrain.simulation.air import Park, Place, Release, Wind

NORTH_WIND = Wind(from_deg=0, speed_m_s=3)
SENSORS = {"near": Place(0, -300), "far": Place(0, -1500), "upwind": Place(0, 600), "aside": Place(1500, 0)}
RELEASE = Release(Place(0, 0), height_m=30, rate_g_s=400, begin_s=36_000, end_s=39_600)


@pytest.mark.parametrize(("km", "of_five_grams"), [(0.2, 2.415e-4), (0.35, 1.749e-4), (0.5, 1.056e-4)])
def test_a_plume_is_as_high_on_the_ground_as_it_is_published(km: float, of_five_grams: float) -> None:
    added = 5 * air.spread(Place(0, 0), Place(0, -1000 * km), 30, NORTH_WIND)
    assert added == pytest.approx(of_five_grams, rel=1e-3)


def test_the_plume_goes_with_the_wind() -> None:
    at = {name: air.spread(Place(0, 0), place, 30, NORTH_WIND) for name, place in SENSORS.items()}
    assert at["near"] > at["far"] > 0
    assert at["upwind"] == at["aside"] == 0
    assert air.spread(Place(0, 0), Place(300, 0), 30, Wind(from_deg=270, speed_m_s=3)) == pytest.approx(at["near"])


def test_a_day_has_the_hours_of_three_stations_and_says_what_was_not_measured() -> None:
    assert air.days() == ["2016-11-21", "2016-11-22", "2017-01-08", "2017-01-29", "2017-02-17"]
    hours = air.read_hours("2017-01-29")
    assert {name: len(row) for name, row in hours.items()} == {"Aotizhongxin": 24, "Changping": 24, "Guanyuan": 24}
    assert any(hour.from_deg is None for row in hours.values() for hour in row)
    with pytest.raises(KeyError):
        air.read_hours("2017-01-30")


def test_what_a_source_lets_out_is_seen_downwind_while_it_does_and_by_the_same_seed_again() -> None:
    calm = Park("2017-02-17", SENSORS, 7)
    dirty = Park("2017-02-17", SENSORS, 7, RELEASE)
    before, during = (dirty.background(35_000), max(one.so2 for step in dirty.steps(36_000, 39_600) for one in step))
    assert max(one.so2 for step in calm.steps(36_000, 39_600) for one in step) < 3 * before
    assert during > 5 * before
    assert list(dirty.steps(30_000, 36_000)) == list(calm.steps(30_000, 36_000))
    assert list(dirty.steps(36_000, 39_600)) == list(Park("2017-02-17", SENSORS, 7, RELEASE).steps(36_000, 39_600))
