"""Read models: ambulances, hospitals and the road network."""

from __future__ import annotations

from citybrain.health.v1 import events_pb2 as ev
from citybrain.traffic.v1 import events_pb2 as traffic

from citybrain.event_store.read_models import Row
from citybrain.mesh.events import Heard

AMBULANCE_EVENTS = (ev.AmbulanceRegistered, ev.AmbulanceReserved, ev.AmbulanceReleased)
HOSPITAL_EVENTS = (
    ev.HospitalRegistered,
    ev.BedReserved,
    ev.BedCancelled,
    ev.PatientHandedOver,
    ev.PatientDischarged,
    ev.PatientTransferred,
)
ROAD_EVENTS = (traffic.RoadsPublished,)


def ambulance_key(event: Heard) -> str:
    """The ambulance."""
    return str(event.data.ambulance_id)  # type: ignore[attr-defined]


def ambulance(row: Row | None, event: Heard) -> Row | None:
    """Where it stands, and for whom it drives."""
    data = event.data
    if isinstance(data, ev.AmbulanceRegistered):
        return {"edge_id": data.station.edge_id, "position_m": data.station.position_m, "incident": "", "reservation": ""}
    if row is not None and isinstance(data, ev.AmbulanceReserved):
        return {**row, "incident": data.incident_id, "reservation": data.reservation_id}
    if row is not None and isinstance(data, ev.AmbulanceReleased) and row["reservation"] == data.reservation_id:
        return {**row, "incident": "", "reservation": ""}
    return row


def hospital_key(event: Heard) -> str:
    """The hospital."""
    return str(event.data.hospital_id)  # type: ignore[attr-defined]


def hospital(row: Row | None, event: Heard) -> Row | None:
    """Its places and who is expected."""
    data = event.data
    if isinstance(data, ev.HospitalRegistered):
        entrance = data.entrance
        return {
            "name": data.name, "edge_id": entrance.edge_id, "position_m": entrance.position_m, "places": data.places,
            "expected": {}, "present": [],
        }  # fmt: skip
    if row is None:
        return None
    expected, present = dict(row["expected"]), set(row["present"])
    match data:
        case ev.BedReserved():
            expected[data.incident_id] = data.reservation_id
        case ev.BedCancelled():
            if expected.get(data.incident_id) == data.reservation_id:
                del expected[data.incident_id]
        case ev.PatientHandedOver():
            expected.pop(data.incident_id, None)
            present.add(data.incident_id)
        case ev.PatientDischarged() | ev.PatientTransferred():
            present.discard(data.incident_id)
    return {**row, "expected": expected, "present": sorted(present)}


def road_key(event: Heard) -> str:
    """Roads are published in parts; each keeps the name of its first edge."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return event.data.edges[0].edge_id


def road(row: Row | None, event: Heard) -> Row | None:
    """The newest word on that part."""
    assert isinstance(event.data, traffic.RoadsPublished)
    return {"edges": [[e.edge_id, e.length_m, e.free_speed_mps, list(e.next_edge_ids)] for e in event.data.edges]}
