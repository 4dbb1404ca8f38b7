"""The six indices of urban management: five of a field each, and the composite. Each is explained part by part. Pure.

A part is a share or a mean that was measured in a district. It gets points by min-max: 0 at its worst value, 100 at its best,
in between in proportion, outside no more and no less; the direction follows from which of the two is larger. An index is the
weighted mean of its parts, the composite that of the five (OECD and JRC, *Handbook on Constructing Composite Indicators*,
2008: min-max, linear aggregation). A part of which nothing is known is *missing*: it has no points, the others carry the
weight, and the share of the weights that is known is said. The weights are proposals of this project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VERSION = "urban-index-2"
DAYS = 30
"""What counts is what happened in so many days."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A part: its weight, and the values that get 0 and 100 points."""

    weight: float
    worst: float
    best: float


RULES: Mapping[str, Mapping[str, Rule]] = {
    "public_parking": {
        "share of bays that are free": Rule(0.6, 0.0, 0.2),
        "share of later bills that are paid in time": Rule(0.4, 0.5, 1.0),
    },
    "street_order": {
        "share of tickets answered in time": Rule(0.6, 0.5, 1.0),
        "share of tickets that are opened again": Rule(0.4, 0.3, 0.0),
    },
    "cleanliness": {
        "share of tickets answered in time": Rule(0.5, 0.5, 1.0),
        "share of bins that are not too full": Rule(0.5, 0.8, 1.0),
    },
    "team_image": {
        "mean rating of answers": Rule(0.6, 1.0, 5.0),
        "share of work orders done in time": Rule(0.4, 0.5, 1.0),
    },
    "equipment": {
        "share of devices that report and show no anomaly": Rule(0.6, 0.8, 1.0),
        "share of components that are intact": Rule(0.4, 0.9, 1.0),
    },
}
WEIGHTS: Mapping[str, float] = {
    "public_parking": 0.2, "street_order": 0.2, "cleanliness": 0.2, "team_image": 0.2, "equipment": 0.2,
}  # fmt: skip

Measured = Mapping[str, Mapping[str, tuple[float, int]]]
"""Index → part → its value, and of how many cases. A part without a case is missing."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part with its points; None where it is missing."""

    name: str
    weight: float
    value: float
    cases: int
    worst: float
    best: float
    points: float | None


@dataclass(frozen=True, slots=True)
class Index:
    """An index; `points` None: nothing of it is known. `known`: the share of the weights that is."""

    name: str
    points: float | None
    known: float
    parts: Sequence[Part]


def points(value: float, worst: float, best: float) -> float:
    """0 to 100."""
    return min(max(100 * (value - worst) / (best - worst), 0.0), 100.0)


def weighted(parts: Sequence[tuple[float, float | None]]) -> tuple[float | None, float]:
    """The weighted mean of what is known, and the share of the weights that is. None: nothing is."""
    known = [(weight, value) for weight, value in parts if value is not None]
    total = sum(weight for weight, _ in known)
    mean = sum(weight * value for weight, value in known) / total if known else None
    return mean, total / sum(weight for weight, _ in parts)


def indices(measured: Measured) -> list[Index]:
    """All six, the composite first."""
    found = []
    for name, rules in RULES.items():
        parts = []
        for part, rule in rules.items():
            value, cases = measured.get(name, {}).get(part, (0.0, 0))
            got = points(value, rule.worst, rule.best) if cases else None
            parts.append(Part(part, rule.weight, value, cases, rule.worst, rule.best, got))
        mean, known = weighted([(part.weight, part.points) for part in parts])
        found.append(Index(name, mean, known, parts))
    mean, _ = weighted([(WEIGHTS[one.name], one.points) for one in found])
    # An index of which half is known counts whole, and makes the composite as incomplete as it is.
    known = sum(WEIGHTS[one.name] * one.known for one in found)
    parts = [Part(one.name, WEIGHTS[one.name], one.points or 0.0, len(one.parts), 0.0, 100.0, one.points) for one in found]
    return [Index("composite", mean, known, parts), *found]
