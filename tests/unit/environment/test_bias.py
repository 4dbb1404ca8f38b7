"""A station beside its neighbours: bias, a station that lies, a clock that is off."""

from __future__ import annotations

import random
from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.testing import Running
from citybrain.services.environment import comparing, station_bias
from citybrain.services.environment.station_bias import biases
from tests.unit.environment.conftest import HOUR, named, now, reading, send, station

PM = pb.QUANTITY_PM2_5
NAMES = ("a1", "b1", "c1", "d1", "e1")
PLACES = {name: (n * 1000.0, 0.0) for n, name in enumerate(NAMES)}


def hours_of(count: int = 96, seed: int = 1, **change: Any) -> dict[str, dict[int, float]]:
    """Hours of five stations in one air, each a little different. `change`: what a station makes of an hour."""
    by, level, air = random.Random(seed), 80.0, []
    for _ in range(count + 24):
        level = max(20.0, level + by.gauss(0, 12))
        air.append(level)
    found = {}
    for name in NAMES:
        of = change.get(name, lambda air, hour: air[hour])
        found[name] = {hour: round(of(air, hour) * by.gauss(1, 0.03), 2) for hour in range(12, count + 12)}
    return found


def test_good_stations_have_little_bias_and_are_believed() -> None:
    found = biases("PM2_5", hours_of(), PLACES)
    assert set(found) == set(NAMES)
    for one in found.values():
        assert abs(one.bias) < 3 and not one.flagged and one.clock_off_h == 0
        assert (one.hours, len(one.neighbours)) == (96, 4)


def test_a_station_that_lies_is_found_and_makes_nobody_else_look_wrong() -> None:
    found = biases("PM2_5", hours_of(c1=lambda air, hour: air[hour] * 0.5), PLACES)
    assert found["c1"].flagged and found["c1"].bias < -20 and found["c1"].relative == pytest.approx(0.5, abs=0.05)
    assert not any(found[name].flagged for name in NAMES if name != "c1")


def test_hours_of_smoke_beside_one_station_are_no_bias() -> None:
    found = biases("PM2_5", hours_of(c1=lambda air, hour: air[hour] + (400 if hour % 4 == 0 else 0)), PLACES)
    assert not found["c1"].flagged and abs(found["c1"].bias) < 5


@pytest.mark.parametrize("off", [-5, 3, 8])
def test_a_clock_that_is_off_is_found_with_the_hours(off: int) -> None:
    found = biases("PM2_5", hours_of(c1=lambda air, hour: air[hour - off]), PLACES)
    assert (found["c1"].clock_off_h, found["c1"].flagged) == (off, True)
    assert not any(found[name].clock_off_h for name in NAMES if name != "c1")


def test_too_few_hours_or_neighbours_say_nothing() -> None:
    assert biases("PM2_5", hours_of(23), PLACES) == {}
    assert set(biases("PM2_5", hours_of(24), PLACES)) == set(NAMES)
    far = {**PLACES, "d1": (30_000.0, 0.0), "e1": (40_000.0, 0.0)}
    assert biases("PM2_5", hours_of(), far) == {}
    # So near is near enough.
    edge = {**PLACES, "e1": (station_bias.NEIGHBOURS_M, 0.0), "a1": (0.0, 0.0)}
    assert "e1" in biases("PM2_5", hours_of(), edge)["a1"].neighbours


def beside(mine: float, others: float = 100.0, hours: int = 24, metres: float = 9000.0, count: int = 3) -> Any:
    """The bias of a station that reads `mine` all the time; None: it is not compared."""
    stations = {"a": dict.fromkeys(range(hours), mine)} | {f"b{n}": dict.fromkeys(range(hours), others) for n in range(count)}
    places = {"a": (0.0, 0.0)} | {f"b{n}": (0.0, metres) for n in range(count)}
    return biases("PM2_5", stations, places).get("a")


def test_each_bound_of_the_comparison_belongs_to_the_station() -> None:
    # 30 % of what the neighbours read, and no less than 10 µg/m³.
    assert [beside(mine).flagged for mine in (130, 130.1, 70, 69.9)] == [False, True, False, True]
    assert [beside(mine, 10).flagged for mine in (20, 20.1)] == [False, True]
    # Three neighbours, 24 hours, 10 km are enough.
    assert beside(100, count=3) is not None and beside(100, count=2) is None
    assert beside(100, hours=24) is not None and beside(100, hours=23) is None
    assert beside(100, metres=10_000) is not None and beside(100, metres=10_000.1) is None


@pytest.mark.parametrize(("off", "hours", "found"), [(12, 96, 12), (-12, 96, -12), (13, 96, 0), (3, 54, 3), (3, 48, 0)])
def test_a_clock_is_looked_for_within_half_a_day_and_in_two_days_of_changes(off: int, hours: int, found: int) -> None:
    by, level, air = random.Random(2), 80.0, []
    for _ in range(140):
        level = max(20.0, level + by.gauss(0, 12))
        air.append(level)
    there = {hour: air[hour] for hour in range(20, 20 + hours)}
    moved = {hour: air[hour - off] for hour in range(20, 20 + hours)}
    assert station_bias.clock_off_h(moved, there) == found


def test_a_station_that_lies_is_listed_first_and_somebody_looks_at_it_once(environment: Running) -> None:
    for n, name in enumerate(NAMES):
        one = station(
            name, 120.15 + n * 0.01, quantities=(PM,), district_id="xihu" if n < 4 else "gongshu", owner=f"department {n}"
        )
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=one))
    environment.rest()
    at = now(environment)
    for name, values in hours_of(30, c1=lambda air, hour: air[hour] * 2).items():
        send(environment, *(reading(PM, value, at - hour * HOUR, name) for hour, value in values.items()))
    environment.rest()
    for _ in range(2):
        environment.fire("compare_stations")
        environment.rest()

    def listed(**question: Any) -> list[pb.Bias]:
        return list(environment.fire("ListBiases", pb.ListBiasesRequest(**question)).biases)

    found = listed()
    assert found[0].station_id == "c1" and len(found) == 5
    assert (found[0].flagged, found[0].owner, found[0].hours, found[0].quantity) == (True, "department 2", 30, PM)
    assert [one.station_id for one in listed(flagged=True)] == ["c1"]
    first = environment.fire("ListBiases", pb.ListBiasesRequest(page_size=1))
    rest = listed(page_size=10, page_token=first.next_page_token)
    assert [*first.biases, *rest] == found
    assert len(environment.events(ev.BiasEstimated)) == 5
    (event,) = environment.events(ev.MaintenanceAsked)
    data: Any = event.data
    assert (data.station_id, data.sensor_id, data.district_id) == ("c1", "", "xihu")
    assert f"reads {named(PM).upper()} +" in data.reason and data.maintenance_id.startswith("bias.c1.pm2_5.")


def test_a_station_that_is_not_believed_yet_is_not_asked_for_again_until_it_was_believed() -> None:
    def asked(before: pb.Bias | None, bias: pb.Bias) -> int:
        events = comparing.compare(comparing.Compared(before), bias, pb.Place(), 0)
        return sum(isinstance(event, ev.MaintenanceAsked) for event in events)

    good = pb.Bias(station_id="c1", quantity=PM, bias=1)
    wrong, worse = (pb.Bias(station_id="c1", quantity=PM, bias=bias, flagged=True) for bias in (40, 50))
    off = pb.Bias(station_id="c1", quantity=PM, bias=1, flagged=True, clock_off_h=5)
    assert [asked(None, wrong), asked(wrong, worse), asked(worse, worse), asked(wrong, good), asked(good, worse)] == [
        1,
        0,
        0,
        0,
        1,
    ]
    (_, event) = comparing.compare(comparing.Compared(), off, pb.Place(), 0)
    assert "its clock seems to be off by 5 hours" in event.reason  # type: ignore[attr-defined]


def test_an_estimate_that_nothing_supports_any_more_is_retracted(environment: Running) -> None:
    for n, name in enumerate(NAMES):
        one = station(name, 120.15 + n * 0.01, quantities=(PM, pb.QUANTITY_SO2))
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=one))
    environment.rest()
    at = now(environment)
    for name, values in hours_of(30, c1=lambda air, hour: air[hour] * 2).items():
        send(environment, *(reading(PM, value, at - hour * HOUR, name) for hour, value in values.items()))
    environment.rest()
    environment.fire("compare_stations")
    environment.rest()
    assert len(environment.events(ev.BiasEstimated)) == 5
    # A week later nobody has measured anything.
    environment.advance(8 * 24 * HOUR)
    environment.rest()
    for _ in range(2):
        environment.fire("compare_stations")
        environment.rest()
    assert not environment.fire("ListBiases", pb.ListBiasesRequest()).biases
    gone: list[Any] = [event.data for event in environment.events(ev.BiasRetracted)]
    assert sorted((one.station_id, one.quantity) for one in gone) == [(name, PM) for name in NAMES]
    assert gone[0].reason == "in the last 7 days it had too few hours or neighbours to be compared"


def test_hours_that_are_not_covered_are_not_compared() -> None:
    def hour(covered: float) -> pb.StationHour:
        told: dict[str, Any] = {"from": {"seconds": 7200}}
        return pb.StationHour(means=[pb.HourlyMean(quantity=PM, value=30, covered=covered)], **told)

    assert comparing.hours_of([hour(0.75)], PM, 0) == {2: 30}
    assert comparing.hours_of([hour(0.74)], PM, 0) == {}
    assert comparing.hours_of([hour(1)], PM, 7200_000_001) == {}
