"""The ambulances on the road: from the station to the patient, a minute there, and with the patient to a hospital.

They are the same vehicles in every variant of a run (20 % faster than allowed, without variation between drivers) but for the
siren (siren.py), and stop in the same way (stops.py). An ambulance begins when its mission does, standing at its station; after
the hand-over, or when its mission is taken back, it leaves the road at once and counts as home again. Times are seconds of the
scenario; speeds in metres a second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from citybrain.health.v1 import health_service_pb2 as health
from citybrain.traffic.v1 import traffic_service_pb2 as traffic

from citybrain.simulation.network import Network
from citybrain.simulation.places import Place
from citybrain.simulation.siren import Siren
from citybrain.simulation.stops import AT_HAND_M, Stops
from citybrain.simulation.sumo import Sumo, SumoRefused

AT_SCENE_S = 60
SPEED_FACTOR = 1.2
_TYPE = "citybrain.ambulance"
_STANDING_MPS = 0.1

UNDER_WAY = health.MISSION_STAGE_UNDER_WAY
AT_SCENE = health.MISSION_STAGE_AT_SCENE
ON_BOARD = health.MISSION_STAGE_PATIENT_ON_BOARD
AT_HOSPITAL = health.MISSION_STAGE_AT_HOSPITAL


@dataclass(slots=True)
class Mission:
    """One ride. `route` grows by the way to the hospital when that is known. `index`: how many of its edges are driven."""

    incident_id: str
    ambulance_id: str
    vehicle_id: str
    station: Place
    scene: Place
    route: list[str]
    began: int
    scene_index: int
    entrance: Place | None = None
    index: int = 0
    stage: health.MissionStage = health.MISSION_STAGE_UNSPECIFIED
    departed: int | None = None
    at_scene: int | None = None
    left_scene: int | None = None
    at_hospital: int | None = None
    withdrawn: int | None = None
    red_waits: int = 0
    red_wait_s: int = 0
    # Signals that were passed, and those among them that were red for its movement.
    signals_passed: int = 0
    reds_run: int = 0
    teleports: int = 0
    lost: bool = False
    # Whether SUMO still has the shorter route.
    route_due: bool = False
    at_red: bool = False
    # Whether it is inside the junction at the end of its last edge.
    inside: bool = False
    # SUMO has taken it off the road and puts it back further on; it does not drive what lies between.
    taken: bool = False
    position_m: float = 0.0
    speed_mps: float = 0.0
    desired_mps: float = 0.0
    point: tuple[float, float] | None = None

    @property
    def ended(self) -> bool:
        """Whether the ride is over."""
        return self.at_hospital is not None or self.withdrawn is not None or self.lost

    def ride_s(self, now: int) -> int:
        """Seconds of driving to the hospital, without the stay at the scene; up to `now` if it is under way."""
        there = self.at_scene if self.at_scene is not None else now
        onward = 0 if self.left_scene is None else (self.at_hospital if self.at_hospital is not None else now) - self.left_scene
        return there - self.began + onward


@dataclass(slots=True)
class Fleet:
    """All missions of a run. In each second: `before`, the step, `after`."""

    sumo: Sumo
    network: Network
    siren: bool
    missions: list[Mission] = field(default_factory=list)
    _siren: Siren | None = field(init=False)
    _stops: Stops = field(init=False)

    def __post_init__(self) -> None:
        types = self.sumo.types
        types.copy("DEFAULT_VEHTYPE", _TYPE)
        types.setVehicleClass(_TYPE, "emergency")
        types.setShapeClass(_TYPE, "emergency")
        types.setLength(_TYPE, 6.5)
        types.setSpeedFactor(_TYPE, SPEED_FACTOR)
        types.setSpeedDeviation(_TYPE, 0.0)
        self._siren = Siren(self.sumo, self.network) if self.siren else None
        self._stops = Stops(self.sumo, self.network)

    def begin(self, incident_id: str, ambulance_id: str, station: Place, scene: Place, edge_ids: list[str]) -> Mission:
        """Starts a mission in the next second."""
        number = sum(m.ambulance_id == ambulance_id for m in self.missions) + 1
        mission = Mission(
            incident_id, ambulance_id, f"{ambulance_id}.{number}", station, scene, list(edge_ids), self.sumo.next_second,
            scene_index=len(edge_ids) - 1,
        )  # fmt: skip
        first = self.network.edges[edge_ids[0]]
        mission.position_m = min(max(station.position_m, 7.0), first.length_m - 0.1)
        mission.desired_mps = first.speed_mps * SPEED_FACTOR
        self.sumo.add_vehicle(mission.vehicle_id, _TYPE, edge_ids, mission.position_m)
        self.missions.append(mission)
        return mission

    def bring_to(self, mission: Mission, entrance: Place, edge_ids: list[str]) -> None:
        """Gives it the way from the patient to the hospital."""
        mission.entrance = entrance
        # The edge where the patient is stands in both ways.
        mission.route = mission.route[: mission.scene_index + 1] + list(edge_ids[1:])
        mission.route_due = True

    def withdraw(self, mission: Mission) -> None:
        """Takes the mission back: the ambulance leaves the road."""
        if not mission.ended:
            mission.withdrawn = self.sumo.next_second
            self.sumo.remove(mission.vehicle_id)

    def of(self, incident_id: str, ambulance_id: str) -> Mission | None:
        """The mission of an ambulance for an incident, if it has not ended."""
        for mission in self.missions:
            if (mission.incident_id, mission.ambulance_id) == (incident_id, ambulance_id) and not mission.ended:
                return mission
        return None

    @property
    def under_way(self) -> list[Mission]:
        """Missions that have not ended."""
        return [mission for mission in self.missions if not mission.ended]

    def after(self, second: int, shown: Mapping[str, str]) -> list[tuple[Mission, health.MissionStage]]:
        """Looks where every ambulance is after the step. Returns the stages that were reached. `shown`: letters by signal."""
        departed, arrived, teleported = self.sumo.departed(), self.sumo.arrived(), self.sumo.teleported()
        reached = []
        for mission in self.under_way:
            if mission.vehicle_id in departed:
                mission.departed = second
            if mission.vehicle_id in teleported:
                mission.teleports += 1
                mission.taken = True
            if mission.departed is None:
                continue
            if mission.vehicle_id in arrived:
                # A vehicle reaches the end of its route only past its stop.
                mission.lost = True
            elif self._look(mission, shown):
                reached += [(mission, stage) for stage in self._stages(mission, second)]
                self._drive_on(mission, shown)
                mission.taken = False
        return reached

    def position(self, mission: Mission) -> traffic.VehiclePosition:
        """The place that its terminal reports. Inside a junction that is still the end of the edge before."""
        return traffic.VehiclePosition(
            vehicle_id=mission.ambulance_id,
            edge_id=mission.route[mission.index],
            position_m=round(mission.position_m, 2),
            speed_mps=round(mission.speed_mps, 2),
            desired_speed_mps=round(mission.desired_mps, 2),
            route_index=mission.index,
        )

    def _look(self, mission: Mission, shown: Mapping[str, str]) -> bool:
        """Looks where it is. Returns whether it is on the road."""
        vehicles, vehicle_id = self.sumo.vehicles, mission.vehicle_id
        road = vehicles.getRoadID(vehicle_id)
        if not road:
            return False
        if road.startswith(":"):
            if not mission.inside and not mission.taken:
                self._pass_signal(mission, mission.index, shown)
            mission.inside = True
            mission.position_m = self.network.edges[mission.route[mission.index]].length_m
        else:
            # Only ahead: a route may pass an edge twice.
            if road in mission.route[mission.index :]:
                here = mission.route.index(road, mission.index)
                # A short junction may be passed between two looks.
                for passed in range(mission.index + mission.inside, here) if not mission.taken else ():
                    self._pass_signal(mission, passed, shown)
                mission.index = here
            mission.inside = False
            mission.position_m = max(0.0, float(vehicles.getLanePosition(vehicle_id)))
            mission.desired_mps = float(vehicles.getAllowedSpeed(vehicle_id))
        mission.speed_mps = max(0.0, float(vehicles.getSpeed(vehicle_id)))
        x, y = vehicles.getPosition(vehicle_id)
        mission.point = (round(x, 1), round(y, 1))
        at_red = mission.speed_mps < _STANDING_MPS and not self._stopped(mission) and self._red_ahead(mission, shown)
        mission.red_waits += at_red and not mission.at_red
        mission.red_wait_s += at_red
        mission.at_red = at_red
        return True

    def _pass_signal(self, mission: Mission, index: int, shown: Mapping[str, str]) -> None:
        """Counts the signal at the end of an edge that it leaves, if there is one."""
        ways = mission.route[index : index + 2]
        letters = self.network.letters(ways[0], ways[-1], shown)
        mission.signals_passed += letters != ""
        # `u`: red and yellow together, before green.
        mission.reds_run += letters != "" and set(letters) <= set("ru")

    def _red_ahead(self, mission: Mission, shown: Mapping[str, str]) -> bool:
        ahead = mission.route[mission.index : mission.index + 2]
        return self.network.is_held(ahead[0], ahead[-1], shown)

    def _stages(self, mission: Mission, second: int) -> list[health.MissionStage]:
        reached = []
        if mission.stage < UNDER_WAY:
            reached.append(UNDER_WAY)
        if mission.at_scene is None:
            if self._stopped(mission) and mission.index >= mission.scene_index:
                mission.at_scene = second
                reached.append(AT_SCENE)
        elif mission.left_scene is None:
            if second - mission.at_scene >= AT_SCENE_S:
                if mission.stage < ON_BOARD:
                    reached.append(ON_BOARD)
                if mission.entrance is not None and not mission.route_due:
                    mission.left_scene = second
                    self.sumo.resume(mission.vehicle_id)
                    self._stops.forget(mission.vehicle_id)
        elif self._stopped(mission):
            mission.at_hospital = second
            reached.append(AT_HOSPITAL)
            self.sumo.remove(mission.vehicle_id)
        if reached:
            mission.stage = reached[-1]
        return reached

    def _drive_on(self, mission: Mission, shown: Mapping[str, str]) -> None:
        """Tells SUMO what is due for the next second. What SUMO refuses, inside a junction for example, is due again then."""
        if mission.ended:
            return
        if mission.route_due:
            with contextlib.suppress(SumoRefused):
                self.sumo.reroute(mission.vehicle_id, mission.route[mission.index :])
                mission.route_due = False
        if self._stopped(mission):
            if self._siren is not None:
                self._siren.silence(mission.vehicle_id)
            return
        first = mission.index + mission.inside
        position_m = 0.0 if mission.inside else mission.position_m
        place, last = mission.scene, mission.scene_index
        if mission.left_scene is not None and mission.entrance is not None:
            place, last = mission.entrance, len(mission.route) - 1
        if first > last or (first == last and mission.taken and position_m > place.position_m + AT_HAND_M):
            # SUMO has put it back on the road past its stop.
            mission.lost = True
            self.sumo.remove(mission.vehicle_id)
            return
        self._stops.approach(mission.vehicle_id, mission.route[first : last + 1], position_m, place)
        if self._siren is not None:
            self._siren.sound(mission.vehicle_id, mission.route[first:], position_m, shown)

    def _stopped(self, mission: Mission) -> bool:
        return bool(self.sumo.vehicles.isStopped(mission.vehicle_id))
