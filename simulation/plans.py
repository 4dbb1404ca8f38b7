"""The fixed-time plans of signals, read from the running scenario, and their clock.

A plan is fixed when what it shows at any second can be computed: a static program without branches whose phases last whole
seconds. Read from SUMO itself rather than from the network file, because additional files may replace a program.
"""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.traffic.v1 import plans_pb2 as proposals

from citybrain.simulation.moments import second_of
from citybrain.simulation.sumo import Sumo, letters

_STATIC = 0


@dataclass(frozen=True, slots=True)
class Phase:
    """A state (one letter a link) and its duration in seconds."""

    state: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One signal's plan. `cycle_start`: a second in which the first phase began, at the begin of the run or before."""

    signal_id: str
    program_id: str
    phases: tuple[Phase, ...]
    cycle_start: int
    fixed: bool

    @property
    def cycle_s(self) -> int:
        """Seconds of a cycle; 0 where the plan is not fixed."""
        return round(sum(phase.duration_s for phase in self.phases)) if self.fixed else 0

    def at(self, second: int) -> tuple[int, int]:
        """The phase shown in a second, and for how many more seconds, this one included."""
        into = (second - self.cycle_start) % self.cycle_s
        for index, phase in enumerate(self.phases):
            if into < phase.duration_s:
                return index, round(phase.duration_s) - into
            into -= round(phase.duration_s)
        raise AssertionError("a position inside the cycle lies in one of its phases")

    def state_at(self, second: int) -> str:
        """What the plan shows in a second."""
        return self.phases[self.at(second)[0]].state

    def left_of(self, phase: int, second: int, about_s: float) -> int:
        """For how long `phase` is to be shown from `second` on so that it ends when the plan says: the end nearest to
        `about_s` seconds away, and at least one second away."""
        end = self.cycle_start + round(sum(p.duration_s for p in self.phases[: phase + 1]))
        left = (end - second) % self.cycle_s
        off = (left - about_s + self.cycle_s / 2) % self.cycle_s - self.cycle_s / 2
        nearest = round(about_s + off)
        return nearest if nearest >= 1 else nearest + self.cycle_s


def proposed(program: proposals.SignalProgram, program_id: str, today: Plan) -> Plan:
    """A plan that was proposed, as a controller takes it up. Without a start of its cycle it keeps today's."""
    start = second_of(program.cycle_start) if program.HasField("cycle_start") else today.cycle_start
    phases = tuple(Phase(phase.state, phase.duration_s) for phase in program.phases)
    return Plan(program.signal_id, program_id, phases, start, True)


def read_plans(sumo: Sumo) -> dict[str, Plan]:
    """The plan of each signal. To be called before the first step."""
    plans = {signal_id: read_plan(sumo, signal_id) for signal_id in sumo.signal_ids()}
    return {signal_id: plan for signal_id, plan in plans.items() if plan is not None}


def read_plan(sumo: Sumo, signal_id: str) -> Plan | None:
    """The plan that a signal runs now; None where it has no phases."""
    program = sumo.program(signal_id)
    logic = next((l for l in sumo.lights.getAllProgramLogics(signal_id) if l.programID == program), None)  # noqa: E741
    if logic is None or not logic.phases:
        return None
    phases = tuple(Phase(letters(p.state), float(p.duration)) for p in logic.phases)
    whole = all(p.duration_s >= 1 and p.duration_s == round(p.duration_s) for p in phases)
    branches = any(tuple(p.next) for p in logic.phases)
    passed = sum(p.duration_s for p in phases[: sumo.lights.getPhase(signal_id) + 1])
    start = int(sumo.lights.getNextSwitch(signal_id) - passed)
    return Plan(signal_id, program, phases, start, logic.type == _STATIC and whole and not branches)
