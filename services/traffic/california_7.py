"""California algorithm #7 for incidents between two detectors: occupancy before and behind the place. Pure.

H. J. Payne and S. C. Tignor, *Freeway incident-detection algorithms based on decision trees with states*, Transportation
Research Record 682 (1978). Of each interval t:

- OCCDF = occupancy upstream − occupancy downstream, at least T1;
- OCCRDF = OCCDF / occupancy upstream, at least T2;
- DOCC = occupancy downstream, in the first interval at most T3: where it is high behind the place, too, the queue comes from
  further on.

Here T1 and T2 hold in three intervals in a row. An interval is a block of at least one cycle of the signal: within a cycle
occupancy swings from red to green by more than any incident moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PERSISTENCE = 3
RATIO = 0.3
"""T2. It is the same everywhere: where occupancy is low the ratio is any number, and no history says what is usual."""
LEAST_DIFFERENCE = 0.1
"""T1 is at least this: less is moved by a bus that stops."""
MARGIN = 0.05
"""T1 is so much above what was usual."""
LEAST_DOWNSTREAM = 0.1
"""T3 is at least this."""


@dataclass(frozen=True, slots=True)
class Found:
    """What held in three intervals in a row: the least difference and the least ratio; and DOCC in the first of them."""

    difference: float
    ratio: float
    downstream: float


def held(upstream: Sequence[float], downstream: Sequence[float]) -> Found:
    """What held in intervals in a row, from their occupancies (0 to 1).

    Upstream 0.50 0.60 0.40, downstream 0.05 0.10 0.10: difference 0.30, ratio 0.75, downstream 0.05.
    """
    differences = [up - down for up, down in zip(upstream, downstream, strict=True)]
    ratios = [one / up if up > 0 else 0.0 for one, up in zip(differences, upstream, strict=True)]
    return Found(min(differences), min(ratios), downstream[0])


def is_incident(found: Found, difference: float, downstream: float, ratio: float = RATIO) -> bool:
    """Whether T1 (`difference`), T2 (`ratio`) and T3 (`downstream`) are reached. Each belongs to what reaches it."""
    return found.difference >= difference and found.ratio >= ratio and found.downstream <= downstream
