"""Bridges and tunnels, and plants of utilities: when they are checked, and what follows from their state. Pure.

The grades A to E are those of CJJ 99-2017 (城市桥梁养护技术标准) for bridges: A intact, B good, C fit for use, D unfit, E
dangerous. This project uses them for tunnels and plants too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import field_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import NotFound
from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.urban import nearby

DAY = 86_400_000_000
TO_MEND = frozenset("DE")
DANGEROUS = "E"


@dataclass(frozen=True, slots=True)
class State:
    """A facility. `due_from`: from when its next check is counted (microseconds); `missed`: that it was missed was told, with
    this work order."""

    facility: pb.Facility | None = None
    due_from: int = 0
    missed: str = ""
    # When it is to be checked next, as it was told.
    planned: ev.FacilityCheckPlanned | None = None


def evolve(state: State, event: Message) -> State:
    """The facility after an event."""
    if isinstance(event, ev.FacilityRegistered):
        return replace(state, facility=event.facility, due_from=state.due_from or microseconds(event.facility.checked_at))
    if state.facility is None:
        return state
    after = pb.Facility()
    after.CopyFrom(state.facility)
    match event:
        case ev.FacilityChecked():
            after.grade, after.order_id = event.grade, event.order_id
            after.checked_at.CopyFrom(event.checked_at)
            return State(after, microseconds(event.checked_at), planned=state.planned)
        case ev.FacilityClosed():
            after.closed = True
        case ev.FacilityReopened():
            after.closed = False
        case ev.FacilityCheckPlanned():
            return replace(state, planned=event)
        case ev.FacilityCheckMissed():
            return replace(state, missed=event.order_id)
    return replace(state, facility=after)


def district_of(state: State) -> str:
    """Its district."""
    return state.facility.district_id if state.facility is not None else ""


def existing(state: State, facility_id: str) -> pb.Facility:
    """The facility, or NotFound."""
    if state.facility is None:
        raise NotFound(f"there is no facility {facility_id}: register it first", "NO_SUCH_FACILITY")
    return state.facility


def register(state: State, request: pb.RegisterFacilityRequest, now: Timestamp) -> list[Message]:
    """Makes it known, or changed. Its first check is counted from now; it keeps its state."""
    nearby.check(request.position, "position")
    made = pb.Facility(
        facility_id=request.facility_id, kind=request.kind, name=request.name, position=request.position,
        district_id=request.district_id, check_days=request.check_days, checked_at=now,
    )  # fmt: skip
    if state.facility is not None:
        before = state.facility
        made.grade, made.closed, made.order_id = before.grade, before.closed, before.order_id
        made.checked_at.CopyFrom(before.checked_at)
        if made == before:
            return []
    return planned(state, [ev.FacilityRegistered(facility=made, facility_id=made.facility_id, district_id=made.district_id)])


def planned(state: State, events: list[Message]) -> list[Message]:
    """Events, and what follows from them for when it is to be checked. So lists of it need no look at all facilities."""
    after = state
    for event in events:
        after = evolve(after, event)
    assert after.facility is not None
    plan = ev.FacilityCheckPlanned(
        facility_id=after.facility.facility_id, district_id=after.facility.district_id, facility=after.facility,
        due_at=timestamp(after.due_from + after.facility.check_days * DAY),
    )  # fmt: skip
    plan.facility.due_at.CopyFrom(plan.due_at)
    if plan == state.planned:
        return events
    before = state.planned
    gone: list[Message] = []
    if before is not None:
        gone = [ev.FacilityCheckUnplanned(facility_id=before.facility_id, district_id=before.district_id, due_at=before.due_at)]
    return [*events, *gone, plan]


def show(state: State) -> pb.Facility:
    """The facility as callers see it."""
    made = pb.Facility()
    assert state.facility is not None
    made.CopyFrom(state.facility)
    if state.planned is not None:
        made.due_at.CopyFrom(state.planned.due_at)
    return made


def check(
    state: State, request: pb.ReportCheckRequest, order_id: str, now: Timestamp, *, in_work: bool = False
) -> list[Message]:
    """It was checked. D and E are to be mended; E is closed, and open again with any other grade.

    `in_work`: its work order is still open. One that has ended mends nothing any more.
    """
    facility = existing(state, request.facility_id)
    mend = request.grade in TO_MEND
    asked = (facility.order_id if in_work else order_id) if mend else ""
    told: list[Message] = [
        ev.FacilityChecked(
            facility_id=facility.facility_id, district_id=facility.district_id, grade=request.grade,
            findings=request.findings, checked_at=now, order_id=asked,
            done_order_ids=[one for one in (facility.order_id, state.missed) if one and one != asked],
        )
    ]  # fmt: skip
    if request.grade == DANGEROUS and not facility.closed:
        told.append(
            ev.FacilityClosed(
                facility_id=facility.facility_id, district_id=facility.district_id, kind=facility.kind,
                position=facility.position, reason=request.findings,
            )
        )  # fmt: skip
    elif request.grade != DANGEROUS and facility.closed:
        told.append(ev.FacilityReopened(facility_id=facility.facility_id, district_id=facility.district_id, kind=facility.kind))
    return planned(state, told)


def done_orders(events: Sequence[Message]) -> list[str]:
    """The work orders that nobody needs any more."""
    return [name for one in events if isinstance(one, ev.FacilityChecked) for name in one.done_order_ids]


def miss(state: State, order_id: str, now: int) -> list[Message]:
    """Its check is overdue: told once until it is checked."""
    facility = state.facility
    if facility is None or state.missed or now - state.due_from <= facility.check_days * DAY:
        return []
    return [
        ev.FacilityCheckMissed(
            facility_id=facility.facility_id, district_id=facility.district_id, order_id=order_id,
            due_at=timestamp(state.due_from + facility.check_days * DAY),
        )
    ]  # fmt: skip
