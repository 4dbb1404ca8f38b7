"""Warnings to hospitals that many patients may come from one incident. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from citybrain.health.v1 import events_pb2 as ev
from citybrain.health.v1 import health_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import Refused


@dataclass(frozen=True, slots=True)
class Surge:
    """The warnings of one incident. `ended`: warning → the hospitals that it had warned."""

    warned: Mapping[str, tuple[pb.WarnedHospital, ...]] = field(default_factory=dict)
    ended: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def evolve(surge: Surge, event: Message) -> Surge:
    """The warnings after an event."""
    match event:
        case ev.HospitalsWarned():
            return replace(surge, warned={**surge.warned, event.warning_id: tuple(event.hospitals)})
        case ev.HospitalsStoodDown():
            warned = {key: one for key, one in surge.warned.items() if key != event.warning_id}
            return Surge(warned, {**surge.ended, event.warning_id: tuple(event.hospital_ids)})
    return surge


def is_known(surge: Surge, warning_id: str) -> bool:
    """Whether a warning was given. Refused where it has ended, also before it came."""
    if warning_id in surge.ended:
        raise Refused(f"warning {warning_id} was ended before it came", "WARNING_ENDED")
    return warning_id in surge.warned


def warn(surge: Surge, request: pb.WarnHospitalsRequest, nearest: Sequence[pb.WarnedHospital]) -> list[Message]:
    """Warns hospitals, once. `nearest`: those that are reached first. Refused where the warning has ended."""
    if is_known(surge, request.warning_id):
        return []
    return [
        ev.HospitalsWarned(
            incident_id=request.incident_id, warning_id=request.warning_id, hospitals=nearest, reason=request.reason
        )
    ]


def stand_down(surge: Surge, request: pb.StandDownHospitalsRequest) -> list[Message]:
    """Ends a warning, once. One that has not come yet is refused from now on."""
    if request.warning_id in surge.ended:
        return []
    warned = [one.hospital_id for one in surge.warned.get(request.warning_id, ())]
    return [
        ev.HospitalsStoodDown(
            incident_id=request.incident_id, warning_id=request.warning_id, hospital_ids=warned, reason=request.reason
        )
    ]
