"""A junction whose signal follows the traffic, second by second: vehicles come, wait, and leave while their lane has green."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from citybrain.traffic.v1 import area_control_pb2 as pb
from citybrain.traffic.v1.events_pb2 import SignalCommanded, SignalGivenBack, SignalReported
from citybrain.traffic.v1.traffic_service_pb2 import ReportSignalRequest, Signal

from citybrain.services.traffic import conflicts, domain
from citybrain.services.traffic.domain import SignalState
from citybrain.services.traffic.stages import stage
from citybrain.services.traffic.watch import Watch
from tests.unit.traffic import checker
from tests.unit.traffic.city import Controller

Camera = Callable[[int, pb.LaneTraffic], pb.LaneTraffic | None]
"""What a camera makes of what is there, by the second since the beginning; None: it says nothing."""


def with_lanes(signal: Signal, lanes: Mapping[int, str] | None = None) -> Signal:
    """The signal with a lane for each of its letters, or with the lanes given."""
    made = Signal()
    made.CopyFrom(signal)
    for link in made.links:
        name = f"{link.from_edge_id}_{link.index}" if lanes is None else lanes.get(link.index, "")
        if name:
            link.lane_ids.append(name)
    return made


class Junction:
    """`come`: vehicles a second by lane. Each reaches the stop line at once, and needs two seconds of green."""

    def __init__(
        self, signal: Signal, now: int, come: Mapping[str, float], cameras: Mapping[str, Camera] | None = None
    ) -> None:
        self.signal, self.began, self.now = signal, now, now
        self.come, self.cameras = dict(come), dict(cameras or {})
        self.staged = stage(conflicts.prepare(signal), {})
        self.watch = Watch.of(self.staged, "area")
        self.state = SignalState(signal=signal)
        self.controller = Controller(signal, now)
        self.queues: dict[str, float] = dict.fromkeys(self.staged.lights.lanes, 0.0)
        self.owed: dict[str, float] = dict.fromkeys(self.queues, 0.0)
        self.passed: dict[str, float] = dict.fromkeys(self.queues, 0.0)
        self.waited_s = 0.0
        self.commands: list[SignalCommanded] = []
        self.told: list[SignalGivenBack] = []
        self.deaf = False
        self._stood = checker.stood(self.controller.history)

    def report(self) -> pb.SignalTraffic:
        """What is seen now."""
        history = self.controller.history
        lanes = []
        for name, waiting in self.queues.items():
            camera = self.cameras.get(name)
            true = pb.LaneTraffic(lane_id=name, waiting=int(waiting), passed=self.passed[name])
            said = true if camera is None else camera(self.now - self.began, true)
            if said is not None:
                lanes.append(said)
        return pb.SignalTraffic(signal_id=self.signal.signal_id, state=history[-1], since_s=self._stood, lanes=lanes)

    def second(self) -> SignalCommanded | None:
        """One second; returns what was commanded in it."""
        command, told = self.watch.look(float(self.now - 1), self.state, self.report())
        if told is not None:
            self.told.append(told)
        if command is not None:
            self.commands.append(command)
            self.state = domain.evolve(self.state, command)
            if not self.deaf:
                self.controller.hear(command)
        self.controller.step()
        before, now = self.controller.history[-2:]
        self._stood = [s + 1.0 if a == b else 1.0 for a, b, s in zip(before, now, self._stood, strict=True)]
        self._drive(now)
        self.now += 1
        for command_id, report in self.controller.reports:
            request = ReportSignalRequest(signal_id=self.signal.signal_id, command_id=command_id, report=report)
            for event in domain.report_signal(self.state, request):
                assert isinstance(event, SignalReported)
                self.state = domain.evolve(self.state, event)
        self.controller.reports = []
        return command

    def run(self, seconds: int) -> Sequence[SignalCommanded]:
        """Some seconds; returns what was commanded in them."""
        return [command for _ in range(seconds) if (command := self.second()) is not None]

    def by_plan(self, seconds: int) -> float:
        """Vehicle seconds of waiting in the next seconds if nothing were commanded."""
        other = Junction(self.signal, self.now, self.come)
        other.queues = dict(self.queues)
        for _ in range(seconds):
            other.controller.step()
            other._drive(other.controller.history[-1])
            other.now += 1
        return other.waited_s

    @property
    def shown(self) -> list[str]:
        """What has been shown, second by second."""
        return self.controller.history[self.controller.first :]

    def faults(self) -> list[str]:
        """Breaches of the rules in seconds that the plan alone did not make."""
        history, first = self.controller.history, self.controller.first
        found = checker.faults(self.signal, history[:first], history[first:], least_clear=1)
        found += checker.short_greens(history[:first], history[first:])
        return [fault for fault in found if not self._by_plan(int(fault.partition(":")[0]) - first)]

    def _by_plan(self, second: int) -> bool:
        return {"plan"} == set(self.controller.purposes[max(0, second - 1) : second + 1])

    def _drive(self, state: str) -> None:
        for name, letters in self.staged.lights.lanes.items():
            self.owed[name] += self.come.get(name, 0.0)
            arrived = int(self.owed[name])
            self.owed[name] -= arrived
            self.queues[name] += arrived
            green = all(state[i] in "Gg" for i in letters)
            left = min(self.queues[name], 0.5) if green else 0.0
            self.queues[name] -= left
            self.passed[name] = left
            self.waited_s += self.queues[name]
