"""Read models of parking, of the indices, and of what forecasts are made from.

It is long because everything that is counted over days stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import field_pb2 as field
from citybrain.urban.v1 import parking_pb2 as pb

from citybrain.mesh.events import Heard, microseconds, timestamp
from citybrain.mesh.ids import joined, parted
from citybrain.mesh.kept import Kept
from citybrain.services.urban import nearby
from citybrain.services.urban.urban_index import DAYS

LOT_EVENTS = (
    ev.ParkingRegistered, ev.CarArrived, ev.CarLeft, ev.ParkedCounted, ev.ParkingEntryClosed, ev.ParkingEntryOpened
)  # fmt: skip
LOT_DAY_EVENTS = (ev.CarArrived, ev.CarLeft, ev.ParkedCounted)
BILL_EVENTS = (ev.ParkingBillOpened, ev.ParkingBillPaid, ev.ParkingBillOverdue)
DAY_EVENTS = (
    ev.TicketAnswered,
    ev.TicketReopened,
    ev.TicketRated,
    ev.WorkOrderDone,
    ev.ParkingBillPaid,
    ev.ParkingBillOverdue,
)
HISTORY_EVENTS = (ev.DeviceRegistered, ev.AnomalyFound, ev.AnomalyRetracted, ev.DeviceFellSilent)
HAZARD_EVENTS = (ev.TicketOpened, ev.TicketRerouted)
RIVER_EVENTS = (ev.RiverPolluted, ev.RiverClean, ev.RiverPollutionRetracted)
FORECAST_EVENTS = (ev.FailuresForecast, ev.HazardsForecast)
STREET_ORDER = frozenset({"vendor", "parking", "noise", "dog"})
CLEANLINESS = frozenset({"garbage"})
DAY = 86_400_000_000
EAST = 8 * 3_600_000_000
REMEMBERED = 50
"""So many of the newest failures of a device are kept."""
OF_A_CELL = 200
"""And so many of the newest tickets of a cell."""


@dataclass(frozen=True, slots=True)
class LotRow:
    """A parking lot, and how many of its bays are taken, as was reported then (microseconds; 0: nothing ever was)."""

    id: str
    district_id: str
    bays: int
    occupied: int = 0
    reported: int = 0
    closed: bool = False


@dataclass(frozen=True, slots=True)
class LotDayRow:
    """A day of a lot. `stays`: departures of which it is known when the car came; `minutes`, `fen`: of these, in sum."""

    arrivals: int = 0
    stays: int = 0
    minutes: float = 0.0
    fen: int = 0


@dataclass(frozen=True, slots=True)
class BillRow:
    """A bill that is not paid. `opened`: microseconds."""

    id: str
    opened: int


@dataclass(frozen=True, slots=True)
class DayRow:
    """What happened in a district on a day, in numbers. `street_…`: tickets about order in the street; `clean_…`: about
    garbage."""

    street_answered: int = 0
    street_in_time: int = 0
    street_reopened: int = 0
    clean_answered: int = 0
    clean_in_time: int = 0
    rated: int = 0
    stars: int = 0
    done: int = 0
    done_in_time: int = 0
    bills_in_time: int = 0
    bills_late: int = 0


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A device: since when it is known, and its anomalies, by id (microseconds)."""

    id: str
    kind: str
    district_id: str
    since: int
    failures: dict[str, int]


@dataclass(frozen=True, slots=True)
class HazardRow:
    """A cell of the grid. `times`: ticket → its kind, and when it was opened (microseconds)."""

    latitude: float
    longitude: float
    district_id: str
    times: dict[str, tuple[str, int]]


def lot_key(event: Heard) -> str:
    """The lot."""
    data: Any = event.data
    return str(data.lot.lot_id if isinstance(data, ev.ParkingRegistered) else data.lot_id)


def lot(row: LotRow | None, event: Heard) -> LotRow | None:
    """The lot after an event. How many bays are taken stands on the events."""
    match event.data:
        case ev.ParkingRegistered() as data:
            known = row or LotRow(data.lot.lot_id, "", 0)
            return replace(known, district_id=data.lot.district_id, bays=data.lot.bays)
        case ev.CarArrived() | ev.CarLeft() | ev.ParkedCounted() as data:
            return row and replace(row, occupied=data.occupied, reported=microseconds(data.at))
        case ev.ParkingEntryClosed():
            return row and replace(row, closed=True)
        case ev.ParkingEntryOpened() as data:
            return row and replace(row, closed=data.still_closed_by > 0)
    return row


def has_room(row: LotRow, now: int) -> bool:
    """Whether it is known to have a bay that is free, and lets cars in."""
    return now - row.reported <= DAY and row.occupied < row.bays and not row.closed


def room(row: LotRow, now: int) -> str:
    """Whether it has a bay that is free, in a word."""
    if row.closed:
        return "closed"
    return "free" if has_room(row, now) else "full" if now - row.reported <= DAY else "unknown"


def lot_day_key(event: Heard) -> str:
    """Lot and day."""
    data: Any = event.data
    return day_id(data.lot_id, day_of(microseconds(data.at)))


def lot_day(row: LotDayRow | None, event: Heard) -> LotDayRow | None:
    """The day after an event."""
    one = row or LotDayRow()
    match event.data:
        case ev.CarArrived():
            return replace(one, arrivals=one.arrivals + 1)
        case ev.CarLeft() as data if data.HasField("minutes"):
            return replace(one, stays=one.stays + 1, minutes=one.minutes + data.minutes, fen=one.fen + data.fen)
    return one


def shown_day(key: str, row: LotDayRow, bays: int) -> pb.ParkingDay:
    """The day as callers see it."""
    return pb.ParkingDay(
        day=timestamp(begin_of(int(parted(key)[1]))), arrivals=row.arrivals, turnover=row.arrivals / bays, stays=row.stays,
        mean_minutes=row.minutes / row.stays if row.stays else 0.0, fen=row.fen,
    )  # fmt: skip


def all_lots(rows: Sequence[LotRow]) -> Sequence[LotRow]:
    """All of them."""
    return rows


def lots(rows: Iterable[LotRow], district_id: str, now: int) -> tuple[int, int]:
    """The bays of a district, and how many of them are taken. A lot of which nothing was reported for a day is not known."""
    known = [row for row in rows if row.district_id == district_id and now - row.reported <= DAY]
    return sum(row.bays for row in known), sum(min(row.occupied, row.bays) for row in known)


def bill_id(opened: int, name: str) -> str:
    """The key of a bill: the oldest first."""
    return f"{opened:017d}.{name}"


def bill_key(event: Heard) -> str:
    """The bill."""
    data: Any = event.data
    return bill_id(microseconds(data.opened_at), data.bill_id)


def bill(_row: BillRow | None, event: Heard) -> BillRow | None:
    """The bill while it is neither paid nor overdue."""
    data = event.data
    return BillRow(data.bill_id, microseconds(data.opened_at)) if isinstance(data, ev.ParkingBillOpened) else None


def day_id(district_id: str, day: int) -> str:
    """The key of a day (since 1970) in a district: they are in the order of time."""
    return f"{joined(district_id)}.{day:06d}"


def day_of(moment: int) -> int:
    """The day of Hangzhou, since 1970."""
    return (moment + EAST) // DAY


def begin_of(day: int) -> int:
    """Midnight in Hangzhou (microseconds)."""
    return day * DAY - EAST


def day_key(event: Heard) -> str:
    """District and day."""
    data: Any = event.data
    return day_id(data.district_id, day_of(event.stored.occurred_at))


def day(row: DayRow | None, event: Heard) -> DayRow | None:
    """One more thing has happened."""
    one = row or DayRow()
    match event.data:
        case ev.TicketAnswered() as data if data.kind in STREET_ORDER:
            return replace(one, street_answered=one.street_answered + 1, street_in_time=one.street_in_time + data.in_time)
        case ev.TicketAnswered() as data if data.kind in CLEANLINESS:
            return replace(one, clean_answered=one.clean_answered + 1, clean_in_time=one.clean_in_time + data.in_time)
        case ev.TicketReopened() as data if data.kind in STREET_ORDER:
            return replace(one, street_reopened=one.street_reopened + 1)
        case ev.TicketRated() as data:
            return replace(one, rated=one.rated + 1, stars=one.stars + data.stars)
        case ev.WorkOrderDone() as data:
            in_time = microseconds(data.done_at) <= microseconds(data.deadline)
            return replace(one, done=one.done + 1, done_in_time=one.done_in_time + in_time)
        case ev.ParkingBillPaid() as data if data.in_time:
            return replace(one, bills_in_time=one.bills_in_time + 1)
        case ev.ParkingBillOverdue():
            return replace(one, bills_late=one.bills_late + 1)
    return row


def summed(rows: Iterable[DayRow]) -> DayRow:
    """Several days together."""
    total = DayRow()
    for row in rows:
        total = DayRow(*(getattr(total, name) + getattr(row, name) for name in DayRow.__slots__))
    return total


def first_day(now: int) -> int:
    """The first of the days that the indices count."""
    return day_of(now) - DAYS + 1


def history_key(event: Heard) -> str:
    """The device."""
    data: Any = event.data
    return str(data.device.device_id if isinstance(data, ev.DeviceRegistered) else data.device_id)


def history(row: HistoryRow | None, event: Heard) -> HistoryRow | None:
    """The device, and its newest anomalies but for those that are retracted."""
    match event.data:
        case ev.DeviceRegistered() as data:
            one, known = data.device, row or HistoryRow("", "", "", event.stored.occurred_at, {})
            return HistoryRow(one.device_id, one.kind, one.district_id, known.since, known.failures)
        case ev.AnomalyFound() as data:
            found = microseconds(data.anomaly.found_at)
            return _failed(row, data.anomaly.anomaly_id, found)
        case ev.DeviceFellSilent() as data:
            return _failed(row, f"silent-{microseconds(data.told_at)}", microseconds(data.told_at))
        case ev.AnomalyRetracted() as data:
            return row and replace(row, failures={k: v for k, v in row.failures.items() if k != data.anomaly_id})
    return row


def _failed(row: HistoryRow | None, name: str, at: int) -> HistoryRow | None:
    newest = list(((row and row.failures) or {}).items())[1 - REMEMBERED :]
    return row and replace(row, failures={**dict(newest), name: at})


def hazard_key(event: Heard) -> str | None:
    """The cell. Of all kinds: a ticket may turn out to be of another one."""
    data: Any = event.data
    return nearby.cell(data.position.latitude, data.position.longitude) if data.HasField("position") else None


def hazard(row: HazardRow | None, event: Heard) -> HazardRow | None:
    """The newest tickets there, each of the kind that it is known to be of now."""
    data: Any = event.data
    times = {**(row.times if row is not None else {}), data.ticket_id: (data.kind, microseconds(data.opened_at))}
    newest = sorted(times.items(), key=lambda one: one[1][1])[-OF_A_CELL:]
    latitude, longitude = nearby.middle(data.position.latitude, data.position.longitude)
    return HazardRow(latitude, longitude, data.district_id, dict(newest))


def river_key(event: Heard) -> str:
    """District and station."""
    data: Any = event.data
    return joined(data.district_id, data.station_id)


def river(_row: Kept | None, event: Heard) -> Kept | None:
    """The river while it is polluted."""
    data = event.data
    if not isinstance(data, ev.RiverPolluted):
        return None
    return Kept.of(
        field.PollutedRiver(
            station_id=data.station_id, district_id=data.district_id, since=data.since, water_class=data.water_class,
            order_id=data.order_id,
        )
    )  # fmt: skip


def river_of(row: Kept) -> field.PollutedRiver:
    """The river of a row."""
    return row.read(field.PollutedRiver)


def forecast_key(event: Heard) -> str:
    """Failures or hazards."""
    return "failures" if isinstance(event.data, ev.FailuresForecast) else "hazards"


def forecast(_row: Kept | None, event: Heard) -> Kept | None:
    """The newest one."""
    return Kept.of(event.data)


def failures_of(row: Kept | None) -> ev.FailuresForecast:
    """The newest forecast of failures; empty where there is none."""
    return ev.FailuresForecast() if row is None else row.read(ev.FailuresForecast)


def hazards_of(row: Kept | None) -> ev.HazardsForecast:
    """The newest forecast of hazards; empty where there is none."""
    return ev.HazardsForecast() if row is None else row.read(ev.HazardsForecast)
