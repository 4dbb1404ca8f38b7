"""The priority of one incident's vehicles, folded from its events. A grant and its release may come in either order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.events_pb2 import PriorityGranted, PriorityReleased, VehicleLost, VehicleMissing, WayBlocked
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, Refused

REMEMBERED = 200
"""How many ended grants an incident remembers, to refuse a grant that comes after its own end: retries last minutes."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Priority for a vehicle along a route, and whether the vehicle was last known to be lost, or missing.

    `blocked_by`: the closures on its way that were told.
    """

    granted: PriorityGranted
    lost: bool = False
    missing: bool = False
    blocked_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PriorityState:
    """The grants of one incident that hold, by grant id, oldest first; and the ids of those that ended."""

    grants: Mapping[str, Grant] = field(default_factory=dict)
    ended: tuple[str, ...] = ()


def evolve(state: PriorityState, event: Message) -> PriorityState:
    """The incident's priority after an event."""
    match event:
        case PriorityGranted():
            return replace(state, grants={**state.grants, event.grant_id: Grant(event)})
        case PriorityReleased():
            grants = {grant_id: grant for grant_id, grant in state.grants.items() if grant_id != event.grant_id}
            return PriorityState(grants, (*state.ended, event.grant_id)[-REMEMBERED:])
        case VehicleLost() | VehicleMissing() if event.grant_id in state.grants:
            silent = replace(state.grants[event.grant_id], lost=True, missing=isinstance(event, VehicleMissing))
            return replace(state, grants={**state.grants, event.grant_id: silent})
        case WayBlocked() if event.grant_id in state.grants:
            grant = state.grants[event.grant_id]
            blocked = replace(grant, blocked_by=(*grant.blocked_by, event.closure_id))
            return replace(state, grants={**state.grants, event.grant_id: blocked})
    return state


def grant(state: PriorityState, request: pb.GrantPriorityRequest, signal_ids: Sequence[str]) -> list[Message]:
    """Gives priority; a second time under the same id changes nothing. Refused where the grant was released before it came."""
    if request.grant_id in state.ended:
        raise Refused(f"priority {request.grant_id} was released before it came", "PRIORITY_RELEASED")
    granted = PriorityGranted(
        incident_id=request.incident_id, grant_id=request.grant_id, vehicle_id=request.vehicle_id,
        edge_ids=request.edge_ids, signal_ids=signal_ids, stops=request.stops,
    )  # fmt: skip
    standing = state.grants.get(request.grant_id)
    if standing is None:
        return [granted]
    if (standing.granted.vehicle_id, list(standing.granted.edge_ids)) != (request.vehicle_id, list(request.edge_ids)):
        raise AlreadyDifferent(f"priority {request.grant_id} was granted for another vehicle or route", "OTHER_PRIORITY")
    return []


def release(state: PriorityState, request: pb.ReleasePriorityRequest) -> list[Message]:
    """Takes a grant back, once. A grant that has not come yet is refused from now on."""
    if request.grant_id in state.ended:
        return []
    standing = state.grants.get(request.grant_id)
    return [
        PriorityReleased(
            incident_id=request.incident_id, grant_id=request.grant_id,
            vehicle_id=standing.granted.vehicle_id if standing is not None else "", reason=request.reason,
        )
    ]  # fmt: skip


def tell(state: PriorityState, told: VehicleLost | VehicleMissing | WayBlocked) -> list[Message]:
    """Records what became of a vehicle or of its way, if its priority still stands; a closure on its way once."""
    grant = state.grants.get(told.grant_id)
    if grant is None or (isinstance(told, WayBlocked) and told.closure_id in grant.blocked_by):
        return []
    return [told]
