"""How many people a place holds, and what is refused when one is registered."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import tourism_service_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound
from citybrain.mesh.testing import Running
from citybrain.services.tourism import carrying_capacity, counting, levels, places
from citybrain.services.tourism.hysteresis import climbed
from tests.unit.tourism.conftest import HALL, place

STEPS = levels.FULLNESS


def test_the_space_holds_the_sum_of_area_by_area_a_person_and_the_fraction_is_left_out_once() -> None:
    assert carrying_capacity.space([(2000, 5), (3333, 10), (10000, 60)]) == 899
    # Each part alone holds one and a half.
    assert carrying_capacity.space([(15, 10), (15, 10)]) == 3
    assert carrying_capacity.space([(0.3, 0.1)]) == 3


def test_the_smallest_facility_binds_and_the_space_where_they_are_equal() -> None:
    assert carrying_capacity.bound(1000, [("gate", 900), ("water", 700), ("cars", 700)]) == (700, "water")
    assert carrying_capacity.bound(1000, [("gate", 1000)]) == (1000, "")
    assert carrying_capacity.bound(1000, []) == (1000, "")


def test_on_a_day_the_whole_part_of_its_turns_counts() -> None:
    assert [carrying_capacity.turns(600, stay) for stay in (210, 200, 600)] == [2, 3, 1]
    shown = places.capacity(place(facilities=[facility("gate", 900)]))
    assert (shown.at_once, shown.space, shown.bound_by, shown.turns, shown.daily) == (900, 1000, "gate", 2, 1800)
    assert shown.standard == "LB/T 034-2014"
    assert not places.capacity(place(open_minutes=0, stay_minutes=0)).HasField("daily")


def facility(name: str, persons: int) -> pb.Facility:
    return pb.Facility(facility_id=name, name=name, kind=pb.FACILITY_KIND_GATE, persons=persons)


def part(part_id: str = "p", area_m2: float = 100, m2_per_person: float = 5) -> pb.Part:
    return pb.Part(part_id=part_id, name=part_id, area_m2=area_m2, m2_per_person=m2_per_person)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"parts": [part(area_m2=0)], "counters": []}, r"place.parts\[0\].area_m2: is 0: a part in which nobody can stand"),
        ({"parts": [part(area_m2=4)], "counters": []}, r"place.parts: hold nobody"),
        (
            {"parts": [part(m2_per_person=0)], "counters": []},
            r"place.parts\[0\].m2_per_person: is 0: with so little people touch",
        ),
        ({"parts": [part(m2_per_person=0.28)], "counters": []}, r"m2_per_person: is 0.28: with so little people touch"),
        ({"parts": [part(area_m2=1e8, m2_per_person=1)], "counters": []}, r"place.parts: hold 100000000 people: look at"),
        ({"parts": [part(), part()], "counters": []}, r"place.parts\[1\].part_id: is p, which stands in the list before"),
        ({"facilities": [facility("gate", 0)]}, r"place.facilities\[0\].persons: is 0, and the place would hold nobody"),
        ({"facilities": [facility("gate", 9), facility("gate", 8)]}, r"place.facilities\[1\].facility_id: is gate, which"),
        ({"counters": [pb.Counter(counter_id="a", part_id="roof")]}, r"place.counters\[0\].part_id: is no part of the place"),
        ({"counters": [pb.Counter(counter_id="a", part_id=HALL)] * 2}, r"place.counters\[1\].counter_id: is a, which stands"),
        ({"stay_minutes": 0}, r"place.stay_minutes: is missing"),
        ({"stay_minutes": 601}, r"place.stay_minutes: is longer than the place is open \(600 minutes\)"),
        ({"position": pb.Position(longitude=120.74, latitude=30.25)}, r"place.position: lies outside the city"),
        ({"position": pb.Position(longitude=118.32, latitude=30.25)}, r"place.position: lies outside the city"),
        ({"position": pb.Position(longitude=120.15, latitude=30.59)}, r"place.position: lies outside the city"),
        ({"position": pb.Position(longitude=120.15, latitude=29.17)}, r"place.position: lies outside the city"),
    ],
)
def test_a_place_that_holds_nobody_or_does_not_fit_together_is_refused_with_its_field(more: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        counting.register(counting.State(), place(**more))


def test_what_people_need_to_touch_each_other_is_no_capacity_and_a_little_more_is_one() -> None:
    assert counting.register(counting.State(), place(parts=[part(m2_per_person=0.29)], counters=[]))


@pytest.mark.parametrize(
    "more",
    [
        {"open_minutes": 0, "stay_minutes": 0},
        {"stay_minutes": 600},
        {"position": pb.Position(longitude=118.33, latitude=29.18)},
        {"position": pb.Position(longitude=120.73, latitude=30.58)},
    ],
)
def test_a_place_without_hours_of_one_long_stay_or_at_the_border_of_the_city_is_one(more: dict[str, Any]) -> None:
    assert len(places.register(None, place(**more))) == 1


def test_a_place_is_registered_once_changed_and_stays_in_its_district(tourism: Running) -> None:
    answer = tourism.fire("RegisterPlace", pb.RegisterPlaceRequest(place=place()))
    assert (answer.capacity.at_once, len(tourism.events(ev.PlaceRegistered))) == (1000, 1)
    changed = tourism.fire("RegisterPlace", pb.RegisterPlaceRequest(place=place(facilities=[facility("gate", 900)])))
    assert (changed.capacity.at_once, changed.capacity.bound_by) == (900, "gate")
    shown = tourism.fire("GetPlace", pb.GetPlaceRequest(place_id="p1"))
    assert (shown.capacity, shown.HasField("now")) == (changed.capacity, False)
    with pytest.raises(AlreadyDifferent, match="is in xihu and stays there"):
        tourism.fire("RegisterPlace", pb.RegisterPlaceRequest(place=place(district_id="gongshu")))
    with pytest.raises(NotFound, match="RegisterPlace makes it known"):
        tourism.fire("GetPlace", pb.GetPlaceRequest(place_id="p9"))


def test_a_level_is_reached_at_its_value_and_left_ten_per_cent_below() -> None:
    assert [levels.fullness(0, people, 1000, complete=True) for people in (799, 800, 899, 900, 999, 1000, 1100)] == [
        0, 80, 80, 90, 90, 100, 100,
    ]  # fmt: skip
    assert [levels.fullness(100, people, 1000, complete=True) for people in (900, 899, 800, 799, 700, 699)] == [
        100, 90, 90, 80, 80, 0,
    ]  # fmt: skip


def test_people_who_are_missing_in_a_count_reach_levels_and_leave_none() -> None:
    assert levels.fullness(90, 0, 1000, complete=False) == 90
    assert levels.fullness(0, 1000, 1000, complete=False) == 100


def test_a_density_at_a_bound_belongs_to_the_closer_level_and_is_left_ten_per_cent_below() -> None:
    free = pb.DENSITY_LEVEL_FREE
    reached = [levels.density(free, people / 100, complete=True) for people in (42, 43, 199, 200, 356, 357, 554, 555, 709, 710)]
    assert reached == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    left = [levels.density(pb.DENSITY_LEVEL_CRITICAL, value, complete=True) for value in (6.39, 6.38, 4.994, 3.212, 1.79, 0.38)]
    assert left == [6, 5, 4, 3, 2, 1]
    assert levels.density(pb.DENSITY_LEVEL_CONTACT, 0, complete=False) == pb.DENSITY_LEVEL_CONTACT


def test_citizens_are_told_the_worse_of_fullness_and_density_and_nothing_good_of_what_is_not_counted() -> None:
    whole, part_of_it = pb.COUNT_STATE_COMPLETE, pb.COUNT_STATE_INCOMPLETE
    slow = pb.DENSITY_LEVEL_SLOW
    assert [levels.comfort(level, slow, whole) for level in (0, 80, 90, 100)] == [
        pb.COMFORT_COMFORTABLE, pb.COMFORT_BUSY, pb.COMFORT_CROWDED, pb.COMFORT_FULL,
    ]  # fmt: skip
    assert levels.comfort(0, pb.DENSITY_LEVEL_CONTACT, whole) == pb.COMFORT_CROWDED
    assert levels.comfort(80, pb.DENSITY_LEVEL_DANGEROUS, whole) == pb.COMFORT_FULL
    assert levels.comfort(0, slow, part_of_it) == levels.comfort(0, slow, pb.COUNT_STATE_SILENT) == pb.COMFORT_UNKNOWN
    assert levels.comfort(80, slow, part_of_it) == pb.COMFORT_BUSY


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3), st.floats(0, 120), st.floats(0, 120))
def test_more_people_never_lead_to_a_lower_level_and_staying_changes_nothing(before: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert climbed(before, low, STEPS) <= climbed(before, high, STEPS)
    after = climbed(before, one, STEPS)
    assert climbed(after, one, STEPS) == after


def test_a_count_that_swings_around_a_bound_is_told_once() -> None:
    found, level = [], 0
    for people in (899, 901, 899, 901, 850, 899, 800, 901):
        level = levels.fullness(level, people, 1000, complete=True)
        found.append(level)
    assert found == [80, 90, 90, 90, 90, 90, 90, 90]
