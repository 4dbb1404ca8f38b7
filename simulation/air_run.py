"""Days over an industrial park, played at a city: stations and sensors report, and the firms of the park are in its register.

What the city makes of it comes back as events. Times are seconds of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.events.v1.event_pb2 import Event

from citybrain.simulation.air import STEP_S, Park, Place
from citybrain.simulation.gateway_client import Gateway
from citybrain.simulation.moments import city_time
from citybrain.simulation.rhythm import AtRest

ENVIRONMENT = "citybrain.environment.v1.EnvironmentService"
HUB = "citybrain.district_hub.v1.DistrictHubService"
DISTRICT = "qiantang"
# The middle of the park, in the east of Hangzhou (钱塘区), and how many metres a degree is there on the WGS 84 ellipsoid.
_MIDDLE = (120.40, 30.29)
_NORTH_M = 111_132.92 - 559.82 * math.cos(2 * math.radians(_MIDDLE[1])) + 1.175 * math.cos(4 * math.radians(_MIDDLE[1]))
_EAST_M = 111_412.84 * math.cos(math.radians(_MIDDLE[1])) - 93.5 * math.cos(3 * math.radians(_MIDDLE[1]))
_HOUR_S = 3600
_PERMITTED_S = 700 * 86_400
_BASE = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_QUANTITIES = {
    "PM2.5": pb.QUANTITY_PM2_5,
    "PM10": pb.QUANTITY_PM10,
    "SO2": pb.QUANTITY_SO2,
    "NO2": pb.QUANTITY_NO2,
    "CO": pb.QUANTITY_CO,
    "O3": pb.QUANTITY_O3,
}
_WIND = {"wind": pb.QUANTITY_WIND_SPEED, "vane": pb.QUANTITY_WIND_DIRECTION}


@dataclass(frozen=True, slots=True)
class Stack:
    """A registered source: the firm's name, where its stack is, and how high."""

    source_id: str
    firm: str
    place: Place
    height_m: float


class AirRun:
    """Plays days. `station`: where the stations of the measured hours stand in the park, by their names in the data."""

    def __init__(self, gateway: Gateway, stations: dict[str, Place], hear: Sequence[str]) -> None:
        """`hear`: the types of events that are followed, of this district or of none."""
        self._gateway = gateway
        self.rhythm = AtRest(gateway)
        self._stations = stations
        self._hear = list(hear)
        self._begun = 0
        self.sent: list[pb.Reading] = []
        """Every reading that was reported."""

    def begin(self, sensors: dict[str, Place], stacks: Iterable[Stack], second: int) -> None:
        """Makes the district, stations, sensors and firms known, at a second of the run."""
        call, self._begun = self._gateway.call, second
        self._gateway.advance(second)
        call(
            f"{HUB}/RegisterDistrict",
            hub.RegisterDistrictRequest(district_id=DISTRICT, name="钱塘区"),
            hub.RegisterDistrictResponse,
            f"district/{second}",
        )
        for name, place in self._stations.items():
            self._register(name, f"{name} station", place, {**_QUANTITIES, **_WIND}, _HOUR_S)
        for name, place in sensors.items():
            self._register(name, f"fence sensor {name}", place, {"SO2": pb.QUANTITY_SO2, **_WIND}, STEP_S)
        for number, stack in enumerate(stacks):
            permit = pb.Permit(
                number=f"permit-{stack.source_id}", valid_until=city_time(_PERMITTED_S),
                pollutants=[pb.PermittedPollutant(quantity=pb.QUANTITY_SO2, limit_mg_m3=35, kg_a_year=20_000)],
            )  # fmt: skip
            request = pb.AdmitSourceRequest(
                source_id=stack.source_id, name=f"stack of {stack.firm}", uscc=credit_code(number), firm_name=stack.firm,
                place=on_earth(stack.place), stack_height_m=stack.height_m, district_id=DISTRICT, permit=permit,
            )  # fmt: skip
            call(f"{ENVIRONMENT}/AdmitSource", request, pb.AdmitSourceResponse, f"admit/{stack.source_id}/{second}")
            start = pb.StartSourceRequest(source_id=stack.source_id)
            call(f"{ENVIRONMENT}/StartSource", start, pb.StartSourceResponse, f"start/{stack.source_id}/{second}")
        self._gateway.follow(
            f"district-{second}",
            f"{HUB}/Subscribe",
            lambda token: hub.SubscribeRequest(
                district_id=DISTRICT, event_types=self._hear, resume_token=token, from_now=not token
            ),
            hub.SubscribeResponse,
        )

    def play(self, park: Park, midnight: int, begin_s: int, end_s: int, act: Callable[[int, Event], None]) -> Iterator[int]:
        """Plays a part of the day that begins at second `midnight`, and gives the second of the day after each five minutes.

        `act`: what somebody outside does at an event.
        """
        for step in park.steps(begin_s, end_s):
            second = step[0].end_s
            now = midnight + second
            self._gateway.advance(now)
            # A reading carries the moment at which its five minutes, or its hour, began.
            began = now - STEP_S
            readings = [
                one
                for measured in step
                for one in (
                    _reading(measured.sensor, "SO2", measured.so2, pb.UNIT_UG_M3, began),
                    _reading(measured.sensor, "wind", measured.wind.speed_m_s, pb.UNIT_M_S, began),
                    _reading(measured.sensor, "vane", measured.wind.from_deg, pb.UNIT_DEGREE, began),
                )
            ]
            if second % _HOUR_S == 0:
                readings += self._hour(park, second // _HOUR_S - 1, now - _HOUR_S)
            self.sent += readings
            request = pb.ReportReadingsRequest(readings=readings)
            self._gateway.call(f"{ENVIRONMENT}/ReportReadings", request, pb.ReportReadingsResponse, f"readings/{now}")
            self.rhythm.settle(now, act)
            yield second

    def _hour(self, park: Park, hour: int, began: int) -> list[pb.Reading]:
        """What the stations measured in an hour; what they did not measure is not sent."""
        found = []
        for name in self._stations:
            row = park.hours[name][hour]
            for pollutant, value in row.values.items():
                # The data have CO in µg/m³; the standard has it in mg/m³.
                unit = pb.UNIT_MG_M3 if pollutant == "CO" else pb.UNIT_UG_M3
                if value is not None:
                    found.append(_reading(name, pollutant, value / 1000 if pollutant == "CO" else value, unit, began))
            if row.speed_m_s is not None:
                found.append(_reading(name, "wind", row.speed_m_s, pb.UNIT_M_S, began))
            if row.from_deg is not None:
                found.append(_reading(name, "vane", row.from_deg, pb.UNIT_DEGREE, began))
        return found

    def _register(self, name: str, title: str, place: Place, sensors: dict[str, pb.Quantity], interval_s: int) -> None:
        station = pb.Station(
            station_id=name, name=title, owner="environment", medium=pb.MEDIUM_AIR, place=on_earth(place), district_id=DISTRICT,
            sensors=[pb.Sensor(sensor_id=one, quantity=quantity, interval_s=interval_s) for one, quantity in sensors.items()],
        )  # fmt: skip
        request = pb.RegisterStationRequest(station=station)
        self._gateway.call(
            f"{ENVIRONMENT}/RegisterStation", request, pb.RegisterStationResponse, f"station/{name}/{self._begun}"
        )


def on_earth(place: Place) -> pb.Place:
    """Longitude and latitude of a place of the park."""
    return pb.Place(longitude=_MIDDLE[0] + place.east_m / _EAST_M, latitude=_MIDDLE[1] + place.north_m / _NORTH_M)


def in_park(place: pb.Place) -> Place:
    """The place in metres of the park."""
    return Place((place.longitude - _MIDDLE[0]) * _EAST_M, (place.latitude - _MIDDLE[1]) * _NORTH_M)


def credit_code(number: int) -> str:
    """A unified social credit code of an invented firm, with the check digit of GB 32100-2015."""
    body = f"91330114MA{number:07d}"
    weights = [pow(3, place, 31) for place in range(17)]
    total = sum(_BASE.index(sign) * weight for sign, weight in zip(body, weights, strict=True))
    return body + _BASE[(31 - total) % 31]


def _reading(station: str, sensor: str, value: float, unit: pb.Unit, began: int) -> pb.Reading:
    return pb.Reading(station_id=station, sensor_id=sensor, value=value, unit=unit, measured_at=city_time(began))
