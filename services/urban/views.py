"""Read models of urban management, and what is derived of them.

It is long because every read model of the sector stands here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from citybrain.urban.v1 import components_pb2 as parts
from citybrain.urban.v1 import devices_pb2 as dev
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import urban_service_pb2 as pb
from citybrain.urban.v1 import water_pb2 as water

from citybrain.mesh.events import Heard, microseconds, timestamp
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept
from citybrain.services.urban import components, leaks, nearby, orders

COMPONENT_EVENTS = (ev.ComponentRegistered, ev.ComponentStateChanged)
THERE_EVENTS = (ev.ComponentRegistered, ev.ComponentMovedAway)
BROKEN_EVENTS = (ev.ComponentStateChanged,)
COUNTED_EVENTS = (ev.ComponentRegistered, ev.ComponentMovedAway, ev.ComponentStateChanged)
DEVICE_EVENTS = (ev.DeviceRegistered, ev.BaselineDropped, ev.AnomalyRetracted)
LEARNT_EVENTS = (ev.BaselinesLearnt,)
SILENT_EVENTS = (ev.DeviceFellSilent, ev.DeviceHeardAgain)
ANOMALY_EVENTS = (ev.AnomalyFound, ev.AnomalyEnded, ev.AnomalyRetracted)
ORDER_EVENTS = (
    ev.WorkOrderOpened,
    ev.WorkOrderAssigned,
    ev.WorkOrderReminded,
    ev.WorkOrderEscalated,
    ev.WorkOrderDone,
    ev.WorkOrderVoided,
)
REMINDED_EVENTS = (ev.WorkOrderOpened, ev.WorkOrderReminded, ev.WorkOrderDone, ev.WorkOrderVoided)
LATE_EVENTS = (ev.WorkOrderOpened, ev.WorkOrderEscalated, ev.WorkOrderDone, ev.WorkOrderVoided)
REPAIR_EVENTS = (ev.WorkOrderDone,)
TICKET_EVENTS = (ev.TicketOpened, ev.TicketRerouted, ev.TicketAnswered, ev.TicketReopened)
COUNT_EVENTS = (ev.CallsCounted,)
LEAK_EVENTS = (
    ev.LeakSuspected,
    ev.LeakFound,
    ev.LeakLocated,
    ev.IsolationPlanned,
    ev.LeakIsolated,
    ev.LeakUpheld,
    ev.LeakRestored,
    ev.LeakRetracted,
)


def order_of(row: Kept) -> pb.WorkOrder:
    """The order of a row."""
    return row.read(pb.WorkOrder)


def component_of(row: Kept) -> parts.Component:
    """The component of a row."""
    return row.read(parts.Component)


def anomaly_of(row: Kept) -> dev.Anomaly:
    """The anomaly of a row."""
    return row.read(dev.Anomaly)


def component_key(event: Heard) -> str:
    """The component."""
    return str(event.data.component_id)  # type: ignore[attr-defined]


def component(row: Kept | None, event: Heard) -> Kept | None:
    """The component after an event."""
    if isinstance(event.data, ev.ComponentRegistered):
        return Kept.of(components.registered(event.data, None if row is None else component_of(row)))
    assert isinstance(event.data, ev.ComponentStateChanged)
    return None if row is None else Kept.of(components.changed(component_of(row), event.data))


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A component in a list."""

    id: str


@dataclass(frozen=True, slots=True)
class CountedRow:
    """The components of a district, and how many of them are intact."""

    count: int = 0
    intact: int = 0


def there_key(event: Heard) -> str:
    """District and component."""
    data: Any = event.data
    return joined(data.district_id, data.component_id)


def there(_row: ListedRow | None, event: Heard) -> ListedRow | None:
    """The component while it is in the district."""
    return ListedRow(event.data.component_id) if isinstance(event.data, ev.ComponentRegistered) else None


def broken(_row: ListedRow | None, event: Heard) -> ListedRow | None:
    """The component while it is not intact."""
    data = event.data
    assert isinstance(data, ev.ComponentStateChanged)
    return None if data.state == parts.COMPONENT_STATE_INTACT else ListedRow(data.component_id)


def counted_key(event: Heard) -> str:
    """The district."""
    data: Any = event.data
    return joined(data.district_id)


def counted(row: CountedRow | None, event: Heard) -> CountedRow | None:
    """The numbers after an event."""
    one, intact = row or CountedRow(), parts.COMPONENT_STATE_INTACT
    match event.data:
        case ev.ComponentRegistered() as data if data.first:
            return CountedRow(one.count + 1, one.intact + (data.state == intact))
        case ev.ComponentMovedAway() as data:
            return CountedRow(one.count - 1, one.intact - (data.state == intact))
        case ev.ComponentStateChanged() as data:
            return replace(one, intact=one.intact + (data.state == intact) - (data.old_state == intact))
    return one


# -- devices ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device. `given`: its mean and sigma were given. `dropped_at`: what was learnt until then counts no more; `since`: what
    its charts have seen until then counts no more, since it was measured by something else, or was wrong."""

    id: str
    kind: str
    district_id: str
    latitude: float
    longitude: float
    given: bool
    mean: float
    sigma: float
    has_alarm: bool
    alarm_from: float
    alarm_until: float
    network_id: str
    node_id: str
    dropped_at: int = 0
    since: int = 0


@dataclass(frozen=True, slots=True)
class LearntRow:
    """What was learnt for a device, and when (microseconds)."""

    at: int
    mean: float
    sigma: float


@dataclass(frozen=True, slots=True)
class LearntTogether:
    """What was learnt for several devices at once."""

    at: int
    baselines: dict[str, tuple[float, float]]


def device_key(event: Heard) -> str:
    """The device."""
    if isinstance(event.data, ev.DeviceRegistered):
        return event.data.device.device_id
    assert isinstance(event.data, ev.BaselineDropped | ev.AnomalyRetracted)
    return event.data.device_id


def device(row: DeviceRow | None, event: Heard) -> DeviceRow | None:
    """The device after an event."""
    if isinstance(event.data, ev.BaselineDropped):
        return None if row is None else replace(row, dropped_at=microseconds(event.data.dropped_at))
    if isinstance(event.data, ev.AnomalyRetracted):
        return None if row is None else replace(row, since=microseconds(event.data.retracted_at))
    assert isinstance(event.data, ev.DeviceRegistered)
    one = event.data.device
    made = DeviceRow(
        one.device_id, one.kind, one.district_id, one.position.latitude, one.position.longitude,
        one.HasField("baseline"), one.baseline.mean, one.baseline.sigma, bool(one.alarm_from or one.alarm_until),
        one.alarm_from, one.alarm_until, one.network_id, one.node_id,
    )  # fmt: skip
    if row is None:
        return replace(made, since=event.stored.occurred_at)
    compared = (made.given, made.mean, made.sigma, made.network_id) == (row.given, row.mean, row.sigma, row.network_id)
    return replace(made, dropped_at=row.dropped_at, since=row.since if compared else event.stored.occurred_at)


def kinds(rows: Iterable[DeviceRow]) -> dict[str, str]:
    """Device → its kind."""
    return {row.id: row.kind for row in rows}


def devices(rows: Iterable[DeviceRow]) -> dict[str, DeviceRow]:
    """All devices by id."""
    return {row.id: row for row in rows}


def learnt_key(event: Heard) -> str:
    """Each part that is learnt at once."""
    assert isinstance(event.data, ev.BaselinesLearnt)
    return joined(str(microseconds(event.data.learnt_at)), event.data.baselines[0].device_id)


def learnt_together(_row: LearntTogether | None, event: Heard) -> LearntTogether | None:
    """What was learnt."""
    assert isinstance(event.data, ev.BaselinesLearnt)
    found = {one.device_id: (one.baseline.mean, one.baseline.sigma) for one in event.data.baselines}
    return LearntTogether(microseconds(event.data.learnt_at), found)


def learnt(rows: Iterable[LearntTogether]) -> dict[str, LearntRow]:
    """What was learnt last of each device."""
    return {
        device_id: LearntRow(row.at, *baseline)
        for row in sorted(rows, key=lambda row: row.at)
        for device_id, baseline in row.baselines.items()
    }


def anomaly_key(event: Heard) -> str:
    """District and device: of each device at most one anomaly goes on."""
    data: Any = event.data
    return joined(data.district_id, data.device_id)


def anomaly(row: Kept | None, event: Heard) -> Kept | None:
    """The anomaly that goes on."""
    if isinstance(event.data, ev.AnomalyFound):
        return Kept.of(event.data.anomaly)
    assert isinstance(event.data, ev.AnomalyEnded | ev.AnomalyRetracted)
    # One that has ended before may be retracted while another one goes on.
    return None if row is None or anomaly_of(row).anomaly_id == event.data.anomaly_id else row


def going_on(rows: Iterable[Kept]) -> frozenset[str]:
    """The devices of which an anomaly goes on."""
    return frozenset(anomaly_of(row).device_id for row in rows)


@dataclass(frozen=True, slots=True)
class SilentRow:
    """A device from which nothing comes. `heard`: until when something came (microseconds; 0: nothing ever has)."""

    id: str
    kind: str
    district_id: str
    heard: int


def silent_key(event: Heard) -> str:
    """District and device."""
    data: Any = event.data
    return joined(data.district_id, data.device_id)


def silent(_row: SilentRow | None, event: Heard) -> SilentRow | None:
    """The device while it is silent."""
    data = event.data
    if not isinstance(data, ev.DeviceFellSilent):
        return None
    heard = microseconds(data.heard_until) if data.HasField("heard_until") else 0
    return SilentRow(data.device_id, data.kind, data.district_id, heard)


def silent_device(row: SilentRow) -> dev.SilentDevice:
    """The device as callers see it."""
    made = dev.SilentDevice(device_id=row.id, kind=row.kind, district_id=row.district_id)
    if row.heard:
        made.heard_until.CopyFrom(timestamp(row.heard))
    return made


def silent_devices(rows: Iterable[SilentRow]) -> frozenset[str]:
    """The devices that are silent."""
    return frozenset(row.id for row in rows)


def by_district(rows: Iterable[DeviceRow]) -> dict[str, list[tuple[str, bool]]]:
    """District → its devices, and whether each is one of a bin."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for row in rows:
        found.setdefault(row.district_id, []).append((row.id, row.kind == "bin_fill"))
    return found


# -- work orders ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RepairRow:
    """Work of one kind in one district. `seconds`: from opened to done, in sum."""

    kind: str
    done: int = 0
    in_time: int = 0
    seconds: float = 0.0


def order_key(event: Heard) -> str:
    """District and deadline first: what is overdue in a district stands together, the longest overdue first."""
    data: Any = event.data
    return overdue_prefix(data.district_id) + joined(f"{microseconds(data.deadline):016d}", data.order_id)


def overdue_prefix(district_id: str) -> str:
    """How the keys of a district begin."""
    return f"{joined(district_id)}."


def open_order(row: Kept | None, event: Heard) -> Kept | None:
    """The order while it is open."""
    if isinstance(event.data, ev.WorkOrderOpened):
        return Kept.of(orders.opened(event.data))
    if row is None:
        return None
    order = order_of(row)
    orders.change(order, event.data)
    return Kept.of(order) if orders.is_open(order) else None


@dataclass(frozen=True, slots=True)
class PressedRow:
    """An open order of which somebody is to be told at a moment."""

    id: str


def moment_key(moment: int) -> str:
    """How the keys of orders begin of which somebody is to be told then: they are in the order of time."""
    return f"{moment:017d}."


def _pressed_key(event: Heard, which: int) -> str:
    data: Any = event.data
    return moment_key(orders.moments(data.opened_at, data.deadline)[which]) + str(data.order_id)


def reminded_key(event: Heard) -> str:
    """When half of its time is over."""
    return _pressed_key(event, 0)


def late_key(event: Heard) -> str:
    """When it is late."""
    return _pressed_key(event, 1)


def very_late_key(event: Heard) -> str:
    """When it is late by as much time as it had."""
    return _pressed_key(event, 2)


def pressed(row: PressedRow | None, event: Heard) -> PressedRow | None:
    """The order until somebody was told, or it has ended."""
    return PressedRow(event.data.order_id) if isinstance(event.data, ev.WorkOrderOpened) else None


def very_late(row: PressedRow | None, event: Heard) -> PressedRow | None:
    """The order until it is at the city, or has ended."""
    at_the_district = isinstance(event.data, ev.WorkOrderEscalated) and event.data.level < orders.LEVELS
    return row if at_the_district else pressed(row, event)


def repair_key(event: Heard) -> str:
    """District and kind of work."""
    data: Any = event.data
    return joined(data.district_id, data.kind)


def repair(row: RepairRow | None, event: Heard) -> RepairRow | None:
    """One more piece of work is done. Done at the deadline itself is in time."""
    data = event.data
    assert isinstance(data, ev.WorkOrderDone)
    before = row or RepairRow(data.kind)
    done = microseconds(data.done_at)
    return RepairRow(
        data.kind,
        before.done + 1,
        before.in_time + (done <= microseconds(data.deadline)),
        before.seconds + (done - microseconds(data.opened_at)) / 1e6,
    )


# -- water networks ---------------------------------------------------------------------------------------------------------


def sensors(rows: Iterable[DeviceRow]) -> dict[str, dict[str, DeviceRow]]:
    """Water network → its sensors by id."""
    return _by_network(rows, "water_pressure")


def gauges(rows: Iterable[DeviceRow]) -> dict[str, dict[str, DeviceRow]]:
    """Drainage network → its rain gauges by id."""
    return _by_network(rows, "rain")


def _by_network(rows: Iterable[DeviceRow], kind: str) -> dict[str, dict[str, DeviceRow]]:
    found: dict[str, dict[str, DeviceRow]] = {}
    for row in rows:
        if row.network_id and row.kind == kind:
            found.setdefault(row.network_id, {})[row.id] = row
    return found


def leak_key(event: Heard) -> str:
    """The leak."""
    return str(event.data.leak_id)  # type: ignore[attr-defined]


def leak_of(row: Kept) -> water.Leak:
    """The leak of a row."""
    return row.read(water.Leak)


def leak(row: Kept | None, event: Heard) -> Kept | None:
    """The leak after an event."""
    if isinstance(event.data, ev.LeakSuspected | ev.LeakFound):
        return Kept.of(event.data.leak)
    if row is None:
        return None
    found = leak_of(row)
    leaks.change(found, event.data)
    return Kept.of(found)


def leaks_going_on(rows: Iterable[Kept]) -> dict[str, water.Leak]:
    """Water network → the leak that is not over."""
    return {one.network_id: one for row in rows if leaks.is_open(one := leak_of(row))}


# -- the hotline ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NearRow:
    """An open ticket that is about a place. `opened`: microseconds."""

    id: str
    kind: str
    latitude: float
    longitude: float
    district_id: str
    opened: int


@dataclass(frozen=True, slots=True)
class CountRow:
    """The calls of half an hour."""

    start: int
    calls: int


def near_key(event: Heard) -> str | None:
    """The cell of the grid, and the ticket. What is about no place is not in it."""
    data: Any = event.data
    if not data.HasField("position"):
        return None
    return f"{nearby.cell(data.position.latitude, data.position.longitude)}.{data.ticket_id}"


def near(row: NearRow | None, event: Heard) -> NearRow | None:
    """The ticket while it is open."""
    data: Any = event.data
    if isinstance(data, ev.TicketAnswered) or (isinstance(data, ev.TicketRerouted) and row is None):
        return None
    return NearRow(
        data.ticket_id, data.kind, data.position.latitude, data.position.longitude, data.district_id,
        microseconds(data.opened_at),
    )  # fmt: skip


def count_id(start: int) -> str:
    """The key of half an hour: they are in the order of time."""
    return f"{start:017d}"


def count_key(event: Heard) -> str:
    """The half hour."""
    assert isinstance(event.data, ev.CallsCounted)
    return count_id(microseconds(event.data.start))


def count(_row: CountRow | None, event: Heard) -> CountRow | None:
    """The newest count."""
    assert isinstance(event.data, ev.CallsCounted)
    return CountRow(microseconds(event.data.start), event.data.calls)
