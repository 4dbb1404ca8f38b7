"""A river by the classes of its water, as environment publishes them hour by hour. Pure.

It is polluted when its water is of class V or beyond (GB 3838-2002) in two hours one after the other, and is so no more after
three hours of class IV or better. An hour that is retracted counts no more, and what rested on it is retracted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from citybrain.urban.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds, timestamp

HOUR = 3_600_000_000
KEPT = 48
BAD = 5
"""Class V; 6 is beyond V. Class V itself is bad."""
BAD_HOURS, GOOD_HOURS = 2, 3


@dataclass(frozen=True, slots=True)
class River:
    """A station: the class of each of the newest hours, and since which hour it is polluted (microseconds; 0: it is not)."""

    hours: Mapping[int, int] = field(default_factory=dict)
    polluted_since: int = 0
    order_id: str = ""
    # Where the station was then.
    district_id: str = ""


def evolve(state: River, event: Message) -> River:
    """The river after an event."""
    match event:
        case ev.RiverSeen():
            hours = {**state.hours, microseconds(event.hour): event.water_class}
            if event.water_class == 0:
                hours.pop(microseconds(event.hour))
            known = sorted(hours.items())
            # What the pollution rests on is kept for as long as it goes on: only then can it be told that it holds no more.
            basis = [one for one in known[:-KEPT] if one[0] in _basis(state.polluted_since)]
            return replace(state, hours=dict([*basis, *known[-KEPT:]]))
        case ev.RiverPolluted():
            since = microseconds(event.since)
            return replace(state, polluted_since=since, order_id=event.order_id, district_id=event.district_id)
        case ev.RiverClean() | ev.RiverPollutionRetracted():
            return replace(state, polluted_since=0)
    return state


def see(state: River, station_id: str, district_id: str, hour: int, water_class: int, order_id: str) -> list[Message]:
    """An hour has a class; 0: what was published of it holds no more."""
    if state.hours.get(hour, 0) == water_class:
        return []
    seen = ev.RiverSeen(station_id=station_id, hour=timestamp(hour), water_class=water_class, district_id=district_id)
    after = evolve(state, seen)
    told: list[Message] = [seen]
    if state.polluted_since:
        district_id = state.district_id
        if not _bad(after.hours, state.polluted_since):
            told.append(ev.RiverPollutionRetracted(station_id=station_id, district_id=district_id, order_id=state.order_id))
        elif _clean(after.hours):
            told.append(ev.RiverClean(station_id=station_id, district_id=district_id, order_id=state.order_id))
    elif begun := next((hour for hour in sorted(after.hours) if hour > _last_good(after.hours) and _bad(after.hours, hour)), 0):
        told.append(
            ev.RiverPolluted(
                station_id=station_id, district_id=district_id, since=timestamp(begun), order_id=order_id,
                water_class=after.hours[begun + (BAD_HOURS - 1) * HOUR],
            )
        )  # fmt: skip
    return told


def _basis(begin: int) -> list[int]:
    """The hours that a pollution rests on that began then."""
    return [begin + n * HOUR for n in range(BAD_HOURS)]


def _bad(hours: Mapping[int, int], begin: int) -> bool:
    return all(hours.get(hour, 0) >= BAD for hour in _basis(begin))


def _clean(hours: Mapping[int, int]) -> bool:
    last = max(hours)
    return all(0 < hours.get(last - n * HOUR, 0) < BAD for n in range(GOOD_HOURS))


def _last_good(hours: Mapping[int, int]) -> int:
    """The end of the newest three good hours: what was bad before is over."""
    ends = [hour for hour in hours if all(0 < hours.get(hour - n * HOUR, 0) < BAD for n in range(GOOD_HOURS))]
    return max(ends, default=0)
