"""Readings as they come: what a window makes of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from citybrain.environment.v1 import environment_service_pb2 as pb

from citybrain.mesh.events import microseconds
from citybrain.mesh.service import Reading
from citybrain.services.environment.hours import HOUR_US, MINUTE_US

LATE_S = 300
"""An hour is computed so many seconds after its end. What comes later has it computed anew."""

SURROUNDINGS_S = 300
"""What stations around an exceedance measure is kept in steps of so many seconds."""

SURROUNDINGS_LATE_S = 60
"""Such a step is kept so many seconds after its end."""

_CLOSING_US = 10_000_000

Values = dict[str, dict[int, tuple[int, float]]]
"""Sensor → minute of the hour → moment (microseconds since 1970) and value of its last reading."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One reading of a sensor, at a moment in microseconds since 1970."""

    sensor_id: str
    at: int
    value: float


def readings(batch: pb.ReportReadingsRequest) -> Iterable[Reading]:
    """The readings of a batch, by station."""
    for one in batch.readings:
        at = microseconds(one.measured_at)
        yield Reading(one.station_id, at, Measured(one.sensor_id, at, one.value))


def fold(values: Values | None, one: Measured) -> Values:
    """The values of a station with one more reading.

    Of one minute the later reading counts, of one moment the one that came last.
    """
    values = {} if values is None else values
    minutes = values.setdefault(one.sensor_id, {})
    minute = one.at % HOUR_US // MINUTE_US
    known = minutes.get(minute)
    if known is None or one.at >= known[0]:
        minutes[minute] = (one.at, one.value)
    return values


def is_late(at: int, now: int) -> bool:
    """Whether the hour of a moment is computed already, or is just now: such a reading is put into it at once."""
    return at - at % HOUR_US + HOUR_US + LATE_S * 1_000_000 - _CLOSING_US <= now
