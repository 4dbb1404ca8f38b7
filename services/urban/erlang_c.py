"""Erlang C: how long callers wait for one of several seats.

Source: A. K. Erlang, 1917; as in R. B. Cooper, *Introduction to Queueing Theory*, 2nd ed. 1981, chapter 3 (M/M/c). Calls come
at random, each takes a time that is exponentially distributed, nobody hangs up. Load a = calls · seconds of a call / seconds
of the interval, in erlangs; with c seats and a < c, from Erlang B by its recursion (which does not overflow):

- B_0 = 1, B_n = a·B_(n−1) / (n + a·B_(n−1)); P(wait) = B_c / (1 − (a/c)·(1 − B_c))
- mean wait = P(wait) · s / (c − a), s the seconds of a call
- service level within T = 1 − P(wait) · e^(−(c − a)·T/s)

With a ≥ c the queue grows for ever: everybody waits.
"""

from __future__ import annotations

import math


def load(calls: float, call_s: float, interval_s: float) -> float:
    """Erlangs."""
    return calls * call_s / interval_s


def p_wait(erlangs: float, seats: int) -> float:
    """The probability that a caller waits."""
    if seats <= erlangs:
        return 1.0
    blocked = 1.0
    for n in range(1, seats + 1):
        blocked = erlangs * blocked / (n + erlangs * blocked)
    return blocked / (1 - erlangs / seats * (1 - blocked))


def mean_wait_s(erlangs: float, seats: int, call_s: float) -> float:
    """The mean time that callers wait, those who do not wait among them."""
    return math.inf if seats <= erlangs else p_wait(erlangs, seats) * call_s / (seats - erlangs)


def service_level(erlangs: float, seats: int, call_s: float, within_s: float) -> float:
    """The share of callers who wait no longer than so many seconds."""
    return 0.0 if seats <= erlangs else 1 - p_wait(erlangs, seats) * math.exp(-(seats - erlangs) * within_s / call_s)


def seats_needed(erlangs: float, call_s: float, within_s: float, level: float) -> int:
    """The fewest seats with at least this service level; none where nobody calls. One run of the recursion finds them."""
    if erlangs <= 0:
        return 0
    blocked, seats = 1.0, 0
    while True:
        seats += 1
        blocked = erlangs * blocked / (seats + erlangs * blocked)
        if seats > erlangs:
            waits = blocked / (1 - erlangs / seats * (1 - blocked))
            if 1 - waits * math.exp(-(seats - erlangs) * within_s / call_s) >= level:
                return seats
