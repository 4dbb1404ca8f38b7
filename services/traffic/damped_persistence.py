"""What a quantity will be some time ahead: what is usual then, and a share of what is unusual now. Pure.

    forecast = usual(then) + share · (now − usual(now))

Usual is the mean of the hour of the day (between two hours on the line from one to the other), and the share is the regression
of what is unusual then on what is unusual now: an autoregression around a seasonal mean (G. Box and G. Jenkins, *Time series
analysis*, 1970), called damped persistence in weather forecasting. It is learnt on all days but the last two, scored on these,
and counts only where its mean absolute error is below those of both naive forecasts: as it is now, and as it was a day before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HOURS = 24
LEAST_DAYS, HELD_DAYS = 7, 2
"""So many days must be known, and so many of them, the last ones, are held back."""
LEAST_SCORED = 20
"""So many forecasts must be scored."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """The share, what is usual by the hour, the mean error, that of the better naive forecast, and of how many days."""

    share: float
    usual: tuple[float, ...]
    error: float
    naive_error: float
    days: int


def usual_at(usual: Sequence[float], slot: int, per_day: int) -> float:
    """What is usual in a slot of a day that has so many: the mean of an hour is that of its middle."""
    place = ((slot % per_day) + 0.5) * HOURS / per_day - 0.5
    lower = int(place // 1)
    part = place - lower
    return usual[lower % HOURS] * (1 - part) + usual[(lower + 1) % HOURS] * part


def by_hour(values: Mapping[int, float], per_day: int) -> tuple[float, ...] | None:
    """The mean of each hour of the day; None: one is not known."""
    found: list[list[float]] = [[] for _ in range(HOURS)]
    for slot, value in values.items():
        found[slot % per_day * HOURS // per_day].append(value)
    return tuple(sum(each) / len(each) for each in found) if all(found) else None


def share(values: Mapping[int, float], usual: Sequence[float], ahead: int, per_day: int) -> float:
    """How much of what is unusual is left so many slots later, from 0 to 1."""
    unusual = {slot: value - usual_at(usual, slot, per_day) for slot, value in values.items()}
    both = [(one, unusual[slot + ahead]) for slot, one in unusual.items() if slot + ahead in unusual]
    squares = sum(now * now for now, _ in both)
    return min(1.0, max(0.0, sum(now * then for now, then in both) / squares)) if squares else 0.0


def forecast(usual: Sequence[float], left: float, now: float, slot: int, ahead: int, per_day: int) -> float:
    """What it will be so many slots after `slot`, in which it is `now`."""
    return usual_at(usual, slot + ahead, per_day) + left * (now - usual_at(usual, slot, per_day))


def learn(values: Mapping[int, float], ahead: int, per_day: int) -> Learnt | None:
    """A forecast that beats the naive ones; None: too little is known, or it does not. `values`: by the number of the slot."""
    days = sorted({slot // per_day for slot in values})
    if len(days) < LEAST_DAYS:
        return None
    first_held = days[-HELD_DAYS]
    early = {slot: value for slot, value in values.items() if slot // per_day < first_held}
    usual = by_hour(early, per_day)
    if usual is None:
        return None
    left = share(early, usual, ahead, per_day)
    errors: list[tuple[float, float, float]] = []
    for slot, then in values.items():
        before, yesterday = values.get(slot - ahead), values.get(slot - per_day)
        if slot // per_day >= first_held and before is not None and yesterday is not None:
            told = forecast(usual, left, before, slot - ahead, ahead, per_day)
            errors.append((abs(told - then), abs(before - then), abs(yesterday - then)))
    if len(errors) < LEAST_SCORED:
        return None
    mine, as_now, as_yesterday = (sum(each[index] for each in errors) / len(errors) for index in range(3))
    naive = min(as_now, as_yesterday)
    if mine >= naive:
        return None
    whole = by_hour(values, per_day)
    assert whole is not None
    return Learnt(share(values, whole, ahead, per_day), whole, mine, naive, len(days))
