"""One signal of an adaptive area, watched from report to report: what is seen before it, what was decided, and when it is
given back.

It is kept in memory only: after a restart a few seconds of reports bring it back, and until then the signal runs its plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from citybrain.traffic.v1 import area_control_pb2 as pb
from citybrain.traffic.v1.events_pb2 import SignalCommanded, SignalGivenBack

from citybrain.mesh.events import timestamp
from citybrain.services.traffic import area_control, lane_health, plan
from citybrain.services.traffic.area_control import Choice
from citybrain.services.traffic.conflicts import Lights
from citybrain.services.traffic.discharge import NOTHING, Seen
from citybrain.services.traffic.domain import SignalState
from citybrain.services.traffic.flows_seen import FlowsSeen
from citybrain.services.traffic.junction_model import WINDOW_S, JunctionModel, Waiting
from citybrain.services.traffic.lane_health import LaneHealth, Reported
from citybrain.services.traffic.loop_queue import LoopQueue
from citybrain.services.traffic.signal_timing import Shown
from citybrain.services.traffic.stages import ZONES, Staged

WORSE_BY = 1.1
"""A signal is given back when vehicles waited more than a tenth longer than they would have by the plan, over ten minutes."""

WORSE_S = 120.0
"""And that in vehicle seconds: a few seconds at an empty junction are nothing."""

BACK_FOR_S = 900.0
"""For so many seconds the plan runs then."""

UNSEEN_FOR_S = 60.0
"""So long it runs when most lanes are not seen; then it is looked at again."""

STEP_S = 1.0
"""What is decided by a report is shown from the second after it."""

FORGOTTEN_S = 30.0
"""After so long without a report a signal is watched anew: what is remembered of it is of another time."""

_MOST = 0.5


@dataclass(slots=True)
class Watch:
    """One signal. `look` with each report."""

    staged: Staged
    area_id: str
    model: JunctionModel
    green_at: list[float] = field(default_factory=list)
    health: dict[str, LaneHealth] = field(default_factory=dict)
    seen: Mapping[str, Seen] = field(default_factory=dict)
    choice: Choice | None = None
    back: SignalGivenBack | None = None
    back_until: float = -math.inf
    reported_at: float = -math.inf
    flows: FlowsSeen = field(default_factory=FlowsSeen)
    loops: dict[str, LoopQueue] = field(default_factory=dict)
    _lights: Lights | None = None

    @classmethod
    def of(cls, staged: Staged, area_id: str) -> Watch:
        """Begins to watch a signal."""
        return cls(staged, area_id, JunctionModel(staged))

    def look(
        self, at: float, state: SignalState, seen: pb.SignalTraffic
    ) -> tuple[SignalCommanded | None, SignalGivenBack | None]:
        """Takes a report in. Returns a command, and what is to be told; each None where there is none.

        `at` is when it was seen, in seconds since the epoch. A command made by it can be shown a second later.
        """
        came = self.count(at, seen)
        if came is None:
            return None, None
        shown, lanes, passed = came
        now, lights = at + STEP_S, self.staged.lights
        self.model.look(now, seen.state, lanes, passed)
        told = self._give_back(now, lanes)
        if now < self.back_until:
            # What it was commanded ends by itself, and then its plan runs.
            return None, told
        presumed = {name: self.model.presumed(name) for name in lights.lanes if name not in lanes}
        choice = area_control.choose(now, self.staged, state, shown, {**presumed, **lanes}, self.green_at)
        self.choice = choice or self.choice
        return (choice.command if choice is not None else None), told

    def goes_on(self, area_id: str, at: float) -> bool:
        """Whether a report of an area at a moment follows what is known."""
        return self.area_id == area_id and at - self.reported_at <= FORGOTTEN_S

    def count(self, at: float, seen: pb.SignalTraffic) -> tuple[Shown, Mapping[str, Seen], Mapping[str, float]] | None:
        """Takes a report in, and counts who passed; no more than that where the signal runs its plan.

        Returns what is shown, and of the lanes that are seen what is before them and who passed. None: it does not fit.
        """
        self.reported_at = at
        now, shown = at + STEP_S, Shown(seen.state, tuple(seen.since_s))
        if len(seen.state) != len(self.staged.lights.foes) or len(shown.since_s) != len(seen.state):
            return None
        lanes, passed = self._lanes(self._take(now, shown, {lane.lane_id: lane for lane in seen.lanes}))
        self.flows.look(now, passed)
        return shown, lanes, passed

    def prepared_from(self, lights: Lights) -> bool:
        """Whether the signal is still as it was when the watch began.

        All signals are prepared anew when one is registered: they are compared once, and known by identity from then on.
        """
        if self._lights is not lights and self.staged.lights != lights:
            return False
        self._lights = lights
        return True

    def unseen(self) -> list[pb.UnseenLane]:
        """The lanes that are not seen."""
        return [pb.UnseenLane(lane_id=name, fault=one.fault) for name, one in sorted(self.health.items()) if not one.is_seen]

    def _take(self, now: float, shown: Shown, came: Mapping[str, pb.LaneTraffic]) -> Mapping[str, Reported]:
        """Looks at the health of each lane; returns what is reported, by lane."""
        lights = self.staged.lights
        if not self.green_at:
            # Of what was before the first report no more is known than for how long each letter has stood.
            self.green_at = [now - (0.0 if c in plan.GREEN else s) for c, s in zip(shown.state, shown.since_s, strict=True)]
            self.health = {name: LaneHealth(reported_at=now) for name in lights.lanes}
        greens = {i for i, letter in enumerate(shown.state) if letter in plan.GREEN}
        for i in greens:
            self.green_at[i] = now
        cycle_s, health, reported = lights.plan.cycle_s, self.health, {}
        for name, letters in lights.lanes.items():
            lane = came.get(name)
            if lane is None:
                health[name] = lane_health.silent(health[name], now)
                continue
            green, fault = not greens.isdisjoint(letters), pb.LANE_FAULT_UNSPECIFIED
            if lane.HasField("loops"):
                loops = self._loops(name)
                reported[name], fault = loops.look(now, lane, green, cycle_s), loops.fault
            else:
                reported[name] = Reported.of(lane)
            health[name] = lane_health.reported(health[name], now, reported[name], green, cycle_s, fault)
        return reported

    def _loops(self, lane: str) -> LoopQueue:
        if lane not in self.loops:
            self.loops[lane] = LoopQueue(self.staged.speed_mps(lane))
        return self.loops[lane]

    def _lanes(self, came: Mapping[str, Reported]) -> tuple[Mapping[str, Seen], Mapping[str, float]]:
        """What is seen, and who passed, of the lanes that are seen. A lane that is not reported once is as it was."""
        lanes, passed = {}, {}
        for name, health in self.health.items():
            if not health.is_seen:
                continue
            lane = came.get(name)
            lanes[name] = self.seen.get(name, NOTHING) if lane is None else Seen(lane.waiting, lane.coming[:ZONES])
            passed[name] = 0.0 if lane is None else lane.passed
        self.seen = lanes
        return lanes, passed

    def _give_back(self, now: float, lanes: Mapping[str, Seen]) -> SignalGivenBack | None:
        """Gives the signal back where it does harm, or where too little is seen. Told once for each time."""
        if now < self.back_until:
            return None
        waiting = self.model.waiting()
        if len(lanes) <= _MOST * len(self.staged.lights.lanes):
            why, lasts_s = pb.BACK_TO_PLAN_UNSEEN, UNSEEN_FOR_S
        elif waiting.window_s >= WINDOW_S and is_worse(waiting):
            why, lasts_s = pb.BACK_TO_PLAN_WORSE, BACK_FOR_S
        else:
            self.back = None
            return None
        again = self.back is not None and self.back.why == why == pb.BACK_TO_PLAN_UNSEEN
        self.back_until = now + lasts_s
        self.back = SignalGivenBack(
            signal_id=self.staged.lights.signal_id, area_id=self.area_id, why=why,
            until=timestamp(round(self.back_until * 1e6)), foretold_s=round(waiting.shown_s, 1),
            foretold_plan_s=round(waiting.plan_s, 1), window_s=round(waiting.window_s), unseen_lanes=self.unseen(),
        )  # fmt: skip
        self.model.forget()
        return None if again else self.back


def is_worse(waiting: Waiting) -> bool:
    """Whether vehicles wait longer than by the plan, both by the model and by what is seen: either alone may err."""
    return waiting.shown_s > WORSE_BY * waiting.plan_s + WORSE_S and waiting.seen_s > waiting.plan_s
