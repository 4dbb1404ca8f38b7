"""What was measured on roads hour by hour, and what a day was: told each night, so that it is known for years. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from citybrain.traffic.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import Heard
from citybrain.services.traffic.detectors import MICROSECONDS, WINDOW_US
from citybrain.services.traffic.free_speeds import HANGZHOU, HOUR_US, prefix
from citybrain.services.traffic.road_speed import merged_speed
from citybrain.services.traffic.standing import begins

WINDOWS = 24 * HOUR_US // WINDOW_US
ENOUGH = 0.8
"""The share of the windows of a day that must be measured; 0.8 is enough."""
KEPT_DAYS = 14
SLOTS = 24 * (KEPT_DAYS + 1)
"""So many hours of a part are kept as rows: each new one takes the place of the oldest."""
PER_HOUR = HOUR_US // WINDOW_US

Window = tuple[int, int, int]
"""Vehicles an hour; speed in cm/s and the index times 1,000, each -1 where it is not known."""


@dataclass(frozen=True, slots=True)
class RoadHoursRow:
    """An hour of a part (its number since 1970): by road its windows, None where it was not wholly counted."""

    hour: int
    roads: dict[str, tuple[Window | None, ...]]


def hour_key(event: Heard) -> str:
    """The part, and the place of the hour."""
    assert isinstance(event.data, ev.StreetMeasured)
    return f"{prefix(event.data.part_id)}{begins(event.data) // HOUR_US % SLOTS}"


def hour(row: RoadHoursRow | None, event: Heard) -> RoadHoursRow | None:
    """The hour with a window more, or with one that was measured anew. What is incomplete does not count."""
    assert isinstance(event.data, ev.StreetMeasured)
    start = begins(event.data)
    number, place = start // HOUR_US, start % HOUR_US // WINDOW_US
    if row is not None and row.hour > number:
        return row
    roads = dict(row.roads) if row is not None and row.hour == number else {}
    now = {
        road.edge_id: (
            round(road.vehicles_per_hour),
            round(road.speed_mps * 100) if road.HasField("speed_mps") else -1,
            round(road.index * 1000) if road.HasField("index") else -1,
        )
        for road in event.data.roads
        if road.HasField("vehicles_per_hour") and not road.incomplete
    }
    nothing: tuple[Window | None, ...] = (None,) * PER_HOUR
    for edge_id in now.keys() | roads.keys():
        known = roads.get(edge_id, nothing)
        roads[edge_id] = (*known[:place], now.get(edge_id), *known[place + 1 :])
    return RoadHoursRow(number, roads)


def day_of(at: int) -> date:
    """The day in Hangzhou of a moment (microseconds)."""
    return datetime.fromtimestamp(at / MICROSECONDS, UTC).astimezone(HANGZHOU).date()


def yesterday(now: int) -> date:
    """The day before that of a moment."""
    return day_of(now) - timedelta(days=1)


def day(part_id: str, rows: Iterable[RoadHoursRow], on: date) -> ev.RoadDayMeasured:
    """What roads were on a day, of those that were measured for at least four fifths of it."""
    windows: dict[str, list[Window]] = {}
    for row in rows:
        if day_of(row.hour * HOUR_US) == on:
            for edge_id, found in row.roads.items():
                windows.setdefault(edge_id, []).extend(one for one in found if one is not None)
    told = ev.RoadDayMeasured(part_id=part_id, day=on.isoformat())
    for edge_id, known in sorted(windows.items()):
        if len(known) < ENOUGH * WINDOWS:
            continue
        flow = sum(vehicles for vehicles, _, _ in known) / len(known)
        one = told.roads.add(edge_id=edge_id, vehicles=round(24 * flow, 1), windows=len(known))
        speed = merged_speed((cm_s / 100, float(vehicles)) for vehicles, cm_s, _ in known if cm_s >= 0)
        if speed is not None:
            one.speed_mps = round(speed, 3)
    return told


@dataclass(frozen=True, slots=True)
class Told:
    """The newest day of a part that was told."""

    day: str = ""


def evolve(state: Told, event: Message) -> Told:
    """The newest day, after an event."""
    return Told(event.day) if isinstance(event, ev.RoadDayMeasured) else state


def tell(state: Told, told: ev.RoadDayMeasured) -> list[Message]:
    """Tells a day once, and nothing of one on which nothing was measured."""
    return [told] if told.roads and told.day > state.day else []


@dataclass(frozen=True, slots=True)
class MonthRow:
    """A month of a part: by road and day of the month, vehicles and speed in cm/s (-1: not known)."""

    roads: dict[str, dict[str, tuple[int, int]]]


def month_key(event: Heard) -> str:
    """The part and the month."""
    assert isinstance(event.data, ev.RoadDayMeasured)
    return f"{prefix(event.data.part_id)}{event.data.day[:7]}"


def month(row: MonthRow | None, event: Heard) -> MonthRow | None:
    """The month with a day more."""
    assert isinstance(event.data, ev.RoadDayMeasured)
    roads = dict(row.roads) if row is not None else {}
    for one in event.data.roads:
        speed = round(one.speed_mps * 100) if one.HasField("speed_mps") else -1
        roads[one.edge_id] = {**roads.get(one.edge_id, {}), event.data.day[8:]: (round(one.vehicles), speed)}
    return MonthRow(roads)


Days = dict[str, dict[str, tuple[int, int]]]
"""Road → day (2026-11-30) → vehicles and speed in cm/s."""


def days(rows: Iterable[tuple[str, MonthRow]], since: str, until: str) -> Days:
    """The days of roads from one to another, both among them. `rows`: with their keys."""
    found: Days = {}
    for key, row in rows:
        month_name = key.rpartition(" ")[2]
        for edge_id, known in row.roads.items():
            for number, one in known.items():
                if since <= (name := f"{month_name}-{number}") <= until:
                    found.setdefault(edge_id, {})[name] = one
    return found


def volume(known: Mapping[str, tuple[int, int]]) -> tuple[float, int]:
    """Vehicles a day on average, and of how many days."""
    counts = [vehicles for vehicles, _ in known.values()]
    return (sum(counts) / len(counts) if counts else 0.0), len(counts)
