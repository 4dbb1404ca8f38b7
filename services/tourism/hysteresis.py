"""Steps that are reached at one value and left at a lower one: a value at a bound does not reach them again and again. Pure."""

from __future__ import annotations

from collections.abc import Sequence

Step = tuple[float, float]
"""Where a step is reached (that value belongs to it), and below which value it is left (that value still belongs to it)."""


def climbed(before: int, value: float, steps: Sequence[Step], *, complete: bool = True) -> int:
    """How many steps are reached, by how many were before. `steps`: the lowest first.

    `complete`: whether the value is the whole of it. One that may be higher reaches steps, and leaves none.
    """
    reached = sum(value >= enters for enters, _ in steps)
    kept = sum(value >= leaves for _, leaves in steps[:before]) if complete else before
    return max(reached, kept)
