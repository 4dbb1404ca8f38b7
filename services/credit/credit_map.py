"""The credit map (信用地图): what of a district everybody may see. Numbers only, so coarse that they tell of nobody.

A group below ten is not told, nor the rest from which it could be reckoned; numbers of subjects are rounded to five, shares to
whole per cents. So who compares two days may see that somebody got a bad record, and not who of at least ten. The values are
proposals of this project.
"""

from __future__ import annotations

SMALLEST_GROUP = 10
ROUNDED_TO = 5


def subjects(count: int) -> int:
    """A number of subjects as it is told: rounded to five, half up."""
    return (2 * count + ROUNDED_TO) // (2 * ROUNDED_TO) * ROUNDED_TO


def clean_percent(count: int, bad: int) -> int | None:
    """The share without any bad record, in whole per cents, half up. None: one of the two groups is too small."""
    clean = count - bad
    if min(bad, clean) < SMALLEST_GROUP:
        return None
    return (200 * clean + count) // (2 * count)
