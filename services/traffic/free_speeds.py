"""What was learnt of speeds in free flow: the measured hours that it is learnt from, and what is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import Heard
from citybrain.mesh.ids import joined
from citybrain.services.traffic import congestion, free_flow_speed
from citybrain.services.traffic.detectors import MICROSECONDS, WINDOW_US
from citybrain.services.traffic.free_flow_speed import Speeds
from citybrain.services.traffic.standing import begins
from citybrain.services.traffic.street_network import Road

HANGZHOU = timezone(timedelta(hours=8))
HOUR_US = 3600 * MICROSECONDS
SLOTS = 24 * (free_flow_speed.LOOKED_AT + 1)
"""So many hours of a part are kept as rows: each new one takes the place of the oldest."""


@dataclass(frozen=True, slots=True)
class HourRow:
    """An hour of a part (its number since 1970): by road, the speeds of its windows in cm/s, -1 where none was measured."""

    hour: int
    speeds: dict[str, tuple[int, ...]]


def hour_key(event: Heard) -> str | None:
    """The part, and the place of the hour. None: an hour that does not count."""
    assert isinstance(event.data, ev.StreetMeasured)
    hour = begins(event.data) // HOUR_US
    _, of_day = day_and_hour(hour)
    if not free_flow_speed.FROM_HOUR <= of_day < free_flow_speed.TO_HOUR:
        return None
    return f"{prefix(event.data.part_id)}{hour % SLOTS}"


def prefix(part_id: str) -> str:
    """What the keys of the hours of a part begin with."""
    return f"{joined(part_id)} "


def hour(row: HourRow | None, event: Heard) -> HourRow | None:
    """The hour with a window more, or with one that was measured anew. What is incomplete does not count."""
    assert isinstance(event.data, ev.StreetMeasured)
    start = begins(event.data)
    number, place = start // HOUR_US, start % HOUR_US // WINDOW_US
    if row is not None and row.hour > number:
        return row
    speeds = dict(row.speeds) if row is not None and row.hour == number else {}
    nothing = (-1,) * (HOUR_US // WINDOW_US)
    whole = (road for road in event.data.roads if road.HasField("speed_mps") and not road.incomplete)
    now = {road.edge_id: round(road.speed_mps * 100) for road in whole}
    for edge_id in now.keys() | speeds.keys():
        known = speeds.get(edge_id, nothing)
        speeds[edge_id] = (*known[:place], now.get(edge_id, -1), *known[place + 1 :])
    return HourRow(number, speeds)


def day_and_hour(hour: int) -> tuple[int, int]:
    """The day (its number) and the hour of the day in Hangzhou of an hour since 1970."""
    return divmod(hour + 8, 24)


Found = dict[str, Speeds]
"""Road → what was measured of it."""


def collect(found: Found, rows: Iterable[HourRow], now: int) -> None:
    """Takes hours in, of the days that are looked at. `now`: in microseconds."""
    today, _ = day_and_hour(now // HOUR_US)
    for row in rows:
        day, _ = day_and_hour(row.hour)
        if today - free_flow_speed.LOOKED_AT <= day < today:
            for edge_id, speeds in row.speeds.items():
                found.setdefault(edge_id, Speeds()).add(day, (speed for speed in speeds if speed >= 0))


def learn(part_id: str, found: Found, roads: Mapping[str, Road], now: int) -> ev.FreeSpeedsLearnt:
    """The speeds in free flow of a part. `roads`: as they were published; `now`: in microseconds."""
    date = datetime.fromtimestamp(now / MICROSECONDS, UTC).astimezone(HANGZHOU)
    told = ev.FreeSpeedsLearnt(part_id=part_id, day=f"{date:%Y-%m-%d}", standard=congestion.STANDARD)
    for edge_id, each in sorted(found.items()):
        speed = free_flow_speed.free_speed(each, roads[edge_id].free_speed_mps) if edge_id in roads else None
        if speed:
            told.roads.add(edge_id=edge_id, speed_mps=round(speed, 3), days=len(each.days), intervals=each.intervals)
    return told


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was told last of a part."""

    roads: tuple[pb.FreeSpeed, ...] = ()


def evolve(state: Learnt, event: Message) -> Learnt:
    """What was told last, after an event."""
    return Learnt(tuple(event.roads)) if isinstance(event, ev.FreeSpeedsLearnt) else state


def tell(state: Learnt, told: ev.FreeSpeedsLearnt) -> list[Message]:
    """Tells what was learnt, unless it is what was told before."""
    return [] if state.roads == tuple(told.roads) else [told]


def applied(roads: Mapping[str, Road], learnt: Mapping[str, tuple[float, int]]) -> dict[str, Road]:
    """Roads with the speeds that were learnt (m/s, days). What was published since and is lower counts."""
    found = dict(roads)
    for edge_id, (speed, days) in learnt.items():
        road = roads.get(edge_id)
        if road is not None:
            found[edge_id] = replace(road, free_speed_mps=min(speed, road.free_speed_mps), free_speed_days=days)
    return found
