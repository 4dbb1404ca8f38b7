"""Read models: stations, their hours and days, the air quality of each now, exceedances.

It is long because hours, days and what is now are folded from the same events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import Heard, microseconds
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept, packed, unpacked
from citybrain.services.environment import exceedance as exceedances
from citybrain.services.environment import hours

STATION_EVENTS = (ev.StationRegistered,)
HOUR_EVENTS = (
    ev.HourMeasured,
    ev.AirQualityPublished,
    ev.AirQualityRetracted,
    ev.WaterQualityPublished,
    ev.WaterQualityRetracted,
)
AIR_EVENTS = (ev.AirQualityPublished, ev.AirQualityRetracted)
DAY_EVENTS = AIR_EVENTS
BIAS_EVENTS = (ev.BiasEstimated, ev.BiasRetracted)
EXCEEDANCE_EVENTS = (
    ev.ExceedanceSuspected,
    ev.ExceedanceSupported,
    ev.ExceedanceReadingCorrected,
    ev.ExceedanceVerified,
    ev.ExceedanceUnverified,
    ev.ExceedanceRetracted,
    ev.ExceedanceEnded,
)

_LAST = 10**10
"""Seconds since 1970 that no moment reaches: keys that count down from it put the newest first."""


@dataclass(frozen=True, slots=True)
class AirRow:
    """The newest hour of a station that has air quality.

    `begins`: when it began, in microseconds. `air`: a packed message; empty: it was retracted.
    """

    station_id: str
    begins: int
    index: int
    air: str


@dataclass(frozen=True, slots=True)
class DayRow:
    """A day of a station: its index, if it was published and is complete, and that of its hours by their number."""

    day: str
    index: int | None
    hours: dict[str, int]


@dataclass(frozen=True, slots=True)
class BiasRow:
    """The bias of one quantity of a station: a packed message. `relative`: as a part of what the neighbours read."""

    relative: float
    key: str
    flagged: bool
    bias: str


@dataclass(frozen=True, slots=True)
class ExceedanceRow:
    """An exceedance: a packed message, and what lists ask for. `first`: when it was read first, in microseconds."""

    id: str
    first: int
    state: int
    district_id: str
    exceedance: str


def _exceedance_row(first: int, shown: pb.Exceedance) -> ExceedanceRow:
    return ExceedanceRow(shown.exceedance_id, first, shown.state, shown.district_id, packed(shown))


def station_key(event: Heard) -> str:
    """The station."""
    assert isinstance(event.data, ev.StationRegistered)
    return event.data.station.station_id


def station(row: Kept | None, event: Heard) -> Kept | None:
    """The station as it was registered last."""
    assert isinstance(event.data, ev.StationRegistered)
    return Kept.of(event.data.station)


def stations(rows: Iterable[Kept]) -> dict[str, pb.Station]:
    """All stations by their ids."""
    found = [row.read(pb.Station) for row in rows]
    return {one.station_id: one for one in found}


def begins(event: Message) -> int:
    """When an hour or a day begins, in microseconds since 1970."""
    return microseconds(getattr(event, "from"))


def hour_prefix(station_id: str) -> str:
    """How the keys of a station's hours begin."""
    return f"{station_id}/"


def hour_key(event: Heard) -> str | None:
    """The station and the hour, the newest first; None: it is about a day."""
    data: Any = event.data
    if getattr(data, "period", pb.PERIOD_HOUR) != pb.PERIOD_HOUR:
        return None
    return f"{hour_prefix(data.station_id)}{_LAST - begins(data) // 1_000_000:010d}"


def hour(row: Kept | None, event: Heard) -> Kept | None:
    """The hour after an event."""
    data = event.data
    if isinstance(data, ev.HourMeasured):
        shown = pb.StationHour(
            station_id=data.station_id, means=hours.means(data.sensors, data.medium), revision=data.revision,
            **{"from": getattr(data, "from")},
        )  # fmt: skip
        if row is not None:
            before = row.read(pb.StationHour)
            if before.HasField("air_quality"):
                shown.air_quality.CopyFrom(before.air_quality)
            if before.HasField("water_quality"):
                shown.water_quality.CopyFrom(before.water_quality)
        return Kept.of(shown)
    if row is None:
        return None
    shown = row.read(pb.StationHour)
    match data:
        case ev.AirQualityPublished():
            shown.air_quality.CopyFrom(data.air_quality)
        case ev.AirQualityRetracted():
            shown.ClearField("air_quality")
        case ev.WaterQualityPublished():
            shown.water_quality.CopyFrom(data.water_quality)
        case ev.WaterQualityRetracted():
            shown.ClearField("water_quality")
    return Kept.of(shown)


def air_key(event: Heard) -> str | None:
    """The station; None: it is about a day."""
    data: Any = event.data
    return str(data.station_id) if data.period == pb.PERIOD_HOUR else None


def air(row: AirRow | None, event: Heard) -> AirRow | None:
    """The newest hour with air quality. An hour before it changes nothing."""
    data: Any = event.data
    if row is not None and begins(data) < row.begins:
        return row
    if isinstance(data, ev.AirQualityPublished):
        quality = data.air_quality
        return AirRow(data.station_id, begins(data), quality.index, packed(quality))
    # Retracted, and nothing follows: the station has none until its next hour.
    return replace(row, air="", index=-1) if row is not None else None


def day_key(event: Heard) -> str:
    """The station and the day, the newest first."""
    data: Any = event.data
    day, _ = hours.day_and_hour(begins(data))
    return f"{hour_prefix(data.station_id)}{_LAST - hours.beginning(day) // 1_000_000:010d}"


def day(row: DayRow | None, event: Heard) -> DayRow | None:
    """The day after an event. An index that is incomplete is none: it may be too low."""
    data: Any = event.data
    name, number = hours.day_and_hour(begins(data))
    row = row or DayRow(name, None, {})
    published = isinstance(data, ev.AirQualityPublished) and not data.air_quality.incomplete
    if data.period == pb.PERIOD_DAY:
        return replace(row, index=data.air_quality.index if published else None)
    others = {hour: index for hour, index in row.hours.items() if hour != str(number)}
    return replace(row, hours={**others, str(number): data.air_quality.index} if published else others)


def bias_key(event: Heard) -> str:
    """The station and the quantity."""
    data: Any = event.data
    one = data if isinstance(data, ev.BiasRetracted) else data.bias
    return f"{hour_prefix(one.station_id)}{one.quantity}"


def bias(row: BiasRow | None, event: Heard) -> BiasRow | None:
    """The newest estimate, while it stands."""
    if not isinstance(event.data, ev.BiasEstimated):
        return None
    found = event.data.bias
    # Of a station without neighbours: beside what satellites see.
    beside = abs(found.column_factor - 1) if found.column_hours and not found.hours else 0.0
    relative = abs(found.bias) / found.level if found.level > 0 else beside
    return BiasRow(round(relative, 6), bias_key(event), found.flagged, packed(found))


def farthest_first(rows: Iterable[BiasRow]) -> list[BiasRow]:
    """Those first that read farthest beside their neighbours, as a part of what these read."""
    return sorted(rows, key=place_of_bias)


def place_of_bias(row: BiasRow) -> tuple[int | str, ...]:
    """What the list is ordered by."""
    return (-round(row.relative * 1_000_000), row.key)


def read_bias(row: BiasRow) -> pb.Bias:
    """A row as callers see it."""
    return unpacked(row.bias, pb.Bias)


def worst_first(rows: Iterable[AirRow]) -> list[AirRow]:
    """The stations that have air quality, those with the highest index first, by id where it is the same."""
    return sorted((row for row in rows if row.air), key=place_in_list)


def place_in_list(row: AirRow) -> tuple[int | str, ...]:
    """What the list is ordered by."""
    return (-row.index, row.station_id)


def read_air(row: AirRow, station: pb.Station) -> pb.StationAir:
    """A row as callers see it."""
    shown = pb.StationAir(
        station_id=row.station_id, name=station.name, in_district=station.district_id,
        air_quality=unpacked(row.air, pb.AirQuality), place=station.place,
    )  # fmt: skip
    getattr(shown, "from").FromMicroseconds(row.begins)
    return shown


def exceedance_key(event: Heard) -> str:
    """The exceedance."""
    return str(event.data.exceedance_id)  # type: ignore[attr-defined]


def exceedance(row: ExceedanceRow | None, event: Heard) -> ExceedanceRow | None:
    """The exceedance after an event."""
    data = event.data
    if isinstance(data, ev.ExceedanceSuspected):
        board = exceedances.evolve(exceedances.Board(), data)
        shown = exceedances.show(board.spots[data.exceedance_id])
        return _exceedance_row(microseconds(data.reading.measured_at), shown)
    if row is None:
        return None
    shown = read_exceedance(row)
    match data:
        case ev.ExceedanceSupported():
            _having(shown, data.reading)
        case ev.ExceedanceReadingCorrected():
            _having(shown, data.reading, above=data.above)
        case ev.ExceedanceVerified():
            shown.state, shown.reason = pb.EXCEEDANCE_STATE_VERIFIED, ""
        case ev.ExceedanceUnverified():
            shown.state, shown.reason = pb.EXCEEDANCE_STATE_UNVERIFIED, data.reason
        case ev.ExceedanceRetracted():
            shown.state, shown.reason = pb.EXCEEDANCE_STATE_RETRACTED, data.reason
        case ev.ExceedanceEnded():
            shown.state = pb.EXCEEDANCE_STATE_ENDED
    return _exceedance_row(row.first, shown)


def _having(shown: pb.Exceedance, reading: pb.SupportingReading, *, above: bool = True) -> None:
    """Puts a reading in the place of the one of its sensor, or takes that out."""
    whose = reading.station_id, reading.sensor_id
    readings = [one for one in shown.readings if (one.station_id, one.sensor_id) != whose]
    readings += [reading] if above else []
    low = bool(shown.readings) and shown.readings[0].value < shown.limit
    del shown.readings[:]
    shown.readings.extend(sorted(readings, key=lambda one: (one.station_id, one.sensor_id)))
    if readings:
        shown.value = (min if low else max)(one.value for one in readings)


def read_exceedance(row: ExceedanceRow) -> pb.Exceedance:
    """A row as callers see it."""
    return unpacked(row.exceedance, pb.Exceedance)


# -- their order --------------------------------------------------------------------------------------------------------------

SUSPECTED_EVENTS = (ev.ExceedanceSuspected,)

OPEN = frozenset({pb.EXCEEDANCE_STATE_SUSPECTED, pb.EXCEEDANCE_STATE_VERIFIED})
"""The states of exceedances that go on."""


@dataclass(frozen=True, slots=True)
class OrderRow:
    """Where an exceedance stands among others. `first`: when it was read first, in microseconds; it never changes."""

    id: str
    first: int
    district_id: str


def order_of(row: OrderRow) -> str:
    """What exceedances are ordered by: the newest first."""
    return f"{_LAST * 1_000_000 - row.first:017d}/{row.id}"


def in_district(district_id: str) -> str:
    """How the keys of a district begin."""
    return f"{joined(district_id)}/"


def order_key(event: Heard) -> str:
    """The moment, and the exceedance."""
    return order_of(_order_row(event))


def order_in_district_key(event: Heard) -> str:
    """The district besides."""
    row = _order_row(event)
    return in_district(row.district_id) + order_of(row)


def in_order(_row: OrderRow | None, event: Heard) -> OrderRow | None:
    """The exceedance, whatever becomes of it."""
    return _order_row(event)


def _order_row(event: Heard) -> OrderRow:
    data = event.data
    assert isinstance(data, ev.ExceedanceSuspected)
    return OrderRow(data.exceedance_id, microseconds(data.reading.measured_at), data.district_id)


def still_open(row: OrderRow | None, event: Heard) -> OrderRow | None:
    """The exceedance while it goes on; also one that is verified after all."""
    match event.data:
        case ev.ExceedanceSuspected():
            return _order_row(event)
        case ev.ExceedanceVerified() as data:
            return row or OrderRow(data.exceedance_id, microseconds(data.first_at), data.district_id)
        case ev.ExceedanceUnverified() | ev.ExceedanceRetracted() | ev.ExceedanceEnded():
            return None
    return row


def newest_first(rows: Iterable[OrderRow]) -> list[OrderRow]:
    """Exceedances, the newest first."""
    return sorted(rows, key=order_of)
