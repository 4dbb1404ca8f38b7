"""A station and its sensors, and which readings of them are taken. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, listed
from citybrain.services.environment import places, quantities


@dataclass(frozen=True, slots=True)
class StationState:
    """A station as it was registered last."""

    station: pb.Station | None = None


def evolve(state: StationState, event: Message) -> StationState:
    """The station after an event."""
    return StationState(event.station) if isinstance(event, ev.StationRegistered) else state


def district_of(state: StationState) -> str:
    """The district of a station; empty: it is not known."""
    return state.station.district_id if state.station is not None else ""


def register(state: StationState, request: pb.RegisterStationRequest, *, source_known: bool = True) -> list[Message]:
    """Makes a station known, or changes it. `source_known`: whether the source that it names is.

    AlreadyDifferent: it is of another medium, so that nothing that it has measured would fit. BadRequest: it cannot be there,
    or has sensors that it cannot have.
    """
    station = request.station
    if state.station == station:
        return []
    if state.station is not None and state.station.medium != station.medium:
        problem = f"station {station.station_id} is of {_medium(state.station)} already: another one has another id"
        raise AlreadyDifferent(problem, "OTHER_MEDIUM")
    wrong = [("station.place", problem)] if (problem := places.problem(station.place)) else []
    wrong += _of_its_medium(station)
    if station.source_id and not source_known:
        wrong.append(("station.source_id", "is no source that is known: AdmitSource makes one known"))
    known: set[str] = set()
    for number, sensor in enumerate(station.sensors):
        field = f"station.sensors[{number}]"
        if sensor.sensor_id in known:
            wrong.append((f"{field}.sensor_id", "is the id of another sensor of the station too"))
        known.add(sensor.sensor_id)
        if sensor.quantity not in quantities.MEASURED[station.medium]:
            wrong.append((f"{field}.quantity", f"is not measured in {_medium(station)}"))
    if wrong:
        raise BadRequest(wrong)
    return [ev.StationRegistered(station=station, district_id=station.district_id)]


# Which medium each of these is for, who that is, and what to say where it is missing; empty: it may be.
_ONLY_OF: Mapping[str, tuple[pb.Medium, str, str]] = {
    "cell_m": (pb.MEDIUM_COLUMN, "satellites", "a satellite sees a cell of the map, say how wide it is"),
    "source_id": (pb.MEDIUM_STACK, "stacks", "the limits of a stack are those of its source, say which one it is"),
    "lake": (pb.MEDIUM_WATER, "water", ""),
    "water_target": (pb.MEDIUM_WATER, "water", ""),
}


def _of_its_medium(station: pb.Station) -> list[tuple[str, str]]:
    """What is said that is for another medium, and what is missing of its own."""
    wrong = []
    for name, (medium, whose, missing) in _ONLY_OF.items():
        told = bool(getattr(station, name))
        if told and station.medium != medium:
            wrong.append((f"station.{name}", f"is for {whose}: leave it out"))
        elif missing and not told and station.medium == medium:
            wrong.append((f"station.{name}", f"is missing: {missing}"))
    return wrong


def _medium(station: pb.Station) -> str:
    return pb.Medium.Name(station.medium).removeprefix("MEDIUM_").lower()


def existing(state: StationState, station_id: str) -> pb.Station:
    """The station, or NotFound."""
    if state.station is None:
        raise NotFound(f"there is no station {station_id}: RegisterStation makes it known", "NO_SUCH_STATION")
    return state.station


def check(readings: Iterable[pb.Reading], stations: Mapping[str, pb.Station]) -> list[pb.Sensor]:
    """The sensor of each reading.

    BadRequest, with the field: a station or sensor that is not known, a unit or size that is wrong.
    """
    wrong: list[tuple[str, str]] = []
    sensors = {key: {sensor.sensor_id: sensor for sensor in station.sensors} for key, station in stations.items()}
    found = []
    for number, reading in enumerate(readings):
        field = f"readings[{number}]"
        station = stations.get(reading.station_id)
        if station is None:
            wrong.append((f"{field}.station_id", "is not known here: RegisterStation makes a station known"))
            continue
        sensor = sensors[reading.station_id].get(reading.sensor_id)
        if sensor is None:
            has = listed(sensors[reading.station_id])
            wrong.append((f"{field}.sensor_id", f"is no sensor of station {reading.station_id}: it has {has}"))
            continue
        if problem := quantities.unit_problem(station.medium, sensor.quantity, reading.unit):
            wrong.append((f"{field}.unit", problem))
        elif problem := quantities.size_problem(station.medium, sensor.quantity, reading.value):
            wrong.append((f"{field}.value", problem))
        found.append(sensor)
    if wrong:
        raise BadRequest(wrong)
    return found


def is_asked_for(station: pb.Station, request: pb.ListStationsRequest) -> bool:
    """Whether a list with this question shows it."""
    due = request.calibration_due_before
    return (
        (not request.district_id or station.district_id == request.district_id)
        and (not request.medium or station.medium == request.medium)
        and (
            not due.ByteSize()
            or any(
                sensor.HasField("calibration_due") and sensor.calibration_due.ToMicroseconds() < due.ToMicroseconds()
                for sensor in station.sensors
            )
        )
    )
