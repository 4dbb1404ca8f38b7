"""Ambulances, and the choice among them and among hospitals. An assigned ambulance is refused, never overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from citybrain.health.v1 import events_pb2 as ev
from citybrain.health.v1 import health_service_pb2 as pb
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, NotFound, Refused, ServiceError

# How many ended reservations an ambulance or a hospital remembers, to refuse one that comes after its own end. A command is
# retried for minutes at most, and an ambulance drives a few dozen missions a day.
REMEMBERED = 200

Ways = tuple[Route | None, Route | None]
"""To the patient, if the ambulance has not been there, and on to the hospital, if one is reserved."""

# -- ambulances ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ambulance:
    """One ambulance."""

    ambulance_id: str = ""
    station: RoadPlace | None = None
    incident_id: str = ""
    reservation_id: str = ""
    stage: int = 0
    # All stages of this mission that were reported, in order or late.
    reported: frozenset[int] = frozenset()
    ended: tuple[str, ...] = ()
    out_of_service: bool = False
    refused: bool = False
    # Where its patient waits.
    patient: RoadPlace | None = None


def evolve_ambulance(unit: Ambulance, event: Message) -> Ambulance:
    """The ambulance after an event."""
    match event:
        case ev.AmbulanceRegistered():
            return replace(unit, ambulance_id=event.ambulance_id, station=event.station)
        case ev.AmbulanceReserved():
            return replace(
                unit,
                incident_id=event.incident_id,
                reservation_id=event.reservation_id,
                stage=0,
                reported=frozenset(),
                refused=False,
                patient=event.place,
            )
        case ev.AmbulanceBrokenDown():
            return replace(unit, out_of_service=True)
        case ev.AmbulanceReturnedToService():
            return replace(unit, out_of_service=False)
        case ev.PatientRefused():
            return replace(unit, refused=True)
        case ev.MissionReported():
            return replace(unit, stage=event.stage, reported=unit.reported | {event.stage})
        case ev.MissionReportedLate():
            return replace(unit, reported=unit.reported | {event.stage})
        case ev.AmbulanceReleased():
            ended = (*unit.ended, event.reservation_id)[-REMEMBERED:]
            if unit.reservation_id != event.reservation_id:
                return replace(unit, ended=ended)
            return replace(unit, incident_id="", reservation_id="", stage=0, reported=frozenset(), ended=ended)
    return unit


def register_ambulance(unit: Ambulance, request: pb.RegisterAmbulanceRequest) -> list[Message]:
    """Registers an ambulance. Refused where the id is known with another station."""
    if unit.station is None:
        return [ev.AmbulanceRegistered(ambulance_id=request.ambulance_id, station=request.station)]
    if unit.station != request.station:
        raise AlreadyDifferent(f"ambulance {request.ambulance_id} is registered at another station", "OTHER_STATION")
    return []


def reserve_ambulance(unit: Ambulance, choice: Choice, request: pb.ReserveAmbulanceRequest) -> list[Message]:
    """Reserves it for an incident. Refused where it is reserved for another one, or where this reservation has ended."""
    if unit.reservation_id == request.reservation_id:
        return []
    if request.reservation_id in unit.ended:
        raise Refused(f"reservation {request.reservation_id} was released before it came", "RESERVATION_ENDED")
    if unit.reservation_id:
        raise Refused(f"ambulance {choice.chosen_id} is on its way for another incident", "AMBULANCE_TAKEN")
    if unit.out_of_service:
        raise Refused(f"ambulance {choice.chosen_id} has broken down", "AMBULANCE_OUT_OF_SERVICE")
    return [
        ev.AmbulanceReserved(
            ambulance_id=choice.chosen_id, incident_id=request.incident_id, reservation_id=request.reservation_id,
            station=choice.place, place=request.place, route=choice.route,
        )
    ]  # fmt: skip


def release_ambulance(unit: Ambulance, ambulance_id: str, request: pb.ReleaseAmbulanceRequest) -> list[Message]:
    """Ends a reservation. One that has not come yet is refused from now on."""
    if request.reservation_id in unit.ended:
        return []
    return [
        ev.AmbulanceReleased(
            ambulance_id=ambulance_id, incident_id=request.incident_id, reservation_id=request.reservation_id,
            reason=request.reason,
        )
    ]  # fmt: skip


def report_mission(unit: Ambulance, request: pb.ReportMissionRequest) -> list[Message]:
    """Records a report, each stage once. A mission only goes forward: a stage that comes after a later one is late."""
    _on_mission(unit, request.ambulance_id, request.incident_id)
    if request.stage in unit.reported:
        return []
    reported = ev.MissionReported if request.stage > unit.stage else ev.MissionReportedLate
    return [reported(ambulance_id=request.ambulance_id, incident_id=request.incident_id, stage=request.stage)]


def report_breakdown(unit: Ambulance, request: pb.ReportBreakdownRequest) -> list[Message]:
    """Takes it out of service, once."""
    _known(unit, request.ambulance_id)
    if unit.out_of_service:
        return []
    broken = ev.AmbulanceBrokenDown(ambulance_id=request.ambulance_id, incident_id=unit.incident_id, reason=request.reason)
    if request.HasField("place"):
        broken.place.CopyFrom(request.place)
    return [broken]


def return_to_service(unit: Ambulance, request: pb.ReturnToServiceRequest) -> list[Message]:
    """Takes it back into service, once."""
    _known(unit, request.ambulance_id)
    return [ev.AmbulanceReturnedToService(ambulance_id=request.ambulance_id)] if unit.out_of_service else []


def legs(unit: Ambulance, request: pb.RerouteAmbulanceRequest) -> tuple[RoadPlace, RoadPlace | None]:
    """From where it drives on, and where the patient waits; None: it has been there. Refused where it is on no such mission."""
    _on_mission(unit, request.ambulance_id, request.incident_id)
    assert unit.station is not None and unit.patient is not None
    to_patient = unit.stage < pb.MISSION_STAGE_AT_SCENE
    known = unit.station if to_patient else unit.patient
    return request.vehicle_at if request.HasField("vehicle_at") else known, unit.patient if to_patient else None


def reroute(unit: Ambulance, request: pb.RerouteAmbulanceRequest, ways: Ways | ServiceError) -> list[Message]:
    """Gives it another way; raises why there is none."""
    _on_mission(unit, request.ambulance_id, request.incident_id)
    if isinstance(ways, ServiceError):
        raise ways
    return [
        ev.AmbulanceRerouted(
            ambulance_id=request.ambulance_id, incident_id=request.incident_id, reservation_id=unit.reservation_id,
            to_patient=ways[0], to_hospital=ways[1],
        )
    ]  # fmt: skip


def report_refusal(unit: Ambulance, request: pb.ReportRefusalRequest) -> list[Message]:
    """Records that the patient stays, once a mission."""
    _on_mission(unit, request.ambulance_id, request.incident_id)
    if unit.refused:
        return []
    return [
        ev.PatientRefused(ambulance_id=request.ambulance_id, incident_id=request.incident_id, reason=request.reason)
    ]  # fmt: skip


def _known(unit: Ambulance, ambulance_id: str) -> None:
    if unit.station is None:
        raise NotFound(f"there is no ambulance {ambulance_id}: register it first", "NO_SUCH_AMBULANCE")


def _on_mission(unit: Ambulance, ambulance_id: str, incident_id: str) -> None:
    _known(unit, ambulance_id)
    if unit.incident_id != incident_id:
        raise Refused(f"ambulance {ambulance_id} has no mission for {incident_id}", "NOT_ON_THIS_MISSION")


# -- the choice, written before the chosen one is asked -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for an incident: an ambulance or a hospital. `cover`: why this ambulance, where others were near."""

    reservation_id: str
    chosen_id: str
    place: RoadPlace
    route: Route
    cover: pb.CoverKept | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """The search of one incident for an ambulance, or for a hospital."""

    choice: Choice | None = None
    refused: tuple[str, ...] = ()
    # Ended reservations, with what had been chosen for each (empty: nothing yet).
    ended: Mapping[str, str] = field(default_factory=dict)


def evolve_search(search: Search, event: Message) -> Search:
    """The search after an event."""
    match event:
        case ev.AmbulanceChosen():
            cover = event.cover if event.HasField("cover") else None
            return replace(search, choice=Choice(event.reservation_id, event.ambulance_id, event.station, event.route, cover))
        case ev.HospitalChosen():
            return replace(search, choice=Choice(event.reservation_id, event.hospital_id, event.entrance, event.route))
        case ev.AmbulanceChoiceRefused():
            return replace(search, choice=None, refused=(*search.refused, event.ambulance_id))
        case ev.HospitalChoiceRefused():
            return replace(search, choice=None, refused=(*search.refused, event.hospital_id))
        case ev.AmbulanceDispatchEnded() | ev.BedSearchEnded():
            choice = search.choice
            mine = choice is not None and choice.reservation_id == event.reservation_id
            ended = {**search.ended, event.reservation_id: choice.chosen_id if choice is not None and mine else ""}
            return Search(None, (), ended) if mine or choice is None else replace(search, ended=ended)
    return search


def may_choose(search: Search, reservation_id: str) -> None:
    """Raises Refused where this reservation has ended, or where the search serves another one."""
    if reservation_id in search.ended:
        raise Refused(f"reservation {reservation_id} was released before it came", "RESERVATION_ENDED")
    if search.choice is not None and search.choice.reservation_id != reservation_id:
        raise Refused(f"reservation {search.choice.reservation_id} holds already: release it first", "ALREADY_RESERVED")


def choose(search: Search, chosen: Message, reservation_id: str) -> list[Message]:
    """Records a choice, unless one stands."""
    may_choose(search, reservation_id)
    return [] if search.choice is not None else [chosen]


def end(search: Search, ended: Message, reservation_id: str) -> list[Message]:
    """Ends a search, once."""
    return [] if reservation_id in search.ended else [ended]
