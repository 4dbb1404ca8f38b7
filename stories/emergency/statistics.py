"""Paired differences of rides: the median, and an interval by bootstrap over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Difference:
    """Paired differences in seconds (or seconds per vehicle): negative is better. Interval of 95 %."""

    median: float
    low: float
    high: float
    pairs: int


def paired(differences: Mapping[int, Sequence[float]]) -> Difference:
    """The median of all differences. The bootstrap resamples seeds: all calls of one seed share their traffic.

    With one seed there is nothing to resample: the interval is the range of its differences, and says so by its width.
    """
    seeds = [np.asarray(values, dtype=float) for values in differences.values() if len(values)]
    everything = np.concatenate(seeds)
    if len(seeds) < 2:
        return Difference(float(np.median(everything)), float(everything.min()), float(everything.max()), everything.size)
    generator = np.random.default_rng(20_260_105)
    medians = [
        float(np.median(np.concatenate([seeds[i] for i in generator.integers(0, len(seeds), len(seeds))])))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(medians, [2.5, 97.5])
    return Difference(float(np.median(everything)), float(low), float(high), everything.size)
