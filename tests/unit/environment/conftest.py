"""What the tests of the running service share: stations in the city, and what their sensors send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from citybrain.environment.v1 import environment_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.environment.service import EnvironmentService

AIR = (pb.QUANTITY_PM2_5, pb.QUANTITY_PM10, pb.QUANTITY_SO2, pb.QUANTITY_NO2, pb.QUANTITY_CO, pb.QUANTITY_O3)
UNITS = {pb.QUANTITY_CO: pb.UNIT_MG_M3, pb.QUANTITY_WIND_SPEED: pb.UNIT_M_S, pb.QUANTITY_WIND_DIRECTION: pb.UNIT_DEGREE}
HOUR, DAY = 3600, 86400


def named(quantity: pb.Quantity) -> str:
    """The sensor of a quantity."""
    return pb.Quantity.Name(quantity).removeprefix("QUANTITY_").lower()


def station(station_id: str = "a1", longitude: float = 120.15, latitude: float = 30.25, **more: Any) -> pb.Station:
    """An air station with a sensor for each pollutant, which sends a value an hour."""
    quantities = more.pop("quantities", AIR)
    interval_s = more.pop("interval_s", HOUR)
    told: dict[str, Any] = {"medium": pb.MEDIUM_AIR, "district_id": "xihu", "owner": "ecology", **more}
    sensors = [pb.Sensor(sensor_id=named(one), quantity=one, interval_s=interval_s) for one in quantities]
    place = pb.Place(longitude=longitude, latitude=latitude)
    return pb.Station(station_id=station_id, name=f"站 {station_id}", place=place, sensors=sensors, **told)


def reading(quantity: pb.Quantity, value: float, at_s: float, station_id: str = "a1", **more: Any) -> pb.Reading:
    """A reading of a sensor of `station`. `at_s`: seconds since 1970."""
    told: dict[str, Any] = {"sensor_id": named(quantity), "unit": UNITS.get(quantity, pb.UNIT_UG_M3), **more}
    return pb.Reading(station_id=station_id, value=value, measured_at=moment(at_s), **told)


def moment(at_s: float) -> Timestamp:
    """Seconds since 1970 as a timestamp."""
    return timestamp(int(at_s * 1e6))


def send(environment: Running, *readings: pb.Reading, **how: Any) -> pb.ReportReadingsResponse:
    """Reports readings."""
    answer: pb.ReportReadingsResponse = environment.fire("ReportReadings", pb.ReportReadingsRequest(readings=readings), **how)
    return answer


def now(environment: Running) -> int:
    """City time in whole seconds since 1970."""
    return int(environment.parts.process.clock.now()) // 1_000_000


def to_the_hour(environment: Running, past_s: float = 0) -> int:
    """Moves city time to the next full hour and `past_s` seconds more; gives that hour, in seconds since 1970."""
    away = -now(environment) % HOUR or HOUR
    environment.advance(away + past_s)
    environment.rest()
    return now(environment) // HOUR * HOUR


@pytest.fixture
def environment() -> Iterator[Running]:
    """The service, with one air station, at 8 o'clock in the morning."""
    with running(EnvironmentService) as service:
        service.fire("RegisterStation", pb.RegisterStationRequest(station=station()))
        service.rest()
        yield service
