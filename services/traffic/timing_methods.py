"""Plans made by a method: Webster, splits, and a green wave. What each rests on is said line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from citybrain.traffic.v1 import plans_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, Refused
from citybrain.services.traffic import plan as plans
from citybrain.services.traffic import webster
from citybrain.services.traffic.control_delay import control_delay, level_of_service
from citybrain.services.traffic.stages import Staged

SHORTEST_CYCLE_S, LONGEST_CYCLE_S = 30.0, 180.0


@dataclass(frozen=True, slots=True)
class Made:
    """Programs, and what they rest on: in words, and the flows by lane where they were made from flows."""

    programs: tuple[pb.SignalProgram, ...]
    basis: tuple[str, ...]
    flows: tuple[pb.LaneFlow, ...] = ()


def by_flows(method: pb.PlanMethod, signals: Sequence[Staged], flows: Mapping[str, float]) -> Made:
    """Each signal by itself. `flows`: vehicles an hour by lane; lanes that are not in it are empty."""
    programs, basis = [], []
    for staged in signals:
        name, plan = staged.lights.signal_id, staged.lights.plan
        ratios = critical(staged, flows)
        green_s = {stage.phase: plan.length(stage.phase) for stage in staged.stages}
        lost_s = plan.cycle_s - sum(green_s.values())
        if method == pb.PLAN_METHOD_WEBSTER:
            made = webster.optimal(ratios, lost_s)
            least_s = lost_s + sum(stage.least_s for stage in staged.stages)
            cycle_s = min(max(made.cycle_s, SHORTEST_CYCLE_S, least_s), LONGEST_CYCLE_S)
            made = webster.split(ratios, lost_s, cycle_s)
        else:
            made = webster.split(ratios, lost_s, plan.cycle_s)
        greens = _whole(made, [stage.least_s for stage in staged.stages], lost_s)
        after = dict(zip((stage.phase for stage in staged.stages), greens, strict=True))
        programs.append(_program(staged, after))
        ratio = ", ".join(f"{y:.2f}" for y in ratios)
        cycle = lost_s + sum(greens)
        basis.append(f"{name}: y {ratio}; lost {lost_s:g} s; cycle {plan.cycle_s:g} s → {cycle:g} s; greens {_list(greens)} s")
        basis.append(f"{name}: {_delay(staged, flows, today(staged))} → {_delay(staged, flows, programs[-1])}")
    told = tuple(pb.LaneFlow(lane_id=lane, vehicles_per_hour=flow) for lane, flow in sorted(flows.items()))
    return Made(tuple(programs), tuple(basis), told)


def green_wave(signals: Sequence[Staged], along: Sequence[str], lengths_m: Mapping[str, float], speed_mps: float) -> Made:
    """Offsets so that who drives at `speed_mps` from the first signal on finds the green of the road begun at each.

    offset = distance / speed, modulo the cycle, which all signals must share. Where a signal stands on the way it is passed
    between two roads of `along`.
    """
    if speed_mps < 1:
        raise BadRequest([("speed_mps", "is the speed of the wave: give at least 1 m/s")])
    unknown = [edge for edge in along if edge not in lengths_m]
    if unknown:
        raise Refused(f"road {unknown[0]!r} is not in the published network: name one that is", "UNKNOWN_ROAD")
    cycle = signals[0].lights.plan.cycle_s
    other = next((one for one in signals if one.lights.plan.cycle_s != cycle), None)
    if other is not None:
        mine = f"{other.lights.signal_id} has a cycle of {other.lights.plan.cycle_s:g} s"
        what = f"{mine}, {signals[0].lights.signal_id} one of {cycle:g} s: give them one cycle first"
        raise Refused(what, "OTHER_CYCLE")
    programs: list[pb.SignalProgram] = []
    basis, at_m = [], 0.0
    # When the wave passes the first signal, in seconds since the epoch.
    first: float | None = None
    for before, after in pairwise(along):
        if len(programs) == len(signals):
            break
        staged = signals[len(programs)]
        if first is not None:
            at_m += lengths_m[before]
        if (before, after) not in staged.lights.ways:
            continue
        plan, opens = staged.lights.plan, _opens(staged, (before, after))
        first = plan.cycle_start + opens if first is None else first
        later_s = at_m / speed_mps
        shift = (first + later_s - opens - plan.cycle_start) % cycle
        program = _program(staged, {})
        program.cycle_start.CopyFrom(Timestamp(seconds=round(plan.cycle_start + shift)))
        programs.append(program)
        name = staged.lights.signal_id
        basis.append(f"{name}: {at_m:.0f} m at {speed_mps:g} m/s, {later_s % cycle:.0f} s after the first")
    if len(programs) < len(signals):
        missing = signals[len(programs)].lights.signal_id
        what = f"{missing} is not passed between two of these roads: name the roads from signal to signal"
        raise Refused(what, "NOT_ON_THE_WAY")
    return Made(tuple(programs), tuple(basis))


def critical(staged: Staged, flows: Mapping[str, float]) -> list[float]:
    """y of each stage: the greatest of its lanes, flow by what its green lets through.

    A lane with green in several stages is shared by them as its greens of today are.
    """
    plan = staged.lights.plan
    green_s = {stage.phase: plan.length(stage.phase) for stage in staged.stages}
    through: dict[str, float] = {}
    for stage in staged.stages:
        for lane, rate in stage.serves.items():
            through[lane] = through.get(lane, 0.0) + rate * green_s[stage.phase]
    return [
        max((flows.get(lane, 0.0) / 3600 * green_s[stage.phase] / through[lane] for lane in stage.serves), default=0.0)
        for stage in staged.stages
    ]


def _whole(made: webster.Timing, least_s: Sequence[float], lost_s: float) -> list[float]:
    """Whole seconds of green, none below its least; what that costs is taken from the longest."""
    room = round(made.cycle_s - lost_s)
    greens = [float(max(round(green), least)) for green, least in zip(made.greens_s, least_s, strict=True)]
    while sum(greens) > room:
        longest = max(range(len(greens)), key=lambda i: greens[i] - least_s[i])
        if greens[longest] - 1 < least_s[longest]:
            break
        greens[longest] -= 1
    while sum(greens) < room:
        greens[max(range(len(greens)), key=lambda i: made.greens_s[i] - greens[i])] += 1
    return greens


def _program(staged: Staged, greens: Mapping[int, float]) -> pb.SignalProgram:
    plan = staged.lights.plan
    return pb.SignalProgram(
        signal_id=staged.lights.signal_id,
        phases=[
            pb.ProgramPhase(state=state, duration_s=greens.get(phase, plan.length(phase)))
            for phase, state in enumerate(plan.states)
        ],
    )


def today(staged: Staged) -> pb.SignalProgram:
    """The plan that a signal has."""
    return _program(staged, {})


def delay(staged: Staged, flows: Mapping[str, float], program: pb.SignalProgram) -> tuple[float, str]:
    """Mean control delay over all vehicles under a program with the phases of the plan, and the worst level of service."""
    lasts_s = [phase.duration_s for phase in program.phases]
    cycle_s = sum(lasts_s)
    total = vehicles = 0.0
    worst = "A"
    for lane in staged.lights.lanes:
        flow = flows.get(lane, 0.0)
        served = sum(stage.serves.get(lane, 0.0) * lasts_s[stage.phase] for stage in staged.stages)
        if not flow or not served:
            continue
        green = sum(lasts_s[stage.phase] for stage in staged.stages if lane in stage.serves)
        capacity = served / cycle_s * 3600
        each_s = control_delay(flow, capacity, min(green / cycle_s, 0.99), cycle_s)
        total, vehicles = total + each_s * flow, vehicles + flow
        worst = max(worst, level_of_service(each_s, flow / capacity))
    return total / vehicles if vehicles else 0.0, worst


def _delay(staged: Staged, flows: Mapping[str, float], program: pb.SignalProgram) -> str:
    mean_s, worst = delay(staged, flows, program)
    return f"{mean_s:.1f} s a vehicle, worst lane {worst}"


def _opens(staged: Staged, way: tuple[str, str]) -> float:
    """Seconds into the cycle at which the way has green first."""
    plan, letters = staged.lights.plan, staged.lights.ways[way]
    for phase, state in enumerate(plan.states):
        if any(state[i] in plans.GREEN for i in letters) and not any(plan.states[phase - 1][i] in plans.GREEN for i in letters):
            return plan.begins(phase)
    return 0.0


def _list(greens: Sequence[float]) -> str:
    return ", ".join(f"{green:g}" for green in greens)
