"""Read models of hours: the newest by their minutes, the days, and how much is known of each place."""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.tourism.v1 import events_pb2 as ev

from citybrain.mesh.events import Heard
from citybrain.mesh.ids import joined
from citybrain.services.tourism import counting, hours

MINUTE_EVENTS = (ev.PlaceCounted,)
DAY_EVENTS = (ev.DayOfHoursKnown,)
SLOTS = 72
"""So many hours of a place are kept by their minutes: each new one takes the place of the oldest."""


@dataclass(frozen=True, slots=True)
class HourRow:
    """An hour of a place (its number since 1970): the people of its minutes, -1 where the count is not complete."""

    hour: int
    minutes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DayRow:
    """The hours of a day of a place, from midnight on: people at most, on average, and how many were brought in."""

    day: str
    people: tuple[int, ...]
    imported: int
    means: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """How often days of hours were told of a place, and the day of the newest."""

    place_id: str
    told: int
    newest: str


def prefix(place_id: str) -> str:
    """How the keys of a place begin."""
    return f"{joined(place_id)} "


def hour_id(place_id: str, hour: int) -> str:
    """The place of an hour."""
    return f"{prefix(place_id)}{hour % SLOTS}"


def hour_key(event: Heard) -> str:
    """The place, and that of the hour."""
    assert isinstance(event.data, ev.PlaceCounted)
    return hour_id(event.data.place_id, counting.minute_of(event.data) // 60)


def hour(row: HourRow | None, event: Heard) -> HourRow | None:
    """The hour with a minute more, or with one that was made anew."""
    assert isinstance(event.data, ev.PlaceCounted)
    number, minute = divmod(counting.minute_of(event.data), 60)
    minutes = row.minutes if row is not None and row.hour == number else (hours.UNKNOWN,) * 60
    people = event.data.people if event.data.complete else hours.UNKNOWN
    return HourRow(number, (*minutes[:minute], people, *minutes[minute + 1 :]))


def day_key(event: Heard) -> str:
    """The place and the day."""
    assert isinstance(event.data, ev.DayOfHoursKnown)
    return prefix(event.data.place_id) + event.data.day


def day(_row: DayRow | None, event: Heard) -> DayRow | None:
    """The day as it was told last."""
    assert isinstance(event.data, ev.DayOfHoursKnown)
    return DayRow(event.data.day, tuple(event.data.people), len(event.data.imported), tuple(event.data.mean_people))


def history_key(event: Heard) -> str:
    """The place."""
    assert isinstance(event.data, ev.DayOfHoursKnown)
    return event.data.place_id


def history(row: HistoryRow | None, event: Heard) -> HistoryRow | None:
    """One day more, or one of them anew."""
    assert isinstance(event.data, ev.DayOfHoursKnown)
    told, newest = (row.told, row.newest) if row is not None else (0, "")
    return HistoryRow(event.data.place_id, told + 1, max(newest, event.data.day))
