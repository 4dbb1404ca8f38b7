"""What a change has done to travel times: the difference of two differences, with an interval by the bootstrap. Pure.

Effect = (after − before) where something was changed − (after − before) where nothing was. What the season, the weather or the
price of fuel did to both is not in it. The interval: the days before and those after are drawn anew with replacement, on both
groups the same days (they share the weather), and the middle 95 of 100 of the effects count (B. Efron and R. Tibshirani, *An
introduction to the bootstrap*, 1993).
The draws have a fixed seed: the same days give the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_DAYS = 7
"""Days before, and after, on which both groups were measured: a week."""
DRAWS = 2000
_SEED = 1

Day = tuple[float, float]
"""The mean travel time where something was changed, and where nothing was, in seconds."""


@dataclass(frozen=True, slots=True)
class Shifted:
    """The effect in seconds with its interval, and the mean after it that there would have been without the change."""

    effect: float
    low: float
    high: float
    without: float


def shifted(before: Sequence[Day], after: Sequence[Day]) -> Shifted:
    """The effect. Before 100 and 50, after 95 and 60 on every day: 10 seconds more on the comparison, so −15; without 110."""
    import numpy as np

    old, new = np.asarray(before, dtype=float), np.asarray(after, dtype=float)

    def effects(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        moved = second.mean(axis=-2) - first.mean(axis=-2)
        return np.asarray(moved[..., 0] - moved[..., 1])

    by = np.random.default_rng(_SEED)
    drawn = effects(old[by.integers(len(old), size=(DRAWS, len(old)))], new[by.integers(len(new), size=(DRAWS, len(new)))])
    effect = float(effects(old, new))
    low, high = (float(value) for value in np.quantile(drawn, [0.025, 0.975]))
    return Shifted(effect, low, high, float(new[:, 0].mean()) - effect)
