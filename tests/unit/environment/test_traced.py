"""What is kept around an exceedance, and what of it is traced."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.errors import Refused
from citybrain.services.environment import exceedance, places, surroundings, traced
from citybrain.services.environment.plume_rise import Flue
from citybrain.services.environment.recent import Recent
from tests.unit.environment.conftest import moment

SO2, SPEED, FROM = pb.QUANTITY_SO2, pb.QUANTITY_WIND_SPEED, pb.QUANTITY_WIND_DIRECTION
MIDDLE = pb.Place(longitude=120.15, latitude=30.25)
FOUND = pb.Exceedance(exceedance_id="exc-1", medium=pb.MEDIUM_AIR, quantity=SO2, limit=500, place=MIDDLE, first_at=moment(6000))


def mean(
    station: str, value: float, quantity: pb.Quantity = SO2, east_m: float = 0.0, interval_s: int = 300,
    medium: pb.Medium = pb.MEDIUM_AIR,
) -> ev.StationMean:  # fmt: skip
    place = places.at_metres(MIDDLE, east_m, 0)
    return ev.StationMean(
        station_id=station, quantity=quantity, value=value, readings=1, place=place, interval_s=interval_s, medium=medium
    )


def step(seconds: int, *means: ev.StationMean) -> ev.SurroundingsMeasured:
    told: dict[str, Any] = {"from": moment(seconds)}
    return ev.SurroundingsMeasured(exceedance_id="exc-1", means=means, **told)


WIND = (mean("w", 3, SPEED), mean("w", 270, FROM))


def suspected(medium: pb.Medium = pb.MEDIUM_AIR, quantity: pb.Quantity = SO2, limit: float = 500) -> exceedance.Spot:
    """An exceedance that one sensor has read."""
    reading = pb.SupportingReading(station_id="s0", value=limit + 200, measured_at=moment(6000))
    event = ev.ExceedanceSuspected(
        exceedance_id="exc-1", medium=medium, quantity=quantity, limit=limit, place=MIDDLE, reading=reading
    )
    return exceedance.evolve(exceedance.Board(), event).spots["exc-1"]


def test_of_many_stations_the_nearest_are_kept() -> None:
    spot = suspected()
    means = [mean(f"s{n}", 10, east_m=10 * n) for n in reversed(range(surroundings.MOST_STATIONS + 5))]
    (kept,) = surroundings.follow(surroundings.Followed(), spot, [(6_000_000_000, means)])
    stations = [one.station_id for one in kept.means]  # type: ignore[attr-defined]
    assert stations == [f"s{n}" for n in range(surroundings.MOST_STATIONS)]
    known = surroundings.evolve(surroundings.Followed(), kept)
    assert surroundings.follow(known, spot, [(6_000_000_000, means)]) == []


def test_what_a_stack_emits_is_not_taken_for_what_is_in_the_air_around_it() -> None:
    # 700 mg/m³ in a stack that is permitted them, and 20 µg/m³ in the air.
    means = [mean("a", 20), mean("k", 700, medium=pb.MEDIUM_STACK), *WIND]
    (kept,) = surroundings.follow(surroundings.Followed(), suspected(), [(6_000_000_000, means)])
    found: Any = kept
    assert [one.station_id for one in found.means] == ["a", "w", "w"] and not found.above
    # Around a stack it is the other way round; lead in soil and in water are two things as well.
    (kept,) = surroundings.follow(surroundings.Followed(), suspected(pb.MEDIUM_STACK), [(6_000_000_000, means)])
    found = kept
    assert [one.station_id for one in found.means] == ["k", "w", "w"] and found.above
    lead = [mean("s", 300, pb.QUANTITY_LEAD, medium=pb.MEDIUM_SOIL), mean("r", 0.01, pb.QUANTITY_LEAD, medium=pb.MEDIUM_WATER)]
    (kept,) = surroundings.follow(
        surroundings.Followed(), suspected(pb.MEDIUM_WATER, pb.QUANTITY_LEAD, 0.05), [(6_000_000_000, lead)]
    )
    found = kept
    assert [one.station_id for one in found.means] == ["r"] and not found.above


def test_only_its_quantity_within_reach_says_that_it_goes_on() -> None:
    def above(*means: ev.StationMean) -> bool:
        spot = suspected(quantity=pb.QUANTITY_NO2, limit=200)
        (kept,) = surroundings.follow(surroundings.Followed(), spot, [(6_000_000_000, means)])
        found: Any = kept
        return bool(found.above)

    # A wind from 350 degrees is not 350 µg/m³, and what is 5 km away is another one.
    assert not above(mean("w", 350, FROM), mean("a", 20, pb.QUANTITY_NO2))
    assert not above(mean("a", 200, pb.QUANTITY_NO2)) and above(mean("a", 201, pb.QUANTITY_NO2))
    assert above(mean("b", 300, pb.QUANTITY_NO2, 4990)) and not above(mean("b", 300, pb.QUANTITY_NO2, 5010))


def test_what_is_15_km_away_is_kept_and_no_more_and_what_nobody_measured_is_no_step() -> None:
    def kept(*means: ev.StationMean) -> list[str]:
        found: list[Any] = surroundings.follow(surroundings.Followed(), suspected(), [(6_000_000_000, means)])
        return [one.station_id for step in found for one in step.means]

    assert kept(mean("a", 20, east_m=14_990), mean("b", 20, east_m=15_010)) == ["a"]
    assert surroundings.follow(surroundings.Followed(), suspected(), [(6_000_000_000, [mean("b", 20, east_m=15_010)])]) == []


def test_an_hour_before_a_step_is_remembered() -> None:
    recent = Recent()
    recent.setup()
    steps: list[surroundings.Step] = [(n * 300_000_000, []) for n in range(20)]
    for n, one in enumerate(steps):
        assert recent.before(one) == steps[max(0, n - 12) : n + 1]
    # The same step again, as after a restart of the window, is there once.
    assert recent.before(steps[-1]) == steps[-13:]


def test_of_an_exceedance_that_goes_on_for_days_the_first_hours_are_remembered_and_each_step_is_kept_once() -> None:
    followed, spot = surroundings.Followed(), suspected()
    most = surroundings.MOST_REMEMBERED
    for n in range(most + 50):
        for _ in range(2):
            for event in surroundings.follow(followed, spot, [(n * 300_000_000, [mean("a", 700)])]):
                assert getattr(event, "from").seconds == n * 300
                followed = surroundings.evolve(followed, event)
    assert len(followed.steps) == most >= surroundings.BEFORE + traced.MOST_STEPS + 3
    assert followed.last_above == (most + 50) * 300_000_000


def test_it_is_traced_from_the_step_in_which_it_had_begun() -> None:
    steps = [step(4800, *WIND, mean("a", 20)), step(5400, *WIND, mean("a", 119)), step(5700, *WIND, mean("a", 121)),
             step(6000, *WIND, mean("a", 700))]  # fmt: skip
    # A fifth of the limit above what was there before, which is 20; what began over 15 minutes before it was read is too long
    # ago.
    assert traced.steps_of(FOUND, steps) == steps[2:]
    found = traced.observations(FOUND, steps, steps[2:])
    assert [(one.value, one.before, one.speed_m_s, one.from_deg) for one in found] == [(121, 20, 3, 270), (700, 20, 3, 270)]


def test_a_station_that_was_in_the_plume_all_the_time_has_no_higher_background_than_others_by_half() -> None:
    steps = [step(6000, *WIND, mean("a", 700), mean("b", 20), mean("c", 22))]
    assert [one.before for one in traced.observations(FOUND, steps, steps)] == [33, 20, 22]


def test_without_a_quick_sensor_nothing_is_traced() -> None:
    steps = [step(6000, *WIND, mean("a", 700, interval_s=901))]
    with pytest.raises(Refused, match="no sensor around it sends every 15 minutes"):
        traced.observations(FOUND, steps, steps)


def test_registered_sources_within_12_km_are_candidates_the_nearest_first() -> None:
    sources = [
        pb.Source(source_id=name, place=places.at_metres(MIDDLE, metres, 0), stack_height_m=30)
        for name, metres in (("far", 12_100), ("edge", 11_900), ("near", -500))
    ]
    sources[1].flue.CopyFrom(pb.Flue(diameter_m=1.5, speed_m_s=12, temperature_c=120))
    found = traced.candidates(FOUND, sources)
    assert [(one.name, round(one.east_m), one.height_m, one.flue) for one in found] == [
        ("near", -500, 30, None), ("edge", 11_900, 30, Flue(1.5, 12, 393.15))
    ]  # fmt: skip
