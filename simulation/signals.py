"""The signal controllers in the street: each plays the timing it was commanded, then goes back into its plan by itself.

A command is accepted only when the signal showed, in the last second, the state that the command begins from; otherwise it
is refused and nothing changes. Accepted, it begins in the next second, and a newer one takes its place. Because a timing always
ends in the plan, a controller that hears nothing more does the right thing. While another plan is due, by the time of day or
because people decided on it, a command that only lets a signal follow the traffic is refused too: the timing ends, and the
signal changes its plan.

The controller has a clock of its own: where the command says how long the phase after the timing is to last, the controller
takes the length that ends that phase when its plan says so, which keeps it in step whatever the delay of the command was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from citybrain.traffic.v1 import events_pb2 as events
from citybrain.traffic.v1 import traffic_service_pb2 as traffic

from citybrain.simulation.day_plans import DayPlan
from citybrain.simulation.plans import Plan, read_plan
from citybrain.simulation.sumo import Sumo

STARTED = traffic.SIGNAL_REPORT_STARTED
REFUSED = traffic.SIGNAL_REPORT_REFUSED
BACK_IN_PLAN = traffic.SIGNAL_REPORT_BACK_IN_PLAN


LEAST_GREEN_S = 5


def _greens(plan: Plan) -> set[str]:
    """The states in which vehicles drive and none is shown yellow."""
    return {phase.state for phase in plan.phases if set(phase.state) & set("Gg") and "y" not in phase.state}


@dataclass(frozen=True, slots=True)
class Report:
    """A controller's report about a command. `traceparent`: that of the command."""

    signal_id: str
    command_id: str
    report: traffic.SignalReport
    state: str
    traceparent: str


@dataclass(slots=True)
class _Playing:
    command: events.SignalCommanded
    traceparent: str
    # First second of each interval, and of the plan after them.
    begins: list[int]
    # Since which second the signal is set from outside, by this timing or those before it.
    taken: int
    started: bool = False
    handed_back: bool = False


class Controllers:
    """All controllers of a city. In each second: `before`, the step, `after`. Commands may come between seconds."""

    def __init__(self, sumo: Sumo, plans: dict[str, Plan], day_plans: Mapping[str, DayPlan]) -> None:
        """`plans`: the plan of each signal. It is updated here when the network changes plans by the time of day."""
        self._sumo = sumo
        self._plans = plans
        self._day_plans = day_plans
        # Signals whose plan changed while they played a timing, with the program to begin after it.
        self._behind: dict[str, str] = {}
        self.replanned: list[str] = []
        """Signals whose plan changed in the last second."""
        # Plans that signals are to take up, at the next green that both have.
        self._coming: dict[str, Plan] = {}
        self._playing: dict[str, _Playing] = {}
        self._heard: set[str] = set()
        self._since: dict[str, list[int]] = {}
        self.shown: dict[str, str] = {signal_id: "" for signal_id in sumo.signal_ids()}
        """What each signal showed in the last second."""
        self.commanded = 0
        """Commands accepted."""
        self.refused = 0
        self.clock_corrections = 0
        """How often the phase after a timing did not last as long as the command said."""

    def hear(self, command: events.SignalCommanded, traceparent: str) -> Report | None:
        """Takes a command in. Returns a report if it is refused. A command that came before changes nothing."""
        if command.command_id in self._heard:
            return None
        self._heard.add(command.command_id)
        signal_id = command.signal_id
        plan = self._plans.get(signal_id)
        shown = self.shown.get(signal_id, "")
        usable = (
            plan is not None
            and command.program_id in ("", plan.program_id)
            and command.plan_phase < len(plan.phases)
            and all(len(interval.state) == len(shown) for interval in command.intervals)
        )
        if not usable or not shown or command.from_state != shown or (command.claims and self._plan_is_due(signal_id)):
            self.refused += 1
            return Report(signal_id, command.command_id, REFUSED, shown, traceparent)
        begins = [self._sumo.next_second]
        for interval in command.intervals:
            begins.append(begins[-1] + max(1, math.ceil(interval.duration_s - 1e-6)))
        before = self._playing.get(signal_id)
        self._playing[signal_id] = _Playing(command, traceparent, begins, begins[0] if before is None else before.taken)
        self.commanded += 1
        return None

    def _plan_is_due(self, signal_id: str) -> bool:
        """Whether the signal has to change its plan, and has not yet."""
        playing, day_plan = self._playing.get(signal_id), self._day_plans.get(signal_id)
        if signal_id in self._coming or signal_id in self._behind:
            return True
        if playing is None or day_plan is None:
            return False
        return day_plan.due(playing.taken - 1, self._sumo.next_second - 1) not in (None, self._plans[signal_id].program_id)

    def take_up(self, plan: Plan) -> bool:
        """Lets a signal change to another plan, as soon as a green begins that both have. False: there is none."""
        today = self._plans.get(plan.signal_id)
        if today is None or not today.fixed or not _greens(today) & _greens(plan):
            return False
        if today.program_id != plan.program_id:
            self._sumo.install(plan.signal_id, plan.program_id, [(phase.state, phase.duration_s) for phase in plan.phases])
            self._coming[plan.signal_id] = plan
        return True

    def before(self) -> None:
        """Sets what every controlled signal shows in the next second."""
        second = self._sumo.next_second
        for signal_id in [one for one in self._coming if one not in self._playing]:
            self._change_over(self._plans[signal_id], self._coming[signal_id], second)
        for signal_id in [one for one in self._behind if one not in self._playing]:
            self._sumo.choose(signal_id, self._behind.pop(signal_id))
        for signal_id, playing in self._playing.items():
            if second in playing.begins[:-1]:
                self._sumo.show(signal_id, playing.command.intervals[playing.begins.index(second)].state)
            elif second >= playing.begins[-1]:
                self._hand_back(playing, second)

    def after(self, second: int) -> list[Report]:
        """Looks at what all signals showed in `second`. Returns the reports."""
        for signal_id, before in self.shown.items():
            now = self._sumo.shown(signal_id)
            if len(before) != len(now):
                self._since[signal_id] = [second] * len(now)
            elif now != before:
                since = self._since[signal_id]
                self._since[signal_id] = [s if a == b else second for a, b, s in zip(before, now, since, strict=True)]
            self.shown[signal_id] = now
        reports = []
        for signal_id, playing in list(self._playing.items()):
            if not playing.started and not playing.handed_back:
                playing.started = True
                reports.append(self._report(playing, STARTED))
            if playing.handed_back:
                del self._playing[signal_id]
                reports.append(self._report(playing, BACK_IN_PLAN))
                day_plan = self._day_plans.get(signal_id)
                due = day_plan.due(playing.taken - 1, second - 1) if day_plan is not None else None
                if due is not None and due != self._plans[signal_id].program_id:
                    self._behind[signal_id] = due
        self.replanned = [signal_id for signal_id in self._plans if self._changed(signal_id)]
        return reports

    def _changed(self, signal_id: str) -> bool:
        """Reads the plan of a signal again if it has changed."""
        if signal_id in self._playing or self._sumo.program(signal_id) == self._plans[signal_id].program_id:
            return False
        plan = read_plan(self._sumo, signal_id)
        if plan is not None:
            self._plans[signal_id] = plan
        return plan is not None

    def since_s(self, signal_id: str, second: int) -> list[float]:
        """For how many seconds each letter has been shown unchanged, `second` included: what it will have lasted if it
        changes in the next one."""
        return [float(second - since + 1) for since in self._since[signal_id]]

    def controlled(self) -> list[str]:
        """Signals that play a timing now."""
        return list(self._playing)

    def out_of_step(self, second: int) -> list[str]:
        """Signals that are not playing a timing and do not show what their plan shows in `second`."""
        return [
            signal_id
            for signal_id, plan in self._plans.items()
            if plan.fixed and signal_id not in self._playing and self.shown[signal_id] != plan.state_at(second)
        ]

    def _change_over(self, today: Plan, plan: Plan, second: int) -> None:
        """Changes the plan where a green begins that both have. It lasts until the new plan's clock ends it, 5 s at least."""
        phase, left = today.at(second)
        state = today.phases[phase].state
        if left != round(today.phases[phase].duration_s) or state not in _greens(plan):
            return
        at = next(index for index, one in enumerate(plan.phases) if one.state == state)
        lasts = plan.left_of(at, second, plan.phases[at].duration_s)
        self._sumo.hand_back(plan.signal_id, plan.program_id, at, lasts if lasts >= LEAST_GREEN_S else lasts + plan.cycle_s)
        del self._coming[plan.signal_id]

    def _hand_back(self, playing: _Playing, second: int) -> None:
        command = playing.command
        plan = self._plans[command.signal_id]
        left_s: float = max(1.0, command.plan_phase_left_s)
        if plan.fixed:
            own = plan.left_of(command.plan_phase, second, left_s)
            self.clock_corrections += own != left_s
            left_s = own
        self._sumo.hand_back(command.signal_id, plan.program_id, command.plan_phase, left_s)
        playing.handed_back = True

    def _report(self, playing: _Playing, report: traffic.SignalReport) -> Report:
        command = playing.command
        return Report(command.signal_id, command.command_id, report, self.shown[command.signal_id], playing.traceparent)
