"""City time and the seconds of a scenario."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from google.protobuf.timestamp_pb2 import Timestamp

MIDNIGHT = datetime(2026, 1, 5, tzinfo=timezone(timedelta(hours=8)))
"""City time of the scenario's second 0."""


def city_time(second: float) -> Timestamp:
    """The city time of a second of the scenario."""
    stamp = Timestamp()
    stamp.FromDatetime((MIDNIGHT + timedelta(seconds=second)).astimezone(UTC))
    return stamp


def second_of(moment: Timestamp) -> int:
    """The second of the scenario at a city time."""
    return round(moment.ToMicroseconds() / 1e6 - MIDNIGHT.timestamp())
