"""Cycle and greens of a signal from flows: Webster's method (Road Research Technical Paper 39, 1958). Seconds, vehicles an
hour.

    C0 = (1.5 L + 5) / (1 − Y)        Y = Σ y, y = q / s of the critical lane of each stage
    g  = (y / Y) (C0 − L)             L: what is lost in a cycle by changes

Worked values: q 600 and 400, s 1800, L 10 → C0 45.0, g 21.0 and 14.0; q 720, 540 and 300, s 3600, 1800 and 1800, L 12 → 69.0;
17.10, 25.65 and 14.25.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from citybrain.mesh.errors import Refused

FULL = 0.95
"""From this sum of flow ratios on no plan of this kind serves the flows: refused."""


@dataclass(frozen=True, slots=True)
class Timing:
    """A cycle, and the green of each stage, in seconds."""

    cycle_s: float
    greens_s: tuple[float, ...]


def optimal(ratios: Sequence[float], lost_s: float) -> Timing:
    """The cycle with the least delay. `ratios`: y of each stage. Refused where they leave no room."""
    whole = _sum(ratios)
    return split(ratios, lost_s, (1.5 * lost_s + 5) / (1 - whole))


def split(ratios: Sequence[float], lost_s: float, cycle_s: float) -> Timing:
    """The greens of a given cycle."""
    whole = _sum(ratios)
    return Timing(cycle_s, tuple(y / whole * (cycle_s - lost_s) for y in ratios))


def _sum(ratios: Sequence[float]) -> float:
    whole = sum(ratios)
    if whole >= FULL:
        what = f"the flows take {whole:.2f} of all green, {FULL:g} is too much: lead traffic elsewhere, or give lanes more room"
        raise Refused(what, "OVERSATURATED")
    if whole <= 0:
        raise Refused("no vehicles are in the flows: give those of the lanes of these signals", "NO_FLOWS")
    return whole
