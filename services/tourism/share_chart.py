"""A chart of shares: from how many of so many on something is more than chance. Pure.

The p-chart of W. A. Shewhart (NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.3.2), with the limit from the binomial
distribution itself instead of its mean and three standard deviations: of twenty posts that is not the same. `CHANCE` is what
lies above three standard deviations. The usual share is (x + 1)/(n + 2) of the samples before, so that it is never 0.
"""

from __future__ import annotations

CHANCE = 0.00135

FEWEST = 20
"""Of fewer nothing is said. A proposal of this project."""

FEWEST_USUAL = 100
"""Nor where fewer are known from before. A proposal of this project."""


def usual_share(count: int, n: int) -> float:
    """The share in the samples before."""
    return (count + 1) / (n + 2)


def limit(n: int, usual: float) -> int:
    """From how many of n on it is more than chance makes it. It may be n + 1: then none is."""
    # Its import takes most of a second: a process that never asks starts without it.
    from scipy.stats import binom

    return int(binom.isf(CHANCE, n, usual)) + 1
