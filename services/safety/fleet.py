"""Police cars and fire engines: who is free, and who is sent. All of them are one stream, so a unit is in one assignment only.

An assignment takes all units that it asks for, or none, in one append. Two callers at once are decided one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NoneFree, Refused
from citybrain.mesh.long_streams import newest
from citybrain.mesh.roads import Driving

# How many ended assignments the fleet remembers at least, to refuse one that comes after its own end. A command is retried for
# minutes at most, and a city of ten million sends its units less than a thousand times in ten minutes.
REMEMBERED = 1000

DRIVING: Mapping[int, Driving] = MappingProxyType(
    {
        pb.UNIT_KIND_POLICE_CAR: Driving(share=1.2, leg_s=8.0),
        pb.UNIT_KIND_FIRE_ENGINE: Driving(share=1.0, leg_s=60.0),
    }
)
"""Proposals of this project: a police car drives as an ambulance does in simulation. A fire engine drives at
free flow, and its crew takes a minute to leave. Who is nearest does not depend on them, only the seconds that are told."""

NAMES: Mapping[int, str] = {pb.UNIT_KIND_POLICE_CAR: "police cars", pb.UNIT_KIND_FIRE_ENGINE: "fire engines"}


class NotEnoughUnits(NoneFree):
    """Fewer units are free than were asked for. `told`: for each kind how many there are."""

    def __init__(self, asked: Mapping[pb.UnitKind, int], there: Mapping[pb.UnitKind, int]) -> None:
        short = [
            f"of {count} {NAMES[kind]} only {there[kind]} can be sent" for kind, count in asked.items() if there[kind] < count
        ]
        text = f"{' and '.join(short)}, so nobody was: ask for fewer, or again when units are released"
        super().__init__(text, "NOT_ENOUGH_UNITS")
        self.told = {NAMES[kind].replace(" ", "_"): str(there[kind]) for kind in asked}


@dataclass(frozen=True, slots=True)
class Unit:
    """A police car or a fire engine, and where it stands while it is free."""

    kind: int
    station: RoadPlace
    district_id: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """Units that are on their way to an incident, or posted for an occasion: `incident_id` is that then."""

    incident_id: str
    units: tuple[pb.AssignedUnit, ...] = ()
    district_id: str = ""


@dataclass(frozen=True, slots=True)
class Fleet:
    """All units. `holders`: unit → the assignment that it is in, while it is in one. `ended`: assignment → the units it had."""

    units: Mapping[str, Unit] = field(default_factory=dict)
    holders: Mapping[str, str] = field(default_factory=dict)
    assignments: Mapping[str, Assignment] = field(default_factory=dict)
    ended: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def evolve(fleet: Fleet, event: Message) -> Fleet:
    """The fleet after an event."""
    match event:
        case ev.UnitRegistered():
            unit = Unit(event.kind, event.station, event.district_id)
            return replace(fleet, units={**fleet.units, event.unit_id: unit})
        case ev.UnitAssigned():
            sent, key = event.unit, event.unit.assignment_id
            before = fleet.assignments.get(key, Assignment(event.incident_id, district_id=event.district_id))
            return replace(
                fleet,
                holders={**fleet.holders, sent.unit_id: key},
                assignments={**fleet.assignments, key: replace(before, units=(*before.units, sent))},
            )
        case ev.UnitsReleased():
            key = event.assignment_id
            ended = {**fleet.ended, key: tuple(event.unit_ids)}
            return replace(
                fleet,
                holders={unit: holder for unit, holder in fleet.holders.items() if holder != key},
                assignments={each: one for each, one in fleet.assignments.items() if each != key},
                ended=newest(ended, REMEMBERED),
            )
    return fleet


def register(fleet: Fleet, request: pb.RegisterUnitRequest) -> list[Message]:
    """Registers a unit, once. Refused where the id is known with other content."""
    known = fleet.units.get(request.unit_id)
    if known is None:
        return [
            ev.UnitRegistered(
                unit_id=request.unit_id, kind=request.kind, station=request.station, district_id=request.district_id
            )
        ]
    if known != Unit(request.kind, request.station, request.district_id):
        raise AlreadyDifferent(f"unit {request.unit_id} is registered otherwise: ListUnits shows how", "OTHER_UNIT")
    return []


def asked_for(request: pb.AssignUnitsRequest) -> dict[pb.UnitKind, int]:
    """Kind → how many of it are asked for. BadRequest: none of any."""
    asked = {pb.UNIT_KIND_POLICE_CAR: request.police_cars, pb.UNIT_KIND_FIRE_ENGINE: request.fire_engines}
    if not any(asked.values()):
        raise BadRequest([("police_cars", "is 0, and so is fire_engines: ask for one at least")])
    return {kind: count for kind, count in asked.items() if count}


def assign(
    fleet: Fleet, request: pb.AssignUnitsRequest, place: RoadPlace | None, district_id: str, routes: Mapping[str, Route]
) -> list[Message]:
    """Sends, of each kind, the free units that are there first, once. `routes`: of every unit that can reach the place.

    All that are asked for, or none; with `or_fewer` those that there are, one at least.

    `place`: where they drive to; None: nobody knows (BadRequest). Refused where this assignment has ended; AlreadyDifferent
    where it is known with other content; NotEnoughUnits.
    """
    key, asked = request.assignment_id, asked_for(request)
    if key in fleet.ended:
        raise Refused(f"assignment {key} was released before it came", "ASSIGNMENT_ENDED")
    if (known := fleet.assignments.get(key)) is not None:
        kinds = [unit.kind for unit in known.units]
        sent = {kind: kinds.count(kind) for kind in set(kinds)}
        fits = all(asked.get(kind, 0) >= count for kind, count in sent.items()) if request.or_fewer else asked == sent
        if known.incident_id != request.incident_id or not fits:
            raise AlreadyDifferent(f"assignment {key} stands already, for other units: choose another id", "OTHER_ASSIGNMENT")
        return []
    if place is None:
        problem = f"is missing, and no report of {request.incident_id} named a road: say where they drive to"
        raise BadRequest([("place", problem)])
    chosen: list[Message] = []
    there: dict[pb.UnitKind, int] = {}
    for kind, count in asked.items():
        free = [
            name for name, unit in fleet.units.items() if unit.kind == kind and name in routes and name not in fleet.holders
        ]
        there[kind] = len(free)
        for name in sorted(free, key=lambda name: (routes[name].travel_time_s, name))[:count]:
            unit = pb.AssignedUnit(
                unit_id=name, kind=kind, assignment_id=key, station=fleet.units[name].station, route=routes[name]
            )
            chosen.append(ev.UnitAssigned(incident_id=request.incident_id, unit=unit, place=place, district_id=district_id))
    if any(there[kind] < count for kind, count in asked.items()) and not (request.or_fewer and chosen):
        raise NotEnoughUnits(asked, there)
    return chosen


def release(fleet: Fleet, request: pb.ReleaseUnitsRequest, district_id: str) -> list[Message]:
    """Ends an assignment, once. One that has not come yet is refused from now on. Refused where it is of another incident."""
    key = request.assignment_id
    if key in fleet.ended:
        return []
    known = fleet.assignments.get(key, Assignment(request.incident_id))
    if known.incident_id != request.incident_id:
        raise Refused(f"assignment {key} is of incident {known.incident_id}: name that", "OTHER_INCIDENT")
    return [
        ev.UnitsReleased(
            incident_id=request.incident_id, assignment_id=key, unit_ids=[unit.unit_id for unit in known.units],
            reason=request.reason, district_id=district_id,
        )
    ]  # fmt: skip


def post(fleet: Fleet, request: pb.PostUnitsRequest, routes: Mapping[str, Route]) -> list[Message]:
    """Posts police cars where something is expected, once. As `assign`, for an occasion instead of an incident."""
    asked = pb.AssignUnitsRequest(
        incident_id=request.occasion_id, assignment_id=request.post_id, police_cars=request.police_cars,
        or_fewer=request.or_fewer,
    )  # fmt: skip
    return assign(fleet, asked, request.place, request.district_id, routes)


def recall(fleet: Fleet, request: pb.RecallUnitsRequest) -> list[Message]:
    """Ends a post, once. One that has not come yet is refused from now on. Refused where it is of another occasion."""
    known = fleet.assignments.get(request.post_id, Assignment(request.occasion_id))
    released = pb.ReleaseUnitsRequest(
        incident_id=request.occasion_id, assignment_id=request.post_id, reason=request.reason
    )  # fmt: skip
    return release(fleet, released, known.district_id)


def release_all(fleet: Fleet, request: pb.ReleaseUnitsRequest, incidents: Mapping[str, str]) -> list[Message]:
    """Ends all assignments of incidents. `incidents`: each with its district."""
    each = [(key, one.incident_id) for key, one in fleet.assignments.items() if one.incident_id in incidents]
    return [
        event
        for key, incident_id in each
        for event in release(
            fleet,
            pb.ReleaseUnitsRequest(incident_id=incident_id, assignment_id=key, reason=request.reason),
            incidents[incident_id],
        )
    ]


def units_of(fleet: Fleet, incidents: frozenset[str]) -> list[pb.AssignedUnit]:
    """The units that are on their way to these incidents, by id."""
    found = [unit for one in fleet.assignments.values() if one.incident_id in incidents for unit in one.units]
    return sorted(found, key=lambda unit: unit.unit_id)


def is_asked_for(unit: Unit, request: pb.ListUnitsRequest) -> bool:
    """Whether a list with this question shows it."""
    return (not request.kind or unit.kind == request.kind) and (
        not request.district_id or unit.district_id == request.district_id
    )


def show(fleet: Fleet, unit_id: str) -> pb.Unit:
    """A unit as callers see it."""
    unit, key = fleet.units[unit_id], fleet.holders.get(unit_id, "")
    return pb.Unit(
        unit_id=unit_id, kind=unit.kind, station=unit.station, district_id=unit.district_id, assignment_id=key,  # type: ignore[arg-type]
        incident_id=fleet.assignments[key].incident_id if key else "",
    )  # fmt: skip
