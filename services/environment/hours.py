"""A day of a station, hour by hour: what was measured, and the air quality or class of water that follows. Pure.

A sensor has one value a minute: of several readings in one minute the last one counts, whenever it comes, and a sensor that
measures more often sends its mean. So the same reading again changes nothing, another value for the same minute corrects it,
and late ones are put in their place. Whatever changes has the hour computed anew, and the day too where that was published.
What was published before and holds no more is retracted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import reduce

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.environment import air_quality_index as aqi
from citybrain.services.environment import quantities, water_class

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
MINUTE_US = 60_000_000
CLOSED_US = 20 * MINUTE_US
"""A day is published so long after its end."""

ENOUGH = 0.75
"""What part of an hour must be covered: 45 minutes, by GB 3095-2012, table 4. This much is enough."""

HANGZHOU = timezone(timedelta(hours=8), "Hangzhou")

Values = Mapping[str, Mapping[int, tuple[int, float]]]
"""Sensor → minute of the hour → when it was measured (microseconds since 1970), and the value."""


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour as it was measured, and what was published of it. `revision`: how often it was computed."""

    sensors: Mapping[str, ev.SensorHour] = field(default_factory=dict)
    revision: int = 0
    air: pb.AirQuality | None = None
    water: pb.WaterQuality | None = None


@dataclass(frozen=True, slots=True)
class Day:
    """The hours of a day by their number, and what was published of the day. `times`: how often that was."""

    hours: Mapping[int, Hour] = field(default_factory=dict)
    air: pb.AirQuality | None = None
    times: int = 0


def day_and_hour(moment: int) -> tuple[str, int]:
    """The day in Hangzhou (2026-11-30) and the hour of it in which a moment (microseconds since 1970) is."""
    here = datetime.fromtimestamp(moment // 1_000_000, UTC).astimezone(HANGZHOU)
    return f"{here:%Y-%m-%d}", here.hour


def beginning(day: str) -> int:
    """When a day begins in Hangzhou, in microseconds since 1970."""
    return int(datetime.fromisoformat(day).replace(tzinfo=HANGZHOU).timestamp()) * 1_000_000


def measured_by(day: Day, name: str, sensor_id: str, quantity: pb.Quantity) -> list[tuple[int, float]]:
    """What a sensor has measured on a day that is called so: moments (microseconds since 1970) and values, in order."""
    found = []
    for number, hour in sorted(day.hours.items()):
        begun = beginning(name) + number * HOUR_US
        for minute, (second, value) in _minutes(hour.sensors.get(sensor_id), quantity).items():
            found.append((begun + minute * MINUTE_US + second * 1_000_000, value))
    return found


def evolve(day: Day, event: Message) -> Day:
    """The day after an event."""
    match event:
        case ev.HourMeasured():
            hour = _hour_of(day, event)
            return _with(
                day, event, replace(hour, sensors={one.sensor_id: one for one in event.sensors}, revision=event.revision)
            )
        case ev.AirQualityPublished(period=pb.PERIOD_DAY):
            return replace(day, air=event.air_quality, times=event.revision)
        case ev.AirQualityRetracted(period=pb.PERIOD_DAY):
            return replace(day, air=None)
        case ev.AirQualityPublished():
            return _with(day, event, replace(_hour_of(day, event), air=event.air_quality))
        case ev.AirQualityRetracted():
            return _with(day, event, replace(_hour_of(day, event), air=None))
        case ev.WaterQualityPublished():
            return _with(day, event, replace(_hour_of(day, event), water=event.water_quality))
        case ev.WaterQualityRetracted():
            return _with(day, event, replace(_hour_of(day, event), water=None))
    return day


def _number(begins: Timestamp) -> int:
    return day_and_hour(microseconds(begins))[1]


def _hour_of(day: Day, event: Message) -> Hour:
    return day.hours.get(_number(getattr(event, "from")), Hour())


def _with(day: Day, event: Message, hour: Hour) -> Day:
    return replace(day, hours={**day.hours, _number(getattr(event, "from")): hour})


# -- what is decided ----------------------------------------------------------------------------------------------------------


def measure(day: Day, station: pb.Station, start: int, values: Values, *, over: bool) -> list[Message]:
    """Puts values into an hour that is over. `start`: its beginning, in microseconds. `over`: the day was closed already."""
    hour = day.hours.get(day_and_hour(start)[1], Hour())
    sensors = {sensor.sensor_id: sensor for sensor in station.sensors}
    merged = dict(hour.sensors)
    for sensor_id, new in values.items():
        if sensor_id not in sensors:
            continue
        sensor = sensors[sensor_id]
        before = _minutes(hour.sensors.get(sensor_id), sensor.quantity)
        seconds = {minute: (at % MINUTE_US // 1_000_000, value) for minute, (at, value) in new.items()}
        minutes = {**before, **{minute: one for minute, one in seconds.items() if one[0] >= before.get(minute, (0, 0.0))[0]}}
        if minutes == before:
            continue
        order = sorted(minutes)
        merged[sensor_id] = ev.SensorHour(
            sensor_id=sensor_id, quantity=sensor.quantity, interval_s=sensor.interval_s, minutes=order,
            values=[minutes[minute][1] for minute in order], seconds=[minutes[minute][0] for minute in order],
        )  # fmt: skip
    if merged == hour.sensors:
        return []
    measured = ev.HourMeasured(
        station_id=station.station_id, sensors=[merged[key] for key in sorted(merged)], revision=hour.revision + 1,
        district_id=station.district_id, medium=station.medium, **{"from": timestamp(start)},
    )  # fmt: skip
    events: list[Message] = [measured]
    if station.medium == pb.MEDIUM_AIR:
        events += _air_of_hour(hour, measured)
        if over:
            events += close(reduce(evolve, events, day), station, beginning(day_and_hour(start)[0]))
    elif station.medium == pb.MEDIUM_WATER:
        events += _water_of_hour(hour, measured, station)
    return events


def _minutes(known: ev.SensorHour | None, quantity: pb.Quantity) -> dict[int, tuple[int, float]]:
    """What a sensor has measured so far, by minute, with the second. What it measured as something else is not of this."""
    if known is None or known.quantity != quantity:
        return {}
    return dict(zip(known.minutes, zip(known.seconds, known.values, strict=True), strict=True))


def _air_of_hour(hour: Hour, measured: ev.HourMeasured) -> list[Message]:
    parts = {
        quantities.name(one.quantity): aqi.of_hour(quantities.name(one.quantity), one.value)
        for one in means(measured.sensors, measured.medium)
        if one.covered >= ENOUGH and quantities.name(one.quantity) in aqi.POLLUTANTS
    }
    air = _shown(parts, dict.fromkeys(parts, (1, 1)))
    begun = {"from": getattr(measured, "from")}
    whose = {"station_id": measured.station_id, "period": pb.PERIOD_HOUR, "district_id": measured.district_id}
    return _published(hour.air, air, hour.revision, measured.revision, begun | whose)


def is_unpublished(day: Day) -> bool:
    """Whether a day has hours, and nothing was ever published of it."""
    return bool(day.hours) and not day.times


def close(day: Day, station: pb.Station, start: int) -> list[Message]:
    """Publishes the air quality of a day that is over. `start`: its beginning. Twice the same is published once."""
    by_hour: dict[str, list[float | None]] = {name: [None] * 24 for name in aqi.POLLUTANTS}
    for number, hour in day.hours.items():
        for one in means(hour.sensors.values(), station.medium):
            if one.covered >= ENOUGH and quantities.name(one.quantity) in by_hour:
                by_hour[quantities.name(one.quantity)][number] = one.value
    parts: dict[str, aqi.PartIndex] = {}
    basis: dict[str, tuple[int, int]] = {}
    for name, hourly in by_hour.items():
        found = aqi.highest_of_8_hours(hourly) if name == "O3" else aqi.mean_of_24_hours(hourly)
        if found is not None:
            highest = max(one for one in hourly if one is not None)
            parts[name] = aqi.of_day(name, found[0], highest if name == "O3" else None)
            basis[name] = (8 if name == "O3" else 24, found[1])
    air = _shown(parts, basis)
    whose = {
        "station_id": station.station_id, "period": pb.PERIOD_DAY, "from": timestamp(start), "district_id": station.district_id
    }  # fmt: skip
    return _published(day.air, air, day.times, day.times + 1, whose)


def _published(
    before: pb.AirQuality | None, air: pb.AirQuality | None, old: int, new: int, whose: Mapping[str, object]
) -> list[Message]:
    """The events that lead from what was published to what holds now."""
    if before == air:
        return []
    events: list[Message] = []
    if before is not None:
        events.append(ev.AirQualityRetracted(revision=old, **whose))  # type: ignore[arg-type]
    if air is not None:
        events.append(ev.AirQualityPublished(air_quality=air, revision=new, **whose))  # type: ignore[arg-type]
    return events


def _shown(parts: Mapping[str, aqi.PartIndex], basis: Mapping[str, tuple[int, int]]) -> pb.AirQuality | None:
    found = aqi.combined(parts)
    if found is None:
        return None
    return pb.AirQuality(
        index=found.index, category=pb.AirCategory.Name(found.category), primary=_numbers(found.primary),
        missing=_numbers(found.missing), incomplete=bool(found.missing), beyond_index=found.beyond, standard=aqi.STANDARD,
        pollutants=[
            pb.PollutantIndex(
                quantity=_numbers([name])[0], value=parts[name].value, index=parts[name].index, hours=basis[name][0],
                hours_measured=basis[name][1], beyond=parts[name].beyond,
            )
            for name in aqi.POLLUTANTS if name in parts
        ],
    )  # fmt: skip


def _water_of_hour(hour: Hour, measured: ev.HourMeasured, station: pb.Station) -> list[Message]:
    values = {
        quantities.name(one.quantity): one.value for one in means(measured.sensors, measured.medium) if one.covered >= ENOUGH
    }
    found = water_class.classified(values, lake=station.lake)
    water = None if found is None else pb.WaterQuality(
        water_class=found.number, deciding=_numbers(found.deciding), missing=_numbers(found.missing),  # type: ignore[arg-type]
        incomplete=bool(found.missing), standard=water_class.STANDARD, assessed_by=water_class.ASSESSED_BY,
        beside=[
            pb.QuantityClass(quantity=quantities.numbered(name), water_class=pb.WaterClass.Name(number))
            for name, number in found.beside.items()
        ],
    )  # fmt: skip
    if hour.water == water:
        return []
    whose = {
        "station_id": measured.station_id, "from": getattr(measured, "from"), "district_id": measured.district_id
    }  # fmt: skip
    events: list[Message] = []
    if hour.water is not None:
        events.append(ev.WaterQualityRetracted(revision=hour.revision, **whose))
    if water is not None:
        events.append(ev.WaterQualityPublished(water_quality=water, revision=measured.revision, **whose))
    return events


def means(sensors: Iterable[ev.SensorHour], medium: pb.Medium) -> list[pb.HourlyMean]:
    """The mean of each quantity over an hour. Of several sensors of one quantity those count that cover enough of the hour.

    The direction of the wind is the direction of the sum of unit vectors: the mean of 350 and 10 degrees is 0.
    """
    by_quantity: dict[pb.Quantity, list[tuple[float, float]]] = {}
    for sensor in sensors:
        by_quantity.setdefault(sensor.quantity, []).append((_covered(sensor), mean(sensor.quantity, sensor.values)))
    found = []
    for quantity in sorted(by_quantity):
        known = by_quantity[quantity]
        counting = [one for one in known if one[0] >= ENOUGH] or known
        found.append(
            pb.HourlyMean(
                quantity=quantity, value=mean(quantity, [value for _, value in counting]),
                covered=round(max(covered for covered, _ in counting), 4), unit=quantities.MEASURED[medium][quantity].unit,
            )
        )  # fmt: skip
    return found


def _covered(sensor: ev.SensorHour) -> float:
    """Which part of an hour the values of a sensor stand for: each until the next one, and no longer than its time."""
    stands = max(1.0, sensor.interval_s / 60)
    between = (min(stands, later - earlier) for earlier, later in itertools.pairwise(sensor.minutes))
    return min(1.0, (sum(between) + stands) / 60)


def mean(quantity: pb.Quantity, values: Sequence[float]) -> float:
    """The mean of values of a quantity."""
    if quantity == pb.QUANTITY_WIND_DIRECTION:
        east = math.fsum(math.sin(math.radians(value)) for value in values)
        north = math.fsum(math.cos(math.radians(value)) for value in values)
        return round(math.degrees(math.atan2(east, north)), 4) % 360
    return round(math.fsum(values) / len(values), 4)


def _numbers(names: Iterable[str]) -> list[pb.Quantity]:
    return [quantities.numbered(name) for name in names]
