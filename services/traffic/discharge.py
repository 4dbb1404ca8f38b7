"""What a stage brings: how many vehicles get over the stop line, and how soon.

The rule is that of Lämmer and Helbing (Self-control of traffic lights and vehicle flows in urban road networks, Journal of
Statistical Mechanics, 2008): a stage is worth the vehicles that it clears, divided by the time until they are cleared, the
change to it included. The stage that is shown has no change before it, so it goes on while its queue flows, and platoons that
come in time are let through. Seconds, vehicles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

GAP_S = 2.0
"""A vehicle that comes so many seconds after the queue is gone still belongs to it."""


# Some ten thousand of these are made each second for a thousand signals: a tuple costs a third of a frozen dataclass.
class Seen(NamedTuple):
    """A lane: vehicles that wait, and those under way, by their distance to the stop line (zones of 25 m)."""

    waiting: float
    coming: tuple[float, ...] = ()

    @property
    def vehicles(self) -> float:
        """All of them."""
        return self.waiting + sum(self.coming)


NOTHING = Seen(0.0)


class Claim(NamedTuple):
    """What a stage would bring: so many vehicles within so many seconds from now."""

    vehicles: float = 0.0
    within_s: float = 0.0

    @property
    def rate(self) -> float:
        """Vehicles a second. Zero where nobody is served."""
        return self.vehicles / max(self.within_s, 1.0)


def cleared(seen: Seen, arrive_s: Sequence[float], rate: float, setup_s: float) -> tuple[float, float]:
    """Of one lane: how many vehicles its green clears, and when the last of them is over the stop line.

    `rate`: vehicles a second of its green, which begins in `setup_s`; `arrive_s`: seconds to the stop line by zone. Vehicles
    that come before the queue has gone, or 2 s after it, are cleared with it.
    """
    count, at = seen.waiting, setup_s + seen.waiting / rate
    for coming, arrives in zip(seen.coming, arrive_s, strict=False):
        if not coming:
            continue
        if arrives > at + GAP_S:
            break
        count += coming
        at = max(at, arrives) + coming / rate
    return count, at


def claim(
    serves: Mapping[str, float], lanes: Mapping[str, Seen], arrive_s: Mapping[str, Sequence[float]], setup_s: float
) -> Claim:
    """The best that a stage can do: its green ends when one of its lanes is clear, whichever brings most vehicles a second."""
    flows = []
    for lane, rate in serves.items():
        seen = lanes.get(lane, NOTHING)
        count, at = cleared(seen, arrive_s[lane], rate, setup_s)
        if count:
            flows.append((count, at))
    best = Claim()
    for _, end in flows:
        vehicles = sum(count if at <= end else count * (end - setup_s) / (at - setup_s) for count, at in flows)
        offer = Claim(vehicles, end)
        if offer.rate > best.rate:
            best = offer
    return best
