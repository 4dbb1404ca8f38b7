"""Whether what a signal shows is safe and in step: judged second by second, without the service's code."""

from __future__ import annotations

import itertools

from citybrain.traffic.v1.events_pb2 import SignalCommanded
from citybrain.traffic.v1.traffic_service_pb2 import Signal

LEAST_YELLOW, LEAST_CLEAR, LEAST_GREEN = 3, 2, 5


def plan_seconds(signal: Signal) -> list[int]:
    """The phase of each second of a cycle."""
    return [number for number, phase in enumerate(signal.phases) for _ in range(round(phase.duration_s))]


def plan_shows(signal: Signal, second: int) -> str:
    """What the undisturbed plan shows."""
    cycle = plan_seconds(signal)
    return signal.phases[cycle[(second - signal.cycle_start.seconds) % len(cycle)]].state


def plan_history(signal: Signal, until: int, cycles: int = 2) -> list[str]:
    """What the plan showed in the seconds before `until`."""
    length = len(plan_seconds(signal)) * cycles
    return [plan_shows(signal, second) for second in range(until - length, until)]


def stood(history: list[str]) -> list[float]:
    """For how many seconds each letter of the last state has been shown."""
    return [
        float(sum(1 for _ in itertools.takewhile(lambda state, i=i, letter=letter: state[i] == letter, reversed(history))))  # type: ignore[misc]
        for i, letter in enumerate(history[-1])
    ]


def played(command: SignalCommanded) -> list[str]:
    """The timing, second by second."""
    return [interval.state for interval in command.intervals for _ in range(round(interval.duration_s))]


def handed_back(signal: Signal, command: SignalCommanded, seconds: int) -> list[str]:
    """What a controller shows after the timing: the phase for what is left of it, then its plan's phases in their order."""
    states = [signal.phases[command.plan_phase].state] * round(command.plan_phase_left_s)
    phase = command.plan_phase
    while len(states) < seconds:
        phase = (phase + 1) % len(signal.phases)
        states += [signal.phases[phase].state] * round(signal.phases[phase].duration_s)
    return states[:seconds]


def faults(signal: Signal, before: list[str], after: list[str], *, least_clear: int = LEAST_CLEAR) -> list[str]:
    """Every breach of the rules in the seconds `after`, which follow those `before`; empty where all is safe.

    `least_clear`: seconds between the end of a yellow and the green of a foe.
    """
    found = []
    conflicts = {(c.index, c.other_index) for c in signal.conflicts} | {(c.other_index, c.index) for c in signal.conflicts}
    in_plan = {(i, j) for phase in signal.phases for i, j in conflicts if phase.state[i] == "G" and phase.state[j] == "G"}
    whole = before + after
    for now in range(len(before), len(whole)):
        state, last = whole[now], whole[now - 1]
        for i, j in conflicts:
            if i < j and state[i] == "G" and state[j] == "G" and (i, j) not in in_plan:
                found.append(f"{now}: foes {i} and {j} both have right of way in {state}")
        for i, letter in enumerate(state):
            was = last[i]
            if was in "Gg" and letter not in "Ggy":
                found.append(f"{now}: {i} goes from {was} to {letter} without yellow")
            if was == "y" and letter in "Gg":
                found.append(f"{now}: {i} opens out of its yellow")
            if was == "y" and letter != "y" and _lasted(whole, now, i, "y") < LEAST_YELLOW:
                found.append(f"{now}: yellow of {i} is too short")
            if was not in "Gg" and letter in "Gg":
                for j in (j for a, j in conflicts if a == i):
                    drove = next((now - s for s in range(now - 1, -1, -1) if whole[s][j] in "Ggy"), None)
                    if whole[now - 1][j] in "Ggy" and state[j] in "Gg":
                        continue  # It goes on beside it: right of way is judged above.
                    if drove is not None and drove <= least_clear:
                        found.append(f"{now}: {i} opens {drove - 1} s after its foe {j} was closed")
    return found


def short_greens(before: list[str], after: list[str]) -> list[str]:
    """Greens that the seconds `after` end before they had their minimum."""
    whole, found = before + after, []
    for now in range(len(before), len(whole)):
        for i, letter in enumerate(whole[now]):
            if whole[now - 1][i] in "Gg" and letter not in "Gg" and _lasted(whole, now, i, "Gg") < LEAST_GREEN:
                found.append(f"{now}: green of {i} is too short")
    return found


def _lasted(states: list[str], end: int, i: int, letters: str) -> int:
    return sum(1 for _ in itertools.takewhile(lambda state: state[i] in letters, reversed(states[:end])))
