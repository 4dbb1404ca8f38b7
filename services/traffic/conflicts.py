"""What a signal may show: which letters must not be green together, and the state that lets a whole approach drive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from citybrain.traffic.v1.traffic_service_pb2 import Signal

from citybrain.services.traffic import plan as plans

Way = tuple[str, str]
"""From one edge to the next."""


@dataclass(frozen=True, slots=True)
class Lights:
    """One signal, prepared: letters by approach and by way, the foes of each letter, and the plan."""

    signal_id: str
    approaches: Mapping[str, frozenset[int]]
    ways: Mapping[Way, frozenset[int]]
    # Letters by the lane on which vehicles wait for them.
    lanes: Mapping[str, frozenset[int]]
    foes: tuple[frozenset[int], ...]
    # Letters that a link of the network uses. Of other letters no conflicts are known.
    linked: frozenset[int]
    plan: plans.Plan
    # Green phases of the plan in which no two foes have right of way.
    clean: tuple[int, ...]
    plan_phases_only: bool
    # False where nobody can know what the plan shows at a moment, or where no safe state can be made of it.
    can_give_priority: bool


def prepare(signal: Signal) -> Lights:
    """Prepares a signal. To be done once, not every second."""
    plan = plans.read(signal)
    size = len(plan.states[0])
    foes: list[set[int]] = [set() for _ in range(size)]
    for pair in signal.conflicts:
        if pair.index != pair.other_index:
            foes[pair.index].add(pair.other_index)
            foes[pair.other_index].add(pair.index)
    approaches: dict[str, set[int]] = {}
    ways: dict[Way, set[int]] = {}
    lanes: dict[str, set[int]] = {}
    for link in signal.links:
        for lane in link.lane_ids:
            lanes.setdefault(lane, set()).add(link.index)
        approaches.setdefault(link.from_edge_id, set()).add(link.index)
        ways.setdefault((link.from_edge_id, link.to_edge_id), set()).add(link.index)
    frozen = tuple(frozenset(f) for f in foes)
    clean = tuple(p for p in plan.greens if not clashes(frozen, plan.states[p]))
    return Lights(
        signal_id=signal.signal_id,
        approaches={edge: frozenset(letters) for edge, letters in approaches.items()},
        ways={way: frozenset(letters) for way, letters in ways.items()},
        lanes={lane: frozenset(letters) for lane, letters in lanes.items()},
        foes=frozen,
        linked=frozenset(link.index for link in signal.links),
        plan=plan,
        clean=clean,
        plan_phases_only=signal.plan_phases_only,
        can_give_priority=not signal.actuated and bool(plan.greens),
    )


def clashes(foes: tuple[frozenset[int], ...], state: str) -> bool:
    """Whether two letters that conflict both have right of way."""
    return any(state[j] == "G" for i, letter in enumerate(state) if letter == "G" for j in foes[i])


def losers(lights: Lights, shown: str, target: str) -> set[int]:
    """Letters that lose green between two states, or lose their right of way to a letter that opens."""
    lost = {i for i, (a, b) in enumerate(zip(shown, target, strict=True)) if a in plans.GREEN and b not in plans.GREEN}
    opened = opening(shown, target)
    for i, (a, b) in enumerate(zip(shown, target, strict=True)):
        if a == "G" and b == "g" and (opened if lights.plan_phases_only else opened & lights.foes[i]):
            lost.add(i)
    return lost


def opening(shown: str, target: str) -> set[int]:
    """Letters that get green, or right of way, between two states."""
    return {
        i
        for i, (a, b) in enumerate(zip(shown, target, strict=True))
        if b in plans.GREEN and (a not in plans.GREEN or (a == "g" and b == "G"))
    }


def target(lights: Lights, approach: str, way: Way | None, shown: str) -> str | None:
    """The state that lets the vehicle's approach drive, or None where the signal cannot show one.

    Every link of the approach, not only the vehicle's own: on a shared lane the car in front may want another turn, and waits
    for it (measured in simulation: the largest single step of all). `way` is the vehicle's own movement; None where it ends
    its ride before the signal.
    """
    letters = lights.approaches.get(approach, frozenset())
    own = letters if way is None else lights.ways.get(way, frozenset())
    if not lights.can_give_priority or not letters or not own:
        return None
    whole = _best_phase(lights, shown, letters, "G")
    if whole is not None:
        return whole
    if not lights.plan_phases_only:
        built = _built(lights, shown, own, letters)
        if built is not None:
            return built
    for wanted, with_letters in ((letters, "Gg"), (own, "G"), (own, "Gg")):
        phase = _best_phase(lights, shown, wanted, with_letters)
        if phase is not None:
            return phase
    return None


def _best_phase(lights: Lights, shown: str, wanted: Iterable[int], letters: str) -> str | None:
    """A phase of the plan in which all wanted links have one of `letters`: the one shown, else the one that closes fewest."""
    fit = [p for p in lights.clean if all(lights.plan.states[p][i] in letters for i in wanted)]
    if not fit:
        return None
    states = lights.plan.states
    return states[min(fit, key=lambda p: (states[p] != shown, len(losers(lights, shown, states[p])), p))]


def _built(lights: Lights, shown: str, own: frozenset[int], approach: frozenset[int]) -> str | None:
    """A state that no phase has: green for the vehicle's links, its approach, what is green, and what fits beside it."""
    now_green = {i for i in lights.linked if shown[i] in plans.GREEN}
    chosen: set[int] = set()
    for group in (own, approach, now_green, lights.linked):
        for i in sorted(group - chosen):
            if not lights.foes[i] & chosen:
                chosen.add(i)
    if not own <= chosen:
        return None
    return "".join("G" if i in chosen else "r" for i in range(len(lights.foes)))
