"""Which device fails next, by how often it and its kind have failed. Pure.

Empirical Bayes on rates (B. Efron and C. Morris 1973; Poisson with a gamma prior): a device with n failures in T days has the
rate (n + s·m)/(T + s), m the rate of its kind, s the strength of that prior in days. Old failures count less: a failure a
days ago counts exp(−a/`MEMORY`), and so does each day of T. The next to fail is device i with the probability rate_i / Σ rates.

**The score** is on failures that the forecast has not seen: rates are learnt from all but the newest fifth of the failures,
and for each of those, when it happened, log2(p_i · N) is how many bits better the forecast was than *every device equally
likely* (1/N). A forecast whose mean is not above zero is not published as one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MEMORY_DAYS = 365.0
STRENGTH_DAYS = 180.0
HELD_OUT = 0.2
FEWEST = 20
"""With fewer failures nothing is tried, and nothing is forecast."""


@dataclass(frozen=True, slots=True)
class History:
    """A device: its kind, since when it is known, and when it failed; all in days."""

    kind: str
    since: float
    failures: Sequence[float]


@dataclass(frozen=True, slots=True)
class Score:
    """On how many failures, how many bits each is better than chance, and the share in the first tenth of devices."""

    tried: int
    bits: float
    in_first_tenth: float

    @property
    def better(self) -> bool:
        """Than taking all for equally likely."""
        return self.tried > 0 and self.bits > 0


def rates(devices: Mapping[str, History], now: float) -> dict[str, float]:
    """Failures a day of each device, as known at a moment."""
    counts: dict[str, tuple[float, float]] = {}
    kinds: dict[str, tuple[float, float]] = {}
    for name, one in devices.items():
        if one.since >= now:
            continue
        failed = sum(math.exp(-(now - at) / MEMORY_DAYS) for at in one.failures if at < now)
        days = MEMORY_DAYS * (1 - math.exp(-(now - one.since) / MEMORY_DAYS))
        counts[name] = failed, days
        sums = kinds.get(one.kind, (0.0, 0.0))
        kinds[one.kind] = sums[0] + failed, sums[1] + days
    total = [sum(each) for each in zip(*kinds.values(), strict=True)] or [0.0, 1.0]
    overall = total[0] / total[1] if total[1] else 0.0
    found = {}
    for name, (failed, days) in counts.items():
        of_kind = kinds[devices[name].kind]
        # A kind of which little is known is taken for like all.
        mean = (of_kind[0] + overall * STRENGTH_DAYS) / (of_kind[1] + STRENGTH_DAYS)
        found[name] = (failed + mean * STRENGTH_DAYS) / (days + STRENGTH_DAYS)
    return found


def score(devices: Mapping[str, History]) -> Score:
    """How good the forecast is on the newest fifth of the failures, each seen from the moment at which the fifth begins."""
    failures = sorted((at, name) for name, one in devices.items() for at in one.failures)
    if len(failures) < FEWEST:
        return Score(0, 0.0, 0.0)
    held = failures[-max(1, round(len(failures) * HELD_OUT)) :]
    begin = held[0][0]
    known = rates(devices, begin)
    tested = [name for _, name in held if name in known]
    total = sum(known.values())
    if not tested or total <= 0:
        return Score(0, 0.0, 0.0)
    first = set(sorted(known, key=lambda name: (-known[name], name))[: max(1, len(known) // 10)])
    bits = sum(math.log2(known[name] / total * len(known)) for name in tested) / len(tested)
    return Score(len(tested), bits, sum(name in first for name in tested) / len(tested))
