"""A place as it is registered, and which counts of its counters are taken. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import tourism_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, listed
from citybrain.services.tourism import carrying_capacity, levels

WEST, EAST = 118.33, 120.73
SOUTH, NORTH = 29.18, 30.58
"""Around Hangzhou, in degrees of WGS 84. Both bounds belong to the city."""

MOST_PEOPLE = 10_000_000
"""No place holds more: its areas are in another unit."""

MOST_PER_M2 = 10
"""No counter sees more people on a square metre: 7.1 are critical. A proposal of this project."""


def register(known: pb.Place | None, place: pb.Place) -> list[Message]:
    """Makes a place known, or changes it. BadRequest: it holds nobody, or does not fit together."""
    if known == place:
        return []
    if known is not None and known.district_id != place.district_id:
        problem = f"place {place.place_id} is in {known.district_id} and stays there: another one has another id"
        raise AlreadyDifferent(problem, "OTHER_DISTRICT")
    wrong = [*_position(place.position), *_parts(place), *_facilities(place), *_counters(place)]
    if place.open_minutes and not place.stay_minutes:
        wrong.append(("place.stay_minutes", "is missing: how often a place fills on a day follows from it"))
    if place.stay_minutes > place.open_minutes:
        wrong.append(("place.stay_minutes", f"is longer than the place is open ({place.open_minutes} minutes)"))
    if wrong:
        raise BadRequest(wrong)
    return [ev.PlaceRegistered(place=place, capacity=capacity(place), district_id=place.district_id)]


def _position(position: pb.Position) -> list[tuple[str, str]]:
    if WEST <= position.longitude <= EAST and SOUTH <= position.latitude <= NORTH:
        return []
    return [("place.position", f"lies outside the city, which is between {WEST} and {EAST} east, {SOUTH} and {NORTH} north")]


def _parts(place: pb.Place) -> list[tuple[str, str]]:
    wrong = _doubled("place.parts", "part_id", [one.part_id for one in place.parts])
    for number, part in enumerate(place.parts):
        field = f"place.parts[{number}]"
        if part.area_m2 <= 0:
            wrong.append((f"{field}.area_m2", "is 0: a part in which nobody can stand is left out"))
        if part.m2_per_person * levels.CONTACT <= 1:
            told = f"is {part.m2_per_person:g}: with so little people touch ({levels.CONTACT} on a square metre)"
            wrong.append((f"{field}.m2_per_person", told))
    if not wrong:
        holds = carrying_capacity.space((one.area_m2, one.m2_per_person) for one in place.parts)
        if holds < 1:
            wrong.append(("place.parts", "hold nobody: together they are smaller than what one person is to have"))
        elif holds > MOST_PEOPLE:
            wrong.append(("place.parts", f"hold {holds} people: look at their areas, which are in square metres"))
    return wrong


def _facilities(place: pb.Place) -> list[tuple[str, str]]:
    wrong = _doubled("place.facilities", "facility_id", [one.facility_id for one in place.facilities])
    for number, one in enumerate(place.facilities):
        if not one.persons:
            told = "is 0, and the place would hold nobody: leave out a facility that the place does not need"
            wrong.append((f"place.facilities[{number}].persons", told))
    return wrong


def _counters(place: pb.Place) -> list[tuple[str, str]]:
    wrong = _doubled("place.counters", "counter_id", [one.counter_id for one in place.counters])
    parts = {one.part_id for one in place.parts}
    for number, one in enumerate(place.counters):
        if one.part_id not in parts:
            wrong.append((f"place.counters[{number}].part_id", f"is no part of the place: it has {listed(sorted(parts))}"))
    return wrong


def _doubled(field: str, name: str, ids: list[str]) -> list[tuple[str, str]]:
    return [
        (f"{field}[{number}].{name}", f"is {one}, which stands in the list before") for number, one in enumerate(ids)
        if one in ids[:number]
    ]  # fmt: skip


def capacity(place: pb.Place) -> pb.Capacity:
    """What a place holds, and by what."""
    space = carrying_capacity.space((one.area_m2, one.m2_per_person) for one in place.parts)
    at_once, by = carrying_capacity.bound(space, ((one.facility_id, one.persons) for one in place.facilities))
    found = pb.Capacity(at_once=at_once, space=space, bound_by=by, standard=carrying_capacity.STANDARD)
    if place.stay_minutes:
        found.turns = carrying_capacity.turns(place.open_minutes, place.stay_minutes)
        found.daily = at_once * found.turns
    return found


def existing(place: pb.Place | None, place_id: str) -> pb.Place:
    """The place, or NotFound."""
    if place is None:
        raise NotFound(f"there is no place {place_id}: RegisterPlace makes it known", "NO_SUCH_PLACE")
    return place


def check(counts: Iterable[pb.Count], known: Mapping[str, pb.Place]) -> None:
    """BadRequest, with the field: a place or counter that is not known, a count that cannot be."""
    wrong: list[tuple[str, str]] = []
    areas = {
        place_id: {
            counter.counter_id: next(part.area_m2 for part in place.parts if part.part_id == counter.part_id)
            for counter in place.counters
        }
        for place_id, place in known.items()
    }
    for number, one in enumerate(counts):
        field = f"counts[{number}]"
        if one.place_id not in areas:
            wrong.append((f"{field}.place_id", "is not known here: RegisterPlace makes a place known"))
            continue
        area = areas[one.place_id].get(one.counter_id)
        if area is None:
            has = listed(sorted(areas[one.place_id])) or "none"
            wrong.append((f"{field}.counter_id", f"is no counter of place {one.place_id}: it has {has}"))
        elif one.people < 0:
            wrong.append((f"{field}.people", f"is {one.people}, and there are never fewer than 0: look at the counter"))
        elif one.people > area * MOST_PER_M2:
            told = f"is {one.people} on {area:g} m², more than {MOST_PER_M2} on each: nobody fits in, look at the counter"
            wrong.append((f"{field}.people", told))
    if wrong:
        raise BadRequest(wrong)
