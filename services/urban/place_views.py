"""What stands in which cell of the grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from citybrain.urban.v1 import events_pb2 as ev

from citybrain.mesh.events import Heard
from citybrain.services.urban import nearby

THING_EVENTS = (ev.ComponentRegistered, ev.DeviceRegistered, ev.FacilityRegistered, ev.ParkingRegistered)


@dataclass(frozen=True, slots=True)
class ThingRow:
    """Something that was registered at a place. It may have been moved since: whoever reads this asks where it is now."""

    what: str
    id: str
    latitude: float
    longitude: float


def thing_key(event: Heard) -> str:
    """The cell, and what it is."""
    one = _of(event)
    return f"{nearby.cell(one.latitude, one.longitude)}.{one.what}.{one.id}"


def thing(_row: ThingRow | None, event: Heard) -> ThingRow | None:
    """What was registered there."""
    return _of(event)


def _of(event: Heard) -> ThingRow:
    data: Any = event.data
    match data:
        case ev.ComponentRegistered():
            what, name, at = "component", data.component_id, data.position
        case ev.DeviceRegistered():
            what, name, at = "device", data.device.device_id, data.device.position
        case ev.FacilityRegistered():
            what, name, at = "facility", data.facility.facility_id, data.facility.position
        case _:
            what, name, at = "parking", data.lot.lot_id, data.lot.position
    return ThingRow(what, name, at.latitude, at.longitude)
