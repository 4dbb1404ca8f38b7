"""How many vehicles an hour pass before a signal, lane by lane, counted from what cameras report. Seconds, vehicles.

It is kept in memory only: after a restart the hour begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

WINDOW_S = 3600.0
"""For so long is counted before a plan is made of it."""

ENOUGH = 0.8
"""Each lane must have been seen for such a share of the time; 0.8 is enough. A lane of which less is known could be empty, or
full: no plan is made of it."""

GAP_S = 10.0
"""After a longer gap between two reports nobody knows over which seconds those passed who are reported."""

MOST_PER_HOUR = 3000.0
"""No lane carries more vehicles an hour; so many can be."""


@dataclass(slots=True)
class FlowsSeen:
    """The lanes of one signal. `look` with each report; `now` must not go back."""

    began: float | None = None
    until: float = 0.0
    seen_s: dict[str, float] = field(default_factory=dict)
    _passed: dict[str, float] = field(default_factory=dict)

    def look(self, now: float, passed: Mapping[str, float]) -> None:
        """Takes in who passed since the report before, of the lanes that are seen."""
        if self.began is None:
            self.began = self.until = now
        took_s, self.until = now - self.until, now
        if not 0.0 < took_s <= GAP_S:
            return
        for lane, vehicles in passed.items():
            self.seen_s[lane] = self.seen_s.get(lane, 0.0) + took_s
            self._passed[lane] = self._passed.get(lane, 0.0) + vehicles

    @property
    def is_over(self) -> bool:
        """Whether it was counted for long enough."""
        return self.began is not None and self.until - self.began >= WINDOW_S

    def per_hour(self, lanes: Iterable[str]) -> dict[str, float] | None:
        """Vehicles an hour, by lane; None where one of the lanes was not seen for long enough, or cannot have been so full."""
        if self.began is None:
            return None
        least_s = ENOUGH * (self.until - self.began)
        flows = {}
        for lane in lanes:
            seen_s = self.seen_s.get(lane, 0.0)
            if seen_s <= 0.0 or seen_s < least_s:
                return None
            flows[lane] = round(self._passed[lane] / seen_s * 3600, 1)
            if flows[lane] > MOST_PER_HOUR:
                return None
        return flows
