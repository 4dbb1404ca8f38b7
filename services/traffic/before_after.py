"""What a change has done to accidents: before and after, with a comparison group. Pure.

E. Hauer, *Observational before-after studies in road safety* (1997), chapter 9. With accidents K before and L after where
something was changed, M before and N after where nothing was, r = (N/M) / (1 + 1/M) is what time alone did, π = r·K what there
would have been without the change, and

    θ = (L/π) / (1 + VAR(π)/π²);  VAR(θ) = θ² · (1/L + VAR(π)/π²) / (1 + VAR(π)/π²)²

VAR(π)/π² = VAR(K)/K² + 1/M + 1/N; VAR(K) = K for a count. **Regression to the mean**: roads are changed after bad years. So K
is the estimate by empirical Bayes and not the count, with its variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_COMPARED = 20
"""Accidents of the comparison group before, and after: with fewer r is any number."""
LEAST_EXPECTED = 5.0
"""Accidents that there would have been: with fewer the interval holds everything."""
TWO_SIDES = 1.96


@dataclass(frozen=True, slots=True)
class Changed:
    """The ratio of what was to what there would have been, its interval of 95 %, and the latter."""

    theta: float
    deviation: float
    low: float
    high: float
    without: float


def ratio(before: float, after: int, compared_before: int, compared_after: int, variance: float | None = None) -> Changed:
    """The effect. `before`: a count, or an estimate with its `variance`.

    Right turns on red (Hauer 1997): 167 before, 313 after, compared 3,566 and 6,121: 286.6 without, θ 1.085 ± 0.106.
    """
    r = compared_after / compared_before / (1 + 1 / compared_before)
    without = r * before
    spread = (before if variance is None else variance) / before**2 + 1 / compared_before + 1 / compared_after
    theta = after / without / (1 + spread)
    # With no accident after, the variance of its count is that of one.
    deviation = max(after, 1) / without / (1 + spread) * math.sqrt(1 / max(after, 1) + spread) / (1 + spread)
    return Changed(theta, deviation, max(0.0, theta - TWO_SIDES * deviation), theta + TWO_SIDES * deviation, without)
