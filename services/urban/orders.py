"""A work order: until when, who has it, and how it ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import urban_service_pb2 as pb
from citybrain.urban.v1.places_pb2 import Position
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.urban.kinds import ORDER_HOURS, VERSION

HOUR = 3_600_000_000
LEVELS = 2
"""An order that is late goes to the district at its deadline, and to the city when as much time again has passed."""


@dataclass(frozen=True, slots=True)
class Order:
    """A work order as its events tell it."""

    order: pb.WorkOrder | None = None


def evolve(state: Order, event: Message) -> Order:
    """The order after an event."""
    if isinstance(event, ev.WorkOrderOpened):
        return Order(opened(event))
    if state.order is None:
        return state
    after = pb.WorkOrder()
    after.CopyFrom(state.order)
    change(after, event)
    return replace(state, order=after)


def opened(event: ev.WorkOrderOpened) -> pb.WorkOrder:
    """The order that an event opens."""
    made = pb.WorkOrder(
        order_id=event.order_id, kind=event.kind, subject_id=event.subject_id, district_id=event.district_id, task=event.task,
        state=pb.ORDER_STATE_WAITING, opened_at=event.opened_at, deadline=event.deadline,
    )  # fmt: skip
    if event.HasField("position"):
        made.position.CopyFrom(event.position)
    return made


def change(order: pb.WorkOrder, event: Message) -> None:
    """What a later event changes of it."""
    match event:
        case ev.WorkOrderAssigned():
            order.state, order.team = pb.ORDER_STATE_ASSIGNED, event.team
        case ev.WorkOrderReminded():
            order.reminded = True
        case ev.WorkOrderEscalated():
            order.escalations = event.level
        case ev.WorkOrderDone():
            order.state, order.outcome = pb.ORDER_STATE_DONE, event.outcome
            order.ended_at.CopyFrom(event.done_at)
        case ev.WorkOrderVoided():
            order.state, order.outcome = pb.ORDER_STATE_VOID, event.reason
            order.ended_at.CopyFrom(event.voided_at)


def district_of(state: Order) -> str:
    """The district where the work is."""
    return state.order.district_id if state.order is not None else ""


def existing(state: Order, order_id: str) -> pb.WorkOrder:
    """The order, or NotFound."""
    if state.order is None:
        raise NotFound(f"there is no work order {order_id}: ListOverdueOrders and the events have their ids", "NO_SUCH_ORDER")
    return state.order


def is_open(order: pb.WorkOrder) -> bool:
    """Whether it waits for somebody."""
    return order.state in (pb.ORDER_STATE_WAITING, pb.ORDER_STATE_ASSIGNED)


def in_work(state: Order) -> bool:
    """Whether there is such an order, and somebody is to do it."""
    return state.order is not None and is_open(state.order)


def check_kind(kind: str) -> None:
    """BadRequest: there is no such work."""
    if kind not in ORDER_HOURS:
        raise BadRequest([("kind", f"{kind} is no kind of work: there are {', '.join(sorted(ORDER_HOURS))}")])


def open_order(
    state: Order, order_id: str, kind: str, subject_id: str, position: Position | None, district_id: str, task: str,
    now: Timestamp, asked_by: str = "",
) -> list[Message]:  # fmt: skip
    """Opens it, once. Its deadline follows from its kind."""
    if state.order is not None:
        return []
    deadline = timestamp(microseconds(now) + int(ORDER_HOURS[kind] * HOUR))
    return [
        ev.WorkOrderOpened(
            order_id=order_id, kind=kind, kinds_version=VERSION, subject_id=subject_id, position=position,
            district_id=district_id, task=task, opened_at=now, deadline=deadline, asked_by=asked_by,
        )
    ]  # fmt: skip


def _still_open(state: Order, order_id: str) -> pb.WorkOrder:
    order = existing(state, order_id)
    if not is_open(order):
        raise Refused(f"work order {order_id} has ended: {order.outcome}", "ORDER_ENDED")
    return order


def assign(state: Order, request: pb.AssignWorkOrderRequest) -> list[Message]:
    """Gives it to a team."""
    order = _still_open(state, request.order_id)
    if order.team == request.team:
        return []
    return [
        ev.WorkOrderAssigned(order_id=order.order_id, team=request.team, district_id=order.district_id, deadline=order.deadline)
    ]


def finish(state: Order, order_id: str, outcome: str, now: Timestamp, *, void: bool) -> list[Message]:
    """Ends it."""
    order = _still_open(state, order_id)
    if void:
        return [
            ev.WorkOrderVoided(
                order_id=order_id, kind=order.kind, district_id=order.district_id, deadline=order.deadline,
                subject_id=order.subject_id, reason=outcome, voided_at=now, opened_at=order.opened_at,
            )
        ]  # fmt: skip
    return [
        ev.WorkOrderDone(
            order_id=order_id, kind=order.kind, district_id=order.district_id, deadline=order.deadline,
            subject_id=order.subject_id, outcome=outcome, opened_at=order.opened_at, done_at=now,
        )
    ]  # fmt: skip


def void(state: Order, reason: str, now: Timestamp) -> list[Message]:
    """Ends it where it is still open: what it was for is retracted."""
    if state.order is None or not is_open(state.order):
        return []
    return finish(state, state.order.order_id, reason, now, void=True)


def done(state: Order, outcome: str, now: Timestamp) -> list[Message]:
    """Ends it where it is still open: somebody has said elsewhere that the work is done."""
    if state.order is None or not is_open(state.order):
        return []
    return finish(state, state.order.order_id, outcome, now, void=False)


def level(order: pb.WorkOrder, now: int) -> int:
    """How far up it belongs: 0 not late, 1 the district, 2 the city. At the deadline itself it is not late."""
    late = now - microseconds(order.deadline)
    given = microseconds(order.deadline) - microseconds(order.opened_at)
    return 0 if late <= 0 else 1 if late <= given else LEVELS


def is_half_over(order: pb.WorkOrder, now: int) -> bool:
    """Whether half of its time is over."""
    return 2 * now >= microseconds(order.opened_at) + microseconds(order.deadline)


def press(state: Order, now: int) -> list[Message]:
    """Reminds of it after half of its time, once, and puts it to the next level when it is late."""
    if state.order is None or not is_open(state.order):
        return []
    order, told = state.order, list[Message]()
    if not order.reminded and is_half_over(order, now):
        told.append(
            ev.WorkOrderReminded(
                order_id=order.order_id,
                team=order.team,
                district_id=order.district_id,
                deadline=order.deadline,
                opened_at=order.opened_at,
            )
        )
    if (higher := level(order, now)) > order.escalations:
        told.append(
            ev.WorkOrderEscalated(
                order_id=order.order_id, level=higher, district_id=order.district_id, deadline=order.deadline,
                opened_at=order.opened_at,
            )
        )  # fmt: skip
    return told


def moments(opened_at: Timestamp, deadline: Timestamp) -> tuple[int, int, int]:
    """From when on somebody is reminded of it, it belongs to the district, and to the city (microseconds)."""
    begin, end = microseconds(opened_at), microseconds(deadline)
    return -(-(begin + end) // 2), end + 1, end + (end - begin) + 1
