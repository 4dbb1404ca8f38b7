"""Satellites: what they see above a cell of the map is compared with stations, and is never an index or an exceedance."""

from __future__ import annotations

import random
from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.testing import Running
from citybrain.services.environment import column_ratio, comparing, places
from citybrain.services.environment.column_ratio import Beside, compared
from tests.unit.environment.conftest import HOUR, now, reading, send, station, to_the_hour

NO2, COLUMN, AOD = pb.QUANTITY_NO2, pb.QUANTITY_NO2_COLUMN, pb.QUANTITY_AEROSOL_OPTICAL_DEPTH
NAMES = ("a", "b", "c", "d", "e")
# Five kilometres apart: nobody has three neighbours within ten.
EAST_M = {"a": 0, "b": 11_000, "c": 22_000, "d": 33_000, "e": 44_000}


def seen(hours: int = 5, seed: int = 1, **change: float) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, float]]]:
    """What stations measure, and what is seen above them; the part near the ground is another one in each hour."""
    by = random.Random(seed)
    ground: dict[str, dict[int, float]] = {name: {} for name in NAMES}
    above: dict[str, dict[int, float]] = {name: {} for name in NAMES}
    for hour in range(hours):
        near_the_ground = by.uniform(0.1, 0.6)
        for name in NAMES:
            above[name][hour] = by.uniform(80, 400)
            ground[name][hour] = above[name][hour] * near_the_ground * by.gauss(1, 0.05) * change.get(name, 1.0)
    return ground, above


def test_stations_that_agree_with_what_is_seen_above_them_are_believed_in_any_weather() -> None:
    found = compared(*seen())
    assert set(found) == set(NAMES)
    assert all(one.hours == 5 and 0.8 < one.factor < 1.25 and not one.off for one in found.values())


def test_a_station_that_reads_three_times_as_much_is_found_and_nobody_else() -> None:
    found = compared(*seen(c=3.0))
    assert found["c"].off and found["c"].factor == pytest.approx(3, rel=0.2)
    assert not any(found[name].off for name in NAMES if name != "c")
    assert compared(*seen(c=0.3))["c"].off
    assert [Beside(factor, 5).off for factor in (0.5, 2, 0.49, 2.01)] == [False, False, True, True]


def test_too_few_hours_or_stations_say_nothing_and_neither_does_a_cloud() -> None:
    assert set(compared(*seen(column_ratio.FEWEST_HOURS))) == set(NAMES)
    assert compared(*seen(column_ratio.FEWEST_HOURS - 1)) == {}
    ground, above = seen()
    four = ("a", "b", "c", "d")
    assert set(compared({name: ground[name] for name in four}, above)) == set(four)
    assert compared({name: ground[name] for name in four[:3]}, above) == {}
    # Where all others read nothing there is nothing to divide by.
    nothing = {name: ground["a"] if name == "a" else dict.fromkeys(ground[name], 0.0) for name in NAMES}
    assert "a" not in compared(nothing, above)
    # An hour in which a station measured nothing is none of its hours.
    assert compared(ground | {"a": {hour: ground["a"][hour] for hour in range(4)}}, above)["a"].hours == 4
    above["a"] = dict.fromkeys(above["a"], 0.0)
    assert set(compared(ground, above)) == {"b", "c", "d", "e"}


# -- while the service runs ---------------------------------------------------------------------------------------------------


def satellite(name: str = "sat-1", east_m: float = 0.0, cell_m: float = 5000, **more: Any) -> pb.Station:
    place = places.at_metres(pb.Place(longitude=119.8, latitude=30.1), east_m, 0)
    told: dict[str, Any] = {"medium": pb.MEDIUM_COLUMN, "quantities": (COLUMN, AOD), "cell_m": cell_m, **more}
    return station(name, place.longitude, place.latitude, **told)


def register(environment: Running, *stations: pb.Station) -> None:
    for one in stations:
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=one))
    environment.rest()


RIVER: Any = {"medium": pb.MEDIUM_WATER, "quantities": (pb.QUANTITY_COD,)}
STACK: Any = {"medium": pb.MEDIUM_STACK, "quantities": (pb.QUANTITY_SO2,)}


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (satellite(cell_m=0), r"station\.cell_m: is missing"),
        (station("x1", cell_m=5000), r"station\.cell_m: is for satellites"),
        (satellite(quantities=(NO2,)), r"sensors\[0\]\.quantity: is not measured in column"),
        # Without its source a stack has no limit, and would never be beyond one.
        (station("x1", **STACK), r"station\.source_id: is missing"),
        (station("x1", source_id="s1"), r"station\.source_id: is for stacks"),
        (station("x1", lake=True), r"station\.lake: is for water"),
        (station("x1", **STACK, source_id="s1", water_target=3), r"station\.water_target: is for water"),
        (station("x1", **RIVER, source_id="s1"), r"station\.source_id: is for stacks"),
    ],
)
def test_a_station_says_what_its_medium_asks_for_and_nothing_of_another_one(
    environment: Running, one: pb.Station, told: str
) -> None:
    with pytest.raises(BadRequest, match=told):
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=one))


def test_what_a_satellite_sees_is_no_index_and_no_exceedance(environment: Running) -> None:
    register(environment, satellite())
    at = now(environment)
    seen_now = [reading(COLUMN, 900, at, "sat-1", unit=pb.UNIT_UMOL_M2), reading(AOD, 4.9, at, "sat-1", unit=pb.UNIT_ONE)]
    assert not send(environment, *seen_now).exceedance_ids
    to_the_hour(environment, 400)
    (measured,) = environment.events(ev.HourMeasured)
    assert measured.data.medium == pb.MEDIUM_COLUMN  # type: ignore[attr-defined]
    assert not environment.events(ev.AirQualityPublished, ev.WaterQualityPublished)
    shown = environment.fire("GetStation", pb.GetStationRequest(station_id="sat-1")).last_hour
    assert {one.quantity: one.value for one in shown.means} == {COLUMN: 900, AOD: 4.9}
    with pytest.raises(BadRequest, match=r"is more than 5000 µmol/m².*look at its unit"):
        send(environment, reading(COLUMN, 6000, at, "sat-1", unit=pb.UNIT_UMOL_M2))
    # In mol/m², as it is published, it is far too small.
    with pytest.raises(BadRequest, match="looks as if it were in mol/m², multiply by 1000000"):
        send(environment, reading(COLUMN, 0.0002, at, "sat-1", unit=pb.UNIT_UMOL_M2))


def test_a_station_without_neighbours_is_compared_with_what_is_seen_above_it(environment: Running) -> None:
    # The cell of c ends right at its station; f lies beside the cells.
    cells = [satellite(f"sat-{name}", east + (2500 if name == "c" else 0)) for name, east in EAST_M.items()]
    places_of = {name: satellite(name, east).place for name, east in EAST_M.items()}
    places_of["f"] = satellite("f", 50_000).place
    grounds = [
        station(name, place.longitude, place.latitude, quantities=(NO2,), owner="traffic") for name, place in places_of.items()
    ]
    register(environment, *cells, *grounds)
    at = now(environment)
    ground, above = seen(6, c=3.0)
    for name in NAMES:
        for hour in range(6):
            send(
                environment, reading(NO2, ground[name][hour], at - (hour + 1) * 24 * HOUR, name),
                reading(COLUMN, above[name][hour], at - (hour + 1) * 24 * HOUR, f"sat-{name}", unit=pb.UNIT_UMOL_M2),
            )  # fmt: skip
            send(environment, reading(NO2, 50, at - (hour + 1) * 24 * HOUR, "f"))
    environment.rest()
    for _ in range(2):
        environment.fire("compare_stations")
        environment.rest()
    listed = environment.fire("ListBiases", pb.ListBiasesRequest()).biases
    found = {one.station_id: one for one in listed}
    assert set(found) == set(NAMES) and listed[0].station_id == "c"
    assert [name for name, one in found.items() if one.flagged] == ["c"]
    assert found["c"].column_factor == pytest.approx(3, rel=0.25)
    assert (found["c"].column_hours, list(found["c"].column_ids), found["c"].hours) == (6, ["sat-c"], 0)
    (asked,) = environment.events(ev.MaintenanceAsked)
    data: Any = asked.data
    assert data.station_id == "c" and "times as much NO2 as other stations" in data.reason and "over 6 hours" in data.reason


def test_neighbours_on_the_ground_say_more_than_a_satellite() -> None:
    # Four stations in one quarter that agree, and a fifth far away; above c three times less is seen than above the others.
    stations = {name: satellite(name, n * 1000, cell_m=500).place for n, name in enumerate(NAMES)}
    known = {name: pb.Station(station_id=name, place=place) for name, place in stations.items()}
    sats = {
        f"sat-{name}": pb.Station(station_id=f"sat-{name}", place=place, cell_m=500) for name, place in stations.items()
    }  # fmt: skip
    ground = {name: dict.fromkeys(range(24), 50.0) for name in NAMES}
    columns = {f"sat-{name}": dict.fromkeys(range(24), 50.0 if name == "c" else 150.0) for name in NAMES}
    # One that has seen nothing is not told.
    sats["blind"] = pb.Station(station_id="blind", place=stations["c"], cell_m=500)
    by_station = {one.station_id: one for one in comparing.estimated("NO2", known, ground, sats, columns | {"blind": {}})}
    assert list(by_station["c"].column_ids) == ["sat-c"]
    assert by_station["c"].column_factor == pytest.approx(3) and not by_station["c"].flagged
    assert (by_station["c"].hours, by_station["c"].bias) == (24, 0)
