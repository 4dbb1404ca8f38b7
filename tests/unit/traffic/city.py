"""A city of a few signals, second by second: controllers that play what they are told, and vehicles that drive through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.events_pb2 import PriorityGranted, SignalCommanded, SignalReported, VehicleLost, VehicleMissing
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.services.traffic import domain
from citybrain.services.traffic import network as networks
from citybrain.services.traffic.control import control
from citybrain.services.traffic.domain import SignalState
from citybrain.services.traffic.grants import Grant
from citybrain.services.traffic.street import Street, observe
from tests.unit.traffic import checker

LENGTH_M = 100.0


@dataclass
class Controller:
    """Plays a timing, then its plan; refuses what begins from something that it does not show."""

    signal: pb.Signal
    now: int
    history: list[str] = field(default_factory=list)
    coming: list[str] = field(default_factory=list)
    command: SignalCommanded | None = None
    reports: list[tuple[str, pb.SignalReport]] = field(default_factory=list)
    # Each second's purpose: what the interval played was for, or plan.
    purposes: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.history = checker.plan_history(self.signal, self.now)
        self.first = len(self.history)

    def hear(self, command: SignalCommanded) -> None:
        if command.from_state != self.history[-1]:
            self.reports.append((command.command_id, pb.SIGNAL_REPORT_REFUSED))
            return
        self.command = command
        self.queue = [(i.purpose, i.state) for i in command.intervals for _ in range(round(i.duration_s))]
        self.coming = checker.handed_back(self.signal, command, 2000)
        self.reports.append((command.command_id, pb.SIGNAL_REPORT_STARTED))

    def step(self) -> None:
        if self.command is not None and not self.queue:
            self.reports.append((self.command.command_id, pb.SIGNAL_REPORT_BACK_IN_PLAN))
            self.command = None
        if self.command is not None:
            purpose, state = self.queue.pop(0)
            self.owners.append(self.command.vehicle_id if purpose == "priority" else "")
        else:
            purpose, state = "plan", self.coming.pop(0) if self.coming else checker.plan_shows(self.signal, self.now)
            self.owners.append("")
        self.purposes.append(purpose)
        self.history.append(state)
        self.now += 1

    def holds(self) -> list[tuple[str, int, int]]:
        """(vehicle, first second, seconds) of each hold, counted from the beginning."""
        found: list[tuple[str, int, int]] = []
        for second, owner in enumerate(self.owners):
            if owner and found and found[-1][0] == owner and found[-1][1] + found[-1][2] == second:
                found[-1] = (owner, found[-1][1], found[-1][2] + 1)
            elif owner:
                found.append((owner, second, 1))
        return found


@dataclass
class Vehicle:
    """Drives its route from a second on, whatever signals show; stands or is silent where it is told so."""

    vehicle_id: str
    route: list[str]
    speed: float = 10.0
    driven_m: float = 0.0
    silent: bool = False
    stands: bool = False
    # Metres a second that it gets on by while it stands in a queue.
    creeps: float = 0.0
    edge: str = ""

    def step(self) -> None:
        self.driven_m += self.creeps if self.stands else self.speed

    def gone(self) -> bool:
        return self.driven_m >= LENGTH_M * len(self.route)

    def position(self) -> pb.VehiclePosition:
        index, metres = divmod(self.driven_m, LENGTH_M)
        return pb.VehiclePosition(
            vehicle_id=self.vehicle_id, edge_id=self.edge or self.route[int(index)], position_m=metres, speed_mps=self.speed,
            desired_speed_mps=self.speed, route_index=int(index),
        )  # fmt: skip


class City:
    """All of it; `second` runs one second and returns what was commanded in it."""

    def __init__(self, signals: Iterable[pb.Signal], now: int) -> None:
        self.now = now
        self.controllers = {s.signal_id: Controller(s, now) for s in signals}
        edges = sorted(
            {e for c in self.controllers.values() for li in c.signal.links for e in (li.from_edge_id, li.to_edge_id)}
        )
        self.network = networks.build(
            [RoadEdge(edge_id=edge, length_m=LENGTH_M, free_speed_mps=14) for edge in edges],
            [c.signal for c in self.controllers.values()],
        )
        self.states = {s: SignalState(signal=c.signal) for s, c in self.controllers.items()}
        self.grants: dict[str, Grant] = {}
        self.vehicles: dict[str, Vehicle] = {}
        self.street = Street()
        self.queues: Mapping[str, int] = {}
        self.commands: list[SignalCommanded] = []
        self.told: list[VehicleLost | VehicleMissing] = []
        # Signals whose controllers hear nothing, and those that hear but refuse.
        self.deaf: set[str] = set()
        self.unwilling: set[str] = set()
        # Signals that nobody observes.
        self.unseen: set[str] = set()

    def send(self, vehicle: Vehicle) -> None:
        """Lets a vehicle drive with priority."""
        self.vehicles[vehicle.vehicle_id] = vehicle
        name = vehicle.vehicle_id
        granted = PriorityGranted(incident_id=f"i-{name}", grant_id=f"g-{name}", vehicle_id=name, edge_ids=vehicle.route)
        self.grants[name] = Grant(granted)

    def release(self, vehicle_id: str) -> None:
        self.grants.pop(vehicle_id, None)

    def observations(self) -> pb.ReportObservationsRequest:
        return pb.ReportObservationsRequest(
            observed_at=Timestamp(seconds=self.now),
            vehicles=[v.position() for v in self.vehicles.values() if not v.silent and not v.gone()],
            queues=[pb.Queue(edge_id=edge, vehicles=n) for edge, n in self.queues.items()],
            signals=[
                pb.SignalShown(signal_id=name, state=c.history[-1], since_s=checker.stood(c.history))
                for name, c in self.controllers.items()
                if name not in self.unseen
            ],
        )

    def second(self) -> list[SignalCommanded]:
        self.street = observe(self.street, self.observations())
        step = control(self.now, self.network, self.states, self.grants.values(), self.street)
        self.street = step.street
        self.told += step.told
        assert len({c.signal_id for c in step.commands}) == len(step.commands)
        for command in step.commands:
            name = command.signal_id
            seen = self.states[name]
            for event in domain.command(seen, seen, command):
                self.states[name] = domain.evolve(self.states[name], event)
            if name in self.unwilling:
                self.controllers[name].reports.append((command.command_id, pb.SIGNAL_REPORT_REFUSED))
            elif name not in self.deaf:
                self.controllers[name].hear(command)
        self.commands += step.commands
        for controller in self.controllers.values():
            controller.step()
        for vehicle in self.vehicles.values():
            vehicle.step()
        self.now += 1
        self._report()
        return step.commands

    def run(self, seconds: int) -> list[SignalCommanded]:
        return [command for _ in range(seconds) for command in self.second()]

    def restart(self) -> None:
        """Forgets what was observed; what is written down stays."""
        self.street = Street()

    def _report(self) -> None:
        for name, controller in self.controllers.items():
            for command_id, report in controller.reports:
                request = pb.ReportSignalRequest(signal_id=name, command_id=command_id, report=report)
                for event in domain.report_signal(self.states[name], request):
                    assert isinstance(event, SignalReported)
                    self.states[name] = domain.evolve(self.states[name], event)
            controller.reports = []

    @property
    def lost(self) -> list[VehicleLost]:
        """Vehicles that fell silent."""
        return [event for event in self.told if isinstance(event, VehicleLost)]

    @property
    def missing(self) -> list[VehicleMissing]:
        """Vehicles that have been silent for long."""
        return [event for event in self.told if isinstance(event, VehicleMissing)]
