"""The class of surface water by GB 3838-2002, table 1: the worst quantity decides, and is named. Pure.

All values are in mg/l but pH, the temperature (°C) and faecal coliforms (in a litre). A value at a limit belongs to the better
class: the limits are "≤", for dissolved oxygen "≥", and pH is between 6 and 9, both included, in each class: outside it the
water is beyond class V. Class I asks for 7.5 mg/l of dissolved oxygen or for 90 % of saturation; saturation needs the pressure
of the air, so 7.5 mg/l alone counts here. Total phosphorus has stricter limits in lakes and reservoirs, and total nitrogen has
limits only there.

Which of the 24 quantities decide is not in the standard but in the measures for the assessment of surface water of 2011
(地表水环境质量评价办法（试行）, 环办〔2011〕22号): all but the temperature, total nitrogen and faecal coliforms. These are
assessed by themselves, total nitrogen not of rivers. The standard limits by how much people may change the temperature in a
week, in each class the same: that is no value that a reading has, so the temperature has no class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STANDARD = "GB 3838-2002"
ASSESSED_BY = "环办〔2011〕22号"

BEYOND = 6
"""Worse than class V (劣Ⅴ)."""

LIMITS: Mapping[str, tuple[float, ...]] = {
    "DISSOLVED_OXYGEN": (7.5, 6, 5, 3, 2),
    "COD_MN": (2, 4, 6, 10, 15),
    "COD": (15, 15, 20, 30, 40),
    "BOD5": (3, 3, 4, 6, 10),
    "AMMONIA_NITROGEN": (0.15, 0.5, 1, 1.5, 2),
    "TOTAL_PHOSPHORUS": (0.02, 0.1, 0.2, 0.3, 0.4),
    "TOTAL_NITROGEN": (0.2, 0.5, 1, 1.5, 2),
    "COPPER": (0.01, 1, 1, 1, 1),
    "ZINC": (0.05, 1, 1, 2, 2),
    "FLUORIDE": (1, 1, 1, 1.5, 1.5),
    "SELENIUM": (0.01, 0.01, 0.01, 0.02, 0.02),
    "ARSENIC": (0.05, 0.05, 0.05, 0.1, 0.1),
    "MERCURY": (0.00005, 0.00005, 0.0001, 0.001, 0.001),
    "CADMIUM": (0.001, 0.005, 0.005, 0.005, 0.01),
    "CHROMIUM_VI": (0.01, 0.05, 0.05, 0.05, 0.1),
    "LEAD": (0.01, 0.01, 0.05, 0.05, 0.1),
    "CYANIDE": (0.005, 0.05, 0.2, 0.2, 0.2),
    "VOLATILE_PHENOL": (0.002, 0.002, 0.005, 0.01, 0.1),
    "PETROLEUM": (0.05, 0.05, 0.05, 0.5, 1),
    "ANIONIC_SURFACTANT": (0.2, 0.2, 0.2, 0.3, 0.3),
    "SULFIDE": (0.05, 0.1, 0.2, 0.5, 1),
    "FECAL_COLIFORM": (200, 2000, 10_000, 20_000, 40_000),
}
"""The limits of classes I to V; those of total nitrogen are of lakes and reservoirs."""

PH = (6, 9)
"""In each class."""

LAKE_PHOSPHORUS = (0.01, 0.025, 0.05, 0.1, 0.2)

BESIDE = ("TOTAL_NITROGEN", "FECAL_COLIFORM")
"""Assessed by themselves; total nitrogen of lakes and reservoirs alone."""

DECIDING = ("PH", *(name for name in LIMITS if name not in BESIDE))
"""The 21 quantities that decide."""


@dataclass(frozen=True, slots=True)
class Class:
    """A class, 1 (I) to 6 (beyond V).

    `deciding`: the quantities that are so bad. `missing`: those without a value. `beside`: the classes of what is assessed by
    itself.
    """

    number: int
    deciding: tuple[str, ...]
    missing: tuple[str, ...]
    beside: Mapping[str, int] = field(default_factory=dict)


def classified(values: Mapping[str, float], *, lake: bool = False) -> Class | None:
    """The class of what was measured; None: nothing that decides was. Where something is missing the water may be worse."""
    numbers = {name: number(name, values[name], lake=lake) for name in DECIDING if name in values}
    if not numbers:
        return None
    worst = max(numbers.values())
    deciding = tuple(name for name in DECIDING if numbers.get(name) == worst)
    missing = tuple(name for name in DECIDING if name not in numbers)
    beside = {name: number(name, values[name], lake=lake) for name in BESIDE if name in values and has_limits(name, lake=lake)}
    return Class(worst, deciding, missing, beside)


def has_limits(name: str, *, lake: bool) -> bool:
    """Whether table 1 has limits of a quantity in such water."""
    return name == "PH" or (name in LIMITS and (lake or name != "TOTAL_NITROGEN"))


def limits(name: str, *, lake: bool) -> tuple[float, ...]:
    """The limits of a quantity other than pH in classes I to V."""
    return LAKE_PHOSPHORUS if lake and name == "TOTAL_PHOSPHORUS" else LIMITS[name]


def number(name: str, value: float, *, lake: bool) -> int:
    """The class of one quantity."""
    if name == "PH":
        return 1 if PH[0] <= value <= PH[1] else BEYOND
    # Of oxygen more is better.
    sign = -1 if name == "DISSOLVED_OXYGEN" else 1
    return next((n for n, limit in enumerate(limits(name, lake=lake), 1) if sign * value <= sign * limit), BEYOND)
