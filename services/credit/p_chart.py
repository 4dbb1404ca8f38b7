"""A p-chart: whether a share is higher than chance makes it (W. A. Shewhart).

Centre line p̄ = Σx / Σn of the samples before; limits p̄ ± 3 √(p̄ (1 − p̄) / n) of a sample of n (NIST/SEMATECH e-Handbook of
Statistical Methods, 6.3.3.2). Shares from 0 to 1. The limit itself is not above it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LIMITS = 3.0
FEWEST_SAMPLES = 8
"""With fewer samples before, nothing is said."""
FEWEST_EXPECTED = 5.0
"""Where fewer are expected in a sample (n · p̄), the limits do not hold, and nothing is said."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A share against the usual one. `above`: it is higher than chance makes it."""

    share: float
    usual: float
    upper: float
    samples: int
    above: bool


def limits(usual: float, n: int) -> tuple[float, float]:
    """The lower and the upper limit, neither below 0 nor above 1."""
    reach = LIMITS * math.sqrt(usual * (1 - usual) / n)
    return max(0.0, usual - reach), min(1.0, usual + reach)


def judge(before: Sequence[tuple[int, int]], count: int, n: int) -> Verdict | None:
    """A sample (count of n) against those before, pairs of the same. None: too little is known to say."""
    whole = sum(size for _, size in before)
    if len(before) < FEWEST_SAMPLES or not whole or not n:
        return None
    usual = sum(found for found, _ in before) / whole
    if n * usual < FEWEST_EXPECTED:
        return None
    _, upper = limits(usual, n)
    return Verdict(count / n, usual, upper, len(before), count / n > upper)
