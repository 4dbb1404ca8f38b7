"""A place and its last hour, minute by minute: how many people are there, and which levels follow. Pure.

A minute has the last count of each counter; where a counter has sent none in it, that of one of the two minutes before stands.
A counter without any is missing: then at least so many people are there, which may reach a level and never leaves one. Each
minute goes on from the levels of the one before, so a count that is late or corrected has its minute and all later ones made
anew. What was told of a minute and does not follow any more is retracted, and what follows is told, in one append.

It is long because all of this is decided on the state of one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import tourism_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.tourism import carrying_capacity, crowds, levels, places
from citybrain.services.tourism.telemetry import MINUTE, Values

STANDS = 3
"""A count stands for its minute and the next ones, so many together. A proposal of this project."""

KEPT = 60
"""So many minutes of a place can be made anew."""

SILENT = 5
"""After so many minutes without a count nobody knows how many people are there. A proposal of this project."""

REASON = "the counts that it rested on were corrected, or others came late"


@dataclass(frozen=True, slots=True)
class State:
    """A place. `minutes`: number since 1970 → as it was counted last. `before`: the newest one that is not kept any more.

    `full`: minute → the change of level that holds of it. `dense`: minute and part → the change of density that does.
    """

    place: pb.Place | None = None
    minutes: Mapping[int, ev.PlaceCounted] = field(default_factory=dict)
    before: ev.PlaceCounted | None = None
    full: Mapping[int, ev.CapacityLevelChanged] = field(default_factory=dict)
    dense: Mapping[str, ev.DensityLevelChanged] = field(default_factory=dict)
    silent: bool = False
    peaks: crowds.Peaks = field(default_factory=crowds.Peaks)


def minute_of(event: Message) -> int:
    """The number of the minute that an event is about."""
    return microseconds(event.minute) // MINUTE  # type: ignore[attr-defined]


def _dense_key(minute: int, part_id: str) -> str:
    return f"{minute}/{part_id}"


def evolve(state: State, event: Message) -> State:
    """The place after an event."""
    match event:
        case ev.PlaceRegistered():
            return replace(state, place=event.place)
        case ev.PlaceCounted():
            return _counted(state, event)
        case ev.CapacityLevelChanged():
            return replace(state, full={**state.full, minute_of(event): event})
        case ev.CapacityLevelRetracted():
            return replace(state, full={key: one for key, one in state.full.items() if key != minute_of(event)})
        case ev.DensityLevelChanged():
            return replace(state, dense={**state.dense, _dense_key(minute_of(event), event.part_id): event})
        case ev.DensityLevelRetracted():
            gone = _dense_key(minute_of(event), event.part_id)
            return replace(state, dense={key: one for key, one in state.dense.items() if key != gone})
        case ev.CountingStopped():
            return replace(state, silent=True)
    followed = crowds.evolve(state.peaks, event)
    return state if followed is state.peaks else replace(state, peaks=followed)


def _counted(state: State, event: ev.PlaceCounted) -> State:
    newest = max(state.minutes, default=-1)
    minutes = {**state.minutes, minute_of(event): event}
    since = max(minutes) - KEPT
    gone = sorted(key for key in minutes if key <= since)
    return replace(
        state,
        peaks=reduce(crowds.freeze, (minutes[key] for key in gone), state.peaks),
        minutes={key: one for key, one in minutes.items() if key > since},
        before=minutes[max(gone)] if gone else state.before,
        full={key: one for key, one in state.full.items() if key > since},
        dense={key: one for key, one in state.dense.items() if minute_of(one) > since},
        silent=state.silent and minute_of(event) <= newest,
    )


def district_of(state: State) -> str:
    """The district of a place; empty: it is not known."""
    return state.place.district_id if state.place is not None else ""


def register(state: State, place: pb.Place) -> list[Message]:
    """Makes a place known, or changes it. Minutes that are over stay as they were counted."""
    return places.register(state.place, place)


def stop(state: State, now: int) -> list[Message]:
    """Says once that nobody counts any more. `now`: microseconds since 1970."""
    if not state.minutes or state.silent or not is_silent(newest := max(state.minutes), now):
        return []
    place = state.place
    assert place is not None
    return [ev.CountingStopped(place_id=place.place_id, district_id=place.district_id, last_minute=timestamp(newest * MINUTE))]


def is_silent(minute: int, now: int) -> bool:
    """Whether the newest minute is too long ago to say how many people are there now."""
    return now - (minute + 1) * MINUTE >= SILENT * MINUTE


def count(state: State, minute: int, values: Values) -> list[Message]:
    """Puts counts into a minute, and says what follows. The same counts again change nothing."""
    if state.place is None or minute <= max(state.minutes, default=minute) - KEPT:
        return []
    known = state.minutes.get(minute)
    counters = {one.counter_id for one in (state.place if known is None else known).counters}
    before = _own(known)
    merged = {key: one for key, one in values.items() if key in counters and one[0] >= before.get(key, (0, 0))[0]}
    merged = {**before, **merged}
    if merged == before:
        return []
    return _follows(state, minute, merged)


def stale(state: State, minute: int) -> list[int]:
    """The minutes after one that do not follow from what is before them any more, in order. `make_anew` is for each of them."""
    found = []
    for number in sorted(key for key in state.minutes if key > minute):
        if decided := _follows(state, number):
            state = reduce(evolve, decided, state)
            found.append(number)
    return found


def make_anew(state: State, minute: int) -> list[Message]:
    """Makes a minute follow from what is before it. One minute at a time: an append holds no more than that surely."""
    return _follows(state, minute) if minute in state.minutes else []


def _follows(state: State, minute: int, own: Values | None = None) -> list[Message]:
    """What is to be told of a minute, and taken back. `own`: the counts of the minute itself, where they are others now."""
    made = _made(state, minute, _own(state.minutes.get(minute)) if own is None else own)
    decided: list[Message] = [] if _is_told(state.minutes.get(minute), made) else [made]
    decided += _fullness(state, made) + _density(state, made)
    return decided + _peaks(state, decided)


def _peaks(state: State, decided: list[Message]) -> list[Message]:
    """What follows for the peaks of the place from what is told of a minute."""
    after = reduce(evolve, decided, state)
    return crowds.follow(after.peaks, after.place, after.minutes) if decided and after.place is not None else []


def _own(event: ev.PlaceCounted | None) -> Values:
    """The counts that counters have sent in a minute itself."""
    if event is None:
        return {}
    said = (one for one in event.counters if one.HasField("counted_at"))
    moments = {one.counter_id: (microseconds(one.counted_at), one.people) for one in said}
    return {key: one for key, one in moments.items() if one[0] // MINUTE == minute_of(event)}


def _previous(state: State, minute: int) -> ev.PlaceCounted | None:
    """The minute before, as far as it is known."""
    newest = max((key for key in state.minutes if key < minute), default=None)
    return state.before if newest is None else state.minutes[newest]


def _made(state: State, minute: int, own: Values) -> ev.PlaceCounted:
    """A minute as it follows from all counts. One that was counted before keeps the parts and the capacity that it had."""
    made, known = _blank(state, minute), state.minutes.get(minute)
    stands = [own, *(_own(state.minutes.get(minute - ago)) for ago in range(1, STANDS))]
    for counter in made.counters:
        said = next((one[counter.counter_id] for one in stands if counter.counter_id in one), None)
        # What stands from a minute that is not kept any more stays as it was told.
        if said is not None:
            counter.counted_at.CopyFrom(timestamp(said[0]))
            counter.people = said[1]
    before = _previous(state, minute)
    stood = {one.part_id: one.level for one in before.parts} if before is not None else {}
    for part in made.parts:
        mine = [one for one in made.counters if one.part_id == part.part_id]
        part.complete = bool(mine) and all(one.HasField("counted_at") for one in mine)
        part.people = sum(one.people for one in mine)
        part.density = part.people / part.area_m2
        level = stood.get(part.part_id, pb.DENSITY_LEVEL_UNSPECIFIED)
        part.level = levels.density(level, part.density, complete=part.complete)
    made.people = sum(one.people for one in made.parts)
    made.complete = all(one.complete for one in made.parts)
    made.level = levels.fullness(before.level if before is not None else 0, made.people, made.capacity, complete=made.complete)
    made.revision = known.revision + 1 if known is not None else 1
    return made


def _blank(state: State, minute: int) -> ev.PlaceCounted:
    """A minute without counts: with the counters, parts and capacity that it has."""
    blank = ev.PlaceCounted()
    if minute in state.minutes:
        blank.CopyFrom(state.minutes[minute])
        return blank
    place = state.place
    assert place is not None
    capacity = places.capacity(place)
    blank.place_id, blank.district_id = place.place_id, place.district_id
    blank.minute.CopyFrom(timestamp(minute * MINUTE))
    blank.counters.extend(pb.CounterCount(counter_id=one.counter_id, part_id=one.part_id) for one in place.counters)
    blank.parts.extend(pb.PartCount(part_id=one.part_id, area_m2=one.area_m2) for one in place.parts)
    blank.capacity, blank.bound_by = capacity.at_once, capacity.bound_by
    return blank


def _is_told(known: ev.PlaceCounted | None, made: ev.PlaceCounted) -> bool:
    """Whether a minute is as it was told."""
    if known is None:
        return False
    same = ev.PlaceCounted()
    same.CopyFrom(made)
    same.revision = known.revision
    return same == known


def counted_by(event: ev.PlaceCounted, part_id: str = "") -> list[str]:
    """The counters that a minute (or a part in it) rests on."""
    return [one.counter_id for one in event.counters if part_id in ("", one.part_id) and one.HasField("counted_at")]


def missing(event: ev.PlaceCounted, part_id: str = "") -> list[str]:
    """The counters that have said nothing."""
    return [one.counter_id for one in event.counters if part_id in ("", one.part_id) and not one.HasField("counted_at")]


def uncounted_parts(event: ev.PlaceCounted) -> list[str]:
    """The parts that have no counter."""
    having = {one.part_id for one in event.counters}
    return [one.part_id for one in event.parts if one.part_id not in having]


def _fullness(state: State, made: ev.PlaceCounted) -> list[Message]:
    """What is retracted and told of the level in a minute."""
    before, told = _previous(state, minute_of(made)), state.full.get(minute_of(made))
    change = (before.level if before is not None else 0, made.level)
    if told is not None and (told.old_level, told.new_level) == change:
        return []
    whose: dict[str, Any] = {"place_id": made.place_id, "district_id": made.district_id, "minute": made.minute}
    events: list[Message] = []
    if told is not None:
        events.append(
            ev.CapacityLevelRetracted(
                old_level=told.old_level, new_level=told.new_level, revision=told.revision, reason=REASON, **whose
            )
        )  # fmt: skip
    if change[0] != change[1]:
        events.append(
            ev.CapacityLevelChanged(
                old_level=change[0], new_level=change[1], people=made.people, capacity=made.capacity, bound_by=made.bound_by,
                counted_by=counted_by(made), missing=missing(made), uncounted_parts=uncounted_parts(made),
                complete=made.complete, revision=made.revision, standard=carrying_capacity.STANDARD, **whose,
            )
        )  # fmt: skip
    return events


def _density(state: State, made: ev.PlaceCounted) -> list[Message]:
    """What is retracted and told of the density of each part in a minute. Only what has to do with contact is told."""
    minute, before = minute_of(made), _previous(state, minute_of(made))
    stood = {one.part_id: one.level for one in before.parts} if before is not None else {}
    now = {one.part_id: one for one in made.parts}
    whose: dict[str, Any] = {"place_id": made.place_id, "district_id": made.district_id, "minute": made.minute}
    events: list[Message] = []
    # A part that the place does not have any more is left by everybody, as far as is known: its level is unspecified.
    for part_id in sorted({*stood, *now}):
        part, told = now.get(part_id, pb.PartCount()), state.dense.get(_dense_key(minute, part_id))
        change = (stood.get(part_id, pb.DENSITY_LEVEL_UNSPECIFIED), part.level)
        if told is not None and (_warned(told.old_level), _warned(told.new_level)) == (_warned(change[0]), _warned(change[1])):
            continue
        if told is not None:
            events.append(
                ev.DensityLevelRetracted(
                    part_id=part_id, old_level=told.old_level, new_level=told.new_level, revision=told.revision, reason=REASON,
                    **whose,
                )
            )  # fmt: skip
        if _warned(change[0]) != _warned(change[1]):
            events.append(
                ev.DensityLevelChanged(
                    part_id=part_id, old_level=change[0], new_level=change[1], density=part.density, people=part.people,
                    area_m2=part.area_m2, counted_by=counted_by(made, part_id), missing=missing(made, part_id),
                    complete=part.complete, revision=made.revision, **whose,
                )
            )  # fmt: skip
    return events


def _warned(level: pb.DensityLevel) -> pb.DensityLevel:
    """The level as far as it is warned of: what is below contact is all the same."""
    return level if level >= pb.DENSITY_LEVEL_CONTACT else pb.DENSITY_LEVEL_UNSPECIFIED
