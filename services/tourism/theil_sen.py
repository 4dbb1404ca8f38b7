"""How a series goes up or down: the median of the slopes between all pairs. Pure.

H. Theil, *A rank-invariant method of linear and polynomial regression analysis* (1950), and P. K. Sen, *Estimates of the
regression coefficient based on Kendall's tau* (1968), by `scipy.stats.theilslopes`. A week that is far off, a holiday, moves it
little.
"""

from __future__ import annotations

from collections.abc import Sequence


def slope(values: Sequence[float], places: Sequence[int]) -> tuple[float, float, float]:
    """The slope, and between which values it is with 95 % confidence. `places`: where each value stands."""
    # Its import takes most of a second: a process that never asks starts without it.
    from scipy.stats import theilslopes

    found = theilslopes(list(values), list(places), alpha=0.95)
    return float(found.slope), float(found.low_slope), float(found.high_slope)
