"""Levels of congestion by GB/T 33171-2016 (城市交通运行状况评价规范): speed by speed in free flow, for roads and areas. Pure.

A level is changed only by two windows of five minutes in a row, and left for a better one only where both are beyond its border
by `MARGIN`: so nothing that swings about a border is told again and again. Both are a proposal of this project, as is the
weight of roads in an area.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

STANDARD = "GB/T 33171-2016, congestion-1"
"""The standard, and the version of the table and the rules here."""


class Level(IntEnum):
    """Levels. The numbers are those of `CongestionLevel`; the higher, the worse."""

    NEVER = 0
    UNKNOWN = 1
    SMOOTH = 2
    BASICALLY_SMOOTH = 3
    LIGHT = 4
    MODERATE = 5
    SEVERE = 6


TABLE = ((0.30, Level.SEVERE), (0.40, Level.MODERATE), (0.50, Level.LIGHT), (0.70, Level.BASICALLY_SMOOTH))
"""Up to this share of the speed in free flow, which belongs to it (closed on the right), the level; above the last: smooth."""
MARGIN = 0.02
HELD = 12
"""While something is missing, a road is no better than it was, for so many windows: an hour. Then nothing is known of it."""
ENOUGH = 0.5
"""The share of the length of an area of which something must be known; half is enough."""
TREND = 6
"""The trend is against the mean of so many windows before: half an hour. At least three of them must be known."""
TREND_LEAST = 3
STEADY = 0.05
"""The index has moved where it is further from that mean than this."""


def level_of(ratio: float) -> Level:
    """The level of a speed divided by the speed in free flow. 0.70 is basically smooth, 0.30 is severe."""
    return next((level for limit, level in TABLE if ratio <= limit), Level.SMOOTH)


def step(told: Level, before: float | None, now: float | None) -> Level:
    """The level after a window, from the one that was told and the ratios of the last window and of this (None: unknown)."""
    if now is None:
        return Level.UNKNOWN if told is not Level.NEVER and before is None else told
    if before is None:
        return told
    at = Level.SMOOTH if told is Level.NEVER else told
    if at is Level.UNKNOWN:
        return max(level_of(before), level_of(now))
    worse = min(level_of(before), level_of(now))
    if worse > at:
        return worse
    better = max(level_of(before - MARGIN), level_of(now - MARGIN))
    return better if better < at else told


def assessed(ratio: float | None, complete: bool, before: float | None, incomplete_before: int) -> tuple[float | None, int]:
    """The ratio that counts, and how many windows in a row are incomplete.

    `before`: the one that counted in the last window. While something is missing the ratio is never above that.
    """
    if complete:
        return ratio, 0
    incomplete = incomplete_before + 1
    if incomplete > HELD:
        return None, incomplete
    known = [one for one in (ratio, before) if one is not None]
    return (min(known) if known else None), incomplete


def of_area(roads: Iterable[tuple[float, float | None]]) -> tuple[float | None, float, float]:
    """The ratio of an area from (length in metres, ratio) of its roads; the length that something is known of, and all of it.

    Weighted by length alone. By length × flow a road would weigh less when its detectors fail or when nobody gets through it,
    and the area would look better for that. 2 km at 0.8 and 1 km at 0.2: 0.6.
    """
    known = total = weighted = 0.0
    for length, ratio in roads:
        total += length
        if ratio is not None:
            known += length
            weighted += length * ratio
    return (weighted / known if known and known >= ENOUGH * total else None), known, total


def trend(before: Sequence[float | None], now: float | None) -> int:
    """Where the index goes: 1 improves, 2 is steady, 3 gets worse, 0 unknown. `before`: of the windows before, oldest first."""
    known = [one for one in before[-TREND:] if one is not None]
    if now is None or len(known) < TREND_LEAST:
        return 0
    moved = now - sum(known) / len(known)
    return 2 if abs(moved) <= STEADY else 3 if moved > 0 else 1
