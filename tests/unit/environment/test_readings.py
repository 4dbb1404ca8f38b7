"""Readings while the service runs: what is refused, hours and days, and what comes late."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Forbidden, NotFound
from citybrain.mesh.testing import Running, running
from citybrain.services.environment import hours, telemetry
from citybrain.services.environment.service import EnvironmentService
from tests.unit.environment.conftest import AIR, DAY, HOUR, moment, now, reading, send, station, to_the_hour

PM, CO, SO2 = pb.QUANTITY_PM2_5, pb.QUANTITY_CO, pb.QUANTITY_SO2
CLEAN = {pb.QUANTITY_PM2_5: 20, pb.QUANTITY_PM10: 40, pb.QUANTITY_SO2: 10, pb.QUANTITY_NO2: 30, CO: 0.9, pb.QUANTITY_O3: 60}


def hour_of(at_s: int, station_id: str = "a1", **values: float) -> list[pb.Reading]:
    """All six of an hour."""
    return [reading(one, values.get(pb.Quantity.Name(one)[9:], CLEAN[one]), at_s, station_id) for one in AIR]


def air(environment: Running, **question: Any) -> dict[str, int]:
    found = environment.fire("ListAirQuality", pb.ListAirQualityRequest(**question)).stations
    return {one.station_id: one.air_quality.index for one in found}


def published(environment: Running, period: pb.Period) -> list[tuple[str, int, int]]:
    """Kind, index, revision of what was published and retracted of an hour or a day."""
    return [
        (type(event.data).__name__.removeprefix("AirQuality"), getattr(event.data, "air_quality", pb.AirQuality()).index,
         event.data.revision)  # type: ignore[attr-defined]
        for event in environment.events(ev.AirQualityPublished, ev.AirQualityRetracted)
        if event.data.period == period  # type: ignore[attr-defined]
    ]  # fmt: skip


# -- what is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"station_id": "a9"}, r"readings\[1\]\.station_id: is not known here"),
        ({"sensor_id": "noise"}, r"readings\[1\]\.sensor_id: is no sensor of station a1: it has"),
        ({"unit": pb.UNIT_MG_M3}, r"readings\[1\]\.unit: is mg/m³, and PM2_5 is reported in µg/m³ here"),
        ({"value": 0.06}, r"readings\[1\]\.value: is less than 0.2 µg/m³.*as if it were in mg/m³, multiply by 1000"),
        ({"value": 60000}, r"readings\[1\]\.value: is more than 5000 µg/m³.*look at its unit"),
        ({"value": -3}, r"readings\[1\]\.value: is below 0"),
        ({"ahead": 120}, r"readings\[1\]\.measured_at: is .*nothing was taken in"),
        ({"ahead": -8 * DAY}, r"readings\[1\]\.measured_at: is .*nothing was taken in"),
    ],
)
def test_a_reading_that_cannot_be_right_refuses_the_batch_and_names_the_field(
    environment: Running, wrong: dict[str, Any], told: str
) -> None:
    at = now(environment)
    good = reading(SO2, 10, at)
    bad = reading(PM, wrong.pop("value", 30), at + wrong.pop("ahead", 0), **wrong)
    with pytest.raises(BadRequest, match=told):
        send(environment, good, bad)
    to_the_hour(environment, 400)
    assert not environment.events(ev.HourMeasured)


def test_carbon_monoxide_in_micrograms_is_found_by_its_size(environment: Running) -> None:
    with pytest.raises(BadRequest, match=r"is more than 200 mg/m³.*as if it were in µg/m³, divide by 1000"):
        send(environment, reading(CO, 1400, now(environment)))


def test_metals_in_micrograms_are_found_by_their_size(environment: Running) -> None:
    river = station("w1", medium=pb.MEDIUM_WATER, quantities=[pb.QUANTITY_LEAD])
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=river))
    with pytest.raises(BadRequest, match=r"is more than 10 mg/l.*as if it were in µg/l, divide by 1000"):
        send(environment, reading(pb.QUANTITY_LEAD, 30, now(environment), "w1", unit=pb.UNIT_MG_L))


def test_a_place_outside_the_city_is_refused_and_so_is_one_whose_numbers_have_changed_places(environment: Running) -> None:
    for longitude, latitude, told in ((116.4, 39.9, "lies outside the city"), (30.25, 120.15 - 60, "lies outside the city")):
        with pytest.raises(BadRequest, match=f"station.place: {told}"):
            environment.fire("RegisterStation", pb.RegisterStationRequest(station=station("b1", longitude, latitude)))
    # 120.15 is no latitude at all: the contract refuses it before; a mixed-up place that passes there is told what is wrong.
    from citybrain.services.environment import places

    assert "changed places" in places.problem(pb.Place(longitude=30.25, latitude=120.15))
    assert places.problem(pb.Place(longitude=118.33, latitude=30.58)) == ""


def test_a_station_has_no_sensor_twice_and_none_of_another_medium(environment: Running) -> None:
    twice = station("b1")
    twice.sensors.append(twice.sensors[0])
    with pytest.raises(BadRequest, match=r"sensors\[6\]\.sensor_id: is the id of another"):
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=twice))
    with pytest.raises(BadRequest, match=r"sensors\[0\]\.quantity: is not measured in water"):
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=station("b1", medium=pb.MEDIUM_WATER)))


def test_readings_of_a_station_that_was_registered_just_now_are_taken(environment: Running) -> None:
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=station("b1")))
    assert send(environment, reading(PM, 30, now(environment), "b1")).late == 0


# -- hours --------------------------------------------------------------------------------------------------------------------


def test_an_hour_is_published_when_it_is_over_with_all_that_it_rests_on(environment: Running) -> None:
    at = now(environment)
    send(environment, *hour_of(at, PM2_5=60))
    assert not environment.events(ev.AirQualityPublished)
    to_the_hour(environment, 400)
    (event,) = environment.events(ev.AirQualityPublished)
    data: Any = event.data
    quality = data.air_quality
    assert (quality.index, quality.category, list(quality.primary)) == (82, pb.AIR_CATEGORY_GOOD, [PM])
    assert (quality.incomplete, quality.standard, len(quality.pollutants)) == (False, "HJ 633-2012", 6)
    assert (event.stored.district, data.revision, getattr(data, "from").seconds) == ("xihu", 1, at)
    assert air(environment) == {"a1": 82}
    shown = environment.fire("GetStation", pb.GetStationRequest(station_id="a1")).last_hour
    assert shown.air_quality == quality and len(shown.means) == 6 and shown.means[0].value == 60


def test_an_hour_needs_45_minutes_of_readings_and_a_pollutant_without_them_is_missing(environment: Running) -> None:
    every_5 = station(interval_s=300)
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=every_5))
    environment.rest()
    at = now(environment)
    pm = [reading(PM, 60, at + 300 * n) for n in range(9)]
    so2 = [reading(SO2, 100, at + 300 * n) for n in range(8)]
    environment.advance(2800)
    send(environment, *pm, *so2)
    to_the_hour(environment, 400)
    (event,) = environment.events(ev.AirQualityPublished)
    quality = event.data.air_quality  # type: ignore[attr-defined]
    assert (quality.index, quality.incomplete, [one.quantity for one in quality.pollutants]) == (82, True, [PM])
    assert SO2 in quality.missing
    shown = environment.fire("GetStation", pb.GetStationRequest(station_id="a1")).last_hour
    assert {mean.quantity: mean.covered for mean in shown.means} == {PM: 0.75, SO2: 0.6667}


def test_the_same_reading_twice_counts_once_and_the_last_of_a_minute_counts(environment: Running) -> None:
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=station(interval_s=1800)))
    environment.rest()
    at = now(environment)
    environment.advance(1800)
    send(environment, reading(PM, 40, at), reading(PM, 80, at + 1800))
    send(environment, reading(PM, 80, at + 1800))
    send(environment, reading(PM, 70, at + 1830), reading(PM, 10, at + 1810))
    to_the_hour(environment, 400)
    (event,) = environment.events(ev.HourMeasured)
    assert list(event.data.sensors[0].values) == [40, 70]  # type: ignore[attr-defined]
    shown = environment.fire("GetStation", pb.GetStationRequest(station_id="a1")).last_hour
    assert shown.means[0].value == 55


def test_a_reading_that_comes_a_day_late_has_its_hour_computed_anew_and_what_it_refutes_retracted(environment: Running) -> None:
    at = now(environment)
    send(environment, *hour_of(at, PM2_5=60))
    environment.advance(DAY)
    environment.rest()
    assert published(environment, pb.PERIOD_HOUR) == [("Published", 82, 1)]
    # The same again changes nothing.
    assert send(environment, *hour_of(at, PM2_5=60)).late == 6
    assert published(environment, pb.PERIOD_HOUR) == [("Published", 82, 1)]
    send(environment, reading(PM, 120, at))
    expected = [("Published", 82, 1), ("Retracted", 0, 1), ("Published", 158, 2)]
    assert published(environment, pb.PERIOD_HOUR) == expected
    # What changes nothing that was published retracts nothing.
    send(environment, reading(CO, 0.8, at + 60))
    assert [kind for kind, _, _ in published(environment, pb.PERIOD_HOUR)] == ["Published", "Retracted", "Published"] * 1 + [
        "Retracted",
        "Published",
    ]


def test_an_hour_that_came_out_of_order_changes_not_what_the_air_is_like_now(environment: Running) -> None:
    at = to_the_hour(environment)
    send(environment, *hour_of(at, PM2_5=60))
    to_the_hour(environment, 400)
    send(environment, *hour_of(at - 5 * HOUR, PM2_5=200))
    environment.rest()
    assert air(environment) == {"a1": 82}
    first, second = environment.fire("ListStationHours", pb.ListStationHoursRequest(station_id="a1")).hours
    assert [one.air_quality.index for one in (first, second)] == [82, 250]


def test_the_worst_stations_come_first_in_pages_and_old_hours_are_not_now(environment: Running) -> None:
    for name, district in (("b1", "gongshu"), ("c1", "xihu")):
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=station(name, district_id=district)))
    environment.rest()
    at = now(environment)
    send(environment, *hour_of(at), *hour_of(at, "b1", PM2_5=120), *hour_of(at, "c1", PM2_5=60))
    to_the_hour(environment, 400)
    assert list(air(environment).items()) == [("b1", 158), ("c1", 82), ("a1", 40)]
    assert list(air(environment, in_district="xihu")) == ["c1", "a1"]
    first = environment.fire("ListAirQuality", pb.ListAirQualityRequest(page_size=2), district="gongshu")
    rest = environment.fire(
        "ListAirQuality", pb.ListAirQualityRequest(page_size=2, page_token=first.next_page_token), district="gongshu"
    )
    assert [[one.station_id for one in page.stations] for page in (first, rest)] == [["b1", "c1"], ["a1"]]
    environment.advance(3 * HOUR)
    assert air(environment) == {}


def test_a_reading_whose_hour_is_just_being_computed_is_put_into_it_at_once() -> None:
    # An hour is computed 300 s after its end; ten seconds before that nobody waits for it any more.
    second = 1_000_000
    assert not telemetry.is_late(0, (HOUR + 289) * second)
    assert telemetry.is_late(0, (HOUR + 290) * second)
    assert not telemetry.is_late(HOUR * second, (HOUR + 290) * second)


def test_values_of_a_sensor_that_the_station_has_no_more_are_left_out() -> None:
    assert hours.measure(hours.Day(), station(), 0, {"gone": {0: (0, 1.0)}}, over=False) == []
    (measured, _) = hours.measure(hours.Day(), station(), 0, {"gone": {0: (0, 1.0)}, "pm2_5": {0: (0, 1.0)}}, over=False)
    assert [one.sensor_id for one in measured.sensors] == ["pm2_5"]  # type: ignore[attr-defined]


def test_what_a_sensor_measured_as_another_quantity_is_not_mixed_with_what_it_measures_now() -> None:
    def measured(day: hours.Day, quantity: pb.Quantity, minute: int, value: float) -> list[Any]:
        one = station(quantities=(), interval_s=60)
        one.sensors.append(pb.Sensor(sensor_id="x", quantity=quantity, interval_s=60))
        return hours.measure(day, one, 0, {"x": {minute: (minute * 60_000_000, value)}}, over=False)

    day = reduce(hours.evolve, measured(hours.Day(), SO2, 3, 300.0), hours.Day())
    (event, *_) = measured(day, PM, 5, 20.0)
    assert [(one.quantity, list(one.minutes), list(one.values)) for one in event.sensors] == [(PM, [5], [20.0])]


def test_a_late_reading_that_was_measured_before_the_one_of_its_minute_changes_nothing(environment: Running) -> None:
    at = now(environment)
    environment.advance(60)
    send(environment, reading(PM, 70, at + 50))
    to_the_hour(environment, 400)
    for seconds, value, counts in ((10, 10.0, 70.0), (50, 80.0, 80.0), (55, 90.0, 90.0)):
        assert send(environment, reading(PM, value, at + seconds)).late == 1
        (*_, event) = environment.events(ev.HourMeasured)
        assert list(event.data.sensors[0].values) == [counts]  # type: ignore[attr-defined]


def test_readings_that_come_thick_and_fast_cover_no_more_than_their_time() -> None:
    def covered(interval_s: int, *minutes: int) -> float:
        sensor = ev.SensorHour(quantity=PM, interval_s=interval_s, minutes=minutes, values=[1.0] * len(minutes))
        return hours.means([sensor], pb.MEDIUM_AIR)[0].covered

    # Twelve values of five minutes each are an hour, but not where they lie a minute apart: then they are 16 minutes.
    assert covered(300, *range(0, 60, 5)) == 1
    assert covered(300, *range(12)) == round(16 / 60, 4)
    # A sensor that sends each half hour, or once, at whatever minute.
    assert covered(1800, 10, 40) == covered(3600, 59) == 1
    assert covered(1, *range(45)) == 0.75


def test_a_station_keeps_its_medium(environment: Running) -> None:
    with pytest.raises(AlreadyDifferent, match="is of air already: another one has another id"):
        river = station(medium=pb.MEDIUM_WATER, quantities=[pb.QUANTITY_COD])
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=river))


# -- days ---------------------------------------------------------------------------------------------------------------------


def test_a_day_is_published_after_its_end_and_anew_when_readings_come_late(environment: Running) -> None:
    # The next midnight in Hangzhou, which is 16:00 UTC.
    environment.advance((16 * HOUR - now(environment)) % DAY)
    environment.rest()
    midnight = now(environment)
    environment.advance(DAY)
    for hour in range(24):
        send(environment, *hour_of(midnight + hour * HOUR, PM2_5=60, O3=120 if 10 <= hour < 18 else 20))
    assert published(environment, pb.PERIOD_DAY) == []
    environment.advance(1300)
    environment.rest()
    assert published(environment, pb.PERIOD_DAY) == [("Published", 82, 1)]
    (event,) = (one for one in environment.events(ev.AirQualityPublished) if one.data.period == pb.PERIOD_DAY)  # type: ignore[attr-defined]
    ozone = event.data.air_quality.pollutants[-1]  # type: ignore[attr-defined]
    assert (ozone.value, ozone.hours, ozone.hours_measured, ozone.index) == (120, 8, 8, 67)
    send(environment, reading(PM, 1000, midnight + 5 * HOUR))
    # 23 hours of 60 and one of 1000: 99.1667.
    assert published(environment, pb.PERIOD_DAY)[1:] == [("Retracted", 0, 1), ("Published", 131, 2)]


def test_a_day_whose_end_nobody_saw_is_published_when_a_process_is_up_again() -> None:
    # Of the runs that were missed while no process was up the newest alone is made up for, two days after this one.
    name, events, day = "2026-01-03", list[Any](), hours.Day()
    for number in range(24):
        start = hours.beginning(name) + number * hours.HOUR_US
        told = hours.measure(day, station(), start, {"pm2_5": {0: (start, 60.0)}}, over=False)
        events += told
        day = reduce(hours.evolve, told, day)
    with running(EnvironmentService, days={f"a1.{name}": events}) as environment:
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=station()))
        environment.rest()
        for _ in range(2):
            environment.fire("close_days")
            assert published(environment, pb.PERIOD_DAY) == [("Published", 82, 1)]


# -- water --------------------------------------------------------------------------------------------------------------------


def test_the_class_of_water_is_published_with_what_decides_and_retracted_when_it_holds_no_more(environment: Running) -> None:
    measured = (pb.QUANTITY_AMMONIA_NITROGEN, pb.QUANTITY_COD_MN)
    river = station("w1", medium=pb.MEDIUM_WATER, quantities=[*measured, pb.QUANTITY_FECAL_COLIFORM])
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=river))
    environment.rest()
    at = now(environment)
    send(environment, *(reading(one, 1.2, at, "w1", unit=pb.UNIT_MG_L) for one in measured))
    send(environment, reading(pb.QUANTITY_FECAL_COLIFORM, 900, at, "w1", unit=pb.UNIT_PER_L))
    to_the_hour(environment, 400)
    (event,) = environment.events(ev.WaterQualityPublished)
    quality = event.data.water_quality  # type: ignore[attr-defined]
    assert (quality.water_class, list(quality.deciding), quality.incomplete) == (pb.WATER_CLASS_IV, [measured[0]], True)
    assert (quality.standard, quality.assessed_by, len(quality.missing)) == ("GB 3838-2002", "环办〔2011〕22号", 19)
    assert [(one.quantity, one.water_class) for one in quality.beside] == [(pb.QUANTITY_FECAL_COLIFORM, pb.WATER_CLASS_II)]
    send(environment, reading(measured[0], 0.4, at, "w1", unit=pb.UNIT_MG_L))
    kinds = [type(one.data).__name__ for one in environment.events(ev.WaterQualityPublished, ev.WaterQualityRetracted)]
    assert kinds == ["WaterQualityPublished", "WaterQualityRetracted", "WaterQualityPublished"]
    environment.rest()
    shown = environment.fire("GetStation", pb.GetStationRequest(station_id="w1")).last_hour
    assert shown.water_quality.water_class == pb.WATER_CLASS_II


# -- stations -----------------------------------------------------------------------------------------------------------------


def test_stations_are_listed_by_medium_district_and_calibration(environment: Running) -> None:
    due = station("b1", district_id="gongshu")
    due.sensors[0].calibration_due.CopyFrom(moment(now(environment) + 100))
    for _ in range(2):
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=due))
    environment.fire(
        "RegisterStation",
        pb.RegisterStationRequest(station=station("s1", medium=pb.MEDIUM_SOIL, quantities=[pb.QUANTITY_LEAD])),
    )
    environment.rest()
    assert len(environment.events(ev.StationRegistered)) == 3

    def listed(**question: Any) -> list[str]:
        return [one.station_id for one in environment.fire("ListStations", pb.ListStationsRequest(**question)).stations]

    assert listed() == ["a1", "b1", "s1"]
    assert listed(district_id="gongshu") == ["b1"]
    assert listed(medium=pb.MEDIUM_SOIL) == ["s1"]
    assert listed(calibration_due_before=moment(now(environment) + 101)) == ["b1"]
    assert listed(calibration_due_before=moment(now(environment) + 100)) == []
    with pytest.raises(NotFound, match="no station x9"):
        environment.fire("GetStation", pb.GetStationRequest(station_id="x9"))


def test_who_is_bound_to_a_district_reports_and_sees_no_station_of_another(environment: Running) -> None:
    with pytest.raises(Forbidden):
        send(environment, reading(PM, 30, now(environment)), district="gongshu")
    with pytest.raises(Forbidden):
        environment.fire("GetStation", pb.GetStationRequest(station_id="a1"), district="gongshu")
    assert send(environment, reading(PM, 30, now(environment)), district="xihu").late == 0
