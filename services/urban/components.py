"""A component of the city (城市部件): where it is and how it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from citybrain.urban.v1 import components_pb2 as pb
from citybrain.urban.v1 import events_pb2 as ev
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, NotFound
from citybrain.services.urban import nearby
from citybrain.services.urban.kinds import COMPONENT_CLASSES


@dataclass(frozen=True, slots=True)
class State:
    """A component as its events tell it."""

    component: pb.Component | None = None


def evolve(state: State, event: Message) -> State:
    """The component after an event."""
    if isinstance(event, ev.ComponentRegistered):
        return replace(state, component=registered(event, state.component))
    if isinstance(event, ev.ComponentStateChanged) and state.component is not None:
        return replace(state, component=changed(state.component, event))
    return state


def registered(event: ev.ComponentRegistered, before: pb.Component | None) -> pb.Component:
    """A component that is made known, or changed. It keeps its state."""
    made = pb.Component(
        component_id=event.component_id, component_class=event.component_class, name=event.name, position=event.position,
        district_id=event.district_id, state=pb.COMPONENT_STATE_INTACT, since=event.registered_at,
    )  # fmt: skip
    if before is not None:
        made.state, made.order_id = before.state, before.order_id
        made.since.CopyFrom(before.since)
    return made


def changed(component: pb.Component, event: ev.ComponentStateChanged) -> pb.Component:
    """A component in another state."""
    made = pb.Component()
    made.CopyFrom(component)
    made.state, made.order_id = event.state, event.order_id
    made.since.CopyFrom(event.seen_at)
    return made


def district_of(state: State) -> str:
    """The district that it is in."""
    return state.component.district_id if state.component is not None else ""


def existing(state: State, component_id: str) -> pb.Component:
    """The component, or NotFound."""
    if state.component is None:
        raise NotFound(f"there is no component {component_id}: register it first", "NO_SUCH_COMPONENT")
    return state.component


def register(state: State, request: pb.RegisterComponentRequest, now: Timestamp) -> list[Message]:
    """Makes it known, or changed."""
    if request.component_class not in COMPONENT_CLASSES:
        known = ", ".join(COMPONENT_CLASSES)
        raise BadRequest([("component_class", f"{request.component_class} is no class of components: there are {known}")])
    nearby.check(request.position, "position")
    made = ev.ComponentRegistered(
        component_id=request.component_id, component_class=request.component_class, name=request.name,
        position=request.position, district_id=request.district_id, registered_at=now,
    )  # fmt: skip
    before = state.component
    if before is None:
        made.first, made.state = True, pb.COMPONENT_STATE_INTACT
        return [made]
    if registered(made, before) == before:
        return []
    made.state = before.state
    if before.district_id == made.district_id:
        return [made]
    made.first = True
    gone = ev.ComponentMovedAway(component_id=made.component_id, district_id=before.district_id, state=before.state)
    return [gone, made]


def report(state: State, request: pb.ReportComponentRequest, order_id: str, now: Timestamp) -> list[Message]:
    """Somebody has seen it. One that is no more intact gets a work order; one that has an order keeps it."""
    component = existing(state, request.component_id)
    if request.state == component.state:
        return []
    intact = request.state == pb.COMPONENT_STATE_INTACT
    return [
        ev.ComponentStateChanged(
            component_id=request.component_id, state=request.state, note=request.note, district_id=component.district_id,
            seen_at=now, order_id="" if intact else component.order_id or order_id,
            done_order_id=component.order_id if intact else "", old_state=component.state,
        )
    ]  # fmt: skip


def done_orders(events: Sequence[Message]) -> list[str]:
    """The work orders that nobody needs any more."""
    return [one.done_order_id for one in events if isinstance(one, ev.ComponentStateChanged) and one.done_order_id]


def mended(state: State, order_id: str, outcome: str, now: Timestamp) -> list[Message]:
    """The work for it is done: it is intact."""
    if state.component is None or state.component.order_id != order_id:
        return []
    return [
        ev.ComponentStateChanged(
            component_id=state.component.component_id, state=pb.COMPONENT_STATE_INTACT, note=outcome,
            district_id=state.component.district_id, seen_at=now, old_state=state.component.state,
        )
    ]  # fmt: skip
