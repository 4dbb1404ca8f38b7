"""The hours of a place: the most people who were there at once in each. What they are made of, and which are brought in. Pure.

An hour is known when each quarter of it has a minute whose count is complete: the most of its complete minutes is its number.
What the city has counted is never replaced by what is brought in from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import forecasts_pb2 as pb
from citybrain.tourism.v1 import tourism_service_pb2 as places_pb
from google.protobuf.message import Message
from numpy.typing import NDArray

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import microseconds
from citybrain.services.tourism import places
from citybrain.services.tourism.telemetry import MINUTE

Numbers = NDArray[np.float64]

HOUR = 60 * MINUTE
DAY = 24
UNKNOWN = -1
HANGZHOU_AHEAD = 8
"""Hours before those of UTC."""

QUARTER = 15
MOST_DAYS = 150
"""Hours that are brought in together lie within so many days."""

OLDEST = date(2000, 1, 1)
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Day:
    """The hours of a day, from midnight on, and which of them were brought in. `UNKNOWN`: it is not known."""

    people: tuple[int, ...] = (UNKNOWN,) * DAY
    imported: frozenset[int] = frozenset()
    revision: int = 0
    means: tuple[float, ...] = (float(UNKNOWN),) * DAY


@dataclass(frozen=True, slots=True)
class Counted:
    """An hour: the most who were there at once, and how many on average (`UNKNOWN`: that is not known)."""

    people: int
    mean: float = float(UNKNOWN)


@dataclass(frozen=True, slots=True)
class Month:
    """The days of a month of a place."""

    days: Mapping[str, Day] = field(default_factory=dict)


def evolve(month: Month, event: Message) -> Month:
    """The month after an event."""
    if not isinstance(event, ev.DayOfHoursKnown):
        return month
    day = Day(tuple(event.people), frozenset(event.imported), event.revision, tuple(event.mean_people))
    return Month({**month.days, event.day: day})


def day_and_hour(hour: int) -> tuple[date, int]:
    """The day in Hangzhou of an hour (its number since 1970), and which hour of it."""
    days, of_day = divmod(hour + HANGZHOU_AHEAD, DAY)
    return _EPOCH + timedelta(days=days), of_day


def first_hour(day: date) -> int:
    """The number since 1970 of the first hour of a day in Hangzhou."""
    return (day - _EPOCH).days * DAY - HANGZHOU_AHEAD


def month_of(day: str) -> str:
    """The month of a day."""
    return day[:7]


def of_minutes(minutes: Sequence[int]) -> Counted | None:
    """An hour by its 60 minutes. None: a quarter of it has no complete one."""
    quarters = [max(minutes[begin : begin + QUARTER]) for begin in range(0, 60, QUARTER)]
    if UNKNOWN in quarters:
        return None
    known = [people for people in minutes if people != UNKNOWN]
    return Counted(max(known), round(sum(known) / len(known), 2))


def keep(month: Month, place: places_pb.Place, day: str, hours: Mapping[int, Counted], *, imported: bool) -> list[Message]:
    """Puts hours of a day into it. The same again changes nothing."""
    known = month.days.get(day, Day())
    people, means, brought = list(known.people), list(known.means), set(known.imported)
    for hour, counted in hours.items():
        if imported and people[hour] != UNKNOWN and hour not in brought:
            continue
        people[hour], means[hour] = counted.people, counted.mean
        (brought.add if imported else brought.discard)(hour)
    if (tuple(people), tuple(means), frozenset(brought)) == (known.people, known.means, known.imported):
        return []
    return [
        ev.DayOfHoursKnown(
            place_id=place.place_id, district_id=place.district_id, day=day, revision=known.revision + 1, people=people,
            imported=sorted(brought), mean_people=means,
        )
    ]  # fmt: skip


def sorted_in(counts: Iterable[pb.HourlyCount]) -> dict[str, dict[int, Counted]]:
    """Day → hour of it → people."""
    found: dict[str, dict[int, Counted]] = {}
    for one in counts:
        day, hour = day_and_hour(microseconds(one.hour) // HOUR)
        found.setdefault(day.isoformat(), {})[hour] = Counted(one.people)
    return found


def check(counts: Sequence[pb.HourlyCount], place: places_pb.Place, now: int) -> None:
    """BadRequest, with the field: an hour that is none, is not over, stands twice; a number that cannot be."""
    wrong: list[tuple[str, str]] = []
    fit = int(sum(part.area_m2 for part in place.parts) * places.MOST_PER_M2)
    seen: set[int] = set()
    for number, one in enumerate(counts):
        at, field = microseconds(one.hour), f"counts[{number}]"
        if at % HOUR:
            wrong.append((f"{field}.hour", "is not the beginning of an hour"))
        elif at + HOUR > now:
            wrong.append((f"{field}.hour", "is an hour that is not over"))
        elif day_and_hour(at // HOUR)[0] < OLDEST:
            wrong.append((f"{field}.hour", f"is before {OLDEST.isoformat()}: look at the year"))
        elif at in seen:
            wrong.append((f"{field}.hour", "stands in the list before"))
        seen.add(at)
        if one.people < 0:
            wrong.append((f"{field}.people", f"is {one.people}, and there are never fewer than 0"))
        elif one.people > fit:
            told = f"is {one.people}, and no more than {fit} people fit into the place: look at the areas of its parts"
            wrong.append((f"{field}.people", told))
    if not wrong and max(seen) - min(seen) >= MOST_DAYS * DAY * HOUR:
        wrong.append(("counts", f"are of more than {MOST_DAYS} days: bring them in by months"))
    if wrong:
        raise BadRequest(wrong)


def check_counted(counts: Sequence[pb.HourlyCount], days: Mapping[str, Day]) -> tuple[int, int]:
    """How many hours are new, and how many corrected. BadRequest: the city has counted one of them itself."""
    wrong, new, corrected = [], 0, 0
    for number, one in enumerate(counts):
        day, hour = day_and_hour(microseconds(one.hour) // HOUR)
        known = days.get(day.isoformat(), Day())
        if known.people[hour] == UNKNOWN:
            new += 1
        elif hour not in known.imported:
            told = f"was counted here already ({known.people[hour]} people), and that stays: leave it out"
            wrong.append((f"counts[{number}].hour", told))
        elif known.people[hour] != one.people:
            corrected += 1
    if wrong:
        raise BadRequest(wrong)
    return new, corrected


def in_a_row(first: int, number: int, days: Iterable[tuple[date, Sequence[int]]]) -> Numbers:
    """So many hours from a first one on (its number since 1970), NaN where one is not known."""
    found = np.full(number, np.nan)
    for day, people in days:
        for of_day, count in enumerate(people):
            place = first_hour(day) + of_day - first
            if count != UNKNOWN and 0 <= place < number:
                found[place] = count
    return found
