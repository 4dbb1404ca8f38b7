"""A firm's environmental credit and risk: points for what it did, and what follows from the sum. Pure.

The four grades of credit are those of the trial measures of 2013 (企业环境信用评价办法（试行）):
trusted, good, warned, bad. The measures leave points to provinces; **the points, bounds and intervals here are proposals of
this project**, and `VERSION` stands on every event that rests on them. A score at a bound has the better grade.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = "citybrain-environment-2026.1"

UNCORRECTED, CORRECTED, FINDING, REJECTED, EXCEEDED = -25.0, -8.0, -6.0, -5.0, -4.0
"""Points for a decision that stands, the same after it was put right, an inspection with a finding, a correction that was not
right, and a verified exceedance of the permit."""

MOST = 100

TRUSTED, GOOD, WARNED = 95, 80, 60
"""From so many points on; trusted needs an inspection besides that found nothing."""

LARGE_KG, MIDDLE_KG = 100_000, 10_000
"""What the permits of a firm allow in a year: from so much on it is a large, or a middle one."""

DAYS = {"HIGH": 90, "MIDDLE": 180, "LOW": 365}
"""After how many days a firm of a risk is inspected again."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a firm did, counted.

    `uncorrected`, `corrected`: decisions that stand. `kg_a_year`: of the permits of sources that are not closed.
    """

    uncorrected: int = 0
    corrected: int = 0
    findings: int = 0
    rejected: int = 0
    exceeded: int = 0
    clean: int = 0
    kg_a_year: float = 0.0


@dataclass(frozen=True, slots=True)
class Factor:
    """A part of the score: how often, and its points."""

    name: str
    amount: float
    points: float


@dataclass(frozen=True, slots=True)
class Standing:
    """A score, 0 to 100, the credit (TRUSTED, GOOD, WARNED, BAD), the risk (HIGH, MIDDLE, LOW), and what they are made of."""

    score: int
    credit: str
    risk: str
    factors: tuple[Factor, ...]


def standing(facts: Facts) -> Standing:
    """The credit and the risk of a firm.

    The factors are in the order of what they cost, and are there also where they cost nothing.
    """
    factors = (
        Factor("decisions not put right", facts.uncorrected, UNCORRECTED * facts.uncorrected),
        Factor("decisions put right", facts.corrected, CORRECTED * facts.corrected),
        Factor("inspections with a finding", facts.findings, FINDING * facts.findings),
        Factor("corrections that were not right", facts.rejected, REJECTED * facts.rejected),
        Factor("exceedances of the permit", facts.exceeded, EXCEEDED * facts.exceeded),
        Factor("inspections without a finding", facts.clean, 0.0),
    )
    score = int(max(0.0, MOST + sum(one.points for one in factors)))
    return Standing(score, _credit(score, facts.clean), _risk(score, facts), factors)


def _credit(score: int, clean: int) -> str:
    if score >= TRUSTED and clean > 0:
        return "TRUSTED"
    return "GOOD" if score >= GOOD else "WARNED" if score >= WARNED else "BAD"


def _risk(score: int, facts: Facts) -> str:
    """What it does times what it could do. A decision that was not put right is a high risk, whatever the size."""
    if facts.uncorrected:
        return "HIGH"
    behaviour = 1 + (score < GOOD) + (score < WARNED)
    size = 1 + (facts.kg_a_year >= MIDDLE_KG) + (facts.kg_a_year >= LARGE_KG)
    return "HIGH" if behaviour + size >= 5 else "MIDDLE" if behaviour + size >= 3 else "LOW"
