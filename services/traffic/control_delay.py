"""How long vehicles wait at a signal: control delay by the Highway Capacity Manual (2000, chapter 16). Seconds, vehicles an
hour.

    d1 = 0.5 C (1 − g/C)² / (1 − min(1, X) g/C)
    d2 = 900 T [(X − 1) + √((X − 1)² + 8 k I X / (c T))]        X = v / c, k 0.5, I 1, T 0.25 h

Worked values: v 500, c 700, g/C 0.45, C 100 → 22.29 + 6.14 = 28.43 s; v 900, c 800, g/C 0.40, C 110 → 33.00 + 72.06 = 105.06 s.
"""

from __future__ import annotations

import math

_HOURS, _INCREMENT, _FILTERING = 0.25, 0.5, 1.0
LIMITS_S = (10.0, 20.0, 35.0, 55.0, 80.0)
"""Up to these a level of service is A, B, C, D, E; beyond the last it is F."""


def control_delay(flow: float, capacity: float, green_share: float, cycle_s: float) -> float:
    """Seconds a vehicle, of one lane group."""
    load = flow / capacity
    uniform = 0.5 * cycle_s * (1 - green_share) ** 2 / (1 - min(1.0, load) * green_share)
    over = (load - 1) + math.sqrt((load - 1) ** 2 + 8 * _INCREMENT * _FILTERING * load / (capacity * _HOURS))
    return uniform + 900 * _HOURS * over


def level_of_service(delay_s: float, load: float) -> str:
    """A to F. More than there is room for is F, whatever the delay. A limit belongs to the better level."""
    if load > 1:
        return "F"
    return next((level for level, limit in zip("ABCDE", LIMITS_S, strict=True) if delay_s <= limit), "F")
