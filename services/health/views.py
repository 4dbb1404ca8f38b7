"""Read models: ambulances, where they were sent, hospitals, the road network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from citybrain.health.v1 import events_pb2 as ev
from citybrain.traffic.v1 import events_pb2 as traffic

from citybrain.mesh.events import Heard
from citybrain.mesh.roads import Edge
from citybrain.services.health.domain import REMEMBERED

AMBULANCE_EVENTS = (
    ev.AmbulanceRegistered,
    ev.AmbulanceReserved,
    ev.AmbulanceReleased,
    ev.AmbulanceBrokenDown,
    ev.AmbulanceReturnedToService,
)
PAST_EVENTS = (ev.AmbulanceReserved,)
HOSPITAL_EVENTS = (
    ev.HospitalRegistered,
    ev.BedReserved,
    ev.BedCancelled,
    ev.PatientDiverted,
    ev.PatientHandedOver,
    ev.PatientDischarged,
    ev.PatientTransferred,
)
WARNING_EVENTS = (ev.HospitalsWarned, ev.HospitalsStoodDown)
ROAD_EVENTS = (traffic.RoadsPublished,)


@dataclass(frozen=True, slots=True)
class AmbulanceRow:
    """An ambulance: its station, and for which incident and reservation it drives; both are empty while it is free.

    `out`: it has broken down.
    """

    edge_id: str
    position_m: float
    incident: str = ""
    reservation: str = ""
    out: bool = False


@dataclass(frozen=True, slots=True)
class PastRow:
    """How many times an ambulance was sent to a road. An emergency that needed a second one counts twice."""

    edge_id: str
    emergencies: int


@dataclass(frozen=True, slots=True)
class HospitalRow:
    """A hospital. `expected`: incident → reservation; `present`: incidents whose patients are there.

    `diverted`: the last incidents whose patients it could not take.
    """

    name: str
    edge_id: str
    position_m: float
    places: int
    expected: dict[str, str] = field(default_factory=dict)
    present: tuple[str, ...] = ()
    diverted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WarningRow:
    """A warning that stands: hospitals that prepare for many patients of an incident."""

    incident: str
    hospitals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoadRow:
    """A part of the road network."""

    edges: list[Edge]


def ambulance_key(event: Heard) -> str:
    """The ambulance."""
    return str(event.data.ambulance_id)  # type: ignore[attr-defined]


def ambulance(row: AmbulanceRow | None, event: Heard) -> AmbulanceRow | None:
    """Where it stands, and for whom it drives."""
    data = event.data
    if isinstance(data, ev.AmbulanceRegistered):
        return AmbulanceRow(data.station.edge_id, data.station.position_m)
    if row is not None and isinstance(data, ev.AmbulanceReserved):
        return replace(row, incident=data.incident_id, reservation=data.reservation_id)
    if row is not None and isinstance(data, ev.AmbulanceReleased) and row.reservation == data.reservation_id:
        return replace(row, incident="", reservation="")
    if row is not None and isinstance(data, ev.AmbulanceBrokenDown | ev.AmbulanceReturnedToService):
        return replace(row, out=isinstance(data, ev.AmbulanceBrokenDown))
    return row


def past_key(event: Heard) -> str:
    """The road."""
    assert isinstance(event.data, ev.AmbulanceReserved)
    return event.data.place.edge_id


def past(row: PastRow | None, event: Heard) -> PastRow | None:
    """One more."""
    return PastRow(past_key(event), 1 + (row.emergencies if row is not None else 0))


def emergencies(rows: Iterable[PastRow]) -> dict[str, int]:
    """Road → emergencies so far."""
    return {row.edge_id: row.emergencies for row in rows}


def hospital_key(event: Heard) -> str:
    """The hospital."""
    return str(event.data.hospital_id)  # type: ignore[attr-defined]


def hospital(row: HospitalRow | None, event: Heard) -> HospitalRow | None:
    """Its places and who is expected."""
    data = event.data
    if isinstance(data, ev.HospitalRegistered):
        entrance = data.entrance
        return HospitalRow(data.name, entrance.edge_id, entrance.position_m, data.places)
    if row is None:
        return None
    expected, present = dict(row.expected), set(row.present)
    match data:
        case ev.BedReserved():
            expected[data.incident_id] = data.reservation_id
        case ev.BedCancelled():
            if expected.get(data.incident_id) == data.reservation_id:
                del expected[data.incident_id]
        case ev.PatientDiverted():
            expected.pop(data.incident_id, None)
            row = replace(row, diverted=(*row.diverted, data.incident_id)[-REMEMBERED:])
        case ev.PatientHandedOver():
            expected.pop(data.incident_id, None)
            present.add(data.incident_id)
        case ev.PatientDischarged() | ev.PatientTransferred():
            present.discard(data.incident_id)
    return replace(row, expected=expected, present=tuple(sorted(present)))


def warning_key(event: Heard) -> str:
    """The warning."""
    return str(event.data.warning_id)  # type: ignore[attr-defined]


def warning(row: WarningRow | None, event: Heard) -> WarningRow | None:
    """A row as long as it stands."""
    data = event.data
    if not isinstance(data, ev.HospitalsWarned):
        return None
    return WarningRow(data.incident_id, tuple(one.hospital_id for one in data.hospitals))


def warned_of(rows: Iterable[tuple[str, WarningRow]]) -> dict[str, list[str]]:
    """Hospital → the incidents that it was warned of."""
    found: dict[str, set[str]] = {}
    for _, row in rows:
        for hospital in row.hospitals:
            found.setdefault(hospital, set()).add(row.incident)
    return {hospital: sorted(incidents) for hospital, incidents in found.items()}


def road_key(event: Heard) -> str:
    """Roads are published in parts; each keeps the name of its first edge."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return event.data.edges[0].edge_id


def road(row: RoadRow | None, event: Heard) -> RoadRow | None:
    """The newest word on that part."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return RoadRow([(e.edge_id, e.length_m, e.free_speed_mps, list(e.next_edge_ids)) for e in event.data.edges])
