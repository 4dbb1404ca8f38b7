"""S1, medical emergency: from the report to the hospital door, across health, traffic and the districts.

It is long because sagas that began with an older version go on with it: all versions stand here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.events_pb2 import AmbulanceBrokenDown, MissionReported, PatientDiverted, PatientRefused
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from citybrain.traffic.v1.events_pb2 import VehicleMissing, WayBlocked
from google.protobuf.message import Message

from citybrain.sagas.engine.definition import (
    Choice,
    Command,
    During,
    Leave,
    Parallel,
    Reaction,
    RestartFrom,
    Step,
    Wait,
    Workflow,
)
from citybrain.sagas.engine.state import SagaState

HEALTH = "citybrain.health.v1.HealthService"
TRAFFIC = "citybrain.traffic.v1.TrafficService"
HUB = "citybrain.district_hub.v1.DistrictHubService"
COMMAND = "citybrain.emergency_command.v1.EmergencyCommandService"

# A ride that takes three times as long as expected is late, but none is within five minutes.
LATE_FACTOR = 3
LATE_AT_LEAST_S = 300


def _way(s: SagaState) -> list[str]:
    """Station → patient → hospital; the edge where the patient is stands once."""
    there = list(s.answer("reserve_ambulance").route.edge_ids)
    return there + list(s.answer("reserve_bed").route.edge_ids)[1:]


def _stops(s: SagaState) -> list[traffic.PlannedStop]:
    """The patient, and the hospital door."""
    at_scene = len(s.answer("reserve_ambulance").route.edge_ids) - 1
    door = s.answer("reserve_bed").entrance
    return [
        traffic.PlannedStop(route_index=at_scene, position_m=s.input.place.position_m),
        traffic.PlannedStop(route_index=len(_way(s)) - 1, position_m=door.position_m),
    ]


def _expected_s(s: SagaState) -> float:
    return float(s.answer("reserve_ambulance").route.travel_time_s + s.answer("reserve_bed").route.travel_time_s)


def _late(leg: str) -> Callable[[SagaState], float]:
    """After how many seconds a ride is late; `leg` is the step that found its way."""
    return lambda s: float(max(LATE_AT_LEAST_S, LATE_FACTOR * s.answer(leg).route.travel_time_s))


def _missing(s: SagaState, event: Message) -> str:
    """Why somebody must look for the ambulance; empty where another one is missing."""
    if not isinstance(event, VehicleMissing) or event.vehicle_id != s.answer("reserve_ambulance").ambulance_id:
        return ""
    where = f"on road {event.edge_id} at {event.position_m:.0f} m" if event.edge_id else "at no known place"
    return f"ambulance {event.vehicle_id} has been silent for {event.silent_s:.0f} s, last {where}: find it, or send another"


def _at(stage: health.MissionStage) -> Callable[[SagaState, Message], bool]:
    """A later stage implies the earlier ones: the radio may have been silent."""
    return lambda s, event: isinstance(event, MissionReported) and event.stage >= stage


def _whose(s: SagaState, key: str) -> dict[str, Any]:
    return {"incident_id": s.saga_id, "reservation_id": key}


def _ending(s: SagaState, key: str) -> dict[str, Any]:
    return {**_whose(s, key), "reason": s.reason or "handed over"}


RESERVE_AMBULANCE = Step(
    "reserve_ambulance",
    Command(f"{HEALTH}/ReserveAmbulance", lambda s, k: health.ReserveAmbulanceRequest(place=s.input.place, **_whose(s, k))),
    undo=Command(f"{HEALTH}/ReleaseAmbulance", lambda s, k: health.ReleaseAmbulanceRequest(**_ending(s, k))),
    deadline_s=900,  # while none is free it is asked for again
    pause_s=5,
    otherwise="needs human",  # somebody waits for help: only a false call undoes what was done
)
RESERVE_BED = Step(
    "reserve_bed",
    Command(
        f"{HEALTH}/ReserveBed",
        lambda s, k: health.ReserveBedRequest(
            place=s.input.place, ambulance_id=s.answer("reserve_ambulance").ambulance_id, **_whose(s, k)
        ),
    ),
    undo=Command(f"{HEALTH}/CancelBed", lambda s, k: health.CancelBedRequest(**_ending(s, k))),
    deadline_s=600,
    pause_s=5,
    otherwise="needs human",
)
GRANT_PRIORITY = Step(
    "grant_priority",
    Command(
        f"{TRAFFIC}/GrantPriority",
        lambda s, k: traffic.GrantPriorityRequest(
            incident_id=s.saga_id,
            grant_id=k,
            vehicle_id=s.answer("reserve_ambulance").ambulance_id,
            edge_ids=_way(s),
            stops=_stops(s),
        ),
    ),
    undo=Command(
        f"{TRAFFIC}/ReleasePriority",
        lambda s, k: traffic.ReleasePriorityRequest(incident_id=s.saga_id, grant_id=k, reason=s.reason),
    ),
    deadline_s=15,
    otherwise="go on",  # with traffic down the ambulance drives without priority
)
NOTIFY_DISTRICTS = Step(
    "notify_districts",
    Command(
        f"{HUB}/NotifyDistricts",
        lambda s, k: hub.NotifyDistrictsRequest(
            incident_id=s.saga_id, round_id=k, edge_ids=_way(s), vehicle_id=s.answer("reserve_ambulance").ambulance_id
        ),
    ),
    undo=Command(
        f"{HUB}/WithdrawNotices",
        lambda s, k: hub.WithdrawNoticesRequest(incident_id=s.saga_id, round_id=k, reason=s.reason),
    ),
    deadline_s=60,
    otherwise="go on",
)
ANNOUNCE_PATIENT = Step(
    "announce_patient",
    Command(
        f"{HEALTH}/AnnouncePatient",
        lambda s, k: health.AnnouncePatientRequest(
            hospital_id=s.answer("reserve_bed").hospital_id,
            incident_id=s.saga_id,
            ambulance_id=s.answer("reserve_ambulance").ambulance_id,
            expected_in_s=_expected_s(s),
        ),
    ),
    deadline_s=60,
    otherwise="go on",
)
AT_SCENE = Wait(
    "at_scene", MissionReported, _late("reserve_ambulance"), _at(health.MISSION_STAGE_AT_SCENE), implied=True,
    fails_on={VehicleMissing: _missing},
)  # fmt: skip
ON_BOARD = Wait(
    "on_board", MissionReported, 3600, _at(health.MISSION_STAGE_PATIENT_ON_BOARD), implied=True,
    fails_on={VehicleMissing: _missing},
)  # fmt: skip
AT_HOSPITAL = Wait(
    "at_hospital", MissionReported, _late("reserve_bed"), _at(health.MISSION_STAGE_AT_HOSPITAL),
    fails_on={VehicleMissing: _missing},
)  # fmt: skip
HAND_OVER = Step(
    "hand_over",
    Command(
        f"{HEALTH}/HandOver",
        lambda s, k: health.HandOverRequest(
            hospital_id=s.answer("reserve_bed").hospital_id,
            incident_id=s.saga_id,
            ambulance_id=s.answer("reserve_ambulance").ambulance_id,
        ),
    ),
    deadline_s=300,
    otherwise="needs human",
)
RELEASE_PRIORITY = Step(
    "release_priority",
    Command(
        f"{TRAFFIC}/ReleasePriority",
        lambda s, k: traffic.ReleasePriorityRequest(incident_id=s.saga_id, grant_id=s.key("grant_priority"), reason="arrived"),
    ),
    deadline_s=60,
    pause_s=5,
    otherwise="go on",  # a vehicle that reports no more loses its signals by itself
)
RELEASE_AMBULANCE = Step(
    "release_ambulance",
    Command(
        f"{HEALTH}/ReleaseAmbulance",
        lambda s, k: health.ReleaseAmbulanceRequest(**_ending(s, s.key("reserve_ambulance"))),
    ),
    deadline_s=300,
    otherwise="needs human",
)
CLOSE = Step(
    "close_incident",
    Command(f"{COMMAND}/CloseIncident", lambda s, k: command.CloseIncidentRequest(incident_id=s.saga_id, outcome=_outcome(s))),
    deadline_s=300,
    otherwise="needs human",
)


def _outcome(s: SagaState) -> str:
    without = "" if s.answered("grant_priority") else ", without priority at the signals"
    return f"handed over at {s.answer('reserve_bed').hospital_id}{without}"


_REPORTED = Parallel(((GRANT_PRIORITY,), (NOTIFY_DISTRICTS,), (ANNOUNCE_PATIENT,)))
_ARRIVED = Parallel(((HAND_OVER,), (RELEASE_PRIORITY,)))

EMERGENCY_RESPONSE_2 = Workflow(
    name="emergency_response",
    version=2,
    starts_on=IncidentOpened,
    hears={
        IncidentOpened: lambda event: event.incident_id,  # type: ignore[attr-defined]
        IncidentCancelled: lambda event: event.incident_id,  # type: ignore[attr-defined]
        MissionReported: lambda event: event.incident_id,  # type: ignore[attr-defined]
        VehicleMissing: lambda event: event.incident_id,  # type: ignore[attr-defined]
    },
    undo_on={IncidentCancelled: lambda event: f"false call: {event.reason}"},  # type: ignore[attr-defined]
    nodes=(
        RESERVE_AMBULANCE,
        RESERVE_BED,
        _REPORTED,
        AT_SCENE,
        ON_BOARD,
        AT_HOSPITAL,
        _ARRIVED,
        RELEASE_AMBULANCE,
        CLOSE,
    ),
)

# What began before the patient on board was a stage of its own goes on in its stages, and with the times it had for them.
EMERGENCY_RESPONSE_1 = replace(
    EMERGENCY_RESPONSE_2,
    version=1,
    nodes=(
        RESERVE_AMBULANCE,
        RESERVE_BED,
        _REPORTED,
        replace(AT_SCENE, deadline_s=3600),
        replace(AT_HOSPITAL, deadline_s=7200),
        _ARRIVED,
        RELEASE_AMBULANCE,
        CLOSE,
    ),
)

# -- version 3: what may happen on the way has a way out ---------------------------------------------------------------------


def _patient_at(s: SagaState) -> RoadPlace:
    """Where the patient is: at the place that was reported, or in an ambulance that broke down with them.

    Only a breakdown for which the saga has gone back counts: so a command is the same at each of its tries.
    """
    at: RoadPlace = s.input.place
    on_board = set()
    for event_id, event in s.heard.items():
        if isinstance(event, MissionReported) and event.stage >= health.MISSION_STAGE_PATIENT_ON_BOARD:
            on_board.add(event.ambulance_id)
        elif isinstance(event, AmbulanceBrokenDown) and event_id in s.reacted and event.ambulance_id in on_board:
            at = event.place if event.HasField("place") else at
    return at


def _ours(s: SagaState, ambulance_id: str) -> bool:
    return s.answered("reserve_ambulance") and bool(s.answer("reserve_ambulance").ambulance_id == ambulance_id)


def _ours_at(stage: health.MissionStage) -> Callable[[SagaState, Message], bool]:
    """As before, for the ambulance that drives now."""
    return lambda s, event: isinstance(event, MissionReported) and event.stage >= stage and _ours(s, event.ambulance_id)


def _broken_down(s: SagaState, event: Message) -> str:
    if not isinstance(event, AmbulanceBrokenDown) or not _ours(s, event.ambulance_id):
        return ""
    return f"ambulance {event.ambulance_id} broke down: {event.reason}"


def _diverted(s: SagaState, event: Message) -> str:
    if not isinstance(event, PatientDiverted) or not s.answered("reserve_bed"):
        return ""
    hospital = s.answer("reserve_bed").hospital_id
    # Why is between the hospital and the patient.
    return f"hospital {hospital} cannot take the patient" if event.hospital_id == hospital else ""


def _refuses(s: SagaState, event: Message) -> str:
    return "the patient stays" if isinstance(event, PatientRefused) and _ours(s, event.ambulance_id) else ""


def _blocked(s: SagaState, event: Message) -> str:
    """Why another way is needed; empty where it is about a way that is not driven any more."""
    if not isinstance(event, WayBlocked) or event.grant_id != s.key("grant_priority"):
        return ""
    return f"road {event.edge_id} on the way of ambulance {event.vehicle_id} was closed"


def _last_blocked(s: SagaState) -> WayBlocked | None:
    """The last closed road for which the ambulance that drives now needed another way."""
    found = None
    for event_id, event in s.heard.items():
        if isinstance(event, WayBlocked) and event_id in s.reacted and _ours(s, event.vehicle_id):
            found = event
    return found


def _leg(s: SagaState, leg: str) -> Route:
    """The way as it is driven now; `leg` is the step that found it first. Empty where it was driven to the patient before."""
    if not s.answered("reroute"):
        return s.answer(leg).route  # type: ignore[no-any-return]
    anew = s.answer("reroute")
    return anew.to_patient if leg == "reserve_ambulance" else anew.to_hospital  # type: ignore[no-any-return]


def _way_3(s: SagaState) -> list[str]:
    """Where the ambulance is → patient → hospital; the edge where the patient is stands once."""
    there, on = list(_leg(s, "reserve_ambulance").edge_ids), list(_leg(s, "reserve_bed").edge_ids)
    return there + on[1:] if there else on


def _stops_3(s: SagaState) -> list[traffic.PlannedStop]:
    """The patient, if the ambulance has not been there, and the hospital door."""
    there, door = len(_leg(s, "reserve_ambulance").edge_ids), s.answer("reserve_bed").entrance
    patient = [traffic.PlannedStop(route_index=there - 1, position_m=_patient_at(s).position_m)] if there else []
    return [*patient, traffic.PlannedStop(route_index=len(_way_3(s)) - 1, position_m=door.position_m)]


def _late_3(leg: str) -> Callable[[SagaState], float]:
    return lambda s: float(max(LATE_AT_LEAST_S, LATE_FACTOR * _leg(s, leg).travel_time_s))


def _reroute(s: SagaState) -> health.RerouteAmbulanceRequest:
    blocked = _last_blocked(s)
    known = blocked is not None and blocked.HasField("vehicle_at")
    return health.RerouteAmbulanceRequest(
        ambulance_id=s.answer("reserve_ambulance").ambulance_id,
        incident_id=s.saga_id,
        vehicle_at=blocked.vehicle_at if blocked is not None and known else None,
    )


def _outcome_3(s: SagaState) -> str:
    return s.flags["response"] if "response" in s.flags else _outcome(s)


_FIND_AMBULANCE = replace(
    RESERVE_AMBULANCE,
    command=Command(
        f"{HEALTH}/ReserveAmbulance",
        lambda s, k: health.ReserveAmbulanceRequest(
            place=_patient_at(s), first_only=s.input.severity == command.SEVERITY_CRITICAL, **_whose(s, k)
        ),
    ),
)
_FIND_BED = replace(
    RESERVE_BED,
    command=Command(
        f"{HEALTH}/ReserveBed",
        lambda s, k: health.ReserveBedRequest(
            place=_patient_at(s), ambulance_id=s.answer("reserve_ambulance").ambulance_id, **_whose(s, k)
        ),
    ),
)
_ASK_FOR_PRIORITY = replace(
    GRANT_PRIORITY,
    command=Command(
        f"{TRAFFIC}/GrantPriority",
        lambda s, k: traffic.GrantPriorityRequest(
            incident_id=s.saga_id,
            grant_id=k,
            vehicle_id=s.answer("reserve_ambulance").ambulance_id,
            edge_ids=_way_3(s),
            stops=_stops_3(s),
        ),
    ),
)
_TELL_DISTRICTS = replace(
    NOTIFY_DISTRICTS,
    command=Command(
        f"{HUB}/NotifyDistricts",
        lambda s, k: hub.NotifyDistrictsRequest(
            incident_id=s.saga_id, round_id=k, edge_ids=_way_3(s), vehicle_id=s.answer("reserve_ambulance").ambulance_id
        ),
    ),
)
_TELL_HOSPITAL = replace(
    ANNOUNCE_PATIENT,
    command=Command(
        f"{HEALTH}/AnnouncePatient",
        lambda s, k: health.AnnouncePatientRequest(
            hospital_id=s.answer("reserve_bed").hospital_id,
            incident_id=s.saga_id,
            ambulance_id=s.answer("reserve_ambulance").ambulance_id,
            expected_in_s=_leg(s, "reserve_ambulance").travel_time_s + _leg(s, "reserve_bed").travel_time_s,
        ),
    ),
)
_REROUTE = Step(
    "reroute",
    Command(f"{HEALTH}/RerouteAmbulance", lambda s, k: _reroute(s)),
    deadline_s=120,
    pause_s=2,
    otherwise="needs human",  # no open road leads there: somebody opens one, or sends other help
)
_RESPONSE = During(
    "response",
    (
        _FIND_AMBULANCE,
        _FIND_BED,
        # The way that was found with ambulance and hospital, until a road on it is closed.
        Choice("way", ((lambda s: _last_blocked(s) is not None, (_REROUTE,)),)),
        Parallel(((_ASK_FOR_PRIORITY,), (_TELL_DISTRICTS,), (_TELL_HOSPITAL,))),
        replace(AT_SCENE, deadline_s=_late_3("reserve_ambulance"), matches=_ours_at(health.MISSION_STAGE_AT_SCENE)),
        replace(ON_BOARD, matches=_ours_at(health.MISSION_STAGE_PATIENT_ON_BOARD)),
        replace(AT_HOSPITAL, deadline_s=_late_3("reserve_bed"), matches=_ours_at(health.MISSION_STAGE_AT_HOSPITAL)),
    ),
    on={
        AmbulanceBrokenDown: Reaction(RestartFrom("reserve_ambulance"), _broken_down),
        PatientDiverted: Reaction(RestartFrom("reserve_bed"), _diverted),
        PatientRefused: Reaction(Leave(), _refuses),
        WayBlocked: Reaction(RestartFrom("way"), _blocked),
    },
    at_most=5,
)

EMERGENCY_RESPONSE = replace(
    EMERGENCY_RESPONSE_2,
    version=3,
    hears={
        **EMERGENCY_RESPONSE_2.hears,
        AmbulanceBrokenDown: lambda event: event.incident_id,  # type: ignore[attr-defined]
        PatientDiverted: lambda event: event.incident_id,  # type: ignore[attr-defined]
        PatientRefused: lambda event: event.incident_id,  # type: ignore[attr-defined]
        WayBlocked: lambda event: event.incident_id,  # type: ignore[attr-defined]
    },
    nodes=(
        _RESPONSE,
        Choice("arrived", ((lambda s: "response" not in s.flags, (_ARRIVED, RELEASE_AMBULANCE)),)),
        replace(
            CLOSE,
            command=Command(
                f"{COMMAND}/CloseIncident",
                lambda s, k: command.CloseIncidentRequest(incident_id=s.saga_id, outcome=_outcome_3(s)),
            ),
        ),
    ),
)
