"""What a stay costs. Integer fen; a started unit counts as a whole one.

The first minutes are free if the stay is no longer than they are; a longer stay is paid from its first minute. For each 24
hours from the arrival at most the day's limit is paid. That is how most municipal lots of the city bill; the numbers are
those of each lot.
"""

from __future__ import annotations

DAY_MIN = 1440


def fee(minutes: int, *, free: int, unit: int, unit_fen: int, day_fen: int) -> int:
    """Of a stay of so many started minutes. `day_fen` 0: no limit. A stay of exactly the free minutes is free."""
    if minutes <= free:
        return 0
    days, rest = divmod(minutes, DAY_MIN)
    return days * _within_day(DAY_MIN, unit, unit_fen, day_fen) + _within_day(rest, unit, unit_fen, day_fen)


def _within_day(minutes: int, unit: int, unit_fen: int, day_fen: int) -> int:
    whole = -(-minutes // unit) * unit_fen
    return min(whole, day_fen) if day_fen else whole
