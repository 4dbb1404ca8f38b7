"""Exceedances: suspected, verified by a second sensor, unverified, retracted, ended."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.errors import NotFound
from citybrain.mesh.testing import Running
from citybrain.services.environment import exceedance, limits
from tests.unit.environment.conftest import DAY, moment, now, reading, send, station

SO2, PM = pb.QUANTITY_SO2, pb.QUANTITY_PM2_5
VERDICTS = (ev.ExceedanceVerified, ev.ExceedanceUnverified, ev.MaintenanceAsked, ev.ExceedanceRetracted, ev.ExceedanceEnded)
MINUTE = 60
# About 1 km, 4.9 km and 5.1 km to the east of the first station.
NEAR, AT_THE_EDGE, FAR = 120.1604, 120.2009, 120.2030


def told(environment: Running) -> list[str]:
    environment.rest()
    return [type(event.data).__name__ for event in environment.events(*VERDICTS)]


def shown(environment: Running, **question: Any) -> list[pb.Exceedance]:
    environment.rest()
    return list(environment.fire("ListExceedances", pb.ListExceedancesRequest(**question)).exceedances)


@pytest.fixture
def two(environment: Running) -> Running:
    """Two stations, a kilometre apart."""
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=station("b1", NEAR, district_id="gongshu")))
    environment.rest()
    return environment


def test_a_reading_at_the_limit_raises_nothing_and_one_above_is_suspected(environment: Running) -> None:
    at = now(environment)
    assert not send(environment, reading(SO2, 500, at), reading(PM, 900, at + 1)).exceedance_ids
    (found,) = send(environment, reading(SO2, 500.1, at + 60 - 60)).exceedance_ids
    (one,) = shown(environment)
    assert (one.exceedance_id, one.state, one.value, one.limit) == (found, pb.EXCEEDANCE_STATE_SUSPECTED, 500.1, 500)
    assert (one.standard, one.unit, one.district_id) == ("GB 3095-2012, table 1, grade II, 1 h", pb.UNIT_UG_M3, "xihu")
    assert told(environment) == []


@pytest.mark.parametrize(("seconds", "verified"), [(0, True), (900, True), (901, False)])
def test_a_second_station_verifies_it_within_15_minutes(two: Running, seconds: int, verified: bool) -> None:
    at = now(two)
    (one,) = send(two, reading(SO2, 620, at)).exceedance_ids
    two.advance(850)
    two.rest()
    assert told(two) == []
    two.advance(49)
    send(two, reading(SO2, 810, at + seconds, "b1"))
    two.advance(5)
    if not verified:
        assert "ExceedanceVerified" not in told(two)
        return
    assert told(two) == ["ExceedanceVerified"]
    (event,) = two.events(ev.ExceedanceVerified)
    data: Any = event.data
    assert (data.exceedance_id, data.value, data.limit, list(data.station_ids)) == (one, 810, 500, ["a1", "b1"])
    assert (data.first_at.seconds, data.district_id, event.stored.correlation_id) == (at, "xihu", one)
    assert (data.place.longitude, data.standard) == (120.15, "GB 3095-2012, table 1, grade II, 1 h")


def test_another_sensor_of_the_station_verifies_it_too_and_the_same_one_again_does_not(environment: Running) -> None:
    twin = station()
    twin.sensors.append(pb.Sensor(sensor_id="so2-b", quantity=SO2, interval_s=60))
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=twin))
    at = now(environment)
    send(environment, reading(SO2, 620, at))
    environment.advance(120)
    send(environment, reading(SO2, 630, at + 120), reading(SO2, 640, at + 61))
    environment.advance(10)
    assert told(environment) == []
    send(environment, reading(SO2, 650, at + 125, sensor_id="so2-b"))
    environment.advance(5)
    assert told(environment) == ["ExceedanceVerified"]


@pytest.mark.parametrize(("longitude", "together"), [(AT_THE_EDGE, True), (FAR, False)])
def test_only_a_station_within_5_km_verifies_it(environment: Running, longitude: float, together: bool) -> None:
    environment.fire("RegisterStation", pb.RegisterStationRequest(station=station("b1", longitude)))
    environment.rest()
    at = now(environment)
    send(environment, reading(SO2, 620, at), reading(SO2, 620, at, "b1"))
    environment.advance(5)
    assert told(environment) == (["ExceedanceVerified"] if together else [])
    assert len(shown(environment)) == (1 if together else 2)


def test_where_nobody_verifies_it_maintenance_is_asked_for_once_a_day(environment: Running) -> None:
    at = now(environment)
    (one,) = send(environment, reading(SO2, 620, at)).exceedance_ids
    environment.advance(900)
    assert told(environment) == []
    environment.advance(5)
    assert told(environment) == ["ExceedanceUnverified", "MaintenanceAsked"]
    (event,) = environment.events(ev.MaintenanceAsked)
    data: Any = event.data
    assert (data.station_id, data.sensor_id, data.district_id, data.maintenance_id) == ("a1", "so2", "xihu", one)
    assert "read SO2 of 620" in data.reason and data.place.latitude == 30.25 and data.asked_at.seconds == at + 905
    assert shown(environment)[0].reason == data.reason
    # The sensor goes on to read too high: whoever was asked knows it.
    assert not send(environment, reading(SO2, 700, at + 900)).exceedance_ids
    environment.advance(DAY)
    assert list(send(environment, reading(SO2, 700, at + DAY - 1)).exceedance_ids) == [one]
    (other,) = send(environment, reading(SO2, 700, at + DAY)).exceedance_ids
    assert other != one


def test_a_sensor_that_nobody_confirmed_confirms_another_one(two: Running) -> None:
    at = now(two)
    send(two, reading(SO2, 620, at))
    two.advance(1200)
    two.rest()
    send(two, reading(SO2, 640, at + 1200, "b1"))
    send(two, reading(SO2, 650, at + 1201))
    two.advance(5)
    assert told(two) == ["ExceedanceUnverified", "MaintenanceAsked", "ExceedanceVerified"]


def test_a_corrected_reading_that_was_needed_retracts_it_and_one_that_was_not_does_not(two: Running) -> None:
    two.fire("RegisterStation", pb.RegisterStationRequest(station=station("c1", NEAR, 30.251)))
    two.rest()
    at = now(two)
    (one,) = send(two, *(reading(SO2, 700, at, name) for name in ("a1", "b1", "c1"))).exceedance_ids
    two.advance(5)
    # Another value above the limit, then below it: two others still say so.
    for value in (900, 70):
        assert list(send(two, reading(SO2, value, at, "b1")).exceedance_ids) == [one]
        two.advance(5)
        assert told(two) == ["ExceedanceVerified"]
    assert [(each.station_id, each.value) for each in shown(two)[0].readings] == [("a1", 700), ("c1", 700)]
    # Another minute of a sensor corrects nothing.
    send(two, reading(SO2, 70, at + 60, "c1"))
    two.advance(60)
    assert told(two) == ["ExceedanceVerified"]
    send(two, reading(SO2, 70, at, "c1"))
    two.advance(5)
    assert told(two) == ["ExceedanceVerified", "ExceedanceRetracted"]
    (event,) = two.events(ev.ExceedanceRetracted)
    assert (event.data.verified, event.data.district_id) == (True, "xihu")  # type: ignore[attr-defined]
    assert shown(two)[0].state == pb.EXCEEDANCE_STATE_RETRACTED


def test_a_suspicion_whose_only_reading_was_wrong_is_retracted_and_nobody_is_sent(environment: Running) -> None:
    at = now(environment)
    send(environment, reading(SO2, 620, at))
    send(environment, reading(SO2, 62, at))
    environment.advance(1000)
    assert told(environment) == ["ExceedanceRetracted"]


def test_one_that_has_ended_is_retracted_too_when_its_readings_are_corrected_days_later(two: Running) -> None:
    at = now(two)
    send(two, reading(SO2, 700, at), reading(SO2, 700, at, "b1"))
    two.advance(5699)
    assert told(two) == ["ExceedanceVerified"]
    two.advance(6)
    assert told(two) == ["ExceedanceVerified", "ExceedanceEnded"]
    two.advance(2 * DAY)
    send(two, reading(SO2, 30, at, "b1"))
    two.advance(5)
    assert told(two)[-1] == "ExceedanceRetracted"


def test_it_goes_on_while_any_sensor_around_reads_above_the_limit_and_is_one(two: Running) -> None:
    at = now(two)
    (one,) = send(two, reading(SO2, 700, at), reading(SO2, 700, at, "b1")).exceedance_ids
    two.advance(3600)
    send(two, reading(SO2, 600, at + 3600, "b1"))
    two.advance(3600)
    two.rest()
    assert told(two) == ["ExceedanceVerified"]
    assert len(shown(two)) == 1
    two.advance(2200)
    assert told(two) == ["ExceedanceVerified", "ExceedanceEnded"]
    # What comes after it is another one.
    (other,) = send(two, reading(SO2, 700, at + 9000)).exceedance_ids
    assert other != one


def test_what_stations_around_measured_is_kept_with_the_wind_from_an_hour_before(two: Running) -> None:
    windy = station("w1", NEAR, 30.26, quantities=(pb.QUANTITY_WIND_SPEED, pb.QUANTITY_WIND_DIRECTION, SO2, PM))
    for one in (windy, station("far", 120.5, 30.25)):
        two.fire("RegisterStation", pb.RegisterStationRequest(station=one))
    two.rest()
    at = now(two)
    for step in range(3):
        told_at = at + 300 * step
        wind = [
            reading(pb.QUANTITY_WIND_SPEED, 3, told_at, "w1"),
            reading(pb.QUANTITY_WIND_DIRECTION, 350 if step == 0 else 10, told_at, "w1"),
            reading(pb.QUANTITY_WIND_DIRECTION, 10, told_at + 60, "w1"),
        ]
        two.advance(told_at + 61 - now(two))
        so2 = [reading(SO2, 700 if step == 2 and name in ("a1", "b1") else 20, told_at, name) for name in ("a1", "b1", "far")]
        send(two, *wind, *so2, reading(PM, 30, told_at, "w1"))
    two.advance(400)
    two.rest()
    steps: list[Any] = [event.data for event in two.events(ev.SurroundingsMeasured)]
    assert [getattr(one, "from").seconds for one in steps] == [at, at + 300, at + 600]
    assert [one.above for one in steps] == [False, False, True]
    first = {(one.station_id, one.quantity): one.value for one in steps[0].means}
    # North, the mean of 350 and 10 degrees; no PM2.5, which it is not about; nothing of a station 30 km away.
    assert first == {
        ("a1", SO2): 20, ("b1", SO2): 20, ("w1", pb.QUANTITY_WIND_SPEED): 3, ("w1", pb.QUANTITY_WIND_DIRECTION): 0
    }  # fmt: skip


def test_a_district_reports_a_reading_that_confirms_an_exceedance_of_another_one(two: Running) -> None:
    at = now(two)
    send(two, reading(SO2, 700, at), district="xihu")
    send(two, reading(SO2, 700, at, "b1"), district="gongshu")
    two.advance(5)
    assert told(two) == ["ExceedanceVerified"]
    assert [one.district_id for one in shown(two)] == ["xihu"]
    listed = two.fire("ListExceedances", pb.ListExceedancesRequest(), district="gongshu").exceedances
    assert not listed


def test_exceedances_are_listed_newest_first_by_state_in_pages(two: Running) -> None:
    at = now(two)
    send(two, reading(SO2, 700, at), reading(SO2, 700, at, "b1"))
    two.advance(60)
    send(two, reading(pb.QUANTITY_CO, 12, at + 60))
    two.advance(5)
    assert [one.quantity for one in shown(two)] == [pb.QUANTITY_CO, SO2]
    assert [one.quantity for one in shown(two, states=[pb.EXCEEDANCE_STATE_VERIFIED])] == [SO2]
    assert [one.quantity for one in shown(two, district_id="gongshu")] == []
    first = two.fire("ListExceedances", pb.ListExceedancesRequest(page_size=1))
    rest = two.fire("ListExceedances", pb.ListExceedancesRequest(page_size=1, page_token=first.next_page_token))
    assert [page.exceedances[0].quantity for page in (first, rest)] == [pb.QUANTITY_CO, SO2]
    one = two.fire("GetExceedance", pb.GetExceedanceRequest(exceedance_id=rest.exceedances[0].exceedance_id))
    assert one.exceedance == rest.exceedances[0] and not one.HasField("trace")
    with pytest.raises(NotFound):
        two.fire("GetExceedance", pb.GetExceedanceRequest(exceedance_id="exc-000000000000"))


# -- limits -------------------------------------------------------------------------------------------------------------------


def test_limits_of_water_are_those_of_the_class_that_it_is_to_have() -> None:
    river = pb.Station(medium=pb.MEDIUM_WATER, water_target=pb.WATER_CLASS_III)
    ammonia = limits.limit_of(river, pb.QUANTITY_AMMONIA_NITROGEN, {})
    assert ammonia == limits.Limit("GB 3838-2002, table 1, class III", 1)
    acid = limits.limit_of(river, pb.QUANTITY_PH, {})
    assert acid is not None and [acid.exceeded(value) for value in (5.9, 6, 9, 9.1)] == [True, False, False, True]
    assert [acid.bound(value) for value in (5.9, 9.1)] == [6, 9]
    assert limits.limit_of(river, pb.QUANTITY_WATER_TEMPERATURE, {}) is None
    assert limits.limit_of(river, pb.QUANTITY_TOTAL_NITROGEN, {}) is None
    oxygen = limits.limit_of(river, pb.QUANTITY_DISSOLVED_OXYGEN, {})
    assert oxygen is not None and oxygen.exceeded(4.9) and not oxygen.exceeded(5) and not oxygen.exceeded(9)
    lake = limits.limit_of(
        pb.Station(medium=pb.MEDIUM_WATER, water_target=pb.WATER_CLASS_III, lake=True), pb.QUANTITY_TOTAL_PHOSPHORUS, {}
    )
    assert lake is not None and lake.most == 0.05
    assert limits.limit_of(pb.Station(medium=pb.MEDIUM_WATER), pb.QUANTITY_COD, {}) is None


def test_limits_of_a_stack_are_those_of_its_permit() -> None:
    stack = pb.Station(medium=pb.MEDIUM_STACK, source_id="s1")
    permit = pb.Permit(number="P-7", pollutants=[pb.PermittedPollutant(quantity=SO2, limit_mg_m3=35)])
    assert limits.limit_of(stack, SO2, {"s1": permit}) == limits.Limit("permit P-7", 35)
    assert limits.limit_of(stack, pb.QUANTITY_NOX, {"s1": permit}) is None
    assert limits.limit_of(stack, SO2, {}) is None
    soil = limits.limit_of(pb.Station(medium=pb.MEDIUM_SOIL), pb.QUANTITY_LEAD, {})
    assert soil is not None and soil.most == 800


def test_acid_water_is_not_verified_by_alkaline_water(environment: Running) -> None:
    for river in (water("w1", pb.WATER_CLASS_V, 120.15, pb.QUANTITY_PH), water("w2", pb.WATER_CLASS_V, NEAR, pb.QUANTITY_PH)):
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=river))
    environment.rest()
    at = now(environment)
    for name, value in (("w1", 5.2), ("w2", 9.6)):
        send(environment, reading(pb.QUANTITY_PH, value, at, name, unit=pb.UNIT_ONE))
    environment.advance(5)
    assert told(environment) == []
    assert sorted((one.value, one.limit) for one in shown(environment)) == [(5.2, 6), (9.6, 9)]
    send(environment, reading(pb.QUANTITY_PH, 5.9, at, "w2", unit=pb.UNIT_ONE))
    environment.advance(5)
    assert sorted(told(environment)) == ["ExceedanceRetracted", "ExceedanceVerified"]


def test_too_little_oxygen_is_an_exceedance_and_the_lowest_value_is_told(environment: Running) -> None:
    for name, longitude in (("w1", 120.15), ("w2", NEAR)):
        river = station(
            name, longitude, medium=pb.MEDIUM_WATER, quantities=[pb.QUANTITY_DISSOLVED_OXYGEN], water_target=pb.WATER_CLASS_III
        )
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=river))
    environment.rest()
    at = now(environment)
    for name, value in (("w1", 4.0), ("w2", 3.0)):
        send(environment, reading(pb.QUANTITY_DISSOLVED_OXYGEN, value, at, name, unit=pb.UNIT_MG_L))
    environment.advance(5)
    assert told(environment) == ["ExceedanceVerified"]
    (event,) = environment.events(ev.ExceedanceVerified)
    assert shown(environment)[0].value == event.data.value == 3.0  # type: ignore[attr-defined]


def test_of_one_without_readings_the_first_one_is_told() -> None:
    reading = pb.SupportingReading(station_id="a1", sensor_id="so2", value=700)
    spot = exceedance.Spot(ev.ExceedanceSuspected(limit=500, reading=reading), pb.EXCEEDANCE_STATE_RETRACTED, {})
    assert exceedance.show(spot).value == 700


def test_a_reading_that_is_hours_old_waits_for_a_second_one_as_any_does(environment: Running) -> None:
    environment.advance(3 * 3600)
    send(environment, reading(SO2, 700, now(environment) - 2 * 3600))
    environment.advance(890)
    assert told(environment) == []
    environment.advance(20)
    assert told(environment) == ["ExceedanceUnverified", "MaintenanceAsked"]


@pytest.mark.parametrize("first", ["a1", "b1"])
def test_a_sensor_that_nobody_confirmed_confirms_another_one_whichever_comes_first(two: Running, first: str) -> None:
    at = now(two)
    (one,) = send(two, reading(SO2, 620, at)).exceedance_ids
    two.advance(3600)
    assert told(two) == ["ExceedanceUnverified", "MaintenanceAsked"]
    # Both send a value an hour: the next one is too late to confirm anything.
    for name in (first, "b1" if first == "a1" else "a1"):
        send(two, reading(SO2, 650, at + 3600, name))
    two.advance(5)
    assert told(two)[2:] == ["ExceedanceVerified"]
    (event,) = two.events(ev.ExceedanceVerified)
    assert event.data.first_at.seconds == at + 3600  # type: ignore[attr-defined]
    assert (event.data.exceedance_id == one) is (first == "a1")  # type: ignore[attr-defined]


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "backwards"])
def test_an_hour_that_comes_at_once_is_one_exceedance(two: Running, order: int) -> None:
    at = now(two)
    two.advance(3600)
    hour = range(0, 60, 5)[::order]
    # One sensor alone: one suspicion, one order to look at it.
    assert len(send(two, *(reading(SO2, 700, at + 60 * n) for n in hour)).exceedance_ids) == 1
    two.advance(1000)
    assert told(two) == ["ExceedanceUnverified", "MaintenanceAsked"]
    # Two sensors: one exceedance.
    co, batch = pb.QUANTITY_CO, list[pb.Reading]()
    for n in hour:
        batch += [reading(co, 12, at + 60 * n, name) for name in ("a1", "b1")]
    assert len(send(two, *batch).exceedance_ids) == 1
    two.advance(5)
    assert told(two)[2:] == ["ExceedanceVerified"]


@pytest.mark.parametrize("at_once", [False, True])
def test_a_sensor_that_read_above_it_for_an_hour_supports_it_though_its_first_reading_is_corrected(
    two: Running, at_once: bool
) -> None:
    at = now(two)
    for name in ("a1", "b1"):
        one = station(name, 120.15 if name == "a1" else NEAR, district_id="xihu", interval_s=300)
        two.fire("RegisterStation", pb.RegisterStationRequest(station=one))
    two.rest()
    two.advance(1500)
    minutes = (0, 5, 10, 15, 20)
    (one_id,) = send(two, *(reading(SO2, 700, at + 60 * n, name) for n in minutes for name in ("a1", "b1"))).exceedance_ids
    two.advance(DAY)
    assert told(two) == ["ExceedanceVerified", "ExceedanceEnded"]
    # All at once, but for the last one: it is 20 minutes after the one of the other sensor that stood there.
    if at_once:
        send(two, *(reading(SO2, 70, at + 60 * n) for n in minutes[:-1]))
        two.advance(5)
        assert told(two) == ["ExceedanceVerified", "ExceedanceEnded"]
        assert [each.measured_at.seconds - at for each in shown(two)[0].readings] == [1200, 900]
        return
    # What is left of both is looked up hour by hour: the first two minutes of them that confirm each other stand for it.
    for n in minutes[:-1]:
        send(two, reading(SO2, 70, at + 60 * n))
        two.advance(5)
        assert told(two) == ["ExceedanceVerified", "ExceedanceEnded"]
        stands = {each.station_id: each.measured_at.seconds for each in shown(two)[0].readings}
        assert stands == {"a1": at + 60 * (n + 5), "b1": at + 60 * n}
    assert [one.exceedance_id for one in shown(two)] == [one_id]
    send(two, reading(SO2, 70, at + 1200))
    two.advance(5)
    assert told(two)[-1] == "ExceedanceRetracted"


# -- late, corrected, and of another kind -------------------------------------------------------------------------------------


def test_a_reading_that_comes_late_verifies_what_nobody_had_verified(two: Running) -> None:
    at = now(two)
    (one,) = send(two, reading(SO2, 620, at)).exceedance_ids
    two.advance(1200)
    assert told(two) == ["ExceedanceUnverified", "MaintenanceAsked"]
    # The second station was cut off; what it sends now is of the same quarter of an hour.
    assert list(send(two, reading(SO2, 700, at + 600, "b1")).exceedance_ids) == [one]
    two.advance(5)
    assert told(two) == ["ExceedanceUnverified", "MaintenanceAsked", "ExceedanceVerified"]
    for question in ({}, {"states": [pb.EXCEEDANCE_STATE_VERIFIED]}):
        (found,) = shown(two, **question)
        assert (found.exceedance_id, found.state, found.reason) == (one, pb.EXCEEDANCE_STATE_VERIFIED, "")


def test_a_suspicion_that_nobody_verified_is_retracted_when_its_reading_is_corrected(two: Running) -> None:
    at = now(two)
    send(two, reading(SO2, 620, at))
    two.advance(1200)
    send(two, reading(SO2, 62, at))
    two.advance(5)
    assert told(two) == ["ExceedanceUnverified", "MaintenanceAsked", "ExceedanceRetracted"]
    # The sensor is believed again: what it reads next is raised.
    assert send(two, reading(SO2, 800, at + 1200)).exceedance_ids


def test_a_reading_that_comes_a_day_late_belongs_to_the_exceedance_that_has_ended(two: Running) -> None:
    two.fire("RegisterStation", pb.RegisterStationRequest(station=station("c1", NEAR, 30.251)))
    two.rest()
    at = now(two)
    (one,) = send(two, reading(SO2, 700, at), reading(SO2, 700, at, "b1")).exceedance_ids
    two.advance(3600)
    send(two, reading(SO2, 700, at + 3600, "b1"))
    two.advance(DAY)
    assert told(two) == ["ExceedanceVerified", "ExceedanceEnded"]
    assert list(send(two, reading(SO2, 650, at + 1800, "c1")).exceedance_ids) == [one]
    two.advance(1200)
    assert told(two) == ["ExceedanceVerified", "ExceedanceEnded"]
    # Its last five minutes ended an hour and five minutes after it began; what is more than 15 minutes later is another one.
    assert list(send(two, reading(SO2, 650, at + 4800, "c1")).exceedance_ids) == []
    (other,) = send(two, reading(SO2, 650, at + 4801, "b1")).exceedance_ids
    assert other != one


@pytest.mark.parametrize(("minutes", "belongs"), [(-15, True), (-16, False)])
def test_what_was_read_long_before_it_is_another_one(two: Running, minutes: int, belongs: bool) -> None:
    two.fire("RegisterStation", pb.RegisterStationRequest(station=station("c1", NEAR, 30.251)))
    two.rest()
    at = now(two)
    (one,) = send(two, reading(SO2, 700, at), reading(SO2, 700, at, "b1")).exceedance_ids
    two.advance(5)
    assert told(two) == ["ExceedanceVerified"]
    assert (list(send(two, reading(SO2, 650, at + 60 * minutes, "c1")).exceedance_ids) == [one]) is belongs


def test_nothing_belongs_to_one_that_is_retracted(two: Running) -> None:
    at = now(two)
    (one,) = send(two, reading(SO2, 620, at)).exceedance_ids
    send(two, reading(SO2, 62, at))
    two.advance(5)
    assert told(two) == ["ExceedanceRetracted"]
    (other,) = send(two, reading(SO2, 650, at, "b1")).exceedance_ids
    # Nor is it corrected again: the same sensor's value is part of the new one.
    assert list(send(two, reading(SO2, 640, at)).exceedance_ids) == [other] != [one]


def test_of_one_minute_a_reading_that_was_measured_before_corrects_none_that_was_measured_after(environment: Running) -> None:
    at = now(environment)
    environment.advance(60)
    send(environment, reading(SO2, 620, at + 50))
    # It comes later, and was measured before.
    assert not send(environment, reading(SO2, 30, at + 10)).exceedance_ids
    environment.advance(5)
    assert told(environment) == []
    send(environment, reading(SO2, 30, at + 50))
    environment.advance(5)
    assert told(environment) == ["ExceedanceRetracted"]


def water(name: str, target: pb.WaterClass, longitude: float, quantity: pb.Quantity = pb.QUANTITY_COD) -> pb.Station:
    return station(name, longitude, medium=pb.MEDIUM_WATER, quantities=[quantity], water_target=target)


def test_a_reading_below_the_limit_of_an_exceedance_does_not_verify_it_though_it_is_above_its_own(environment: Running) -> None:
    cod, at = pb.QUANTITY_COD, now(environment)
    for river in (water("w1", pb.WATER_CLASS_IV, 120.15), water("w2", pb.WATER_CLASS_II, NEAR)):
        environment.fire("RegisterStation", pb.RegisterStationRequest(station=river))
    environment.rest()
    # 30 is the limit of class IV, 15 that of class II.
    (one,) = send(environment, reading(cod, 31, at, "w1", unit=pb.UNIT_MG_L)).exceedance_ids
    (two,) = send(environment, reading(cod, 29, at, "w2", unit=pb.UNIT_MG_L)).exceedance_ids
    assert one != two
    environment.advance(5)
    assert told(environment) == []
    # Corrected to 30, the limit of the first one, it verifies that not; to 32 it does.
    assert list(send(environment, reading(cod, 30, at, "w2", unit=pb.UNIT_MG_L)).exceedance_ids) == [two]
    environment.advance(5)
    assert told(environment) == []
    assert list(send(environment, reading(cod, 32, at, "w2", unit=pb.UNIT_MG_L)).exceedance_ids) == [two, one]
    environment.advance(5)
    assert told(environment) == ["ExceedanceVerified"]


def test_an_exceedance_that_goes_on_for_weeks_stays_on_its_board() -> None:
    def suspected(name: str, day: int) -> ev.ExceedanceSuspected:
        at = moment(day * DAY)
        told = pb.SupportingReading(station_id=name, sensor_id="so2", value=700, measured_at=at)
        return ev.ExceedanceSuspected(exceedance_id=name, medium=pb.MEDIUM_AIR, limit=500, reading=told, suspected_at=at)

    board = exceedance.Board()
    for event in (suspected("a", 100), ev.ExceedanceVerified(exceedance_id="a"), suspected("b", 101),
                  ev.ExceedanceUnverified(exceedance_id="b"), suspected("c", 109), suspected("d", 110)):  # fmt: skip
        board = exceedance.evolve(board, event)
    # Of those that are over, readings may be corrected for a week.
    assert sorted(board.spots) == ["a", "c", "d"]
