"""A city on paper: four roads in a ring, played by the test itself, so that sagas can be driven without a simulator.

It talks to the mesh as an outside system would: callers, terminals of ambulances, the districts' desks.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
from citybrain.clock.v1 import clock_pb2
from citybrain.clock.v1.clock_pb2_grpc import ClockServiceStub
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import DistrictHubServiceStub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.events.v1.event_pb2 import Event
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.health_service_pb2_grpc import HealthServiceStub
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.sagas.v1.saga_service_pb2_grpc import SagaServiceStub
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub
from google.protobuf.timestamp_pb2 import Timestamp
from typing_extensions import override

from tests.helpers.callers import channel

R = TypeVar("R")
RING = ("e1", "e2", "e3", "e4")
START = 1_767_600_000
# A request id is used for one request only, whoever sends it: so each of these has its own.
_NUMBERS = itertools.count(1)
LIMIT_S = 60.0


class PaperCity:
    """Callers, terminals and desks on one channel."""

    def __init__(self, address: str, data: Path) -> None:
        self._data = data
        self.now = START
        self._number, self._serial = next(_NUMBERS), 0
        self.connect(address)

    def connect(self, address: str) -> None:
        """(Re)connects, after a restart for instance."""
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
        self.channel = channel(address, self._data, options)
        self.command = EmergencyCommandServiceStub(self.channel)
        self.health = HealthServiceStub(self.channel)
        self.traffic = TrafficServiceStub(self.channel)
        self.hub = DistrictHubServiceStub(self.channel)
        self.sagas = SagaServiceStub(self.channel)
        self.clock = ClockServiceStub(self.channel)

    def close(self) -> None:
        """Hangs up."""
        self.channel.close()

    def call(
        self, method: Callable[..., R], request: Any, request_id: str = "", exercise: str = "", traceparent: str = ""
    ) -> R:
        """Calls until it is decided: a mesh that is away comes back, and the request id makes a retry safe."""
        self._serial += 1
        metadata = [("x-request-id", request_id or f"paper-{self._number}-{self._serial}")]
        metadata += [("x-exercise", exercise)] if exercise else []
        metadata += [("traceparent", traceparent)] if traceparent else []
        until = time.monotonic() + LIMIT_S
        while True:
            try:
                return method(request, timeout=10, metadata=metadata)
            except grpc.RpcError as error:
                away = error.code() in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.CANCELLED,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                )
                if not away or time.monotonic() > until:
                    raise

    # -- setting up -------------------------------------------------------------------------------------------------------

    def publish_roads(self) -> None:
        """The ring of roads, kept by two districts."""
        self.advance(0)
        edges = [
            RoadEdge(
                edge_id=edge,
                length_m=100,
                free_speed_mps=10,
                next_edge_ids=[RING[(n + 1) % 4]],
                district_id="west" if n < 2 else "east",
            )
            for n, edge in enumerate(RING)
        ]
        self.call(self.traffic.PublishRoads, traffic.PublishRoadsRequest(edges=edges))
        self.rest()

    def open_detour(self) -> None:
        """From now on there is a second, longer way from the station to the patient, beside the road e2."""
        following = {"e1": ["e2", "e9"], "e2": ["e3"], "e3": ["e4"], "e4": ["e1"], "e9": ["e3"]}
        edges = [
            RoadEdge(
                edge_id=edge, length_m=300 if edge == "e9" else 100, free_speed_mps=10, next_edge_ids=then, district_id="west"
            )
            for edge, then in following.items()
        ]
        self.call(self.traffic.PublishRoads, traffic.PublishRoadsRequest(edges=edges))
        self.rest()

    def close_road(self, edge_id: str) -> None:
        """An accident closes a road; vehicles on whose way it lies are told after some seconds."""
        closure = traffic.CloseRoadsRequest(closure_id=f"c-{edge_id}", edge_ids=[edge_id], reason="an accident")
        self.call(self.traffic.CloseRoads, closure)
        self.rest()

    def build(self, ambulances: int = 2, places: int = 5, roads: bool = True) -> None:
        """Roads, districts, a hospital and ambulances."""
        self.advance(0)
        for district in ("west", "east"):
            self.call(self.hub.RegisterDistrict, hub.RegisterDistrictRequest(district_id=district, name=f"{district} 区"))
        if roads:
            self.publish_roads()
        self.add_ambulances(ambulances)
        hospital = health.RegisterHospitalRequest(
            hospital_id="h1", name="第一医院", entrance=RoadPlace(edge_id="e4", position_m=50), places=places
        )
        self.call(self.health.RegisterHospital, hospital)
        self.rest()

    def add_ambulances(self, count: int) -> None:
        """Ambulances on the first road, by the names a0, a1 …"""
        for n in range(count):
            place = RoadPlace(edge_id="e1", position_m=10 + n)
            self.call(self.health.RegisterAmbulance, health.RegisterAmbulanceRequest(ambulance_id=f"a{n}", station=place))
        self.rest()

    # -- city time --------------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Waits until the mesh has nothing left to do."""
        self.call(self.clock.Rest, clock_pb2.RestRequest())

    def advance(self, seconds: float) -> None:
        """Moves city time on."""
        self.now += int(seconds)
        self.call(self.clock.Advance, clock_pb2.AdvanceRequest(time=Timestamp(seconds=self.now)))

    # -- what people and machines do --------------------------------------------------------------------------------------

    def report(self, request_id: str, exercise: str = "") -> str:
        """Somebody calls about another patient at the same place; the incident's id."""
        request = command.ReportEmergencyRequest(
            channel=command.CHANNEL_PHONE,
            severity=command.SEVERITY_CRITICAL,
            place=RoadPlace(edge_id="e3", position_m=20),
            another_patient=True,
        )
        reported = self.call(self.command.ReportEmergency, request, request_id, exercise)
        incident_id: str = reported.incident.incident_id
        return incident_id

    def cancel(self, incident_id: str) -> None:
        """It was a false call."""
        self.call(
            self.command.CancelIncident,
            command.CancelIncidentRequest(incident_id=incident_id, reason="a prank"),
            f"x-{incident_id}",
        )

    def incident(self, incident_id: str) -> command.Incident:
        """An incident as callers see it."""
        incident: command.Incident = self.call(
            self.command.GetIncident, command.GetIncidentRequest(incident_id=incident_id)
        ).incident
        return incident

    def saga(self, incident_id: str) -> sagas.Saga:
        """Where the workflow of an incident stands."""
        saga: sagas.Saga = self.call(self.sagas.GetSaga, sagas.GetSagaRequest(saga_id=incident_id)).saga
        return saga

    def step(self, incident_id: str, name: str) -> str:
        """The status of one step."""
        return next(step.status for step in self.saga(incident_id).steps if step.name == name)

    def ambulance_of(self, incident_id: str) -> str:
        """The ambulance that is held for an incident, or empty."""
        units = self.call(self.health.ListAmbulances, health.ListAmbulancesRequest()).ambulances
        held = [unit.ambulance_id for unit in units if unit.incident_id == incident_id]
        assert len(held) <= 1, f"{incident_id} holds {held}"
        return held[0] if held else ""

    def drive(self, incident_id: str) -> None:
        """The ambulance drives to the patient and to the hospital, reporting as it goes."""
        unit = self.ambulance_of(incident_id)
        for stage in (
            health.MISSION_STAGE_UNDER_WAY,
            health.MISSION_STAGE_AT_SCENE,
            health.MISSION_STAGE_PATIENT_ON_BOARD,
            health.MISSION_STAGE_AT_HOSPITAL,
        ):
            request = health.ReportMissionRequest(ambulance_id=unit, incident_id=incident_id, stage=stage)
            self.call(self.health.ReportMission, request, f"{incident_id}-{stage}")
            self.rest()
            self.advance(5)
            self.rest()

    def until(self, condition: Callable[[], bool], seconds: float = 900) -> None:
        """Lets city time pass until something is so."""
        for _ in range(int(seconds)):
            self.rest()
            if condition():
                return
            self.advance(1)
        raise AssertionError(f"not so within {seconds:g} s of city time")

    def ended(self, incident_id: str) -> bool:
        """Whether the workflow of an incident has ended."""
        return self.saga(incident_id).state in (sagas.SAGA_STATE_COMPLETED, sagas.SAGA_STATE_UNDONE)

    def events_of(self, incident_id: str, until: Callable[[Event], bool]) -> Iterator[Event]:
        """The incident's events from the beginning, up to and with the first for which `until` is true."""
        call = self.command.FollowIncident(command.FollowIncidentRequest(incident_id=incident_id), timeout=LIMIT_S)
        for response in call:
            for event in response.events:
                yield event
                if until(event):
                    call.cancel()
                    return


class WallCity(PaperCity):
    """The city on paper, where time goes on by itself."""

    @override
    def rest(self) -> None:
        """Nobody knows when it rests: a moment."""
        threading.Event().wait(0.05)

    @override
    def advance(self, seconds: float) -> None:
        """Nobody moves it."""

    @override
    def step(self, incident_id: str, name: str) -> str:
        """Empty where there is none yet."""
        try:
            return super().step(incident_id, name)
        except grpc.RpcError as error:
            # Here nobody knows when the workflow has heard of the incident.
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return ""
