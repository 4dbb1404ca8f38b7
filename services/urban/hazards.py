"""Hidden hazards: what comes again at the same place. Pure.

A cell of the grid with a kind of ticket has the weight Σ exp(−a/`MEMORY_DAYS`) over its tickets, a their age in days: near
repeats in space and time (S. D. Johnson and others, *Space–Time Patterns of Risk*, 2007). Where the weight is at least
`LEAST`, it is expected again.

**The hit rate** is measured on what was not seen: of the cells that would have been named 30 days ago, the share to which the
same kind came again in these 30 days; beside it the share of all cells that had one: what naming any of them would have given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MEMORY_DAYS = 60.0
LEAST = 1.2
"""More than one ticket, not long ago."""
AHEAD_DAYS = 30.0
OLDEST_DAYS = 365.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Of so many places that were named the share to which it came again, and that of all places."""

    tried: int
    hit: float
    base: float


def weight(times: Sequence[float], now: float) -> float:
    """How strongly it is expected again, from when it came (days)."""
    return sum(math.exp(-(now - at) / MEMORY_DAYS) for at in times if now - OLDEST_DAYS <= at <= now)


def rate(places: Mapping[str, Sequence[float]], now: float) -> Rate:
    """The hit rate of what would have been named some time ago."""
    then = now - AHEAD_DAYS
    seen = {name: times for name, times in places.items() if any(at <= then for at in times)}
    again = {name: any(then < at <= now for at in times) for name, times in seen.items()}
    named = [name for name, times in seen.items() if weight(times, then) >= LEAST]
    hit = sum(again[name] for name in named) / len(named) if named else 0.0
    return Rate(len(named), hit, sum(again.values()) / len(seen) if seen else 0.0)
