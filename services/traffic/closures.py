"""Closures of roads: what each has closed, and whose way it blocks. A closure and its end may come in either order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.events_pb2 import ClosureBarred, PriorityGranted, RoadClosed, RoadReopened, WayBlocked
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, Refused
from citybrain.services.traffic.grants import Grant
from citybrain.services.traffic.street import Street


@dataclass(frozen=True, slots=True)
class Closure:
    """The roads of one closure as they were closed, and whether it has ended."""

    roads: tuple[RoadClosed, ...] = ()
    ended: bool = False


def evolve(closure: Closure, event: Message) -> Closure:
    """The closure after an event."""
    match event:
        case RoadClosed():
            return replace(closure, roads=(*closure.roads, event))
        case RoadReopened() | ClosureBarred():
            return replace(closure, ended=True)
    return closure


def close(closure: Closure, request: pb.CloseRoadsRequest, keepers: Mapping[str, str], now: int) -> list[Message]:
    """Closes roads; a second time under the same id changes nothing. Refused where the closure was ended before it came.

    `keepers`: of each road that is published, its district. `now` is in microseconds since 1970.
    """
    if closure.ended:
        raise Refused(f"closure {request.closure_id} was ended before it came: close the roads under a new id", "CLOSURE_ENDED")
    if closure.roads:
        before = closure.roads[0]
        as_before = (before.emergency_vehicles_pass, before.lorries_only) == (_passes(request), request.lorries_only)
        if sorted(road.edge_id for road in closure.roads) != sorted(request.edge_ids) or not as_before:
            what = "other roads, or for others"
            raise AlreadyDifferent(f"closure {request.closure_id} has closed {what}: use a new id", "OTHER_CLOSURE")
        return []
    unknown = [edge_id for edge_id in request.edge_ids if edge_id not in keepers]
    if unknown:
        what = f"road {unknown[0]!r} is not in the published network: name one that is or publish it"
        raise Refused(what, "UNKNOWN_ROAD")
    if request.HasField("expected_end") and request.expected_end.ToMicroseconds() <= now:
        raise BadRequest([("expected_end", "is over already: give a later moment, or none if nobody knows it")])
    closed = []
    for edge_id in request.edge_ids:
        one = RoadClosed(
            edge_id=edge_id, closure_id=request.closure_id, reason=request.reason, incident_id=request.incident_id,
            district_id=keepers[edge_id], emergency_vehicles_pass=_passes(request), lorries_only=request.lorries_only,
        )  # fmt: skip
        if request.HasField("expected_end"):
            one.expected_end.CopyFrom(request.expected_end)
        closed.append(one)
    return list[Message](closed)


def _passes(request: pb.CloseRoadsRequest) -> bool:
    """Whether emergency vehicles drive through: also where only lorries do not."""
    return request.emergency_vehicles_pass or request.lorries_only


def district_of(closure: Closure) -> str:
    """The district that keeps its roads; empty where several do, or it is not known."""
    keepers = {road.district_id for road in closure.roads}
    return keepers.pop() if len(keepers) == 1 else ""


def reopen(closure: Closure, request: pb.ReopenRoadsRequest) -> list[Message]:
    """Ends a closure, once. One that has not come yet is refused from now on."""
    if closure.ended:
        return []
    if not closure.roads:
        return [ClosureBarred(closure_id=request.closure_id, reason=request.reason)]
    return [
        RoadReopened(
            edge_id=road.edge_id, closure_id=road.closure_id, reason=request.reason, incident_id=road.incident_id,
            district_id=road.district_id,
        )
        for road in closure.roads
    ]  # fmt: skip


def through(granted: PriorityGranted, here: int) -> list[str]:
    """The roads that a vehicle still drives through. `here`: the index of the road on its way on which it is.

    Not the road on which it is, nor those on which it stops: it may stand before what blocks them, and must get to the patient.
    """
    stops = {stop.route_index for stop in granted.stops} | {len(granted.edge_ids) - 1}
    return [edge_id for index, edge_id in enumerate(granted.edge_ids) if index > here and index not in stops]


def blocked(
    grants: Iterable[Grant],
    closed: Sequence[pb.ClosedRoad],
    street: Street,
    length_m: Mapping[str, float],
    *,
    silent: bool = False,
) -> list[WayBlocked]:
    """Whose way is blocked by a closure of which they have not been told.

    A vehicle whose place is not known yet is waited for until it is lost; `silent`: nobody has observed the street for so long.
    """
    found = []
    for grant in grants if closed else ():
        granted = grant.granted
        tracked = street.vehicles.get(granted.vehicle_id)
        position = tracked.position if tracked is not None else None
        if position is None and not (silent or grant.lost):
            continue
        way = through(granted, position.route_index if position is not None else 0)
        known = set(grant.blocked_by)
        on_way = [one for one in closed if one.edge_id in way]
        for one in sorted(on_way, key=lambda one: (way.index(one.edge_id), one.closure_id)):
            if one.closure_id in known:
                continue
            known.add(one.closure_id)
            told = WayBlocked(
                incident_id=granted.incident_id, grant_id=granted.grant_id, vehicle_id=granted.vehicle_id,
                closure_id=one.closure_id, edge_id=one.edge_id, reason=one.reason,
            )  # fmt: skip
            if position is not None:
                told.vehicle_at.CopyFrom(_at(granted, position, length_m))
            found.append(told)
    return found


def _at(granted: PriorityGranted, position: pb.VehiclePosition, length_m: Mapping[str, float]) -> RoadPlace:
    """Where a vehicle is, on a road that everybody knows: inside a junction it is at the end of the road before."""
    if position.edge_id in length_m or position.route_index >= len(granted.edge_ids):
        return RoadPlace(edge_id=position.edge_id, position_m=position.position_m)
    before = granted.edge_ids[position.route_index]
    return RoadPlace(edge_id=before, position_m=length_m.get(before, 0.0))


def passable(granted: PriorityGranted, here: int, closed: Collection[str]) -> int:
    """The index of the last road of its way that a vehicle reaches without driving through a closed one."""
    to_drive = set(through(granted, here)) & set(closed) if closed else set()
    return next((k - 1 for k, edge in enumerate(granted.edge_ids) if k > here and edge in to_drive), len(granted.edge_ids) - 1)
