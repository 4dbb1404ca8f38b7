"""Controllers of signals in the street, without a street: they follow commands, carry them out, say so, and show their plans.

What is seen before the signals is drawn by a seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from citybrain.traffic.v1 import area_control_pb2 as control
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb

from citybrain.mesh.events import timestamp
from citybrain.services.traffic import conflicts, signal_timing
from citybrain.services.traffic import plan as plans
from citybrain.services.traffic.conflicts import Lights
from citybrain.services.traffic.domain import commanded_at
from citybrain.services.traffic.signal_timing import Shown
from citybrain.services.traffic.watch import STEP_S

LATE_S = 0.4
"""A command that is heard later than this after its moment is refused: in the second that it was made for, or not at all."""

_PATIENCE_S = 60.0
_AT_ONCE = 50


@dataclass
class Light:
    """A signal in the street, and the commands that it carries out, the newest last."""

    lights: Lights
    area: int
    commands: list[ev.SignalCommanded] = field(default_factory=list)

    def shown(self, now: float) -> Shown:
        """What it shows at a moment, also at one that has passed."""
        plan = self.lights.plan
        begun = [one for one in self.commands if commanded_at(one) <= now]
        if begun:
            command = begun[-1]
            # When the timing has ended, the plan is met in a phase that has so much left.
            met = ev.SignalInterval(state=plan.states[command.plan_phase], duration_s=command.plan_phase_left_s)
            along = signal_timing.along(command.from_state, [*command.intervals, met], now - commanded_at(command))
            if along is not None:
                return along
        return Shown(plan.states[plans.at(plan, now).phase], plans.stood(plan, now))

    def take(self, command: ev.SignalCommanded) -> None:
        """Carries a command out from its moment on."""
        self.commands = [*self.commands[-2:], command]


@dataclass
class Street:
    """All signals, and what was heard. `areas`: how many there are. `spread`: areas report one after the other in a second."""

    stub: Any
    token: tuple[str, str]
    lights: Mapping[str, Light]
    areas: int
    spread: bool = True
    draw: random.Random = field(default_factory=lambda: random.Random(1000))
    # From a report until its command was heard, in seconds.
    took_s: list[float] = field(default_factory=list)
    commanded: set[str] = field(default_factory=set)
    # When each area was reported last of which a command was heard.
    decided: dict[int, float] = field(default_factory=dict)
    refused: int = 0
    # Second → signal → what it showed.
    history: dict[int, dict[str, str]] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something beside the rest."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def call(self, method: str, request: Any) -> None:
        """Calls; what is not answered is left out, as a controller does that reports again soon."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            await getattr(self.stub, method)(request, timeout=10, metadata=[self.token])

    async def report(self) -> None:
        """Reports each area once a second, until it is cancelled."""
        turn = int(time.time()) + 1
        while True:
            for area in range(self.areas):
                at = turn + (area / self.areas if self.spread else 0.0)
                await asyncio.sleep(max(0.0, at - time.time()))
                self.soon(self._report(self.of_area(area), at))
            turn += 1

    async def watch(self) -> None:
        """Notes what is shown in the middle of each second, until it is cancelled."""
        second = int(time.time()) + 1
        while True:
            await asyncio.sleep(max(0.0, second + 0.5 - time.time()))
            self.history[second] = {name: light.shown(second + 0.5).state for name, light in self.lights.items()}
            second += 1

    def is_decided_on_after(self, moment: float) -> bool:
        """Whether of every area something was commanded from a report after a moment."""
        return len(self.decided) == self.areas and all(at > moment for at in self.decided.values())

    def of_area(self, area: int) -> list[str]:
        """Its signals."""
        return [name for name, light in self.lights.items() if light.area == area]

    async def _report(self, signals: Sequence[str], now: float) -> None:
        seen = [self._seen(self.lights[name], now) for name in signals]
        request = control.ReportSignalTrafficRequest(observed_at=timestamp(int(now * 1e6)), signals=seen)
        await self.call("ReportSignalTraffic", request)

    def _seen(self, light: Light, now: float) -> control.SignalTraffic:
        draw, shown = self.draw.randrange, light.shown(now)
        lanes = [
            control.LaneTraffic(lane_id=lane, waiting=draw(8), coming=[draw(2) for _ in range(6)], passed=draw(2))
            for lane in light.lights.lanes
        ]
        return control.SignalTraffic(signal_id=light.lights.signal_id, state=shown.state, since_s=shown.since_s, lanes=lanes)

    async def follow(self) -> None:
        """Hears commands, and carries them out, until it is cancelled; a stream that breaks is opened anew."""
        token = ""
        while True:
            request = pb.FollowSignalCommandsRequest(resume_token=token)
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for response in self.stub.FollowSignalCommands(request, metadata=[self.token]):
                    token = response.resume_token or token
                    for event in response.events:
                        command = ev.SignalCommanded()
                        if event.data.Unpack(command):
                            self._hear(command)
            await asyncio.sleep(0.05)

    def _hear(self, command: ev.SignalCommanded) -> None:
        light, reported = self.lights[command.signal_id], commanded_at(command) - STEP_S
        self.took_s.append(time.time() - reported)
        self.commanded.add(command.signal_id)
        self.decided[light.area] = max(reported, self.decided.get(light.area, 0.0))
        self.soon(self._carry_out(light, command))

    async def _carry_out(self, light: Light, command: ev.SignalCommanded) -> None:
        begins = commanded_at(command)
        await asyncio.sleep(max(0.0, begins - time.time()))
        if light.shown(begins).state != command.from_state or time.time() - begins > LATE_S:
            self.refused += 1
            await self._tell(light, command, pb.SIGNAL_REPORT_REFUSED)
            return
        light.take(command)
        await self._tell(light, command, pb.SIGNAL_REPORT_STARTED)
        await asyncio.sleep(max(0.0, begins + sum(one.duration_s for one in command.intervals) - time.time()))
        if light.commands[-1] is command:
            await self._tell(light, command, pb.SIGNAL_REPORT_BACK_IN_PLAN)

    async def _tell(self, light: Light, command: ev.SignalCommanded, report: pb.SignalReport) -> None:
        said = pb.ReportSignalRequest(
            signal_id=command.signal_id, command_id=command.command_id, report=report, state=light.shown(time.time()).state
        )
        await self.call("ReportSignal", said)


async def registered(
    stub: Any, token: tuple[str, str], signals: Sequence[pb.Signal], areas: int, *, spread: bool = True
) -> Street:
    """All signals, in areas that follow the traffic."""
    lights = {
        signal.signal_id: Light(conflicts.prepare(signal), number * areas // len(signals))
        for number, signal in enumerate(signals)
    }
    for begin in range(0, len(signals), _AT_ONCE):
        asked = [pb.RegisterSignalRequest(signal=signal) for signal in signals[begin : begin + _AT_ONCE]]
        await asyncio.gather(*(stub.RegisterSignal(one, timeout=60, metadata=[token]) for one in asked))
    street = Street(stub, token, lights, areas, spread)
    for area in range(areas):
        adaptive = control.ApplyControlStrategyRequest(
            area_id=f"area {area}", strategy=control.CONTROL_STRATEGY_ADAPTIVE, signal_ids=street.of_area(area), reason="test"
        )
        await _until_taken(stub, token, adaptive)
    return street


async def _until_taken(stub: Any, token: tuple[str, str], asked: control.ApplyControlStrategyRequest) -> None:
    """Signals are known where they are listed a moment after they were registered."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            await stub.ApplyControlStrategy(asked, timeout=10, metadata=[token])
            return
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.FAILED_PRECONDITION or time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)


async def until(is_so: Callable[[], bool]) -> None:
    """Waits until something is so. TimeoutError: it never was."""
    end = time.monotonic() + _PATIENCE_S
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("it never came to be")
        await asyncio.sleep(0.01)
