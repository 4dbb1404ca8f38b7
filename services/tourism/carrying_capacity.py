"""How many people a place holds, by LB/T 034-2014 (景区最大承载量核定导则, on the carrying capacity of scenic areas). Pure.

*At once* (瞬时承载量): C1 = Σ X_i / Y_i over the parts, X_i the area in which people can walk (m²), Y_i the area that each is
to have (m² a person). Where a facility serves fewer, that binds. *On a day* (日承载量): C2 = C1 · Z, Z the whole part of D / t:
minutes that it is open, and minutes of a stay. People are whole: the fraction of the sum is left out, once, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

STANDARD = "LB/T 034-2014"


def space(parts: Iterable[tuple[float, float]]) -> int:
    """What the space holds. `parts`: area, and area a person, both in m² and above 0.

    The numbers are taken as they are written: 0.3 / 0.1 are 3 people, and no 2.9999….
    """
    return int(sum((Fraction(str(area)) / Fraction(str(each)) for area, each in parts), Fraction(0)))


def bound(space: int, facilities: Iterable[tuple[str, int]]) -> tuple[int, str]:
    """What the place holds at once, and which facility (id, persons) binds it; empty: the space, also where both are equal."""
    found, by = space, ""
    for name, persons in facilities:
        if persons < found:
            found, by = persons, name
    return found, by


def turns(open_minutes: int, stay_minutes: int) -> int:
    """How often the place can be filled on a day: the whole part."""
    return open_minutes // stay_minutes
