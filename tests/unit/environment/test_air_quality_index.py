"""The index by HJ 633-2012: worked values, bounds, and what is missing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.services.environment import air_quality_index as aqi


@pytest.mark.parametrize(
    ("pollutant", "value", "index"),
    [
        ("PM2_5", 20, 29), ("PM2_5", 60, 82), ("PM2_5", 120, 158), ("PM2_5", 200, 250), ("PM2_5", 420, 447), ("PM10", 120, 85),
        ("PM10", 300, 175), ("SO2", 100, 75), ("NO2", 45, 57), ("NO2", 100, 110), ("CO", 3.0, 75), ("CO", 0.9, 23),
        ("O3", 130, 75), ("O3", 230, 165),
    ],
)  # fmt: skip
def test_worked_values_of_a_day(pollutant: str, value: float, index: int) -> None:
    assert aqi.of_day(pollutant, value) == aqi.PartIndex(value, index)


# HJ 633-2012, table 1, as it is printed: at these values the index is 0, 50, 100, 150, 200, 300, 400, 500.
PRINTED_DAY = {
    "PM2_5": "0 35 75 115 150 250 350 500", "PM10": "0 50 150 250 350 420 500 600", "SO2": "0 50 150 475 800 1600 2100 2620",
    "NO2": "0 40 80 180 280 565 750 940", "CO": "0 2 4 14 24 36 48 60", "O3": "0 100 160 215 265 800",
}  # fmt: skip
PRINTED_HOUR = {
    "SO2": "0 150 500 650 800", "NO2": "0 100 200 700 1200 2340 3090 3840", "CO": "0 5 10 35 60 90 120 150",
    "O3": "0 160 200 300 400 800 1000 1200", "PM2_5": PRINTED_DAY["PM2_5"], "PM10": PRINTED_DAY["PM10"],
}  # fmt: skip


@pytest.mark.parametrize("pollutant", aqi.POLLUTANTS)
def test_the_tables_are_those_of_the_standard(pollutant: str) -> None:
    indices = (0, 50, 100, 150, 200, 300, 400, 500)
    for printed, of in ((PRINTED_DAY, aqi.of_day), (PRINTED_HOUR, aqi.of_hour)):
        values = [int(value) for value in printed[pollutant].split()]
        assert [of(pollutant, value).index for value in values] == list(indices[: len(values)])
        # In the middle between two it is in the middle.
        for n in range(1, len(values)):
            between = indices[n - 1] + (indices[n] - indices[n - 1]) / 2
            assert of(pollutant, (values[n - 1] + values[n]) / 2).index == math.ceil(between)


@pytest.mark.parametrize("pollutant", aqi.POLLUTANTS)
def test_a_value_at_a_breakpoint_has_the_index_of_the_table_and_one_above_is_rounded_up(pollutant: str) -> None:
    for table, of in ((aqi.DAY[pollutant], aqi.of_day), (aqi.HOUR[pollutant], aqi.of_hour)):
        for level, value in zip(aqi.LEVELS, table, strict=False):
            assert of(pollutant, value).index == level
        assert of(pollutant, table[1] + 0.0001).index == 51


def test_a_number_that_no_float_has_exactly_is_not_rounded_up_by_one() -> None:
    # 50 + 50/40 * (60.6 - 35) is 82 exactly; with floats it is 82.00000000000001.
    assert aqi.of_day("PM2_5", 60.6).index == 82


def test_above_the_last_breakpoint_it_is_500_and_beyond_the_index() -> None:
    assert aqi.of_day("PM2_5", 500) == aqi.PartIndex(500, 500, beyond=False)
    assert aqi.of_day("PM2_5", 500.1) == aqi.PartIndex(500.1, 500, beyond=True)
    assert aqi.of_day("PM10", 600.5).beyond and aqi.of_day("CO", 61).beyond and aqi.of_hour("NO2", 4000).beyond
    found = aqi.combined({"PM2_5": aqi.of_day("PM2_5", 700), "PM10": aqi.of_day("PM10", 20)})
    assert found is not None and (found.index, found.beyond, found.category) == (500, True, 6)


def test_the_tables_that_end_early_go_on_in_another_one() -> None:
    assert aqi.of_hour("SO2", 800).index == 200
    assert aqi.of_hour("SO2", 1200).index == 250
    assert aqi.of_hour("SO2", 3000) == aqi.PartIndex(3000, 500, beyond=True)
    # Above 800 as a mean of 8 hours the highest hour counts.
    assert aqi.of_day("O3", 800, 950).index == 300
    assert aqi.of_day("O3", 801, 1000) == aqi.PartIndex(1000, 400)
    assert aqi.of_day("O3", 801) == aqi.PartIndex(801, 301)


def test_the_highest_decides_and_is_primary_only_above_50() -> None:
    clean = aqi.combined({name: aqi.PartIndex(1, 50) for name in aqi.POLLUTANTS})
    assert clean == aqi.Index(50, 1, (), (), beyond=False)
    found = aqi.combined({"PM2_5": aqi.PartIndex(1, 90), "O3": aqi.PartIndex(1, 90), "NO2": aqi.PartIndex(1, 60)})
    assert found == aqi.Index(90, 2, ("PM2_5", "O3"), ("PM10", "SO2", "CO"), beyond=False)


def test_a_missing_pollutant_makes_it_incomplete_and_never_lower() -> None:
    parts = {name: aqi.of_day(name, 30) for name in aqi.POLLUTANTS}
    whole = aqi.combined(parts)
    assert whole is not None and whole.missing == ()
    for name in aqi.POLLUTANTS:
        found = aqi.combined({key: part for key, part in parts.items() if key != name})
        assert found is not None and found.missing == (name,)
    assert aqi.combined({}) is None


def test_the_levels_include_their_upper_bounds() -> None:
    bounds = (0, 50, 51, 100, 101, 150, 151, 200, 201, 300, 301, 500)
    assert [aqi.category(index) for index in bounds] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


@given(st.sampled_from(aqi.POLLUTANTS), st.floats(0, 5000), st.floats(0, 5000))
@settings(max_examples=60)
def test_more_is_never_better(pollutant: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    for of in (aqi.of_day, aqi.of_hour):
        assert of(pollutant, low).index <= of(pollutant, high).index


def test_the_mean_of_a_day_needs_20_hours() -> None:
    hours = [10.0] * 20 + [None] * 4
    assert aqi.mean_of_24_hours(hours) == (10.0, 20)
    assert aqi.mean_of_24_hours([None, *hours[1:]]) is None


def test_the_highest_mean_of_8_hours_is_found_with_its_hours() -> None:
    hours: list[float | None] = [20.0] * 24
    hours[12:20] = [100.0] * 8
    assert aqi.highest_of_8_hours(hours) == (100.0, 8)
    hours[12] = hours[13] = None
    # The windows that still have 6 of 8 hours count, those with 5 do not.
    assert aqi.highest_of_8_hours(hours) == (100.0, 6)
    # The hours before 1 o'clock are in the mean that ends at 8 alone.
    assert aqi.highest_of_8_hours([90.0] * 8 + [10.0] * 16) == (90.0, 8)


def test_with_too_few_means_of_8_hours_only_one_above_the_limit_counts() -> None:
    hours: list[float | None] = [None] * 16 + [150.0] * 8
    assert aqi.highest_of_8_hours(hours) is None
    assert aqi.highest_of_8_hours([None] * 16 + [161.0] * 8) == (161.0, 8)
    # At the limit itself it does not count. 14 means are enough, 13 are not: with 6 hours of 8 the first one ends at 11.
    assert aqi.highest_of_8_hours([None] * 16 + [160.0] * 8) is None
    assert aqi.highest_of_8_hours([None] * 5 + [20.0] * 19) == (20.0, 8)
    assert aqi.highest_of_8_hours([None] * 6 + [20.0] * 18) is None
    # The last one ends at 24.
    assert aqi.highest_of_8_hours([20.0] * 16 + [90.0] * 8) == (90.0, 8)
    assert aqi.highest_of_8_hours([None] * 24) is None
