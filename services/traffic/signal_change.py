"""Safe changes of a signal, as whole scores that end back in the plan.

Every change keeps the same rules: a green has lasted 5 s before it is taken; what loses green shows 3 s of yellow while what stays
green stays and nothing opens; then 2 s of red for the losers; then the new state. What opens has seen its foes red for 2 s. The
lengths are those of urban practice at 50 km/h (yellow 3 s: German RiLSA 2015, table for 50 km/h) with a fixed all-red of 2 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from citybrain.traffic.v1.events_pb2 import SignalCommanded, SignalInterval
from citybrain.traffic.v1.traffic_service_pb2 import SignalShown

from citybrain.services.traffic.signal_plan import GREEN, YELLOW, Plan

MIN_GREEN_S = 5.0
YELLOW_S = 3.0
ALL_RED_S = 2.0
LONGEST_HOLD_S = 60.0
COMPENSATION_S = 15.0


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants a signal: the road it comes by, where it goes on (empty: it ends before the signal)."""

    edge: str
    following: str


def target(plan: Plan, wish: Wish, shown: str) -> str | None:
    """The state that lets a whole approach go, or None where none can be shown.

    The whole approach, and not the vehicle's own turn alone: on a shared lane the car in front wants another turn.
    """
    approach = plan.approaches.get(wish.edge, frozenset())
    if not approach:
        return None
    for phase in plan.green_phases:
        if all(plan.states[phase][i] == "G" for i in approach):
            return plan.states[phase]
    if plan.signal.plan_phases_only:
        return _nearest_phase(plan, approach, plan.movement(wish.edge, wish.following) or approach)
    letters = ["r"] * len(shown)
    green: set[int] = set()
    for index in sorted(approach):
        if plan.conflicts.get(index, frozenset()) & green:
            # Two lanes of one road that cross each other: the later letter waits.
            continue
        letters[index] = "G"
        green.add(index)
    others = {link.index for link in plan.signal.links} - approach
    for index in sorted(others, key=lambda i: (shown[i] not in GREEN, i)):
        if not plan.conflicts.get(index, frozenset()) & green:
            letters[index] = "G"
            green.add(index)
    return "".join(letters)


def _nearest_phase(plan: Plan, approach: frozenset[int], movement: frozenset[int]) -> str | None:
    whole = [n for n in plan.green_phases if all(plan.states[n][i] in GREEN for i in approach)]
    own = [n for n in plan.green_phases if all(plan.states[n][i] in GREEN for i in movement)]
    ranked = sorted(whole or own, key=lambda n: (-sum(plan.states[n][i] == "G" for i in movement), n))
    return plan.states[ranked[0]] if ranked else None


def hold(plan: Plan, wish: Wish, shown: SignalShown, queues: Mapping[str, int], now: float) -> SignalCommanded | None:
    """The score that opens an approach, holds it and returns; None where now is no moment for it (yellow runs) or none can."""
    wanted = target(plan, wish, shown.state)
    if wanted is None or not _steady(shown):
        return None
    intervals = _change(plan, shown.state, list(shown.since_s), wanted)
    intervals.append(SignalInterval(state=wanted, duration_s=LONGEST_HOLD_S, purpose="priority"))
    return _with_return(plan, shown.state, intervals, wanted, wish.edge, queues, now)


def give_back(plan: Plan, edge: str, shown: SignalShown, queues: Mapping[str, int], now: float) -> SignalCommanded | None:
    """The score that returns from what is shown now; None while a yellow runs (what is playing goes on by itself)."""
    if not _steady(shown):
        return None
    intervals: list[SignalInterval] = []
    wait = _still_needed(shown.state, list(shown.since_s))
    if wait:
        intervals.append(SignalInterval(state=shown.state, duration_s=wait, purpose="minimum green"))
    return _with_return(plan, shown.state, intervals, shown.state, edge, queues, now)


def length_s(intervals: Sequence[SignalInterval]) -> float:
    """How long intervals last together."""
    return sum(interval.duration_s for interval in intervals)


def _steady(shown: SignalShown) -> bool:
    return not YELLOW & set(shown.state) and len(shown.since_s) == len(shown.state)


def _still_needed(state: str, since: Sequence[float]) -> float:
    """Seconds until every green has lasted its minimum and every red long enough that its foe may open."""
    return max(
        [MIN_GREEN_S - age for letter, age in zip(state, since, strict=True) if letter in GREEN]
        + [ALL_RED_S - age for letter, age in zip(state, since, strict=True) if letter not in GREEN]
        + [0.0]
    )


def _change(plan: Plan, state: str, since: Sequence[float], wanted: str) -> list[SignalInterval]:
    """The intervals between two steady states; none where they are the same."""
    losers = {i for i, letter in enumerate(state) if letter in GREEN and wanted[i] not in GREEN}
    gainers = {i for i, letter in enumerate(wanted) if letter in GREEN and state[i] not in GREEN}
    intervals = []
    waits = [MIN_GREEN_S - since[i] for i in losers]
    waits += [ALL_RED_S - since[foe] for i in gainers for foe in plan.conflicts.get(i, ()) if state[foe] not in GREEN]
    wait = max([*waits, 0.0])
    if wait:
        intervals.append(SignalInterval(state=state, duration_s=wait, purpose="minimum green"))
    if losers:
        kept = [letter if letter in GREEN else "r" for letter in state]
        yellow = "".join("y" if i in losers else letter for i, letter in enumerate(kept))
        red = "".join("r" if i in losers else letter for i, letter in enumerate(kept))
        intervals.append(SignalInterval(state=yellow, duration_s=YELLOW_S, purpose="yellow"))
        intervals.append(SignalInterval(state=red, duration_s=ALL_RED_S, purpose="all red"))
    return intervals


def _with_return(
    plan: Plan, shown: str, intervals: list[SignalInterval], state: str, edge: str, queues: Mapping[str, int], now: float
) -> SignalCommanded:
    """Appends the way back: first green for those who waited, then the phase of the plan's clock."""
    waited = _compensation(plan, edge, queues)
    if waited is not None and waited != state:
        intervals += _change(plan, state, _aged(state), waited)
        intervals.append(SignalInterval(state=waited, duration_s=COMPENSATION_S, purpose="compensation"))
        state = waited
    before = now + length_s(intervals)
    landing = plan.landing(before + YELLOW_S + ALL_RED_S)
    intervals += _change(plan, state, _aged(state), plan.states[landing.phase])
    return SignalCommanded(
        signal_id=plan.signal.signal_id,
        from_state=shown,
        intervals=intervals,
        program_id=plan.signal.program_id,
        plan_phase=landing.phase,
        plan_phase_left_s=landing.ends_at - now - length_s(intervals),
    )


def _aged(state: str) -> list[float]:
    """Every letter has stood long enough: it was held for that."""
    return [LONGEST_HOLD_S] * len(state)


def _compensation(plan: Plan, edge: str, queues: Mapping[str, int]) -> str | None:
    """The plan's green phase that serves the most waiting vehicles of the other roads; None where nobody waits."""

    def waiting(phase: int) -> int:
        return sum(
            queues.get(road, 0)
            for road, indices in plan.approaches.items()
            if road != edge and any(plan.states[phase][i] in GREEN for i in indices)
        )

    best = max(plan.green_phases, key=lambda n: (waiting(n), -n))
    return plan.states[best] if waiting(best) else None
