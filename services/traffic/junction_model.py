"""The queues of a junction by a model: under what its signal shows, and under what its plan would have shown to the same
vehicles.

A point queue for each lane: vehicles that come into view reach the stop line in free flow, and leave it at the rate of what
is green. The model errs in the same way on both sides, so the two are compared with each other, never with what is seen.
Seconds, vehicles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from citybrain.services.traffic import plan as plans
from citybrain.services.traffic.discharge import Seen
from citybrain.services.traffic.stages import SATURATION_PER_S, Staged, serves

WINDOW_S = 600.0
"""Waiting is compared over the last ten minutes."""

MINUTE_S = 60.0
GAP_S = 10.0
"""After a longer gap between two reports the model begins anew: nobody knows what came in it."""

_LEARNT_OVER_S = 900.0
# Of the vehicles that the plan's green could let through, as many are presumed to come where none has ever been seen.
_PRESUMED_LOAD = 0.3


@dataclass(frozen=True, slots=True)
class Waiting:
    """Vehicle seconds of waiting in a window of `window_s`: as seen, as foretold for what was shown, as foretold for the
    plan."""

    window_s: float
    seen_s: float
    shown_s: float
    plan_s: float


@dataclass(slots=True, kw_only=True)
class _Lane:
    load: float
    """Vehicles that come, a second."""
    arrive_s: float
    """Seconds to the stop line from where a vehicle comes into view."""
    in_view: float = 0.0
    # Vehicles that left the view without passing the stop line: they are in that of the lane beside it, and counted there.
    owed: float = 0.0
    shown: float = 0.0
    plan: float = 0.0
    # Vehicles on their way to the stop line, with the moment at which they reach it.
    under_way: deque[tuple[float, float]] = field(default_factory=deque)


@dataclass(slots=True)
class JunctionModel:
    """The model of one junction. `look` with each report; `now` must not go back."""

    staged: Staged
    _at: float | None = None
    _lanes: dict[str, _Lane] = field(default_factory=dict)
    _rates: dict[str, Mapping[str, float]] = field(default_factory=dict)
    _minutes: deque[Waiting] = field(default_factory=deque)
    _now: Waiting = Waiting(0.0, 0.0, 0.0, 0.0)

    def look(self, now: float, shown: str, lanes: Mapping[str, Seen], passed: Mapping[str, float]) -> None:
        """Takes in what was shown and seen since the report before. Lanes that are not in `lanes` are presumed to have their
        usual load."""
        took_s = now - self._at if self._at is not None else 0.0
        self._at = now
        if not 0.0 < took_s <= GAP_S:
            self._begin(lanes)
            return
        plan = self.staged.lights.plan
        by_plan = self._rate(plan.states[plans.at(plan, now - took_s).phase])
        by_shown = self._rate(shown)
        waited_shown = waited_plan = 0.0
        for name, lane in self._lanes.items():
            seen = lanes.get(name)
            come = lane.load * took_s if seen is None else self._come(lane, seen, passed.get(name, 0.0), took_s)
            if come > 0.0:
                lane.under_way.append((now + lane.arrive_s, come))
            while lane.under_way and lane.under_way[0][0] <= now:
                _, reached = lane.under_way.popleft()
                lane.shown += reached
                lane.plan += reached
            lane.shown = max(0.0, lane.shown - by_shown.get(name, 0.0) * took_s)
            lane.plan = max(0.0, lane.plan - by_plan.get(name, 0.0) * took_s)
            if seen is not None:
                waited_shown += lane.shown * took_s
                waited_plan += lane.plan * took_s
        waited = sum(seen.waiting for seen in lanes.values()) * took_s
        self._count(Waiting(took_s, waited, waited_shown, waited_plan))

    def presumed(self, lane: str) -> Seen:
        """What may wait on a lane that is not seen: its usual load, since its last green."""
        known = self._lanes.get(lane)
        return Seen(known.shown if known is not None else 0.0)

    def waiting(self) -> Waiting:
        """The last ten minutes, or as much as there is."""
        every = [*self._minutes, self._now]
        return Waiting(
            sum(one.window_s for one in every), sum(one.seen_s for one in every),
            sum(one.shown_s for one in every), sum(one.plan_s for one in every),
        )  # fmt: skip

    def forget(self) -> None:
        """Begins the window of waiting anew, with the queues that are seen on both sides."""
        self._minutes.clear()
        self._now = Waiting(0.0, 0.0, 0.0, 0.0)
        for lane in self._lanes.values():
            lane.plan = lane.shown

    def _begin(self, lanes: Mapping[str, Seen]) -> None:
        before, self._lanes = self._lanes, {}
        for name in self.staged.lights.lanes:
            waits = lanes[name].waiting if name in lanes else 0.0
            load = before[name].load if name in before else self._usual(name)
            self._lanes[name] = _Lane(
                load=load,
                arrive_s=self.staged.arrive_s[name][-1],
                in_view=lanes[name].vehicles if name in lanes else 0.0,
                shown=waits,
                plan=waits,
            )
        self._minutes.clear()
        self._now = Waiting(0.0, 0.0, 0.0, 0.0)

    def _usual(self, name: str) -> float:
        plan = self.staged.lights.plan
        green_s = sum(
            self._rate(state).get(name, 0.0) / SATURATION_PER_S * plan.length(phase) for phase, state in enumerate(plan.states)
        )
        return _PRESUMED_LOAD * SATURATION_PER_S * green_s / plan.cycle_s

    @staticmethod
    def _come(lane: _Lane, seen: Seen, passed: float, took_s: float) -> float:
        come = passed + seen.vehicles - lane.in_view - lane.owed
        lane.in_view, lane.owed = seen.vehicles, max(0.0, -come)
        come = max(0.0, come)
        lane.load += (come / took_s - lane.load) * min(1.0, took_s / _LEARNT_OVER_S)
        return come

    def _rate(self, state: str) -> Mapping[str, float]:
        found = self._rates.get(state)
        if found is None:
            found = self._rates[state] = serves(self.staged.lights, state)
        return found

    def _count(self, more: Waiting) -> None:
        now = self._now
        self._now = Waiting(
            now.window_s + more.window_s, now.seen_s + more.seen_s, now.shown_s + more.shown_s, now.plan_s + more.plan_s
        )
        if self._now.window_s >= MINUTE_S:
            self._minutes.append(self._now)
            self._now = Waiting(0.0, 0.0, 0.0, 0.0)
            while len(self._minutes) > WINDOW_S / MINUTE_S:
                self._minutes.popleft()
