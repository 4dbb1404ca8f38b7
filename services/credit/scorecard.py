"""A scorecard: points from the logarithm of the odds, with what each factor adds.

`score = offset + factor · ln(odds)`, `factor = PDO / ln 2`, `offset = S − factor · ln(odds₀)`: S points at the odds odds₀, and
PDO points more where the odds are twice as good (N. Siddiqi, Credit Risk Scorecards, Wiley 2006, chapter 6). The odds are those
of keeping faith against not keeping it; each record adds its weight to their logarithm. No unit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

DIMENSIONS = ("identity", "public_good", "social", "performance", "law_abiding")
KINDS = ("good", "bad")
WEIGHTS = ("minor", "common", "serious")


@dataclass(frozen=True, slots=True)
class Scorecard:
    """The values of a scorecard. `weights`: dimension, kind and weight of a record → what it adds to ln(odds)."""

    version: str
    score: float
    odds: float
    points_to_double: float
    lowest: int
    highest: int
    most: int
    weights: Mapping[tuple[str, str, str], float]

    @property
    def factor(self) -> float:
        """Points for one more in ln(odds)."""
        return self.points_to_double / math.log(2)

    @property
    def offset(self) -> float:
        """The score at odds of one to one."""
        return self.score - self.factor * math.log(self.odds)


@dataclass(frozen=True, slots=True)
class Part:
    """What a dimension adds. `points`: may be below zero."""

    dimension: str
    points: float
    good: int
    bad: int


@dataclass(frozen=True, slots=True)
class Scored:
    """A score with all that it is made of. `not_known`: dimensions without any record. `cut`: the scale ends there."""

    score: int
    base: int
    parts: tuple[Part, ...]
    not_known: tuple[str, ...]
    version: str
    cut: bool


def points(card: Scorecard, odds: float) -> float:
    """The score at some odds. ValueError: they are not above zero."""
    if odds <= 0:
        raise ValueError(f"odds are above zero, and these are {odds}")
    return card.offset + card.factor * math.log(odds)


def score(card: Scorecard, counts: Mapping[tuple[str, str, str], int]) -> Scored:
    """The score of one of whom so many records count, by dimension, kind and weight. Rounded to the nearest, half up."""
    parts, not_known = [], []
    for dimension in DIMENSIONS:
        mine = {key: count for key, count in counts.items() if key[0] == dimension and count > 0}
        if not mine:
            not_known.append(dimension)
            continue
        log_odds = sum(card.weights[key] * min(count, card.most) for key, count in mine.items())
        good, bad = (sum(count for key, count in mine.items() if key[1] == kind) for kind in KINDS)
        parts.append(Part(dimension, card.factor * log_odds, good, bad))
    whole = points(card, card.odds) + sum(part.points for part in parts)
    rounded = math.floor(whole + 0.5)
    shown = min(max(rounded, card.lowest), card.highest)
    base = math.floor(points(card, card.odds) + 0.5)
    return Scored(shown, base, tuple(parts), tuple(not_known), card.version, shown != rounded)


def read(content: Mapping[str, Any]) -> Scorecard:
    """A scorecard from its table. ValueError: a weight is missing, or has the wrong sign."""
    weights: dict[tuple[str, str, str], float] = {}
    for dimension in DIMENSIONS:
        for kind in KINDS:
            for weight in WEIGHTS:
                try:
                    value = float(content["weights"][dimension][kind][weight])
                except KeyError as missing:
                    raise ValueError(f"the scorecard has no weight {dimension}.{kind}.{weight}: {missing} is missing") from None
                if (value > 0) != (kind == "good"):
                    raise ValueError(f"the weight {dimension}.{kind}.{weight} is {value}: good records add, bad ones take away")
                weights[dimension, kind, weight] = value
    return Scorecard(
        str(content["version"]), float(content["score"]), float(content["odds"]), float(content["points_to_double"]),
        int(content["lowest"]), int(content["highest"]), int(content["most"]), weights,
    )  # fmt: skip


@functools.cache
def current() -> Scorecard:
    """The scorecard of this release."""
    return read(yaml.safe_load((files(__package__) / "scorecard.yaml").read_text(encoding="utf-8")))
