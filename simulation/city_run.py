"""A run with the city: drives the traffic and city time, and plays everybody who is outside of the mesh.

Each second: the traffic moves, everybody reports, callers call, and everything that comes back is acted on, until a round
brings nothing new, or the second is over (rhythm.py); only then city time moves on by a second. Calls are made one after
another in a fixed order. When the last emergency has ended and every signal is back in its plan, the mesh is left alone, and
only the traffic goes on to the end of the run. It is long because all who are outside of the mesh are played here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1 import events_pb2 as hub_events
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.events.v1.event_pb2 import Event
from citybrain.health.v1 import events_pb2 as health_events
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.traffic.v1 import area_control_pb2 as area_control
from citybrain.traffic.v1 import events_pb2 as traffic_events
from citybrain.traffic.v1 import traffic_service_pb2 as traffic

from citybrain.simulation.ambulances import Mission
from citybrain.simulation.cameras import Cameras
from citybrain.simulation.gateway_client import Gateway, Refused
from citybrain.simulation.moments import city_time
from citybrain.simulation.network import signal_messages
from citybrain.simulation.observing import Detectors, observation
from citybrain.simulation.output import Tell
from citybrain.simulation.places import Call, Place, Places
from citybrain.simulation.plans import proposed
from citybrain.simulation.registering import HEALTH, HUB, TRAFFIC, register, road_place
from citybrain.simulation.results import run_result
from citybrain.simulation.rhythm import Rhythm
from citybrain.simulation.rides import HOSPITAL, RIDE, WITHDRAWN, carry_out, place_json
from citybrain.simulation.signals import Report
from citybrain.simulation.street import Street

COMMAND = "citybrain.emergency_command.v1.EmergencyCommandService"
CHANNELS = (command.CHANNEL_PHONE, command.CHANNEL_APP, command.CHANNEL_WEARABLE, command.CHANNEL_PATROL)
SEVERITIES = {
    "MINOR": command.SEVERITY_MINOR,
    "SERIOUS": command.SEVERITY_SERIOUS,
    "CRITICAL": command.SEVERITY_CRITICAL,
}
SPEEDS_EVERY_S = 60
PROGRESS_EVERY_S = 10
ADAPTIVE_ENDS_S = 180
"""So many seconds before the end of the run signals are given back to their plans: at the end each must be in it."""
_MISSIONS, _SIGNALS = "missions", "signals"


class CityRun:
    """One run; `drive` once."""

    def __init__(
        self,
        gateway: Gateway,
        rhythm: Rhythm,
        street: Street,
        places: Places,
        calls: list[Call],
        tell: Tell,
        *,
        adaptive: bool = False,
    ) -> None:
        """`adaptive`: all signals follow the traffic that cameras see before them; then the mesh is needed to the end."""
        self._gateway = gateway
        self._rhythm = rhythm
        self._street = street
        self._places = places
        self._tell = tell
        self._detectors = Detectors(street)
        self._cameras = Cameras(street) if adaptive else None
        self._calls_due = sorted(calls, key=lambda call: (call.at_s, call.number))
        self._heard: set[str] = set()
        self._trace_of: dict[str, str] = {}
        self._beds: dict[str, health_events.BedReserved] = {}
        self._open: set[str] = set()
        self._replanned: set[str] = set()
        self.calls: dict[str, dict[str, Any]] = {}
        """The call of each incident, as the result shows it."""
        self.refused_calls = 0
        """Calls from outside that the mesh refused."""

    def drive(self, seed: int, end: int, tracks_file: Path | None = None, lost_time_file: Path | None = None) -> dict[str, Any]:
        """Drives up to `end`, the first second of the scenario that is not driven. Returns the result."""
        street = self._street
        self._gateway.advance(street.begin)
        register(self._gateway, street.network, street.plans, self._places)
        self._follow()
        self._settle()
        self._adapt(area_control.CONTROL_STRATEGY_ADAPTIVE, "every signal follows the traffic before it")
        driven_until = None
        while (second := street.sumo.next_second) < end:
            happened = street.advance()
            if driven_until is None:
                for report in happened.reports:
                    self._report_signal(report)
                self._replanned.update(happened.replanned)
                self._register_plans(second)
                self._observe(second)
                self._see(second)
                if second == end - ADAPTIVE_ENDS_S:
                    self._adapt(area_control.CONTROL_STRATEGY_FIXED_PLAN, "the run ends")
                for mission, stage in happened.stages:
                    self._report_stage(mission, stage, second)
                self._call(second)
                self._settle()
                self._gateway.advance(second + 1)
                self._settle(over=True)
                if self._cameras is None and self._nothing_open and self._rhythm.quiet:
                    driven_until = second
                    self._tell("emergencies_ended", second=second)
            if driven_until is None or second % PROGRESS_EVERY_S == 0 or second == end - 1:
                self._tell(
                    "progress", second=second, vehicles=street.sumo.running(), under_way=len(street.fleet.under_way)
                )  # fmt: skip
        street.finish(tracks_file, lost_time_file)
        gateway = self._gateway
        mesh = {
            "calls": gateway.calls, "retries": gateway.retries, "refused": self.refused_calls, "dropped": gateway.dropped,
            "reopened": gateway.reopened,
            "position": gateway.position, "driven_until": driven_until,
        }  # fmt: skip
        return {**run_result("city", street, seed, end, self.calls), "mesh": mesh}

    # -- what people and devices outside report --------------------------------------------------------------------

    def _follow(self) -> None:
        self._gateway.follow(
            _MISSIONS,
            f"{HEALTH}/FollowMissions",
            lambda token: health.FollowMissionsRequest(resume_token=token),
            health.FollowMissionsResponse,
        )
        # Ambulances drive even when the traffic sector or the hub is away.
        self._gateway.follow(
            _SIGNALS,
            f"{TRAFFIC}/FollowSignalCommands",
            lambda token: traffic.FollowSignalCommandsRequest(resume_token=token),
            traffic.FollowSignalCommandsResponse,
            optional=True,
        )
        for district in self._places.districts:
            self._gateway.follow(
                f"district-{district.district_id}",
                f"{HUB}/Subscribe",
                lambda token, name=district.district_id: hub.SubscribeRequest(district_id=name, resume_token=token),  # type: ignore[misc]
                hub.SubscribeResponse,
                optional=True,
            )

    def _observe(self, second: int) -> None:
        self._detectors.sample(second)
        request = observation(self._street, self._detectors, second, with_speeds=second % SPEEDS_EVERY_S == 0)
        if request is not None:
            method = f"{TRAFFIC}/ReportObservations"
            self._gateway.call_if_there(method, request, traffic.ReportObservationsResponse, f"observed-{second}")

    def _adapt(self, strategy: area_control.ControlStrategy, reason: str) -> None:
        if self._cameras is None:
            return
        request = area_control.ApplyControlStrategyRequest(
            area_id=self._street.scenario.name, strategy=strategy, signal_ids=self._cameras.signal_ids, reason=reason
        )
        method = f"{TRAFFIC}/ApplyControlStrategy"
        self._gateway.call(method, request, area_control.ApplyControlStrategyResponse, f"strategy-{strategy}")
        self._settle()

    def _see(self, second: int) -> None:
        if self._cameras is None:
            return
        request = area_control.ReportSignalTrafficRequest(
            observed_at=city_time(second), signals=self._cameras.look(second, self._cameras.signal_ids)
        )
        method = f"{TRAFFIC}/ReportSignalTraffic"
        self._gateway.call_if_there(method, request, area_control.ReportSignalTrafficResponse, f"seen-{second}")

    def _report_stage(self, mission: Mission, stage: health.MissionStage, second: int) -> None:
        self._tell(
            "stage", second=second, incident_id=mission.incident_id, ambulance_id=mission.ambulance_id, stage=stage
        )  # fmt: skip
        request = health.ReportMissionRequest(
            ambulance_id=mission.ambulance_id, incident_id=mission.incident_id, stage=stage
        )  # fmt: skip
        try:
            self._gateway.call(
                f"{HEALTH}/ReportMission", request, health.ReportMissionResponse, f"stage-{mission.vehicle_id}-{stage}",
                traceparent=self._trace_of.get(mission.vehicle_id, ""),
            )  # fmt: skip
        except Refused as refused:
            self._no(second, refused)

    def _report_signal(self, report: Report) -> None:
        request = traffic.ReportSignalRequest(
            signal_id=report.signal_id, command_id=report.command_id, report=report.report, state=report.state
        )
        try:
            self._gateway.call_if_there(
                f"{TRAFFIC}/ReportSignal", request, traffic.ReportSignalResponse,
                f"signal-{report.command_id}-{report.report}", traceparent=report.traceparent,
            )  # fmt: skip
        except Refused as refused:
            self._no(self._street.sumo.next_second - 1, refused)

    def _register_plans(self, second: int) -> None:
        """Reports signals whose plan changed by the time of day. A controlled one is tried again in the next second."""
        plans = {signal_id: self._street.plans[signal_id] for signal_id in self._replanned}
        self._replanned.clear()
        for signal in signal_messages(self._street.network, plans):
            request = traffic.RegisterSignalRequest(signal=signal)
            name = f"signal-{signal.signal_id}-{second}"
            try:
                self._gateway.call_if_there(f"{TRAFFIC}/RegisterSignal", request, traffic.RegisterSignalResponse, name)
            except Refused as refused:
                if refused.code is not grpc.StatusCode.FAILED_PRECONDITION:
                    self._no(second, refused)
                    continue
                self._replanned.add(signal.signal_id)

    def _call(self, second: int) -> None:
        while self._calls_due and self._street.begin + self._calls_due[0].at_s <= second:
            call = self._calls_due.pop(0)
            request = command.ReportEmergencyRequest(
                channel=CHANNELS[(call.number - 1) % len(CHANNELS)],
                severity=SEVERITIES[call.severity],
                place=road_place(call.place),
                another_patient=True,
            )
            known = {"call": call.number, "called_at": second, "place": place_json(call.place), "severity": call.severity}
            try:
                answer = self._gateway.call(
                    f"{COMMAND}/ReportEmergency", request, command.ReportEmergencyResponse, f"call-{call.number}"
                )
            except Refused as refused:
                self.calls[f"refused-{call.number}"] = {**known, "refused": str(refused)}
                self._no(second, refused)
                continue
            incident_id = answer.incident.incident_id
            self._open.add(incident_id)
            self.calls[incident_id] = known
            self._tell("call", second=second, incident_id=incident_id, **known)

    def _no(self, second: int, refused: Refused) -> None:
        self.refused_calls += 1
        self._tell("refused", second=second, why=str(refused))

    # -- what the mesh tells people and devices outside ------------------------------------------------------------

    @property
    def _nothing_open(self) -> bool:
        return not self._calls_due and not self._open and not self._street.controllers.controlled()

    def _settle(self, *, over: bool = False) -> None:
        """Acts on what the mesh says, until the rhythm of the run goes on."""
        for events in self._rhythm.rounds(over=over):
            for event in events:
                if event.id not in self._heard:
                    self._heard.add(event.id)
                    self._hear(event)

    def _hear(self, event: Event) -> None:
        kind = event.type
        if kind == health_events.AmbulanceReserved.DESCRIPTOR.full_name:
            self._reserved(health_events.AmbulanceReserved.FromString(event.data.value), event.traceparent)
        elif kind == health_events.BedReserved.DESCRIPTOR.full_name:
            self._bed(health_events.BedReserved.FromString(event.data.value))
        elif kind == health_events.AmbulanceReleased.DESCRIPTOR.full_name:
            self._released(health_events.AmbulanceReleased.FromString(event.data.value))
        elif kind == traffic_events.SignalCommanded.DESCRIPTOR.full_name:
            refusal = self._street.controllers.hear(
                traffic_events.SignalCommanded.FromString(event.data.value), event.traceparent
            )  # fmt: skip
            if refusal is not None:
                self._report_signal(refusal)
        elif kind == traffic_events.PlanApproved.DESCRIPTOR.full_name:
            self._take_up(traffic_events.PlanApproved.FromString(event.data.value))
        elif kind == hub_events.DistrictNotified.DESCRIPTOR.full_name:
            self._acknowledge(hub_events.DistrictNotified.FromString(event.data.value), event.traceparent)

    def _take_up(self, approved: traffic_events.PlanApproved) -> None:
        for program in approved.programs:
            today = self._street.plans.get(program.signal_id)
            if today is not None:
                self._street.take_up(proposed(program, approved.proposal_id, today))

    def _reserved(self, reserved: health_events.AmbulanceReserved, traceparent: str) -> None:
        call = self.calls.get(reserved.incident_id, {})
        # A new reservation may follow one that was released.
        self._open.add(reserved.incident_id)
        mission = self._order(
            RIDE,
            reserved.incident_id,
            reserved.ambulance_id,
            call=call.get("call"),
            called_at=call.get("called_at"),
            station=_json(reserved.station),
            scene=_json(reserved.place),
            edges=list(reserved.route.edge_ids),
            expected_s=round(reserved.route.travel_time_s, 1),
        )
        if mission is not None:
            self._trace_of[mission.vehicle_id] = traceparent
        if reserved.incident_id in self._beds:
            self._bed(self._beds[reserved.incident_id])

    def _bed(self, bed: health_events.BedReserved) -> None:
        self._beds[bed.incident_id] = bed
        for mission in self._street.fleet.under_way:
            if mission.incident_id == bed.incident_id and mission.entrance is None:
                self._order(
                    HOSPITAL,
                    bed.incident_id,
                    mission.ambulance_id,
                    hospital_id=bed.hospital_id,
                    entrance=_json(bed.entrance),
                    edges=list(bed.route.edge_ids),
                    expected_s=round(bed.route.travel_time_s, 1),
                )

    def _released(self, released: health_events.AmbulanceReleased) -> None:
        self._open.discard(released.incident_id)
        if self._street.fleet.of(released.incident_id, released.ambulance_id) is not None:
            self._order(WITHDRAWN, released.incident_id, released.ambulance_id, reason=released.reason)

    def _order(self, kind: str, incident_id: str, ambulance_id: str, **values: Any) -> Mission | None:
        """Gives an order to an ambulance, and prints it so that other runs can drive the same."""
        order = {"second": self._street.sumo.next_second, "incident_id": incident_id, "ambulance_id": ambulance_id, **values}
        mission = carry_out({"kind": kind, **order}, self._street.fleet)
        self._tell(kind, **order)
        return mission

    def _acknowledge(self, notice: hub_events.DistrictNotified, traceparent: str) -> None:
        request = hub.AcknowledgeNoticeRequest(notice_id=notice.notice_id, district_id=notice.district_id)
        try:
            self._gateway.call_if_there(
                f"{HUB}/AcknowledgeNotice", request, hub.AcknowledgeNoticeResponse, f"notice-{notice.notice_id}",
                traceparent=traceparent,
            )  # fmt: skip
        except Refused as refused:
            self._no(self._street.sumo.next_second - 1, refused)


def _json(place: RoadPlace) -> dict[str, Any]:
    return place_json(Place(place.edge_id, place.position_m))
