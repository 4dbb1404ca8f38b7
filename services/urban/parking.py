"""A parking lot: who is in it, how full it is told to be, and what is to be paid later. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import parking_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.long_streams import newest
from citybrain.services.urban import nearby
from citybrain.services.urban.parking_fee import fee

LEVELS = (80, 90, 100)
"""In per cent; a level is reached at its value (80.0 % is 80)."""
BACK = 5
"""A level is left when so many per cent less are taken: 80 below 75 %."""
MINUTE = 60_000_000
DAY = 86_400_000_000
EAST = 8 * 3_600_000_000
REMEMBERED = 2000
"""So many of the newest departures at least are remembered, for a car that is reported twice."""
RECOUNTED = 3_600_000_000
"""A count that says the same again is told after so long: it shows that somebody still counts (microseconds)."""
MOST_INSIDE = 20_000
"""So many of the newest stays at least are remembered that have not ended: as many as the largest lot has bays."""
DUE_DAYS = 10


@dataclass(frozen=True, slots=True)
class Left:
    """A departure: when (microseconds), what the stay costs, and the bill that is paid later."""

    at: int
    fen: int
    bill_id: str


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot. `inside`: stay → when it began (microseconds). `others`: cars that were counted and have no stay that is known.
    `reported`: when something was reported of it last (microseconds).
    """

    lot: pb.ParkingLot | None = None
    inside: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, Left] = field(default_factory=dict)
    others: int = 0
    reported: int = 0
    level: int = 0
    day: int = 0
    arrivals: int = 0
    closed: Mapping[str, str] = field(default_factory=dict)
    """Closure of the entry → its reason, while it stands."""
    opened: Mapping[str, str] = field(default_factory=dict)
    """Closures that are over, also those that had not come."""


def evolve(state: Lot, event: Message) -> Lot:
    """The lot after an event."""
    if isinstance(event, ev.CarArrived | ev.CarLeft | ev.ParkedCounted):
        state = replace(state, reported=microseconds(event.at))
    match event:
        case ev.ParkingRegistered():
            return replace(state, lot=event.lot)
        case ev.CarArrived():
            at = microseconds(event.at)
            day = (at + EAST) // DAY
            arrivals = state.arrivals + 1 if day == state.day else 1
            inside = {**state.inside, event.visit_id: at}
            kept = newest(inside, MOST_INSIDE)
            # Whose departure nobody has reported counts on as a car without a stay that is known.
            others = state.others + len(inside) - len(kept)
            return replace(state, inside=kept, others=others, day=day, arrivals=arrivals)
        case ev.CarLeft():
            inside = {visit: at for visit, at in state.inside.items() if visit != event.visit_id}
            left = newest({**state.left, event.visit_id: Left(microseconds(event.at), event.fen, event.bill_id)}, REMEMBERED)
            others = state.others if event.visit_id in state.inside else min(state.others, max(0, state.others - 1))
            # Where more cars leave than were counted, the count was wrong, and hides none that comes later.
            return replace(state, inside=inside, left=left, others=max(others, -len(inside)))
        case ev.ParkedCounted():
            return replace(state, others=event.occupied - len(state.inside))
        case ev.ParkingLevelChanged():
            return replace(state, level=event.new_level)
        case ev.ParkingEntryClosed():
            return replace(state, closed={**state.closed, event.closure_id: event.reason})
        case ev.ParkingEntryOpened():
            closed = {key: reason for key, reason in state.closed.items() if key != event.closure_id}
            return replace(state, closed=closed, opened=newest({**state.opened, event.closure_id: event.reason}, REMEMBERED))
    return state


def district_of(state: Lot) -> str:
    """Its district."""
    return state.lot.district_id if state.lot is not None else ""


def existing(state: Lot, lot_id: str) -> pb.ParkingLot:
    """The lot, or NotFound."""
    if state.lot is None:
        raise NotFound(f"there is no parking lot {lot_id}: register it first", "NO_SUCH_LOT")
    return state.lot


def occupied(state: Lot) -> int:
    """How many bays are taken."""
    return len(state.inside) + state.others


def show(state: Lot, now: int) -> pb.ParkingLot:
    """The lot as callers see it."""
    made = pb.ParkingLot()
    assert state.lot is not None
    made.CopyFrom(state.lot)
    made.occupied, made.level, made.entry_closed = occupied(state), state.level, bool(state.closed)
    made.arrivals_today = state.arrivals if state.day == (now + EAST) // DAY else 0
    made.turnover_today = made.arrivals_today / made.bays
    if state.reported:
        made.reported_at.CopyFrom(timestamp(state.reported))
    return made


def register(state: Lot, request: pb.RegisterParkingRequest) -> list[Message]:
    """Makes it known, or changed."""
    nearby.check(request.position, "position")
    lot = pb.ParkingLot(
        lot_id=request.lot_id, name=request.name, bays=request.bays, price=request.price, position=request.position,
        district_id=request.district_id,
    )  # fmt: skip
    return [] if state.lot == lot else _levelled(state, ev.ParkingRegistered(lot=lot, district_id=lot.district_id))


def arrive(state: Lot, request: pb.ReportArrivalRequest, now: Timestamp) -> list[Message]:
    """A car comes, once."""
    lot = existing(state, request.lot_id)
    if request.visit_id in state.inside or request.visit_id in state.left:
        return []
    came = ev.CarArrived(lot_id=lot.lot_id, visit_id=request.visit_id, at=now, district_id=lot.district_id)
    came.occupied = occupied(evolve(state, came))
    return _levelled(state, came)


def leave(state: Lot, request: pb.ReportDepartureRequest, bill_id: str, now: Timestamp) -> list[Message]:
    """A car leaves, once. Of one whose arrival is not known nobody can say what it costs."""
    lot = existing(state, request.lot_id)
    if request.visit_id in state.left:
        return []
    begun, fen = state.inside.get(request.visit_id), 0
    if begun is None and request.plate:
        raise Refused(f"nobody knows when {request.visit_id} came: bill it by hand", "ARRIVAL_UNKNOWN")
    if begun is not None:
        minutes, price = -(-(microseconds(now) - begun) // MINUTE), lot.price
        fen = fee(minutes, free=price.free_minutes, unit=price.unit_minutes, unit_fen=price.unit_fen, day_fen=price.day_fen)
    left = ev.CarLeft(
        lot_id=lot.lot_id, visit_id=request.visit_id, at=now, district_id=lot.district_id, fen=fen,
        bill_id=bill_id if fen and request.plate else "",
    )  # fmt: skip
    if begun is not None:
        left.minutes = (microseconds(now) - begun) / MINUTE
    left.occupied = occupied(evolve(state, left))
    return _levelled(state, left)


def count(state: Lot, request: pb.CountParkedRequest, now: Timestamp) -> list[Message]:
    """Somebody has counted: that replaces what was known by arrivals and departures."""
    lot = existing(state, request.lot_id)
    if request.occupied > lot.bays:
        raise BadRequest([("occupied", f"is more than the {lot.bays} bays of {lot.lot_id}: count again, or register it anew")])
    if request.occupied == occupied(state) and microseconds(now) - state.reported < RECOUNTED:
        return []
    counted = ev.ParkedCounted(lot_id=lot.lot_id, occupied=request.occupied, at=now, district_id=lot.district_id)
    return _levelled(state, counted)


def close_entry(state: Lot, lot_id: str, closure_id: str, reason: str) -> list[Message]:
    """Lets no car in, once. Refused where the closure was ended before it came."""
    lot = existing(state, lot_id)
    if closure_id in state.opened:
        raise Refused(f"closure {closure_id} was ended before it came: close the entry under a new id", "CLOSURE_ENDED")
    if closure_id in state.closed:
        return []
    return [ev.ParkingEntryClosed(lot_id=lot_id, closure_id=closure_id, reason=reason, district_id=lot.district_id)]


def open_entry(state: Lot, lot_id: str, closure_id: str, reason: str) -> list[Message]:
    """Ends a closure, once; one that has not come yet is refused when it comes."""
    lot = existing(state, lot_id)
    if closure_id in state.opened:
        return []
    still = len(state.closed.keys() - {closure_id})
    return [
        ev.ParkingEntryOpened(
            lot_id=lot_id, closure_id=closure_id, reason=reason, district_id=lot.district_id, still_closed_by=still
        )
    ]


def level(before: int, share: float) -> int:
    """The level that is told, by the one before and the share of bays that is taken (1: all).

    It rises at its value, and falls only when 5 per cent less are taken: 89.9 and 90.1 by turns change it once.
    """
    reached = max((one for one in LEVELS if 100 * share >= one), default=0)
    kept = max((one for one in LEVELS if one <= before and 100 * share >= one - BACK), default=0)
    return max(reached, kept)


def _levelled(state: Lot, event: Message) -> list[Message]:
    """The event, and the change of level that it brings."""
    after = evolve(state, event)
    assert after.lot is not None
    share = occupied(after) / after.lot.bays
    new = level(state.level, share)
    if new == state.level:
        return [event]
    changed = ev.ParkingLevelChanged(
        lot_id=after.lot.lot_id, old_level=state.level, new_level=new, occupied=occupied(after), bays=after.lot.bays,
        district_id=after.lot.district_id,
    )  # fmt: skip
    return [event, changed]


# -- paid later -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bill:
    """What is to be paid for a stay."""

    opened: ev.ParkingBillOpened | None = None
    paid: bool = False
    overdue: bool = False


def evolve_bill(state: Bill, event: Message) -> Bill:
    """The bill after an event."""
    match event:
        case ev.ParkingBillOpened():
            return replace(state, opened=event)
        case ev.ParkingBillPaid():
            return replace(state, paid=True)
        case ev.ParkingBillOverdue():
            return replace(state, overdue=True)
    return state


def bill_district(state: Bill) -> str:
    """The district of the lot."""
    return state.opened.district_id if state.opened is not None else ""


def show_bill(state: Bill, bill_id: str) -> pb.ParkingBill:
    """The bill as callers see it, without the number plate."""
    if state.opened is None:
        raise NotFound(f"there is no bill {bill_id}: ReportDeparture answers with its id", "NO_SUCH_BILL")
    one = state.opened
    due = timestamp(microseconds(one.opened_at) + DUE_DAYS * DAY)
    shown = pb.BILL_STATE_PAID if state.paid else pb.BILL_STATE_OVERDUE if state.overdue else pb.BILL_STATE_OPEN
    return pb.ParkingBill(
        bill_id=one.bill_id, lot_id=one.lot_id, district_id=one.district_id, fen=one.fen, opened_at=one.opened_at, due_at=due,
        state=shown, paid_late=state.paid and state.overdue,
    )  # fmt: skip


def pay(state: Bill, request: pb.PayParkingRequest, now: Timestamp) -> list[Message]:
    """It is paid, whole and once."""
    if state.opened is None:
        raise NotFound(f"there is no bill {request.bill_id}: ReportDeparture answers with its id", "NO_SUCH_BILL")
    if state.paid:
        return []
    if request.fen != state.opened.fen:
        raise BadRequest([("fen", f"is not what is to be paid: {state.opened.fen}")])
    return [
        ev.ParkingBillPaid(
            bill_id=request.bill_id, payer_id=state.opened.payer_id, district_id=state.opened.district_id, paid_at=now,
            opened_at=state.opened.opened_at, fen=request.fen, in_time=not state.overdue,
        )
    ]  # fmt: skip


def remind(state: Bill, now: int) -> list[Message]:
    """It is not paid for ten days: whoever keeps records of that may hear it, once."""
    if state.opened is None or state.paid or state.overdue or now - microseconds(state.opened.opened_at) <= DUE_DAYS * DAY:
        return []
    return [
        ev.ParkingBillOverdue(
            bill_id=state.opened.bill_id, payer_id=state.opened.payer_id, district_id=state.opened.district_id,
            opened_at=state.opened.opened_at, fen=state.opened.fen,
        )
    ]  # fmt: skip
