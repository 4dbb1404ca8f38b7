"""The class of surface water by GB 3838-2002, table 1: the worst quantity decides, and is named. Pure.

All values are in mg/l. A value at a limit belongs to the better class: the limits are "≤", for dissolved oxygen "≥". Class I
asks for 7.5 mg/l of dissolved oxygen or for 90 % of saturation; saturation needs the temperature and the pressure of the air,
so 7.5 mg/l alone counts here. Total phosphorus has stricter limits in lakes and reservoirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STANDARD = "GB 3838-2002"

BEYOND = 6
"""Worse than class V (劣Ⅴ)."""

LIMITS: Mapping[str, tuple[float, ...]] = {
    "DISSOLVED_OXYGEN": (7.5, 6, 5, 3, 2),
    "COD_MN": (2, 4, 6, 10, 15),
    "COD": (15, 15, 20, 30, 40),
    "BOD5": (3, 3, 4, 6, 10),
    "AMMONIA_NITROGEN": (0.15, 0.5, 1, 1.5, 2),
    "TOTAL_PHOSPHORUS": (0.02, 0.1, 0.2, 0.3, 0.4),
}
"""The limits of classes I to V."""

LAKE_PHOSPHORUS = (0.01, 0.025, 0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Class:
    """A class, 1 (I) to 6 (beyond V). `deciding`: the quantities that are so bad. `missing`: those without a value."""

    number: int
    deciding: tuple[str, ...]
    missing: tuple[str, ...]


def classified(values: Mapping[str, float], *, lake: bool = False) -> Class | None:
    """The class of what was measured; None: nothing was. Where something is missing the water may be worse."""
    numbers = {name: _number(name, value, lake) for name, value in values.items() if name in LIMITS}
    if not numbers:
        return None
    worst = max(numbers.values())
    deciding = tuple(name for name in LIMITS if numbers.get(name) == worst)
    return Class(worst, deciding, tuple(name for name in LIMITS if name not in numbers))


def _number(name: str, value: float, lake: bool) -> int:
    limits = LAKE_PHOSPHORUS if lake and name == "TOTAL_PHOSPHORUS" else LIMITS[name]
    # Of oxygen more is better.
    sign = -1 if name == "DISSOLVED_OXYGEN" else 1
    return next((n for n, limit in enumerate(limits, 1) if sign * value <= sign * limit), BEYOND)
