"""How many accidents a road is expected to have, by empirical Bayes: from its own record and from roads like it. Pure.

E. Hauer, D. W. Harwood, F. M. Council and M. S. Griffith, *Estimating safety by the empirical Bayes method: a tutorial*,
Transportation Research Record 1784 (2002), 126-131. Roads like it have μ = a · ADT^b accidents a kilometre and year (the safety
performance function), η = μ · length · years; they differ among each other by the overdispersion φ a kilometre (negative
binomial, variance η · (1 + η / (φ · length))). Then

    weight = 1 / (1 + η / (φ · length));  expected = weight · η + (1 − weight) · record;  variance = (1 − weight) · expected

A raw count says more of chance than of a road: after a bad year the next one is better by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from citybrain.traffic.v1.road_safety_pb2 import RiskGrade

LEAST_ROADS, LEAST_ACCIDENTS = 30, 30
"""With fewer roads, or fewer accidents on them, nothing is learnt: the published function counts."""
SURE = 1.645
"""High: 95 of 100 that it is above roads like it, by the normal distribution, one side."""
RAISED = 1.5
"""Raised: this many times what roads like it have; 1.5 is raised."""


@dataclass(frozen=True, slots=True)
class Model:
    """A safety performance function; `fitted`: learnt from the city's own roads, so many roads and accidents."""

    a: float
    b: float
    overdispersion: float
    fitted: bool = False
    roads: int = 0
    accidents: int = 0


PUBLISHED = Model(0.0224, 0.564, 2.05)
"""Of the tutorial's examples: two-lane roads in North America. It gives an order of roads rather than numbers of this city."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A road: kilometres, vehicles a day, years in which accidents were recorded, and how many were."""

    km: float
    daily: float
    years: float
    record: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Accidents a year: what is expected, its standard deviation, what roads like it have, and the weight of these."""

    expected: float
    deviation: float
    like_it: float
    weight: float


def like_it(segment: Segment, model: Model) -> float:
    """What roads like it have in all its years (η)."""
    return model.a * math.pow(segment.daily, model.b) * segment.km * segment.years


def estimate(segment: Segment, model: Model) -> Estimate:
    """The estimate for a road.

    1.8 km, 4,000 vehicles a day, φ 2.05, 12 accidents in a year: 8.48 ± 2.14; 12, 7 and 8 in three years: 7.97 ± 1.44 a year.
    """
    eta = like_it(segment, model)
    weight = 1 / (1 + eta / (model.overdispersion * segment.km))
    expected = weight * eta + (1 - weight) * segment.record
    deviation = math.sqrt((1 - weight) * expected)
    return Estimate(expected / segment.years, deviation / segment.years, eta / segment.years, weight)


def grade(one: Estimate) -> RiskGrade:
    """High where it is above roads like it with 95 of 100, and by half at least; raised where only the latter."""
    if one.expected < RAISED * one.like_it:
        return RiskGrade.RISK_GRADE_LOW
    sure = one.expected - SURE * one.deviation > one.like_it
    return RiskGrade.RISK_GRADE_HIGH if sure else RiskGrade.RISK_GRADE_RAISED


def fit(segments: Sequence[Segment]) -> Model | None:
    """Learns a function from roads, by the greatest likelihood of the negative binomial; None: too few, or it does not end."""
    used = [one for one in segments if one.km > 0 and one.daily > 0 and one.years > 0]
    accidents = sum(one.record for one in used)
    if len(used) < LEAST_ROADS or accidents < LEAST_ACCIDENTS:
        return None
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import gammaln

    km = np.array([one.km for one in used])
    exposed = np.array([one.km * one.years for one in used])
    volume = np.log(np.array([one.daily for one in used]))
    record = np.array([float(one.record) for one in used])

    def unlikely(values: np.ndarray) -> float:
        log_a, b, log_phi = values
        eta = np.exp(log_a + b * volume) * exposed
        shape = np.exp(log_phi) * km
        terms = (
            gammaln(record + shape)
            - gammaln(shape)
            + shape * np.log(shape / (shape + eta))
            + record * np.log(eta / (shape + eta))
        )
        return -float(terms.sum())

    start = np.array([math.log(accidents / float((exposed * np.exp(PUBLISHED.b * volume)).sum())), PUBLISHED.b, math.log(2.0)])
    found = minimize(unlikely, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-6, "fatol": 1e-8})
    # Roads that differ by no more than chance have an overdispersion without end: then the record of one says nothing of it.
    log_a, b, log_phi = (float(value) for value in found.x)
    if not found.success or not -1 <= b <= 3:
        return None
    return Model(math.exp(log_a), b, math.exp(min(log_phi, math.log(1e6))), fitted=True, roads=len(used), accidents=accidents)
