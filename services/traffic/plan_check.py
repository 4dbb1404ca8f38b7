"""Whether a plan may be proposed for a signal: what it shows is safe, and serves everybody whom today's plan serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from citybrain.traffic.v1 import plans_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2 import Signal

from citybrain.services.traffic import plan as plans
from citybrain.services.traffic.signal_timing import MINIMUM_GREEN_S, YELLOW_S

LONGEST_CYCLE_S = 240.0


def problems(program: pb.SignalProgram, signal: Signal, field: str) -> list[tuple[str, str]]:
    """What is wrong with a program for a registered signal: fields of the request, below `field`, each with what to change."""
    size, states = len(signal.phases[0].state), [phase.state for phase in program.phases]
    for number, state in enumerate(states):
        if len(state) != size:
            return [(f"{field}.phases[{number}].state", f"must have as many letters as the signal ({size})")]
    found = [
        (f"{field}.phases[{number}].state", f"letters {a} and {b} conflict and are both green: {state}")
        for number, state in enumerate(states)
        for a, b in _clashes(signal, state)
    ]
    cycle_s = sum(phase.duration_s for phase in program.phases)
    if cycle_s > LONGEST_CYCLE_S:
        found.append((f"{field}.phases", f"take {cycle_s:g} s: a cycle is {LONGEST_CYCLE_S:g} s at most"))
    if any(phase.duration_s != round(phase.duration_s) for phase in program.phases):
        found.append((f"{field}.phases", "must last whole seconds: controllers know no shorter ones"))
    today = {i for phase in signal.phases for i, letter in enumerate(phase.state) if letter in plans.GREEN}
    never = sorted(today - {i for state in states for i, letter in enumerate(state) if letter in plans.GREEN})
    if never:
        found.append((f"{field}.phases", f"letter {never[0]} never has green, and has it today"))
    shown = {phase.state for phase in signal.phases if set(phase.state) & plans.GREEN and "y" not in phase.state}
    if not shown & set(states):
        found.append((f"{field}.phases", "has no green phase of today's plan: the signal could not change over to it"))
    found += [(f"{field}.phases", text) for text in _changes(program, states, size)]
    return found


def _clashes(signal: Signal, state: str) -> Iterator[tuple[int, int]]:
    """Pairs of conflicting letters that have right of way together, but for those that today's plan shows so."""
    today = {phase.state for phase in signal.phases}
    if state in today:
        return
    for pair in signal.conflicts:
        if state[pair.index] == "G" and state[pair.other_index] == "G":
            yield pair.index, pair.other_index


def _changes(program: pb.SignalProgram, states: Sequence[str], size: int) -> Iterator[str]:
    """Greens that are too short, and that end without yellow or with too little of it."""
    for letter in range(size):
        runs = _runs([(state[letter], phase.duration_s) for state, phase in zip(states, program.phases, strict=True)])
        for number, (kind, lasts_s) in enumerate(runs):
            following = runs[(number + 1) % len(runs)][0]
            if kind == "green" and len(runs) > 1:
                if following == "red":
                    yield f"letter {letter} goes from green to red without yellow"
                if lasts_s < MINIMUM_GREEN_S:
                    yield f"letter {letter} has green for {lasts_s:g} s: {MINIMUM_GREEN_S:g} s are the least"
            elif kind == "yellow" and lasts_s < YELLOW_S:
                yield f"letter {letter} has yellow for {lasts_s:g} s: {YELLOW_S:g} s are the least"


def _runs(shown: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """What one letter shows in a cycle, with how long; the last run goes on in the first."""
    runs: list[tuple[str, float]] = []
    for letter, lasts_s in shown:
        kind = "green" if letter in plans.GREEN else "yellow" if letter == "y" else "red"
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, runs[-1][1] + lasts_s)
        else:
            runs.append((kind, lasts_s))
    if len(runs) > 1 and runs[0][0] == runs[-1][0]:
        runs[0] = (runs[0][0], runs[0][1] + runs.pop()[1])
    return runs
