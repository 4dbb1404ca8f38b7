"""A small invented city that lives by the wall clock: for a sandbox, where somebody tries what they build.

Its roads are a grid of districts, and its emergencies come by a seed. Nothing here is measured, and nothing is about anybody.
The districts that nobody else plays acknowledge their notices.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection
from typing import Any

import grpc
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1 import events_pb2 as hub_events
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import DistrictHubServiceStub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.events.v1.event_pb2 import Event
from citybrain.health.v1 import events_pb2 as health_events
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.health_service_pb2_grpc import HealthServiceStub
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from citybrain.traffic.v1.traffic_service_pb2_grpc import TrafficServiceStub

from citybrain.client import City, Subscription, problem_of

DISTRICTS = {"xihu": "西湖区", "gongshu": "拱墅区", "shangcheng": "上城区", "binjiang": "滨江区"}
"""Each keeps a quarter of the grid."""
HOSPITALS = {"hospital-north": "n0.0", "hospital-south": "n5.5"}
_SIDE, _BLOCK_M, _SPEED_MPS = 6, 300.0, 13.9
_AMBULANCES = 12
_STAGES = health.MissionStage.keys()[1:]
_STAGE_S = (1.0, 4.0)
_READY_S = 30.0


def roads() -> list[RoadEdge]:
    """The grid: both directions between neighbouring nodes. Lengths in metres, speeds in metres a second."""
    nodes = [(column, row) for column in range(_SIDE) for row in range(_SIDE)]
    ways = [(a, b) for a in nodes for b in nodes if abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1]
    return [
        RoadEdge(
            edge_id=_edge(a, b),
            length_m=_BLOCK_M,
            free_speed_mps=_SPEED_MPS,
            next_edge_ids=[_edge(b, c) for other, c in ways if other == b and c != a],
            district_id=_keeper(a),
        )
        for a, b in ways
    ]


def _edge(a: tuple[int, int], b: tuple[int, int]) -> str:
    return f"n{a[0]}.{a[1]}-n{b[0]}.{b[1]}"


def _keeper(node: tuple[int, int]) -> str:
    half = _SIDE // 2
    return list(DISTRICTS)[(node[0] >= half) + 2 * (node[1] >= half)]


class SyntheticCity:
    """Plays everybody outside of the mesh. `begin` registers the city, then it lives until `stop`."""

    def __init__(self, city: City, *, seed: int, every_s: float, played: Collection[str] = ()) -> None:
        """`every_s`: seconds between two emergencies. `played`: districts whose notices somebody else acknowledges."""
        self._random = random.Random(seed)
        self._every_s = every_s
        self._played = set(played)
        self._command: Any = EmergencyCommandServiceStub(city.channel)  # type: ignore[no-untyped-call]
        self._health: Any = HealthServiceStub(city.channel)  # type: ignore[no-untyped-call]
        self._traffic: Any = TrafficServiceStub(city.channel)  # type: ignore[no-untyped-call]
        self._hub: Any = DistrictHubServiceStub(city.channel)  # type: ignore[no-untyped-call]
        self._city = city
        self._roads = roads()
        self._stopped = threading.Event()
        self._desks: list[Subscription] = []
        self._token = ""

    def begin(self, emergencies: int = 3) -> None:
        """Registers the city, lets it live, and returns when so many emergencies were reported. RpcError: it is refused."""
        for district, name in DISTRICTS.items():
            self._hub.RegisterDistrict(hub.RegisterDistrictRequest(district_id=district, name=name))
        self._traffic.PublishRoads(traffic.PublishRoadsRequest(edges=self._roads))
        for number in range(_AMBULANCES):
            station = RoadPlace(edge_id=self._roads[number * len(self._roads) // _AMBULANCES].edge_id, position_m=10)
            self._once_known(
                self._health.RegisterAmbulance,
                health.RegisterAmbulanceRequest(ambulance_id=f"ambulance-{number:02d}", station=station),
            )
        for hospital, node in HOSPITALS.items():
            entrance = RoadPlace(edge_id=next(one.edge_id for one in self._roads if one.edge_id.startswith(f"{node}-")))
            request = health.RegisterHospitalRequest(hospital_id=hospital, name=hospital, entrance=entrance, places=200)
            self._once_known(self._health.RegisterHospital, request)
        quiet = [district for district in DISTRICTS if district not in self._played]
        for run in (self._drive, self._live, *(lambda district=one: self._acknowledge(district) for one in quiet)):
            threading.Thread(target=run, name="synthetic city", daemon=True).start()
        for _ in range(emergencies):
            self._report()

    def stop(self) -> None:
        """Ends its life. To be called before the city's connection is closed."""
        self._stopped.set()
        for desk in self._desks:
            desk.close()

    def _once_known(self, method: Callable[[Any], Any], request: Any) -> None:
        """Health hears of the roads a moment after they were published."""
        pause_s = 0.05
        for _ in range(int(_READY_S / pause_s)):
            try:
                method(request)
                return
            except grpc.RpcError as error:
                if problem_of(error).code is not grpc.StatusCode.FAILED_PRECONDITION or self._stopped.wait(pause_s):
                    raise
        method(request)

    # -- what people do ---------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        while not self._stopped.wait(self._every_s):
            self._quietly(self._report)

    def _report(self) -> None:
        edge = self._random.choice(self._roads)
        request = command.ReportEmergencyRequest(
            channel=self._random.choice(command.Channel.keys()[1:]),
            severity=self._random.choice(command.Severity.keys()[1:]),
            place=RoadPlace(edge_id=edge.edge_id, position_m=round(self._random.uniform(0, edge.length_m), 1)),
        )
        self._command.ReportEmergency(request)

    # -- what terminals and desks do --------------------------------------------------------------------------------------

    def _drive(self) -> None:
        """Ambulances drive, and report each stage of it."""
        while not self._stopped.is_set():
            try:
                for response in self._health.FollowMissions(health.FollowMissionsRequest(resume_token=self._token)):
                    for event in response.events:
                        self._hear(event)
                    self._token = response.resume_token
                    if self._stopped.is_set():
                        return
            except (grpc.RpcError, ValueError):
                # ValueError: gRPC says so of a connection that was closed.
                self._stopped.wait(0.5)

    def _hear(self, event: Event) -> None:
        if event.type == health_events.BedReserved.DESCRIPTOR.full_name:
            bed = health_events.BedReserved.FromString(event.data.value)
            pause_s = self._random.uniform(*_STAGE_S)
            ride = threading.Thread(target=self._ride, args=(bed, pause_s), name="synthetic ride", daemon=True)
            ride.start()

    def _ride(self, bed: health_events.BedReserved, pause_s: float) -> None:
        for stage in _STAGES:
            if self._stopped.wait(pause_s):
                return
            request = health.ReportMissionRequest(ambulance_id=bed.ambulance_id, incident_id=bed.incident_id, stage=stage)
            self._quietly(self._health.ReportMission, request)
        if not self._stopped.wait(10 * pause_s):
            leave = health.DischargePatientRequest(
                hospital_id=bed.hospital_id, incident_id=bed.incident_id, reason="well again"
            )
            self._quietly(self._health.DischargePatient, leave)

    def _acknowledge(self, district: str) -> None:
        """A desk that sees each notice."""
        desk = self._city.subscribe(district, begin="now")
        self._desks.append(desk)
        for heard in desk:
            notice = heard.message
            if isinstance(notice, hub_events.DistrictNotified):
                self._quietly(self._city.acknowledge, notice.district_id, notice.notice_id)
            if self._stopped.is_set():
                return

    def _quietly(self, work: Callable[..., Any], *arguments: Any) -> None:
        """What the city refuses or misses is part of its life: an ambulance may be taken, a notice withdrawn."""
        try:
            work(*arguments)
        except (grpc.RpcError, ValueError):
            return
