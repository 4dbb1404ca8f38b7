"""Control charts: EWMA and CUSUM, for one series or for many at once.

Sources: S. W. Roberts, *Control Chart Tests Based on Geometric Moving Averages*, Technometrics 1 (1959), and E. S. Page,
*Continuous Inspection Schemes*, Biometrika 41 (1954); both as in the NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.3
and 6.3.2.4.

- EWMA: z_t = λ·x_t + (1 − λ)·z_(t−1), with z_0 = mean. Limits: mean ± L·σ·√(λ/(2 − λ)·[1 − (1 − λ)^(2t)]).
- CUSUM, in standard deviations: high_t = max(0, high_(t−1) + u_t − k), low_t = max(0, low_(t−1) − u_t − k), u = (x − mean)/σ.

Values go in and come out in the unit of the series, sums in standard deviations. A value on a limit is inside.

**The numbers here** are for 20,000 series at once, each a window a minute: the usual L = 3 and h = 5 would give thousands of
false alarms a day. With L = 6 one normal value in 5·10⁸ is outside; with k = 1/2, h = 25 the mean run until a false alarm is
above 10¹⁰ windows (Siegmund's approximation, *Sequential Analysis*, 1985: (e^(2k·b) − 2k·b − 1)/(2k²), b = h + 1.166).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VERSION = "urban-charts-1"
"""Of the numbers below; stands on each event that was decided by them."""

LAMBDA = 0.3
WIDTH = 6.0
"""L: the limits of the EWMA are so many of its standard deviations away."""
SLACK = 0.5
"""k: the CUSUM does not count so much, in standard deviations."""
DECISION = 25.0
"""h: a sum above is a signal."""
PERSISTENCE = 3
"""So many windows with a signal, one after the other, are an anomaly."""
CALM = 5
"""So many windows inside of half the limits, one after the other, end it."""
LEARNING = 60
"""From so many windows a baseline is learnt."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def ewma(values: Sequence[float], mean: float, weight: float = LAMBDA) -> list[float]:
    """The weighted means of a series."""
    found, z = [], mean
    for value in values:
        z = weight * value + (1 - weight) * z
        found.append(z)
    return found


def ewma_width(t: int, sigma: float, weight: float = LAMBDA, width: float = WIDTH) -> float:
    """How far the limits are from the mean at the t-th value, t from 1."""
    return width * sigma * math.sqrt(weight / (2 - weight) * (1 - (1 - weight) ** (2 * t)))


def cusum(values: Sequence[float], mean: float, sigma: float, slack: float = SLACK) -> tuple[list[float], list[float]]:
    """The sums above and below of a series, in standard deviations."""
    highs, lows, high, low = [], [], 0.0, 0.0
    for value in values:
        u = (value - mean) / sigma
        high, low = max(0.0, high + u - slack), max(0.0, low - u - slack)
        highs.append(high)
        lows.append(low)
    return highs, lows


@dataclass(slots=True)
class State:
    """Where charts stand, an entry a series, in standard deviations from the mean; `t`: how many windows they have seen."""

    z: Floats
    high: Floats
    low: Floats
    t: Ints

    @classmethod
    def of(cls, z: float, high: float, low: float, t: int) -> State:
        """The state of one series."""
        return cls(np.array([z]), np.array([high]), np.array([low]), np.array([t], dtype=np.int64))


@dataclass(slots=True)
class Signals:
    """What a window showed, an entry a series. `calm`: it is well inside."""

    ewma: Flags
    cusum: Flags
    calm: Flags


def step(state: State, u: Floats) -> tuple[State, Signals]:
    """All charts after one more window. `u`: its means, in standard deviations from the mean of each series.

    Sums are cut off above the decision: what was far away for long is over as soon as what was so for a short time.
    """
    t = state.t + 1
    z = LAMBDA * u + (1 - LAMBDA) * state.z
    limit = WIDTH * np.sqrt(LAMBDA / (2 - LAMBDA) * (1 - (1 - LAMBDA) ** (2.0 * t)))
    high = np.minimum(np.maximum(0.0, state.high + u - SLACK), DECISION + 1)
    low = np.minimum(np.maximum(0.0, state.low - u - SLACK), DECISION + 1)
    by_ewma, by_cusum = np.abs(z) > limit, (high > DECISION) | (low > DECISION)
    calm = (np.abs(z) <= limit / 2) & (high <= DECISION / 2) & (low <= DECISION / 2)
    return State(z, high, low, t), Signals(by_ewma, by_cusum, calm)


def holds(begin: State, us: Sequence[float]) -> bool:
    """Whether a chart that stood so finds an anomaly at the end of these windows (standard deviations from the mean)."""
    in_a_row, state = 0, begin
    for u in us:
        state, signals = step(state, np.array([u]))
        in_a_row = in_a_row + 1 if bool(signals.ewma[0] or signals.cusum[0]) else 0
    return in_a_row >= PERSISTENCE
