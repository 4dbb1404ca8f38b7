"""Signals that follow the traffic before them: from what is seen at a moment, at most one command for each signal.

Pure. Times are city time in seconds since the epoch. Each command is a whole timing that ends in the plan: a signal that
hears nothing more goes back into its plan when the green it was given ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from citybrain.traffic.v1.area_control_pb2 import GetSignalControlResponse, StageClaim
from citybrain.traffic.v1.events_pb2 import SignalCommanded

from citybrain.mesh.events import timestamp
from citybrain.services.traffic import domain, plan, signal_timing
from citybrain.services.traffic.discharge import Claim, Seen, claim
from citybrain.services.traffic.domain import SignalState
from citybrain.services.traffic.signal_timing import Shown, SignalTiming
from citybrain.services.traffic.stages import Stage, Staged

LONGEST_RED_S = 120.0
"""Nobody who is seen to wait has red for longer, in seconds, or than a cycle of the plan where that is longer. Pedestrians,
and vehicles on lanes that are not seen, have green at least once in a cycle of the plan."""

SHORTEST_HOLD_S, LONGEST_HOLD_S = 5.0, 30.0
"""For how long a command holds a stage, in seconds. It is made again while the stage is the best."""

RENEWED_BEFORE_S = 2.0
"""A stage that goes on is commanded anew this many seconds before it would end."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was decided: the claims of all stages, the stage that was taken, why, and the command where one is needed."""

    at: float
    claims: tuple[tuple[Stage, Claim], ...]
    stage: Stage
    reason: str
    command: SignalCommanded | None


def choose(
    now: float, staged: Staged, state: SignalState, shown: Shown, lanes: Mapping[str, Seen], green_at: Sequence[float]
) -> Choice | None:
    """Decides for one signal; None where it is not the moment to: during a change, a minimum green, or while a vehicle has
    priority.

    `now` is the first moment at which a command can be shown. `lanes` has the lanes that are seen, and no other. `green_at`:
    when each letter was green last.
    """
    here = next((stage for stage in staged.stages if stage.state == shown.state), None)
    if not _may_change(now, staged, state, shown, here):
        return None
    stages = staged.stages
    claims = tuple(
        (stage, claim(stage.serves, lanes, staged.arrive_s, 0.0 if stage is here else staged.change_s)) for stage in stages
    )
    starved = _starved(now, staged, lanes, shown, green_at)
    if starved is not None:
        open_to = [(stage, worth) for stage, worth in claims if stage.state[starved] in plan.GREEN]
        best, worth = max(open_to, key=lambda one: (one[1].rate, -one[0].phase))
        reason = f"letter {starved} has had red for {now - green_at[starved]:.0f} s"
    else:
        # Of equal claims the stage that is shown goes on.
        best, worth = max(claims, key=lambda one: (one[1].rate, one[0] is here, -one[0].phase))
        reason = f"phase {best.phase} clears {worth.vehicles:.1f} vehicles in {worth.within_s:.0f} s"
    # With nobody to serve, the plan goes on. Before a stage is shown it is decided once more: others may have come meanwhile.
    wanted = worth.rate > 0 or starved is not None
    needed = wanted and best.state != _coming(now, state) and (best is not here or _ends_soon(now, staged, state))
    command = _command(now, staged, shown, best, worth, claims, reason) if needed else None
    return Choice(now, claims, best, reason, command)


def _may_change(now: float, staged: Staged, state: SignalState, shown: Shown, here: Stage | None) -> bool:
    if domain.unanswered(state, now) or domain.holder(state, now) is not None:
        return False
    if not signal_timing.can_begin(staged.lights, shown) or "y" in shown.state:
        return False
    if here is None:
        # A green that no stage has belongs to a vehicle with priority, or to the plan: it has its time.
        return state.running is not None and all(s >= signal_timing.MINIMUM_GREEN_S for s in _greens(shown))
    walks = any(shown.state[i] in plan.GREEN for i in staged.unseen)
    least = here.least_s if walks else signal_timing.MINIMUM_GREEN_S
    return all(s >= least for s in _greens(shown, staged.unseen if walks else None))


def _coming(now: float, state: SignalState) -> str:
    """The stage to which the command that is carried out changes, until it is shown; empty where there is none."""
    if state.running is None:
        return ""
    at = state.running.begins
    for interval in state.running.command.intervals:
        if interval.purpose == signal_timing.SERVING and now <= at:
            return interval.state
        at += interval.duration_s
    return ""


def _greens(shown: Shown, only: frozenset[int] | None = None) -> list[float]:
    return [
        since
        for i, (letter, since) in enumerate(zip(shown.state, shown.since_s, strict=True))
        if letter in plan.GREEN and (only is None or i in only)
    ]


def _starved(now: float, staged: Staged, lanes: Mapping[str, Seen], shown: Shown, green_at: Sequence[float]) -> int | None:
    """The letter that has had red for longest, beyond what is allowed; None where there is none."""
    cycle = staged.lights.plan.cycle_s
    limits: dict[int, float] = dict.fromkeys(staged.unseen, cycle)
    for lane, letters in staged.lights.lanes.items():
        seen = lanes.get(lane)
        if seen is None:
            limits.update((i, min(cycle, limits.get(i, cycle))) for i in letters)
        elif seen.waiting:
            limits.update((i, min(max(cycle, LONGEST_RED_S), limits.get(i, max(cycle, LONGEST_RED_S)))) for i in letters)
    opened = {i for stage in staged.stages for i, letter in enumerate(stage.state) if letter in plan.GREEN}
    over = {
        i: now - green_at[i] - limit
        for i, limit in limits.items()
        if i in opened and shown.state[i] not in plan.GREEN and now - green_at[i] > limit
    }
    return max(over, key=lambda i: (over[i], -i)) if over else None


def _ends_soon(now: float, staged: Staged, state: SignalState) -> bool:
    """Whether what is shown would end within 2 s, by its timing or its plan."""
    play = state.running
    if play is None:
        return plan.at(staged.lights.plan, now).left_s <= RENEWED_BEFORE_S
    command = play.command
    soon = signal_timing.along(command.from_state, command.intervals, now - play.begins + RENEWED_BEFORE_S)
    current = signal_timing.along(command.from_state, command.intervals, now - play.begins)
    return soon is None or current is None or soon.state != current.state


def _command(
    now: float, staged: Staged, shown: Shown, stage: Stage, worth: Claim, claims: tuple[tuple[Stage, Claim], ...], reason: str
) -> SignalCommanded:
    setup_s = 0.0 if stage.state == shown.state else staged.change_s
    hold_s = min(max(worth.within_s - setup_s, SHORTEST_HOLD_S, stage.least_s), max(LONGEST_HOLD_S, stage.least_s))
    made = signal_timing.serve(staged.lights, shown, now, stage.state, hold_s, staged.clearance)
    return _commanded(now, staged, made, reason, claims)


def _commanded(
    now: float, staged: Staged, made: SignalTiming, reason: str, claims: tuple[tuple[Stage, Claim], ...]
) -> SignalCommanded:
    lights = staged.lights
    return SignalCommanded(
        signal_id=lights.signal_id, command_id=domain.command_id(lights.signal_id, now), from_state=made.from_state,
        intervals=made.intervals, program_id=lights.plan.program_id, plan_phase=made.plan_phase,
        plan_phase_left_s=made.plan_phase_left_s, reason=reason, claims=[told(stage, worth) for stage, worth in claims],
    )  # fmt: skip


def told(stage: Stage, worth: Claim) -> StageClaim:
    """A claim for people."""
    return StageClaim(phase=stage.phase, vehicles=round(worth.vehicles, 2), within_s=round(worth.within_s, 1))


def commanded_last(state: SignalState) -> GetSignalControlResponse:
    """The newest decision that the log has of a signal: for a process that does not control its area."""
    plays = [*state.asked, *([state.running] if state.running is not None else [])]
    commands = [play.command for play in plays if play.command.claims]
    if state.signal is None or not commands:
        return GetSignalControlResponse(reason="another process controls its area, and has commanded nothing of late")
    newest = max(commands, key=domain.commanded_at)
    served = next(interval.state for interval in newest.intervals if interval.purpose == signal_timing.SERVING)
    return GetSignalControlResponse(
        decided_at=timestamp(round(domain.commanded_at(newest) * 1e6)), claims=newest.claims, reason=newest.reason,
        phase=next((number for number, phase in enumerate(state.signal.phases) if phase.state == served), 0),
    )  # fmt: skip
