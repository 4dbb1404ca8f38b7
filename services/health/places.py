"""Hospitals: their emergency places, who is expected, who is in, and who has left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from citybrain.health.v1 import events_pb2 as ev
from citybrain.health.v1 import health_service_pb2 as pb
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, NotFound, Refused
from citybrain.services.health.domain import REMEMBERED, Choice


@dataclass(frozen=True, slots=True)
class Hospital:
    """One hospital: its emergency places, who is expected and who is in."""

    hospital_id: str = ""
    name: str = ""
    entrance: RoadPlace | None = None
    places: int = 0
    expected: Mapping[str, str] = field(default_factory=dict)  # incident → reservation
    present: Mapping[str, str] = field(default_factory=dict)  # incident → the reservation it came by
    announced: frozenset[str] = frozenset()
    # Incidents of the last patients who left: discharged (empty), or moved to another hospital (the reservation there).
    left: Mapping[str, str] = field(default_factory=dict)
    ended: tuple[str, ...] = ()
    # The last incidents whose patients it could not take.
    diverted: tuple[str, ...] = ()

    @property
    def free_places(self) -> int:
        """How many emergency places are neither taken nor reserved."""
        return self.places - len(self.expected) - len(self.present)


def evolve_hospital(hospital: Hospital, event: Message) -> Hospital:
    """The hospital after an event."""
    match event:
        case ev.HospitalRegistered():
            return replace(
                hospital, hospital_id=event.hospital_id, name=event.name, entrance=event.entrance, places=event.places
            )
        case ev.BedReserved():
            return replace(hospital, expected={**hospital.expected, event.incident_id: event.reservation_id})
        case ev.BedCancelled():
            ended = (*hospital.ended, event.reservation_id)[-REMEMBERED:]
            if hospital.expected.get(event.incident_id) != event.reservation_id:
                return replace(hospital, ended=ended)
            # A patient who is expected once more is announced once more.
            return replace(
                hospital,
                expected=_without(hospital.expected, event.incident_id),
                announced=hospital.announced - {event.incident_id},
                ended=ended,
            )
        case ev.PatientDiverted():
            return replace(
                hospital,
                expected=_without(hospital.expected, event.incident_id),
                announced=hospital.announced - {event.incident_id},
                ended=(*hospital.ended, event.reservation_id)[-REMEMBERED:],
                diverted=(*hospital.diverted, event.incident_id)[-REMEMBERED:],
            )
        case ev.PatientAnnounced():
            return replace(hospital, announced=hospital.announced | {event.incident_id})
        case ev.PatientHandedOver():
            return replace(
                hospital,
                expected=_without(hospital.expected, event.incident_id),
                announced=hospital.announced - {event.incident_id},
                present={**hospital.present, event.incident_id: hospital.expected.get(event.incident_id, "")},
                left=_without(hospital.left, event.incident_id),
            )
        case ev.PatientDischarged() | ev.PatientTransferred():
            went = event.reservation_id if isinstance(event, ev.PatientTransferred) else ""
            left = [*_without(hospital.left, event.incident_id).items(), (event.incident_id, went)][-REMEMBERED:]
            return replace(hospital, present=_without(hospital.present, event.incident_id), left=dict(left))
    return hospital


def register_hospital(hospital: Hospital, request: pb.RegisterHospitalRequest) -> list[Message]:
    """Registers a hospital. Refused where the id is known with other content."""
    registered = ev.HospitalRegistered(
        hospital_id=request.hospital_id, name=request.name, entrance=request.entrance, places=request.places
    )
    if hospital.entrance is None:
        return [registered]
    if (hospital.entrance, hospital.places, hospital.name) != (request.entrance, request.places, request.name):
        raise AlreadyDifferent(f"hospital {request.hospital_id} is registered with other content", "OTHER_HOSPITAL")
    return []


def reserve_bed(hospital: Hospital, choice: Choice, request: pb.ReserveBedRequest) -> list[Message]:
    """Reserves a place. Refused where none is free, or where this reservation has ended."""
    if hospital.expected.get(request.incident_id) == request.reservation_id:
        return []
    if request.reservation_id in hospital.ended:
        raise Refused(f"reservation {request.reservation_id} was cancelled before it came", "RESERVATION_ENDED")
    if request.incident_id in hospital.diverted:
        raise Refused(f"hospital {choice.chosen_id} cannot take the patient of {request.incident_id}", "HOSPITAL_DIVERTS")
    if hospital.free_places <= 0:
        raise Refused(f"hospital {choice.chosen_id} has no free place any more", "HOSPITAL_FULL")
    return [
        ev.BedReserved(
            hospital_id=choice.chosen_id, incident_id=request.incident_id, reservation_id=request.reservation_id,
            ambulance_id=request.ambulance_id, entrance=choice.place, route=choice.route,
        )
    ]  # fmt: skip


def cancel_bed(hospital: Hospital, hospital_id: str, request: pb.CancelBedRequest) -> list[Message]:
    """Ends a reservation, unless its patient has arrived."""
    if request.reservation_id in hospital.ended or hospital.present.get(request.incident_id) == request.reservation_id:
        return []
    return [
        ev.BedCancelled(
            hospital_id=hospital_id, incident_id=request.incident_id, reservation_id=request.reservation_id,
            reason=request.reason,
        )
    ]  # fmt: skip


def divert(hospital: Hospital, request: pb.DivertPatientRequest) -> list[Message]:
    """Says that a patient who is expected cannot be taken, once."""
    if request.incident_id in hospital.diverted and request.incident_id not in hospital.expected:
        return []
    _expecting(hospital, request.hospital_id, request.incident_id)
    return [
        ev.PatientDiverted(
            hospital_id=request.hospital_id, incident_id=request.incident_id,
            reservation_id=hospital.expected[request.incident_id], reason=request.reason,
        )
    ]  # fmt: skip


def announce(hospital: Hospital, request: pb.AnnouncePatientRequest) -> list[Message]:
    """Announces a patient, once."""
    _expecting(hospital, request.hospital_id, request.incident_id)
    if request.incident_id in hospital.announced:
        return []
    return [
        ev.PatientAnnounced(
            hospital_id=request.hospital_id, incident_id=request.incident_id, ambulance_id=request.ambulance_id,
            expected_in_s=request.expected_in_s,
        )
    ]  # fmt: skip


def hand_over(hospital: Hospital, request: pb.HandOverRequest) -> list[Message]:
    """Takes the patient over, once. A patient who has left since counts as handed over."""
    expected = request.incident_id in hospital.expected
    if request.incident_id in hospital.present or (request.incident_id in hospital.left and not expected):
        return []
    _expecting(hospital, request.hospital_id, request.incident_id)
    return [
        ev.PatientHandedOver(
            hospital_id=request.hospital_id, incident_id=request.incident_id, ambulance_id=request.ambulance_id
        )
    ]


def discharge(hospital: Hospital, request: pb.DischargePatientRequest) -> list[Message]:
    """Discharges the patient, once."""
    if request.incident_id not in hospital.present:
        _was_in(hospital, request.hospital_id, request.incident_id)
        return []
    return [
        ev.PatientDischarged(hospital_id=request.hospital_id, incident_id=request.incident_id, reason=request.reason)
    ]  # fmt: skip


def transfer(hospital: Hospital, request: pb.TransferPatientRequest) -> list[Message]:
    """Moves the patient to another hospital, once. Refused where they were moved to a different one."""
    if request.incident_id not in hospital.present:
        _was_in(hospital, request.hospital_id, request.incident_id)
        if hospital.left[request.incident_id] != request.reservation_id:
            raise Refused(f"the patient of {request.incident_id} has left hospital {request.hospital_id}", "HAS_LEFT")
        return []
    if request.hospital_id == request.to_hospital_id:
        raise Refused(f"the patient of {request.incident_id} is in hospital {request.to_hospital_id} already", "SAME_HOSPITAL")
    return [
        ev.PatientTransferred(
            hospital_id=request.hospital_id, incident_id=request.incident_id, reservation_id=request.reservation_id,
            to_hospital_id=request.to_hospital_id, reason=request.reason,
        )
    ]  # fmt: skip


def expect_transfer(hospital: Hospital, request: pb.TransferPatientRequest) -> list[Message]:
    """Reserves a place for a patient of another hospital. Refused as any reservation is."""
    if hospital.entrance is None:
        raise NotFound(f"there is no hospital {request.to_hospital_id}: register it first", "NO_SUCH_HOSPITAL")
    choice = Choice(request.reservation_id, request.to_hospital_id, hospital.entrance, Route())
    place = pb.ReserveBedRequest(
        incident_id=request.incident_id, reservation_id=request.reservation_id, ambulance_id=request.ambulance_id
    )
    return reserve_bed(hospital, choice, place)


def expect_no_transfer(hospital: Hospital, request: pb.TransferPatientRequest) -> list[Message]:
    """Ends the reservation for a transfer that did not happen. Where there is none, one may still come."""
    if hospital.expected.get(request.incident_id) != request.reservation_id:
        return []
    return [
        ev.BedCancelled(
            hospital_id=request.to_hospital_id, incident_id=request.incident_id, reservation_id=request.reservation_id,
            reason="not transferred",
        )
    ]  # fmt: skip


def _was_in(hospital: Hospital, hospital_id: str, incident_id: str) -> None:
    if hospital.entrance is None:
        raise NotFound(f"there is no hospital {hospital_id}: register it first", "NO_SUCH_HOSPITAL")
    if incident_id not in hospital.left:
        raise Refused(f"nobody of {incident_id} is in hospital {hospital_id}: HandOver says who is", "NOT_PRESENT")


def _expecting(hospital: Hospital, hospital_id: str, incident_id: str) -> None:
    if hospital.entrance is None:
        raise NotFound(f"there is no hospital {hospital_id}: register it first", "NO_SUCH_HOSPITAL")
    if incident_id not in hospital.expected:
        raise Refused(f"hospital {hospital_id} expects nobody for {incident_id}: reserve a place first", "NOT_EXPECTED")


def _without(mapping: Mapping[str, str], key: str) -> dict[str, str]:
    return {k: v for k, v in mapping.items() if k != key}
