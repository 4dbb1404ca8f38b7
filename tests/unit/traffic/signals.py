"""Signals to test with: one crossing by hand, and any number drawn at random."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from citybrain.traffic.v1.traffic_service_pb2 import Signal, SignalConflict, SignalLink, SignalPhase
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

EPOCH = 1_700_000_000
"""Second at which cycles of hand-made signals begin."""


def make(
    signal_id: str,
    links: Iterable[tuple[int, str, str]],
    conflicts: Iterable[tuple[int, int]],
    phases: Iterable[tuple[str, float]],
    *,
    start: int = EPOCH,
    plan_phases_only: bool = False,
    actuated: bool = False,
) -> Signal:
    """A signal of (index, from, to), (index, other) and (state, seconds)."""
    return Signal(
        signal_id=signal_id,
        links=[SignalLink(index=i, from_edge_id=a, to_edge_id=b, junction_id=f"j-{signal_id}") for i, a, b in links],
        conflicts=[SignalConflict(index=a, other_index=b) for a, b in conflicts],
        program_id="day",
        phases=[SignalPhase(state=state, duration_s=seconds) for state, seconds in phases],
        cycle_start=Timestamp(seconds=start),
        plan_phases_only=plan_phases_only,
        actuated=actuated,
    )


def crossing(name: str = "x", west: str = "west", east: str = "east", **options: Any) -> Signal:
    """A road from west to east, with a turn to the north that has a phase of its own, crossed by a road from the south.

    Letters: 0 through, 1 turn, 2 from the south. 0 and 1 share the approach; no phase of the plan opens both.
    """
    return make(
        name,
        [(0, west, east), (1, west, f"{name}-north"), (2, f"{name}-south", f"{name}-north")],
        [(0, 2), (1, 2)],
        [("Grr", 20), ("yrr", 3), ("rrr", 2), ("rGr", 10), ("ryr", 3), ("rrr", 2), ("rrG", 25), ("rry", 3), ("rrr", 2)],
        **options,
    )


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    """Any signal with a random foe matrix and a plan of conflict-free greens, each ended by yellow; all red or not."""
    size = draw(st.integers(2, 8))
    pairs = [(i, j) for i in range(size) for j in range(i + 1, size)]
    conflicts = [pair for pair in pairs if draw(st.booleans())]
    foes: dict[int, set[int]] = {i: {b if a == i else a for a, b in conflicts if i in (a, b)} for i in range(size)}
    edges = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    greens = [_green(draw, size, foes) for _ in range(draw(st.integers(2, 4)))]
    red_s = draw(st.sampled_from([0, 0, 2]))
    phases: list[tuple[str, float]] = []
    for state, following in zip(greens, [*greens[1:], greens[0]], strict=True):
        phases.append((state, draw(st.integers(4, 40))))
        ends = [i for i in range(size) if state[i] in "Gg" and following[i] not in "Gg"]
        if ends:
            kept = [c if c in "Gg" else "r" for c in state]
            phases.append(("".join("y" if i in ends else c for i, c in enumerate(kept)), draw(st.integers(3, 5))))
            if red_s:
                phases.append(("".join("r" if i in ends else c for i, c in enumerate(kept)), red_s))
    return make(
        "s",
        [(i, f"in{edges[i]}", f"out{i}") for i in range(size)],
        conflicts,
        phases,
        start=EPOCH + draw(st.integers(0, 500)),
        plan_phases_only=draw(st.booleans()),
    )


def _green(draw: st.DrawFn, size: int, foes: dict[int, set[int]]) -> str:
    """A state in which no two foes have right of way; some of those that must yield do, some stop first."""
    order: Sequence[int] = draw(st.permutations(range(size)))
    chosen: set[int] = set()
    for i in order[: draw(st.integers(1, size))]:
        if not foes[i] & chosen:
            chosen.add(i)
    others = [draw(st.sampled_from("rrrgs")) for _ in range(size)]
    return "".join("G" if i in chosen else others[i] for i in range(size))
